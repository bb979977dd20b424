#!/usr/bin/env bash
# Kafka's own tools against three nodes: each step of steps.txt, compared with what is kept in seedlog.txt. See lib.sh for what
# is given; run by run.sh. UPDATE=1 writes seedlog.txt anew; the page is then `UPDATE_DOCS=1 cargo test -p seedlog-tests --test
# compatibility_doc`.
suite=tools
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=../cluster/cluster.sh
. "$here/../cluster/cluster.sh"
# shellcheck source=tools.sh
. "$here/tools.sh"

command -v java > /dev/null || { missing "every case" "there is no java"; exit 0; }
[ -d "$libs" ] || { missing "every case" "Kafka's jars are not there: see setup.sh"; exit 0; }
[ -f "$classes/Tools.class" ] || { missing "every case" "it is not compiled: see setup.sh"; exit 0; }

configure
# As kafka.sh has it: what is said outright is shown as a setting of the broker.
for id in 1 2 3; do printf 'min.insync.replicas=2\ndefault.replication.factor=3\noffsets.topic.num.partitions=1\n' >> "$SCRATCH/node-$id/server.properties"; done
start_all
if run_steps "$node_sh" "$SCRATCH/seedlog.txt" 2> "$SCRATCH/run.log"; then
  [ -z "${UPDATE:-}" ] || cp "$SCRATCH/seedlog.txt" "$here/seedlog.txt"
  tools_java compare "$here/seedlog.txt" "$SCRATCH/seedlog.txt"
else
  fail "all steps run" "$(tail -n 5 "$SCRATCH/run.log" | tr '\n' ' ')"
fi
check "the nodes stop in order, and their logs have no error" logs_are_clean
