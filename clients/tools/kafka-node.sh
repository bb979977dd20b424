#!/usr/bin/env bash
# One Apache Kafka node for a comparison, asked for as node.sh is: kafka-node.sh start|stop DIR. Its folder has a
# server.properties already. KAFKA_HOME names a folder whose libs/ has Kafka's jars. A process is ended by the id that `start`
# wrote, and no other way.
set -euo pipefail

[ $# -eq 2 ] || { echo "usage: kafka-node.sh start|stop DIR" >&2; exit 2; }
dir=$2
here=$(cd "$(dirname "$0")" && pwd)

start() {
  local tries
  : > "$dir/log"
  java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$here/log4j2.properties" \
    -Dlog4j2.level=INFO -cp "$KAFKA_HOME/libs/*" kafka.Kafka "$dir/server.properties" < /dev/null > "$dir/log" 2>&1 &
  echo $! > "$dir/pid"
  for ((tries = 0; tries < 1200; tries++)); do
    ! grep -q 'Kafka Server started' "$dir/log" || return 0
    kill -0 "$(cat "$dir/pid")" 2> /dev/null || break
    sleep 0.1
  done
  tail -n 20 "$dir/log" >&2
  return 1
}

stop() {
  local pid tenths=300
  [ -f "$dir/pid" ] || return 0
  pid=$(cat "$dir/pid")
  kill -TERM "$pid"
  while kill -0 "$pid" 2> /dev/null && [ "$(cut -d' ' -f3 "/proc/$pid/stat" 2> /dev/null)" != Z ]; do
    ((tenths-- > 0)) || { kill -KILL "$pid"; break; }
    sleep 0.1
  done
  rm -f "$dir/pid"
}

case $1 in
  start | stop) "$1" ;;
  *) echo "kafka-node.sh: unknown verb $1" >&2; exit 2 ;;
esac
