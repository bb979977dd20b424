#!/usr/bin/env bash
# Three nodes, and librdkafka's idempotent producers while the leader is killed, paused for longer than its session, and while
# all nodes are restarted one after the other: every acknowledged record is there once, and in order. kcat's are counted; what
# other producers and consumers were told and saw meanwhile is a history, which seedlog-checker judges. See lib.sh for what
# is given; run by run.sh, whose own node is not used.
suite=cluster
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

# shellcheck source=cluster.sh
. "$here/cluster.sh"

# Writes numbers for so many tenths of a second, 100 in each.
numbers() {
  local tenth
  for ((tenth = 0; tenth < $1; tenth++)); do
    seq $((tenth * 100 + 1)) $((tenth * 100 + 100))
    sleep 0.1
  done
}

# is_whole TOPIC COUNT: every number is there once, and each partition has its own in order.
is_whole() {
  local got=$SCRATCH/got-$1
  k -C -e -q -t "$1" -o beginning -f '%p %s\n' > "$got"
  same "the records" "$(cut -d' ' -f2 "$got" | sort -n | uniq -c | awk '{ counts[$1]++ } END { for (c in counts) print c, counts[c] }')" "1 $2"
  same "records out of order" "$(awk '$2 + 0 < last[$1] { bad++ } { last[$1] = $2 + 0 } END { print bad + 0 }' "$got")" 0
}

# under FAULT TOPIC TENTHS: writes while the fault happens; the fault gets the number of the node that leads.
under() {
  local fault=$1 topic=$2 tenths=$3 producer code=0
  begin_history "$topic-seen"
  k -P -t "$topic" -p 0 <<< 0
  numbers "$tenths" | timeout 120 kcat -b "$brokers" -P -t "$topic" -X enable.idempotence=true -X linger.ms=20 \
    -X message.timeout.ms=100000 -X reconnect.backoff.max.ms=500 2> "$SCRATCH/producer-$topic" &
  producer=$!
  await_acks "$topic-seen" 50
  "$fault" "$(leader "$topic")"
  wait "$producer" || code=$?
  [ "$code" = 0 ] || { echo "the producer ends with $code: $(grep -v 'Connection refused\|Broker transport' "$SCRATCH/producer-$topic" | tail -n 5)"; return 1; }
  is_whole "$topic" $((tenths * 100 + 1))
  end_history "$topic-seen"
}

kill_it() { "$node_sh" crash "$SCRATCH/node-$1" > /dev/null; }

pause_it() {
  kill -STOP "$(pid_of "$1")"
  sleep 8
  kill -CONT "$(pid_of "$1")"
}

# As one restarts a cluster: the next node only once the last one is in sync again. kcat gives up when all of its
# connections are down at once, so it gets a moment to open them again.
restart_all() {
  local id
  for id in 1 2 3; do
    "$node_sh" stop "$SCRATCH/node-$id"
    "$node_sh" start "$SCRATCH/node-$id" > /dev/null
    await_whole restarted
    sleep 2
  done
}

# A history from which the last reader's records were taken, all of which were acknowledged: the judge says so.
finds_what_is_planted() {
  local planted=$SCRATCH/planted.jsonl verdict code=0
  grep -v '"process": 4, .*"f": "poll"' "$SCRATCH/killed-seen.jsonl" > "$planted"
  verdict=$("$CHECKER_BIN" check "$planted") || code=$?
  same "the exit code" "$code" 1
  contains "the verdict" "$verdict" "unseen, "
}

describes_itself() {
  k -P -t described <<< x
  local said
  said=$(k -L -t described)
  contains "the brokers" "$said" '3 brokers:'
  same "partitions with three replicas" "$(grep -c 'replicas: [123],[123],[123], isrs: [123],[123],[123]' <<< "$said")" 3
}

# Not everything may be gone: with one node of three the others refuse what they cannot promise, and go on when it is back.
loses_a_majority() {
  k -P -t majority -p 0 <<< 0
  "$node_sh" stop "$SCRATCH/node-2"
  kill -KILL "$(pid_of 3)"
  rm -f "$SCRATCH/node-3/pid"
  if k -P -t majority -p 0 -X acks=all -X message.timeout.ms=4000 <<< lost 2> /dev/null; then
    echo "a write was acknowledged by one node of three"
    return 1
  fi
  "$node_sh" start "$SCRATCH/node-2" > /dev/null
  "$node_sh" start "$SCRATCH/node-3" > /dev/null
  k -P -t majority -p 0 -X acks=all <<< 1
  contains "the records" "$(k -C -e -q -t majority -p 0 -o beginning | paste -sd' ')" "0"
}

if ! command -v kcat > /dev/null; then
  missing "kcat" "it is not installed"
  exit 0
fi
if [ ! -x "$python" ]; then
  missing "librdkafka's bindings" "they are not installed"
  exit 0
fi
configure
start_all
check "a cluster is founded and describes itself" describes_itself
check "the leader is killed" under kill_it killed 80
check "the judge of that finds a loss that is planted" finds_what_is_planted
check "the leader is paused for longer than its session" under pause_it paused 120
check "all nodes are restarted, one after the other" under restart_all restarted 100
check "a majority is lost and returns" loses_a_majority
check "the nodes stop in order, and their logs have no error" logs_are_clean
