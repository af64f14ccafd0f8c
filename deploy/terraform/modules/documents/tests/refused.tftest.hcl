# Values that would widen a document, or that AWS would refuse after half of an apply.

run "unknown_partition" {
  command = plan
  variables {
    partition = "aws-iso-c"
  }
  expect_failures = [var.partition]
}

run "public_registry_outside_aws" {
  command = plan
  variables {
    partition = "aws-us-gov"
    mint      = { public = true }
  }
  expect_failures = [var.mint]
}

run "account_of_eleven_digits" {
  command = plan
  variables {
    images = { account_id = "12345678901", regions = ["eu-central-1"], repositories = ["team-a/*"] }
  }
  expect_failures = [var.images]
}

run "account_wildcard" {
  command = plan
  variables {
    images = { account_id = "*", regions = ["eu-central-1"], repositories = ["team-a/*"] }
  }
  expect_failures = [var.images]
}

run "no_region" {
  command = plan
  variables {
    images = { account_id = "123456789012", regions = [], repositories = ["team-a/*"] }
  }
  expect_failures = [var.images]
}

run "region_with_wildcard" {
  command = plan
  variables {
    images = { account_id = "123456789012", regions = ["eu-*"], repositories = ["team-a/*"] }
  }
  expect_failures = [var.images]
}

run "no_repository" {
  command = plan
  variables {
    images = { account_id = "123456789012", regions = ["eu-central-1"], repositories = [] }
  }
  expect_failures = [var.images]
}

run "repository_with_inner_wildcard" {
  command = plan
  variables {
    images = { account_id = "123456789012", regions = ["eu-central-1"], repositories = ["team-*/app"] }
  }
  expect_failures = [var.images]
}

run "repository_in_upper_case" {
  command = plan
  variables {
    images = { account_id = "123456789012", regions = ["eu-central-1"], repositories = ["Team-A"] }
  }
  expect_failures = [var.images]
}

run "repository_with_variable" {
  command = plan
  variables {
    images = { account_id = "123456789012", regions = ["eu-central-1"], repositories = ["$${aws:PrincipalTag/team}/*"] }
  }
  expect_failures = [var.images]
}

run "repository_of_another_kind" {
  command = plan
  variables {
    images = { account_id = "123456789012", regions = ["eu-central-1"], repositories = ["a:b"] }
  }
  expect_failures = [var.images]
}

run "unknown_access" {
  command = plan
  variables {
    images = { account_id = "123456789012", regions = ["eu-central-1"], repositories = ["team-a/*"], access = "full" }
  }
  expect_failures = [var.images]
}

run "pull_that_mounts" {
  command = plan
  variables {
    images = { account_id = "123456789012", regions = ["eu-central-1"], repositories = ["team-a/*"], mount_from = ["base"] }
  }
  expect_failures = [var.images]
}

run "pull_that_signs" {
  command = plan
  variables {
    images = { account_id = "123456789012", regions = ["eu-central-1"], repositories = ["team-a/*"], signing_profiles = ["release"] }
  }
  expect_failures = [var.images]
}

run "signing_profile_with_slash" {
  command = plan
  variables {
    images = { account_id = "123456789012", regions = ["eu-central-1"], repositories = ["team-a/*"], access = "push", signing_profiles = ["a/b"] }
  }
  expect_failures = [var.images]
}

run "action_that_changes_permissions" {
  command = plan
  variables {
    images = { account_id = "123456789012", regions = ["eu-central-1"], repositories = ["team-a/*"], actions = ["ecr:SetRepositoryPolicy"] }
  }
  expect_failures = [var.images]
}

run "action_wildcard" {
  command = plan
  variables {
    images = { account_id = "123456789012", regions = ["eu-central-1"], repositories = ["team-a/*"], actions = ["ecr:*"] }
  }
  expect_failures = [var.images]
}

run "no_role_to_assume" {
  command = plan
  variables {
    assume = { roles = [] }
  }
  expect_failures = [var.assume]
}

run "any_role" {
  command = plan
  variables {
    assume = { roles = ["*"] }
  }
  expect_failures = [var.assume]
}

run "role_name_with_wildcard" {
  command = plan
  variables {
    assume = { roles = ["arn:aws:iam::123456789012:role/*"] }
  }
  expect_failures = [var.assume]
}

run "role_of_another_partition" {
  command = plan
  variables {
    assume = { roles = ["arn:aws-cn:iam::123456789012:role/ecr-pull"] }
  }
  expect_failures = [var.assume]
}

run "no_principal" {
  command = plan
  variables {
    trust = { principals = [] }
  }
  expect_failures = [var.trust]
}

run "any_principal" {
  command = plan
  variables {
    trust = { principals = ["*"] }
  }
  expect_failures = [var.trust]
}

run "account_as_principal" {
  command = plan
  variables {
    trust = { principals = ["arn:aws:iam::123456789012:root"] }
  }
  expect_failures = [var.trust]
}

run "principal_of_another_partition" {
  command = plan
  variables {
    trust = { principals = ["arn:aws-us-gov:iam::123456789012:role/ecr-broker"] }
  }
  expect_failures = [var.trust]
}

run "external_id_of_one_letter" {
  command = plan
  variables {
    trust = { principals = ["arn:aws:iam::123456789012:role/b"], external_id = "a" }
  }
  expect_failures = [var.trust]
}

run "external_id_with_wildcard" {
  command = plan
  variables {
    trust = { principals = ["arn:aws:iam::123456789012:role/b"], external_id = "build-*" }
  }
  expect_failures = [var.trust]
}

run "broker_that_runs_nowhere" {
  command = plan
  variables {
    broker_trust = {}
  }
  expect_failures = [var.broker_trust]
}

run "oidc_provider_as_address" {
  command = plan
  variables {
    broker_trust = { irsa = { account_id = "123456789012", oidc_provider = "https://oidc.example", namespace = "a", service_account = "b" } }
  }
  expect_failures = [var.broker_trust]
}

run "oidc_account_too_short" {
  command = plan
  variables {
    broker_trust = { irsa = { account_id = "1234", oidc_provider = "oidc.example", namespace = "a", service_account = "b" } }
  }
  expect_failures = [var.broker_trust]
}

run "every_service_account" {
  command = plan
  variables {
    broker_trust = { irsa = { account_id = "123456789012", oidc_provider = "oidc.example", namespace = "a", service_account = "*" } }
  }
  expect_failures = [var.broker_trust]
}

run "every_namespace" {
  command = plan
  variables {
    broker_trust = { irsa = { account_id = "123456789012", oidc_provider = "oidc.example", namespace = "*", service_account = "b" } }
  }
  expect_failures = [var.broker_trust]
}

run "every_cluster" {
  command = plan
  variables {
    broker_trust = { pod_identity = { cluster_arn = "arn:aws:eks:eu-central-1:123456789012:cluster/*", namespace = "a", service_account = "b" } }
  }
  expect_failures = [var.broker_trust]
}

run "every_pod" {
  command = plan
  variables {
    broker_trust = { pod_identity = { cluster_arn = "arn:aws:eks:eu-central-1:123456789012:cluster/build", namespace = "a", service_account = "*" } }
  }
  expect_failures = [var.broker_trust]
}

run "tasks_of_any_account" {
  command = plan
  variables {
    broker_trust = { ecs = { account_id = "*" } }
  }
  expect_failures = [var.broker_trust]
}

run "tasks_of_no_region" {
  command = plan
  variables {
    broker_trust = { ecs = { account_id = "123456789012", region = "eu" } }
  }
  expect_failures = [var.broker_trust]
}
