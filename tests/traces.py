"""Traces for the tests of services: lists of (frame, timestamp), the same for the same seed.

The frames are Ethernet II with IPv4, sent to the router's left port, with good checksums. A flow is (source,
destination, protocol, source port, destination port).
"""

import random
import struct
from collections.abc import Sequence

from harness import HOST, LEFT, NOW

Flow = tuple[int, int, int, int, int]
Trace = list[tuple[bytes, int]]

TCP, UDP, ICMP = 6, 17, 1
FIN, SYN, RST, ACK = 1, 2, 4, 16

_LINK = bytes.fromhex(LEFT.replace(":", "") + HOST.replace(":", "")) + b"\x08\0"


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) & 1)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(flow: Flow, body: bytes = b"", flags: int = ACK, seq: int = 0, ack: int = 0, fragment: int = 0) -> bytes:
    """One frame of a flow; `fragment` is the IP header's word of flags and offset. ICMP is an echo request."""
    source, destination, protocol, sport, dport = flow
    if protocol == TCP:
        header, at = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 8192, 0, 0), 16
    elif protocol == UDP:
        header, at = struct.pack("!HHHH", sport, dport, 8 + len(body), 0), 6
    elif protocol == ICMP:
        header, at = struct.pack("!BBHHH", 8, 0, 0, sport, dport), 2
    else:
        header, at = b"", 0
    segment = bytearray(header + body)
    if at:
        pseudo = struct.pack("!IIBBH", source, destination, 0, protocol, len(segment)) if protocol != ICMP else b""
        segment[at : at + 2] = struct.pack("!H", checksum(pseudo + bytes(segment)) or 0xFFFF)
    ip = bytearray(
        struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(segment), 1, fragment, 64, protocol, 0, source, destination)
    )
    ip[10:12] = struct.pack("!H", checksum(bytes(ip)))
    return _LINK + bytes(ip) + bytes(segment)


def flow_of(data: bytes) -> Flow:
    """The flow of a frame that `frame` made; of fragments without ports."""
    protocol, fragment = data[23], int.from_bytes(data[20:22], "big") & 0x3FFF
    ports = struct.unpack("!HH", data[34:38]) if protocol in (TCP, UDP) and not fragment else (0, 0)
    return (*struct.unpack("!II", data[26:34]), protocol, *ports)


def random_flow(chance: random.Random, protocols: Sequence[int] = (TCP, UDP)) -> Flow:
    """A flow from 10.0.0.0/24 to 10.9.0.0/16, which the router of the tests forwards."""
    source, destination = 0x0A000002 + chance.randrange(250), 0x0A090000 + chance.randrange(1 << 16)
    return source, destination, chance.choice(protocols), chance.randrange(1, 65536), chance.randrange(1, 65536)


def _sent(flows: Sequence[Flow], chance: random.Random, longest: int, gap: int) -> Trace:
    """A packet of each flow named, in turn; the first of a TCP flow is a SYN."""
    trace: Trace = []
    seen: set[Flow] = set()
    now = NOW
    for flow in flows:
        now += chance.randrange(gap)
        flags = SYN if flow not in seen else chance.choice((ACK, ACK, ACK, ACK, FIN | ACK, RST))
        seen.add(flow)
        body = chance.randbytes(chance.randrange(longest))
        trace.append((frame(flow, body, flags, chance.getrandbits(32)), now))
    return trace


def random_trace(
    seed: int,
    count: int = 500,
    flows: int = 40,
    protocols: Sequence[int] = (TCP, UDP, ICMP, 47),
    longest: int = 1200,
    gap: int = 2_000_000,
) -> Trace:
    """Packets of several flows in random order, with bodies of less than `longest` bytes, up to `gap` ns apart.

    One in twenty is a fragment.
    """
    chance = random.Random(seed)
    known = [random_flow(chance, protocols) for _ in range(flows)]
    trace = _sent([chance.choice(known) for _ in range(count)], chance, longest, gap)
    return [
        (frame(flow_of(data), data[34:], fragment=0x2000) if chance.random() < 0.05 else data, time)
        for data, time in trace
    ]


def skewed_trace(
    seed: int, count: int = 500, flows: int = 40, share: float = 0.9, longest: int = 1200, gap: int = 2_000_000
) -> Trace:
    """A trace in which one flow has `share` of the packets, and the others the rest."""
    chance = random.Random(seed)
    heavy, *others = [random_flow(chance) for _ in range(flows)]
    chosen = [heavy if chance.random() < share else chance.choice(others) for _ in range(count)]
    return _sent(chosen, chance, longest, gap)
