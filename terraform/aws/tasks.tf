# What runs on ECS Fargate: the query tier of fargate.tf and the scrapers of scrapers.tf. All of
# them are made here, by role.
locals {
  tasks = merge(local.query_tasks, local.scrape_tasks)

  # Who may take a role on.
  trust = { for who in ["ecs-tasks", "lambda"] : who => jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "${who}.amazonaws.com" }
    }]
  }) }

  task_roles = { for pair in setproduct(keys(local.tasks), ["task", "execution"]) : join("-", pair) => pair[0] }
}

resource "aws_ecs_cluster" "this" {
  count = length(local.tasks) == 0 ? 0 : 1
  name  = var.name
  tags  = local.tags
}

resource "aws_security_group" "task" {
  for_each    = local.tasks
  name        = "${var.name}-${each.key}-task"
  description = each.value.reached_by
  vpc_id      = each.value.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_egress_rule" "task" {
  for_each          = local.tasks
  security_group_id = aws_security_group.task[each.key].id
  description       = each.value.reaches
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
  tags              = local.tags
}

resource "aws_cloudwatch_log_group" "task" {
  for_each          = local.tasks
  name              = "/ecs/${var.name}-${each.key}"
  retention_in_days = var.log_retention_days
  tags              = local.tags
}

resource "aws_iam_role" "task" {
  for_each           = local.task_roles
  name               = "${var.name}-${each.key}"
  assume_role_policy = local.trust["ecs-tasks"]
  tags               = local.tags
}

resource "aws_iam_role_policy" "task" {
  for_each = local.tasks
  name     = "bucket"
  role     = aws_iam_role.task["${each.key}-task"].id
  policy   = jsonencode(each.value.policy)
}

resource "aws_iam_role_policy_attachment" "execution" {
  for_each   = local.tasks
  role       = aws_iam_role.task["${each.key}-execution"].name
  policy_arn = "${local.aws}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_ecs_task_definition" "this" {
  for_each                 = local.tasks
  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = each.value.cpu
  memory                   = each.value.memory_mb
  task_role_arn            = aws_iam_role.task["${each.key}-task"].arn
  execution_role_arn       = aws_iam_role.task["${each.key}-execution"].arn
  tags                     = local.tags

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture == "arm64" ? "ARM64" : "X86_64"
  }

  dynamic "volume" {
    for_each = each.value.volumes

    content {
      name = volume.value
    }
  }

  container_definitions = jsonencode(concat(each.value.before, [merge({
    name                   = each.key
    image                  = each.value.image
    essential              = true
    readonlyRootFilesystem = true
    environment            = [{ name = "COLDFRAME_BUCKET_CONFIG", value = local.bucket_config }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.task[each.key].name
        awslogs-region        = local.region
        awslogs-stream-prefix = each.key
      }
    }
  }, each.value.container)]))
}

resource "aws_ecs_service" "this" {
  for_each        = local.tasks
  name            = each.key
  cluster         = aws_ecs_cluster.this[0].arn
  task_definition = aws_ecs_task_definition.this[each.key].arn
  desired_count   = each.value.count
  launch_type     = "FARGATE"
  propagate_tags  = "SERVICE"
  tags            = local.tags

  # Of one that must be alone the old stops before the new starts.
  deployment_minimum_healthy_percent = each.value.alone ? 0 : 100
  deployment_maximum_percent         = each.value.alone ? 100 : 200

  network_configuration {
    subnets         = each.value.subnet_ids
    security_groups = [aws_security_group.task[each.key].id]
  }

  dynamic "service_registries" {
    for_each = { for role, s in aws_service_discovery_service.query : role => s if role == each.key }

    content {
      registry_arn = service_registries.value.arn
    }
  }
}
