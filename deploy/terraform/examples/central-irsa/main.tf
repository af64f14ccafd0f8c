# A central broker in EKS, whose service account has its role by the cluster's OIDC provider (IRSA). Tokens come from a pull and a push
# role in each registry account.
terraform {
  required_version = ">= 1.9"
}

variable "registry_accounts" {
  description = "Accounts that have the roles of examples/account."
  type        = list(string)
  default     = ["123456789012", "210987654321"]
}

module "broker" {
  source = "../../modules/broker-role"

  runs_on = {
    irsa = {
      account_id      = "111122223333"
      oidc_provider   = "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
      namespace       = "ecr-broker"
      service_account = "ecr-broker"
    }
  }
  assume = {
    roles = flatten([
      for account in var.registry_accounts : [
        "arn:aws:iam::${account}:role/ecr-pull",
        "arn:aws:iam::${account}:role/ecr-push",
      ]
    ])
    source_identity = true
  }
}

output "service_account_annotation" {
  description = "Annotation of the broker's service account."
  value       = { "eks.amazonaws.com/role-arn" = module.broker.role_arn }
}
