variable "partition" {
  description = "AWS partition of every ARN."
  type        = string
  default     = "aws"
  nullable    = false
}

variable "account_id" {
  description = "The account of the registry, in which the roles are."
  type        = string
}

variable "broker_roles" {
  description = "ARNs of the roles that assume these: the broker's, or the role before in the profile's role_chain."
  type        = list(string)
}

variable "external_id" {
  description = "external_id of the profiles that name these roles; null: none."
  type        = string
  default     = null
}

variable "tag_session" {
  description = "Whether the profiles have session_tags, or the broker runs with EKS Pod Identity."
  type        = bool
  default     = false
  nullable    = false
}

variable "source_identity" {
  description = "Whether the profiles have source_identity."
  type        = bool
  default     = false
  nullable    = false
}

variable "mint" {
  description = "How the roles request tokens, as `mint` of modules/documents, but those of ECR Public only with `public`."
  type = object({
    public      = optional(bool)
    short_lived = optional(bool, false)
  })
  default  = {}
  nullable = false
}

variable "roles" {
  description = "Roles by name, each with the keys of `images` of modules/documents without the account."
  type = map(object({
    regions          = list(string)
    repositories     = list(string)
    access           = optional(string, "pull")
    pull_through     = optional(list(string), [])
    mount_from       = optional(list(string), [])
    signing_profiles = optional(list(string), [])
    actions          = optional(list(string), [])
  }))
  nullable = false

  validation {
    condition     = length(var.roles) > 0
    error_message = "Name at least one role."
  }
}

variable "path" {
  description = "Path of the roles."
  type        = string
  default     = "/"
  nullable    = false
}

variable "permissions_boundary" {
  description = "ARN of the policy that bounds the roles; null: none."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the roles."
  type        = map(string)
  default     = {}
  nullable    = false
}
