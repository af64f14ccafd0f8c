variable "name" {
  description = "Name of the role."
  type        = string
  default     = "ecr-broker"
  nullable    = false
}

variable "path" {
  description = "Path of the role."
  type        = string
  default     = "/"
  nullable    = false
}

variable "permissions_boundary" {
  description = "ARN of the policy that bounds the role; null: none."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the resources."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "partition" {
  description = "AWS partition of every ARN."
  type        = string
  default     = "aws"
  nullable    = false
}

variable "runs_on" {
  description = "Where the broker runs, as `broker_trust` of modules/documents: irsa, pod_identity, ecs, ec2."
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
  nullable = false
}

variable "assume" {
  description = "Roles of profiles that the broker may assume, as `assume` of modules/documents; null: none."
  type = object({
    roles           = list(string)
    tag_session     = optional(bool, false)
    source_identity = optional(bool, false)
  })
  default = null
}

variable "images" {
  description = "What tokens of the broker's own role may do, as `images` of modules/documents; null: nothing."
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
    condition     = var.images != null || var.assume != null
    error_message = "Set assume, images or both: without them the broker's tokens cannot pull."
  }
}

variable "mint" {
  description = "How the broker's own role requests tokens, as `mint` of modules/documents; used with `images`."
  type = object({
    public      = optional(bool)
    short_lived = optional(bool, false)
  })
  default  = {}
  nullable = false
}
