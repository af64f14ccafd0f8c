run "everything" {
  command = plan
  variables {
    mint = { short_lived = true }
    images = {
      account_id       = "123456789012"
      regions          = ["eu-central-1", "us-east-1"]
      repositories     = ["team-a/*", "base"]
      access           = "push"
      pull_through     = ["docker-hub/*"]
      mount_from       = ["base/*"]
      signing_profiles = ["release_1"]
      actions          = ["ecr:TagResource"]
    }
    assume = {
      roles           = ["arn:aws:iam::*:role/ecr-pull", "arn:aws:iam::210987654321:role/team/hub"]
      tag_session     = true
      source_identity = true
    }
  }

  assert {
    condition = [for statement in jsondecode(output.mint).Statement : statement.Action] == [
      ["ecr:GetAuthorizationToken"], ["ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"], ["signin:CreateBearerToken"],
    ]
    error_message = output.mint
  }
  assert {
    condition = jsondecode(output.images).Statement[0].Resource == [
      "arn:aws:ecr:eu-central-1:123456789012:repository/team-a/*",
      "arn:aws:ecr:eu-central-1:123456789012:repository/base",
      "arn:aws:ecr:us-east-1:123456789012:repository/team-a/*",
      "arn:aws:ecr:us-east-1:123456789012:repository/base",
    ]
    error_message = output.images
  }
  assert {
    condition = { for statement in jsondecode(output.images).Statement : statement.Sid => length(statement.Action) } == {
      PushWithMintedTokens = 9, MountLayers = 4, PullThroughCaches = 7, SignPushedImages = 1
    }
    error_message = output.images
  }
  assert {
    condition     = contains(jsondecode(output.images).Statement[3].Resource, "arn:aws:signer:us-east-1:123456789012:/signing-profiles/release_1")
    error_message = output.images
  }
  assert {
    condition = jsondecode(output.assume).Statement == [{
      Sid      = "AssumeRolesOfProfiles"
      Effect   = "Allow"
      Action   = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
      Resource = ["arn:aws:iam::*:role/ecr-pull", "arn:aws:iam::210987654321:role/team/hub"]
    }]
    error_message = output.assume
  }
}

run "nothing_asked_for" {
  command = plan

  assert {
    condition     = alltrue([for document in [output.images, output.assume, output.trust, output.broker_trust] : document == null])
    error_message = "A document was made that no variable asks for."
  }
}

run "without_ecr_public" {
  command = plan
  variables {
    mint = { public = false }
  }

  assert {
    condition     = [for statement in jsondecode(output.mint).Statement : statement.Sid] == ["MintPrivate"]
    error_message = output.mint
  }
}

run "china" {
  command = plan
  variables {
    partition = "aws-cn"
    images    = { account_id = "123456789012", regions = ["cn-north-1"], repositories = ["*"] }
    assume    = { roles = ["arn:aws-cn:iam::123456789012:role/ecr-pull"] }
  }

  # ECR Public is elsewhere.
  assert {
    condition     = length(jsondecode(output.mint).Statement) == 1
    error_message = output.mint
  }
  assert {
    condition     = jsondecode(output.images).Statement[0].Resource == ["arn:aws-cn:ecr:cn-north-1:123456789012:repository/*"]
    error_message = output.images
  }
  assert {
    condition     = jsondecode(output.assume).Statement[0].Action == ["sts:AssumeRole"]
    error_message = output.assume
  }
}

run "sovereign_cloud" {
  command = plan
  variables {
    partition = "aws-eusc"
    images    = { account_id = "123456789012", regions = ["eusc-de-east-1"], repositories = ["*"] }
  }

  assert {
    condition     = jsondecode(output.images).Statement[0].Resource == ["arn:aws-eusc:ecr:eusc-de-east-1:123456789012:repository/*"]
    error_message = output.images
  }
}

run "isolated_region" {
  command = plan
  variables {
    partition = "aws-iso-b"
    images    = { account_id = "123456789012", regions = ["us-isob-east-1"], repositories = ["*"] }
  }

  assert {
    condition     = jsondecode(output.images).Statement[0].Resource == ["arn:aws-iso-b:ecr:us-isob-east-1:123456789012:repository/*"]
    error_message = output.images
  }
}
