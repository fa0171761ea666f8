"""Ports in memory, through a router with replicas: no root, no namespace."""

import os
import signal
import struct

import pytest
from port_router import (
    HOST,
    LEFT,
    RIGHT,
    finished,
    frames,
    missing,
    numbers,
    packet,
    supervised,
)
from scapy.all import ARP, IP, TCP, UDP, Ether, raw

from scout.io.ports.contract import PortError
from scout.io.ports.memory import MemoryPort
from scout.paths.services.heavy_hitter import HeavyHitter
from scout.ring.errors import ScoutError
from scout.testing import await_until


@pytest.mark.parametrize("replicas", [1, 2])
def test_every_frame_leaves_once_and_is_seen_by_all(replicas):
    count = 10_000
    left, right = MemoryPort(LEFT, frames=frames(count)), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, replicas) as supervisor:
        account = finished(supervisor)
    assert account == {"received": count, "out": {"right": count}, "ended": {}, "drops": {}}
    figures = supervisor.replica_figures()
    assert sum(row["primary"] for row in figures) == count
    assert [row["seen"] for row in figures] == [count] * replicas
    assert sorted(numbers(right.sent())) == list(range(count))
    assert left.sent() == []
    expected = Ether(next(frames(1)))
    expected.dst, expected.src, expected[IP].ttl = HOST, RIGHT, 63
    del expected[IP].chksum
    assert right.sent()[numbers(right.sent()).index(0)] == raw(expected)


@pytest.mark.parametrize("replicas", [1, 2])
def test_channel_order_is_kept(replicas):
    count = 20_000
    left, right = MemoryPort(LEFT, frames=frames(count)), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, replicas, "channel") as supervisor:
        account = finished(supervisor)
    assert account["out"] == {"right": count}
    assert numbers(right.sent()) == list(range(count))


def test_frames_sent_while_it_runs_and_an_answer():
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT)
    with supervised(left, right, 2) as supervisor:
        question = ARP(hwsrc=HOST, psrc="10.0.0.2", pdst="10.0.0.1")
        assert left.send(raw(Ether(dst="ff:ff:ff:ff:ff:ff", src=HOST) / question))
        (answer,) = await_until(left.sent)
        assert Ether(answer)[ARP].hwsrc == LEFT and Ether(answer)[ARP].op == 2
        for number, frame in enumerate(frames(20)):
            assert left.send(frame)
            assert numbers(await_until(lambda number=number: right.sent()[number:])) == [number]
        assert not supervisor.wait(0.1)  # more may come
        left.end()
        right.end()
        account = finished(supervisor)
    assert account == {"received": 21, "out": {"left": 1, "right": 20}, "ended": {}, "drops": {}}
    with pytest.raises(PortError, match="send before end"):
        left.send(b"")


def test_a_port_can_be_run_again():
    left, right = MemoryPort(LEFT, frames=frames(3)), MemoryPort(RIGHT, frames=[])
    for _ in range(2):
        with supervised(left, right, 1) as supervisor:
            assert finished(supervisor)["received"] == 3
        assert numbers(right.sent()) == [0, 1, 2]


def test_frames_without_room_are_counted():
    count, size = 100, 16 + 60
    given = [*frames(count), raw(packet(size=1501)), bytes(60)]
    left, right = MemoryPort(LEFT, frames=given), MemoryPort(RIGHT, frames=[], capacity=10 * size)
    with supervised(left, right, 1) as supervisor:
        account = finished(supervisor)
    out = account["out"]["right"]
    assert out == len(right.sent()) == 9  # less what batches take
    assert account["drops"] == {"too-long": 1, "tx-full": count - out, "not-for-us": 1}
    assert account["received"] == count + 2


@pytest.mark.parametrize("size", [18, 33, 700, 1459])
@pytest.mark.parametrize("transport", [UDP(sport=1, dport=2), TCP(sport=1, dport=2, flags="A")])
def test_a_partial_checksum_is_completed(transport, size):
    """As the kernel leaves it: the field holds the pseudo-header's sum. Scapy knows the whole one."""
    whole = Ether(raw(packet(7, size, transport)))  # more than REACH bytes: a part of it never leaves the channel
    partial = bytearray(raw(whole))
    offset = 34 + (6 if UDP in whole else 16)
    pseudo = partial[26:34] + struct.pack("!HH", whole[IP].proto, len(partial) - 34)
    total = sum(struct.unpack("!6H", pseudo))
    partial[offset : offset + 2] = struct.pack("!H", (total & 0xFFFF) + (total >> 16))
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, 1):
        assert left.send(bytes(partial), offload=struct.pack("<BBHHHH", 1, 0, 0, 0, 34, offset - 34))
        (sent,) = await_until(right.sent)
    assert sent[34:] == raw(whole)[34:]


def test_a_checksum_that_comes_to_zero_is_sent_as_ffff():
    frame = bytearray(next(frames(1)))
    pseudo = sum(struct.unpack("!6H", frame[26:34] + struct.pack("!HH", 17, len(frame) - 34)))
    frame[40:42] = struct.pack("!H", (pseudo & 0xFFFF) + (pseudo >> 16))
    frame[58:60] = struct.pack("!H", missing(frame[34:58]))
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, 1):
        left.send(bytes(frame), offload=struct.pack("<BBHHHH", 1, 0, 0, 0, 34, 6))
        (sent,) = await_until(right.sent)
    assert sent[40:42] == b"\xff\xff"


@pytest.mark.parametrize("order", ["completed", "channel"])
@pytest.mark.parametrize("replicas", [pytest.param(1, marks=pytest.mark.long), 2])
def test_killed_replicas_have_successors_and_no_packet_is_lost(order, replicas):
    count, kills = 50_000, 5
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    reports = []
    with supervised(left, right, replicas, order, reports) as supervisor:
        for number, frame in enumerate(frames(count)):
            assert left.send(frame, timeout=600)
            if number % (count // kills) == count // kills // 2:
                await_until(lambda: len(reports) == number // (count // kills))  # noqa: B023
                os.kill(supervisor.processes[len(reports) % replicas].pid, signal.SIGKILL)
        left.end()
        account = finished(supervisor)
        assert supervisor.alive == replicas
    assert len(reports) == kills and "replica 0" in reports[0] and "SIGKILL" in reports[0]
    assert "its successor is process" in reports[0]
    assert account["received"] == account["out"]["right"] == count
    got = numbers(right.sent())
    assert sorted(got) == list(range(count))  # each once: what left twice is dropped at the far end
    if order == "channel":
        assert got == sorted(got)


@pytest.mark.long
@pytest.mark.parametrize(("count", "kills"), [(20_000, 4), (50_000, 10)])
def test_a_killed_shard_sends_a_batch_again_at_most(count, kills):
    batch = 32
    left, right = MemoryPort(LEFT, batch=batch), MemoryPort(RIGHT, frames=[])
    reports = []
    service = HeavyHitter("heavy", 1 << 40, mode="sharded")
    with supervised(left, right, 2, reports=reports, service=service) as supervisor:
        owner = None
        for number, frame in enumerate(frames(count)):
            assert left.send(frame, timeout=600)
            if number == 1000:
                (owner,) = await_until(lambda: [r["id"] for r in supervisor.replica_figures() if r["primary"]])
            if number % (count // kills) == count // kills // 2:
                await_until(lambda: len(reports) == number // (count // kills))  # noqa: B023
                os.kill(supervisor.processes[owner].pid, signal.SIGKILL)
        left.end()
        finished(supervisor)
    assert sorted(numbers(right.sent())) == list(range(count))
    assert count <= right.transmits["sent"].sum() <= count + kills * batch
    replayed = [row["replayed"] for row in supervisor.replica_figures()]
    assert replayed[owner] > 0


def test_frames_of_different_shards_all_leave():
    count, flows = 800, 8
    given = []
    for number in range(count):
        each = packet(number, transport=UDP(sport=1000 + number % flows, dport=2))
        given.append(raw(each))
    left, right = MemoryPort(LEFT, frames=given), MemoryPort(RIGHT, frames=[])
    service = HeavyHitter("heavy", 1 << 40, mode="sharded")
    with supervised(left, right, 2, service=service) as supervisor:
        account = finished(supervisor)
    figures = supervisor.replica_figures()
    assert all(row["primary"] for row in figures)  # both had flows
    assert [row["replayed"] for row in figures] == [0, 0]
    assert account["out"] == {"right": count}
    assert sorted(numbers(right.sent())) == list(range(count))


def test_a_replica_that_dies_again_and_again_at_one_packet_gets_no_more_successors():
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    reports = []
    with supervised(left, right, 2, "completed", reports) as supervisor:
        for times in range(4):
            process = supervisor.processes[0]
            os.kill(process.pid, signal.SIGKILL)
            await_until(lambda: len(reports) > times)  # noqa: B023
        assert supervisor.alive == 1 and "1 of 2 replicas go on" in reports[-1]
        for frame in frames(100):
            assert left.send(frame)
        await_until(lambda: len(right.sent()) == 100)


def test_replicas_join_and_leave_while_packets_flow():
    count = 40_000
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, 1, "channel") as supervisor:
        changes = {5_000: supervisor.add_replica, 15_000: lambda: supervisor.remove_replica(0)}
        changes[25_000] = supervisor.add_replica
        for number, frame in enumerate(frames(count)):
            assert left.send(frame, timeout=600)
            if number in changes:
                changes[number]()
        left.end()
        account = finished(supervisor)
        assert supervisor.alive == 2
    assert account == {"received": count, "out": {"right": count}, "ended": {}, "drops": {}}
    assert numbers(right.sent()) == list(range(count))
    assert min(row["seen"] for row in supervisor.replica_figures()) > 10_000
    with pytest.raises(ScoutError, match="does not take part"):
        supervisor.remove_replica(7)


def test_no_frame_is_taken_when_no_replica_is_left():
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, 1, restarts=0) as supervisor:
        for frame in frames(100):
            assert left.send(frame)
        await_until(lambda: len(right.sent()) == 100)
        os.kill(supervisor.processes[0].pid, signal.SIGKILL)
        assert supervisor.wait(600)
        assert supervisor.alive == 0
        assert not left.send(next(frames(1)), timeout=0.01)
    assert supervisor.account() == {"received": 101, "out": {"right": 100}, "ended": {}, "drops": {"ring-full": 1}}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MemoryPort("02:00"), "02:00.*not a MAC address"),
        (lambda: MemoryPort(LEFT, mtu=20), "mtu 20; give 68"),
        (lambda: MemoryPort(LEFT, capacity=-1), "capacity -1"),
        (lambda: MemoryPort(LEFT, frames=[(b"", -1)]), "time -1; give nanoseconds"),
        (lambda: MemoryPort(LEFT).send(b""), "not open; use it inside"),
        (lambda: MemoryPort(LEFT, frames=[]).send(b""), "has an end; make it without frames"),
        (lambda: MemoryPort(LEFT).send(b"", offload=b"123"), "offload of 3 bytes"),
    ],
)
def test_bad_use_is_named_with_the_fix(make, words):
    with pytest.raises(PortError, match=words):
        make()
