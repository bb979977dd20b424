"""The cases about compacted topics that kafka-python, aiokafka and librdkafka share.

$COMPACTED is a folder with a file for each topic that the node has cleaned; without it there are no cases. Its first line is "END GAP
LASTGAP": where the topic ends, and offsets of which nothing is left, far from the end and close to it. Then comes a line of each
record, "OFFSET TIMESTAMP KEY VALUE", with "-" for null. The group NAME-TOPIC is to go on at GAP.

A client has, beside what groups.py asks of one, `consumer(topic, partitions, offset, bytes_max)` with `poll(timeout_s)`,
`position()` in the first partition and `close()`; `send_one(topic, value)`, a record without a key; and `invalid_record`, what it
calls INVALID_RECORD.
"""

import os
import subprocess
import time
from dataclasses import dataclass

from groups import QUIET_S, refused

TOPICS = ["compacted-brief", "compacted-long"]
KEYS = "compacted-keys"
READ_S_MAX = 20
# A fetch of so many bytes has one batch.
TINY_FETCH_BYTES = 1


@dataclass
class Cleaned:
    """What is left of a topic: (offset, timestamp, key, value) of each record."""

    topic: str
    end: int
    gap: int
    last_gap: int
    left: list[tuple[int, int, bytes, bytes | None]]

    def since(self, offset):
        return [record for record in self.left if record[0] >= offset]


def load(topic):
    with open(os.path.join(os.environ["COMPACTED"], topic), encoding="utf-8") as file:
        bounds, *lines = file.read().splitlines()
    left = []
    for line in lines:
        offset, timestamp, key, value = line.split(" ")
        left.append((int(offset), int(timestamp), key.encode(), None if value == "-" else value.encode()))
    return Cleaned(topic, *map(int, bounds.split()), left)


def read_all(client, bytes_max):
    for cleaned in map(load, TOPICS):
        for offset in (0, cleaned.gap, cleaned.last_gap):
            if problem := read_from(client, cleaned, offset, bytes_max):
                return f"{cleaned.topic} from {offset}: {problem}"
    return None


def read_from(client, cleaned, offset, bytes_max):
    consumer = client.consumer(cleaned.topic, [0], offset, bytes_max)
    got = []
    deadline = time.monotonic() + READ_S_MAX
    while not got or got[-1][0] + 1 < cleaned.end:
        if time.monotonic() > deadline:
            return f"{len(got)} records up to {got[-1:]} in {READ_S_MAX} s, the end is {cleaned.end}"
        got += [(each.offset, each.timestamp_ms, each.key, each.value) for each in consumer.poll(0.2)]
    position = consumer.position()
    consumer.close()
    return difference(cleaned.since(offset), got) or (f"it stands at {position}" if position != cleaned.end else None)


def difference(want, got):
    if len(want) != len(got):
        return f"{len(got)} records, want {len(want)}"
    return next((f"read {found}, want {wanted}" for wanted, found in zip(want, got) if wanted != found), None)


def in_group(client):
    for cleaned in map(load, TOPICS):
        group = f"{client.name}-{cleaned.topic}"
        want = [(offset, value) for offset, _, _, value in cleaned.since(cleaned.gap)]
        # The second one finds nothing new.
        for wanted in (want, []):
            got = read_in_group(client, group, cleaned.topic, len(wanted))
            if problem := difference(wanted, got):
                return f"{cleaned.topic}: {problem}"
            command = os.environ["COMMITTED_OF"].split()
            committed = subprocess.run([*command, group, cleaned.topic], capture_output=True, text=True).stdout.strip()
            if committed != str(cleaned.end):
                return f"{cleaned.topic}: committed is {committed}, want the end, {cleaned.end}"
    return None


def read_in_group(client, group, topic, count):
    member = client.member(group, topic)
    got = []
    deadline = time.monotonic() + READ_S_MAX
    quiet = None
    while quiet is None or time.monotonic() < quiet:
        got += [(offset, value) for _, offset, value in member.poll(0.05)]
        # Who has nothing to read is a member all the same.
        if quiet is None and len(got) >= count and member.assigned():
            quiet = time.monotonic() + QUIET_S
        if time.monotonic() > deadline:
            break
    if count:
        member.commit()
    member.close()
    return got


def keyless(client):
    # Not every library has a name for it.
    refused("a record without a key", client.invalid_record, lambda: client.send_one(KEYS, b"no key"))


def compacted_cases():
    """By name; each takes a client and returns what is wrong."""
    if "COMPACTED" not in os.environ:
        return {}
    return {
        "a compacted topic: read from the start, and from where nothing is left": lambda client: read_all(client, None),
        "a compacted topic: fetches of a batch each": lambda client: read_all(client, TINY_FETCH_BYTES),
        "a compacted topic: a group goes on where nothing is left, commits the end": in_group,
        "a compacted topic: a record without a key is refused": keyless,
    }
