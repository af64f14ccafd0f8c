# The quota alarm: once in each account and region whose roles request tokens.
terraform {
  required_version = ">= 1.9"
}

module "quota_alarm" {
  source = "../../modules/quota-alarm"

  quota   = 500
  actions = ["arn:aws:sns:eu-central-1:123456789012:on-call"]
}

output "alarm_arn" {
  description = "ARN of the alarm."
  value       = module.quota_alarm.alarm_arn
}
