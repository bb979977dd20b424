"""kafka-python and aiokafka: their cases, and what they do while nodes go away.

    pure.py cases                            every case of both that needs one node
    pure.py groups                           those of them that are about groups
    pure.py wide TOPIC PARTITIONS            a topic with very many partitions, which exists
    pure.py history CLIENT TOPIC HISTORY STOP    writes and reads until the file STOP is there; see history.py

$BOOTSTRAP names the nodes. Each case is one line, "pass SUITE: CLIENT: NAME" or "FAIL ...: WHY". $CODECS_OF, when set, is a
command that prints the codecs of a topic's batches, $COMMITTED_OF one that prints what a group has committed.
"""

import itertools
import json
import logging
import os
import random
import subprocess
import sys
import threading
import time

from compacted import compacted_cases
from groups import group_cases
from pure_clients import CLIENTS, DELIVERY_S_MAX, Record

BOOTSTRAP = os.environ["BOOTSTRAP"]
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PARTITIONS = 3
READ_S_MAX = 60
# Some hundred records a second.
RECORDS_AT_ONCE = 5
PAUSE_S = 0.02
UNANSWERED_MAX = 300
MIB = 1 << 20

any_failed = False
printing = threading.Lock()


def case(suite, client, name, run, *arguments):
    global any_failed
    try:
        problem = run(client, *arguments)
    except Exception as error:  # noqa: BLE001: whatever it is, it is why the case failed
        problem = f"{type(error).__name__}: {error}"
    with printing:
        if problem:
            any_failed = True
            print(f"FAIL {suite}: {client.name}: {name}: {problem}".replace("\n", " | "), flush=True)
        else:
            print(f"pass {suite}: {client.name}: {name}", flush=True)


def write(producer, records):
    """Sends the records and waits; each gets the offset that it is acknowledged at."""
    errors = []

    def on_done(record, error, offset):
        if error is not None:
            errors.append(error)
        else:
            record.offset = offset

    for record in records:
        producer.send(record, lambda error, offset, record=record: on_done(record, error, offset))
    producer.flush()
    if errors:
        raise errors[0]


def read(consumer, count):
    """The next records, `count` of them."""
    records = []
    deadline = time.monotonic() + READ_S_MAX
    while len(records) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"read {len(records)} records of {count} in {READ_S_MAX} s")
        records += consumer.poll(0.2)
    return records


def difference(sent, got):
    """What is not as it was sent: the records of each partition have to come in order."""
    if len(got) != len(sent):
        return f"{len(got)} records, want {len(sent)}"
    by_partition = lambda records: sorted(records, key=lambda record: record.partition)
    for want, found in zip(by_partition(sent), by_partition(got)):
        if want != found:
            return f"read {str(found)[:300]}, want {str(want)[:300]}"
    return None


def shapes():
    """Records of two partitions with all that a record can have."""
    values = [b"plain", None, b"", "日本語 é".encode(), b"\x00\xff" * 50, b"compressible " * 100]
    keys = [b"key", None, b""]
    headers = [[], [("one", b"1"), ("one", b"2"), ("empty", b""), ("ключ", b"\xff")]]
    began_ms = int(time.time() * 1_000) - 3_600_000
    records = [
        Record(number % 2, value, key, list(header), began_ms + number * 1_000)
        for number, (value, key, header, _) in enumerate(itertools.product(values, keys, headers, range(5)))
        # The libraries refuse a record that has neither.
        if value is not None or key is not None
    ]
    # Bytes that no codec makes smaller. Not in the partition whose codecs are compared.
    records.append(Record(1, random.randbytes(100_000), timestamp_ms=began_ms))
    return records


def codec_problem(client, topic, codec):
    """What the attributes of the stored batches of partition 0 say."""
    command = os.environ.get("CODECS_OF")
    if not command:
        return None
    found = subprocess.run([*command.split(), topic], capture_output=True, text=True).stdout.split()
    allowed = {codec} if client.compresses_always else {codec, "none"}
    return None if codec in found and set(found) <= allowed else f"the codecs in the log are {found}"


# The cases of one node.


def round_trip(client, codec, idempotent):
    topic = f"{client.name}-{codec}-{idempotent}".lower()
    client.create(topic, 2, 1)
    records = shapes()
    producer = client.producer(topic, codec, idempotent)
    write(producer, records)
    producer.close()
    consumer = client.consumer(topic, range(2))
    got = read(consumer, len(records))
    consumer.close()
    return difference(records, got) or codec_problem(client, topic, codec)


def large(client):
    topic = f"{client.name}-large"
    client.create(topic, 1, 1, {"max.message.bytes": str(3 * MIB)})
    records = [Record(0, random.randbytes(MIB), b"large", timestamp_ms=1_000 + n) for n in range(3)]
    producer = client.producer(topic, large=True)
    write(producer, records)
    consumer = client.consumer(topic, range(1))
    got = read(consumer, len(records))
    problem = difference(records, got)
    try:
        write(producer, [Record(0, random.randbytes(3 * MIB))])
        problem = problem or "a record above the topic's limit was acknowledged"
    except Exception as error:  # noqa: BLE001: the libraries' errors have no common kind
        if type(error).__name__ != "MessageSizeTooLargeError":
            problem = problem or f"a record above the topic's limit: {type(error).__name__}: {error}"
    if consumer.ends() != {0: 3}:
        problem = problem or f"the ends are {consumer.ends()}"
    producer.close()
    consumer.close()
    return problem


def starting_points(client):
    topic = f"{client.name}-starts"
    client.create(topic, 2, 1)
    producer = client.producer(topic)
    records = [Record(1, b"%d" % number, timestamp_ms=1_000 + number * 10) for number in range(100)]
    write(producer, records)
    producer.close()
    consumer = client.consumer(topic, [0, 1], 0)
    if (ends := consumer.ends()) != {0: 0, 1: 100}:
        return f"the ends are {ends}"
    by_time = [consumer.offset_at(1, timestamp_ms) for timestamp_ms in (0, 1_335, 1_990, 1_991)]
    if by_time != [0, 34, 99, None]:
        return f"offsets by time are {by_time}"
    consumer.close()
    consumer = client.consumer(topic, [1], 37)
    got = read(consumer, 63)
    consumer.close()
    return difference(records[37:], got)


def wide(client, topic, partitions):
    """Asks for all partitions of a topic, writes to the last of them and reads that."""
    producer = client.producer(topic)
    if (known := producer.partitions()) != set(range(partitions)):
        return f"{len(known or [])} partitions, want {partitions}"
    record = Record(partitions - 1, client.name.encode(), timestamp_ms=1_000)
    write(producer, [record])
    producer.close()
    consumer = client.consumer(topic, [partitions - 1], record.offset)
    got = read(consumer, 1)
    consumer.close()
    return difference([record], got)


# While nodes go away.


class History:
    """One event a line, in the order in which they happened. Libraries complete records on threads of their own."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8")
        self.lock = threading.Lock()
        self.started = time.monotonic()

    def write(self, process, phase, function, value=None, **more):
        event = {"process": process, "type": phase, "f": function}
        if value is not None:
            event["value"] = value
        with self.lock:
            event["time_us"] = round((time.monotonic() - self.started) * 1_000_000)
            self.file.write(json.dumps(event | more) + "\n")
            self.file.flush()


class Writer:
    """An idempotent producer of numbered records."""

    def __init__(self, client, topic, history):
        self.topic, self.history = topic, history
        self.sent = self.acked = 0
        self.given_up = []
        self.producer = client.producer(topic)

    def write_some(self):
        for _ in range(RECORDS_AT_ONCE):
            if self.sent - self.acked - len(self.given_up) >= UNANSWERED_MAX:
                return
            record = {"topic": self.topic, "partition": self.sent % PARTITIONS, "key": "k", "value": str(self.sent)}
            self.sent += 1
            self.history.write(0, "invoke", "send", [record])
            self.producer.send(
                Record(record["partition"], record["value"].encode(), b"k"),
                lambda error, offset, record=record: self.on_done(record, error, offset),
            )

    def on_done(self, record, error, offset):
        if error is not None:
            self.given_up.append(error)
            self.history.write(0, "info", "send", [record], error=repr(error))
            return
        self.acked += 1
        # A producer whose batch was there already may not be told where.
        place = {"offset": offset} if offset >= 0 else {}
        self.history.write(0, "ok", "send", [record | place])


class Tail:
    """A consumer of all partitions from their starts."""

    def __init__(self, client, process, topic, history):
        self.process, self.topic, self.history = process, topic, history
        self.next = dict.fromkeys(range(PARTITIONS), 0)
        history.write(process, "ok", "assign", [{"topic": topic, "partition": p, "offset": 0} for p in self.next])
        self.consumer = client.consumer(topic, range(PARTITIONS))

    def read(self, timeout_s):
        records = []
        for record in self.consumer.poll(timeout_s):
            self.next[record.partition] = record.offset + 1
            place = {"topic": self.topic, "partition": record.partition, "offset": record.offset}
            records.append(place | {"key": record.key.decode(), "value": record.value.decode()})
        if records:
            self.history.write(self.process, "ok", "poll", records)

    def read_to_ends(self):
        deadline = time.monotonic() + READ_S_MAX
        ends = self.consumer.ends()
        while any(self.next[partition] < end for partition, end in ends.items()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"read up to {self.next} in {READ_S_MAX} s, the ends are {ends}")
            self.read(0.1)
        self.history.write(self.process, "ok", "final")


def write_history(client, topic, path, stop):
    history = History(path)
    history.write(0, "info", "note", f"{client.name} {client.version}, topic {topic}")
    client.create(topic, PARTITIONS, 3, {"min.insync.replicas": "2"})
    writer = Writer(client, topic, history)
    tail = Tail(client, 1, topic, history)
    while not os.path.exists(stop):
        writer.write_some()
        tail.read(PAUSE_S)
    writer.producer.flush()
    deadline = time.monotonic() + DELIVERY_S_MAX
    while writer.acked + len(writer.given_up) < writer.sent and time.monotonic() < deadline:
        time.sleep(0.01)
    for reader in (tail, Tail(client, 2, topic, history)):
        reader.read_to_ends()
    for error in writer.given_up[:3]:
        print(f"given up: {error!r}")
    print(f"note: {writer.sent} records, {writer.acked} acknowledged")
    return writer.acked < writer.sent


def run_cases(client):
    for codec in CODECS:
        for idempotent in (True, False):
            name = f"round trip: codec={codec} idempotent={str(idempotent).lower()}"
            case("python", client, name, round_trip, codec, idempotent)
    case("python", client, "records: 1 MiB, and one that is too large", large)
    case("python", client, "consumer: from an offset; ends; offsets by time", starting_points)
    run_groups(client)
    for name, run in compacted_cases().items():
        case("python", client, name, run)


def run_groups(client):
    for name, run in group_cases(client).items():
        case("python", client, name, run)


def main():
    # What the libraries log of nodes that are away is no news.
    logging.disable(logging.CRITICAL)
    verb, *arguments = sys.argv[1:]
    if verb == "history":
        name, *arguments = arguments
        code = write_history(CLIENTS[name](BOOTSTRAP), *arguments)
        # Threads of the libraries may hold the process otherwise.
        sys.stdout.flush()
        os._exit(code)
    clients = [client(BOOTSTRAP) for client in CLIENTS.values()]
    if verb in ("cases", "groups"):
        run = run_cases if verb == "cases" else run_groups
        threads = [threading.Thread(target=run, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    elif verb == "wide":
        topic, partitions = arguments
        for client in clients:
            case("fleet", client, f"metadata: a topic of {partitions} partitions", wide, topic, int(partitions))
    for client in clients:
        client.close()
    return any_failed


sys.exit(main())
