#!/usr/bin/env bash
# run.sh [kcat|java|tools|go|franz|python|kafkajs|rust|cluster|links|fleet|mixed]...: real clients against Seedlog, each suite against a node of its own,
# `tools`, `franz` and the last four against a cluster of three; without a name all.
#
# One line a case: "pass SUITE: CASE", "FAIL SUITE: CASE: WHY", "skip SUITE: CASE: WHY"; the last line counts them. The exit code
# is 1 when a case failed. setup.sh installs what the suites need; what is not there is skipped, or with CI=true a failure.
# SEEDLOG_BIN names the binary, CHECKER_BIN seedlog-checker's; without them the release ones are built. A suite has SUITE_SECONDS_MAX.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# What somebody asked `mixed` to take comes on top.
suite_seconds_max=$((${SUITE_SECONDS_MAX:-400} + ${MIXED_SECONDS:-0}))
export CACHE=$here/.cache

[ $# -gt 0 ] || set -- kcat java tools go franz python kafkajs rust cluster links fleet mixed
for suite in "$@"; do
  case $suite in
    kcat | java | tools | go | franz | python | kafkajs | rust | cluster | links | fleet | mixed) ;;
    *) echo "usage: run.sh [kcat|java|tools|go|franz|python|kafkajs|rust|cluster|links|fleet|mixed]..." >&2; exit 2 ;;
  esac
done

if [ -z "${SEEDLOG_BIN:-}" ]; then
  (cd "$here/.." && cargo build --release --locked -p seedlog)
  SEEDLOG_BIN=${CARGO_TARGET_DIR:-$here/../target}/release/seedlog
fi
if [ -z "${CHECKER_BIN:-}" ]; then
  (cd "$here/.." && cargo build --release --locked -p seedlog-checker)
  CHECKER_BIN=${CARGO_TARGET_DIR:-$here/../target}/release/seedlog-checker
fi
export SEEDLOG_BIN CHECKER_BIN

folder=$(mktemp -d)
results=$folder/results
running=

clean_up() {
  trap - EXIT INT TERM
  [ -z "$running" ] || kill -TERM "$running" 2> /dev/null || true
  for node in "$folder"/*/node "$folder"/*/scratch/node-*; do
    [ ! -f "$node/pid" ] || "$here/node.sh" stop "$node" || true
  done
  rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { echo "$1" | tee -a "$results"; }

# The suite of links is the cluster's other one.
script_of() { [ "$1" = links ] && echo "$here/cluster/links.sh" || echo "$here/$1/suite.sh"; }

# Runs one suite. The node is judged too: it has to stop in order, and an ERROR in its log is a bug of ours.
run_suite() {
  local suite=$1 code=0 errors tee
  export NODE=$folder/$suite/node SCRATCH=$folder/$suite/scratch
  mkdir -p "$NODE" "$SCRATCH"
  if ! BOOTSTRAP=$("$here/node.sh" start "$NODE"); then
    say "FAIL $suite: the node starts: see above"
    return
  fi
  export BOOTSTRAP
  exec 3> >(tee -a "$results")
  tee=$!
  timeout --kill-after=5 "$suite_seconds_max" "$(script_of "$suite")" >&3 3>&- < /dev/null &
  running=$!
  wait "$running" || code=$?
  running=
  exec 3>&-
  wait "$tee"
  case $code in
    0) ;;
    124 | 137) say "FAIL $suite: the suite ends within $suite_seconds_max s: it did not" ;;
    *) grep -q "^FAIL $suite: " "$results" || say "FAIL $suite: the suite ends in order: exit code $code" ;;
  esac
  if "$here/node.sh" stop "$NODE"; then
    say "pass $suite: the node stops in order"
  else
    say "FAIL $suite: the node stops in order: see above"
  fi
  errors=$(grep -e '"level":"ERROR"' -e panicked "$NODE/log" | head -n 3 | cut -c1-500 | tr '\n' ' ') || true
  if [ -z "$errors" ]; then
    say "pass $suite: the node's log has no error"
  else
    say "FAIL $suite: the node's log has no error: $errors"
  fi
}

: > "$results"
started=$SECONDS
for suite in "$@"; do
  run_suite "$suite"
done

count() { grep -c "^$1 " "$results" || true; }
failed=$(count FAIL)
echo "after $((SECONDS - started)) s"
echo "$(count pass) passed, $failed failed, $(count skip) skipped"
[ "$failed" = 0 ]
