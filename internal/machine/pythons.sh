#!/bin/sh
# Installs the versions of CPython that tests of the agent sample into ~/.pyenv/versions, where they
# look: no release of Debian has them all. What is there, by pyenv or by whomever, stays. The rest is
# built from source, some two minutes each on two cores: needs curl, xz, make and a C compiler.
# Status 3: python.org is not reached, and some are not there.
set -eu
versions=$HOME/.pyenv/versions
mkdir -p "$versions"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

install() { # version, SHA-256 of its source
	minor=${1%.*}
	for there in "$versions/$minor".*/bin/python"$minor" /usr/bin/python"$minor" /opt/hostedtoolcache/Python/"$minor".*/x64/bin/python"$minor"; do
		if [ -x "$there" ]; then
			return
		fi
	done
	echo "CPython $1: building"
	if ! curl -fsSL --retry 3 -o "$work/source" "${PYTHON_SOURCES:-https://www.python.org/ftp/python}/$1/Python-$1.tar.xz"; then
		echo "CPython $1: its source is not reached; tests that sample it will skip"
		status=3
		return
	fi
	echo "$2  $work/source" | sha256sum -c --quiet
	mkdir "$work/$1"
	tar -xJf "$work/source" -C "$work/$1" --strip-components 1
	if ! (cd "$work/$1" && ./configure -q --prefix="$versions/$1" --without-ensurepip && make -s -j"$(nproc)" && make -s altinstall) >"$work/log" 2>&1; then
		tail -50 "$work/log"
		return 1
	fi
	rm -rf "${work:?}/$1"
}
status=0
install 3.8.18 3ffb71cd349a326ba7b2fadc7e7df86ba577dd9c4917e52a8401adbda7405e3f
install 3.9.18 01597db0132c1cf7b331eff68ae09b5a235a3c3caa9c944c29cac7d1c4c4c00a
install 3.10.13 5c88848668640d3e152b35b4536ef1c23b2ca4bd2c957ef1ecbb053f571dd3f6
install 3.11.7 18e1aa7e66ff3a58423d59ed22815a6954e53342122c45df20c96877c062b9b7
install 3.12.1 8dfb8f426fcd226657f9e2bd5f1e96e53264965176fa17d32658e873591aeb21
install 3.13.0 086de5882e3cb310d4dca48457522e2e48018ecd43da9cdf827f6a0759efb07d
exit $status
