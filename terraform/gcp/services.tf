locals {
  services = merge(
    {
      query = {
        cpu       = var.query.cpu
        memory    = var.query.memory
        instances = var.query.max_instances
      }
    },
    var.ingest.enabled ? {
      ingest = {
        cpu       = "1"
        memory    = "1Gi"
        instances = var.ingest.max_instances
      }
    } : {},
  )
}

resource "google_cloud_run_v2_service" "this" {
  for_each            = local.services
  project             = var.project
  name                = "${var.name}-${each.key}"
  location            = var.region
  labels              = local.labels
  deletion_protection = false

  template {
    service_account = google_service_account.this[each.key].email
    timeout         = "300s"

    scaling {
      min_instance_count = 0
      max_instance_count = each.value.instances
    }

    containers {
      image = var.image
      args  = [each.key, "--http-address=:8080"]

      env {
        name  = "COLDFRAME_BUCKET_CONFIG"
        value = local.bucket_config
      }

      ports {
        container_port = 8080
      }

      startup_probe {
        http_get {
          path = "/-/ready"
        }
      }

      resources {
        limits = {
          cpu    = each.value.cpu
          memory = each.value.memory
        }
      }
    }
  }
}

resource "google_cloud_run_v2_service_iam_member" "callers" {
  for_each = { for pair in setproduct(keys(local.services), var.callers) : join(" ", pair) => pair }
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.this[each.value[0]].name
  role     = "roles/run.invoker"
  member   = each.value[1]
}

resource "google_cloud_run_v2_job" "compact" {
  project             = var.project
  name                = "${var.name}-compact"
  location            = var.region
  labels              = local.labels
  deletion_protection = false

  template {
    template {
      service_account = google_service_account.this["compact"].email
      timeout         = "1800s"
      max_retries     = 0 # the next minute does what this one could not

      containers {
        image = var.image
        args  = ["compact", "--once"]

        env {
          name  = "COLDFRAME_BUCKET_CONFIG"
          value = local.bucket_config
        }

        resources {
          limits = {
            cpu    = var.compact.cpu
            memory = var.compact.memory
          }
        }
      }
    }
  }
}

resource "google_service_account" "schedule" {
  project      = var.project
  account_id   = "${var.name}-schedule"
  display_name = "coldframe schedule"
  description  = "Starts the job that compacts."
}

resource "google_cloud_run_v2_job_iam_member" "schedule" {
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.compact.name
  role     = "roles/run.invoker"
  member   = "serviceAccount:${google_service_account.schedule.email}"
}

resource "google_cloud_scheduler_job" "compact" {
  project     = var.project
  region      = var.region
  name        = "${var.name}-compact"
  description = "Merges what was uploaded."
  schedule    = var.compact.schedule

  retry_config {
    retry_count = 0
  }

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/projects/${var.project}/locations/${var.region}/jobs/${google_cloud_run_v2_job.compact.name}:run"

    oauth_token {
      service_account_email = google_service_account.schedule.email
    }
  }
}
