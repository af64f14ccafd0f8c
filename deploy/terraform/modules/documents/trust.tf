# Trust documents: of the roles that the broker assumes, and of the broker's role.
locals {
  trust_also = var.trust == null ? [] : concat(
    var.trust.tag_session ? ["sts:TagSession"] : [],
    var.trust.source_identity ? ["sts:SetSourceIdentity"] : [],
  )
  # AWS documents sts:ExternalId for sts:AssumeRole only. So the other actions, which give nothing alone, do not depend on it.
  trust = flatten([for trust in var.trust[*] : [
    merge(
      {
        Sid       = "BrokerAssumesRole"
        Effect    = "Allow"
        Principal = { AWS = trust.principals }
        Action    = concat(["sts:AssumeRole"], trust.external_id == null ? local.trust_also : [])
      },
      { for id in trust.external_id[*] : "Condition" => { StringEquals = { "sts:ExternalId" = id } } },
    ),
    [for actions in trust.external_id == null ? [] : [local.trust_also] : {
      Sid       = "BrokerDescribesSession"
      Effect    = "Allow"
      Principal = { AWS = trust.principals }
      Action    = actions
    } if length(actions) > 0],
  ]])

  irsa = [for at in var.broker_trust[*].irsa : {
    Sid       = "ServiceAccountByOidc"
    Effect    = "Allow"
    Principal = { Federated = "arn:${var.partition}:iam::${at.account_id}:oidc-provider/${at.oidc_provider}" }
    Action    = ["sts:AssumeRoleWithWebIdentity"]
    Condition = { StringEquals = {
      "${at.oidc_provider}:aud" = at.audience
      "${at.oidc_provider}:sub" = "system:serviceaccount:${at.namespace}:${at.service_account}"
    } }
  } if at != null]

  pod_identity = [for at in var.broker_trust[*].pod_identity : merge(
    {
      Sid       = "ServiceAccountByPodIdentity"
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
    },
    { for name in at.session_tags ? ["Condition"] : [] : name => { StringEquals = {
      "aws:RequestTag/eks-cluster-arn"            = at.cluster_arn
      "aws:RequestTag/kubernetes-namespace"       = at.namespace
      "aws:RequestTag/kubernetes-service-account" = at.service_account
    } } },
  ) if at != null]

  # The conditions keep ECS from using the role for tasks of another account.
  ecs = [for at in var.broker_trust[*].ecs : {
    Sid       = "TasksOfEcs"
    Effect    = "Allow"
    Principal = { Service = "ecs-tasks.amazonaws.com" }
    Action    = ["sts:AssumeRole"]
    Condition = {
      StringEquals = { "aws:SourceAccount" = at.account_id }
      ArnLike      = { "aws:SourceArn" = "arn:${var.partition}:ecs:${at.region}:${at.account_id}:*" }
    }
  } if at != null]

  ec2 = [for at in var.broker_trust[*].ec2 : {
    Sid       = "InstancesOfEc2"
    Effect    = "Allow"
    Principal = { Service = var.partition == "aws-cn" ? "ec2.amazonaws.com.cn" : "ec2.amazonaws.com" }
    Action    = ["sts:AssumeRole"]
  } if at]
}
