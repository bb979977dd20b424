#!/usr/bin/env bash
# One Seedlog node for a test: its folder holds the configuration, the data, the log and the process id.
#
#   node.sh start DIR    starts it, the first time on a free port, later on the same one; prints host:port
#   node.sh crash DIR    kills it with SIGKILL and starts it again on the same port and data; prints host:port
#   node.sh stop DIR     ends it with SIGTERM, after 20 s with SIGKILL, which is an error
#
# A folder that has a server.properties keeps it; its file `host` holds the address to listen on, which is 127.0.0.1 without it;
# what its file `peer-listener` holds is listened on as well; its file `netns` names the network namespace that it runs in.
# SEEDLOG_BIN names the binary. A process is ended by the id that `start` wrote, and no other way.
set -euo pipefail

fail() {
  echo "node.sh: $*" >&2
  exit 1
}

[ $# -eq 2 ] || fail "usage: node.sh start|crash|stop DIR"
verb=$1
dir=$2
bin=${SEEDLOG_BIN:?node.sh needs SEEDLOG_BIN}
host=$(cat "$dir/host" 2> /dev/null || echo 127.0.0.1)

configure() {
  mkdir -p "$dir/data"
  cat > "$dir/server.properties" <<CONFIG
node.id=1
log.dirs=$dir/data
admin.listener=off
num.partitions=3
group.initial.rebalance.delay.ms=0
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=100
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
log.cleaner.backoff.ms=200
CONFIG
}

# Starts the process once; 0 when it said that it is ready within the time.
start_once() {
  local port=$1 tries listeners inside=()
  listeners=PLAINTEXT://$host:$port
  [ ! -f "$dir/netns" ] || inside=(ip netns exec "$(cat "$dir/netns")")
  [ ! -f "$dir/peer-listener" ] || listeners+=,$(cat "$dir/peer-listener")
  : > "$dir/stdout"
  # Seedlog reads SEEDLOG_* as settings and refuses those that it does not know.
  env -u SEEDLOG_BIN "${inside[@]}" "$bin" node --config "$dir/server.properties" --override "listeners=$listeners" \
    --print-ready < /dev/null > "$dir/stdout" 2>> "$dir/log" &
  echo $! > "$dir/pid"
  for ((tries = 0; tries < 1500; tries++)); do
    if grep -q '^ready listener=' "$dir/stdout"; then
      sed -n "s|^ready listener=PLAINTEXT://${host//./\\.}:\([0-9]*\).*|\1|p" "$dir/stdout" > "$dir/port"
      [ -s "$dir/port" ] || fail "cannot read the port in: $(cat "$dir/stdout")"
      return 0
    fi
    kill -0 "$(cat "$dir/pid")" 2> /dev/null || return 1
    sleep 0.02
  done
  kill -KILL "$(cat "$dir/pid")" 2> /dev/null || true
  return 1
}

start() {
  local port=0 attempt
  [ -f "$dir/server.properties" ] || configure
  [ -s "$dir/port" ] && port=$(cat "$dir/port")
  # A reconnecting client can hold the port for a moment: a port of the ephemeral range is also a source port.
  for attempt in 1 2 3 4 5; do
    if start_once "$port"; then
      echo "$host:$(cat "$dir/port")"
      return 0
    fi
    echo "node.sh: start $attempt on port $port failed" >> "$dir/log"
    sleep 0.5
  done
  tail -n 20 "$dir/log" >&2
  fail "the node in $dir does not start"
}

# Waits until the process is gone; the argument is in tenths of a second.
gone() {
  local tenths=$1 pid
  pid=$(cat "$dir/pid")
  while kill -0 "$pid" 2> /dev/null && [ "$(cut -d' ' -f3 "/proc/$pid/stat" 2> /dev/null)" != Z ]; do
    ((tenths-- > 0)) || return 1
    sleep 0.1
  done
  rm -f "$dir/pid"
}

case $verb in
  start) start ;;
  crash)
    kill -KILL "$(cat "$dir/pid")" || fail "the node in $dir had ended by itself"
    gone 100 || fail "the node in $dir outlives SIGKILL"
    echo "node.sh: killed with SIGKILL" >> "$dir/log"
    start
    ;;
  stop)
    [ -f "$dir/pid" ] || exit 0
    kill -TERM "$(cat "$dir/pid")" 2> /dev/null || { tail -n 20 "$dir/log" >&2; fail "the node in $dir had ended by itself"; }
    if ! gone 200; then
      kill -KILL "$(cat "$dir/pid")" 2> /dev/null || true
      fail "the node in $dir does not stop on SIGTERM"
    fi
    ;;
  *) fail "unknown verb $verb" ;;
esac
