# A bucket, queries behind IAM, compaction: what an empty account needs. It costs next to
# nothing while nobody uploads.
terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

provider "aws" {}

variable "package_dir" {
  description = "Folder with the functions' zip files, of a release or of make lambda."
  type        = string
  default     = "../../../../dist"
}

module "coldframe" {
  source      = "../.."
  package_dir = var.package_dir
}

output "coldframe" {
  description = "Where queries are answered, and what agents are given."
  value = {
    url           = module.coldframe.urls["query"]
    bucket_config = module.coldframe.bucket_config
    agent_policy  = module.coldframe.agent_policy_arn
  }
}
