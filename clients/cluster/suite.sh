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

go=$CACHE/go/clients
libs=${KAFKA_HOME:-$CACHE/kafka}/libs

# ask VERB...: franz-go's answer.
ask() { BOOTSTRAP=$brokers timeout 30 "$go" "$@"; }

# await WANT SECONDS VERB...: waits until the answer is this.
await() {
  local said deadline=$((SECONDS + $2))
  until said=$(ask "${@:3}") && [ "$said" = "$1" ]; do
    [ $SECONDS -lt $deadline ] || { echo "${*:3}: «$said» after $2 s, want «$1»"; return 1; }
    sleep 0.2
  done
}

# The members of the group mixed, which read the topic of that name; who watches what it has committed is the last.
start_members() {
  local out=$SCRATCH/mixed stop=$SCRATCH/mixed.stop
  members=()
  BOOTSTRAP=$brokers "$go" member mixed "$stop" "franz-go:mixed:$out-go" > "$out-go.log" 2>&1 &
  members+=($!)
  BOOTSTRAP=$brokers "$python" "$here/../python/member.py" mixed "$stop" "classic:mixed:$out-python" > "$out-python.log" 2>&1 &
  members+=($!)
  BOOTSTRAP=$brokers java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m -Xlog:disable \
    -Dlog4j2.configurationFile="$here/../tools/log4j2.properties" -cp "$CACHE/java:$libs/*" Clients member mixed "$stop" "classic:mixed:$out-java" \
    > "$out-java.log" 2>&1 &
  members+=($!)
  BOOTSTRAP=$brokers "$go" watch "$stop" mixed > "$out.watch" 2>&1 &
  members+=($!)
}

# Three clients, one group. Its coordinator is killed and stays away, is killed and comes back at once, is paused for longer than its
# session; then a member is killed.
mixed_group() {
  local fault id pid ends producer each code=0
  env -u SEEDLOG_BIN "$SEEDLOG_BIN" topic create --bootstrap-server "$brokers" --topic mixed --partitions 6 --replication-factor 3 \
    --config min.insync.replicas=2 > /dev/null
  start_members
  # shellcheck disable=SC2154
  trap 'for pid in "${members[@]}"; do kill "$pid" 2> /dev/null || true; done' EXIT
  await "Stable 2 2 2" 30 group mixed
  numbers 250 | timeout 120 kcat -b "$brokers" -P -t mixed -X enable.idempotence=true -X linger.ms=20 \
    -X message.timeout.ms=100000 -X reconnect.backoff.max.ms=500 2> "$SCRATCH/producer-mixed" &
  producer=$!
  for fault in away back paused; do
    sleep 2
    id=$(ask coordinator mixed)
    case $fault in
      away)
        kill -KILL "$(pid_of "$id")"
        sleep 4
        "$node_sh" start "$SCRATCH/node-$id" > /dev/null
        ;;
      back) kill_it "$id" ;;
      paused) pause_it "$id" ;;
    esac
    await "Stable 2 2 2" 30 group mixed
  done
  kill -KILL "${members[1]}"
  await "Stable 3 3" 30 group mixed
  wait "$producer" || code=$?
  [ "$code" = 0 ] || { echo "the producer ends with $code: $(tail -n 5 "$SCRATCH/producer-mixed")"; return 1; }
  ends=$(k -Q -t mixed:0:-1 -t mixed:1:-1 -t mixed:2:-1 -t mixed:3:-1 -t mixed:4:-1 -t mixed:5:-1 | sort | awk '{ print $4 }' | paste -sd' ')
  await "$ends" 30 committed mixed mixed
  touch "$SCRATCH/mixed.stop"
  for each in 0 2 3; do
    wait "${members[each]}" || { echo "member $each ends with $?: $(tail -n 3 "$SCRATCH"/mixed-*.log "$SCRATCH/mixed.watch" | tr '\n' ' ')"; return 1; }
  done
  await Empty 10 group mixed
  same "committed in the end" "$(ask committed mixed mixed)" "$ends"
  same "numbers that nobody has read" \
    "$(cut -d' ' -f3 "$SCRATCH"/mixed-{go,python,java} | sort -u | comm -13 - <(seq 25000 | sort) | head -n 3 | paste -sd' ')" ""
  for each in go python java; do
    [ -s "$SCRATCH/mixed-$each" ] || { echo "the member of $each has read nothing"; return 1; }
  done
  echo "note: $(cat "$SCRATCH"/mixed-{go,python,java} | wc -l) read, $(cat "$SCRATCH"/mixed-{go,python,java} | sort -u | wc -l) different; committed offsets $(cat "$SCRATCH/mixed.watch")"
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
if [ -x "$go" ] && [ -f "$CACHE/java/Groups.class" ] && command -v java > /dev/null; then
  check "a group of three clients while its coordinator is killed and paused, and a member is killed" mixed_group
else
  missing "a group of three clients" "franz-go or the Java client is not there: see setup.sh"
fi
check "the nodes stop in order, and their logs have no error" logs_are_clean
