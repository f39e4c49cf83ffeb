# coldframe. `make` lists what there is.
#
# Everything that a target installs goes to .bin/, in exact versions.

SHELL       := /bin/bash -o pipefail
.DEFAULT_GOAL := help

BIN         := $(CURDIR)/.bin
GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT      := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
COMMIT_TIME := $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || echo unknown)
LDFLAGS     := -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.commitTime=$(COMMIT_TIME)
# Everything that is built is static, and the same from the same commit, whoever builds it where.
BUILD       := CGO_ENABLED=0 go build -trimpath -buildvcs=false
# Packages whose tests run goroutines against each other; `make test` runs them under the race detector.
RACE        := ./bucket ./upload ./catalog ./compactor ./query/... ./serve/... ./ingest/...
FUZZTIME    ?= 60s
FUZZ        ?= .
FUZZCOUNT   ?= 2000
BENCH       ?= .
BENCHTIME   ?= 5x
COUNT       ?= 1

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: dev
dev: build ## build, and run everything in one process on the folder ./data (http://localhost:7070)
	./coldframe dev $(ARGS)

.PHONY: build
build: need-go ui ## build ./coldframe, its web page too where there is Node
	$(BUILD) -ldflags '$(LDFLAGS)' -o coldframe ./cmd/coldframe

# The page is built again only when what it is made of has changed. Without Node the binary has no page and says so.
UI_SOURCES := $(shell find ui/src -type f) ui/build.mjs ui/tsconfig.json ui/package-lock.json

.PHONY: ui
ifneq ($(shell command -v npm),)
ui: ui/dist/index.html
else
ui:
	@echo "no npm: ./coldframe will have no web page (Node 20: https://nodejs.org)"
endif

ui/dist/index.html: $(UI_SOURCES) ui/node_modules/.package-lock.json
	cd ui && npm run --silent check && npm run --silent build

ui/node_modules/.package-lock.json: ui/package-lock.json
	cd ui && npm ci --loglevel=error
	@touch $@

# What a function does not need is left out: other clouds' clients, RPC of old runtimes, a second JSON.
LAMBDA_ARCHS ?= arm64 amd64
LAMBDA_TAGS := lambda,lambda.norpc,stdlibjson,arrow_json_stdlib

.PHONY: lambda
lambda: need-go ui ## build the functions for AWS Lambda: dist/coldframe-lambda{,-ingest}-{arm64,amd64}.zip
	@set -e; for arch in $(LAMBDA_ARCHS); do for role in "" -ingest; do \
		dir=$(DIST)/lambda$$role-$$arch; mkdir -p $$dir; \
		GOOS=linux GOARCH=$$arch $(BUILD) -tags $(LAMBDA_TAGS)$${role/-/,} -ldflags '-s -w -X main.version=$(VERSION)' -o $$dir/bootstrap ./cmd/coldframe-lambda; \
		touch -d '2020-01-01 00:00 UTC' $$dir/bootstrap; rm -f $(DIST)/coldframe-lambda$$role-$$arch.zip; \
		(cd $$dir && TZ=UTC zip -qX ../coldframe-lambda$$role-$$arch.zip bootstrap); \
	done; done

.PHONY: test
test: need-go ui test-tools test-ui ## run every test, against real object storage servers too
	go test -timeout 20m ./...
	go test -timeout 20m -race -short $(RACE)

# The browser is Debian's chromium, or what COLDFRAME_CHROMIUM names; without one the end-to-end tests skip, except where CI is set.
.PHONY: test-ui
test-ui: build ## test the web page: units in Node, then everything in Chromium against ./coldframe
	cd ui && npm run --silent test
	cd ui/e2e && COLDFRAME=$(CURDIR)/coldframe go test -count=1 -timeout 15m ./...

.PHONY: bench-ui
bench-ui: build ## measure the web page in Chromium, on a quiet machine, and write its table of docs/benchmarks.md
	cd ui/e2e && COLDFRAME_BENCH=1 COLDFRAME=$(CURDIR)/coldframe go test -count=1 -timeout 15m -v -run TestSpeed .

.PHONY: sim
sim: need-go ## run the protocol's simulation 2,000 times; a failure names its seed, which `go test ./internal/sim -run TestSimulation -v -seed N` replays
	go test -count=1 -timeout 60m -run TestSimulation -v ./internal/sim -runs 2000

.PHONY: sim-mutations
sim-mutations: need-go ## take the protocol's guards away one by one; the simulation must find each
	go test -tags mutations -count=1 -timeout 60m -run TestMutations -v ./internal/sim

.PHONY: chaos
chaos: need-go test-tools ## kill compactors behind a bad network for two minutes, while clients push
	COLDFRAME_TEST_CHAOS=2m go test -count=1 -timeout 15m -run TestChaos -v ./cmd/coldframe

# It compiles and runs programs by gcc, g++, rustc, go, javac, node, python3 and perf; what is not
# there is skipped, and a failure where CI is set.
.PHONY: test-bpf
test-bpf: need-go test-tools ## sample this machine with eBPF, for some minutes: needs root and Linux 5.15
	@[ $$(id -u) = 0 ] || { echo "test-bpf: not root: the tests will skip"; }
	COLDFRAME_TEST_BPF=1 go test -count=1 -p 1 -timeout 40m ./bpf/... ./agent/...
	COLDFRAME_TEST_BPF=1 go test -count=1 -timeout 20m -run '^TestAgent' ./cmd/coldframe
	cd bpf/ehframe/oracle && go test -count=1 -timeout 20m ./...

.PHONY: test-arm64
test-arm64: need-go ## sample an emulated arm64 machine, for half an hour: needs Debian with qemu-system-arm, cpio and zstd
	internal/machine/arm64.sh

.PHONY: bench-agent
bench-agent: need-go ## measure what the agent costs, beside perf, for four minutes: needs root and perf; on a quiet machine
	COLDFRAME_TEST_BPF=1 COLDFRAME_BENCH_AGENT=1 go test -count=1 -timeout 20m -v -run '^TestCost$$' ./agent

.PHONY: check
check: fmt-check lint test generate-check ## all that must hold before a change lands

.PHONY: lint
lint: need-go $(BIN)/golangci-lint ## golangci-lint and go vet
	$(BIN)/golangci-lint run

.PHONY: fmt
fmt: $(BIN)/golangci-lint ## format the code
	$(BIN)/golangci-lint fmt

.PHONY: fmt-check
fmt-check: $(BIN)/golangci-lint ## fail if code is not formatted
	$(BIN)/golangci-lint fmt --diff

.PHONY: generate
generate: need-go need-clang ## make generated files again
	go generate ./...
	go mod tidy

.PHONY: generate-check
generate-check: generate ## fail if generated files or go.mod are stale
	git diff --exit-code

# Targets are found by their names in the tests, which is faster than to compile all tests and ask them.
.PHONY: fuzz
fuzz: need-go ## run the fuzz targets below the folders FUZZ (default: all) for FUZZTIME each (default 60s)
	@set -e; git ls-files -- $(patsubst %,'%/*_test.go',$(FUZZ)) | grep -v -e '^ui/' -e '^bpf/ehframe/oracle/' | xargs grep -o '^func Fuzz[A-Za-z0-9]*' | sort -u | \
	while IFS=: read -r file target; do \
		echo "$$(dirname $$file) $${target#func }"; \
		go test -run '^$$' -fuzz "^$${target#func }\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x ./$$(dirname $$file) </dev/null; \
	done

# Without coverage's guidance, but with the test binaries that there are anyway: to compile all that bucket and discovery link
# for the fuzzer takes many minutes. A count of runs, since the fuzzer may call the end of its time a failure.
.PHONY: fuzz-short
fuzz-short: need-go ## run every fuzz target below the folders FUZZ FUZZCOUNT times (default 2000) on changed seeds
	@set -e; bin=$$(mktemp -d); trap 'rm -rf $$bin' EXIT; \
	git ls-files -- $(patsubst %,'%/*_test.go',$(FUZZ)) | grep -v -e '^ui/' -e '^bpf/ehframe/oracle/' | xargs grep -o '^func Fuzz[A-Za-z0-9]*' | sort -u | \
	while IFS=: read -r file target; do \
		dir=$$(dirname $$file); test=$$bin/$${dir//\//_}.test; \
		[ -e $$test ] || go test -c -o $$test ./$$dir; \
		echo "$$dir $${target#func }"; \
		(cd $$dir && $$test -test.run '^$$' -test.fuzz "^$${target#func }\$$" -test.fuzztime $(FUZZCOUNT)x -test.fuzzminimizetime 1x \
			-test.fuzzcachedir $$bin/corpus -test.timeout 10m </dev/null >$$bin/log 2>&1) || { cat $$bin/log; exit 1; }; \
	done

.PHONY: bench
bench: need-go ## run the benchmarks (BENCH=regexp BENCHTIME=5x COUNT=n) and write the tables of docs/benchmarks.md
	@mkdir -p bench
	go test -p 1 -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem -count $(COUNT) -timeout 60m ./... | tee bench/new.txt
	go run ./internal/bench bench/new.txt docs/benchmarks.md

.PHONY: bench-month
bench-month: need-go ## ask a bucket of 30 days that is 40 ms away, cold and warm (minutes to fill it)
	COLDFRAME_MONTH_DAYS=30 go test -run '^$$' -bench '^BenchmarkMonth$$' -benchtime 200x -timeout 60m ./query

.PHONY: bench-scrape
bench-scrape: need-go ## scrape 10,000 profiles of addresses every 15 s, twice
	COLDFRAME_BENCH_PAIRS=10000 go test -run '^$$' -bench '^BenchmarkScrape$$' -benchtime 2x -timeout 10m ./ingest/scrape

.PHONY: tools
tools: test-tools $(BIN)/golangci-lint ## install the linter and the servers that tests run against

.PHONY: test-tools
test-tools: need-go need-node
	@bucket/buckettest/install.sh
	@internal/deploy/install.sh

$(BIN)/golangci-lint: Makefile
	GOBIN=$(BIN) go install $(GOLANGCI)
	@touch $@

.PHONY: clean
clean: ## remove what was built (not ./data)
	rm -rf coldframe dist bench ui/node_modules
	find ui/dist -mindepth 1 ! -name .keep -delete

.PHONY: need-go
need-go:
	@command -v go >/dev/null || { echo "Go 1.26 is missing: https://go.dev/dl"; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing (the race detector needs it): apt-get install gcc libc6-dev"; exit 1; }

.PHONY: need-node
need-node:
	@command -v npm >/dev/null || { echo "Node 20 with npm is missing (a test server needs it): https://nodejs.org"; exit 1; }

.PHONY: need-clang
need-clang:
	@command -v clang >/dev/null && command -v llvm-strip >/dev/null || { echo "clang 14 or llvm-strip is missing (the kernel's programs need them): apt-get install clang llvm"; exit 1; }

# What is released, in $(DIST). `make release` from a clean tree is the same bytes everywhere.
DIST            ?= dist
ARCH            ?= $(shell go env GOARCH)
NFPM            := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4
PACKAGE_VERSION := $(if $(filter v%,$(VERSION)),$(patsubst v%,%,$(VERSION)),0~$(subst -,+,$(VERSION)))
PLATFORMS       ?= linux-amd64 linux-arm64 darwin-amd64 darwin-arm64

$(BIN)/nfpm: Makefile
	GOBIN=$(BIN) go install -ldflags '-s -w' $(NFPM)
	@touch $@

binary-%: need-go ui
	GOOS=$(firstword $(subst -, ,$*)) GOARCH=$(lastword $(subst -, ,$*)) $(BUILD) -ldflags '-s -w $(LDFLAGS)' -o $(DIST)/coldframe-$* ./cmd/coldframe

# What is installed beside the binary: the manual page, what shells complete, units of a binary in /usr/bin.
.PHONY: share
share: build
	rm -rf $(DIST)/share && mkdir -p $(DIST)/share/units
	./coldframe man | gzip -9n > $(DIST)/share/coldframe.1.gz
	./coldframe completion bash > $(DIST)/share/coldframe.bash
	./coldframe completion zsh > $(DIST)/share/_coldframe
	./coldframe completion fish > $(DIST)/share/coldframe.fish
	for unit in infra/systemd/*.service; do sed 's|/usr/local/bin/|/usr/bin/|' $$unit > $(DIST)/share/units/$${unit##*/}; done
	chmod 644 $(DIST)/share/units/* $(DIST)/share/coldframe.* $(DIST)/share/_coldframe
	find $(DIST)/share -exec touch -h -d '$(COMMIT_TIME)' {} +

.PHONY: deb
deb: need-go share $(BIN)/nfpm ## build a Debian package of ARCH (default: this machine's): dist/coldframe_VERSION_ARCH.deb
	$(MAKE) --no-print-directory binary-linux-$(ARCH)
	ARCH=$(ARCH) DIST=$(DIST) PACKAGE_VERSION='$(PACKAGE_VERSION)' SOURCE_DATE_EPOCH=$$(date -d '$(COMMIT_TIME)' +%s) \
		$(BIN)/nfpm package -f infra/package/nfpm.yaml -p deb -t '$(DIST)/coldframe_$(PACKAGE_VERSION)_$(ARCH).deb'

.PHONY: image
image: ## build the container image of linux/amd64 and linux/arm64 (IMAGE=name, PUSH=--push); needs Docker's buildx
	@command -v docker >/dev/null || { echo "docker is missing: https://docs.docker.com/engine/install"; exit 1; }
	docker buildx build --platform linux/amd64,linux/arm64 -f infra/container/Dockerfile --build-arg VERSION=$(VERSION) \
		--build-arg COMMIT=$(COMMIT) --build-arg COMMIT_TIME=$(COMMIT_TIME) -t $${IMAGE:-coldframe}:$(VERSION) $(PUSH) .

.PHONY: release
release: lambda $(addprefix binary-,$(PLATFORMS)) ## build all that is released into dist/: binaries, functions, packages, what they are made of, checksums
	rm -f $(DIST)/*.deb $(DIST)/*.tar.gz
	@set -e; for platform in $(filter linux-%,$(PLATFORMS)); do $(MAKE) --no-print-directory deb ARCH=$${platform#linux-}; done
	@set -e; for platform in $(PLATFORMS); do \
		go run ./internal/sbom ui/package-lock.json $(DIST)/coldframe-$$platform > $(DIST)/coldframe-$$platform.cdx.json; \
		dir=$(DIST)/coldframe-$(VERSION)-$$platform; rm -rf $$dir; mkdir -p $$dir; \
		install $(DIST)/coldframe-$$platform $$dir/coldframe; install -m 644 LICENSE README.md $(DIST)/share/coldframe.* $(DIST)/share/_coldframe $$dir; \
		tar -C $(DIST) --sort=name --mtime='$(COMMIT_TIME)' --owner=0 --group=0 --numeric-owner -cf - $${dir##*/} | gzip -9n > $$dir.tar.gz; rm -rf $$dir; \
	done
	cd $(DIST) && sha256sum *.tar.gz coldframe-lambda*.zip *.deb *.cdx.json > SHA256SUMS

.PHONY: test-terraform
test-terraform: need-go ## validate and test Terraform's modules, by COLDFRAME_TERRAFORM or the terraform in PATH
	@command -v $${COLDFRAME_TERRAFORM:-terraform} >/dev/null || { echo "terraform is missing: https://developer.hashicorp.com/terraform/install"; exit 1; }
	go test -count=1 -timeout 10m -run 'Terraform|Lifecycle|Module|Alarm' -v ./internal/deploy
