"""Mutated packets through a compiled path: prints what became of them, as JSON.

    python tests/fuzz.py PACKETS SEED

With SCOUT_CHECKED=1 every access is compared with the packet's bounds. A process of its own, as that is
decided when Scout is imported.
"""

import json
import sys
from types import SimpleNamespace

import numpy as np

from scout.io.access import BOUNDS
from scout.io.batch import BATCH_SIZE, SLOT, new_batch
from scout.io.packet import HEADROOM, REACH
from scout.paths.compiler.native import Work, compile_path
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip

MAC = "020000000001"
TO_US, FROM = bytes.fromhex(MAC), bytes.fromhex("020000000099")
LONGEST = 2000


def ip(
    destination: str, protocol: int, payload: bytes, options: bytes = b"", fragment: int = 0, ttl: int = 64
) -> bytes:
    ihl = 5 + len(options) // 4
    head = bytes([0x40 | ihl, 0, *(ihl * 4 + len(payload)).to_bytes(2, "big"), 0, 1, *fragment.to_bytes(2, "big")])
    head += bytes([ttl, protocol, 0, 0, 10, 0, 0, 2, *map(int, destination.split("."))]) + options
    return TO_US + FROM + b"\x08\x00" + head + payload


def templates() -> list[bytes]:
    arp = b"\x00\x01\x08\x00\x06\x04\x00\x01" + FROM + bytes([10, 0, 0, 2]) + bytes(6) + bytes([10, 0, 0, 1])
    echo = b"\x08\x00" + (~0x0800 & 0xFFFF).to_bytes(2, "big") + bytes(36)
    return [
        ip("10.0.1.2", 17, b"\x0f\xa0\x0f\xa1\x00\x20\x00\x00" + bytes(24)),
        ip("10.0.1.2", 6, bytes(12) + b"\x50" + bytes(1400)),
        ip("10.0.1.2", 17, bytes(8), ttl=1),
        ip("10.0.1.2", 17, bytes(1900), fragment=0x4000),
        ip("10.0.1.3", 17, bytes(26)),
        ip("10.0.0.1", 1, echo),
        ip("10.0.0.1", 17, bytes(30)),
        ip("10.0.0.1", 132, bytes(30)),
        ip("10.0.0.1", 1, echo, fragment=0x2000),
        ip("192.0.2.1", 1, echo),
        ip("192.0.2.1", 1, b"\x03\x01" + bytes(40)),
        ip("10.0.1.2", 17, bytes(20), options=b"\x94\x04\x00\x00"),
        ip("224.0.0.1", 17, bytes(20)),
        ip("10.0.1.255", 17, bytes(20)),
        TO_US + FROM + b"\x08\x06" + arp,
        b"\xff" * 6 + FROM + b"\x08\x06" + arp,
        TO_US + FROM + b"\x86\xdd\x60" + bytes(60),
        TO_US + FROM + b"\x81\x00\x00\x05\x08\x00" + bytes(60),
    ]


def mutate(random: np.random.Generator, frames: np.ndarray, sizes: np.ndarray) -> None:
    """Change bytes, set fields to their extremes, cut and lengthen; mend half of the header checksums."""
    count = len(frames)
    rows = np.arange(count)
    for _ in range(3):
        at = np.where(random.random(count) < 0.8, random.integers(0, 60, count), random.integers(0, LONGEST, count))
        kinds = random.integers(0, 8, count)
        value = random.integers(0, 256, count)
        value = np.choose(np.minimum(kinds, 3), [np.zeros_like(value), np.full_like(value, 255), value, value])
        changed = kinds < 4
        frames[rows[changed], at[changed]] = value[changed]
    words = frames[:, 14:34].astype(np.int64)
    words[:, 10:12] = 0
    total = (words[:, ::2] << 8 | words[:, 1::2]).sum(axis=1)
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    mended = (frames[:, 14] == 0x45) & (random.random(count) < 0.8)
    frames[mended, 24], frames[mended, 25] = (total >> 8)[mended], (total & 255)[mended]
    cut = random.random(count)
    sizes[cut < 0.15] = random.integers(0, 80, count)[cut < 0.15]
    longer = cut > 0.95
    sizes[longer] = random.integers(60, LONGEST, count)[longer]


def router() -> RouterGraph:
    """An IPv4 router whose neighbours are known."""
    graph = RouterGraph("fuzz")
    for number, name in enumerate(("left", "right")):
        port = SimpleNamespace(mac=int(MAC, 16) + number, mtu=1500)
        graph.add(Ethernet(name, port))
    graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
    arp = Arp("arp")
    arp.pin(1, "10.0.1.2", "02:00:00:00:00:aa")
    arp.pin(0, "10.0.0.2", "02:00:00:00:00:99")
    graph.add(arp)
    graph.add(Icmp("icmp", errors_per_second=1e9))
    for name in ("left", "right"):
        graph.connect("icmp", "ip", name)
        graph.connect("ip", "arp", name)
    return graph


class Packets:
    """Batches of random packets."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        known = templates()
        self._base = np.zeros((len(known), LONGEST), np.uint8)
        for row, frame in zip(self._base, known, strict=True):
            row[: len(frame)] = list(frame)
        self._lengths = np.array([len(frame) for frame in known])
        self.batch, self.slots = new_batch()
        self.tails = np.zeros((BATCH_SIZE, LONGEST), np.uint8)
        self._origins = self.batch["origin"].copy()

    def fill(self, now: int) -> None:
        """Fill the batch with packets of this time, nanoseconds."""
        random, batch = self.random, self.batch
        chosen = random.integers(0, len(self._base), BATCH_SIZE)
        frames, sizes = self._base[chosen], self._lengths[chosen]
        mutate(random, frames, sizes)
        linear = np.minimum(sizes, REACH)
        self.slots.reshape(BATCH_SIZE, SLOT)[:, HEADROOM : HEADROOM + REACH] = frames[:, :REACH]
        self.tails[:] = frames
        batch["origin"] = batch["frame"] = self._origins
        batch["end"] = self._origins + linear
        batch["tail"] = self.tails.ctypes.data + np.arange(BATCH_SIZE) * LONGEST + linear
        batch["tail_bytes"] = sizes - linear
        batch["timestamp"] = now
        batch["at"] = batch["link_broadcast"] = batch["held_since"] = 0
        batch["gso_type"] = np.where(random.random(BATCH_SIZE) < 0.1, random.integers(0, 6, BATCH_SIZE), 0)
        batch["gso_size"] = random.integers(0, 65536, BATCH_SIZE)
        batch["flags"] = 0


def main(packets: int, seed: int) -> None:
    graph = router()
    path = graph.create_path("left")
    compiled = compile_path(path)
    for each in graph.routers:
        each.start(graph)
    work = Work(compiled.plan)
    counters = work.counters[0]
    random = Packets(seed)
    batch = random.batch
    done = bad_ends = 0
    while done < packets:
        count = min(BATCH_SIZE, packets - done)
        random.fill(10**18 + done)
        compiled.run(batch, 0, count, True, work.place)
        out = batch[:count][batch["egress"][:count] >= 0]
        bad_ends += int(((out["end"] < out["frame"] + 14) | (out["tail_bytes"] < 0)).sum())
        done += count
    account = path.account(counters)
    held = sum(int(counters[path.held_counter(node)]) for node in path.stages)
    total = held + sum(sum(part.values()) for part in account.values())
    print(json.dumps(account | {"held": held, "total": total, "refused": int(BOUNDS[2]), "bad_ends": bad_ends}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
