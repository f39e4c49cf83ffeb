data "aws_caller_identity" "current" {}
data "aws_region" "current" {}
data "aws_partition" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id
  region  = data.aws_region.current.region
  aws     = "arn:${data.aws_partition.current.partition}"

  tags = merge(var.tags, { coldframe = var.name })

  bucket     = coalesce(var.bucket_name, "${var.name}-${local.account}-${local.region}")
  bucket_arn = "${local.aws}:s3:::${local.bucket}"

  # What coldframe lifecycle print says, which the tests compare. The rules end what is older
  # than any tenant may keep; keys begin with the class, so that one rule serves all tenants.
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
}

resource "aws_s3_bucket" "this" {
  bucket = local.bucket
  tags   = local.tags
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# Objects are written once; only registers change, by compare-and-swap. Versions would keep
# every register that ever was.
resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Disabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    bucket_key_enabled = var.kms_key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  dynamic "rule" {
    for_each = local.lifecycle_days

    content {
      id     = "coldframe-${replace(trimsuffix(rule.key, "/"), "/", "-")}"
      status = "Enabled"

      filter {
        prefix = rule.key
      }

      expiration {
        days = rule.value
      }
    }
  }

  rule {
    id     = "coldframe-abort-uploads"
    status = "Enabled"

    filter {
      prefix = ""
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  bucket     = aws_s3_bucket.this.id
  policy     = jsonencode(local.bucket_policy)
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_vpc_endpoint" "s3" {
  count             = var.vpc_endpoint == null ? 0 : 1
  vpc_id            = var.vpc_endpoint.vpc_id
  service_name      = "com.amazonaws.${local.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = var.vpc_endpoint.route_table_ids
  tags              = merge(local.tags, { Name = "${var.name}-s3" })
}
