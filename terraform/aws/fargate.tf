# A query tier that stays up, for who asks all day. Its tasks hold nothing: they find each
# other by DNS (Cloud Map) and share large queries over memberlist.
locals {
  fargate = var.fargate == null ? {} : { query = var.fargate }
}

resource "aws_service_discovery_private_dns_namespace" "this" {
  for_each    = local.fargate
  name        = "${var.name}.internal"
  description = "Members of coldframe's query tier."
  vpc         = each.value.vpc_id
  tags        = local.tags
}

resource "aws_service_discovery_service" "query" {
  for_each = local.fargate
  name     = each.key
  tags     = local.tags

  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.this[each.key].id
    routing_policy = "MULTIVALUE"

    dns_records {
      type = "A"
      ttl  = 10
    }
  }
}

resource "aws_security_group" "query" {
  for_each    = local.fargate
  name        = "${var.name}-fargate"
  description = "Members of coldframe's query tier, who talk to each other and to S3; let your own clients in on port 7070."
  vpc_id      = each.value.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "members" {
  for_each                     = var.fargate == null ? {} : { http = ["tcp", 7070], gossip-tcp = ["tcp", 7946], gossip-udp = ["udp", 7946] }
  security_group_id            = aws_security_group.query["query"].id
  referenced_security_group_id = aws_security_group.query["query"].id
  description                  = each.key
  ip_protocol                  = each.value[0]
  from_port                    = each.value[1]
  to_port                      = each.value[1]
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "all" {
  for_each          = local.fargate
  security_group_id = aws_security_group.query[each.key].id
  description       = "S3, the logs, each other"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
  tags              = local.tags
}

resource "aws_ecs_cluster" "this" {
  for_each = local.fargate
  name     = var.name
  tags     = local.tags
}

resource "aws_cloudwatch_log_group" "fargate" {
  for_each          = local.fargate
  name              = "/ecs/${var.name}-${each.key}"
  retention_in_days = var.log_retention_days
  tags              = local.tags
}

resource "aws_iam_role" "task" {
  for_each = { for use in var.fargate == null ? [] : ["task", "execution"] : use => use }
  name     = "${var.name}-fargate-${each.key}"
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

resource "aws_iam_role_policy" "task" {
  for_each = local.fargate
  name     = "bucket"
  role     = aws_iam_role.task["task"].id
  policy   = jsonencode(local.query_policy)
}

resource "aws_iam_role_policy_attachment" "execution" {
  for_each   = local.fargate
  role       = aws_iam_role.task["execution"].name
  policy_arn = "${local.aws}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_ecs_task_definition" "query" {
  for_each                 = local.fargate
  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = each.value.cpu
  memory                   = each.value.memory_mb
  task_role_arn            = aws_iam_role.task["task"].arn
  execution_role_arn       = aws_iam_role.task["execution"].arn
  tags                     = local.tags

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture == "arm64" ? "ARM64" : "X86_64"
  }

  container_definitions = jsonencode([{
    name                   = "query"
    image                  = each.value.image
    essential              = true
    readonlyRootFilesystem = true
    command                = ["query", "--http-address=:7070", "--cluster-join=query.${var.name}.internal"]
    environment            = [{ name = "COLDFRAME_BUCKET_CONFIG", value = local.bucket_config }]
    portMappings           = [{ containerPort = 7070 }, { containerPort = 7946 }, { containerPort = 7946, protocol = "udp" }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.fargate[each.key].name
        awslogs-region        = local.region
        awslogs-stream-prefix = "query"
      }
    }
  }])
}

resource "aws_ecs_service" "query" {
  for_each        = local.fargate
  name            = "query"
  cluster         = aws_ecs_cluster.this[each.key].arn
  task_definition = aws_ecs_task_definition.query[each.key].arn
  desired_count   = each.value.tasks
  launch_type     = "FARGATE"
  propagate_tags  = "SERVICE"
  tags            = local.tags

  network_configuration {
    subnets         = each.value.subnet_ids
    security_groups = [aws_security_group.query[each.key].id]
  }

  service_registries {
    registry_arn = aws_service_discovery_service.query[each.key].arn
  }
}
