"""`scout bench path`: a path without I/O, against the same in C, on the same batches and tables.

60-byte frames to random ones of 1,000 prefixes, 256 to a batch; the frames are in cache, as they are when
the kernel has just received them. One core.
"""

import ctypes
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scout.io.memory import MemoryPort

from scout.io.access import load8, load16
from scout.io.batch import BATCH_SIZE, SLOT, new_batch
from scout.io.packet import HEADROOM
from scout.paths.arp import FOREVER, Arp
from scout.paths.compiler import CompiledPath, compile_path
from scout.paths.ethernet import Ethernet
from scout.paths.filter import Filter
from scout.paths.graph import RouterGraph
from scout.paths.icmp import Icmp
from scout.paths.ipv4 import Ip
from scout.paths.stage import drop
from scout.ring.shared import address
from scout.tools.baselines import compile_c
from scout.tools.report import write_json
from scout.tools.rounds import interleaved, show, spread

__all__ = ["run"]

MAC, OUT_MAC = 0x02_00_00_00_00_01, 0x02_00_00_00_00_02
ROUTES, FRAME_BYTES, SEED = 1_000, 60, 1
RUNS = 200  # batches to a measurement; the frames' TTL lasts for 254
NO_TELNET = drop("telnet")


def user_stage(frame: Any, end: Any) -> int:
    """Drop TCP to port 23: the ten lines of a user."""
    if load8(frame, 9) == 6 and load16(frame, 22) == 23:
        return NO_TELNET
    return 0


class _Bench:
    """One path with its batch; `measure` gives nanoseconds a packet."""

    def __init__(self, with_stage: bool) -> None:
        random.seed(SEED)
        graph = RouterGraph("bench_stage" if with_stage else "bench")
        graph.add(Ethernet("left", MemoryPort(mac="02:00:00:00:00:01")))
        graph.add(Ethernet("right", MemoryPort(mac="02:00:00:00:00:02")))
        networks = random.sample(range(11 << 16, 100 << 16), ROUTES)
        prefixes = [f"{n >> 16}.{n >> 8 & 255}.{n & 255}.0/24" for n in networks]
        addresses = {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}
        self.ip = graph.add(Ip("ip", addresses, dict.fromkeys(prefixes, "10.0.1.2")))
        self.arp = graph.add(Arp("arp"))
        graph.add(Icmp("icmp"))
        if with_stage:
            graph.add(Filter("no_telnet", user_stage))
        for port in ("left", "right"):
            between = ("no_telnet",) if with_stage and port == "left" else ()
            graph.connect("icmp", "ip", *between, port)
            graph.connect("ip", "arp", port)
        self.compiled: CompiledPath = compile_path(graph.create_path("left"))
        for router in graph.routers:
            router.start(graph)
        # The next hop's MAC address is our own, so that the frames can go round again.
        gateways = self.arp.adjacencies.initial  # type: ignore[attr-defined]
        gateways["mac"], gateways["expires"] = MAC, FOREVER
        self.batch, slots = new_batch(BATCH_SIZE)
        self._slots = slots
        self._frames = slots.reshape(BATCH_SIZE, SLOT)[:, HEADROOM : HEADROOM + FRAME_BYTES]
        self._template = np.stack([_frame(random.choice(networks)) for _ in range(BATCH_SIZE)])
        self.arguments = self.compiled.arguments()

    def measure(self, work: Callable[[], Any]) -> float:
        self._frames[:] = self._template
        self.batch["frame"] = self.batch["origin"]
        self.batch["end"] = self.batch["origin"] + FRAME_BYTES
        self.batch["timestamp"] = 1
        start = time.perf_counter_ns()
        for _ in range(RUNS):
            work()
        return (time.perf_counter_ns() - start) / RUNS / BATCH_SIZE

    def scout(self) -> float:
        return self.measure(lambda: self.compiled.run(self.batch, BATCH_SIZE, *self.arguments))

    def c(self, function: Any) -> Callable[[], float]:
        fib = self.ip.fib  # type: ignore[attr-defined]
        tables = (*fib.arrays, self.ip.next_hops.initial, self.arp.adjacencies.initial)  # type: ignore[attr-defined]
        self._counters = np.zeros(16, np.int64)
        given = (
            address(self.batch),
            BATCH_SIZE,
            address(self._counters),
            MAC,
            OUT_MAC,
            *map(address, tables),
        )
        arguments = tuple(ctypes.c_uint64(value) for value in given)
        return lambda: self.measure(lambda: function(*arguments))


def _frame(network: int) -> np.ndarray:
    header = np.zeros(FRAME_BYTES, np.uint8)
    size = FRAME_BYTES - 14
    header[:14] = list(MAC.to_bytes(6, "big") + OUT_MAC.to_bytes(6, "big") + b"\x08\x00")
    destination = (network << 8 | random.randrange(1, 255)).to_bytes(4, "big")
    ip = bytes((0x45, 0, 0, size, 0, 0, 0, 0, 255, 17, 0, 0, 10, 0, 0, 2)) + destination
    total = sum(int.from_bytes(ip[at : at + 2], "big") for at in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    header[14:34] = list(ip)
    header[24:26] = list((~total & 0xFFFF).to_bytes(2, "big"))
    return header


def run(rounds: int, json_path: str | None) -> None:
    """Measure, print a table, write the figures."""
    plain, staged = _Bench(False), _Bench(True)
    contenders: dict[str, Callable[[], float]] = {"scout": plain.scout, "scout-user-stage": staged.scout}
    library = compile_c("path.c", "-shared", "-fPIC")
    if library:
        contenders["c"] = plain.c(ctypes.CDLL(str(library)).path)
    for contender in contenders.values():
        contender()
    figures = interleaved(list(contenders.values()), rounds, "path")
    rows: list[dict[str, Any]] = [
        {"name": name, **spread(figure, "ns_per_packet", 2)} for name, figure in zip(contenders, figures, strict=True)
    ]
    expected = BATCH_SIZE * RUNS * (rounds + 1)
    forwarded = sum(plain.compiled.path.account(plain.arguments[0])["out"].values())
    assert forwarded == expected, f"{forwarded} of {expected} packets were forwarded"
    if library:
        assert plain._counters[0] == expected
        base = rows[-1]["ns_per_packet_median"]
        for row in rows:
            row["ratio_to_c"] = round(row["ns_per_packet_median"] / base, 3)
    show(rows, stderr=json_path == "-")
    if not library:
        print("scout: no C compiler is here, so C is left out")
    if json_path:
        parameters = {"rounds": rounds, "routes": ROUTES, "frame_bytes": FRAME_BYTES, "cores": 1}
        write_json(json_path, "bench path", parameters, rows)
