output "role_arn" {
  description = "ARN of the role: for the service account's annotation, the task definition, and `broker_roles` of account-roles."
  value       = aws_iam_role.broker.arn
}

output "instance_profile_name" {
  description = "Name of the instance profile; null unless the broker runs on ec2."
  value       = one(aws_iam_instance_profile.broker[*].name)
}
