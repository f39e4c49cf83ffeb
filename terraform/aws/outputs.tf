output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.id
}

output "bucket_config" {
  description = "Of the bucket, for --bucket-config of agents and the command line. It holds no secret: credentials are those of whoever runs them."
  value       = local.bucket_config
}

output "urls" {
  description = "URLs of the functions that have one: query, and ingest where it is enabled."
  value       = { for role, u in aws_lambda_function_url.this : role => u.function_url }
}

output "agent_policy_arn" {
  description = "Policy for the roles of hosts that run an agent: it can create blocks, and nothing else."
  value       = aws_iam_policy.agent.arn
}

output "function_names" {
  description = "Names of the functions by role."
  value       = { for role, f in aws_lambda_function.this : role => f.function_name }
}

output "scrapers_security_group_id" {
  description = "Security group of the scrapers, for targets to let in; null without any."
  value       = try(aws_security_group.task["scrape"].id, null)
}

output "lifecycle_days" {
  description = "After how many days the bucket deletes what begins with each prefix."
  value       = local.lifecycle_days
}

output "policies" {
  description = "Documents of who may do what with the bucket, for review."
  value = {
    bucket  = local.bucket_policy
    agent   = local.agent_policy
    query   = local.query_policy
    compact = local.compact_policy
    ingest  = local.ingest_policy
  }
}
