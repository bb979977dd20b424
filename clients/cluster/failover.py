"""How long a partition has no leader when the node that leads it goes away: killed with SIGKILL, and stopped with SIGTERM.

    failover.py NAME --bootstrap A,B,C --pid-file PATTERN --restart COMMAND [--runs 5]

For Seedlog and for anything else that speaks Kafka's protocol: nodes are 1, 2, 3 in the order of their addresses; `{node}` in
the pattern and in the command is a node's number. One record at a time is written with acks=all, straight on the wire: no
client's patience is measured. What is answered with an error, or not at all, is asked again at once, of whoever leads then
according to the nodes that are left. The time without a leader is the longest from one acknowledgement to the next.

Prints one line a run, and median and range of all.
"""

import argparse
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time

TOPIC = "failover"
PRODUCE, METADATA, CREATE_TOPICS = 0, 3, 19
CALM_S = 2.0
LEADERLESS_S_MAX = 60
RETURN_S_MAX = 120
PAUSE_S = 0.002


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def batch():
    """A batch of one record without key, whose value is one byte."""
    record = bytes([0, 0, 0, 1, 2, ord("x"), 0])
    record = bytes([len(record) * 2]) + record
    now = int(time.time() * 1_000)
    body = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + record
    return struct.pack(">qiibI", 0, len(body) + 9, -1, 2, crc32c(body)) + body


class Reader:
    """Takes fields off an answer."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        (value,) = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return value

    def text(self):
        length = self.take("h")
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def array(self, element):
        return [element() for _ in range(self.take("i"))]


class Node:
    """A connection to one node, opened when it is needed."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.address, self.stream = (host, int(port)), None

    def ask(self, api, version, body):
        try:
            if self.stream is None:
                self.stream = socket.create_connection(self.address, timeout=1)
                self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.stream.settimeout(5)
            frame = struct.pack(">hhih", api, version, 7, -1) + body
            self.stream.sendall(struct.pack(">i", len(frame)) + frame)
            (length,) = struct.unpack(">i", self.read(4))
            return Reader(self.read(length)[4:])
        except OSError:
            self.close()
            raise

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.stream.recv(count - len(data))
            if not part:
                raise ConnectionError("closed")
            data += part
        return data

    def close(self):
        if self.stream is not None:
            self.stream.close()
        self.stream = None


class Cluster:
    def __init__(self, options):
        self.options = options
        self.nodes = dict(enumerate((Node(address) for address in options.bootstrap.split(",")), 1))

    def create(self):
        body = struct.pack(">i", 1) + text(TOPIC) + struct.pack(">ih", 1, len(self.nodes)) + struct.pack(">i", 0)
        body += struct.pack(">i", 1) + text("min.insync.replicas") + text("2")
        answer = self.nodes[1].ask(CREATE_TOPICS, 4, body + struct.pack(">i?", 20_000, False))
        answer.take("i")
        code = answer.array(lambda: (answer.text(), answer.take("h"), answer.text()))[0][1]
        if code not in (0, 36):  # 36: it exists
            raise RuntimeError(f"the topic cannot be created: error {code}")

    def partition(self, node):
        """Leader and in-sync replicas, as a node tells them."""
        answer = self.nodes[node].ask(METADATA, 7, struct.pack(">i", 1) + text(TOPIC) + b"\0")
        answer.take("i")
        answer.array(lambda: (answer.take("i"), answer.text(), answer.take("i"), answer.text()))
        answer.text(), answer.take("i")
        number = lambda: answer.take("i")

        def partition():
            code, _, leader, _ = answer.take("h"), answer.take("i"), answer.take("i"), answer.take("i")
            _, in_sync, _ = answer.array(number), answer.array(number), answer.array(number)
            return code, leader, in_sync

        topic = lambda: (answer.take("h"), answer.text(), answer.take("?"), answer.array(partition))
        _, _, _, partitions = answer.array(topic)[0]
        return partitions[0][1:] if partitions and partitions[0][0] == 0 else (-1, [])

    def leader(self, without=None):
        """Who leads as far as anybody knows but those that name `without`, which has gone."""
        for node in self.nodes:
            if node != without:
                try:
                    leader, _ = self.partition(node)
                except OSError:
                    continue
                if leader in self.nodes and leader != without:
                    return leader
        return None

    def is_whole(self):
        try:
            return all(len(self.partition(node)[1]) == len(self.nodes) for node in self.nodes)
        except OSError:
            return False

    def await_whole(self):
        deadline = time.monotonic() + RETURN_S_MAX
        while not self.is_whole():
            if time.monotonic() > deadline:
                raise RuntimeError(f"not all replicas are in sync after {RETURN_S_MAX} s")
            time.sleep(0.1)

    def write(self, node):
        """Whether a record is acknowledged by all replicas in sync."""
        records = batch()
        body = struct.pack(">hhii", -1, -1, 5_000, 1) + text(TOPIC) + struct.pack(">iii", 1, 0, len(records)) + records
        answer = self.nodes[node].ask(PRODUCE, 7, body)
        answer.take("i"), answer.text(), answer.take("i"), answer.take("i")
        return answer.take("h") == 0

    def pid(self, node):
        with open(self.options.pid_file.replace("{node}", str(node)), encoding="utf-8") as file:
            return int(file.read())

    def restart(self, node):
        command = self.options.restart.replace("{node}", str(node))
        subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)


def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def measure(cluster, how):
    """Ends the leader while records are written: the longest time between two acknowledgements, in ms."""
    leader = victim = cluster.leader()
    pid = cluster.pid(victim)
    begun = last = time.monotonic()
    longest, signalled, moved = 0.0, None, None
    while moved is None or time.monotonic() - moved < CALM_S:
        now = time.monotonic()
        if signalled is None and now - begun > CALM_S:
            os.kill(pid, how)
            signalled = now
        if now - last > LEADERLESS_S_MAX:
            raise RuntimeError(f"nobody acknowledges anything for {LEADERLESS_S_MAX} s")
        try:
            is_acked = leader is not None and cluster.write(leader)
        except OSError:
            is_acked = False
        if is_acked:
            now = time.monotonic()
            # Before the signal it is the machine's own noise.
            longest = max(longest, now - last) if signalled is not None else 0.0
            last = now
            if moved is None and leader != victim and is_gone(pid):
                moved = now
        else:
            leader = cluster.leader(victim if is_gone(pid) else None)
        time.sleep(PAUSE_S)
    cluster.nodes[victim].close()
    cluster.restart(victim)
    cluster.await_whole()
    return longest * 1_000, victim


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--pid-file", required=True)
    parser.add_argument("--restart", required=True)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    cluster = Cluster(options)
    cluster.create()
    cluster.await_whole()
    for name, how in (("SIGKILL", signal.SIGKILL), ("SIGTERM", signal.SIGTERM)):
        found = []
        for run in range(options.runs):
            longest_ms, victim = measure(cluster, how)
            found.append(longest_ms)
            print(f"{options.name} {name} run {run + 1}: node {victim}, {longest_ms:.0f} ms", flush=True)
            time.sleep(CALM_S)
        median = statistics.median(found)
        print(f"{options.name} {name}: median {median:.0f} ms, {min(found):.0f} to {max(found):.0f} ms", flush=True)


sys.exit(main())
