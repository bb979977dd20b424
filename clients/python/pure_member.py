"""Members of groups of kafka-python and aiokafka, while nodes go away.

    pure_member.py TOPIC STOP LIBRARY:GROUP:OUT...      $BOOTSTRAP names the nodes

Each reads until the file STOP is there: a line of OUT for each record, "PARTITION OFFSET VALUE". It commits behind each poll; what is
refused meanwhile is read again by whoever gets the partition.
"""

import asyncio
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import aiokafka
import kafka
from pure_groups import OPTIONS, AioRange, RangePartitionAssignor, learn_partitions

SERVERS = os.environ["BOOTSTRAP"].split(",")
COMMON = OPTIONS | {"bootstrap_servers": SERVERS, "request_timeout_ms": 10_000}


def write(out, polled):
    """Whether there was anything."""
    records = [each for messages in polled.values() for each in messages]
    for each in records:
        print(each.partition, each.offset, each.value.decode(), file=out)
    out.flush()
    return bool(records)


def kafka_python(topic, stop, group, path):
    consumer = kafka.KafkaConsumer(
        topic, **COMMON, group_id=group, partition_assignment_strategy=[RangePartitionAssignor], reconnect_backoff_max_ms=500
    )
    learn_partitions(consumer, topic)
    with open(path, "w", encoding="utf-8") as out:
        while not os.path.exists(stop):
            try:
                # It comes back with the first records; see `learn_partitions` for why it is not shorter.
                if write(out, consumer.poll(2_000)):
                    consumer.commit()
            except kafka.errors.KafkaError as passing:
                print(group, repr(passing), file=sys.stderr)
    consumer.close()


async def read_aiokafka(topic, stop, group, path):
    consumer = aiokafka.AIOKafkaConsumer(topic, **COMMON, group_id=group, partition_assignment_strategy=[AioRange])
    await consumer.start()
    with open(path, "w", encoding="utf-8") as out:
        while not os.path.exists(stop):
            try:
                if write(out, await consumer.getmany(timeout_ms=100)):
                    await consumer.commit()
            except aiokafka.errors.KafkaError as passing:
                print(group, repr(passing), file=sys.stderr)
    await consumer.stop()


def aio_kafka(*member):
    asyncio.run(read_aiokafka(*member))


LIBRARIES = {"kafka-python": kafka_python, "aiokafka": aio_kafka}


def main():
    # What the libraries log of nodes that are away is no news.
    logging.disable(logging.CRITICAL)
    topic, stop, *members = sys.argv[1:]
    with ThreadPoolExecutor(len(members)) as threads:
        running = []
        for member in members:
            library, group, path = member.split(":")
            running.append(threads.submit(LIBRARIES[library], topic, stop, group, path))
        # A member that ended with an exception is a failure of the program.
        for each in running:
            each.result()


main()
