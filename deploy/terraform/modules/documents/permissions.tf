# Documents for roles: requesting tokens, what the tokens may do, and assuming further roles.
locals {
  pull   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:ListImages"]
  push   = ["ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart"]
  import = ["ecr:BatchImportUpstreamImage", "ecr:CreateRepository"]

  has_public = coalesce(var.mint.public, var.partition == "aws")

  # AWS has no narrower resource than * for these actions. Why sts:GetServiceBearerToken has no condition: deploy/README.md.
  mint = concat(
    [{ Sid = "MintPrivate", Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] }],
    local.has_public ? [{
      Sid      = "MintPublic"
      Effect   = "Allow"
      Action   = ["ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"]
      Resource = ["*"]
    }] : [],
    var.mint.short_lived ? [{ Sid = "MintShortLived", Effect = "Allow", Action = ["signin:CreateBearerToken"], Resource = ["*"] }] : [],
  )

  # Each kind of access: its statement, actions, and ARNs of a region.
  wanted = var.images == null ? [] : [
    {
      sid       = var.images.access == "push" ? "PushWithMintedTokens" : "PullWithMintedTokens"
      actions   = concat(local.pull, var.images.access == "push" ? local.push : [], var.images.actions)
      service   = "ecr"
      resources = [for name in var.images.repositories : "repository/${name}"]
    },
    {
      sid       = "MountLayers"
      actions   = local.pull
      service   = "ecr"
      resources = [for name in var.images.mount_from : "repository/${name}"]
    },
    {
      # A repository template may set tags.
      sid       = "PullThroughCaches"
      actions   = concat(local.pull, local.import, contains(var.images.actions, "ecr:TagResource") ? ["ecr:TagResource"] : [])
      service   = "ecr"
      resources = [for name in var.images.pull_through : "repository/${name}"]
    },
    {
      sid       = "SignPushedImages"
      actions   = ["signer:SignPayload"]
      service   = "signer"
      resources = [for name in var.images.signing_profiles : "/signing-profiles/${name}"]
    },
  ]
  images = [
    for want in local.wanted : {
      Sid    = want.sid
      Effect = "Allow"
      Action = want.actions
      Resource = [
        for pair in setproduct(var.images.regions, want.resources) :
        "arn:${var.partition}:${want.service}:${pair[0]}:${var.images.account_id}:${pair[1]}"
      ]
    } if length(want.resources) > 0
  ]

  assume = var.assume == null ? [] : [{
    Sid      = "AssumeRolesOfProfiles"
    Effect   = "Allow"
    Action   = concat(["sts:AssumeRole"], local.assume_also)
    Resource = var.assume.roles
  }]
  # EKS Pod Identity gives the broker's session transitive tags, which every role that it assumes inherits.
  inherits_tags = try(var.broker_trust.pod_identity.session_tags, false)
  assume_also = var.assume == null ? [] : concat(
    var.assume.tag_session || local.inherits_tags ? ["sts:TagSession"] : [],
    var.assume.source_identity ? ["sts:SetSourceIdentity"] : [],
  )
}
