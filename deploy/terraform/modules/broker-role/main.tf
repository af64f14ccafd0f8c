# The role of the broker itself.
locals {
  # With profiles alone, the roles of the profiles request the tokens.
  policies = merge(
    var.images == null ? {} : { mint = module.documents.mint, images = module.documents.images },
    var.assume == null ? {} : { assume = module.documents.assume },
  )
}

module "documents" {
  source = "../documents"

  partition    = var.partition
  mint         = var.mint
  images       = var.images
  assume       = var.assume
  broker_trust = var.runs_on
}

resource "aws_iam_role" "broker" {
  name                 = var.name
  path                 = var.path
  description          = "ecr-broker: requests registry tokens"
  assume_role_policy   = module.documents.broker_trust
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "broker" {
  for_each = local.policies

  name   = each.key
  role   = aws_iam_role.broker.name
  policy = each.value
}

resource "aws_iam_instance_profile" "broker" {
  count = var.runs_on.ec2 ? 1 : 0

  name = var.name
  path = var.path
  role = aws_iam_role.broker.name
  tags = var.tags
}

resource "aws_eks_pod_identity_association" "broker" {
  count = var.runs_on.pod_identity == null ? 0 : 1

  cluster_name         = split("/", var.runs_on.pod_identity.cluster_arn)[1]
  namespace            = var.runs_on.pod_identity.namespace
  service_account      = var.runs_on.pod_identity.service_account
  role_arn             = aws_iam_role.broker.arn
  disable_session_tags = !var.runs_on.pod_identity.session_tags
  tags                 = var.tags
}
