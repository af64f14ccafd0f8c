output "mint" {
  description = "Policy to request tokens, as deploy/iam/mint.json."
  value       = jsonencode({ Version = "2012-10-17", Statement = local.mint })
}

output "images" {
  description = "Policy of what tokens may do, as deploy/iam/pull.json and push.json; null without `images`."
  value       = var.images == null ? null : jsonencode({ Version = "2012-10-17", Statement = local.images })
}

output "assume" {
  description = "Policy to assume roles; null without `assume`."
  value       = var.assume == null ? null : jsonencode({ Version = "2012-10-17", Statement = local.assume })
}

output "trust" {
  description = "Trust policy of a role that the broker assumes; null without `trust`."
  value       = var.trust == null ? null : jsonencode({ Version = "2012-10-17", Statement = local.trust })
}

output "broker_trust" {
  description = "Trust policy of the broker's role; null without `broker_trust`."
  value = var.broker_trust == null ? null : jsonencode({
    Version   = "2012-10-17"
    Statement = concat(local.irsa, local.pod_identity, local.ecs, local.ec2)
  })
}
