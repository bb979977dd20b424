"""librdkafka's producers and consumers at work, and the history of what they asked for and saw, for `seedlog-checker check`.

    history.py TOPIC HISTORY STOP       $BOOTSTRAP names the nodes

Writes until the file STOP is there, then waits for every delivery report and reads all partitions to their ends. The history is
written as it happens, so that whoever waits for acknowledgements can count them there. The format is that of
jepsen-style/src/history/mod.rs. The last line is "note: NUMBERS"; the exit code is 1 when a record was not acknowledged.
"""

import itertools
import json
import os
import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 3
PRODUCERS = 2
CONSUMERS = 2
KEYS = 4
# Each producer sends so many and looks again: some hundred records a second.
RECORDS_AT_ONCE = 3
PAUSE_S = 0.02
# What waits for its report; behind it a producer waits too.
UNANSWERED_MAX = 500
DELIVERY_S_MAX = 100
READ_S_MAX = 60
COMMON = {
    "bootstrap.servers": os.environ["BOOTSTRAP"],
    "reconnect.backoff.max.ms": 500,
    # A leader that is cut off from the others answers nothing that would send its clients away: they have to ask on their own.
    "topic.metadata.refresh.interval.ms": 1_000,
    # A connection into nowhere is found out before a delivery is given up.
    "socket.connection.setup.timeout.ms": 3_000,
    "socket.timeout.ms": 10_000,
    "log_level": 2,
}


class History:
    """One event a line. Everything happens on one thread: the order of the lines is that of the events."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8")
        self.index = itertools.count()
        self.started = time.monotonic()

    def write(self, process, phase, function, value=None, **more):
        event = {
            "index": next(self.index),
            "time_us": round((time.monotonic() - self.started) * 1_000_000),
            "process": process,
            "type": phase,
            "f": function,
        }
        if value is not None:
            event["value"] = value
        self.file.write(json.dumps(event | more) + "\n")

    def flush(self):
        self.file.flush()


class Writer:
    """An idempotent producer of numbered records with keys."""

    def __init__(self, process, topic, history):
        self.process, self.topic, self.history = process, topic, history
        self.sent = self.acked = self.unknown = 0
        options = {
            "acks": "all",
            "enable.idempotence": True,
            "message.timeout.ms": DELIVERY_S_MAX * 1_000,
            "request.timeout.ms": 5_000,
            "linger.ms": 5,
            # Small batches, so that several are on their way at once.
            "batch.num.messages": 20,
        }
        self.producer = Producer(COMMON | options)

    def write_some(self):
        for _ in range(RECORDS_AT_ONCE):
            if self.sent - self.acked - self.unknown >= UNANSWERED_MAX:
                break
            number = self.sent % KEYS
            record = {
                "topic": self.topic,
                "partition": (self.process + number) % PARTITIONS,
                "key": f"p{self.process} k{number}",
                "value": f"p{self.process} {self.sent}",
            }
            self.sent += 1
            # Before it leaves.
            self.history.write(self.process, "invoke", "send", [record])
            self.producer.produce(
                self.topic,
                record["value"],
                record["key"],
                record["partition"],
                on_delivery=lambda error, message, record=record: self.on_delivery(record, error, message),
            )
        self.producer.poll(0)

    def on_delivery(self, record, error, message):
        if error is not None:
            self.unknown += 1
            self.history.write(self.process, "info", "send", [record], error=str(error))
            return
        self.acked += 1
        offset = message.offset()
        # A producer whose batch was there already may not be told where.
        place = {} if offset is None or offset < 0 else {"offset": offset}
        self.history.write(self.process, "ok", "send", [record | place])


class Tail:
    """A consumer of all partitions from their starts."""

    def __init__(self, process, topic, history):
        self.process, self.topic, self.history = process, topic, history
        self.next = dict.fromkeys(range(PARTITIONS), 0)
        # The group is asked for by the library and does nothing: partitions are assigned. Going back is no recovery here.
        options = {"group.id": "none", "enable.auto.commit": False, "auto.offset.reset": "error", "fetch.wait.max.ms": 50}
        self.consumer = Consumer(COMMON | options)
        history.write(process, "ok", "assign", [{"topic": topic, "partition": p, "offset": 0} for p in self.next])
        self.consumer.assign([TopicPartition(topic, p, 0) for p in self.next])

    def read(self, timeout_s):
        records = []
        for message in self.consumer.consume(1_000, timeout_s):
            if message.error():
                # What librdkafka tells of brokers that are gone for now, and gets over by itself.
                if message.error().retriable() or message.error().code() < 0:
                    continue
                raise KafkaException(message.error())
            self.next[message.partition()] = message.offset() + 1
            records.append(
                {
                    "topic": message.topic(),
                    "partition": message.partition(),
                    "offset": message.offset(),
                    "key": message.key().decode(),
                    "value": message.value().decode(),
                }
            )
        if records:
            self.history.write(self.process, "ok", "poll", records)

    def end_of(self, partition, deadline):
        """Asks again as long as the library says that it knows no leader."""
        while True:
            try:
                return self.consumer.get_watermark_offsets(TopicPartition(self.topic, partition), timeout=5)[1]
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def read_to_ends(self):
        deadline = time.monotonic() + READ_S_MAX
        ends = {partition: self.end_of(partition, deadline) for partition in self.next}
        while any(self.next[partition] < end for partition, end in ends.items()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"read up to {self.next} in {READ_S_MAX} s, the ends are {ends}")
            self.read(0.1)
        self.history.write(self.process, "ok", "final")


def create(topic):
    admin = AdminClient(COMMON)
    new = NewTopic(topic, PARTITIONS, 3, config={"min.insync.replicas": "2"})
    admin.create_topics([new])[topic].result(20)


def main():
    topic, path, stop = sys.argv[1:]
    history = History(path)
    history.write(0, "info", "note", f"librdkafka {confluent_kafka.libversion()[0]}, topic {topic}")
    create(topic)
    writers = [Writer(process, topic, history) for process in range(PRODUCERS)]
    tails = [Tail(PRODUCERS + process, topic, history) for process in range(CONSUMERS)]
    while not os.path.exists(stop):
        for writer in writers:
            writer.write_some()
        for tail in tails:
            tail.read(PAUSE_S / CONSUMERS)
        history.flush()
    for writer in writers:
        writer.producer.flush(DELIVERY_S_MAX)
    last = Tail(PRODUCERS + CONSUMERS, topic, history)
    for tail in [*tails, last]:
        tail.read_to_ends()
    history.flush()
    sent, acked, unknown = (sum(getattr(w, what) for w in writers) for what in ("sent", "acked", "unknown"))
    print(f"note: {sent} records, {acked} acknowledged, {unknown} given up")
    return int(acked < sent)


sys.exit(main())
