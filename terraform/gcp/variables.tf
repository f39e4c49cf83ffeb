variable "project" {
  description = "Project in which everything is made."
  type        = string
}

variable "region" {
  description = "Where the bucket and all that works on it are."
  type        = string
  default     = "europe-west3"
}

variable "name" {
  description = "Begins the names of everything that is made. Several coldframes in one project have different ones."
  type        = string
  default     = "coldframe"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "name: want 2 to 20 lower-case letters, digits and hyphens, the first a letter."
  }
}

variable "bucket_name" {
  description = "Name of the bucket, unique in all of GCS. Made of project and name when null."
  type        = string
  default     = null
}

variable "image" {
  description = "coldframe's container image, by digest or version."
  type        = string
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

variable "callers" {
  description = "Who may ask and push, as IAM members: user:, group:, serviceAccount:, domain:. allUsers would let everybody in and is refused."
  type        = list(string)
  default     = []

  validation {
    condition     = !contains(var.callers, "allUsers") && !contains(var.callers, "allAuthenticatedUsers")
    error_message = "callers: allUsers and allAuthenticatedUsers would let everybody read your profiles; name members, or put a proxy before it that asks who they are."
  }
}

variable "agents" {
  description = "Who may upload blocks, as IAM members, beside the service account that is made for agents: those of your nodes, for instance."
  type        = list(string)
  default     = []
}

variable "query" {
  description = "Service that answers queries: CPUs, memory and at most how many instances. None runs while nobody asks."
  type = object({
    cpu           = optional(string, "2")
    memory        = optional(string, "4Gi")
    max_instances = optional(number, 4)
  })
  default = {}

  validation {
    condition     = var.query.max_instances >= 1 && var.query.max_instances <= 1000
    error_message = "query: want max_instances from 1 to 1000."
  }
}

variable "ingest" {
  description = "Whether there is a service that receives pushes, and at most how many instances of it."
  type = object({
    enabled       = optional(bool, false)
    max_instances = optional(number, 10)
  })
  default = {}

  validation {
    condition     = var.ingest.max_instances >= 1 && var.ingest.max_instances <= 1000
    error_message = "ingest: want max_instances from 1 to 1000."
  }
}

variable "compact" {
  description = "Job that compacts: CPUs, memory, and the cron schedule by which it looks for work. Two may run at once."
  type = object({
    cpu      = optional(string, "1")
    memory   = optional(string, "2Gi")
    schedule = optional(string, "* * * * *")
  })
  default = {}

  validation {
    condition     = length(split(" ", var.compact.schedule)) == 5
    error_message = "compact: want a schedule of five fields, such as * * * * * for every minute."
  }
}

variable "labels" {
  description = "Labels of everything that can have them."
  type        = map(string)
  default     = {}
}
