#!/usr/bin/env bash
# Every client at once. First each asks run.sh's own node for a topic of 10,000 partitions. Then, against three nodes, each
# writes and reads while the node that leads a third of its partitions is killed, and while all nodes are restarted one after
# the other; what each client was told and saw is a history, which seedlog-checker judges. See lib.sh for what is given.
suite=fleet
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=../cluster/cluster.sh
. "$here/../cluster/cluster.sh"

partitions=10000
acks_between=60
acks_seconds_max=60
names=()
programs=()
declare -A program_of process_of

# client PROGRAM NAME...: these clients are written and read by that program, an array's name.
client() {
  local program=$1 name
  shift
  programs+=("$program")
  for name in "$@"; do
    names+=("$name")
    program_of[$name]=$program
  done
}

find_clients() {
  pure=("$CACHE/venv-pure/bin/python" "$here/../python/pure.py")
  go=("$CACHE/go/clients")
  if [ -x "${pure[0]}" ]; then client pure kafka-python aiokafka; else missing "kafka-python, aiokafka" "see setup.sh"; fi
  if [ -x "${go[0]}" ]; then client go franz-go sarama kafka-go; else missing "franz-go, sarama, kafka-go" "see setup.sh"; fi
  kafkajs=(node "$here/../kafkajs/main.js")
  if [ -f "$CACHE/kafkajs/complete" ]; then client kafkajs kafkajs; else missing "kafkajs" "see setup.sh"; fi
  jvm=(java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx192m -Xlog:disable -cp "$CACHE/java:${KAFKA_HOME:-$CACHE/kafka}/libs/*" Clients)
  if [ -f "$CACHE/java/Clients.class" ]; then client jvm java; else missing "java" "see setup.sh"; fi
  rust=("$CACHE/rust/debug/seedlog-clients")
  if [ -x "${rust[0]}" ]; then client rust rskafka; else missing "rskafka" "see setup.sh"; fi
}

# wide_topic: as many partitions as one asks a cluster for at once.
wide_topic() {
  local started=$SECONDS
  env -u SEEDLOG_BIN "$SEEDLOG_BIN" topic create --bootstrap-server "$BOOTSTRAP" --topic wide --partitions "$partitions" > /dev/null
  same "partitions" "$(timeout 60 kcat -b "$BOOTSTRAP" -L -t wide | grep -c 'partition [0-9]*, leader 1,')" "$partitions"
  echo "note: $((SECONDS - started)) s"
}

# Each client says on its own what it found.
wide() {
  local program command
  check "metadata: a topic of $partitions partitions is created, kcat lists it" wide_topic
  for program in "${programs[@]}"; do
    declare -n command=$program
    timeout 60 "${command[@]}" wide wide "$partitions" > "$SCRATCH/wide" 2>&1 || grep -q '^FAIL' "$SCRATCH/wide" ||
      fail "metadata: a topic of $partitions partitions: $program" "$(tail -n 3 "$SCRATCH/wide" | tr '\n' ' ')"
    grep -E '^(pass|FAIL|skip) ' "$SCRATCH/wide"
  done
}

start_clients() {
  local name command
  for name in "${names[@]}"; do
    declare -n command=${program_of[$name]}
    BOOTSTRAP=$brokers timeout 240 "${command[@]}" history "$name" "fleet-$name" "$SCRATCH/$name.jsonl" "$SCRATCH/stop" \
      > "$SCRATCH/$name.out" 2>&1 &
    process_of[$name]=$!
  done
}

# In any spelling of JSON.
acked() {
  local count
  count=$(grep -cE '"type": ?"ok", ?"f": ?"send"' "$SCRATCH/$1.jsonl" 2> /dev/null) || true
  echo "${count:-0}"
}

# all_go_on WHEN: each client gets so many acknowledgements more. One that does not is told, and no longer waited for.
all_go_on() {
  local name deadline=$((SECONDS + acks_seconds_max))
  local -A goal
  for name in "${names[@]}"; do
    goal[$name]=$(($(acked "$name") + acks_between))
  done
  for name in "${names[@]}"; do
    [ ! -f "$SCRATCH/$name.problem" ] || continue
    until [ "$(acked "$name")" -ge "${goal[$name]}" ]; do
      if [ $SECONDS -ge $deadline ] || ! kill -0 "${process_of[$name]}" 2> /dev/null; then
        echo "$1: $(acked "$name") acknowledgements, want ${goal[$name]}" > "$SCRATCH/$name.problem"
        break
      fi
      sleep 0.1
    done
  done
}

# Waits until all three replicas of each partition of every client's topic are in sync.
await_all_whole() {
  local deadline=$((SECONDS + 60)) want=$((3 * ${#names[@]}))
  until [ "$(k -L | grep -A 3 'topic "fleet-' | grep -c 'isrs: [123],[123],[123]')" = "$want" ]; do
    [ $SECONDS -lt $deadline ] || { echo "after 60 s not in sync: $(k -L | grep 'partition [0-9]' | grep -v 'isrs: [123],[123],[123]')"; return 1; }
    sleep 0.1
  done
}

# The one that leads partition 0 of the first topic; it has to lead something of each client.
kill_a_leader() {
  local victim name
  victim=$(leader "fleet-${names[0]}")
  for name in "${names[@]}"; do
    k -L -t "fleet-$name" | grep -q "leader $victim," || { echo "node $victim leads nothing of fleet-$name"; return 1; }
  done
  "$node_sh" crash "$SCRATCH/node-$victim" > /dev/null
  await_all_whole
}

# As one restarts a cluster: the next node only once the last one is in sync again.
restart() {
  "$node_sh" stop "$SCRATCH/node-$1"
  "$node_sh" start "$SCRATCH/node-$1" > /dev/null
  await_all_whole
}

judge() {
  local name=$1 code verdict
  code=$(cat "$SCRATCH/$name.code")
  verdict=$("$CHECKER_BIN" check "$SCRATCH/$name.jsonl") || { echo "$verdict"; return 1; }
  [ ! -f "$SCRATCH/$name.problem" ] || { cat "$SCRATCH/$name.problem"; tail -n 5 "$SCRATCH/$name.out"; return 1; }
  [ "$code" = 0 ] || { echo "it ends with $code: $(tail -n 5 "$SCRATCH/$name.out")"; return 1; }
  contains "the verdict" "$verdict" "2 final reads"
  tail -n 1 "$SCRATCH/$name.out"
}

while_nodes_go() {
  local id name
  start_clients
  all_go_on "at the beginning"
  check "the leader is killed: the cluster is whole again" kill_a_leader
  all_go_on "after the leader was killed"
  for id in 1 2 3; do
    check "node $id is restarted: the cluster is whole again" restart $id
    all_go_on "after node $id was restarted"
  done
  touch "$SCRATCH/stop"
  # Here and not in a case's own shell, whose children they are not.
  for name in "${names[@]}"; do
    wait "${process_of[$name]}"
    echo $? > "$SCRATCH/$name.code"
  done
  for name in "${names[@]}"; do
    check "$name: a leader is killed, all nodes are restarted" judge "$name"
  done
}

if ! command -v kcat > /dev/null; then
  missing "kcat" "it is not installed"
  exit 0
fi
find_clients
[ ${#names[@]} -gt 0 ] || exit 0
wide
configure
start_all
while_nodes_go
check "the nodes stop in order, and their logs have no error" logs_are_clean
