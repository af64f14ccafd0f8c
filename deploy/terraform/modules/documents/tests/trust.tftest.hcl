run "role_of_a_profile" {
  command = plan
  variables {
    trust = {
      principals      = ["arn:aws:iam::210987654321:role/ecr-broker"]
      external_id     = "build-farm"
      tag_session     = true
      source_identity = true
    }
  }

  assert {
    condition = jsondecode(output.trust).Statement == [
      {
        Sid       = "BrokerAssumesRole"
        Effect    = "Allow"
        Principal = { AWS = ["arn:aws:iam::210987654321:role/ecr-broker"] }
        Action    = ["sts:AssumeRole"]
        Condition = { StringEquals = { "sts:ExternalId" = "build-farm" } }
      },
      {
        Sid       = "BrokerDescribesSession"
        Effect    = "Allow"
        Principal = { AWS = ["arn:aws:iam::210987654321:role/ecr-broker"] }
        Action    = ["sts:TagSession", "sts:SetSourceIdentity"]
      },
    ]
    error_message = output.trust
  }
}

run "role_without_extras" {
  command = plan
  variables {
    trust = { principals = ["arn:aws:iam::210987654321:role/ecr-broker"] }
  }

  assert {
    condition = jsondecode(output.trust).Statement == [{
      Sid       = "BrokerAssumesRole"
      Effect    = "Allow"
      Principal = { AWS = ["arn:aws:iam::210987654321:role/ecr-broker"] }
      Action    = ["sts:AssumeRole"]
    }]
    error_message = output.trust
  }
}

run "role_without_external_id" {
  command = plan
  variables {
    trust = { principals = ["arn:aws:iam::210987654321:role/ecr-broker"], source_identity = true }
  }

  assert {
    condition     = [for statement in jsondecode(output.trust).Statement : statement.Action] == [["sts:AssumeRole", "sts:SetSourceIdentity"]]
    error_message = output.trust
  }
}

run "broker_everywhere" {
  command = plan
  variables {
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
      ecs = { account_id = "123456789012", region = "eu-central-1" }
      ec2 = true
    }
  }

  assert {
    condition = jsondecode(output.broker_trust).Statement == [
      {
        Sid       = "ServiceAccountByOidc"
        Effect    = "Allow"
        Principal = { Federated = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF" }
        Action    = ["sts:AssumeRoleWithWebIdentity"]
        Condition = { StringEquals = {
          "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF:aud" = "sts.amazonaws.com"
          "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF:sub" = "system:serviceaccount:ecr-broker:ecr-broker"
        } }
      },
      {
        Sid       = "ServiceAccountByPodIdentity"
        Effect    = "Allow"
        Principal = { Service = "pods.eks.amazonaws.com" }
        Action    = ["sts:AssumeRole", "sts:TagSession"]
        Condition = { StringEquals = {
          "aws:RequestTag/eks-cluster-arn"            = "arn:aws:eks:eu-central-1:123456789012:cluster/build"
          "aws:RequestTag/kubernetes-namespace"       = "ecr-broker"
          "aws:RequestTag/kubernetes-service-account" = "ecr-broker"
        } }
      },
      {
        Sid       = "TasksOfEcs"
        Effect    = "Allow"
        Principal = { Service = "ecs-tasks.amazonaws.com" }
        Action    = ["sts:AssumeRole"]
        Condition = {
          StringEquals = { "aws:SourceAccount" = "123456789012" }
          ArnLike      = { "aws:SourceArn" = "arn:aws:ecs:eu-central-1:123456789012:*" }
        }
      },
      {
        Sid       = "InstancesOfEc2"
        Effect    = "Allow"
        Principal = { Service = "ec2.amazonaws.com" }
        Action    = ["sts:AssumeRole"]
      },
    ]
    error_message = output.broker_trust
  }
}

run "pod_identity_with_tags" {
  command = plan
  variables {
    assume = { roles = ["arn:aws:iam::*:role/ecr-pull"] }
    broker_trust = {
      pod_identity = {
        cluster_arn     = "arn:aws:eks:eu-central-1:123456789012:cluster/build"
        namespace       = "ecr-broker"
        service_account = "ecr-broker"
      }
    }
  }

  assert {
    condition     = jsondecode(output.assume).Statement[0].Action == ["sts:AssumeRole", "sts:TagSession"]
    error_message = output.assume
  }
}

run "pod_identity_without_tags" {
  command = plan
  variables {
    assume = { roles = ["arn:aws:iam::*:role/ecr-pull"] }
    broker_trust = {
      pod_identity = {
        cluster_arn     = "arn:aws:eks:eu-central-1:123456789012:cluster/build"
        namespace       = "ecr-broker"
        service_account = "ecr-broker"
        session_tags    = false
      }
    }
  }

  assert {
    condition     = !can(jsondecode(output.broker_trust).Statement[0].Condition)
    error_message = output.broker_trust
  }
  assert {
    condition     = jsondecode(output.assume).Statement[0].Action == ["sts:AssumeRole"]
    error_message = output.assume
  }
}

run "instance_in_china" {
  command = plan
  variables {
    partition    = "aws-cn"
    broker_trust = { ec2 = true }
  }

  assert {
    condition     = jsondecode(output.broker_trust).Statement[0].Principal.Service == "ec2.amazonaws.com.cn"
    error_message = output.broker_trust
  }
}
