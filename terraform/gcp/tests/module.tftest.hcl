mock_provider "google" {}

variables {
  project = "example"
  image   = "example.org/coldframe:1"
}

run "minimal" {
  command = plan

  assert {
    condition     = google_storage_bucket.this.public_access_prevention == "enforced" && google_storage_bucket.this.uniform_bucket_level_access
    error_message = "nothing of the bucket is public"
  }

  assert {
    condition     = length(google_storage_bucket.this.lifecycle_rule) == length(output.lifecycle_days) + 1 && output.lifecycle_days["v1/b4/"] == 30
    error_message = "rules: ${jsonencode(output.lifecycle_days)}"
  }

  assert {
    condition     = length(google_cloud_run_v2_service.this) == 1 && google_cloud_run_v2_service.this["query"].template[0].scaling[0].min_instance_count == 0
    error_message = "one service, which sleeps while nobody asks"
  }

  assert {
    condition     = google_cloud_scheduler_job.compact.schedule == "* * * * *"
    error_message = "compaction looks every minute"
  }
}

run "rights" {
  command = plan

  assert {
    condition     = google_storage_bucket_iam_member.this["agent-create"].role == "roles/storage.objectCreator" && google_storage_bucket_iam_member.this["agent-create"].condition[0].expression == "resource.name.startsWith(\"projects/_/buckets/example-coldframe/objects/v1/l0/\")"
    error_message = "agents create below v1/l0/ and nothing else"
  }

  assert {
    condition     = google_storage_bucket_iam_member.this["query-read"].role == "roles/storage.objectViewer"
    error_message = "queries read"
  }

  assert {
    condition     = length([for k, m in google_storage_bucket_iam_member.this : k if startswith(k, "agent-")]) == 1
    error_message = "agents have one right"
  }
}

run "everything" {
  command = plan

  variables {
    retention_days        = 14
    rollup_retention_days = 90
    ingest                = { enabled = true }
    callers               = ["group:a@example.com", "user:b@example.com"]
    agents                = ["serviceAccount:nodes@example.iam.gserviceaccount.com"]
  }

  assert {
    condition     = length(google_cloud_run_v2_service.this) == 2 && length(google_cloud_run_v2_service_iam_member.callers) == 4
    error_message = "two services, two callers each"
  }

  assert {
    condition     = output.lifecycle_days["v1/b4/"] == 14 && output.lifecycle_days["v1/r4/"] == 90
    error_message = "profiles for two weeks, rollups for three months"
  }
}

run "everybody" {
  command         = plan
  expect_failures = [var.callers]

  variables {
    callers = ["allUsers"]
  }
}

run "other_mistakes" {
  command         = plan
  expect_failures = [var.name, var.retention_days, var.query, var.ingest, var.compact]

  variables {
    name           = "C"
    retention_days = 1
    query          = { max_instances = 0 }
    ingest         = { max_instances = 0 }
    compact        = { schedule = "hourly" }
  }
}

run "rollups_before_profiles" {
  command         = plan
  expect_failures = [var.rollup_retention_days]

  variables {
    rollup_retention_days = 8
  }
}
