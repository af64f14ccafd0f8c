# Values of modules/documents with which deploy/check renders every statement.
mint = { short_lived = true }
images = {
  account_id       = "123456789012"
  regions          = ["eu-central-1", "us-east-1"]
  repositories     = ["team-a/*", "base"]
  access           = "push"
  pull_through     = ["docker-hub/*"]
  mount_from       = ["base/*"]
  signing_profiles = ["release"]
  actions = [
    "ecr:BatchDeleteImage",
    "ecr:CreateRepository",
    "ecr:DescribeImageReplicationStatus",
    "ecr:DescribeImages",
    "ecr:DescribeRepositories",
    "ecr:TagResource",
  ]
}
assume = {
  roles           = ["arn:aws:iam::*:role/ecr-pull", "arn:aws:iam::210987654321:role/team/hub"]
  tag_session     = true
  source_identity = true
}
# As profile.toml beside it.
trust = {
  principals      = ["arn:aws:iam::210987654321:role/hub"]
  external_id     = "EXTERNAL-ID"
  tag_session     = true
  source_identity = true
}
broker_trust = {
  irsa = {
    account_id      = "123456789012"
    oidc_provider   = "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
    namespace       = "ecr-broker"
    service_account = "ecr-broker"
  }
  pod_identity = {
    cluster_arn     = "arn:aws:eks:eu-central-1:123456789012:cluster/build"
    namespace       = "ecr-broker"
    service_account = "ecr-broker"
  }
  ecs = { account_id = "123456789012" }
  ec2 = true
}
