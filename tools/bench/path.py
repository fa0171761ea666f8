"""`scout bench path`: a path without I/O, against the same in C, on the same batches and tables.

The frames have 60 bytes and go to random destinations in 1,000 prefixes, 256 frames to a batch. They are in the cache,
as they are when the kernel has just received them. One core.

Paths with more stages (`stages.py`) show what a stage costs among others: the path of 12 stages is compared with the
sum of its parts, which are the path of 6 stages and what each half of the others adds to it alone.
"""

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
from scout.paths.compiler.generated import load_generated
from scout.paths.compiler.native import CompiledPath, compile_path
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.stages.filter import Filter
from scout.paths.wire.checksum import checksum
from scout.ring.segment import address
from scout.tools.bench.baselines import compile_c
from scout.tools.bench.rounds import interleaved, rounded, spread
from scout.tools.bench.stages import filters, no_telnet
from scout.tools.report import Report

__all__ = ["run"]

MAC, OUT_MAC = 0x02_00_00_00_00_01, 0x02_00_00_00_00_02
ROUTES, FRAME_BYTES, SEED = 1_000, 60, 1
VOICE = 20_000  # the UDP port that the frames go to, which `stages.mark` marks
RUNS = 200  # batches to a measurement; the frames' TTL lasts for 254


class _Bench:
    """A router with filters below IP, its path from "left" compiled, and a batch of packets to send through it."""

    def __init__(self, between: Sequence[Filter]) -> None:
        random.seed(SEED)
        graph = RouterGraph("bench")
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
        self.compiled = compile_path(graph.create_path("left"))
        self.arguments = self.compiled.arguments()
        for router in graph.routers:
            router.start(graph)
        # The next hop's MAC address is our own, so that the frames can go round again.
        neighbours = self.arp.adjacencies.initial
        neighbours["mac"], neighbours["expires"] = MAC, self.arp.lifetime
        self.batch, slots = new_batch(BATCH_SIZE)
        self._slots = slots
        self._frames = slots.reshape(BATCH_SIZE, SLOT)[:, HEADROOM : HEADROOM + FRAME_BYTES]
        self._template = np.stack([_frame(random.choice(networks)) for _ in range(BATCH_SIZE)])

    def measure(self, work: Callable[[], Any]) -> float:
        self._frames[:] = self._template
        self.batch["frame"] = self.batch["origin"]
        self.batch["end"] = self.batch["origin"] + FRAME_BYTES
        self.batch["timestamp"] = 1
        start = time.perf_counter_ns()
        work()
        return (time.perf_counter_ns() - start) / RUNS / BATCH_SIZE

    def scout(self) -> Callable[[], float]:
        repeat = _repeated(self.compiled)
        return lambda: self.measure(lambda: repeat(RUNS, self.batch, 0, BATCH_SIZE, *self.arguments))

    @property
    def forwarded(self) -> int:
        """Packets that Scout has forwarded so far."""
        return sum(self.compiled.path.account(self.arguments[0])["out"].values())

    def c(self, function: Any, counters: np.ndarray) -> Callable[[], float]:
        tables: list[np.ndarray] = [
            *self.ip.fib.arrays,
            self.ip.next_hops.initial,
            self.ip.mtus.initial,
            self.arp.adjacencies.initial,
        ]
        given = [RUNS, address(self.batch), BATCH_SIZE, address(counters), MAC, OUT_MAC, self.ip.fib.version]
        given += map(address, tables)
        given += [address(self.ip.suspects.initial), self.arp.lifetime // 4]
        arguments = [ctypes.c_uint64(value) for value in given]
        return lambda: self.measure(lambda: function(*arguments))


def _repeated(compiled: CompiledPath) -> Any:
    """A native loop around the path, as a domain has one: a call from Python would cost 1 us for each batch."""
    names = ", ".join(f"a{index}" for index in range(len(compiled.arguments()) + 3))
    lines = (f"@entry\ndef repeat(times, {names}):", "    for _ in range(times):", f"        run({names})", "")
    signature = types.void(types.int64, *compiled.run.signature.args)
    name = f"bench_{compiled.path.source}"
    return load_generated(name, "\n".join(lines), compiled.file.name, signature, {"run": compiled.run}).repeat


def _frame(network: int) -> np.ndarray:
    header = np.zeros(FRAME_BYTES, np.uint8)
    size = FRAME_BYTES - 14
    header[:14] = list(MAC.to_bytes(6, "big") + OUT_MAC.to_bytes(6, "big") + b"\x08\x00")
    destination = (network << 8 | random.randrange(1, 255)).to_bytes(4, "big")
    ip = bytes((0x45, 0, 0, size, 0, 0, 0, 0, 255, 17, 0, 0, 10, 0, 0, 2)) + destination
    header[14:34] = list(ip)
    header[24:26] = list(checksum(ip).to_bytes(2, "big"))
    header[36:38] = list(VOICE.to_bytes(2, "big"))
    return header


def run(rounds: int, brief: bool, json_path: str | None) -> None:
    """Measure, print a table, write the figures; `brief`: without the path of 12 stages, which compiles longer."""
    report = Report("bench path", json_path)
    benches = {"scout": _Bench(()), "scout-user-stage": _Bench((Filter("no_telnet", no_telnet),))}
    if not brief:
        six = filters()
        benches["scout-first-half"] = _Bench(six[:3])
        benches["scout-other-half"] = _Bench(six[3:])
        benches["scout-12-stages"] = _Bench(filters())
    contenders = {name: bench.scout() for name, bench in benches.items()}
    counters = {}
    for name, flags in (("c", ()), ("c-user-stage", ("-DUSER_STAGE",))):
        library = compile_c("main_line.c", "-shared", "-fPIC", *flags)
        if library:
            counters[name] = np.zeros(16, np.int64)
            contenders[name] = benches["scout"].c(ctypes.CDLL(str(library)).path, counters[name])
    for contender in contenders.values():
        contender()
    figures = interleaved(list(contenders.values()), rounds, "path")
    rows: dict[str, dict[str, Any]] = {
        name: {"name": name, **spread(figure, "ns_per_packet")}
        for name, figure in zip(contenders, figures, strict=True)
    }
    expected = BATCH_SIZE * RUNS * (rounds + 1)
    done = {name: bench.forwarded for name, bench in benches.items()}
    done |= {name: int(each[0]) for name, each in counters.items()}
    for name, forwarded in done.items():
        if forwarded != expected:
            raise RuntimeError(f"of {expected} packets {name} forwarded {forwarded}")
    median = {name: row["ns_per_packet_median"] for name, row in rows.items()}
    if counters:
        rows["scout"]["ratio_to_c"] = rounded(median["scout"] / median["c"])
        rows["scout-user-stage"]["ratio_to_c"] = rounded(median["scout-user-stage"] / median["c-user-stage"])
    if not brief:
        parts = median["scout-first-half"] + median["scout-other-half"] - median["scout"]
        rows["scout-12-stages"]["ratio_to_parts"] = rounded(median["scout-12-stages"] / parts)
    keys = dict.fromkeys(key for row in rows.values() for key in row)
    report.show([{key: row.get(key, "") for key in keys} for row in rows.values()])
    if not counters:
        report.say("no C compiler was found, so C is left out")
    report.write({"rounds": rounds, "routes": ROUTES, "frame_bytes": FRAME_BYTES, "cores": 1}, list(rows.values()))
