"""librdkafka's cases: administration, groups, and producers across SIGKILL, whose every delivery report is held against the log.

    suite.py                $BOOTSTRAP is the node, $CRASH_HOOK a command that kills it and starts it again

Each case is one line, "pass kcat: librdkafka: NAME" or "FAIL ...: WHY". $CODECS_OF, when set, is a command that prints the
codecs of a topic's batches, $COMMITTED_OF one that prints what a group has committed.
"""

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field

import confluent_kafka
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from compacted import compacted_cases
from groups import group_cases
from librdkafka_groups import Librdkafka, LibrdkafkaConsumer

BOOTSTRAP = os.environ["BOOTSTRAP"]
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
CRASHES = 8
PARTITIONS = 3
# Acknowledged records of every writer before each crash and after the last.
ACKED_BETWEEN = 300
# As many records of each writer always wait for their reports, so that each crash meets some.
UNANSWERED_MAX = 200
# A crash comes at any time after the progress that it waits for.
DELAY_MAX_S = 0.1
PROGRESS_S_MAX = 60
COMMON = {"bootstrap.servers": BOOTSTRAP, "reconnect.backoff.max.ms": 500, "log_level": 2}

any_failed = False


def report(name, problem, note=""):
    global any_failed
    if problem:
        any_failed = True
        print(f"FAIL kcat: librdkafka: {name}: {problem}".replace("\n", " | "), flush=True)
    else:
        print(f"pass kcat: librdkafka: {name}" + (f" ({note})" if note else ""), flush=True)


def case(name, run):
    try:
        report(name, run())
    except Exception as error:  # noqa: BLE001: whatever it is, it is why the case failed
        report(name, f"{type(error).__name__}: {error}")


# Administration.


def topics():
    """A topic is created, refused a second time, described, asked for its offsets and deleted."""
    admin = AdminClient(COMMON)
    topic = NewTopic("admin", num_partitions=4, replication_factor=1, config={"max.message.bytes": "2000000"})
    admin.create_topics([topic])["admin"].result(10)
    try:
        admin.create_topics([topic])["admin"].result(10)
        return "a second topic of the name was created"
    except KafkaException as error:
        if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
            return f"a second topic of the name: {error}"
    described = admin.describe_topics(confluent_kafka.TopicCollection(["admin"]))["admin"].result(10)
    if len(described.partitions) != 4 or any(len(p.isr) != 1 for p in described.partitions):
        return f"described with {described.partitions}"
    latest = admin.list_offsets({TopicPartition("admin", 3): OffsetSpec.latest()})
    if [f.result(10).offset for f in latest.values()] != [0]:
        return "the empty partition does not end at 0"
    admin.delete_topics(["admin"])["admin"].result(10)
    try:
        admin.describe_topics(confluent_kafka.TopicCollection(["admin"]))["admin"].result(10)
        return "it is described after its deletion"
    except KafkaException as error:
        if error.args[0].name() != "UNKNOWN_TOPIC_OR_PART":
            return f"described after its deletion: {error}"
    return None


def all_topics():
    """Asks for all topics: librdkafka's request for this ends with 3 bytes that do not belong to it, and Kafka ignores them."""
    admin = AdminClient(COMMON)
    admin.create_topics([NewTopic("listed", 1, 1)])["listed"].result(10)
    listed = admin.list_topics(timeout=10).topics
    return None if "listed" in listed else f"listed are {sorted(listed)}"


def cluster():
    admin = AdminClient(COMMON)
    described = admin.describe_cluster().result(10)
    nodes = [f"{node.host}:{node.port}" for node in described.nodes]
    if nodes != [BOOTSTRAP] or not described.cluster_id or described.controller.id != described.nodes[0].id:
        return f"nodes {nodes}, cluster {described.cluster_id}, controller {described.controller}"
    return None


# Producers across SIGKILL.


@dataclass
class Writer:
    """One producer of numbered records, and what it was told about each of them."""

    codec: str
    idempotent: bool
    sent: int = 0
    offsets: dict[int, int] = field(default_factory=dict)  # by number: where it is acknowledged to be
    refused: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.name = f"idempotent={str(self.idempotent).lower()} codec={self.codec}"
        self.topic = f"librdkafka-{self.codec}-{self.idempotent}".lower()

    def open(self):
        options = {
            "acks": "all",
            "compression.type": self.codec,
            "enable.idempotence": self.idempotent,
            "message.timeout.ms": 120_000,
            "linger.ms": 1,
            # Small batches, so that several are on their way at once.
            "batch.num.messages": 20,
        }
        if not self.idempotent:
            # One request at a time, so that a retry does not overtake what follows it.
            options["max.in.flight"] = 1
        self.producer = Producer(COMMON | options)

    def fill(self):
        while self.sent - len(self.offsets) - len(self.refused) < UNANSWERED_MAX:
            number = self.sent
            self.sent += 1
            value = b"%010d %s" % (number, b"seedlog " * 12)
            on_delivery = lambda error, message, number=number: self.on_delivery(number, error, message)
            self.producer.produce(self.topic, value, partition=number % PARTITIONS, on_delivery=on_delivery)
        self.producer.poll(0)

    def on_delivery(self, number, error, message):
        if error is None:
            self.offsets[number] = message.offset()
        else:
            self.refused.append(f"{number}: {error}")

    def judge(self, log, seen):
        """Holds what was acknowledged, and what a consumer saw meanwhile, against the log: what is wrong, and the numbers."""
        wrong = dict.fromkeys(["duplicated", "out of order", "invented", "gaps", "lost", "misplaced", "seen and changed"], 0)
        times = [0] * self.sent
        for partition, records in enumerate(log):
            last = -1
            for index, (offset, number) in enumerate(records):
                wrong["gaps"] += offset != index
                if not 0 <= number < self.sent or number % PARTITIONS != partition:
                    wrong["invented"] += 1
                    continue
                times[number] += 1
                if times[number] > 1:
                    wrong["duplicated"] += 1
                elif number < last:
                    wrong["out of order"] += 1
                else:
                    last = number
            wrong["seen and changed"] += sum(a != b for a, b in zip(seen[partition], records))
            wrong["seen and changed"] += max(0, len(seen[partition]) - len(records))
        wrong["not seen"] = sum(map(len, log)) - sum(map(len, seen))
        for number, offset in self.offsets.items():
            records = log[number % PARTITIONS]
            wrong["lost"] += times[number] == 0
            # A producer whose batch was there already may not be told where (the offset is negative then).
            wrong["misplaced"] += offset >= len(records) or (offset >= 0 and records[offset][1] != number)
        wrong["refused"] = len(self.refused)
        wrong["not answered"] = self.sent - len(self.offsets) - len(self.refused)
        line = f"sent {self.sent}, acknowledged {len(self.offsets)}, read {sum(map(len, log))}, "
        line += ", ".join(f"{what} {count}" for what, count in wrong.items())
        if not self.idempotent:
            del wrong["duplicated"]
        if self.refused:
            line += f"; first refusal: {self.refused[0]}"
        return line if any(wrong.values()) else None, line


class Reader:
    """Reads all partitions of all topics from their starts."""

    def __init__(self, writers):
        self.seen = {writer.topic: [[] for _ in range(PARTITIONS)] for writer in writers}
        # The group is asked for by the library and does nothing: partitions are assigned.
        self.consumer = Consumer(COMMON | {"group.id": "none", "enable.auto.commit": False, "fetch.wait.max.ms": 50})
        self.consumer.assign(
            [TopicPartition(topic, p, confluent_kafka.OFFSET_BEGINNING) for topic in self.seen for p in range(PARTITIONS)]
        )

    def read(self, timeout):
        for message in self.consumer.consume(1000, timeout):
            if message.error():
                raise KafkaException(message.error())
            self.seen[message.topic()][message.partition()].append((message.offset(), int(message.value().split()[0])))

    def end(self, topic, partition, deadline):
        """Asks again as long as the library, soon after a crash, says from its own memory that it knows no such partition."""
        while True:
            try:
                return self.consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                self.read(0.1)

    def read_to_ends(self):
        deadline = time.monotonic() + 30
        left = {topic: [self.end(topic, p, deadline) for p in range(PARTITIONS)] for topic in self.seen}
        while any(len(self.seen[t][p]) < end for t, ends in left.items() for p, end in enumerate(ends)):
            if time.monotonic() > deadline:
                return
            self.read(0.1)


def write_across_crashes(writers, tail):
    """Lets all writers write while the node is killed again and again."""
    hook = None
    crashes = 0
    marks, since, due = [0] * len(writers), time.monotonic(), None
    while True:
        for writer in writers:
            writer.fill()
        tail.read(0.001)
        now = time.monotonic()
        if hook is not None:
            if hook.poll() is None:
                continue
            if hook.returncode != 0:
                raise RuntimeError(f"the hook ended with code {hook.returncode}")
            hook, since, due = None, now, None
            marks = [len(writer.offsets) for writer in writers]
        slowest = min(writers, key=lambda w: len(w.offsets) - marks[writers.index(w)])
        if len(slowest.offsets) - marks[writers.index(slowest)] < ACKED_BETWEEN:
            if now - since > PROGRESS_S_MAX:
                raise RuntimeError(f"after crash {crashes} {slowest.name} does not go on; refused: {slowest.refused[:1]}")
        elif crashes == CRASHES:
            return
        elif due is None:
            due = now + random.uniform(0, DELAY_MAX_S)
        elif now >= due:
            hook = subprocess.Popen(os.environ["CRASH_HOOK"], shell=True, stdout=subprocess.DEVNULL)
            crashes += 1


def codec_problem(writer):
    command = os.environ.get("CODECS_OF")
    if not command:
        return None
    found = subprocess.run([*command.split(), writer.topic], capture_output=True, text=True).stdout.strip()
    return None if found == writer.codec else f"the codec in the log is {found}"


def crash():
    writers = [Writer(codec, idempotent) for codec in CODECS for idempotent in (True, False)]
    admin = AdminClient(COMMON)
    created = admin.create_topics([NewTopic(w.topic, PARTITIONS, 1) for w in writers])
    for topic in created.values():
        topic.result(10)
    for writer in writers:
        writer.open()
    tail = Reader(writers)
    write_across_crashes(writers, tail)
    for writer in writers:
        writer.producer.flush(60)
    tail.read_to_ends()
    log = Reader(writers)
    log.read_to_ends()
    for writer in writers:
        wrong, line = writer.judge(log.seen[writer.topic], tail.seen[writer.topic])
        report(f"crash: {writer.name}", wrong or codec_problem(writer), line)
    repeated = sum(len(part) for w in writers for part in log.seen[w.topic]) - sum(w.sent for w in writers)
    return None if repeated else "no crash met a request whose answer was lost: nothing was written twice without idempotence"


case("topics: create, refuse a second, describe, offsets, delete", topics)
case("topics: list all", all_topics)
case("cluster: one node, at the address that was asked", cluster)
client = Librdkafka(COMMON)
for group_client in (client, LibrdkafkaConsumer(COMMON)):
    for group_name, group_case in group_cases(group_client).items():
        case(group_name, lambda group_client=group_client, group_case=group_case: group_case(group_client))
for compacted_name, compacted_case in compacted_cases().items():
    case(compacted_name, lambda compacted_case=compacted_case: compacted_case(client))
case(f"crash: {CRASHES} kills met requests on their way", crash)
sys.exit(any_failed)
