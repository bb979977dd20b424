#!/usr/bin/env bash
# franz-go's own tests of its client and of its administration, as they are, against three nodes. What does not pass is in
# not-yet.txt with its reason. See lib.sh for what is given; run by run.sh, whose own node is not used. FRANZ_RECORDS is what each of
# the groups' tests moves through three topics, 500000 by franz-go itself; FRANZ_SECONDS bounds all of them, and with it goes
# run.sh's SUITE_SECONDS_MAX.
suite=franz
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=../cluster/cluster.sh
. "$here/../cluster/cluster.sh"

command -v go > /dev/null || { missing "every case" "there is no go"; exit 0; }
"$here/build.sh" "$CACHE/franz" || { fail "every case" "the tests do not build"; exit 1; }

# package NAME: its name, its tests, and the folder of its sources, where Go runs them.
package() { echo "$1=$CACHE/franz/$1.test=$(cd "$here" && go list -f '{{.Dir}}' "github.com/twmb/franz-go/pkg/$1")"; }

configure
start_all
failed=0
KGO_SEEDS=$brokers KGO_TEST_RF=3 KGO_TEST_RECORDS=${FRANZ_RECORDS:-100000} KGO_LOG_LEVEL=${KGO_LOG_LEVEL:-none} \
  "$CACHE/franz/franz" "$here/not-yet.txt" "$(package kgo)" "$(package kadm)" || failed=1
check "the nodes stop in order, and their logs have no error" logs_are_clean
exit $failed
