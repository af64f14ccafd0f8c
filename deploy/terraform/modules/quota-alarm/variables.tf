variable "name" {
  description = "Name of the alarm."
  type        = string
  default     = "ecr-get-authorization-token-quota"
  nullable    = false
}

variable "quota" {
  description = <<-END
    Calls of GetAuthorizationToken that ECR takes in a second, in this account and region: Service
    Quotas L-55A41110. 500 unless it was raised.
  END
  type        = number
  default     = 500
  nullable    = false

  validation {
    condition     = var.quota > 0
    error_message = "The quota is a number of calls a second."
  }
}

variable "threshold_percent" {
  description = "Share of the quota above which the alarm is raised, in percent. A minute's average hides bursts: stay far below 100."
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.threshold_percent > 0 && var.threshold_percent <= 100
    error_message = "The threshold is above 0 and at most 100 percent."
  }
}

variable "minutes" {
  description = "Minutes in a row above the threshold."
  type        = number
  default     = 3
  nullable    = false

  validation {
    condition     = var.minutes >= 1 && floor(var.minutes) == var.minutes
    error_message = "A whole number of minutes, at least 1."
  }
}

variable "actions" {
  description = "ARNs that are notified of the alarm and of its end, such as an SNS topic."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "tags" {
  description = "Tags of the alarm."
  type        = map(string)
  default     = {}
  nullable    = false
}
