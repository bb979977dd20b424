"""The cases about groups that kafka-python, aiokafka and librdkafka share.

A client of these has a `name`, its groups' `protocol`, `create(topic, partitions, replicas)`, `send(topic, numbers)` which writes each number to each
partition, `member(group, topic, instance_id=None, cooperative=False)` and `group_admin()`. A member has `poll(timeout_s)` with
(partition, offset, value), `assigned()`, `commit()` of all that was handed out, `commit_at(partition, offset)`,
`back_to_committed()`, `close()` and `lost`, partitions that were taken from it. What goes wrong is an exception of the library.

What a group has committed is asked of another client too, $COMMITTED_OF GROUP TOPIC.
"""

import os
import subprocess
import time

PARTITIONS = 4
GROUP_S_MAX = 20
# What a member that reads too much would have read by then.
QUIET_S = 0.15
SESSION_MS = 6_000
HEARTBEAT_MS = 100


def read_numbers(members, numbers):
    """Lets the members read until each partition has given these, in order, once. Returns which partitions each member read."""
    next_of = dict.fromkeys(range(PARTITIONS), numbers.start)
    read_by = [set() for _ in members]
    quiet = None
    deadline = time.monotonic() + GROUP_S_MAX
    while quiet is None or time.monotonic() < quiet:
        for member, partitions in zip(members, read_by):
            for partition, offset, value in member.poll(0.02):
                want = next_of[partition]
                if (offset, int(value)) != (want, want):
                    raise RuntimeError(f"read {value} at {offset} of partition {partition}, want {want}")
                next_of[partition] += 1
                partitions.add(partition)
        if quiet is None and all(following == numbers.stop for following in next_of.values()):
            quiet = time.monotonic() + QUIET_S
        if time.monotonic() > deadline:
            raise RuntimeError(f"read up to {next_of} in {GROUP_S_MAX} s, want {numbers.stop}")
    if any(following != numbers.stop for following in next_of.values()):
        raise RuntimeError(f"read up to {next_of}, want {numbers.stop}")
    return read_by


def await_shares(members, *want):
    """Waits until the members have so many partitions, and all of them together."""
    deadline = time.monotonic() + GROUP_S_MAX
    while True:
        for member in members:
            if records := member.poll(0.02):
                raise RuntimeError(f"read {records[:3]} while nothing is written")
        shares = [member.assigned() for member in members]
        if sorted(map(len, shares)) == sorted(want) and set.union(*shares) == set(range(PARTITIONS)):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {GROUP_S_MAX} s the members have {shares}, want {want}")


def expect_committed(client, group, topic, want):
    if (got := client.group_admin().committed(group, topic)) != want:
        raise RuntimeError(f"committed are {got}, want {want}")
    if command := os.environ.get("COMMITTED_OF"):
        got = subprocess.run([*command.split(), group, topic], capture_output=True, text=True).stdout.strip()
        if got != " ".join("-" if offset is None else str(offset) for offset in want):
            raise RuntimeError(f"committed, as another client is told: {got}, want {want}")


def refused(what, name, call):
    """The call is refused with an error of this name, however the library spells it."""
    try:
        call()
    except Exception as error:  # noqa: BLE001: the libraries' errors have no common kind
        said = f"{type(error).__name__} {error}".upper().replace("_", "")
        if name.replace("_", "") not in said:
            raise RuntimeError(f"{what}: {error!r}, want {name}") from error
        return
    raise RuntimeError(f"{what}: it is not refused")


def new_topic(client, name):
    topic = f"{client.name}-group-{name}"
    client.create(topic, PARTITIONS, 1)
    return topic


def poll_on(member):
    """Until something goes wrong."""
    deadline = time.monotonic() + GROUP_S_MAX
    while time.monotonic() < deadline:
        member.poll(0.02)


def goes_on(client):
    topic = new_topic(client, "goes-on")
    for start in (0, 25, 50):
        numbers = range(start, start + 25)
        client.send(topic, numbers)
        member = client.member(topic, topic)
        read_numbers([member], numbers)
        member.commit()
        member.close()
        expect_committed(client, topic, topic, [numbers.stop] * PARTITIONS)


def two_share(client):
    topic = new_topic(client, "share")
    first = client.member(topic, topic)
    await_shares([first], PARTITIONS)
    second = client.member(topic, topic)
    await_shares([first, second], 2, 2)
    client.send(topic, range(10))
    read_by = read_numbers([first, second], range(10))
    if sorted(map(len, read_by)) != [2, 2]:
        return f"the members read partitions {read_by}"
    first.commit()
    second.commit()
    second.close()
    await_shares([first], PARTITIONS)
    client.send(topic, range(10, 20))
    read_numbers([first], range(10, 20))
    first.commit()
    first.close()
    return expect_committed(client, topic, topic, [20] * PARTITIONS)


def chosen_offset(client):
    topic = new_topic(client, "chosen")
    client.send(topic, range(10))
    member = client.member(topic, topic)
    read_numbers([member], range(10))
    for partition in range(PARTITIONS):
        member.commit_at(partition, 7)
    expect_committed(client, topic, topic, [7] * PARTITIONS)
    member.back_to_committed()
    read_numbers([member], range(7, 10))
    member.close()
    member = client.member(topic, topic)
    read_numbers([member], range(7, 10))
    member.close()


def static_member(client):
    """A member with a name of its own is away for a moment, and nothing is taken from the other one."""
    topic = new_topic(client, "static")
    first = client.member(topic, topic, instance_id="one")
    second = client.member(topic, topic, instance_id="two")
    await_shares([first, second], 2, 2)
    had, lost = second.assigned(), first.lost
    second.close()
    second = client.member(topic, topic, instance_id="two")
    await_shares([first, second], 2, 2)
    if second.assigned() != had or first.lost != lost:
        return f"it had {had} and has {second.assigned()}; the other one lost {first.lost - lost}"
    if not client.knows_fencing:
        first.close()
        second.close()
        return None
    usurper = client.member(topic, topic, instance_id="two")
    if client.protocol == "consumer":
        # The place stays with the one who is there.
        # In the words of librdkafka, the only one of these clients that has the protocol.
        refused("a second one of the name", "STILL USED", lambda: poll_on(usurper))
        usurper.close()
        await_shares([first, second], 2, 2)
        taken = first.lost - lost
        first.close()
        second.close()
        return f"the other one lost {taken}" if taken else None
    await_shares([first, usurper], 2, 2)
    refused("a commit of one whose name another one has taken", "FENCED", lambda: second.commit_at(min(had), 0))
    second.abandon()
    await_shares([first, usurper], 2, 2)
    if usurper.assigned() != had or first.lost != lost:
        return f"it had {had}, who took its name has {usurper.assigned()}; the other one lost {first.lost - lost}"
    first.close()
    usurper.close()
    return None


def cooperative(client):
    """Of two members the first one keeps what it does not have to hand over."""
    topic = new_topic(client, "cooperative")
    first = client.member(topic, topic, cooperative=True)
    await_shares([first], PARTITIONS)
    second = client.member(topic, topic, cooperative=True)
    await_shares([first, second], 2, 2)
    client.send(topic, range(5))
    read_numbers([first, second], range(5))
    if (first.lost, second.lost) != (2, 0):
        return f"the members lost {first.lost} and {second.lost} partitions"
    first.commit()
    first.close()
    await_shares([second], PARTITIONS)
    if second.lost != 0:
        return f"the second member lost {second.lost} partitions when the first one left"
    second.close()
    return None


def expression(client):
    """The coordinator finds the topics; one that is created later is found as well."""
    first = new_topic(client, "expression-1")
    member = client.member(first, f"^{client.name}-group-expression-[0-9]")
    await_shares([member], PARTITIONS)
    later = new_topic(client, "expression-2")
    deadline = time.monotonic() + GROUP_S_MAX
    while {at.topic for at in member.library.assignment()} != {first, later}:
        if member.poll(0.02) or time.monotonic() > deadline:
            return f"assigned are {member.library.assignment()}"
    client.send(later, range(5))
    read_numbers([member], range(5))
    member.close()
    # One that the library lets pass, and RE2 does not have.
    wrong = client.member("wrong-expression", r"^(a)\1")
    refused("an expression that is none", "REGULAR EXPRESSION IS NOT VALID", lambda: poll_on(wrong))
    return wrong.close()


def assignors(client):
    """One that the group has not; one that it has."""
    topic = new_topic(client, "assignors")
    wrong = client.member(topic, topic, assignor="none such")
    refused("an assignor that is not there", "ASSIGNOR OR ITS VERSION RANGE IS NOT SUPPORTED", lambda: poll_on(wrong))
    wrong.close()
    member = client.member(topic, topic, assignor="range")
    await_shares([member], PARTITIONS)
    return member.close()


def admin(client):
    """Lists, describes; and where the client can, alters and deletes."""
    topic = new_topic(client, "admin")
    client.send(topic, range(10))
    member = client.member(topic, topic)
    read_numbers([member], range(10))
    member.commit()
    ask = client.group_admin()
    if (described := ask.described(topic)) != ("STABLE", 1):
        return f"described with a member: {described}"
    if ask.changes:
        refused("deleting a group that has a member", "NONEMPTYGROUP", lambda: ask.delete(topic))
        refused("altering what a member reads", "UNKNOWNMEMBER", lambda: ask.alter(topic, topic, {0: 3}))
    if ask.changes and ask.delete_offset:
        refused("deleting an offset of what is read", "SUBSCRIBED", lambda: ask.delete_offset(topic, topic, 1))
    member.close()
    if (described := ask.described(topic)) != ("EMPTY", 0):
        return f"described without members: {described}"
    if topic not in (listed := ask.listed()):
        return f"listed are {listed}"
    if not ask.changes:
        return None
    ask.alter(topic, topic, {0: 3, 2: 0})
    expect_committed(client, topic, topic, [3, 10, 0, 10])
    if ask.delete_offset:
        ask.delete_offset(topic, topic, 1)
        expect_committed(client, topic, topic, [3, None, 0, 10])
    ask.delete(topic)
    if topic in (listed := ask.listed()):
        return f"listed after its deletion: {listed}"
    refused("deleting it again", "GROUPIDNOTFOUND", lambda: ask.delete(topic))
    return expect_committed(client, topic, topic, [None] * PARTITIONS)


def group_cases(client):
    """Names, and what to run."""
    ask = client.groups_class
    asked = "list, describe"
    if ask.changes:
        asked += ", alter" + (" and delete offsets" if ask.delete_offset else " offsets") + ", delete"
    place = ", and is fenced" if client.protocol == "classic" else ", and is not driven out"
    cases = {
        "commit, close, go on where it was": goes_on,
        "two share, one leaves, the other takes all": two_share,
        "a chosen offset is committed, and gone back to": chosen_offset,
        "a static member comes back without a rebalance" + (place if client.knows_fencing else ""): static_member,
        asked: admin,
    }
    if client.is_cooperative:
        way = "cooperative-sticky" if client.protocol == "classic" else "uniform"
        cases[f"{way} moves no more than it has to"] = cooperative
    prefix = "groups: "
    if client.protocol == "consumer":
        prefix += "consumer: "
        cases["an expression takes topics that come later, one that is none is refused"] = expression
        cases["an assignor of its choice, one that is not there is refused"] = assignors
    return {prefix + name: run for name, run in cases.items()}
