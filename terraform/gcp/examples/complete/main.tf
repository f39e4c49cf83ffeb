# Everything that the module can do.
terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0"
    }
  }
}

provider "google" {}

variable "project" {
  description = "Project in which everything is made."
  type        = string
}

variable "image" {
  description = "coldframe's container image."
  type        = string
}

module "coldframe" {
  source                = "../.."
  project               = var.project
  image                 = var.image
  callers               = ["group:developers@example.com"]
  region                = "us-central1"
  retention_days        = 30
  rollup_retention_days = 365
  query                 = { cpu = "4", memory = "8Gi", max_instances = 8 }
  ingest                = { enabled = true }
  compact               = { cpu = "2", memory = "4Gi" }
  agents                = ["serviceAccount:nodes@example.iam.gserviceaccount.com"]
  labels                = { team = "observability" }
}

output "coldframe" {
  description = "Where queries are answered, and what agents are given."
  value = {
    urls          = module.coldframe.urls
    bucket_config = module.coldframe.bucket_config
    agent         = module.coldframe.service_accounts["agent"]
  }
}
