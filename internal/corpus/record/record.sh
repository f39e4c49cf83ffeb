#!/usr/bin/env bash
# Records the seeds of internal/corpus again: all, or those of the programs named.
#
#   internal/corpus/record/record.sh [compile esbuild golangci-lint link nats-server prometheus python3 sqlite3 versitygw]
#
# Needs Go, perf, python3, sqlite3 and npm's own sources (as something to bundle).
# Takes about half an hour on two CPUs, most of it to build what is not in $BIN.
set -euo pipefail
cd "$(dirname "$0")/../../.."

ESBUILD=v0.25.0 GOLANGCI=v2.15.0 NATS=v2.11.1 PROMETHEUS=v0.314.0 VERSITYGW=v1.8.0
WORK=${WORK:-$(mktemp -d)}
BIN=${BIN:-$WORK/bin}
GO=$(go env GOVERSION)
mkdir -p "$BIN"
BIN=$(cd "$BIN" && pwd)
go build -o "$WORK/record" ./internal/corpus/record

# seal PROGRAM VERSION MODULE KIND COMMAND RECORDING…
seal() {
	"$WORK/record" seal -program "$1" -version "$2" -module "$3" -kind "$4" -command "$5" \
		-trim "$(go env GOMODCACHE):$(go env GOROOT)/src:$WORK" "${@:6}"
}

# install NAME PACKAGE MODULE VERSION: by a module of its own, as some have replace directives.
install() {
	[ -x "$BIN/$1" ] && return
	mkdir -p "$WORK/module/$1"
	(
		cd "$WORK/module/$1"
		printf 'module tool\n\ngo 1.26\n\nrequire %s %s\n\ntool %s\n' "$3" "$4" "$2" >go.mod
		[ "$1" != prometheus ] || echo 'replace cloud.google.com/go => cloud.google.com/go v0.123.0' >>go.mod
		go mod tidy
		go build -trimpath -o "$BIN/$1" "$2"
	)
}

# take PORT NAME: profiles of a server that is under load now.
take() {
	curl -sf -o "$WORK/$2.cpu" "localhost:$1/debug/pprof/profile?seconds=60"
	for kind in heap goroutine; do curl -sf -o "$WORK/$2.$kind" "localhost:$1/debug/pprof/$kind"; done
}

compile() {
	local dir=$WORK/compile flags="" kind
	for kind in cpu mem block mutex; do
		mkdir -p "$dir/$kind"
		flags+=" -${kind}profile=$dir/$kind"
	done
	go build -trimpath -a -gcflags=all="$flags" std cmd/compile/internal/ssa cmd/compile/internal/types2
	seal compile "$GO" cmd/compile cpu "go build -a std cmd/compile/internal/ssa cmd/compile/internal/types2" "$dir"/cpu/*
	seal compile "$GO" cmd/compile heap "go build -a std cmd/compile/internal/ssa cmd/compile/internal/types2" "$dir"/mem/*
	for kind in block mutex; do
		seal compile "$GO" cmd/compile $kind "go build -a std cmd/compile/internal/ssa cmd/compile/internal/types2" "$dir/$kind"/*
	done
}

link() {
	local dir=$WORK/link i
	mkdir -p "$dir"
	for i in $(seq 40); do
		go build -trimpath -ldflags="-cpuprofile=$dir/$i.cpu -randlayout=$i" -o "$dir/go" cmd/go
	done
	seal link "$GO" cmd/link cpu "go build cmd/go, 40 times" "$dir"/*.cpu
}

golangci-lint() {
	install golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint github.com/golangci/golangci-lint/v2 $GOLANGCI
	(
		cd "$(go env GOROOT)/src"
		GOLANGCI_LINT_CACHE=$WORK/lintcache "$BIN/golangci-lint" run --no-config --issues-exit-code 0 \
			--default=standard -E gocritic,revive,gosec,unparam \
			--cpu-profile-path "$WORK/lint.cpu" --mem-profile-path "$WORK/lint.heap" ./net/http/... ./go/... >/dev/null
	)
	seal golangci-lint $GOLANGCI github.com/golangci/golangci-lint/v2 cpu "golangci-lint run of Go's net/http and go/..." "$WORK/lint.cpu"
	seal golangci-lint $GOLANGCI github.com/golangci/golangci-lint/v2 heap "golangci-lint run of Go's net/http and go/..." "$WORK/lint.heap"
}

esbuild() { # with --cpuprofile it bundles for half a minute
	install esbuild github.com/evanw/esbuild/cmd/esbuild github.com/evanw/esbuild $ESBUILD
	local npm i
	npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
	for i in 1 2; do
		"$BIN/esbuild" --bundle --minify --sourcemap --platform=node --log-level=error --outdir="$WORK/out" \
			--cpuprofile="$WORK/esbuild$i.cpu" --heap="$WORK/esbuild$i.heap" "$npm/lib/npm.js"
	done
	seal esbuild $ESBUILD github.com/evanw/esbuild cpu "esbuild --bundle --minify --sourcemap of npm" "$WORK"/esbuild?.cpu
	seal esbuild $ESBUILD github.com/evanw/esbuild heap "esbuild --bundle --minify --sourcemap of npm" "$WORK"/esbuild?.heap
}

nats-server() {
	install nats-server github.com/nats-io/nats-server/v2 github.com/nats-io/nats-server/v2 $NATS
	"$BIN/nats-server" -a 127.0.0.1 -p 14222 --profile 16061 -js -sd "$WORK/nats" >"$WORK/nats.log" 2>&1 &
	local client server=$!
	sleep 1
	"$WORK/record" load -for 80s nats 127.0.0.1:14222 &
	client=$!
	sleep 10
	take 16061 nats
	wait $client
	kill $server
	for kind in cpu heap goroutine; do
		seal nats-server $NATS github.com/nats-io/nats-server/v2 $kind "nats-server with JetStream, 4 clients publishing" "$WORK/nats.$kind"
	done
}

prometheus() {
	install prometheus github.com/prometheus/prometheus/cmd/prometheus github.com/prometheus/prometheus $PROMETHEUS
	{
		printf 'global: {scrape_interval: 1s, evaluation_interval: 2s}\nrule_files: [rules.yml]\nscrape_configs:\n'
		for i in $(seq 20); do printf '  - {job_name: self-%s, static_configs: [{targets: ["127.0.0.1:19090"]}]}\n' "$i"; done
	} >"$WORK/prometheus.yml"
	cat >"$WORK/rules.yml" <<-'RULES'
		groups:
		  - name: a
		    rules:
		      - {record: "job:requests:rate1m", expr: "sum by (job, handler) (rate(prometheus_http_requests_total[1m]))"}
		      - {record: "job:heap:max", expr: "max_over_time(go_memstats_heap_inuse_bytes[1m])"}
		      - {alert: Busy, expr: "rate(process_cpu_seconds_total[1m]) > 0.1", labels: {severity: page}}
	RULES
	"$BIN/prometheus" --config.file="$WORK/prometheus.yml" --storage.tsdb.path="$WORK/tsdb" --web.listen-address=127.0.0.1:19090 \
		--storage.tsdb.min-block-duration=1m --storage.tsdb.max-block-duration=4m >"$WORK/prometheus.log" 2>&1 &
	local client server=$!
	sleep 100 # until there are blocks to compact
	"$WORK/record" load -for 140s -workers 2 prometheus 127.0.0.1:19090 &
	client=$!
	sleep 5
	take 19090 prometheus
	cp "$WORK/prometheus.cpu" "$WORK/prometheus1.cpu"
	take 19090 prometheus
	wait $client
	kill $server
	seal prometheus $PROMETHEUS github.com/prometheus/prometheus cpu "prometheus scraping 20 targets a second, 2 clients querying" "$WORK/prometheus1.cpu" "$WORK/prometheus.cpu"
	for kind in heap goroutine; do
		seal prometheus $PROMETHEUS github.com/prometheus/prometheus $kind "prometheus scraping 20 targets a second, 2 clients querying" "$WORK/prometheus.$kind"
	done
}

versitygw() {
	install versitygw github.com/versity/versitygw/cmd/versitygw github.com/versity/versitygw $VERSITYGW
	mkdir -p "$WORK/s3"
	"$BIN/versitygw" --access test --secret testsecret --port 127.0.0.1:17070 --pprof 127.0.0.1:16062 --quiet posix "$WORK/s3" >"$WORK/versitygw.log" 2>&1 &
	local client server=$!
	sleep 2
	"$WORK/record" load -for 80s s3 127.0.0.1:17070 &
	client=$!
	sleep 5
	take 16062 versitygw
	wait $client
	kill $server
	for kind in cpu heap goroutine; do
		seal versitygw $VERSITYGW github.com/versity/versitygw $kind "versitygw posix, 4 clients storing and reading" "$WORK/versitygw.$kind"
	done
}

# sample PROGRAM VERSION COMMAND…: a program without pprof, its frames unwound from
# DWARF and left as addresses.
sample() {
	perf record -q -F 499 -e cpu-clock:u --call-graph dwarf,16384 -o "$WORK/perf.data" "${@:3}" >/dev/null
	perf script -i "$WORK/perf.data" -F pid,ip,dso --no-inline 2>/dev/null | "$WORK/record" perf -hertz 499 -out "$WORK/$1.cpu"
	rm "$WORK/perf.data"
}

sqlite3() {
	cat >"$WORK/work.sql" <<-'SQL'
		create table t(a integer primary key, b text, c real);
		create index tb on t(b);
		with recursive n(i) as (select 1 union all select i + 1 from n where i < 1500000)
		insert into t select i, hex(randomblob(8)), random() / 1e9 from n;
		select count(*), sum(c) from t where b like '%A%';
		select substr(b, 1, 2) k, avg(c), group_concat(a) from t group by k order by 2 desc limit 3;
		select count(*) from t x join t y on x.b = y.b where x.c > 0;
		select json_extract(json_object('a', a, 'b', b), '$.b') j, row_number() over (partition by a % 9 order by c) from t order by j limit 5;
		update t set b = lower(b) where a % 3 = 0;
		create virtual table f using fts5(x);
		insert into f select b || ' ' || c from t limit 400000;
		select count(*) from f where f match 'a*';
		delete from t where a % 2 = 0;
		vacuum;
	SQL
	sample sqlite3 "" sqlite3 "$WORK/t.db" ".read $WORK/work.sql"
	seal sqlite3 "$(command sqlite3 --version | cut -d' ' -f1)" "" cpu "sqlite3 inserting, joining, sorting, searching text" "$WORK/sqlite3.cpu"
}

python3() {
	cat >"$WORK/work.py" <<-'PY'
		import ast, collections, csv, decimal, difflib, glob, hashlib, io, json, os, pickle, re, tokenize, zlib
		files = sorted(glob.glob(os.path.dirname(os.__file__) + "/*.py"))[:160]
		words = collections.Counter()
		for name in files:
		    text = open(name, encoding="utf-8").read()
		    tree = ast.parse(text)
		    compile(tree, name, "exec"), ast.dump(tree)
		    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
		    words.update(re.findall(r"[A-Za-z_]\w+", text))
		    json.loads(json.dumps([t.string for t in tokens]))
		    pickle.loads(pickle.dumps([tuple(t) for t in tokens]))
		    zlib.decompress(zlib.compress(text.encode(), 6)), hashlib.sha256(text.encode()).hexdigest()
		    csv.writer(io.StringIO()).writerows(words.most_common(50))
		    difflib.SequenceMatcher(None, text[:400], text[200:600]).ratio()
		    sum((decimal.Decimal(n) / 7 for n in range(500)), decimal.Decimal(0))
		    sorted(text.splitlines(), key=lambda l: (len(l), l))
	PY
	sample python3 "" "$(command -v /usr/bin/python3)" "$WORK/work.py"
	seal python3 "$(/usr/bin/python3 -c 'import platform; print(platform.python_version())')" "" cpu "python3 parsing, tokenizing, pickling its own library" "$WORK/python3.cpu"
}

for program in "${@:-compile esbuild golangci-lint link nats-server prometheus python3 sqlite3 versitygw}"; do
	for p in $program; do
		echo "record $p" >&2
		$p
	done
done
