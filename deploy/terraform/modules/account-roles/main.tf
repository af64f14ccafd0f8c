# The roles of one account that profiles name: each requests tokens, and pulls or pushes what it lists.
locals {
  policies = merge([
    for name, role in var.roles : {
      "${name}/mint"   = { role = name, policy = module.documents[name].mint }
      "${name}/images" = { role = name, policy = module.documents[name].images }
    }
  ]...)
}

module "documents" {
  source   = "../documents"
  for_each = var.roles

  partition = var.partition
  mint      = merge(var.mint, { public = coalesce(var.mint.public, false) })
  images    = merge(each.value, { account_id = var.account_id })
  trust = {
    principals      = var.broker_roles
    external_id     = var.external_id
    tag_session     = var.tag_session
    source_identity = var.source_identity
  }
}

resource "aws_iam_role" "profile" {
  for_each = var.roles

  name                 = each.key
  path                 = var.path
  description          = "ecr-broker: ${each.value.access}s images"
  assume_role_policy   = module.documents[each.key].trust
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "profile" {
  for_each = local.policies

  name   = basename(each.key)
  role   = aws_iam_role.profile[each.value.role].name
  policy = each.value.policy
}
