#!/bin/sh
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
# After an upgrade what runs is the new binary.
if [ "$1" = configure ] && [ -n "$2" ] && [ -d /run/systemd/system ]; then
	systemctl try-restart coldframe-agent coldframe-compact coldframe-ingest coldframe-query
fi
