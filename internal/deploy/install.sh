#!/bin/sh
# Installs what manifests and charts are tested by into .bin, and the schemas of Kubernetes'
# API. What is there in the right version stays. Needs go.
set -eu
bin=$(cd "$(dirname "$0")/../.." && pwd)/.bin
mkdir -p "$bin"

install() { # name, module, package below it, version
	if ! go version -m "$bin/$1" 2>/dev/null | grep -q "mod	$2	$4	"; then
		GOBIN=$bin go install -ldflags '-s -w' "$2$3@$4"
	fi
}
install helm helm.sh/helm/v4 /cmd/helm v4.3.1
install kubeconform github.com/yannh/kubeconform /cmd/kubeconform v0.8.0

# They are not built: the one carries the OpenAPI documents of Kubernetes' releases, the other those of Prometheus' operator.
cd /
go mod download sigs.k8s.io/kubectl-validate@v0.0.4 github.com/prometheus-operator/prometheus-operator@v0.80.1
