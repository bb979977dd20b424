#!/usr/bin/env bash
# Kafka's Java client, its command line tools, then its console producers across SIGKILL. See lib.sh for what is given; run by
# run.sh.
#
# KAFKA_HOME names a folder whose libs/ has Kafka's jars; without it those of get-kafka.sh are taken.
suite=java
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"

codecs="none gzip snappy lz4 zstd"
crashes=4
libs=${KAFKA_HOME:-$CACHE/kafka}/libs

command -v java > /dev/null || { missing "every case" "there is no java"; exit 0; }
[ -d "$libs" ] || { missing "every case" "Kafka's jars are not there: see setup.sh"; exit 0; }

# A start costs more than the work: no compiler that optimizes, a small heap, and the classes of the first admin tool, producer
# and consumer kept for those that follow.
tools=(java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m -Xlog:disable -cp "$libs/*")
tool() { timeout 60 "${tools[@]}" "$@"; }
keep_classes() { echo "-XX:ArchiveClassesAtExit=$SCRATCH/$1.classes"; }
kept_classes() { echo "-XX:SharedArchiveFile=$SCRATCH/$1.classes"; }
admin() { tool "${keep:-$(kept_classes admin)}" "org.apache.kafka.tools.$1" "${@:2}" --bootstrap-server "$BOOTSTRAP"; }
# Tools whose command stands behind their options.
admin_command() { tool "$(kept_classes admin)" "org.apache.kafka.tools.$1" --bootstrap-server "$BOOTSTRAP" "${@:2}"; }
configs() { tool "$(kept_classes admin)" kafka.admin.ConfigCommand "$@" --bootstrap-server "$BOOTSTRAP"; }
producer=(org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$BOOTSTRAP")
consumer=(org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$BOOTSTRAP")

create_and_list() {
  contains "create" "$(keep=$(keep_classes admin) admin TopicCommand --create --topic admin --partitions 2 --config max.message.bytes=2000000)" "Created topic admin."
  local again
  if again=$(admin TopicCommand --create --topic admin 2>&1); then
    echo "a second topic of the name was created: $again"
    return 1
  fi
  contains "a second topic of the name" "$again" "Topic 'admin' already exists."
  same "the list" "$(admin TopicCommand --list | grep -x admin)" admin
}

offsets() {
  same "the ends" "$(admin GetOffsetShell --topic admin)" "admin:0:0
admin:1:0"
}

describe() {
  local said
  said=$(admin TopicCommand --describe --topic admin 2>&1) || true
  if [[ "$said" == *"does not support DESCRIBE_CONFIGS"* ]]; then
    skip "topics: describe" "the node has no DescribeConfigs"
    return
  fi
  check "topics: describe" contains "the description" "$said" "PartitionCount: 2"
}

cluster_id() {
  local said
  said=$(admin ClusterTool cluster-id)
  [[ "$said" =~ ^Cluster\ ID:\ [A-Za-z0-9_-]{22}$ ]] || { echo "$said"; return 1; }
}

# The topic is made by the producer's first question about it.
console() {
  tool "$(keep_classes producer)" "${producer[@]}" --topic console --reader-property parse.key=true --reader-property parse.headers=true \
    --reader-property null.marker=NULL --compression-codec zstd <<< 'a:1,b:2	same key	zero
NULL	same key	one
c:	same key	NULL
NULL	same key	three'
  local partition
  partition=$(admin GetOffsetShell --topic console | sed -n 's/^console:\([0-2]\):4$/\1/p')
  local print=(--formatter-property print.offset=true --formatter-property print.key=true --formatter-property print.headers=true)
  same "the records" "$(tool "$(keep_classes consumer)" "${consumer[@]}" --topic console \
    --partition "$partition" --offset earliest --max-messages 4 "${print[@]}")" \
    'Offset:0	a:1,b:2	same key	zero
Offset:1	NO_HEADERS	same key	one
Offset:2	c:	same key	null
Offset:3	NO_HEADERS	same key	three'
  same "from offset 2" "$(tool "$(kept_classes consumer)" "${consumer[@]}" --topic console \
    --partition "$partition" --offset 2 --max-messages 1)" null
}

# The four records of the console topic's one partition: two go, then all that is there.
delete_records() {
  local partition ask
  partition=$(admin GetOffsetShell --topic console | sed -n 's/^console:\([0-2]\):4$/\1/p')
  ask() { echo "{\"partitions\": [{\"topic\": \"console\", \"partition\": $partition, \"offset\": $1}], \"version\": 1}" > "$SCRATCH/ask.json"; }
  ask 2
  contains "up to 2" "$(admin DeleteRecordsCommand --offset-json-file "$SCRATCH/ask.json")" "low_watermark: 2"
  same "the earliest" "$(admin GetOffsetShell --topic-partitions "console:$partition" --time earliest)" "console:$partition:2"
  same "what is left" "$(tool "$(kept_classes consumer)" "${consumer[@]}" --topic console --partition "$partition" \
    --offset earliest --max-messages 2 --formatter-property print.offset=true)" 'Offset:2	null
Offset:3	three'
  ask 9
  contains "beyond the end" "$(admin DeleteRecordsCommand --offset-json-file "$SCRATCH/ask.json" 2>&1)" "OffsetOutOfRangeException"
  ask -1
  contains "all" "$(admin DeleteRecordsCommand --offset-json-file "$SCRATCH/ask.json")" "low_watermark: 4"
}

# The node is alone: it leads the quorum, has no follower, and no listener for one.
quorum() {
  local said replicas
  said=$(admin_command MetadataQuorumCommand describe --status)
  contains "the status" "$said" "LeaderId:               1"
  contains "the status" "$said" "MaxFollowerLag:         0"
  contains "the voters" "$said" 'CurrentVoters:          [{"id": 1, "directoryId": "'
  contains "the observers" "$said" "CurrentObservers:       []"
  replicas=$(admin_command MetadataQuorumCommand describe --replication)
  [[ "$replicas" =~ $'\n'1\ .*$'\t'0\ .*Leader ]] || { echo "$replicas"; return 1; }
}

# One of the topic's partitions has records.
log_dirs() {
  local said
  said=$(admin LogDirsCommand --describe --topic-list console)
  [[ "$said" =~ \"partition\":\"console-0\",\"size\":[0-9]+,\"offsetLag\":0,\"isFuture\":false ]] || { echo "$said"; return 1; }
  [[ "$said" =~ \"size\":[1-9] ]] || { echo "all logs are empty: $said"; return 1; }
  contains "the folder" "$said" "\"error\":null,\"logDir\":\"/"
  contains "another topic" "$(admin LogDirsCommand --describe --topic-list nowhere)" '"partitions":[]'
}

# The console producer's one, which wrote four records.
producers() {
  local partition
  partition=$(admin GetOffsetShell --topic console | sed -n 's/^console:\([0-2]\):4$/\1/p')
  [[ "$(admin_command TransactionsCommand describe-producers --topic console --partition "$partition")" =~ $'\n'[0-9]+\ *$'\t'0\ *$'\t'-1\ *$'\t'3\  ]]
}

# There is nothing to find, and no tool fails where Kafka's own answer would not make it.
access() {
  contains "the ACLs" "$(admin AclCommand --list 2>&1)" "No Authorizer is configured"
  same "the users" "$(configs --describe --entity-type users)" ""
  same "the quotas of clients" "$(configs --describe --entity-type clients)" ""
}

features() {
  local said
  said=$(admin_command FeatureCommand describe | tr -s '\t ' ' ')
  contains "the features" "$said" "Feature: metadata.version SupportedMinVersion: 4.3-IV0 SupportedMaxVersion: 4.3-IV0 FinalizedVersionLevel: 4.3-IV0 Epoch: "
  if said=$(admin_command FeatureCommand upgrade --feature share.version=1 2>&1); then
    echo "a feature that is not there was moved: $said"
    return 1
  fi
  contains "the refusal" "$said" "no other feature has levels"
}

delete() {
  admin TopicCommand --delete --topic admin
  if admin TopicCommand --list | grep -x admin; then return 1; fi
}

# Ten console producers, each with a codec, idempotent or not; Kafka's verifiable producer, which says what is acknowledged;
# and a console consumer that reads along.
across_crashes() {
  local codec idempotent name fifos=() names=() producers=() readers=() options verifiable tail
  mkdir "$SCRATCH/crash"
  cd "$SCRATCH/crash" || return
  for codec in $codecs; do
    for idempotent in true false; do
      name=crash-$codec-$idempotent
      names+=("$name")
      fifos+=("$SCRATCH/crash/$name.fifo")
      mkfifo "$name.fifo"
    done
  done
  for name in "${names[@]}" crash-verifiable; do
    env -u SEEDLOG_BIN "$SEEDLOG_BIN" topic create --bootstrap-server "$BOOTSTRAP" --topic "$name" --partitions 1 > /dev/null
  done
  for name in "${names[@]}"; do
    # Small batches and little memory, so that some records are on their way whenever the node is killed.
    options=(--compression-codec "$(cut -d- -f2 <<< "$name")" --command-property "enable.idempotence=${name##*-}"
      --request-required-acks all --message-send-max-retries 1000000 --timeout 1 --batch-size 4000 --max-memory-bytes 40000)
    # One request at a time, so that a retry does not overtake what follows it.
    [ "${name##*-}" = true ] || options+=(--command-property max.in.flight.requests.per.connection=1)
    "${tools[@]}" "$(kept_classes producer)" "${producer[@]}" --topic "$name" "${options[@]}" < "$name.fifo" > "$name.log" 2>&1 &
    producers+=($!)
  done
  printf 'retries=1000000\nenable.idempotence=true\nlinger.ms=1\n' > verifiable.properties
  "${tools[@]}" "$(kept_classes producer)" org.apache.kafka.tools.VerifiableProducer --bootstrap-server "$BOOTSTRAP" \
    --topic crash-verifiable --acks -1 --throughput 2000 --command-config verifiable.properties > verifiable.said 2> verifiable.log &
  verifiable=$!
  "${tools[@]}" "$(kept_classes consumer)" "${consumer[@]}" --topic crash-zstd-true --partition 0 --offset earliest > tail 2> tail.log &
  tail=$!

  check "crash: every producer goes on after each of $crashes" feed_across_crashes $crashes "${fifos[@]}" -- \
    "${names[@]}" crash-verifiable
  kill -TERM $verifiable
  wait $verifiable
  for name in "${names[@]}"; do
    wait "${producers[0]}" || echo "the producer ended with code $?" >> "$name.log"
    producers=("${producers[@]:1}")
  done
  admin GetOffsetShell --topic 'crash-.*' > ends
  # Two at a time: a start costs more than the reading.
  for name in "${names[@]}" crash-verifiable; do
    [ "$(jobs -rp | grep -vcx $tail)" -lt 2 ] || wait -n
    read_back "$name" &
    readers+=($!)
  done
  wait "${readers[@]}"
  for name in "${names[@]}"; do
    check "crash: idempotent=${name##*-} codec=$(cut -d- -f2 <<< "$name")" judge_topic "$name"
  done
  check "crash: the verifiable producer's acknowledgements" judge_acknowledgements
  check "crash: a consumer that reads along sees the same" judge_tail
  kill $tail
  wait $tail 2> /dev/null || true
}

read_back() {
  local end
  end=$(sed -n "s/^$1:0://p" ends)
  tool "$(kept_classes consumer)" "${consumer[@]}" --topic "$1" --partition 0 --offset earliest --max-messages "${end:-1}" \
    --timeout-ms 20000 --formatter-property print.offset=true > "$1.records" 2> "$1.read.log"
}

judge_topic() {
  local codec
  codec=$(cut -d- -f2 <<< "$1")
  # The producer says each record that it gives up.
  [ ! -s "$1.log" ] || { cat "$1.log"; return 1; }
  judge_offsets "$1"
  cut -f2- "$1.records" > "$1.read"
  if [ -x "$CACHE/go/clients" ]; then
    same "the codec in the log" "$("$CACHE/go/clients" codecs "$1")" "$codec"
  fi
  judge_lines "${1##*-}" "$1.read"
}

# The offsets are those from 0 on, without a gap, up to the end.
judge_offsets() {
  awk -v end="$(sed -n "s/^$1:0://p" ends)" -F '\t' '
    $1 != "Offset:" NR - 1 { print "record " NR " is at " $1; wrong = 1; exit }
    END { if (!wrong && NR != end) { print NR " records, the end is " end; wrong = 1 } exit wrong }' "$1.records"
}

# The numbers are in the log from 0 on, in order, once; and each where its acknowledgement said.
judge_acknowledgements() {
  judge_offsets crash-verifiable
  cut -f2- crash-verifiable.records > verifiable.read
  seq 0 $(($(wc -l < verifiable.read) - 1)) > verifiable.want
  same_file "the numbers" verifiable.read verifiable.want
  if grep -m 3 producer_send_error verifiable.said; then return 1; fi
  sed -n 's/.*"name":"producer_send_success".*"value":"\([0-9]*\)".*"offset":\([0-9]*\).*/Offset:\2\t\1/p' verifiable.said |
    sort > verifiable.acked
  [ -s verifiable.acked ] || { echo "nothing was acknowledged"; tail -n 3 verifiable.said; return 1; }
  sort crash-verifiable.records > verifiable.sorted
  same "acknowledged and not in the log" "$(comm -23 verifiable.acked verifiable.sorted | head -n 3)" ""
  echo "note: $(wc -l < verifiable.acked) acknowledged, $(wc -l < verifiable.read) in the log"
}

judge_tail() {
  local deadline=$((SECONDS + 10))
  until cmp -s tail "$SCRATCH/lines" || [ $SECONDS -gt $deadline ]; do sleep 0.05; done
  same_file "what was seen" tail "$SCRATCH/lines"
}

# Each case of the client says its own line.
client() {
  [ ! -x "$CACHE/go/clients" ] || export CODECS_OF="$CACHE/go/clients codecs" COMMITTED_OF="$CACHE/go/clients committed"
  java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m -Xlog:disable -Dlog4j2.configurationFile="$here/../tools/log4j2.properties" \
    -cp "$CACHE/java:$libs/*" Clients cases 2> "$SCRATCH/client.log" ||
    [ $? = 1 ] || fail "client: it ends in order" "$(tail -n 3 "$SCRATCH/client.log" | tr '\n' ' ')"
}

prepare_compacted java
if [ -f "$CACHE/java/Clients.class" ]; then client; else missing "client" "it is not compiled: see setup.sh"; fi
check "topics: create, refuse a second, list" create_and_list
check "offsets: of each partition" offsets
describe
check "cluster: its id" cluster_id
check "console: keys, headers, nulls; from the earliest and from an offset" console
check "log dirs: sizes of logs" log_dirs
check "records: delete up to an offset, and all" delete_records
check "quorum: status and replication" quorum
check "producers: what a partition knows of one" producers
check "access: no ACLs, no quotas, no SCRAM users" access
check "features: what release of Kafka this is like, and none can be moved" features
check "topics: delete" delete
across_crashes
