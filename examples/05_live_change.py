"""Lesson 5: change a router while packets flow.

    python examples/05_live_change.py

The first run compiles for some 30 seconds; from then on it takes two.

Packets come in at the left, and leave at the right to one of two gateways. While they flow the route is changed from
one gateway to the other, a packet filter is told to be stricter, and a replica is killed. There is no network here: the
ports are in memory. A change has a position among the packets, so it can be said of every packet, by its number, where
it had to go, whichever replica was its primary.
"""

import os
import signal
import struct

from scout import (
    AddRoute,
    Arp,
    Ethernet,
    Filter,
    Icmp,
    Ip,
    MemoryPort,
    ReplaceRoute,
    RouterGraph,
    SetNeighbour,
    Setting,
    SetValue,
    drop,
    load8,
)

FIRST, SECOND = "02:00:00:00:00:0a", "02:00:00:00:00:0b"  # the MAC addresses of the gateways 10.0.1.2 and 10.0.1.3
TOO_FEW_HOPS = drop("too-few-hops")


def far_enough(frame, end, least):
    """Drop packets whose TTL is below the setting `least`."""
    return TOO_FEW_HOPS if load8(frame, 8) < least else 0


least = Setting(0)

left, right = MemoryPort("02:00:00:00:00:01"), MemoryPort("02:00:00:00:00:02", frames=[])
graph = RouterGraph("changing")
graph.add(Ethernet("left", left))
graph.add(Ethernet("right", right))
graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
graph.add(Arp("arp"))
graph.add(Icmp("icmp"))
graph.add(Filter("hops", far_enough, least=least))
for port in ("left", "right"):
    graph.connect("icmp", "ip", port)
    graph.connect("ip", "arp", port)
graph.connect("ip", "hops", "left")
paths = [graph.create_path(port, order="channel") for port in ("left", "right")]


def packet(number):
    """A UDP packet to 10.9.0.1 with a number in it, and a TTL between 2 and 65."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 32, 0, 0, 2 + number % 64, 17, 0, b"\x0a\0\0\2", b"\x0a\x09\0\1")
    total = sum(struct.unpack("!10H", header))
    header = header[:10] + struct.pack("!H", 0xFFFF - (total % 0xFFFF)) + header[12:]
    ethernet = bytes.fromhex("020000000001 020000000009 0800")
    return ethernet + header + struct.pack("!HHHHI", 1, 2, 12, 0, number)


if __name__ == "__main__":
    from scout import Supervisor

    with Supervisor(graph, paths, replicas=2) as supervisor:
        supervisor.change(
            AddRoute("10.9.0.0/16", via="10.0.1.2"),
            SetNeighbour("right", "10.0.1.2", FIRST),
            SetNeighbour("right", "10.0.1.3", SECOND),
        )
        for number in range(30_000):
            if number == 10_000:
                supervisor.change(ReplaceRoute("10.9.0.0/16", via="10.0.1.3"))
            if number == 15_000:
                os.kill(supervisor.processes[0].pid, signal.SIGKILL)
            if number == 20_000:
                supervisor.change(SetValue(least, 34))
            left.send(packet(number), timeout=10)
        left.end()
        supervisor.wait()

    sent = {struct.unpack_from("!I", frame, 42)[0]: frame[:6].hex(":") for frame in right.sent()}
    first = [number for number in sent if sent[number] == FIRST]
    second = [number for number in sent if sent[number] == SECOND]
    print(f"to the first gateway: packets {min(first)} to {max(first)}, {len(first)} of them")
    print(f"to the second gateway: packets {min(second)} to {max(second)}, {len(second)} of them")
    dropped = supervisor.account()["drops"]["too-few-hops"]
    print(f"dropped, too few hops: {dropped}")
    print(f"none of 30000 is missing: {len(sent) + dropped == 30_000}")
