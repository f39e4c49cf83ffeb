# A task that scrapes what a parca.yaml names, for targets in a VPC that push nothing. One alone:
# each would scrape every target.
locals {
  scrapers = var.scrapers == null ? {} : { scrape = var.scrapers }

  scrape_policy = {
    Version = "2012-10-17"
    Statement = concat(local.ingest_policy.Statement, try(var.scrapers.discover_ec2, false) ? [{
      Sid      = "Discover"
      Effect   = "Allow"
      Action   = ["ec2:DescribeInstances", "ec2:DescribeAvailabilityZones"]
      Resource = ["*"] # these know no narrower one
    }] : [])
  }
}

resource "aws_security_group" "scrape" {
  for_each    = local.scrapers
  name        = "${var.name}-scrape"
  description = "Scrapers of coldframe, whom nobody needs to reach; let them in where your targets are."
  vpc_id      = each.value.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_egress_rule" "scrape" {
  for_each          = local.scrapers
  security_group_id = aws_security_group.scrape[each.key].id
  description       = "Targets, S3, the logs"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
  tags              = local.tags
}

resource "aws_ecs_cluster" "scrape" {
  for_each = local.scrapers
  name     = "${var.name}-scrape"
  tags     = local.tags
}

resource "aws_cloudwatch_log_group" "scrape" {
  for_each          = local.scrapers
  name              = "/ecs/${var.name}-scrape"
  retention_in_days = var.log_retention_days
  tags              = local.tags
}

resource "aws_iam_role" "scrape" {
  for_each = { for use in var.scrapers == null ? [] : ["task", "execution"] : use => use }
  name     = "${var.name}-scrape-${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
    }]
  })
  tags = local.tags
}

resource "aws_iam_role_policy" "scrape" {
  for_each = local.scrapers
  name     = "bucket"
  role     = aws_iam_role.scrape["task"].id
  policy   = jsonencode(local.scrape_policy)
}

resource "aws_iam_role_policy_attachment" "scrape" {
  for_each   = local.scrapers
  role       = aws_iam_role.scrape["execution"].name
  policy_arn = "${local.aws}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_ecs_task_definition" "scrape" {
  for_each                 = local.scrapers
  family                   = "${var.name}-scrape"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = each.value.cpu
  memory                   = each.value.memory_mb
  task_role_arn            = aws_iam_role.scrape["task"].arn
  execution_role_arn       = aws_iam_role.scrape["execution"].arn
  tags                     = local.tags

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture == "arm64" ? "ARM64" : "X86_64"
  }

  volume {
    name = "config"
  }

  volume {
    name = "spool"
  }

  # The first container writes the configuration, which the second's file system is too closed for,
  # and gives the second, who is nobody, a place for what waits while the bucket is away.
  container_definitions = jsonencode([
    {
      name        = "config"
      image       = "public.ecr.aws/docker/library/busybox:1.37"
      essential   = false
      command     = ["sh", "-c", "printf '%s' \"$PARCA_YAML\" > /config/parca.yaml && chmod 1777 /spool"]
      environment = [{ name = "PARCA_YAML", value = each.value.config }]
      mountPoints = [{ sourceVolume = "config", containerPath = "/config" }, { sourceVolume = "spool", containerPath = "/spool" }]
    },
    {
      name                   = "scrape"
      image                  = each.value.image
      essential              = true
      readonlyRootFilesystem = true
      command                = ["ingest", "--http-address=:7070", "--config-path=/config/parca.yaml", "--spool-dir=/spool/coldframe"]
      environment            = [{ name = "COLDFRAME_BUCKET_CONFIG", value = local.bucket_config }]
      dependsOn              = [{ containerName = "config", condition = "SUCCESS" }]
      stopTimeout            = 90 # a stop writes what was gathered
      mountPoints            = [{ sourceVolume = "config", containerPath = "/config", readOnly = true }, { sourceVolume = "spool", containerPath = "/spool" }]
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = aws_cloudwatch_log_group.scrape[each.key].name
          awslogs-region        = local.region
          awslogs-stream-prefix = "scrape"
        }
      }
    },
  ])
}

resource "aws_ecs_service" "scrape" {
  for_each        = local.scrapers
  name            = "scrape"
  cluster         = aws_ecs_cluster.scrape[each.key].arn
  task_definition = aws_ecs_task_definition.scrape[each.key].arn
  desired_count   = 1
  launch_type     = "FARGATE"
  propagate_tags  = "SERVICE"
  tags            = local.tags

  # The old one stops before the new one starts: two would scrape everything twice.
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100

  network_configuration {
    subnets         = each.value.subnet_ids
    security_groups = [aws_security_group.scrape[each.key].id]
  }
}
