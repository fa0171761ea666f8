"""The router that `scout bench path` measures: a path without I/O, and packets that go through it again and again."""

import ctypes
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import types

from scout.io.batch import BATCH_SIZE, SLOT, new_batch
from scout.io.mac import mac_text
from scout.io.packet import HEADROOM
from scout.io.ports.memory import MemoryPort
from scout.paths.compiler.context import ENTRY
from scout.paths.compiler.native import BATCH, CompiledPath, Work, compile_path
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.stages.filter import Filter
from scout.paths.wire.checksum import checksum
from scout.ring.jit import entry
from scout.ring.linked import caller
from scout.ring.segment import address

__all__ = ["FRAME_BYTES", "ROUTES", "RUNS", "Bench"]

MAC, OUT_MAC = 0x02_00_00_00_00_01, 0x02_00_00_00_00_02
ROUTES, FRAME_BYTES, SEED = 1_000, 60, 1
VOICE = 20_000  # the UDP port that the frames go to, which `stages.mark` marks
RUNS = 200  # batches to a measurement; the frames' TTL lasts for 254


class Bench:
    """A router with filters below IP, its path from "left" compiled, and a batch of packets to send through it."""

    runs = RUNS
    """How often the batch goes through it in a measurement."""

    def __init__(self, between: Sequence[Filter] = ()) -> None:
        random.seed(SEED)
        self.graph = graph = RouterGraph("bench")
        for name, mac in (("left", MAC), ("right", OUT_MAC)):
            graph.add(Ethernet(name, MemoryPort(mac=mac_text(mac))))
        networks = random.sample(range(11 << 16, 100 << 16), ROUTES)
        prefixes = [f"{n >> 16}.{n >> 8 & 255}.{n & 255}.0/24" for n in networks]
        addresses = {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}
        self.ip = Ip("ip", addresses, dict.fromkeys(prefixes, "10.0.1.2"))
        self.arp = Arp("arp")
        for router in (self.ip, self.arp, Icmp("icmp"), *between):
            graph.add(router)
        graph.connect("icmp", "ip", "right")
        graph.connect("ip", *(each.name for each in between), "left")
        for port in graph.ports:
            graph.connect("ip", "arp", port)
        self.compiled = self.compile(self.create_path(networks))
        self.work = Work(self.compiled.plan)
        for router in graph.routers:
            router.start(graph)
        # The next hop's MAC address is our own, so that the frames can go round again.
        neighbours = self.arp.adjacencies.initial
        neighbours["mac"], neighbours["expires"] = MAC, self.arp.lifetime
        self.batch, slots = new_batch()
        self._slots = slots
        self._frames = slots.reshape(BATCH_SIZE, SLOT)[:, HEADROOM : HEADROOM + FRAME_BYTES]
        self.frames = np.stack([_frame(random.choice(self.targets(networks)), number) for number in range(BATCH_SIZE)])

    def create_path(self, networks: Sequence[int]) -> Path:
        """The path that is measured. `networks` are the routed prefixes, the first 24 bits of each."""
        return self.graph.create_path("left")

    def targets(self, networks: Sequence[int]) -> Sequence[int]:
        """The networks that the frames go to."""
        return networks

    def compile(self, path: Path) -> CompiledPath:
        return compile_path(path)

    def measure(self, work: Callable[[], Any]) -> float:
        self._frames[:] = self.frames
        self.batch["frame"] = self.batch["origin"]
        self.batch["end"] = self.batch["origin"] + FRAME_BYTES
        self.batch["timestamp"] = 1
        start = time.perf_counter_ns()
        work()
        return (time.perf_counter_ns() - start) / RUNS / BATCH_SIZE

    def scout(self) -> Callable[[], float]:
        code, place = self.compiled.run.address, self.work.place
        return lambda: self.measure(lambda: _repeat(RUNS, code, self.batch, BATCH_SIZE, place))

    @property
    def forwarded(self) -> int:
        """Packets that Scout has forwarded so far."""
        return sum(self.compiled.path.account(self.counters)["out"].values())

    @property
    def counters(self) -> np.ndarray:
        """The counters, summed over all paths."""
        return self.work.counters.sum(axis=0)

    def c(self, function: Any, counters: np.ndarray) -> Callable[[], float]:
        tables: list[np.ndarray] = [
            *self.ip.fib.arrays[:2],
            self.ip.next_hops.initial,
            self.ip.mtus.initial,
            self.arp.adjacencies.initial,
        ]
        given = [RUNS, address(self.batch), BATCH_SIZE, address(counters), MAC, OUT_MAC, self.ip.fib.version]
        given += map(address, tables)
        given += [address(self.ip.own.suspects.initial), self.arp.lifetime // 4]
        arguments = [ctypes.c_uint64(value) for value in given]
        return lambda: self.measure(lambda: function(*arguments))


_call = caller(ENTRY)


@entry(types.void(types.int64, types.int64, BATCH, types.int64, types.int64))
def _repeat(times: int, code: int, batch: np.ndarray, packets: int, context: int) -> None:
    """A native loop around the path, as a domain has one: a call from Python would cost 1 us for each batch."""
    for _ in range(times):
        _call(code, (batch, 0, packets, True, context))


def _frame(network: int, flow: int) -> np.ndarray:
    header = np.zeros(FRAME_BYTES, np.uint8)
    size = FRAME_BYTES - 14
    header[:14] = list(MAC.to_bytes(6, "big") + OUT_MAC.to_bytes(6, "big") + b"\x08\x00")
    destination = (network << 8 | random.randrange(1, 255)).to_bytes(4, "big")
    ip = bytes((0x45, 0, 0, size, 0, 0, 0, 0, 255, 17, 0, 0, 10, 0, 0, 2)) + destination
    header[14:34] = list(ip)
    header[24:26] = list(checksum(ip).to_bytes(2, "big"))
    header[34:38] = list(flow.to_bytes(2, "big") + VOICE.to_bytes(2, "big"))
    return header
