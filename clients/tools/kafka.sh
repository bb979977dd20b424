#!/usr/bin/env bash
# kafka.sh: what Kafka's tools say to Apache Kafka itself. Starts three nodes of the version in ../java/pom.xml on free ports and
# in a temporary folder, runs the steps, writes kafka.txt and stops the nodes. KAFKA_HOME as for run.sh.
set -euo pipefail

suite=tools
here=$(cd "$(dirname "$0")" && pwd)
CACHE=$here/../.cache
export KAFKA_HOME=${KAFKA_HOME:-$CACHE/kafka}
SCRATCH=$(mktemp -d)
# shellcheck source=../cluster/cluster.sh
. "$here/../cluster/cluster.sh"
# shellcheck source=tools.sh
. "$here/tools.sh"

clean_up() {
  local id
  for id in 1 2 3; do "$here/kafka-node.sh" stop "$SCRATCH/node-$id"; done
  rm -rf "$SCRATCH"
}
trap clean_up EXIT

id_of() { java -cp "$libs/*" kafka.tools.StorageTool random-uuid; }

# Ports are chosen first: each node is told all of them.
configure_kafka() {
  local id voters='' peers='' cluster
  declare -A port peer_port
  for id in 1 2 3; do
    mkdir -p "$SCRATCH/node-$id"
    port[$id]=$(free_port)
    peer_port[$id]=$(free_port)
    voters+=${voters:+,}$id@127.0.0.1:${peer_port[$id]}:$(id_of)
    peers+=${peers:+,}127.0.0.1:${peer_port[$id]}
    brokers+=${brokers:+,}127.0.0.1:${port[$id]}
  done
  cluster=$(id_of)
  for id in 1 2 3; do
    cat > "$SCRATCH/node-$id/server.properties" <<CONFIG
node.id=$id
process.roles=broker,controller
controller.quorum.bootstrap.servers=$peers
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:${port[$id]},CONTROLLER://127.0.0.1:${peer_port[$id]}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$SCRATCH/node-$id/data
num.partitions=3
default.replication.factor=3
min.insync.replicas=2
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
CONFIG
    java -cp "$libs/*" kafka.tools.StorageTool format --cluster-id "$cluster" --initial-controllers "$voters" \
      --config "$SCRATCH/node-$id/server.properties" > "$SCRATCH/node-$id/format.log" 2>&1 ||
      { cat "$SCRATCH/node-$id/format.log"; exit 1; }
  done
}

start_kafka() {
  local id pids=()
  for id in 1 2 3; do
    "$here/kafka-node.sh" start "$SCRATCH/node-$id" &
    pids+=($!)
  done
  for id in "${pids[@]}"; do wait "$id"; done
}

classes=$SCRATCH/classes
javac -encoding UTF-8 -d "$classes" -cp "$libs/*" "$here"/*.java
configure_kafka
start_kafka
run_steps "$here/kafka-node.sh" "$here/kafka.txt"
