output "role_arns" {
  description = "ARNs of the roles by name: for role_chain of profiles, and `assume` of broker-role."
  value       = { for name, role in aws_iam_role.profile : name => role.arn }
}
