#!/usr/bin/env bash
# Groups of every client at once, in both protocols, while nodes are killed, paused and restarted for two minutes, or for
# $MIXED_SECONDS: each client has a group of its own, and those with a common assignor one together, in which a member of the
# consumer protocol sits beside those of the classic one. A producer writes all the time. Each record has to be read by each group;
# what a group has committed never goes back, whichever node is asked; and after the last fault each group is stable again and reads
# up to the end. See lib.sh for what is given; run by run.sh, whose own node is not used. $MIXED_SEED repeats the order of the faults.
suite=mixed
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck source=../cluster/cluster.sh
. "$here/../cluster/cluster.sh"

faults_seconds=${MIXED_SECONDS:-120}
settle_seconds_max=90
partitions=6
numbers_a_second=100
topic=work
out=$SCRATCH/members
stop=$SCRATCH/stop
go=$CACHE/go/clients
libs=${KAFKA_HOME:-$CACHE/kafka}/libs
groups=()
members=()
names=()
programs=()

# member COMMAND GROUP LIBRARY...: members of that group, each of that library as the command, an array's name, calls it.
member() {
  local command=$1 group=$2 library number
  [[ " ${groups[*]} " == *" $group "* ]] || groups+=("$group")
  for library in "${@:3}"; do
    number=0
    while [[ " ${names[*]} " == *" $group.$library.$number "* ]]; do number=$((number + 1)); done
    names+=("$group.$library.$number")
    members+=("$command $library:$group:$out/$group.$library.$number")
  done
}

find_members() {
  franz=("$go" member)
  librdkafka=("$python" "$here/../python/member.py")
  jvm=(java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx192m -Xlog:disable -Dlog4j2.configurationFile="$here/../tools/log4j2.properties"
    -cp "$CACHE/java:$libs/*" Clients member)
  pure=("$CACHE/venv-pure/bin/python" "$here/../python/pure_member.py")
  kafkajs=(node "$here/../kafkajs/member.js")
  member librdkafka librdkafka classic classic
  member librdkafka librdkafka-consumer consumer consumer
  member librdkafka mixed classic
  member franz franz-go franz-go franz-go
  member franz franz-go-consumer franz-go-consumer franz-go-consumer
  member franz sarama sarama sarama
  member franz mixed franz-go sarama
  programs+=(librdkafka franz)
  if [ -f "$CACHE/java/Member.class" ] && command -v java > /dev/null; then
    member jvm java classic classic
    member jvm java-consumer consumer consumer
    member jvm mixed classic consumer
    programs+=(jvm)
  else
    missing "java" "see setup.sh"
  fi
  if [ -x "${pure[0]}" ]; then
    member pure kafka-python kafka-python kafka-python
    member pure aiokafka aiokafka aiokafka
    member pure mixed kafka-python
    programs+=(pure)
  else
    missing "kafka-python, aiokafka" "see setup.sh"
  fi
  if [ -f "$CACHE/kafkajs/complete" ] && command -v node > /dev/null; then
    # Its assignor is its own: nobody shares a group with it.
    member kafkajs kafkajs kafkajs kafkajs
    programs+=(kafkajs)
  else
    missing "kafkajs" "see setup.sh"
  fi
}

# One process of each program, with all its members.
start_members() {
  local program each
  mkdir -p "$out"
  running=()
  for program in "${programs[@]}"; do
    local -n command=$program
    local of=()
    for each in "${members[@]}"; do
      [ "${each%% *}" != "$program" ] || of+=("${each#* }")
    done
    BOOTSTRAP=$brokers "${command[@]}" "$topic" "$stop" "${of[@]}" > "$SCRATCH/$program.log" 2>&1 &
    running+=($!)
  done
  BOOTSTRAP=$brokers "$go" watch "$stop" "${groups[@]}" > "$SCRATCH/watch.log" 2>&1 &
  running+=($!)
}

# However the suite ends, nobody is left behind.
end_all() {
  local pid id
  trap - EXIT INT TERM
  for pid in "${running[@]}"; do kill "$pid" 2> /dev/null || true; done
  for id in 1 2 3; do [ ! -f "$SCRATCH/node-$id/pid" ] || kill -CONT "$(pid_of $id)" 2> /dev/null || true; done
}

start_producer() {
  (BOOTSTRAP=$brokers "$python" "$here/../python/numbers.py" "$topic" "$SCRATCH/written" $numbers_a_second > "$SCRATCH/last" 2> "$SCRATCH/producer"
    echo $? > "$SCRATCH/producer.code") &
  running+=($!)
}

ask() { BOOTSTRAP=$brokers timeout 30 "$go" "$@"; }

members_of() { printf '%s\n' "${names[@]}" | grep -c "^$1\."; }

# The last words of each program, a line each.
what_they_say() {
  local program
  for program in "${programs[@]}"; do echo "$program: $(tr '\n' ' ' < "$SCRATCH/$program.log" | tail -c 380)"; done
}

# settle SECONDS [ENDS]: waits until each group is stable, has all its members and all partitions, and has committed up to the ends.
settle() {
  local group state shares got deadline=$((SECONDS + $1))
  for group in "${groups[@]}"; do
    while true; do
      read -r state shares <<< "$(ask group "$group")" || true
      got=${2:+$(ask committed "$group" "$topic")}
      if [ "$state" = Stable ] && [ "$(wc -w <<< "$shares")" = "$(members_of "$group")" ] &&
        [ "$(($(tr ' ' + <<< "${shares:-0}")))" = "$partitions" ] && [ "$got" = "${2:-}" ]; then
        break
      fi
      [ $SECONDS -lt $deadline ] || {
        echo "after $1 s $group is «$state $shares» and has committed «$got», want «${2:-}»"
        what_they_say
        return 1
      }
      sleep 0.2
    done
  done
}

# Faults one after the other, each on the next node, so that each coordinator meets each of them.
faults() {
  local id=0 fault until=$((SECONDS + faults_seconds)) counts
  local -A count=([away]=0 [back]=0 [paused]=0 [restarted]=0)
  local kinds=(away back paused restarted)
  RANDOM=$seed
  while [ $SECONDS -lt $until ]; do
    id=$((id % 3 + 1))
    fault=${kinds[RANDOM % 4]}
    sleep "$((RANDOM % 4)).$((RANDOM % 10))"
    case $fault in
      away)
        kill -KILL "$(pid_of $id)"
        sleep $((1 + RANDOM % 5))
        "$node_sh" start "$SCRATCH/node-$id" > /dev/null
        ;;
      back) "$node_sh" crash "$SCRATCH/node-$id" > /dev/null ;;
      paused)
        kill -STOP "$(pid_of $id)"
        # Shorter and longer than its session.
        sleep $((1 + RANDOM % 7))
        kill -CONT "$(pid_of $id)"
        ;;
      restarted)
        "$node_sh" stop "$SCRATCH/node-$id"
        "$node_sh" start "$SCRATCH/node-$id" > /dev/null
        ;;
    esac
    count[$fault]=$((count[$fault] + 1))
    await_in_sync
  done
  counts="${count[away]} killed for seconds, ${count[back]} killed, ${count[paused]} paused, ${count[restarted]} restarted"
  echo "note: seed $seed: $counts"
}

await_in_sync() {
  local deadline=$((SECONDS + 60))
  until [ "$(k -L -t "$topic" | grep -c 'isrs: [123],[123],[123]')" = "$partitions" ]; do
    [ $SECONDS -lt $deadline ] || { echo "not in sync after 60 s: $(k -L -t "$topic" | grep 'partition [0-9]')"; return 1; }
    sleep 0.1
  done
}

# What was written is there, and each group reads up to it.
reads_to_the_end() {
  local at topics=() deadline=$((SECONDS + 100))
  touch "$SCRATCH/written"
  until [ -s "$SCRATCH/producer.code" ]; do
    [ $SECONDS -lt $deadline ] || { echo "the producer does not end in 100 s: $(tail -n 5 "$SCRATCH/producer")"; return 1; }
    sleep 0.1
  done
  [ "$(cat "$SCRATCH/producer.code")" = 0 ] || { tail -n 5 "$SCRATCH/producer"; return 1; }
  for ((at = 0; at < partitions; at++)); do topics+=(-t "$topic:$at:-1"); done
  settle $settle_seconds_max "$(k -Q "${topics[@]}" | sort | awk '{ print $4 }' | paste -sd' ')"
  echo "note: $(cat "$SCRATCH/last") records"
}

# Waits here and not in a case's own shell, whose children they are not.
stop_members() {
  local pid code deadline=$((SECONDS + 40))
  touch "$stop"
  codes=()
  for pid in "${running[@]}"; do
    while kill -0 "$pid" 2> /dev/null && [ $SECONDS -lt $deadline ]; do sleep 0.1; done
    kill -KILL "$pid" 2> /dev/null || true
    code=0
    wait "$pid" 2> /dev/null || code=$?
    codes+=($code)
  done
}

ends_in_order() {
  same "$1's exit code" "$2" 0 || { tail -n 3 "$SCRATCH/$1.log"; return 1; }
}

never_goes_back() {
  contains "what was committed" "$(cat "$SCRATCH/watch.log")" "told "
  echo "note: $(cat "$SCRATCH/watch.log")"
}

# is_read GROUP: its members have read each number, and each of them some.
is_read() {
  local group=$1 name
  same "numbers that nobody has read" \
    "$(cut -d' ' -f3 "$out/$group".* | sort -u | comm -13 - <(seq "$(cat "$SCRATCH/last")" | sort) | head -n 3 | paste -sd' ')" ""
  for name in "${names[@]}"; do
    [[ "$name" != "$group."* ]] || [ -s "$out/$name" ] || { echo "$name has read nothing"; what_they_say; return 1; }
  done
  echo "note: $(cat "$out/$group".* | wc -l) read, $(cat "$out/$group".* | sort -u | wc -l) different"
}

command -v kcat > /dev/null || { missing "kcat" "it is not installed"; exit 0; }
[ -x "$python" ] || { missing "librdkafka's bindings" "they are not installed"; exit 0; }
[ -x "$go" ] || { missing "franz-go, sarama" "see setup.sh"; exit 0; }
find_members
configure
# As the members of the classic protocol say for themselves.
for id in 1 2 3; do
  printf 'group.consumer.min.session.timeout.ms=6000\ngroup.consumer.session.timeout.ms=6000\n' >> "$SCRATCH/node-$id/server.properties"
done
start_all
env -u SEEDLOG_BIN "$SEEDLOG_BIN" topic create --bootstrap-server "$brokers" --topic "$topic" --partitions "$partitions" \
  --replication-factor 3 --config min.insync.replicas=2 > /dev/null
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
seed=${MIXED_SEED:-$((RANDOM * 32768 + RANDOM))}
start_members
check "${#groups[@]} groups with ${#names[@]} members are there" settle 60
start_producer
check "nodes are killed, paused and restarted for $faults_seconds s: each time the cluster is whole again" faults
check "after the last fault each group has its members and reads to the end" reads_to_the_end
stop_members
for group in "${groups[@]}"; do
  check "$group: each record is read" is_read "$group"
done
check "what a group has committed never goes back, whoever is asked" never_goes_back
for at in "${!programs[@]}"; do
  check "${programs[at]}: the members end in order" ends_in_order "${programs[at]}" "${codes[at]}"
done
check "the nodes stop in order, and their logs have no error" logs_are_clean
