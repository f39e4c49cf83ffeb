locals {
  # Metrics of the namespace coldframe are told by the functions, by cmd/coldframe-lambda.
  alarms = {
    compaction-lag = {
      description = "Minutes are sealed later than 10 minutes after their end: queries read more pprof blocks. See the log of ${var.name}-compact."
      namespace   = "coldframe", metric = "SealedLagSeconds", function = "compact", statistic = "Maximum"
      threshold   = 600, periods = 5, missing = "notBreaching"
    }
    compaction-stopped = {
      description = "The function that compacts was not invoked for 10 minutes: is the schedule on?"
      namespace   = "AWS/Lambda", metric = "Invocations", function = "compact", statistic = "Sum"
      threshold   = 1, periods = 10, missing = "breaching", below = true
    }
    compaction-errors = {
      description = "Compaction fails again and again. See the log of ${var.name}-compact."
      namespace   = "AWS/Lambda", metric = "Errors", function = "compact", statistic = "Sum"
      threshold   = 0, periods = 5, missing = "notBreaching"
    }
    query-errors = {
      description = "Queries end in errors. See the log of ${var.name}-query."
      namespace   = "coldframe", metric = "RequestErrors", function = "query", statistic = "Sum"
      threshold   = 0, periods = 5, missing = "notBreaching"
    }
    damage = {
      description = "A block is damaged or missing; the log of ${var.name}-compact names it. Run coldframe fsck."
      namespace   = "coldframe", metric = "QuarantinedBlocks", function = "compact", statistic = "Sum"
      threshold   = 0, periods = 1, missing = "notBreaching"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = { FunctionName = aws_lambda_function.this[each.value.function].function_name }
  statistic           = each.value.statistic
  period              = 60
  evaluation_periods  = each.value.periods
  threshold           = each.value.threshold
  comparison_operator = try(each.value.below, false) ? "LessThanThreshold" : "GreaterThanThreshold"
  treat_missing_data  = each.value.missing
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags
}

resource "aws_budgets_budget" "this" {
  count        = var.monthly_budget_usd == null ? 0 : 1
  name         = var.name
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = tostring(var.monthly_budget_usd)
  limit_unit   = "USD"
  tags         = local.tags

  cost_filter {
    name   = "TagKeyValue"
    values = ["user:coldframe$${var.name}"]
  }

  dynamic "notification" {
    for_each = length(var.alarm_topic_arns) == 0 ? {} : { ACTUAL = 80, FORECASTED = 100 }

    content {
      notification_type         = notification.key
      threshold                 = notification.value
      threshold_type            = "PERCENTAGE"
      comparison_operator       = "GREATER_THAN"
      subscriber_sns_topic_arns = var.alarm_topic_arns
    }
  }
}
