variable "name" {
  description = "Begins the names of everything that is made. Several coldframes in one account have different ones."
  type        = string
  default     = "coldframe"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,23}$", var.name))
    error_message = "name: want 2 to 24 lower-case letters, digits and hyphens, the first a letter."
  }
}

variable "bucket_name" {
  description = "Name of the bucket, unique in all of S3. Made of name, account and region when null."
  type        = string
  default     = null

  validation {
    condition     = var.bucket_name == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name: want 3 to 63 lower-case letters, digits, hyphens and dots."
  }
}

variable "package_dir" {
  description = "Folder with coldframe-lambda-ARCH.zip and coldframe-lambda-ingest-ARCH.zip, as a release has them and make lambda builds them."
  type        = string
}

variable "architecture" {
  description = "Processors of the functions: arm64, which costs a fifth less, or amd64."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "amd64"], var.architecture)
    error_message = "architecture: want arm64 or amd64."
  }
}

variable "retention_days" {
  description = "How long profiles live, in days, whosever they are. null: for good."
  type        = number
  default     = 30

  validation {
    condition     = var.retention_days == null || try(var.retention_days >= 7 && floor(var.retention_days) == var.retention_days, false)
    error_message = "retention_days: want a whole number of at least 7, which is how long blocks of less than a day live, or null."
  }
}

variable "rollup_retention_days" {
  description = "How long the rollups of a day live, in days; they answer long ranges when its profiles are gone. As long as profiles when null."
  type        = number
  default     = null

  validation {
    condition     = var.rollup_retention_days == null || try(var.rollup_retention_days >= var.retention_days, false)
    error_message = "rollup_retention_days: want at least retention_days, which must be set then."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the bucket, which agents must then be allowed to use. Null: S3's own keys, which cost nothing."
  type        = string
  default     = null
}

variable "authorization" {
  description = "Who may use the functions' URLs: IAM (requests signed by principals of the account with lambda:InvokeFunctionUrl) or TOKEN (anybody who bears one of the tokens; browsers and profilers can)."
  type        = string
  default     = "IAM"

  validation {
    condition     = contains(["IAM", "TOKEN"], var.authorization)
    error_message = "authorization: want IAM or TOKEN."
  }

  validation {
    condition     = var.authorization != "TOKEN" || length(var.tokens_sha256) > 0
    error_message = "authorization: TOKEN without tokens_sha256 would let everybody in; give at least one."
  }
}

variable "tokens_sha256" {
  description = "SHA-256 sums in hex of the tokens that clients bear, for authorization TOKEN: printf %s \"$TOKEN\" | sha256sum. Several let you change them one after the other."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for s in var.tokens_sha256 : can(regex("^[0-9a-f]{64}$", s))])
    error_message = "tokens_sha256: want SHA-256 sums, of 64 hex digits each; not the tokens themselves."
  }
}

variable "query" {
  description = "The function that answers queries: memory, which CPU follows (1769 MB are one), seconds until it is stopped, and invocations that may help with one query."
  type = object({
    memory_mb       = optional(number, 1769)
    timeout_seconds = optional(number, 60)
    workers         = optional(number, 10)
  })
  default = {}

  validation {
    condition     = var.query.memory_mb >= 512 && var.query.memory_mb <= 10240 && var.query.timeout_seconds >= 5 && var.query.timeout_seconds <= 900
    error_message = "query: want memory_mb from 512 to 10240 and timeout_seconds from 5 to 900."
  }

  validation {
    condition     = var.query.workers >= 0 && var.query.workers <= 1000
    error_message = "query: want workers from 0 to 1000."
  }
}

variable "compact" {
  description = "The function that compacts: memory, seconds until it is stopped, how often it looks for work, and whether it deletes what it has merged after an hour rather than leaving it to the bucket's rules for a week. Several may run at once."
  type = object({
    memory_mb       = optional(number, 1769)
    timeout_seconds = optional(number, 900)
    schedule        = optional(string, "rate(1 minute)")
    delete          = optional(bool, false)
  })
  default = {}

  validation {
    condition     = var.compact.memory_mb >= 512 && var.compact.memory_mb <= 10240 && var.compact.timeout_seconds >= 60 && var.compact.timeout_seconds <= 900
    error_message = "compact: want memory_mb from 512 to 10240 and timeout_seconds from 60 to 900."
  }

  validation {
    condition     = can(regex("^(rate|cron)\\(.+\\)$", var.compact.schedule))
    error_message = "compact: want a schedule such as rate(1 minute)."
  }
}

variable "ingest" {
  description = "Whether there is a function that receives pushes, so that SDKs need no agent and no credentials of S3; and its memory."
  type = object({
    enabled   = optional(bool, false)
    memory_mb = optional(number, 512)
  })
  default = {}

  validation {
    condition     = var.ingest.memory_mb >= 256 && var.ingest.memory_mb <= 10240
    error_message = "ingest: want memory_mb from 256 to 10240."
  }
}

variable "tracing" {
  description = "Whether X-Ray traces the functions."
  type        = bool
  default     = false
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 14

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365], var.log_retention_days)
    error_message = "log_retention_days: want 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180 or 365."
  }
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms are sent to."
  type        = list(string)
  default     = []
}

variable "monthly_budget_usd" {
  description = "A budget of what is tagged with this name, of which alarm_topic_arns hear at 80 % and when it is forecast to be exceeded. Null: none. The tag coldframe must be activated for cost allocation."
  type        = number
  default     = null

  validation {
    condition     = var.monthly_budget_usd == null || try(var.monthly_budget_usd > 0, false)
    error_message = "monthly_budget_usd: want more than 0, or null."
  }
}

variable "fargate" {
  description = "A query tier on ECS Fargate, whose tasks find each other by DNS and share queries, beside the function. Image: coldframe's. Null: none."
  type = object({
    image      = string
    vpc_id     = string
    subnet_ids = list(string)
    tasks      = optional(number, 2)
    cpu        = optional(number, 1024)
    memory_mb  = optional(number, 4096)
  })
  default = null

  validation {
    condition     = var.fargate == null || try(length(var.fargate.subnet_ids) > 0 && var.fargate.tasks > 0, false)
    error_message = "fargate: want at least one subnet and one task."
  }
}

variable "scrapers" {
  description = "A task on ECS Fargate that scrapes what config, the text of a parca.yaml, names; discover_ec2 lets it list instances. Image: coldframe's. Null: none."
  type = object({
    image        = string
    vpc_id       = string
    subnet_ids   = list(string)
    config       = string
    cpu          = optional(number, 256)
    memory_mb    = optional(number, 1024)
    discover_ec2 = optional(bool, false)
  })
  default = null

  validation {
    condition     = var.scrapers == null || try(length(var.scrapers.subnet_ids) > 0, false)
    error_message = "scrapers: want at least one subnet."
  }

  validation {
    condition     = var.scrapers == null || can(length(yamldecode(var.scrapers.config).scrape_configs))
    error_message = "scrapers: config is no parca.yaml with scrape_configs."
  }
}

variable "vpc_endpoint" {
  description = "A gateway endpoint for S3, through which agents of a VPC reach the bucket without NAT and its fees. Null: none."
  type = object({
    vpc_id          = string
    route_table_ids = list(string)
  })
  default = null
}

variable "tags" {
  description = "Tags of everything that can have them, beside coldframe = name."
  type        = map(string)
  default     = {}
}
