#!/usr/bin/env bash
# Runs a command that tests, shows what it says, and says at the end once more what failed: among
# thousands of lines nobody finds it, and of a long log often only the end is kept.
#
#   scripts/recap.sh LOG COMMAND [ARGUMENT...]
#
# LOG keeps the whole output of the last run. The exit status is the command's.
set -euo pipefail

log=$1
shift
# An interrupt is the command's to answer: what it says while it cleans up is still shown.
trap '' INT
status=0
(trap - INT; exec "$@") 2>&1 | tee "$log" || status=${PIPESTATUS[0]}
# 130: interrupted, which is no failure.
if ((status != 0 && status != 130)); then
  echo "test: failed; the whole output is in $log. What failed:" >&2
  grep -E '^✘ Test .* recorded an? |^↳|error: ' "$log" | cut -c 1-400 | tail -n 40 >&2 || true
fi
exit "$status"
