# Everything that the module can do.
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

variable "token_sha256" {
  description = "SHA-256 sum of the token that clients bear."
  type        = string
}

variable "network" {
  description = "Where agents and the query tier live."
  type = object({
    vpc_id          = string
    subnet_ids      = list(string)
    route_table_ids = list(string)
  })
}

variable "image" {
  description = "coldframe's container image."
  type        = string
}

resource "aws_sns_topic" "alarms" {
  name = "coldframe-alarms"
}

module "coldframe" {
  source                = "../.."
  package_dir           = var.package_dir
  retention_days        = 30
  rollup_retention_days = 365
  authorization         = "TOKEN"
  tokens_sha256         = [var.token_sha256]
  query                 = { memory_mb = 3538, workers = 20 }
  compact               = { memory_mb = 1769 }
  ingest                = { enabled = true }
  tracing               = true
  alarm_topic_arns      = [aws_sns_topic.alarms.arn]
  monthly_budget_usd    = 200
  fargate = {
    image      = var.image
    vpc_id     = var.network.vpc_id
    subnet_ids = var.network.subnet_ids
  }
  scrapers = {
    image      = var.image
    vpc_id     = var.network.vpc_id
    subnet_ids = var.network.subnet_ids
    config = yamlencode({
      scrape_configs = [{
        job_name       = "instances"
        ec2_sd_configs = [{ port = 6060 }]
      }]
    })
    discover_ec2 = true
  }
  vpc_endpoint = {
    vpc_id          = var.network.vpc_id
    route_table_ids = var.network.route_table_ids
  }
}

# Hosts of this role may upload.
data "aws_iam_policy_document" "hosts" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "hosts" {
  name               = "coldframe-hosts"
  assume_role_policy = data.aws_iam_policy_document.hosts.json
}

resource "aws_iam_role_policy_attachment" "hosts" {
  role       = aws_iam_role.hosts.name
  policy_arn = module.coldframe.agent_policy_arn
}

output "urls" {
  description = "Where queries are answered and pushes are received."
  value       = module.coldframe.urls
}
