# A bucket, queries for one group, compaction. It costs next to nothing while nobody uploads.
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
  source  = "../.."
  project = var.project
  image   = var.image
  callers = ["group:developers@example.com"]

}

output "coldframe" {
  description = "Where queries are answered, and what agents are given."
  value = {
    urls          = module.coldframe.urls
    bucket_config = module.coldframe.bucket_config
    agent         = module.coldframe.service_accounts["agent"]
  }
}
