#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	systemctl disable --now coldframe-agent coldframe-compact coldframe-ingest coldframe-query
fi
