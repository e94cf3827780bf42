#!/usr/bin/env bash
# Runs recordings on a machine with a GPU and nvcc, without Deno, Node or a network:
#
#   cuda/check.sh RECORDINGS OUT [--emulator] [--replay FILE] [--plugin FILE]
#
# RECORDINGS is a folder that tests/support/cuda/record.ts wrote. Builds the plugin and native/replay under
# OUT/build unless they are named, replays everything, then a sample under compute-sanitizer. Writes
# OUT/result.json with device, versions and results, and a log of every stage. No stage takes longer than
# its limit, nor all of them longer than 7 minutes: one that would has failed. Exits with 1 when a stage
# failed, with 2 for arguments that make no sense. --emulator takes the kernels on this CPU in place of a
# GPU, to try the script itself.
set -uo pipefail

readonly most_seconds=420
root=$(cd "$(dirname "$0")/.." && pwd)
emulated=false replay='' plugin='' places=()

refuse() {
  echo "$1" >&2
  exit 2
}

# existing FILE: its whole path. replay takes a name without a slash for an engine's.
existing() {
  [ -f "$1" ] || refuse "Expected a file, found none: $1"
  echo "$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"
}

while [ $# -gt 0 ]; do
  case $1 in
    --emulator) emulated=true ;;
    --replay) replay=$(existing "${2-}") || exit 2; shift ;;
    --plugin) plugin=$(existing "${2-}") || exit 2; shift ;;
    -*) refuse "Expected --emulator, --replay FILE or --plugin FILE, got $1." ;;
    *) places+=("$1") ;;
  esac
  shift
done
if [ ${#places[@]} -ne 2 ] || [ ! -d "${places[0]}" ]; then
  refuse "Expected: cuda/check.sh RECORDINGS OUT, where RECORDINGS is a folder."
fi
mkdir -p "${places[1]}" || exit 2
recordings=$(cd "${places[0]}" && pwd)
out=$(cd "${places[1]}" && pwd)
# What another run left would pass for this one's.
rm -rf "$out/result.json" "$out/sample" "$out"/*.log
jobs=$(nproc)
stages=() failed=0

# stage NAME SECONDS COMMAND...: its output goes to OUT/NAME.log.
stage() {
  local name=$1 limit=$2 started=$SECONDS left=$((most_seconds - SECONDS)) status
  shift 2
  [ "$limit" -lt "$left" ] || limit=$((left > 1 ? left : 1))
  timeout "$limit" "$@" > "$out/$name.log" 2>&1
  status=$?
  [ $status -eq 0 ] || failed=1
  stages+=("{\"stage\": \"$name\", \"status\": $status, \"seconds\": $((SECONDS - started))}")
  case $status in
    0) echo "$name: passed" ;;
    124) echo "$name: not done within $limit s, see $out/$name.log" ;;
    *) echo "$name: failed ($status), see $out/$name.log" ;;
  esac
  return $status
}

# skip NAME REASON
skip() {
  stages+=("{\"stage\": \"$1\", \"skipped\": \"$2\"}")
  echo "$1: skipped, $2"
}

build_plugin() {
  local target=plugin library=libsecateur_cuda.so
  if $emulated; then target=emulator library=libsecateur_cuda_emulator.so; fi
  plugin=$out/build/cuda/$library
  stage configure-plugin 30 cmake -S "$root/cuda" -B "$out/build/cuda" &&
    stage build-plugin 240 cmake --build "$out/build/cuda" --target "$target" --parallel "$jobs"
}

build_replay() {
  replay=$out/build/native/replay
  stage configure-replay 30 cmake -S "$root/native" -B "$out/build/native" -DSECATEUR_ONEDNN=OFF &&
    stage build-replay 240 cmake --build "$out/build/native" --target replay --parallel "$jobs"
}

# What the replay's log says of the recordings: how many, and how many missed.
counts() {
  sed -n 's/^\([0-9]*\) recordings, \([0-9]*\) missed$/"recordings": \1, "missed": \2/p' \
    "$out/replay.log" 2> /dev/null
}

sanitize() {
  local tool=$1 sample=$out/sample
  if $emulated; then skip "$tool" "it looks at GPUs"; return; fi
  if ! command -v compute-sanitizer > /dev/null; then
    skip "$tool" "compute-sanitizer is not installed"
    return
  fi
  mkdir -p "$sample"
  # Every seventh of the operations: a sanitizer takes many times as long.
  find "$recordings" -name '[0-9]*.recording' | sort | awk 'NR % 7 == 1' |
    while read -r file; do ln -sf "$file" "$sample/"; done
  stage "$tool" 60 compute-sanitizer --tool "$tool" --error-exitcode 3 "$replay" "$sample" 1 "$plugin"
}

[ -n "$plugin" ] || build_plugin
[ -n "$replay" ] || [ $failed -ne 0 ] || build_replay
if [ $failed -eq 0 ]; then
  stage replay 120 "$replay" "$recordings" 1 "$plugin"
  sanitize memcheck
  sanitize racecheck
fi

device=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null | head -1)
compiler=$(nvcc --version 2> /dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p')
found=$(counts)
{
  echo "{"
  echo "  \"emulator\": $emulated,"
  echo "  \"device\": \"${device:-none}\","
  echo "  \"nvcc\": \"${compiler:-none}\","
  echo "  ${found:-\"recordings\": 0, \"missed\": 0},"
  echo "  \"passed\": $([ $failed -eq 0 ] && echo true || echo false),"
  echo "  \"stages\": ["
  (IFS=$'\n'; echo "${stages[*]}") | sed 's/^/    /; $!s/$/,/'
  echo "  ]"
  echo "}"
} > "$out/result.json"
echo "written: $out/result.json"
exit $failed
