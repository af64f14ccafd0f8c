variable "partition" {
  description = "AWS partition of every ARN."
  type        = string
  default     = "aws"
  nullable    = false

  validation {
    condition     = contains(["aws", "aws-cn", "aws-us-gov", "aws-eusc", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f"], var.partition)
    error_message = "The partition is aws, aws-cn, aws-us-gov, aws-eusc, aws-iso, aws-iso-b, aws-iso-e or aws-iso-f."
  }
}

variable "mint" {
  description = <<-END
    How tokens are requested. `public`: also those of ECR Public, which only the partition aws has.
    `short_lived`: also those of grants with `max_lifetime`.
  END
  type = object({
    public      = optional(bool)
    short_lived = optional(bool, false)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.partition == "aws" || var.mint.public != true
    error_message = "ECR Public is in the partition aws only; remove public."
  }
}

variable "images" {
  description = <<-END
    What tokens may do, with the keys of a profile: `access` is pull or push, and repositories are
    names, or prefixes and `*`. null: no such document.
  END
  type = object({
    account_id       = string
    regions          = list(string)
    repositories     = list(string)
    access           = optional(string, "pull")
    pull_through     = optional(list(string), [])
    mount_from       = optional(list(string), [])
    signing_profiles = optional(list(string), [])
    actions          = optional(list(string), [])
  })
  default = null

  validation {
    condition     = var.images == null ? true : can(regex("^[0-9]{12}$", var.images.account_id))
    error_message = "An account ID has 12 digits."
  }

  validation {
    condition = var.images == null ? true : length(var.images.regions) > 0 && alltrue([
      for region in var.images.regions : can(regex("^([a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}|\\*)$", region))
    ])
    error_message = "Name at least one region, such as eu-central-1, or * for all."
  }

  # ECR's names. Nothing else may get into an ARN.
  validation {
    condition = var.images == null ? true : length(var.images.repositories) > 0 && alltrue([
      for name in concat(var.images.repositories, var.images.pull_through, var.images.mount_from) :
      length(name) <= 256 && can(regex("^([a-z0-9._-][a-z0-9._/-]*\\*?|\\*)$", name))
    ])
    error_message = "Name at least one repository: a lower-case name, or a prefix and *."
  }

  validation {
    condition     = var.images == null ? true : contains(["pull", "push"], var.images.access)
    error_message = "The access is pull or push."
  }

  validation {
    condition = var.images == null ? true : var.images.access == "push" || (
      length(var.images.mount_from) == 0 && length(var.images.signing_profiles) == 0
    )
    error_message = "Layers are mounted and images signed by pushes; set the access push."
  }

  validation {
    condition = var.images == null ? true : alltrue([
      for name in var.images.signing_profiles : can(regex("^[a-zA-Z0-9_]{2,64}$", name))
    ])
    error_message = "A signing profile is a name of 2 to 64 letters, digits and _."
  }

  # The actions that a profile can add for private registries.
  validation {
    condition = var.images == null ? true : length(setsubtract(var.images.actions, [
      "ecr:BatchDeleteImage",
      "ecr:CreateRepository",
      "ecr:DescribeImageReplicationStatus",
      "ecr:DescribeImages",
      "ecr:DescribeRepositories",
      "ecr:TagResource",
    ])) == 0
    error_message = "A profile cannot add this action; docs/authorization.md lists those that it can."
  }
}

variable "assume" {
  description = <<-END
    Roles that the broker, or a role of a chain, may assume. An account of `*` stands for all: the
    trust policies there decide. `tag_session`: the profile has session_tags; it follows from
    `pod_identity`. `source_identity`: the profile has it. null: no such document.
  END
  type = object({
    roles           = list(string)
    tag_session     = optional(bool, false)
    source_identity = optional(bool, false)
  })
  default = null

  validation {
    condition = var.assume == null ? true : length(var.assume.roles) > 0 && alltrue([
      for role in var.assume.roles :
      can(regex("^arn:${var.partition}:iam::([0-9]{12}|\\*):role/[a-zA-Z0-9_+=,.@/-]+$", role))
    ])
    error_message = "Name at least one role: its ARN in the same partition, with an account ID or *."
  }
}

variable "trust" {
  description = <<-END
    Trust of a role that the broker assumes. `principals` are the broker's role, or the role before
    it in the chain. null: no such document.
  END
  type = object({
    principals      = list(string)
    external_id     = optional(string)
    tag_session     = optional(bool, false)
    source_identity = optional(bool, false)
  })
  default = null

  # Never an account or *: every identity there that may call STS could get the role.
  validation {
    condition = var.trust == null ? true : length(var.trust.principals) > 0 && alltrue([
      for principal in var.trust.principals :
      can(regex("^arn:${var.partition}:iam::[0-9]{12}:(role|user)/[a-zA-Z0-9_+=,.@/-]+$", principal))
    ])
    error_message = "Name at least one principal: the ARN of a role or user in the same partition."
  }

  validation {
    condition = var.trust == null ? true : (
      var.trust.external_id == null ? true :
      length(var.trust.external_id) <= 1224 && can(regex("^[a-zA-Z0-9_+=,.@:/-]{2,}$", var.trust.external_id))
    )
    error_message = "An external ID has 2 to 1224 letters, digits and _+=,.@:/-."
  }
}

variable "broker_trust" {
  description = <<-END
    Where the broker runs; several are possible. `irsa`: a service account of EKS by the cluster's
    OIDC provider (host and path, without https://). `pod_identity`: a service account of EKS by Pod
    Identity; without `session_tags` (disableSessionTags) only the association names the pod.
    `ecs`: tasks of the account. `ec2`: instances with the role's profile. null: no such document.
  END
  type = object({
    irsa = optional(object({
      account_id      = string
      oidc_provider   = string
      namespace       = string
      service_account = string
      audience        = optional(string, "sts.amazonaws.com")
    }))
    pod_identity = optional(object({
      cluster_arn     = string
      namespace       = string
      service_account = string
      session_tags    = optional(bool, true)
    }))
    ecs = optional(object({
      account_id = string
      region     = optional(string, "*")
    }))
    ec2 = optional(bool, false)
  })
  default = null

  validation {
    condition = var.broker_trust == null ? true : (
      var.broker_trust.irsa != null || var.broker_trust.pod_identity != null ||
      var.broker_trust.ecs != null || var.broker_trust.ec2
    )
    error_message = "Say where the broker runs: irsa, pod_identity, ecs or ec2."
  }

  validation {
    condition = var.broker_trust == null ? true : alltrue([
      for at in [var.broker_trust.irsa, var.broker_trust.ecs] : at == null ? true : can(regex("^[0-9]{12}$", at.account_id))
    ])
    error_message = "An account ID has 12 digits."
  }

  validation {
    condition = var.broker_trust == null ? true : (
      var.broker_trust.irsa == null ? true : can(regex("^[a-z0-9.-]+(/[a-zA-Z0-9._/-]+)?$", var.broker_trust.irsa.oidc_provider))
    )
    error_message = "Write the OIDC provider as IAM does: host and path, without https://."
  }

  # A wildcard would let every pod of the cluster be the broker.
  validation {
    condition = var.broker_trust == null ? true : alltrue([
      for at in [var.broker_trust.irsa, var.broker_trust.pod_identity] : at == null ? true : alltrue([
        for name in [at.namespace, at.service_account] : can(regex("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", name))
      ])
    ])
    error_message = "Name one namespace and one service account."
  }

  validation {
    condition = var.broker_trust == null ? true : (
      var.broker_trust.pod_identity == null ? true : can(regex(
        "^arn:${var.partition}:eks:[a-z0-9-]+:[0-9]{12}:cluster/[a-zA-Z0-9_-]+$", var.broker_trust.pod_identity.cluster_arn
      ))
    )
    error_message = "Name the cluster by its ARN, in the same partition."
  }

  validation {
    condition = var.broker_trust == null ? true : (
      var.broker_trust.ecs == null ? true : can(regex("^([a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}|\\*)$", var.broker_trust.ecs.region))
    )
    error_message = "Name a region, such as eu-central-1, or * for all."
  }
}
