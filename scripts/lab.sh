#!/usr/bin/env bash
# lab.sh COMMAND [ARGUMENT ...]
#
# Runs a command as root in namespaces of its own (mounts, network, processes, IPC, host name) and with
# a swap file of its own, and takes everything away afterwards, however the command or this script ends,
# kill -9 included. The exit status is the command's.
#
#   DORMOUSE_LAB_SWAP=SIZE   size of the swap file, such as 512M; 0 for none (default 2G)
#   DORMOUSE_LAB_BASE=DIR    where the lab's directory is made: on a disk, with room for the swap file,
#                            and open to all users (default /var/tmp)
#   DORMOUSE_LAB_OWNER=PID   a process whose end, even by kill -9, is the lab's end too
#
# The command finds in its environment: DORMOUSE_LAB (the lab's directory, gone afterwards),
# DORMOUSE_LAB_GUESTS (the cached guest images, read-only), DORMOUSE_LAB_CHECKOUT (where the sources
# are), DORMOUSE_CONTROL_GROUP (the name of the control group for its virtual machines) and TMPDIR.
set -euo pipefail

fail() {
  echo "lab.sh: $1" >&2
  exit 1
}

# Runs when this script ends in any way but by kill -9. No signal handler does any work: bash cannot
# wait in one for what has ended during another wait.
finish() {
  status=$?
  trap '' INT TERM HUP
  if [ -n "$watcher" ]; then kill "$watcher" 2>/dev/null || true; fi
  # What is inside dies with the process that made the namespaces.
  if [ -n "$lab" ]; then
    disown "$lab"
    kill -KILL "$lab" 2>/dev/null || true
  fi
  exec {writer}>&-
  wait "$janitor" || status=1
  exit "$status"
}

# A function, so that the script is read as a whole before it runs, whatever becomes of its file.
main() {
  [ $# -gt 0 ] || fail "usage: lab.sh COMMAND [ARGUMENT ...]"
  [ -z "${DORMOUSE_LAB:-}" ] || exec "$@" # already inside
  [ "$(id -u)" = 0 ] || fail "must run as root: it makes namespaces and a swap file"

  local here id work swap cache pipe
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  id=$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
  work=${DORMOUSE_LAB_BASE:-/var/tmp}/dormouse-lab-$id
  swap=${DORMOUSE_LAB_SWAP:-2G}
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/dormouse/guest

  # The janitor is there before anything that it has to remove, in a session of its own, out of reach of
  # the terminal. It acts when the last writer of its pipe is gone: this shell, and the unshare that it
  # starts; nobody further down has the pipe. Opening it for both ways does not wait for the other end.
  pipe=$(mktemp --dry-run /tmp/dormouse-lab-XXXXXX)
  mkfifo -m 0600 "$pipe"
  exec {both}<>"$pipe" {writer}>"$pipe" {reader}<"$pipe" {both}<&-
  rm "$pipe"
  setsid bash "$here/lab-janitor.sh" "$work" <&"$reader" {reader}<&- {writer}>&- >&2 &
  janitor=$!
  exec {reader}<&-

  lab=
  watcher=
  interrupted=
  trap finish EXIT
  trap 'interrupted=130' INT
  trap 'interrupted=143' TERM
  trap 'interrupted=129' HUP

  mkdir -m 0755 "$work" || fail "cannot make $work; DORMOUSE_LAB_BASE names another place"
  mkdir -m 1777 "$work/tmp"
  mkdir -m 0755 "$work/guests"
  mkdir -p "$cache"
  if [ "$swap" != 0 ]; then
    (umask 077 && fallocate -l "$swap" "$work/swap") ||
      fail "no room for a swap file of $swap in $work; DORMOUSE_LAB_BASE names another place, \
DORMOUSE_LAB_SWAP another size"
    mkswap -q "$work/swap" >/dev/null
    # Before any other swap, so that what the tests page out is found where they look.
    swapon --priority 30000 "$work/swap" ||
      fail "$work cannot hold a swap file (no real disk?); DORMOUSE_LAB_BASE names another place"
  fi
  [ -z "$interrupted" ] || exit "$interrupted"

  export DORMOUSE_LAB=$work DORMOUSE_LAB_GUESTS=$work/guests TMPDIR=$work/tmp
  export DORMOUSE_CONTROL_GROUP=dormouse-lab-$id DORMOUSE_LAB_CHECKOUT=${here%/*}

  if [ -n "${DORMOUSE_LAB_OWNER:-}" ]; then
    setpriv --pdeathsig KILL bash -c '
      while [ -d "/proc/$1" ]; do sleep 0.5; done
      kill -TERM "$2"
    ' watcher "$DORMOUSE_LAB_OWNER" $$ {writer}>&- >/dev/null 2>&1 &
    watcher=$!
    disown "$watcher"
  fi

  # A background job, since a shell acts on no signal while it waits for one in the foreground.
  setpriv --pdeathsig KILL \
    unshare --mount --net --pid --ipc --uts --fork --kill-child=KILL --mount-proc \
    bash "$here/lab-inside.sh" "$cache" "$writer" "$@" <&0 &
  lab=$!
  local status=0
  wait "$lab" || status=$?
  [ -z "$interrupted" ] || exit "$interrupted"
  lab=
  exit "$status"
}

main "$@"
