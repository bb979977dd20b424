"""librdkafka in groups and compacted topics, behind confluent-kafka: what the cases of groups.py and compacted.py ask of it."""

import logging
from dataclasses import dataclass

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from groups import HEARTBEAT_MS, PARTITIONS, SESSION_MS

ASK_S_MAX = 20
# That a member is fenced is news, and wanted.
SILENCE = logging.getLogger("librdkafka")
SILENCE.addHandler(logging.NullHandler())
SILENCE.propagate = False


def classic(cooperative):
    """What a member of the classic protocol sets for itself; in the consumer protocol times and assignors are the group's."""
    return {
        "session.timeout.ms": SESSION_MS,
        "heartbeat.interval.ms": HEARTBEAT_MS,
        "partition.assignment.strategy": "cooperative-sticky" if cooperative else "range",
    }


class Member:
    """A consumer in a group."""

    def __init__(self, common, group, topic, instance_id, protocol):
        self.topic = topic
        self.lost = 0
        options = {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
        } | protocol
        if instance_id is not None:
            options["group.instance.id"] = instance_id
        self.library = Consumer(common | options, logger=SILENCE)
        self.library.subscribe([topic], on_revoke=self.on_revoke)

    def on_revoke(self, _consumer, revoked):
        self.lost += len(revoked)

    def poll(self, timeout_s):
        records = []
        for message in self.library.consume(1_000, timeout_s):
            if message.error():
                raise KafkaException(message.error())
            records.append((message.partition(), message.offset(), message.value()))
        return records

    def assigned(self):
        return {at.partition for at in self.library.assignment()}

    def commit(self):
        self.library.commit(asynchronous=False)

    def commit_at(self, partition, offset):
        at = TopicPartition(self.topic, partition, offset)
        try:
            for done in self.library.commit(offsets=[at], asynchronous=False):
                if done.error:
                    raise KafkaException(done.error)
        except KafkaException as error:
            if error.args[0].code() == KafkaError._FATAL:
                # What it is that does not pass is told by a poll.
                self.poll(1)
            raise

    def back_to_committed(self):
        for at in self.library.committed(self.library.assignment(), ASK_S_MAX):
            self.library.seek(at)

    def close(self):
        self.library.close()

    abandon = close


@dataclass
class Record:
    """A record that was read."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


class Reader:
    """A consumer of one partition from an offset on."""

    def __init__(self, common, topic, partition, offset, bytes_max):
        options = {} if bytes_max is None else {"max.partition.fetch.bytes": bytes_max}
        # The group is asked for by the library and does nothing: partitions are assigned.
        options |= {"group.id": "none", "enable.auto.commit": False, "auto.offset.reset": "error", "fetch.wait.max.ms": 50}
        self.library = Consumer(common | options)
        self.at = TopicPartition(topic, partition, offset)
        self.library.assign([self.at])

    def poll(self, timeout_s):
        records = []
        for message in self.library.consume(1_000, timeout_s):
            if message.error():
                raise KafkaException(message.error())
            records.append(Record(message.offset(), message.timestamp()[1], message.key(), message.value()))
        return records

    def position(self):
        return self.library.position([self.at])[0].offset

    def close(self):
        self.library.close()


class Groups:
    """What it asks about groups."""

    changes = True
    # The bindings have no call for it.
    delete_offset = None

    def __init__(self, library):
        self.library = library

    def committed(self, group, topic):
        partitions = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        asked = self.library.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, partitions)])
        found = {at.partition: at for at in asked[group].result(ASK_S_MAX).topic_partitions}
        for at in found.values():
            if at.error:
                raise KafkaException(at.error)
        return [None if found[p].offset < 0 else found[p].offset for p in range(PARTITIONS)]

    def described(self, group):
        described = self.library.describe_consumer_groups([group])[group].result(ASK_S_MAX)
        return described.state.name, len(described.members)

    def listed(self):
        listed = self.library.list_consumer_groups().result(ASK_S_MAX)
        if listed.errors:
            raise listed.errors[0]
        return [group.group_id for group in listed.valid]

    def alter(self, group, topic, offsets):
        wanted = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        altered = self.library.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)])
        for at in altered[group].result(ASK_S_MAX).topic_partitions:
            if at.error:
                raise KafkaException(at.error)

    def delete(self, group):
        self.library.delete_consumer_groups([group])[group].result(ASK_S_MAX)


class Librdkafka:
    """The client."""

    name = "librdkafka"
    protocol = "classic"
    is_cooperative = True
    knows_fencing = True
    groups_class = Groups
    invalid_record = "INVALID_RECORD"

    def __init__(self, common):
        self.common = common

    def create(self, topic, partitions, replicas):
        admin = AdminClient(self.common)
        admin.create_topics([NewTopic(topic, partitions, replicas)])[topic].result(ASK_S_MAX)

    def send(self, topic, numbers):
        producer = Producer(self.common | {"enable.idempotence": True, "linger.ms": 5})
        errors = []
        for number in numbers:
            for partition in range(PARTITIONS):
                on_delivery = lambda error, _message: error and errors.append(error)
                producer.produce(topic, str(number), partition=partition, on_delivery=on_delivery)
        if producer.flush(ASK_S_MAX) or errors:
            raise RuntimeError(f"not all numbers are acknowledged: {errors[:1]}")

    def send_one(self, topic, value):
        producer = Producer(self.common | {"enable.idempotence": True})
        errors = []
        producer.produce(topic, value, partition=0, on_delivery=lambda error, _message: error and errors.append(error))
        if producer.flush(ASK_S_MAX) or errors:
            raise KafkaException(*errors)

    def consumer(self, topic, partitions, offset, bytes_max):
        return Reader(self.common, topic, partitions[0], offset, bytes_max)

    def member(self, group, topic, instance_id=None, cooperative=False):
        return Member(self.common, group, topic, instance_id, classic(cooperative))

    def group_admin(self):
        return self.groups_class(AdminClient(self.common))


class LibrdkafkaConsumer(Librdkafka):
    """The same with members of the consumer protocol, which has nothing but what is cooperative."""

    name = "librdkafka-consumer"
    protocol = "consumer"

    def member(self, group, topic, instance_id=None, cooperative=True, assignor=None):
        chosen = {} if assignor is None else {"group.remote.assignor": assignor}
        return Member(self.common, group, topic, instance_id, {"group.protocol": "consumer"} | chosen)
