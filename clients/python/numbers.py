"""librdkafka's idempotent producer, which writes numbers while nodes go away.

    numbers.py TOPIC STOP A_SECOND      $BOOTSTRAP names the nodes

Writes 1, 2, ... until the file STOP is there, so many a second, waits until all are acknowledged, and prints the last one.
"""

import os
import sys
import time

from confluent_kafka import Producer

OPTIONS = {
    "bootstrap.servers": os.environ["BOOTSTRAP"],
    "enable.idempotence": True,
    "linger.ms": 20,
    "message.timeout.ms": 100_000,
    "reconnect.backoff.max.ms": 500,
    "log_level": 2,
}


def main():
    topic, stop, a_second = sys.argv[1:]
    producer = Producer(OPTIONS)
    refused = []
    last = 0
    while not os.path.exists(stop):
        for last in range(last + 1, last + 1 + int(a_second) // 10):
            producer.produce(topic, str(last), on_delivery=lambda error, _message: error and refused.append(error))
        producer.poll(0)
        time.sleep(0.1)
    unanswered = producer.flush(100)
    if unanswered or refused:
        sys.exit(f"{unanswered} without an answer, {len(refused)} refused: {refused[:3]}")
    print(last)


main()
