locals {
  functions = merge(
    {
      query = {
        package = "coldframe-lambda"
        memory  = var.query.memory_mb
        timeout = var.query.timeout_seconds
        tmp     = 512
        policy  = local.query_policy
        invokes = var.query.workers > 0
        url     = true
        environment = {
          COLDFRAME_WORKERS = tostring(var.query.workers)
        }
      }
      compact = {
        package     = "coldframe-lambda"
        memory      = var.compact.memory_mb
        timeout     = var.compact.timeout_seconds
        tmp         = 2048 # blocks of a day, while they are written
        policy      = local.compact_policy
        invokes     = true # one invocation a shard
        url         = false
        environment = var.compact.delete ? { COLDFRAME_DELETE = "on" } : {}
      }
    },
    var.ingest.enabled ? {
      ingest = {
        package     = "coldframe-lambda-ingest"
        memory      = var.ingest.memory_mb
        timeout     = 30
        tmp         = 512
        policy      = local.ingest_policy
        invokes     = false
        url         = true
        environment = {}
      }
    } : {},
  )

  urls = { for role, f in local.functions : role => f if f.url }

  bucket_config = yamlencode({
    type = "S3"
    config = {
      bucket   = local.bucket
      endpoint = "s3.${local.region}.amazonaws.com"
      region   = local.region
    }
  })
}

resource "aws_cloudwatch_log_group" "function" {
  for_each          = local.functions
  name              = "/aws/lambda/${var.name}-${each.key}"
  retention_in_days = var.log_retention_days
  tags              = local.tags
}

resource "aws_iam_role" "function" {
  for_each           = local.functions
  name               = "${var.name}-${each.key}"
  assume_role_policy = local.trust["lambda"]
  tags               = local.tags
}

resource "aws_iam_role_policy" "bucket" {
  for_each = local.functions
  name     = "bucket"
  role     = aws_iam_role.function[each.key].id
  policy   = jsonencode(each.value.policy)
}

resource "aws_iam_role_policy" "runtime" {
  for_each = local.functions
  name     = "runtime"
  role     = aws_iam_role.function[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${local.aws}:logs:${local.region}:${local.account}:log-group:/aws/lambda/${var.name}-${each.key}:*"]
      }],
      each.value.invokes ? [{
        Sid    = "InvokeItself"
        Effect = "Allow"
        Action = ["lambda:InvokeFunction"]
        Resource = [
          "${local.aws}:lambda:${local.region}:${local.account}:function:${var.name}-${each.key}",
          "${local.aws}:lambda:${local.region}:${local.account}:function:${var.name}-${each.key}:*",
        ]
      }] : [],
      var.tracing ? [{
        Sid      = "Trace"
        Effect   = "Allow"
        Action   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
        Resource = ["*"] # X-Ray knows no resources
      }] : [],
    )
  })
}

resource "aws_lambda_function" "this" {
  for_each         = local.functions
  function_name    = "${var.name}-${each.key}"
  description      = "coldframe ${each.key}: continuous profiling in ${local.bucket}"
  role             = aws_iam_role.function[each.key].arn
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.architecture == "arm64" ? "arm64" : "x86_64"]
  filename         = "${var.package_dir}/${each.value.package}-${var.architecture}.zip"
  source_code_hash = filebase64sha256("${var.package_dir}/${each.value.package}-${var.architecture}.zip")
  memory_size      = each.value.memory
  timeout          = each.value.timeout
  tags             = local.tags

  ephemeral_storage {
    size = each.value.tmp
  }

  environment {
    variables = merge(
      {
        COLDFRAME_BUCKET_CONFIG = local.bucket_config
        COLDFRAME_ROLES         = each.key
      },
      each.value.url && var.authorization == "TOKEN" ? { COLDFRAME_TOKENS_SHA256 = join(",", var.tokens_sha256) } : {},
      each.value.environment,
    )
  }

  tracing_config {
    mode = var.tracing ? "Active" : "PassThrough"
  }

  depends_on = [aws_cloudwatch_log_group.function, aws_iam_role_policy.runtime, aws_iam_role_policy.bucket]
}

resource "aws_lambda_function_url" "this" {
  for_each           = local.urls
  function_name      = aws_lambda_function.this[each.key].function_name
  authorization_type = var.authorization == "IAM" ? "AWS_IAM" : "NONE"
  invoke_mode        = "RESPONSE_STREAM"
}

# With tokens the function itself decides who may; Lambda lets everybody ask.
resource "aws_lambda_permission" "url" {
  for_each               = { for role, f in local.urls : role => f if var.authorization == "TOKEN" }
  statement_id           = "url"
  function_name          = aws_lambda_function.this[each.key].function_name
  action                 = "lambda:InvokeFunctionUrl"
  principal              = "*"
  function_url_auth_type = "NONE"
}

resource "aws_iam_role" "schedule" {
  name = "${var.name}-schedule"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "scheduler.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
  tags = local.tags
}

resource "aws_iam_role_policy" "schedule" {
  name = "invoke"
  role = aws_iam_role.schedule.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["lambda:InvokeFunction"]
      Resource = [aws_lambda_function.this["compact"].arn]
    }]
  })
}

resource "aws_scheduler_schedule" "compact" {
  name                = "${var.name}-compact"
  description         = "Merges what was uploaded, one invocation a shard."
  schedule_expression = var.compact.schedule

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.this["compact"].arn
    role_arn = aws_iam_role.schedule.arn
    input    = jsonencode({ compact = {} })

    # The next minute does what this one could not.
    retry_policy {
      maximum_retry_attempts = 0
    }
  }
}

# Nor are invocations that are not waited for repeated.
resource "aws_lambda_function_event_invoke_config" "compact" {
  function_name                = aws_lambda_function.this["compact"].function_name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 300
}
