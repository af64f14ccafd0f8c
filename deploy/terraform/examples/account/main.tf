# One registry account: a role that pulls every repository, and one that pushes those of a team.
terraform {
  required_version = ">= 1.9"
}

module "roles" {
  source = "../../modules/account-roles"

  account_id      = "123456789012"
  broker_roles    = ["arn:aws:iam::111122223333:role/ecr-broker"]
  external_id     = "build-farm"
  source_identity = true

  roles = {
    ecr-pull = {
      regions      = ["eu-central-1"]
      repositories = ["*"]
      pull_through = ["docker-hub/*"]
    }
    ecr-push = {
      regions      = ["eu-central-1"]
      repositories = ["team-a/*"]
      access       = "push"
    }
  }
}

output "role_arns" {
  description = "The roles of the profiles."
  value       = module.roles.role_arns
}
