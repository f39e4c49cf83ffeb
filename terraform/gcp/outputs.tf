output "bucket" {
  description = "Name of the bucket."
  value       = google_storage_bucket.this.name
}

output "bucket_config" {
  description = "Of the bucket, for --bucket-config of agents and the command line. It holds no secret."
  value       = local.bucket_config
}

output "urls" {
  description = "URLs of the services: query, and ingest where it is enabled."
  value       = { for role, s in google_cloud_run_v2_service.this : role => s.uri }
}

output "service_accounts" {
  description = "E-mail addresses of the service accounts by role; agents use the first."
  value       = { for role, a in google_service_account.this : role => a.email }
}

output "lifecycle_days" {
  description = "After how many days the bucket deletes what begins with each prefix."
  value       = local.lifecycle_days
}
