# ECR throttles every caller of an account and region together: the broker, nodes and pipelines that still ask AWS.
resource "aws_cloudwatch_metric_alarm" "quota" {
  alarm_name          = var.name
  alarm_description   = "GetAuthorizationToken is called at more than ${var.threshold_percent}% of its quota of ${var.quota} a second."
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.threshold_percent
  evaluation_periods  = var.minutes
  # A minute without a call has no data.
  treat_missing_data = "notBreaching"
  alarm_actions      = var.actions
  ok_actions         = var.actions
  tags               = var.tags

  metric_query {
    id          = "percent"
    label       = "GetAuthorizationToken, percent of the quota"
    expression  = "100 * calls / PERIOD(calls) / ${var.quota}"
    return_data = true
  }

  metric_query {
    id          = "calls"
    return_data = false

    metric {
      namespace   = "AWS/Usage"
      metric_name = "CallCount"
      stat        = "Sum"
      period      = 60
      dimensions = {
        Service  = "ECR"
        Type     = "API"
        Resource = "GetAuthorizationToken"
        Class    = "None"
      }
    }
  }
}
