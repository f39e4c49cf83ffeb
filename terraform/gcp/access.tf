# Who may do what. A condition on the object's name narrows each right to where its part
# works; names begin with projects/_/buckets/BUCKET/objects/.
locals {
  object = "projects/_/buckets/${local.bucket}/objects/v1"

  accounts = merge(
    {
      agent   = "Creates blocks, and nothing else."
      query   = "Reads."
      compact = "Reads, writes, and deletes what is of no use."
    },
    var.ingest.enabled ? { ingest = "Creates blocks, and reads settings." } : {},
  )

  # roles/storage.objectCreator creates and cannot overwrite, read, list or delete: an object that
  # exists is replaced only by who may delete it.
  grants = merge(
    {
      agent-create = {
        account = "agent", role = "roles/storage.objectCreator", below = ["l0"]
      }
      query-read = {
        account = "query", role = "roles/storage.objectViewer", below = []
      }
      compact-read = {
        account = "compact", role = "roles/storage.objectViewer", below = []
      }
      compact-write = {
        account = "compact", role = "roles/storage.objectUser", below = ["b1", "b2", "b3", "b4", "r4", "man", "meta", "tmp", "status"]
      }
      compact-delete = {
        account = "compact", role = "roles/storage.objectUser", below = ["l0"]
      }
    },
    var.ingest.enabled ? {
      ingest-create = {
        account = "ingest", role = "roles/storage.objectCreator", below = ["l0"]
      }
      ingest-read = {
        account = "ingest", role = "roles/storage.objectViewer", below = ["meta"]
      }
    } : {},
  )
}

resource "google_service_account" "this" {
  for_each     = local.accounts
  project      = var.project
  account_id   = "${var.name}-${each.key}"
  display_name = "coldframe ${each.key}"
  description  = each.value
}

resource "google_storage_bucket_iam_member" "this" {
  for_each = local.grants
  bucket   = google_storage_bucket.this.name
  role     = each.value.role
  member   = "serviceAccount:${google_service_account.this[each.value.account].email}"

  dynamic "condition" {
    for_each = length(each.value.below) == 0 ? [] : [each.value.below]

    content {
      title      = each.key
      expression = join(" || ", [for class in condition.value : "resource.name.startsWith(\"${local.object}/${class}/\")"])
    }
  }
}

resource "google_storage_bucket_iam_member" "agents" {
  for_each = toset(var.agents)
  bucket   = google_storage_bucket.this.name
  role     = "roles/storage.objectCreator"
  member   = each.value

  condition {
    title      = "agent-create"
    expression = "resource.name.startsWith(\"${local.object}/l0/\")"
  }
}
