# Sourced by the suites of this folder, behind lib.sh: three nodes, and clients whose history is judged. `host_of` may hold the
# address of each node, `netns_of` the network namespace that it runs in, `inside` the words in front of a client's command.

node_sh=$here/../node.sh
python=$CACHE/venv/bin/python
brokers=
inside=()
session_ms=${session_ms-3000}

# What a case leaves behind, however it ended: a suite says what that is.
after_case() { :; }

# A port that is free at the moment.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

configure() {
  local id port host voters=
  for id in 1 2 3; do
    mkdir -p "$SCRATCH/node-$id/data"
    port=$(free_port)
    host=${host_of[id]:-127.0.0.1}
    echo "$host" > "$SCRATCH/node-$id/host"
    [ -z "${netns_of[id]:-}" ] || echo "${netns_of[id]}" > "$SCRATCH/node-$id/netns"
    echo "CONTROLLER://$host:$port" > "$SCRATCH/node-$id/peer-listener"
    voters+=${voters:+,}$id@$host:$port
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
group.initial.rebalance.delay.ms=0
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
CONFIG
    [ -z "$session_ms" ] || echo "broker.session.timeout.ms=$session_ms" >> "$SCRATCH/node-$id/server.properties"
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
k() { timeout 60 "${inside[@]}" kcat -b "$brokers" "$@"; }

# leader TOPIC [NODE]: who leads partition 0, as any node or this one says.
leader() {
  local who=$brokers
  [ -z "${2:-}" ] || who=$(cat "$SCRATCH/address-$2")
  timeout 60 "${inside[@]}" kcat -b "$who" -L -t "$1" | sed -n 's/.*partition 0, leader \([0-9]*\),.*/\1/p' | head -n 1
}

# await_whole TOPIC: waits until all three replicas of each partition are in sync.
await_whole() {
  local deadline=$((SECONDS + 60))
  until [ "$(k -L -t "$1" | grep -c 'isrs: [123],[123],[123]')" = 3 ]; do
    [ $SECONDS -lt $deadline ] || { echo "$1 is not in sync after 60 s: $(k -L -t "$1" | grep 'partition [0-9]')"; return 1; }
    sleep 0.1
  done
}

logs_are_clean() {
  local id
  for id in 1 2 3; do
    "$node_sh" stop "$SCRATCH/node-$id"
    same "errors in the log of node $id" "$(grep -c -e '"level":"ERROR"' -e panicked "$SCRATCH/node-$id/log")" 0
  done
}

# begin_history TOPIC: producers and consumers work on a topic of this name, and their history is written.
begin_history() {
  BOOTSTRAP=$brokers "${inside[@]}" "$python" "$here/../python/history.py" "$1" "$SCRATCH/$1.jsonl" "$SCRATCH/$1.stop" \
    > "$SCRATCH/$1.out" 2>&1 &
  recorder=$!
  # In the case's own shell: a case that fails leaves nobody behind.
  trap 'kill "$recorder" 2> /dev/null || true; after_case' EXIT
}

# acked TOPIC: how many records of partition 0 were acknowledged by now.
acked() {
  local count
  count=$(grep -c '"type": "ok", "f": "send".*"partition": 0,' "$SCRATCH/$1.jsonl" 2> /dev/null) || true
  echo "${count:-0}"
}

# await_acks TOPIC RECORDS: waits until partition 0 has so many acknowledgements more.
await_acks() {
  local want deadline=$((SECONDS + 60))
  want=$(($(acked "$1") + $2))
  until [ "$(acked "$1")" -ge "$want" ]; do
    [ $SECONDS -lt $deadline ] || { echo "partition 0 of $1 has $(acked "$1") acknowledgements after 60 s, want $want"; return 1; }
    kill -0 "$recorder" 2> /dev/null || { echo "the clients ended: $(tail -n 3 "$SCRATCH/$1.out")"; return 1; }
    sleep 0.1
  done
}

# end_history TOPIC [MORE]: the clients come to their end, and everything that they saw is judged. MORE is told with the numbers.
end_history() {
  local code=0 verdict
  touch "$SCRATCH/$1.stop"
  wait "$recorder" || code=$?
  verdict=$("$CHECKER_BIN" check "$SCRATCH/$1.jsonl") || { echo "$verdict"; return 1; }
  [ "$code" = 0 ] || { echo "the clients end with $code: $(tail -n 5 "$SCRATCH/$1.out")"; return 1; }
  contains "the verdict" "$verdict" "3 final reads"
  echo "$(tail -n 1 "$SCRATCH/$1.out")${2:-}"
}
