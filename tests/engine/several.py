"""A small router between two ports in memory, with several paths from one of them, and numbered frames for it."""

import struct
from typing import Any

from demux_frames import frame
from port_router import ADDRESSES, HOST

from scout.io.ports.memory import MemoryPort
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.supervisor import Supervisor

NUMBER = 14 + 24
"""Offset of a frame's number in `numbered`."""


def router(left: MemoryPort, right: MemoryPort, service: Service | None = None) -> RouterGraph:
    """A router between two ports, with a service on the left one; 10.0.1.2, on the right, is known."""
    graph = RouterGraph("several")
    graph.add(Ethernet("left", left))
    graph.add(Ethernet("right", right))
    graph.add(Ip("ip", ADDRESSES))
    arp = Arp("arp")
    arp.pin(1, "10.0.1.2", HOST)
    graph.add(arp)
    graph.add(Icmp("icmp"))
    for port in ("left", "right"):
        graph.connect("icmp", "ip", port)
        graph.connect("ip", "arp", port)
    if service:
        graph.add(service)
        graph.connect("ip", service.name, "left")
    return graph


def numbered(number: int, **fields: Any) -> bytes:
    """A frame to 10.0.1.2 that carries its number."""
    return frame(source="10.0.0.2", destination="10.0.1.2", payload=struct.pack("!I", number), **fields)


def numbers(sent: list[bytes]) -> list[int]:
    return [struct.unpack_from("!I", each, NUMBER)[0] for each in sent]


def entered(supervisor: Supervisor, path: Path) -> int:
    """The packets that have entered a path."""
    begin = f"port {path.source}"
    return sum(count for (tail, _), count in supervisor.flows(path).items() if tail == begin)


def count_one(frame: Any, end: Any, seen: Any) -> int:
    seen[0] += 1
    return 0
