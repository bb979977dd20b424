"""kafka-python and aiokafka behind one face: what the cases of pure.py ask of a client, in blocking calls.

A client has `create`, `producer`, `consumer` and `close`, and what groups.py asks of one. What goes wrong is an exception of the library.
"""

import asyncio
import threading
from dataclasses import dataclass, field

import aiokafka
import kafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin import NewTopic as AioNewTopic
from groups import PARTITIONS
from kafka.admin import NewTopic
from pure_groups import AioKafkaGroups, AioKafkaMember, KafkaPythonGroups, KafkaPythonMember

ASK_S_MAX = 30
# The longest that a record may be on its way, with everything that is tried again.
DELIVERY_S_MAX = 100


@dataclass
class Record:
    """A record, to be written or as it was read."""

    partition: int
    value: bytes | None
    key: bytes | None = None
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)
    timestamp_ms: int | None = None
    offset: int = -1


def read_record(message):
    """Both libraries name the parts of a record alike."""
    headers = [(key, value) for key, value in message.headers]
    return Record(message.partition, message.value, message.key, headers, message.timestamp, message.offset)


class Numbers:
    """What the cases of groups write: each number to each partition, at the offset that it is."""

    def send(self, topic, numbers):
        producer = self.producer(topic)
        errors = []
        for number in numbers:
            for partition in range(PARTITIONS):
                producer.send(Record(partition, str(number).encode()), lambda error, _offset: error and errors.append(error))
        producer.flush()
        producer.close()
        if errors:
            raise errors[0]

    def send_one(self, topic, value):
        """A record without a key."""
        producer = self.producer(topic)
        errors = []
        producer.send(Record(0, value), lambda error, _offset: error and errors.append(error))
        producer.flush()
        producer.close()
        if errors:
            raise errors[0]


class KafkaPython(Numbers):
    """kafka-python."""

    name = "kafka-python"
    version = kafka.__version__
    # It leaves a batch as it is that its codec would not make smaller.
    compresses_always = False
    protocol = "classic"
    is_cooperative = True
    knows_fencing = True
    groups_class = KafkaPythonGroups
    invalid_record = "INVALID_RECORD"

    def __init__(self, bootstrap):
        self.common = {"bootstrap_servers": bootstrap.split(","), "reconnect_backoff_max_ms": 500}

    def create(self, topic, partitions, replicas, settings=None):
        admin = kafka.KafkaAdminClient(**self.common)
        new = NewTopic(topic, num_partitions=partitions, replication_factor=replicas, topic_configs=settings or {})
        admin.create_topics([new], timeout_ms=ASK_S_MAX * 1_000)
        admin.close()

    def producer(self, topic, codec="none", idempotent=True, large=False):
        return KafkaPythonProducer(self.common, topic, codec, idempotent, large)

    def consumer(self, topic, partitions, offset=0, bytes_max=None):
        return KafkaPythonConsumer(self.common, topic, partitions, offset, bytes_max)

    def member(self, group, topic, instance_id=None, cooperative=False):
        return KafkaPythonMember(self, group, topic, instance_id, cooperative)

    def group_admin(self):
        return self.groups_class(self)

    def close(self):
        pass


class KafkaPythonProducer:
    def __init__(self, common, topic, codec, idempotent, large):
        options = {
            "acks": "all",
            "enable_idempotence": idempotent,
            "compression_type": None if codec == "none" else codec,
            "linger_ms": 5,
            "request_timeout_ms": 5_000,
            "delivery_timeout_ms": DELIVERY_S_MAX * 1_000,
            "max_block_ms": DELIVERY_S_MAX * 1_000,
        }
        if not idempotent:
            # One request at a time, so that a retry does not overtake what follows it.
            options["max_in_flight_requests_per_connection"] = 1
        if large:
            options["max_request_size"] = 4_000_000
        self.topic = topic
        self.library = kafka.KafkaProducer(**common, **options)

    def send(self, record, on_done):
        """Calls `on_done(error, offset)` once it is known what became of the record."""
        future = self.library.send(
            self.topic, record.value, record.key, record.headers, record.partition, record.timestamp_ms
        )
        future.add_callback(lambda placed: on_done(None, placed.offset))
        future.add_errback(lambda error: on_done(error, None))

    def flush(self):
        self.library.flush(DELIVERY_S_MAX)

    def partitions(self):
        return self.library.partitions_for(self.topic)

    def close(self):
        self.library.close(5)


class KafkaPythonConsumer:
    def __init__(self, common, topic, partitions, offset, bytes_max):
        options = {} if bytes_max is None else {"max_partition_fetch_bytes": bytes_max}
        self.partitions = [kafka.TopicPartition(topic, partition) for partition in partitions]
        self.library = kafka.KafkaConsumer(
            **common, **options, enable_auto_commit=False, auto_offset_reset="none", fetch_max_wait_ms=50
        )
        self.library.assign(self.partitions)
        for partition in self.partitions:
            self.library.seek(partition, offset)

    def poll(self, timeout_s):
        polled = self.library.poll(int(timeout_s * 1_000))
        return [read_record(message) for messages in polled.values() for message in messages]

    def ends(self):
        return {at.partition: end for at, end in self.library.end_offsets(self.partitions).items()}

    def position(self):
        return self.library.position(self.partitions[0])

    def offset_at(self, partition, timestamp_ms):
        at = kafka.TopicPartition(self.partitions[0].topic, partition)
        found = self.library.offsets_for_times({at: timestamp_ms})[at]
        return None if found is None else found.offset

    def close(self):
        self.library.close()


class AioKafka(Numbers):
    """aiokafka, whose event loop runs in a thread of its own."""

    name = "aiokafka"
    version = aiokafka.__version__
    compresses_always = True
    protocol = "classic"
    is_cooperative = False
    knows_fencing = False
    groups_class = AioKafkaGroups
    invalid_record = "UNKNOWN_ERROR"

    def __init__(self, bootstrap):
        self.common = {"bootstrap_servers": bootstrap}
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def wait(self, coroutine, seconds_max=DELIVERY_S_MAX):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds_max)

    def create(self, topic, partitions, replicas, settings=None):
        async def create():
            admin = AIOKafkaAdminClient(**self.common)
            await admin.start()
            try:
                new = AioNewTopic(topic, partitions, replicas, topic_configs=settings or {})
                answer = await admin.create_topics([new], timeout_ms=ASK_S_MAX * 1_000)
            finally:
                await admin.close()
            for error in answer.topic_errors:
                if error[1] != 0:
                    raise RuntimeError(f"{error[0]} is not created: error {error[1]}: {error[2:]}")

        self.wait(create())

    def producer(self, topic, codec="none", idempotent=True, large=False):
        return AioKafkaProducer(self, topic, codec, idempotent, large)

    def consumer(self, topic, partitions, offset=0, bytes_max=None):
        return AioKafkaConsumer(self, topic, partitions, offset, bytes_max)

    def member(self, group, topic, instance_id=None, cooperative=False):
        return AioKafkaMember(self, group, topic, instance_id, cooperative)

    def group_admin(self):
        return self.groups_class(self)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)


class AioKafkaProducer:
    def __init__(self, client, topic, codec, idempotent, large):
        options = {
            "acks": "all",
            "enable_idempotence": idempotent,
            "compression_type": None if codec == "none" else codec,
            "linger_ms": 5,
        }
        if large:
            options["max_request_size"] = 4_000_000
        self.client, self.topic = client, topic

        async def start():
            self.library = aiokafka.AIOKafkaProducer(**client.common, **options)
            await self.library.start()

        client.wait(start())

    def send(self, record, on_done):
        """Calls `on_done(error, offset)` once it is known what became of the record."""

        def on_future(future):
            error = future.exception()
            on_done(error, None if error else future.result().offset)

        async def send():
            future = await self.library.send(
                self.topic, record.value, record.key, record.partition, record.timestamp_ms, record.headers
            )
            future.add_done_callback(on_future)

        self.client.wait(send())

    def flush(self):
        self.client.wait(self.library.flush())

    def partitions(self):
        return self.client.wait(self.library.partitions_for(self.topic))

    def close(self):
        self.client.wait(self.library.stop())


class AioKafkaConsumer:
    def __init__(self, client, topic, partitions, offset, bytes_max):
        options = {} if bytes_max is None else {"max_partition_fetch_bytes": bytes_max}
        self.client = client
        self.partitions = [aiokafka.TopicPartition(topic, partition) for partition in partitions]

        async def start():
            self.library = aiokafka.AIOKafkaConsumer(
                **client.common, **options, enable_auto_commit=False, auto_offset_reset="none", fetch_max_wait_ms=50
            )
            await self.library.start()
            self.library.assign(self.partitions)
            for partition in self.partitions:
                self.library.seek(partition, offset)

        client.wait(start())

    def poll(self, timeout_s):
        polled = self.client.wait(self.library.getmany(timeout_ms=int(timeout_s * 1_000)))
        return [read_record(message) for messages in polled.values() for message in messages]

    def ends(self):
        ends = self.client.wait(self.library.end_offsets(self.partitions))
        return {at.partition: end for at, end in ends.items()}

    def position(self):
        return self.client.wait(self.library.position(self.partitions[0]))

    def offset_at(self, partition, timestamp_ms):
        at = aiokafka.TopicPartition(self.partitions[0].topic, partition)
        found = self.client.wait(self.library.offsets_for_times({at: timestamp_ms}))[at]
        return None if found is None else found.offset

    def close(self):
        self.client.wait(self.library.stop())


CLIENTS = {client.name: client for client in (KafkaPython, AioKafka)}
