#!/bin/sh
# Installs the servers that the tests of buckets run against into .bin. What is there in
# the right version stays. Needs go, node and npm.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$here/../.." && pwd)/.bin
mkdir -p "$bin/azurite"

install() { # name, module, package below it, version
	if go version -m "$bin/$1" 2>/dev/null | grep -q "mod	$2	$4	"; then
		return
	fi
	GOBIN=$bin go install "$2$3@$4"
}
install versitygw github.com/versity/versitygw /cmd/versitygw v1.8.0
install fake-gcs-server github.com/fsouza/fake-gcs-server "" v1.56.1

# Its command is called server.
if ! go version -m "$bin/toxiproxy-server" 2>/dev/null | grep -q "mod	github.com/Shopify/toxiproxy/v2	v2.12.0	"; then
	GOBIN=$bin/toxiproxy go install github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0
	mv "$bin/toxiproxy/server" "$bin/toxiproxy-server"
	rmdir "$bin/toxiproxy"
fi

# A copy of the lock file, made last, says that all of it is installed.
if ! cmp -s "$here/azurite/package-lock.json" "$bin/azurite/installed.json"; then
	cp "$here/azurite/package.json" "$here/azurite/package-lock.json" "$bin/azurite/"
	(cd "$bin/azurite" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
	cp "$here/azurite/package-lock.json" "$bin/azurite/installed.json"
fi
