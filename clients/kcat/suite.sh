#!/usr/bin/env bash
# kcat's cases, kcat across SIGKILL, and librdkafka's producers across SIGKILL. See lib.sh for what is given; run by run.sh.
suite=kcat
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

codecs="none gzip snappy lz4 zstd"
crashes=5

k() { timeout 30 kcat -b "$BOOTSTRAP" "$@"; }
produce() { k -P "$@"; }
# Reads to the end, which is known after a fetch that waited for nothing, and does not say that it has reached it.
consume() { k -C -e -q -X fetch.wait.max.ms=20 "$@"; }
now_ms() { date +%s%3N; }

# refused PART COMMAND...: the command fails, and says why.
refused() {
  local part=$1 output
  shift
  if output=$("$@" 2>&1); then
    echo "«$*» is not refused: $output"
    return 1
  fi
  contains "the refusal of «$*»" "$output" "$part"
}

metadata() {
  produce -t metadata -p 0 <<< first
  local said
  said=$(k -L -t metadata)
  contains "the broker" "$said" "broker 1 at $BOOTSTRAP (controller)"
  contains "the partitions" "$said" 'topic "metadata" with 3 partitions:'
  contains "a partition" "$said" "partition 2, leader 1, replicas: 1, isrs: 1"
  said=$(k -L -J)
  contains "all topics" "$said" '"topic":"metadata"'
}

round_trip() {
  local codec=$1 idempotent=$2 topic=round-$1-$2 sent=$SCRATCH/sent got=$SCRATCH/got
  for i in {1..500}; do
    printf 'key-%d\t%d compressible compressible compressible compressible compressible compressible\n' "$i" "$i"
  done > "$sent"
  produce -t "$topic" -p 0 -K '\t' -H codec="$codec" -X compression.codec="$codec" -X enable.idempotence="$idempotent" < "$sent"
  consume -t "$topic" -p 0 -o beginning -f '%k\t%s\n' > "$got"
  same_file "the records" "$got" "$sent"
  same "the headers" "$(consume -t "$topic" -p 0 -f '%h\n' | sort -u)" "codec=$codec"
  same "the offsets" "$(consume -t "$topic" -p 0 -f '%o\n' | tail -n 1)" 499
  if [ -x "$CACHE/go/clients" ]; then
    same "the codec in the log" "$("$CACHE/go/clients" codecs "$topic")" "$codec"
  fi
}

keys_and_headers() {
  produce -t shapes -p 1 -K : -Z -H one=1 -H two=zwei -H two=deux < <(printf 'key:value\n:no key\nno value:\nключ:日本語\n')
  same "the records" "$(consume -t shapes -p 1 -f '%p %o [%K %k] [%S %s] %h\n')" \
    "1 0 [3 key] [5 value] one=1,two=zwei,two=deux
1 1 [-1 ] [6 no key] one=1,two=zwei,two=deux
1 2 [8 no value] [-1 ] one=1,two=zwei,two=deux
1 3 [8 ключ] [9 日本語] one=1,two=zwei,two=deux"
  same "the other partitions" "$(consume -t shapes -p 0)$(consume -t shapes -p 2)" ""
}

partitions() {
  local p
  for p in 0 1 2; do
    seq "${p}01" "${p}99" | produce -t parts -p $p
  done
  for p in 2 0 1; do
    same "partition $p" "$(consume -t parts -p $p)" "$(seq "${p}01" "${p}99")"
  done
  same "all partitions" "$(consume -t parts | sort)" "$({ seq 001 099; seq 101 199; seq 201 299; } | sort)"
}

offsets_by_time() {
  local before between after
  before=$(now_ms)
  seq 0 9 | produce -t times -p 0
  sleep 0.02
  between=$(now_ms)
  sleep 0.02
  seq 10 19 | produce -t times -p 0
  after=$(($(now_ms) + 60000))
  offset() { k -Q -t "times:0:$1"; }
  same "before all" "$(offset "$before")" "times [0] offset 0"
  same "between" "$(offset "$between")" "times [0] offset 10"
  same "after all" "$(offset "$after")" "times [0] offset -1"
  same "the earliest" "$(offset -2)" "times [0] offset 0"
  same "the latest" "$(offset -1)" "times [0] offset 20"
  same "from a time" "$(consume -t times -p 0 -o "s@$between")" "$(seq 10 19)"
  same "until a time" "$(consume -t times -p 0 -o "s@$before" -o "e@$between")" "$(seq 0 9)"
}

starting_points() {
  seq 0 99 | produce -t starts -p 0
  same "the beginning" "$(consume -t starts -p 0 -o beginning)" "$(seq 0 99)"
  same "offset 37" "$(consume -t starts -p 0 -o 37)" "$(seq 37 99)"
  same "ten before the end" "$(consume -t starts -p 0 -o -10)" "$(seq 90 99)"
  same "the end" "$(consume -t starts -p 0 -o end)" ""
  same "one record" "$(consume -t starts -p 0 -o 5 -c 1)" 5
}

a_later_record() {
  produce -t later -p 0 <<< early
  k -C -t later -p 0 -o beginning -c 2 -q -u -X fetch.wait.max.ms=20000 > "$SCRATCH/later" &
  local consumer=$!
  until [ "$(cat "$SCRATCH/later")" = early ]; do sleep 0.02; done
  sleep 0.2
  local started
  started=$(now_ms)
  produce -t later -p 0 <<< late
  wait $consumer
  same "the records" "$(cat "$SCRATCH/later")" "early
late"
  local took=$(($(now_ms) - started))
  [ $took -lt 5000 ] || { echo "the record came after $took ms"; return 1; }
}

acks_level() {
  seq 0 999 | produce -t "acks-$1" -p 0 -X topic.acks="$1"
  # Nothing says when a record of acks=0 has arrived.
  local deadline=$((SECONDS + 10))
  until [ "$(consume -t "acks-$1" -p 0 | wc -l)" = 1000 ] || [ $SECONDS -gt $deadline ]; do sleep 0.05; done
  same "the records" "$(consume -t "acks-$1" -p 0)" "$(seq 0 999)"
}

large_records() {
  head -c 1000000 /dev/urandom > "$SCRATCH/large"
  head -c 1100000 /dev/urandom > "$SCRATCH/too-large"
  produce -t large -p 0 -X message.max.bytes=2000000 "$SCRATCH/large" "$SCRATCH/large" "$SCRATCH/large"
  consume -t large -p 0 -o 1 -c 1 -f %s > "$SCRATCH/large-read"
  cmp "$SCRATCH/large" "$SCRATCH/large-read"
  same "the sizes" "$(consume -t large -p 0 -f '%o %S\n')" "0 1000000
1 1000000
2 1000000"
  refused "Broker: Message size too large" produce -t large -p 0 -X message.max.bytes=2000000 "$SCRATCH/too-large"
  same "the end" "$(k -Q -t large:0:-1)" "large [0] offset 3"
}

errors() {
  refused "Broker: Unknown topic or partition" consume -t missing -p 0
  refused "partition 7 does not exist" consume -t metadata -p 7
  refused "Broker: Invalid topic" produce -t not/a/name -p 0 <<< x
  refused "Broker: Offset out of range" consume -t metadata -p 0 -o 1000 -X topic.auto.offset.reset=error
  # No question about a topic has made one.
  if k -L | grep -e missing -e not/a/name; then return 1; fi
}

# in_group GROUP [OPTION...]: reads the topic of that name in a group, up to its ends. librdkafka 2.0.2 commits what is read when it
# leaves.
in_group() {
  k -G "$1" -e -q -X auto.offset.reset=earliest -X fetch.wait.max.ms=20 -X session.timeout.ms=6000 -X heartbeat.interval.ms=100 \
    -X partition.assignment.strategy=range "${@:2}" "$1" 2>> "$SCRATCH/group.log"
}

committed() { [ ! -x "$CACHE/go/clients" ] || same "committed" "$("$CACHE/go/clients" committed "$1" "$1")" "$2"; }

# has_members GROUP MEMBERS...: waits until as many members have so many partitions each, as another client is told.
has_members() {
  local deadline=$((SECONDS + 20)) said
  [ -x "$CACHE/go/clients" ] || { sleep 3; return 0; }
  until said=$("$CACHE/go/clients" group "$1") && [ "$said" = "${*:2}" ]; do
    [ $SECONDS -lt $deadline ] || { echo "the group is «$said» after 20 s, want «${*:2}»"; return 1; }
    sleep 0.05
  done
}

# Numbers into each of the three partitions.
numbers() {
  local p
  for p in 0 1 2; do seq "$2" "$3" | sed "s/^/$p-/" | produce -t "$1" -p $p; done
}

numbered() { for p in 0 1 2; do seq "$1" "$2" | sed "s/^/$p-/"; done | sort; }

group_goes_on() {
  numbers going 100 199
  same "at first" "$(in_group going | sort)" "$(numbered 100 199)"
  committed going "100 100 100"
  numbers going 200 299
  same "then" "$(in_group going | sort)" "$(numbered 200 299)"
  committed going "200 200 200"
  same "then nothing is new" "$(in_group going)" ""
  same "another group" "$(k -G another -e -q -X auto.offset.reset=earliest going 2> /dev/null | wc -l)" 600
}

# Two members, each until it is ended, and what each has written out.
group_shares() {
  local one two
  numbers sharing 100 109
  kcat -b "$BOOTSTRAP" -G sharing -u -q -X auto.offset.reset=earliest -X session.timeout.ms=6000 -X heartbeat.interval.ms=100 \
    -X fetch.wait.max.ms=20 -X partition.assignment.strategy="$1" sharing > "$SCRATCH/one" 2>> "$SCRATCH/group.log" &
  one=$!
  has_members sharing Stable 3
  kcat -b "$BOOTSTRAP" -G sharing -u -q -X auto.offset.reset=earliest -X session.timeout.ms=6000 -X heartbeat.interval.ms=100 \
    -X fetch.wait.max.ms=20 -X partition.assignment.strategy="$1" sharing > "$SCRATCH/two" 2>> "$SCRATCH/group.log" &
  two=$!
  trap 'kill $one $two 2> /dev/null || true' EXIT
  has_members sharing Stable 1 2
  numbers sharing 200 209
  await_lines 60 "$SCRATCH/one" "$SCRATCH/two"
  [ -s "$SCRATCH/two" ] || { echo "the second one has read nothing"; return 1; }
  kill -TERM $one
  wait $one || true
  has_members sharing Stable 3
  numbers sharing 300 309
  await_lines 90 "$SCRATCH/one" "$SCRATCH/two"
  kill -TERM $two
  wait $two || true
  has_members sharing Empty
  same "all that was read" "$(sort "$SCRATCH/one" "$SCRATCH/two")" "$({ numbered 100 109; numbered 200 209; numbered 300 309; } | sort)"
  committed sharing "30 30 30"
}

# await_lines LINES FILE...
await_lines() {
  local deadline=$((SECONDS + 20))
  until [ "$(cat "${@:2}" | wc -l)" -ge "$1" ]; do
    [ $SECONDS -lt $deadline ] || { echo "$(cat "${@:2}" | wc -l) records of $1 after 20 s"; return 1; }
    sleep 0.05
  done
}

# left FROM TOPIC: what is left of a cleaned topic from an offset on, as kcat writes it with these fields.
left_format='%o %T %k %S %s\n'
left() {
  awk -v from="$1" 'NR > 1 && $1 >= from { print $1, $2, $3, $4 == "-" ? "-1 " : length($4) " " $4 }' "$COMPACTED/$2"
}

compacted() {
  local topic end gap last_gap from
  for topic in compacted-brief compacted-long; do
    read -r end gap last_gap < "$COMPACTED/$topic"
    for from in 0 "$gap" "$last_gap"; do
      same "$topic from $from" "$(consume -t $topic -p 0 -o "$from" -f "$left_format" "$@")" "$(left "$from" $topic)"
    done
  done
}

compacted_group() {
  local topic end gap last_gap group
  for topic in compacted-brief compacted-long; do
    read -r end gap last_gap < "$COMPACTED/$topic"
    group=(k -G kcat-$topic -e -q -X fetch.wait.max.ms=20 -X session.timeout.ms=6000 -X heartbeat.interval.ms=100 -f "$left_format" $topic)
    same "at first" "$("${group[@]}" 2>> "$SCRATCH/group.log")" "$(left "$gap" $topic)"
    same "committed" "$("$CACHE/go/clients" committed kcat-$topic $topic)" "$end"
    same "then nothing is new" "$("${group[@]}" 2>> "$SCRATCH/group.log")" ""
  done
}

compacted_keys() { refused "Broker failed to validate record" produce -t compacted-keys -p 0 <<< "no key"; }

# Ten kcats, each with a codec, idempotent or not, and one that reads along.
across_crashes() {
  local codec idempotent name fifos=() topics=() producers=() options tail
  mkdir "$SCRATCH/crash"
  for codec in $codecs; do
    for idempotent in true false; do
      name=crash-$codec-$idempotent
      mkfifo "$SCRATCH/crash/$name.fifo"
      fifos+=("$SCRATCH/crash/$name.fifo")
      topics+=("$name")
      # Few records at a time, so that some are on their way whenever the node is killed; and back soon after it.
      options=(-X "compression.codec=$codec" -X "enable.idempotence=$idempotent" -X topic.acks=all
        -X linger.ms=1 -X batch.num.messages=100 -X queue.buffering.max.messages=400 -X reconnect.backoff.max.ms=500)
      # One request at a time, so that a retry does not overtake what follows it.
      [ $idempotent = true ] || options+=(-X max.in.flight.requests.per.connection=1)
      kcat -b "$BOOTSTRAP" -P -E -t "$name" -p 0 "${options[@]}" < "$SCRATCH/crash/$name.fifo" 2> "$SCRATCH/crash/$name.log" &
      producers+=($!)
    done
  done
  name=crash-none-true
  produce -t $name -p 1 <<< "the topic is there"
  kcat -b "$BOOTSTRAP" -C -E -q -u -t $name -p 0 -o beginning > "$SCRATCH/crash/tail" 2> "$SCRATCH/crash/tail.log" &
  tail=$!

  check "crash: every producer goes on after each of $crashes" feed_across_crashes $crashes "${fifos[@]}" -- "${topics[@]}"
  for name in "${topics[@]}"; do
    wait "${producers[0]}"
    check "crash: idempotent=${name##*-} codec=$(cut -d- -f2 <<< "$name")" judge_topic "$name" $?
    producers=("${producers[@]:1}")
  done
  check "crash: a consumer that reads along sees the same" judge_tail
  kill $tail
  wait $tail 2> /dev/null || true
}

judge_topic() {
  local name=$1 code=$2
  [ "$code" = 0 ] || { echo "kcat ended with code $code:"; cat "$SCRATCH/crash/$name.log"; return 1; }
  consume -t "$name" -p 0 > "$SCRATCH/crash/$name.read"
  judge_lines "${name##*-}" "$SCRATCH/crash/$name.read"
}

judge_tail() {
  local deadline=$((SECONDS + 10))
  until cmp -s "$SCRATCH/crash/tail" "$SCRATCH/lines" || [ $SECONDS -gt $deadline ]; do sleep 0.05; done
  same_file "what was seen" "$SCRATCH/crash/tail" "$SCRATCH/lines"
}

kcat_cases() {
  check "metadata: the broker, topics, partitions" metadata
  for codec in $codecs; do
    for idempotent in true false; do
      check "round trip: codec=$codec idempotent=$idempotent" round_trip "$codec" $idempotent
    done
  done
  check "records: keys, headers, null keys and values, unicode" keys_and_headers
  check "partitions: each has its own" partitions
  check "offsets: by time, earliest, latest" offsets_by_time
  check "consumer: from the beginning, an offset, back from the end, the end" starting_points
  check "consumer: a record written during a long poll comes at once" a_later_record
  for acks in 0 1 all; do
    check "producer: acks=$acks" acks_level $acks
  done
  check "records: 1 MB, and one that is too large" large_records
  check "errors: missing topic and partition, bad name, offset out of range" errors
  check "groups: read all, commit, go on where it was" group_goes_on
  check "groups: two share, one leaves, the other takes all" group_shares range
  if [ -n "${COMPACTED:-}" ]; then
    check "a compacted topic: read from the start, and from where nothing is left" compacted
    check "a compacted topic: fetches of a batch each" compacted -X fetch.message.max.bytes=1
    check "a compacted topic: a group goes on where nothing is left, commits the end" compacted_group
    check "a compacted topic: a record without a key is refused" compacted_keys
  fi
  across_crashes
}

prepare_compacted kcat librdkafka
if command -v kcat > /dev/null; then
  kcat_cases
else
  missing "every case of kcat" "there is no kcat: see setup.sh"
fi

if [ -x "$CACHE/venv/bin/python" ]; then
  [ ! -x "$CACHE/go/clients" ] || export CODECS_OF="$CACHE/go/clients codecs" COMMITTED_OF="$CACHE/go/clients committed"
  CRASH_HOOK="$here/../node.sh crash $NODE" "$CACHE/venv/bin/python" "$here/../python/suite.py"
else
  missing "every case of librdkafka" "its bindings are not there: see setup.sh"
fi
