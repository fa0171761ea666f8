"""Traces for benchmarks: TCP frames of 1514 bytes, of one flow, or of many of which one sends most.

Every flow begins with a knock at another L4 port and a handshake, for the services that require those.
"""

import random
import struct

from scout.paths.wire.checksum import checksum
from scout.paths.wire.tcp import ACK, SYN

__all__ = ["DESTINATION", "KNOCK", "PORT", "TRACES", "new_trace"]

TRACES = ("single", "skewed")
SHARE, FLOWS, SEED = 0.9, 256, 1  # of the packets in the heaviest flow; flows of a skewed trace
SOURCE, DESTINATION = 10 << 24 | 2, 10 << 24 | 1 << 8 | 2  # 10.0.0.2 and the following; 10.0.1.2
PORT, KNOCK = 80, 7000
PAYLOAD = 1460


def new_trace(name: str, length: int, mac: int, replies: bool) -> list[bytes]:
    """Make `length` frames for the router whose MAC address is `mac`.

    Parameters
    ----------
    name : {"single", "skewed"}
    length, mac : int
    replies : bool
        True if the trace also has the servers' part of the handshakes.
    """
    chance = random.Random(SEED)
    sources = [SOURCE + number for number in range(FLOWS if name == "skewed" else 1)]
    body = bytes(chance.randrange(32, 127) for _ in range(PAYLOAD))
    frames = []
    for source in sources:
        client, server = (source, 40000 + source % 1000), (DESTINATION, PORT)
        frames.append(_frame(mac, client, (DESTINATION, KNOCK), SYN, b""))
        frames.append(_frame(mac, client, server, SYN, b""))
        if replies:
            frames.append(_frame(mac, server, client, SYN | ACK, b""))
    data = {source: _frame(mac, (source, 40000 + source % 1000), (DESTINATION, PORT), ACK, body) for source in sources}
    while len(frames) < length:
        heavy = len(sources) == 1 or chance.random() < SHARE
        frames.append(data[sources[0] if heavy else chance.choice(sources)])
    return frames[:length]


def _frame(mac: int, source: tuple[int, int], destination: tuple[int, int], flags: int, body: bytes) -> bytes:
    ports = source[1], destination[1]
    tcp = struct.pack("!HHIIBBHHH", *ports, 1, 1 if flags & ACK else 0, 5 << 4, flags, 8192, 0, 0)
    size = 20 + len(tcp) + len(body)
    ip = bytearray(struct.pack("!BBHHHBBHII", 0x45, 0, size, 1, 0x4000, 64, 6, 0, source[0], destination[0]))
    ip[10:12] = struct.pack("!H", checksum(bytes(ip)))
    link = mac.to_bytes(6, "big") + bytes.fromhex("020000000099") + b"\x08\x00"
    return link + bytes(ip) + tcp + body
