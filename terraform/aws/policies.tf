# Who may do what, as documents. None of them names more than its part needs.
locals {
  objects = "${local.bucket_arn}/v1"

  # A block is created and never replaced: a PUT without If-None-Match is refused, whoever sends
  # it. So not even a stolen credential of an agent destroys what is there.
  bucket_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TLSOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "BlocksAreNotOverwritten"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = ["${local.objects}/l0/*"]
        Condition = { Null = { "s3:if-none-match" = "true" } }
      },
    ]
  }

  kms_use = var.kms_key_arn == null ? [] : [{
    Sid      = "Encrypt"
    Effect   = "Allow"
    Action   = ["kms:GenerateDataKey", "kms:Decrypt"]
    Resource = [var.kms_key_arn]
  }]

  # An agent puts pprof blocks, and can neither read, list, delete nor overwrite.
  agent_policy = {
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid       = "CreateBlocks"
        Effect    = "Allow"
        Action    = ["s3:PutObject"]
        Resource  = ["${local.objects}/l0/*"]
        Condition = { Null = { "s3:if-none-match" = "false" } }
      },
    ], local.kms_use)
  }

  read = [
    {
      Sid      = "Read"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = ["${local.objects}/*"]
    },
    {
      Sid      = "List"
      Effect   = "Allow"
      Action   = ["s3:ListBucket"]
      Resource = [local.bucket_arn]
    },
  ]

  # Queries read. What one invocation computes for another lies in v1/tmp/ for a day.
  query_policy = {
    Version = "2012-10-17"
    Statement = concat(local.read, [
      {
        Sid      = "Spill"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = ["${local.objects}/tmp/*"]
      },
    ], local.kms_use)
  }

  # Compaction writes blocks and registers, and deletes what a tenant's retention or a merge
  # has made useless; registers, settings and symbols it cannot delete.
  compact_policy = {
    Version = "2012-10-17"
    Statement = concat(local.read, [
      {
        Sid      = "Write"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = [for class in ["b1", "b2", "b3", "b4", "r4", "man", "meta", "tmp", "status"] : "${local.objects}/${class}/*"]
      },
      {
        Sid      = "Delete"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject"]
        Resource = [for class in ["l0", "b1", "b2", "b3", "b4", "r4", "tmp", "status"] : "${local.objects}/${class}/*"]
      },
    ], local.kms_use)
  }

  # Pushes are stored as agents store blocks; limits and retentions are read.
  ingest_policy = {
    Version = "2012-10-17"
    Statement = concat(local.agent_policy.Statement, [
      {
        Sid      = "ReadSettings"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["${local.objects}/meta/*"]
      },
    ])
  }
}

resource "aws_iam_policy" "agent" {
  name        = "${var.name}-agent"
  description = "Lets an agent of coldframe create blocks, and nothing else."
  policy      = jsonencode(local.agent_policy)
  tags        = local.tags
}
