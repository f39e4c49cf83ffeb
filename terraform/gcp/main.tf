locals {
  bucket = coalesce(var.bucket_name, "${var.project}-${var.name}")
  labels = merge(var.labels, { coldframe = var.name })

  # What coldframe lifecycle print says, which the tests compare.
  lifecycle_days = merge(
    {
      "v1/l0/"     = 7
      "v1/b1/"     = 7
      "v1/b2/"     = 7
      "v1/b3/"     = 7
      "v1/tmp/"    = 1
      "v1/status/" = 1
    },
    var.retention_days == null ? {} : {
      "v1/b4/" = var.retention_days
      "v1/r4/" = coalesce(var.rollup_retention_days, var.retention_days)
    },
  )

  bucket_config = yamlencode({ type = "GCS", config = { bucket = local.bucket } })
}

resource "google_storage_bucket" "this" {
  project                     = var.project
  name                        = local.bucket
  location                    = var.region
  labels                      = local.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # Objects are written once; deleted ones would be kept and billed for a week.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  versioning {
    enabled = false
  }

  dynamic "lifecycle_rule" {
    for_each = local.lifecycle_days

    content {
      action {
        type = "Delete"
      }

      condition {
        age            = lifecycle_rule.value
        matches_prefix = [lifecycle_rule.key]
      }
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }

    condition {
      age = 1
    }
  }
}
