#!/usr/bin/env bash
# failover.sh [RUNS]: the time without a leader after SIGKILL and after SIGTERM, of three nodes of Seedlog with every setting as it
# is by default; see failover.py. SEEDLOG_BIN names the binary.
#
# Beside it those of another cluster of three that runs already, when these are set (`{node}` is a node's number):
#   OTHER_NAME, OTHER_BOOTSTRAP (host:port,...), OTHER_PID_FILE (a pattern), OTHER_RESTART (a command)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export SEEDLOG_BIN=${SEEDLOG_BIN:?failover.sh needs SEEDLOG_BIN}
export CACHE=$here/../.cache
SCRATCH=$(mktemp -d)
session_ms=
# shellcheck source=cluster.sh
. "$here/cluster.sh"

clean_up() {
  local id
  trap - EXIT INT TERM
  for id in 1 2 3; do
    [ ! -f "$SCRATCH/node-$id/pid" ] || "$node_sh" stop "$SCRATCH/node-$id" || true
  done
  rm -rf "$SCRATCH"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

configure
start_all
python3 "$here/failover.py" seedlog --runs "${1:-5}" --bootstrap "$brokers" --pid-file "$SCRATCH/node-{node}/pid" \
  --restart "'$node_sh' start '$SCRATCH/node-{node}'"
[ -z "${OTHER_NAME:-}" ] || python3 "$here/failover.py" "$OTHER_NAME" --runs "${1:-5}" --bootstrap "$OTHER_BOOTSTRAP" \
  --pid-file "$OTHER_PID_FILE" --restart "$OTHER_RESTART"
