"""librdkafka's members of groups, while nodes go away.

    member.py TOPIC STOP PROTOCOL:GROUP:OUT...      $BOOTSTRAP names the nodes, PROTOCOL is classic or consumer

Each reads until the file STOP is there: a line of OUT for each record, "PARTITION OFFSET VALUE". It commits behind each poll; what is
refused meanwhile is read again by whoever gets the partition.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import Consumer, KafkaException

COMMON = {
    "bootstrap.servers": os.environ["BOOTSTRAP"],
    "reconnect.backoff.max.ms": 500,
    "socket.timeout.ms": 10_000,
    "log_level": 2,
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "fetch.wait.max.ms": 50,
}
PROTOCOLS = {
    "classic": {"session.timeout.ms": 6_000, "heartbeat.interval.ms": 100, "partition.assignment.strategy": "range"},
    "consumer": {"group.protocol": "consumer"},
}


def read(topic, stop, protocol, group, path):
    consumer = Consumer(COMMON | PROTOCOLS[protocol] | {"group.id": group})
    consumer.subscribe([topic])
    with open(path, "w", encoding="utf-8") as out:
        while not os.path.exists(stop):
            # Errors are those of nodes that are away.
            records = [message for message in consumer.consume(1_000, 0.1) if not message.error()]
            for message in records:
                print(message.partition(), message.offset(), message.value().decode(), file=out)
            out.flush()
            if records:
                try:
                    consumer.commit(asynchronous=False)
                except KafkaException as passing:
                    print(group, passing, file=sys.stderr)
    consumer.close()


def main():
    topic, stop, *members = sys.argv[1:]
    with ThreadPoolExecutor(len(members)) as threads:
        running = [threads.submit(read, topic, stop, *member.split(":")) for member in members]
        # A member that ended with an exception is a failure of the program.
        for each in running:
            each.result()


main()
