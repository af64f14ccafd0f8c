# The documents are those of deploy/iam.
variables {
  images = {
    account_id   = "123456789012"
    regions      = ["us-east-1"]
    repositories = ["team-a/*"]
  }
}

run "read" {
  module {
    source = "./tests/canonical"
  }
  variables {
    documents = {}
  }
}

run "pull" {
  command = plan
}

run "push" {
  command = plan
  variables {
    images = {
      account_id   = "123456789012"
      regions      = ["us-east-1"]
      repositories = ["team-a/*"]
      access       = "push"
    }
  }
}

run "compare" {
  module {
    source = "./tests/canonical"
  }
  variables {
    documents = {
      "mint"      = run.pull.mint
      "pull"      = run.pull.images
      "push"      = run.push.images
      "mint.json" = run.read.published["mint.json"]
      "pull.json" = run.read.published["pull.json"]
      "push.json" = run.read.published["push.json"]
    }
  }

  assert {
    condition     = jsonencode(output.statements["mint"]) == jsonencode(output.statements["mint.json"])
    error_message = "mint is not deploy/iam/mint.json: ${jsonencode(output.statements["mint"])}"
  }
  assert {
    condition     = jsonencode(output.statements["pull"]) == jsonencode(output.statements["pull.json"])
    error_message = "images is not deploy/iam/pull.json: ${jsonencode(output.statements["pull"])}"
  }
  assert {
    condition     = jsonencode(output.statements["push"]) == jsonencode(output.statements["push.json"])
    error_message = "images is not deploy/iam/push.json: ${jsonencode(output.statements["push"])}"
  }
}
