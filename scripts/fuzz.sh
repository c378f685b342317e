#!/usr/bin/env bash
# fuzz.sh build                        builds the fuzzer (libFuzzer, with the address sanitizer)
# fuzz.sh run SECONDS [TARGET ...]     fuzzes each target (default: all) for that long, as many at a time as
#                                      there are processors; fails if anything is found
# fuzz.sh try TARGET FILE              runs a target on one input
# fuzz.sh keep [TARGET ...]            makes the smallest set of inputs that reaches what is reached by those
#                                      in the tree and those found so far, and puts it into the tree
#
#   BUILD=DIR         where `make` builds; the fuzzer is built in a directory below it
#   FUZZ_FORGET=1     what `run` reaches is not remembered for the next run
#
# Targets are in Tests/Fuzzing/Targets, their inputs in Tests/Fuzzing/Corpus. An input that breaks something
# is written below the cache's fuzz/found; mend the fault and add the input to the corpus, under a name that
# says what it was.
set -euo pipefail

fail() {
  echo "fuzz.sh: $1" >&2
  exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dormouse
scratch=${BUILD:-$cache/build}/fuzz
program=$scratch/release/dormouse-fuzz
corpus=$here/Tests/Fuzzing/Corpus
reached=$cache/fuzz/reached
found=$cache/fuzz/found

# Crashes are libFuzzer's to report. Leaks show as memory beyond its limit: what the runtime keeps for good
# is none.
export SWIFT_BACKTRACE=enable=no ASAN_OPTIONS=detect_leaks=0

build() {
  local log
  log=$(mktemp)
  # The linker repeats the sanitizer's symbols; what it says matters only if it fails.
  if ! (cd "$here" && DORMOUSE_FUZZ=1 swift build -c release --scratch-path "$scratch" \
    --product dormouse-fuzz) >"$log" 2>&1; then
    cat "$log" >&2
    rm "$log"
    fail "the fuzzer does not build"
  fi
  rm "$log"
}

longest() { "$program" | awk -v name="$1" '$1 == name { print $2 }'; }

# libFuzzer on one target, with further arguments.
fuzz() {
  local target=$1
  shift
  mkdir -p "$found"
  DORMOUSE_FUZZ_TARGET=$target "$program" -max_len="$(longest "$target")" -timeout=30 \
    -artifact_prefix="$found/$target-" "$@"
}

fuzz_for() {
  local seconds=$1 target=$2 directory=$reached/$2 log status=0
  log=$(mktemp)
  if [ -n "${FUZZ_FORGET:-}" ]; then directory=$(mktemp -d); fi
  mkdir -p "$directory"
  fuzz "$target" -max_total_time="$seconds" "$directory" "$corpus/$target" >"$log" 2>&1 || status=$?
  if [ "$status" = 0 ]; then
    echo "fuzz: $target: $(grep -ao 'DONE.*' "$log" | tail -1 | cut -d' ' -f2-)" >&2
  else
    grep -av '^#' "$log" | tail -60 >&2
    echo "fuzz: $target: broken; see $found, and scripts/fuzz.sh try $target FILE" >&2
  fi
  rm "$log"
  if [ -n "${FUZZ_FORGET:-}" ]; then rm -rf "$directory"; fi
  return "$status"
}

# Inputs that have been given a name are of faults that were found: they stay, whatever they reach.
keep() {
  local target=$1 smallest
  smallest=$(mktemp -d)
  mkdir -p "$reached/$target" "$corpus/$target"
  # By edges, not by how often each is taken: a tenth of the inputs.
  fuzz "$target" -use_counters=0 -set_cover_merge=1 "$smallest" "$corpus/$target" "$reached/$target" \
    >/dev/null 2>&1 ||
    fail "$target: cannot be merged; run it first"
  # libFuzzer's names are hashes.
  find "$corpus/$target" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
  cp -n "$smallest"/* "$corpus/$target/"
  rm -r "$smallest"
  echo "fuzz: $target: $(find "$corpus/$target" -type f | wc -l) inputs are kept" >&2
}

targets() {
  if [ $# -gt 0 ]; then printf '%s\n' "$@"; else "$program" | cut -d' ' -f1; fi
}

main() {
  [ $# -gt 0 ] || fail "usage: fuzz.sh build | run SECONDS [TARGET ...] | try TARGET FILE | keep [TARGET ...]"
  local command=$1
  shift
  case $command in
    build) build ;;
    one) fuzz_for "$@" ;;
    run)
      local seconds=$1
      shift
      targets "$@" | xargs -P "$(nproc)" -n 1 "${BASH_SOURCE[0]}" one "$seconds" || exit 1
      ;;
    try) fuzz "$1" "$2" ;;
    keep) for target in $(targets "$@"); do keep "$target"; done ;;
    *) fail "there is no command $command" ;;
  esac
}

main "$@"
