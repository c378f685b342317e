#!/usr/bin/env bash
# lab-inside.sh GUESTS PIPE COMMAND [ARGUMENT ...]
#
# Process 1 of a lab: prepares its mounts and network and runs the command. For lab.sh.
set -euo pipefail
guests=$1
writer=$2
shift 2

# Whoever has this pipe keeps the janitor waiting.
exec {writer}>&-

# Names of network namespaces (/run/netns), sockets and locks of this lab only.
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir /run/netns /run/lock

# A virtual machine runs as a user of its own, who cannot enter the cache of root.
mount --bind "$guests" "$DORMOUSE_LAB_GUESTS"
mount -o remount,bind,ro "$DORMOUSE_LAB_GUESTS"

ip link set lo up

# Not exec: process 1 of a namespace ignores signals that it does not handle, and has to reap orphans.
# The interrupt key works again, which a background job ignores.
status=0
env --default-signal=INT,QUIT "$@" || status=$?
exit "$status"
