"""Frames from the host on the left, and routers with filters, for the tests of filters."""

from types import SimpleNamespace
from typing import Any

from harness import HOST, LEFT, Twin, two_ports
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from scout.io.access import load8, load16, require
from scout.paths.model.verdict import drop
from scout.paths.wire.ipv4 import PROTOCOL

__all__ = ["frame", "no_telnet", "twin_with"]

TELNET = drop("telnet")


def no_telnet(frame: Any, end: Any, port: int) -> int:
    header = (load8(frame, 0) & 15) * 4
    if load8(frame, PROTOCOL) == 6 and require(frame, end, header + 4) and load16(frame, header + 2) == port:
        return TELNET
    return 0


def frame(layer: Any, to: str = "10.9.0.7", body: bytes = b"", ttl: int = 9) -> bytes:
    return bytes(Ether(src=HOST, dst=LEFT) / IP(src="10.0.0.2", dst=to, ttl=ttl) / layer / Raw(body))


def twin_with(*routers: Any) -> tuple[SimpleNamespace, Twin]:
    made = two_ports(*routers)
    return made, Twin(made.graph.create_path("left"))
