"""kafka-python and aiokafka in groups: what the cases of groups.py ask of them, in blocking calls."""

import concurrent.futures
import queue
import threading

import aiokafka
import aiokafka.abc
import kafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor as AioRange
from groups import HEARTBEAT_MS, PARTITIONS, SESSION_MS
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor

OPTIONS = {
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "fetch_max_wait_ms": 50,
    "session_timeout_ms": SESSION_MS,
    "heartbeat_interval_ms": HEARTBEAT_MS,
}


class Lost:
    """Counts the partitions that are taken from a member."""

    def __init__(self):
        self.count = 0

    def on_partitions_revoked(self, revoked):
        self.count += len(revoked)

    def on_partitions_assigned(self, assigned):
        pass


def learn_partitions(consumer, topic):
    """Before kafka-python's consumer joins: a leader that learns of partitions after it has assigned them joins once more, and if the
    time of a poll is over in the middle of that, it never asks for what came out (3.0.12: nothing says then that it needs to). It
    stays a member without partitions and heartbeats, which its group goes on without."""
    consumer.partitions_for_topic(topic)


class KafkaPythonMember:
    """kafka-python's consumer, in a thread of its own: it forgets what it is given if the time of a poll is over while it joins, so
    its polls are long."""

    POLL_MS = 200

    class Listener(Lost, kafka.ConsumerRebalanceListener):
        """As the library wants it."""

    def __init__(self, client, group, topic, instance_id, cooperative):
        self.topic = topic
        self.listener = self.Listener()
        assignor = CooperativeStickyAssignor if cooperative else RangePartitionAssignor
        self.library = kafka.KafkaConsumer(
            **client.common,
            **OPTIONS,
            group_id=group,
            group_instance_id=instance_id,
            partition_assignment_strategy=[assignor],
        )
        learn_partitions(self.library, topic)
        self.library.subscribe([topic], listener=self.listener)
        self.records = queue.Queue()
        self.calls = queue.Queue()
        self.error = None
        self.is_open = True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.is_open:
            try:
                polled = self.library.poll(self.POLL_MS)
                for messages in polled.values():
                    for each in messages:
                        self.records.put((each.partition, each.offset, each.value))
            except Exception as error:  # noqa: BLE001: it is raised by the member's next poll
                self.error = error
            while not self.calls.empty():
                call, done = self.calls.get()
                try:
                    done.set_result(call())
                except Exception as error:  # noqa: BLE001: whoever waits gets it
                    done.set_exception(error)

    def between_polls(self, call):
        done = concurrent.futures.Future()
        self.calls.put((call, done))
        return done.result(60)

    @property
    def lost(self):
        return self.listener.count

    def poll(self, timeout_s):
        if self.error is not None:
            raise self.error
        records = []
        try:
            records.append(self.records.get(timeout=timeout_s))
            while True:
                records.append(self.records.get_nowait())
        except queue.Empty:
            return records

    def assigned(self):
        return {at.partition for at in self.library.assignment()}

    def commit(self):
        self.between_polls(self.library.commit)

    def commit_at(self, partition, offset):
        at = kafka.TopicPartition(self.topic, partition)
        self.between_polls(lambda: self.library.commit({at: kafka.OffsetAndMetadata(offset, "chosen", -1)}))

    def back_to_committed(self):
        def seek():
            for at in self.library.assignment():
                self.library.seek(at, self.library.committed(at))

        self.between_polls(seek)

    def close(self):
        self.is_open = False
        self.thread.join(60)
        self.library.close()

    abandon = close


class KafkaPythonGroups:
    """What kafka-python asks about groups."""

    changes = True

    def __init__(self, client):
        self.library = kafka.KafkaAdminClient(**client.common)

    def committed(self, group, topic):
        partitions = [kafka.TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        fetched = self.library.list_group_offsets({group: partitions})[group]
        offsets = [fetched[at].offset if at in fetched else -1 for at in partitions]
        return [None if offset < 0 else offset for offset in offsets]

    def described(self, group):
        described = self.library.describe_groups([group])[group]
        return described["group_state"].upper(), len(described["members"])

    def listed(self):
        return [group["group_id"] for group in self.library.list_groups()]

    def alter(self, group, topic, offsets):
        wanted = {kafka.TopicPartition(topic, p): kafka.OffsetAndMetadata(offset, "", -1) for p, offset in offsets.items()}
        self.raise_first(self.library.alter_group_offsets(group, wanted).values())

    def delete_offset(self, group, topic, partition):
        self.raise_first(self.library.delete_group_offsets(group, [kafka.TopicPartition(topic, partition)]).values())

    def delete(self, group):
        self.raise_first(self.library.delete_groups([group]).values())

    @staticmethod
    def raise_first(errors):
        for error in errors:
            if isinstance(error, str) and error != "OK":
                raise RuntimeError(error)
            if not isinstance(error, str) and error.errno != 0:
                raise error


class AioKafkaMember:
    """aiokafka's consumer."""

    class Listener(Lost, aiokafka.abc.ConsumerRebalanceListener):
        """As the library wants it."""

    def __init__(self, client, group, topic, instance_id, _cooperative):
        self.client, self.topic = client, topic
        self.listener = self.Listener()

        async def start():
            self.library = aiokafka.AIOKafkaConsumer(
                **client.common,
                **OPTIONS,
                group_id=group,
                group_instance_id=instance_id,
                partition_assignment_strategy=[AioRange],
            )
            self.library.subscribe([topic], listener=self.listener)
            await self.library.start()

        client.wait(start())

    @property
    def lost(self):
        return self.listener.count

    def poll(self, timeout_s):
        polled = self.client.wait(self.library.getmany(timeout_ms=int(timeout_s * 1_000)))
        return [(each.partition, each.offset, each.value) for messages in polled.values() for each in messages]

    def assigned(self):
        return {at.partition for at in self.library.assignment()}

    def commit(self):
        self.client.wait(self.library.commit())

    def commit_at(self, partition, offset):
        at = aiokafka.TopicPartition(self.topic, partition)
        self.client.wait(self.library.commit({at: (offset, "chosen")}))

    def back_to_committed(self):
        self.client.wait(self.library.seek_to_committed())

    def close(self):
        self.client.wait(self.library.stop())

    abandon = close


class AioKafkaGroups:
    """What aiokafka asks about groups."""

    changes = False

    def __init__(self, client):
        self.client = client

    def ask(self, what):
        async def ask():
            admin = AIOKafkaAdminClient(**self.client.common)
            await admin.start()
            try:
                return await what(admin)
            finally:
                await admin.close()

        return self.client.wait(ask())

    def committed(self, group, topic):
        partitions = [aiokafka.TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        fetched = self.ask(lambda admin: admin.list_consumer_group_offsets(group, partitions=partitions))
        return [None if fetched[at].offset < 0 else fetched[at].offset for at in partitions]

    def described(self, group):
        (answer,) = self.ask(lambda admin: admin.describe_consumer_groups([group]))
        _error, _group, state, _kind, _protocol, members, *_ = answer.groups[0]
        return state.upper(), len(members)

    def listed(self):
        return [group for group, _kind in self.ask(lambda admin: admin.list_consumer_groups())]
