"""Packets that a router holds until their next hop is known: how long, by which clock, and which are kept."""

import threading

import numpy as np
import pytest
from port_router import (
    HOST,
    LEFT,
    RIGHT,
    finished,
    frames,
    numbers,
    reply,
    supervised,
)
from scapy.all import ARP, ICMP, IP, UDP, Ether, raw

from scout.io.ports.memory import MemoryPort
from scout.paths.framework.events import Event, Handler
from scout.paths.framework.service import Service
from scout.paths.framework.timers import after
from scout.testing import await_until


def test_packets_held_until_their_next_hop_is_known_leave_whole():
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT)
    with supervised(left, right, 2, known=False) as supervisor:
        for frame in frames(3):
            assert left.send(frame)
        question = Ether(await_until(right.sent)[0])
        assert question[ARP].pdst == "10.0.1.2"
        await_until(lambda: supervisor.memory.holds["held"].sum() == 3)
        assert right.send(raw(Ether(dst=RIGHT, src=HOST) / ARP(op=2, hwsrc=HOST, psrc="10.0.1.2", pdst="10.0.1.1")))
        sent = await_until(lambda: right.sent()[3:] and right.sent()[1:])
        left.end()
        right.end()
        account = finished(supervisor)
    assert sorted(numbers(sent)) == [0, 1, 2]
    assert {frame[:14] for frame in sent} == {raw(Ether(dst=HOST, src=RIGHT, type=0x0800))}
    assert account == {"received": 4, "out": {"right": 3}, "ended": {"learnt": 1}, "drops": {}}


def of_kind(kind, sent):
    return [packet for packet in map(Ether, sent) if kind in packet]


LONG_AGO = 1_000_000_000 * 10**9  # 2001


def recorded(*given, **options):
    """The account of a router that got dated frames by its left port, in one order, and the frames that left."""
    left = MemoryPort(LEFT, frames=given)
    with supervised(left, MemoryPort(RIGHT, frames=[]), 1, **options) as supervisor:
        account = finished(supervisor)
    return account, [Ether(frame) for frame in left.sent()]


def to(host, port=1):
    return raw(Ether(dst=LEFT, src=HOST) / IP(src="10.0.0.2", dst=host) / UDP(sport=port, dport=2))


def says(host):
    """An ARP reply to the router from a host on the left."""
    return raw(Ether(dst=LEFT, src=HOST) / ARP(op=2, hwsrc=HOST, psrc=host, pdst="10.0.0.1"))


@pytest.mark.parametrize("start", [0, LONG_AGO])
def test_a_held_packet_waits_by_its_own_time_whatever_year_that_is(start):
    account, sent = recorded((to("10.0.0.9"), start), (says("10.0.0.9"), start + 1_000_000))
    assert account == {"received": 2, "out": {"left": 1}, "ended": {"learnt": 1}, "drops": {}}
    assert [packet[IP].dst for packet in sent if UDP in packet] == ["10.0.0.9"]


def test_a_held_packet_expires_by_the_packets_time_and_its_sender_is_told():
    later = (bytes(60), LONG_AGO + 4 * 10**9)
    account, sent = recorded((says("10.0.0.2"), LONG_AGO), (to("10.0.0.9"), LONG_AGO), later)
    assert account["out"] == {"left": 1} and account["drops"] == {"not-for-us": 1}
    (error,) = [packet for packet in sent if ICMP in packet]
    assert (error[ICMP].type, error[ICMP].code) == (3, 1)


def test_time_passes_for_held_packets_if_no_more_come():
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT)
    with supervised(left, right, 1, known=False):
        assert left.send(raw(Ether(dst=LEFT, src=HOST) / ARP(hwsrc=HOST, psrc="10.0.0.2", pdst="10.0.0.1")), LONG_AGO)
        assert left.send(next(frames(1)), timestamp=LONG_AGO)
        assert await_until(lambda: of_kind(ICMP, left.sent()))  # host unreachable, after 3 s


SEEN = np.dtype([("packets", "i8"), ("rung", "i8")])
RING = Event("ring")
DELAY = 300_000_000  # nanoseconds


def note(frame, end, packet, seen, timers):
    """Let the first packet set a timer."""
    seen[0].packets += 1
    if seen[0].packets == 1:
        after(timers, packet, DELAY, RING, 7)
    return 0


def ring(frame, end, packet, seen):
    seen[0].rung = packet.timestamp
    return 0


@pytest.mark.long
def test_a_timer_fires_by_the_packets_time_if_no_more_come():
    service = Service("noting", {"seen": np.zeros(1, SEEN)}, [Handler(note), Handler(ring, RING)])
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT)
    with supervised(left, right, 1, service=service) as supervisor:
        assert left.send(next(frames(1)), timestamp=LONG_AGO)
        rung = await_until(lambda: int(supervisor.table("noting.seen")["rung"][0]))
    assert LONG_AGO + DELAY <= rung < LONG_AGO + 60 * 10**9


def test_a_packet_for_each_of_many_neighbours_is_kept_and_their_order():
    hosts = [f"10.0.0.{number}" for number in range(3, 203)]
    wanted = [(host, port) for host in hosts for port in (1, 2)]
    account, sent = recorded(*((to(*each), 0) for each in wanted), *((says(host), 0) for host in hosts))
    assert account["out"] == {"left": len(wanted)} and account["drops"] == {}
    found = [(packet[IP].dst, packet[UDP].sport) for packet in sent if UDP in packet]
    assert sorted(found) == sorted(wanted)
    assert all(found.index((host, 1)) < found.index((host, 2)) for host in hosts)


def test_as_many_packets_are_held_as_the_supervisor_is_told():
    account, sent = recorded((to("10.0.0.9", 1), 0), (to("10.0.0.9", 2), 0), (says("10.0.0.9"), 0), held=1)
    assert account["out"] == {"left": 1} and account["drops"] == {"hold-full": 1}
    assert [packet[UDP].sport for packet in sent if UDP in packet] == [2]


def test_a_replica_that_leaves_sends_the_packets_that_it_holds_before():
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT)
    with supervised(left, right, 2, known=False) as supervisor:
        for frame in frames(8):
            assert left.send(frame)
        holds = supervisor.memory.holds["held"]
        await_until(lambda: holds.sum() == 8)
        leaver = int(holds.argmax())
        thread = threading.Thread(target=supervisor.remove_replica, args=[leaver])
        thread.start()
        assert right.send(reply("10.0.1.2"))
        thread.join(600)
        assert not thread.is_alive() and supervisor.alive == 1
        left.end()
        right.end()
        account = finished(supervisor)
    assert account["out"] == {"right": 8} and account["drops"] == {}
