mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { region = "eu-central-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  package_dir = "tests/package"
}

run "minimal" {
  command = plan

  assert {
    condition     = aws_s3_bucket.this.bucket == "coldframe-123456789012-eu-central-1"
    error_message = "the bucket is named by account and region"
  }

  assert {
    condition     = aws_s3_bucket_public_access_block.this.restrict_public_buckets && aws_s3_bucket_public_access_block.this.block_public_policy
    error_message = "nothing of the bucket is public"
  }

  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Disabled"
    error_message = "versions would keep every register that ever was"
  }

  assert {
    condition     = output.lifecycle_days["v1/l0/"] == 7 && output.lifecycle_days["v1/b4/"] == 30 && output.lifecycle_days["v1/r4/"] == 30 && output.lifecycle_days["v1/tmp/"] == 1
    error_message = "rules: ${jsonencode(output.lifecycle_days)}"
  }

  assert {
    condition     = !contains(keys(output.lifecycle_days), "v1/man/") && !contains(keys(output.lifecycle_days), "v1/meta/")
    error_message = "registers and settings are under no rule"
  }

  assert {
    condition     = alltrue([for f in aws_lambda_function.this : f.runtime == "provided.al2023" && f.architectures[0] == "arm64"]) && length(aws_lambda_function.this) == 2
    error_message = "two functions on arm64"
  }

  assert {
    condition     = aws_lambda_function_url.this["query"].authorization_type == "AWS_IAM" && aws_lambda_function_url.this["query"].invoke_mode == "RESPONSE_STREAM" && length(aws_lambda_permission.url) == 0
    error_message = "the URL streams, and only the account's principals may use it"
  }

  assert {
    condition     = length(aws_ecs_service.this) == 0 && length(aws_ecs_cluster.this) == 0 && length(aws_vpc_endpoint.s3) == 0 && length(aws_budgets_budget.this) == 0
    error_message = "what costs by the hour is not there unless asked for"
  }
}

run "agents_put_and_nothing_else" {
  command = plan

  assert {
    condition     = jsondecode(aws_iam_policy.agent.policy).Statement[*].Action == [["s3:PutObject"]]
    error_message = "an agent's policy: ${aws_iam_policy.agent.policy}"
  }

  assert {
    condition     = jsondecode(aws_iam_policy.agent.policy).Statement[0].Resource == ["arn:aws:s3:::coldframe-123456789012-eu-central-1/v1/l0/*"]
    error_message = "an agent writes below v1/l0/ alone"
  }

  assert {
    condition     = jsondecode(aws_iam_policy.agent.policy).Statement[0].Condition.Null["s3:if-none-match"] == "false"
    error_message = "an agent creates and does not overwrite"
  }

  assert {
    condition     = [for s in output.policies.bucket.Statement : s.Effect] == ["Deny", "Deny"]
    error_message = "the bucket's policy only takes away"
  }

  assert {
    condition     = !contains(flatten([for s in output.policies.query.Statement : s.Action]), "s3:DeleteObject") && [for s in output.policies.query.Statement : s.Resource if contains(s.Action, "s3:PutObject")] == [["arn:aws:s3:::coldframe-123456789012-eu-central-1/v1/tmp/*"]]
    error_message = "queries read, and write to v1/tmp/ alone"
  }

  assert {
    condition     = !anytrue([for s in output.policies.compact.Statement : contains(s.Action, "s3:DeleteObject") && (contains(s.Resource, "arn:aws:s3:::coldframe-123456789012-eu-central-1/v1/man/*") || contains(s.Resource, "arn:aws:s3:::coldframe-123456789012-eu-central-1/v1/meta/*"))])
    error_message = "compaction deletes neither registers nor settings"
  }
}

run "everything" {
  command = plan

  variables {
    retention_days        = 14
    rollup_retention_days = 365
    architecture          = "amd64"
    authorization         = "TOKEN"
    tokens_sha256         = ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
    ingest                = { enabled = true }
    kms_key_arn           = "arn:aws:kms:eu-central-1:123456789012:key/example"
    alarm_topic_arns      = ["arn:aws:sns:eu-central-1:123456789012:alarms"]
    monthly_budget_usd    = 50
    tracing               = true
    fargate               = { image = "example.org/coldframe:1", vpc_id = "vpc-1", subnet_ids = ["subnet-1"] }
    scrapers              = { image = "example.org/coldframe:1", vpc_id = "vpc-1", subnet_ids = ["subnet-1"], config = "scrape_configs: [{job_name: a}]", discover_ec2 = true }
    vpc_endpoint          = { vpc_id = "vpc-1", route_table_ids = ["rtb-1"] }
  }

  assert {
    condition     = output.lifecycle_days["v1/b4/"] == 14 && output.lifecycle_days["v1/r4/"] == 365
    error_message = "profiles for two weeks, rollups for a year"
  }

  assert {
    condition     = length(aws_lambda_function_url.this) == 2 && length(aws_lambda_permission.url) == 2 && aws_lambda_function.this["ingest"].architectures[0] == "x86_64"
    error_message = "two URLs that ask for tokens"
  }

  assert {
    condition     = aws_lambda_function.this["query"].environment[0].variables.COLDFRAME_TOKENS_SHA256 == var.tokens_sha256[0] && !contains(keys(aws_lambda_function.this["compact"].environment[0].variables), "COLDFRAME_TOKENS_SHA256")
    error_message = "who has a URL asks for tokens"
  }

  assert {
    condition     = aws_ecs_service.this["query"].desired_count == 2 && length(aws_vpc_endpoint.s3) == 1 && aws_budgets_budget.this[0].limit_amount == "50"
    error_message = "two tasks, an endpoint, a budget"
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this["query"].container_definitions)[0].command == ["query", "--http-address=:7070", "--cluster-join=query.coldframe.internal"] && length(aws_ecs_service.this["query"].service_registries) == 1 && aws_ecs_service.this["query"].deployment_maximum_percent == 200
    error_message = "tasks of the query tier find each other by name"
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this["scrape"].container_definitions)[*].name == ["config", "scrape"] && toset([for v in aws_ecs_task_definition.this["scrape"].volume : v.name]) == toset(["config", "spool"]) && length(aws_ecs_service.this["scrape"].service_registries) == 0
    error_message = "scrapers have their configuration written, and a place for what waits"
  }

  assert {
    condition     = toset(keys(aws_iam_role.task)) == toset(["query-task", "query-execution", "scrape-task", "scrape-execution"]) && alltrue([for r in aws_iam_role.task : jsondecode(r.assume_role_policy).Statement[0].Principal.Service == "ecs-tasks.amazonaws.com"])
    error_message = "each has its own role, which only ECS takes on"
  }
}

run "scrapers" {
  command = plan

  variables {
    scrapers = { image = "example.org/coldframe:1", vpc_id = "vpc-1", subnet_ids = ["subnet-1"], config = "scrape_configs: []" }
  }

  assert {
    condition     = aws_ecs_service.this["scrape"].desired_count == 1 && aws_ecs_service.this["scrape"].deployment_maximum_percent == 100
    error_message = "never two, which would scrape everything twice"
  }

  assert {
    condition     = flatten([for s in jsondecode(aws_iam_role_policy.task["scrape"].policy).Statement : s.Action]) == ["s3:PutObject", "s3:GetObject"]
    error_message = "scrapers create blocks and read settings: ${aws_iam_role_policy.task["scrape"].policy}"
  }

  assert {
    condition     = keys(aws_ecs_service.this) == ["scrape"]
    error_message = "scrapers alone"
  }
}

run "scrapers_without_targets" {
  command         = plan
  expect_failures = [var.scrapers]

  variables {
    scrapers = { image = "x", vpc_id = "vpc-1", subnet_ids = ["subnet-1"], config = "job_name: a" }
  }
}

run "for_good" {
  command = plan

  variables {
    retention_days = null
  }

  assert {
    condition     = !contains(keys(output.lifecycle_days), "v1/b4/") && !contains(keys(output.lifecycle_days), "v1/r4/")
    error_message = "days are kept for good"
  }
}

run "short_retention" {
  command         = plan
  expect_failures = [var.retention_days]

  variables {
    retention_days = 3
  }
}

run "rollups_before_profiles" {
  command         = plan
  expect_failures = [var.rollup_retention_days]

  variables {
    retention_days        = 30
    rollup_retention_days = 29
  }
}

run "no_tokens" {
  command         = plan
  expect_failures = [var.authorization]

  variables {
    authorization = "TOKEN"
  }
}

run "a_token_is_no_sum" {
  command         = plan
  expect_failures = [var.tokens_sha256]

  variables {
    tokens_sha256 = ["secret"]
  }
}

run "other_mistakes" {
  command         = plan
  expect_failures = [var.name, var.architecture, var.query, var.compact, var.log_retention_days, var.monthly_budget_usd, var.bucket_name, var.fargate, var.ingest]

  variables {
    name               = "Coldframe!"
    architecture       = "riscv"
    query              = { memory_mb = 1 }
    compact            = { schedule = "hourly" }
    ingest             = { memory_mb = 1 }
    log_retention_days = 2
    monthly_budget_usd = 0
    bucket_name        = "B"
    fargate            = { image = "x", vpc_id = "vpc-1", subnet_ids = [] }
  }
}
