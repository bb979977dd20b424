#!/usr/bin/env bash
# Three nodes, and librdkafka's idempotent producer while the leader is killed, paused for longer than its session, and while
# all nodes are restarted one after the other: every acknowledged record is there once, and in order. See lib.sh for what is
# given; run by run.sh, whose own node is not used.
suite=cluster
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

node_sh=$here/../node.sh
brokers=

# A port that is free at the moment.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

configure() {
  local id port voters=
  for id in 1 2 3; do
    mkdir -p "$SCRATCH/node-$id/data"
    port=$(free_port)
    echo "CONTROLLER://127.0.0.1:$port" > "$SCRATCH/node-$id/peer-listener"
    voters+=${voters:+,}$id@127.0.0.1:$port
  done
  for id in 1 2 3; do
    cat > "$SCRATCH/node-$id/server.properties" <<CONFIG
node.id=$id
process.roles=broker,controller
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
log.dirs=$SCRATCH/node-$id/data
admin.listener=off
num.partitions=3
broker.session.timeout.ms=3000
CONFIG
  done
}

# Starts all three: none serves before the cluster is founded.
start_all() {
  local id pids=()
  for id in 1 2 3; do
    "$node_sh" start "$SCRATCH/node-$id" > "$SCRATCH/address-$id" &
    pids+=($!)
  done
  for id in "${pids[@]}"; do wait "$id"; done
  brokers=$(cat "$SCRATCH"/address-* | paste -sd,)
}

pid_of() { cat "$SCRATCH/node-$1/pid"; }
k() { timeout 60 kcat -b "$brokers" "$@"; }

# leader TOPIC: who leads partition 0.
leader() { k -L -t "$1" | sed -n 's/.*partition 0, leader \([0-9]*\),.*/\1/p' | head -n 1; }

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
  k -P -t "$topic" -p 0 <<< 0
  numbers "$tenths" | timeout 120 kcat -b "$brokers" -P -t "$topic" -X enable.idempotence=true -X linger.ms=20 \
    -X message.timeout.ms=100000 -X reconnect.backoff.max.ms=500 2> "$SCRATCH/producer-$topic" &
  producer=$!
  sleep 1
  "$fault" "$(leader "$topic")"
  wait "$producer" || code=$?
  [ "$code" = 0 ] || { echo "the producer ends with $code: $(grep -v 'Connection refused\|Broker transport' "$SCRATCH/producer-$topic" | tail -n 5)"; return 1; }
  is_whole "$topic" $((tenths * 100 + 1))
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
  local id tries
  for id in 1 2 3; do
    "$node_sh" stop "$SCRATCH/node-$id"
    "$node_sh" start "$SCRATCH/node-$id" > /dev/null
    for ((tries = 0; tries < 100; tries++)); do
      [ "$(k -L -t restarted | grep -c 'isrs: [123],[123],[123]')" = 3 ] && break
      sleep 0.1
    done
    sleep 2
  done
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

logs_are_clean() {
  local id
  for id in 1 2 3; do
    "$node_sh" stop "$SCRATCH/node-$id"
    same "errors in the log of node $id" "$(grep -c -e '"level":"ERROR"' -e panicked "$SCRATCH/node-$id/log")" 0
  done
}

if ! command -v kcat > /dev/null; then
  missing "kcat" "it is not installed"
  exit 0
fi
configure
start_all
check "a cluster is founded and describes itself" describes_itself
check "the leader is killed" under kill_it killed 80
check "the leader is paused for longer than its session" under pause_it paused 120
check "all nodes are restarted, one after the other" under restart_all restarted 100
check "a majority is lost and returns" loses_a_majority
check "the nodes stop in order, and their logs have no error" logs_are_clean
