"""`scout bench udp`: UDP sockets of an application, on Scout and on the kernel.

The application is a process of its own, the same Python program on both (`udp_application.py`): an echo, whose peer
measures round trips; a sink, to which the peer sends as fast as it can; a source. The peer's sockets are the kernel's,
in a namespace that is joined by a veth pair to each contender. Nothing is pinned but Scout's replicas: on two cores the
peer, the stack and the application share them.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.io.host.process import usable_cores
from scout.io.ports.afpacket import AfPacketPort
from scout.io.ports.applications import ApplicationPort
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.applications import Applications
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.protocols.udp import Udp
from scout.supervisor import Supervisor
from scout.tools.bench.rounds import interleaved, rounded, spread
from scout.tools.bench.udp_application import PORT
from scout.tools.report import Report

__all__ = ["SIZES", "run"]

SIZES = (64, 1400)
"""Bytes of data in a datagram, where rates are measured."""

ROUND_TRIPS, QUESTION = 2000, 32
UDP_SEGMENT = 103  # linux/udp.h
MOST_SEGMENTS, MOST_BYTES = 60, 60_000  # of a datagram that the kernel cuts
PATIENCE = 30.0  # seconds


@dataclass
class Contender:
    """A stack that an application uses."""

    who: dict[str, Any]
    peer: Namespace
    own: Namespace
    address: str
    kind: str
    """As the application is told: "kernel", or the name of a port."""

    @contextmanager
    def application(self, role: str, seconds: float = 0.0, size: int = 0) -> Iterator["subprocess.Popen[str]"]:
        """Run the application in a role."""
        words = [role, self.kind, self.address, str(seconds), str(size)]
        command = [sys.executable, "-m", "scout.tools.bench.udp_application", *words]
        with self.own.entered():
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            _line(process)
            yield process
        finally:
            process.kill()
            process.communicate()

    def client(self) -> socket.socket:
        """A socket of the peer that is connected to the application."""
        with self.peer.entered():
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(PATIENCE)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        made.connect((self.address, PORT))
        return made


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline()


def round_trips(contender: Contender) -> tuple[float, float]:
    """The 50th and 99th percentile of round-trip times, µs."""
    times = []
    with contender.application("echo"), contender.client() as client:
        for _ in range(ROUND_TRIPS):
            start = time.perf_counter_ns()
            client.send(bytes(QUESTION))
            client.recv(QUESTION)
            times.append(time.perf_counter_ns() - start)
    low, high = np.percentile(times, (50, 99)) / 1e3
    return float(low), float(high)


def received(contender: Contender, size: int, seconds: float) -> float:
    """Datagrams a second that the application receives while more are sent."""
    with contender.application("sink", seconds) as sink, contender.client() as client:
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
        burst = bytes(size * min(MOST_SEGMENTS, MOST_BYTES // size))
        while sink.poll() is None:
            with suppress(OSError):  # the application has ended
                client.send(burst)
        return float(_line(sink))


def sent(contender: Contender, size: int, seconds: float) -> float:
    """Datagrams a second of the application that come to the peer's interface."""

    def arrived() -> int:
        return contender.peer.link_stats("eth0").rx_packets

    with contender.application("source", seconds, size) as source, contender.client() as client:
        before, start = arrived(), time.perf_counter()
        client.send(b"begin")
        _line(source)
        return (arrived() - before) / (time.perf_counter() - start)


def run(rounds: int, seconds: float, json_path: str | None) -> None:
    """Measure, print a table for each measure, write the figures.

    Parameters
    ----------
    rounds : int
        How often each contender is measured.
    seconds : float
        How long a rate is measured.
    json_path : str or None
        Where to write the figures.
    """
    report = Report("bench udp", json_path)
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        contenders = _contenders(stack, stack.enter_context(Lab("bench")))
        figures = _each(contenders, round_trips, rounds, "round trips")
        for contender, own in zip(contenders, figures, strict=True):
            low, high = (rounded(float(np.median(each))) for each in zip(*own, strict=True))
            rows.append(contender.who | {"measure": "round-trip", "bytes": QUESTION, "us_p50": low, "us_p99": high})
        report.show(rows)
        for name, measure in (("receive", received), ("send", sent)):
            shown = []
            for size in SIZES:
                figures = _each(contenders, partial(measure, size=size, seconds=seconds), rounds, f"{name} {size}")
                for contender, own in zip(contenders, figures, strict=True):
                    shown.append(contender.who | {"measure": name, "bytes": size} | spread(own, "pps"))
            report.show(shown)
            rows += shown
    report.write({"rounds": rounds, "seconds": seconds, "cores": len(usable_cores())}, rows)


def _each(
    contenders: Sequence[Contender], measure: Callable[[Contender], Any], rounds: int, what: str
) -> list[list[Any]]:
    return interleaved([partial(measure, each) for each in contenders], rounds, what)


def _contenders(stack: ExitStack, lab: Lab) -> list[Contender]:
    """The kernel, and Scout with one replica and with one per core, each joined to a peer."""
    numbers = dict.fromkeys((1, len(usable_cores())))
    contenders = [_joined(lab, 0, {"name": "kernel", "replicas": 0}, "kernel")]
    contenders[0].own.address("eth0", f"{contenders[0].address}/24")
    for index, replicas in enumerate(numbers, 1):
        name = f"bench-{os.getpid()}-{replicas}"
        contender = _joined(lab, index, {"name": "scout", "replicas": replicas}, name)
        contenders.append(contender)
        graph = _host(contender.address, name)
        paths = [graph.create_path("eth0"), graph.create_path("apps")]
        supervisor = Supervisor(graph, paths, replicas)
        stack.callback(supervisor.stop)
        with contender.own.entered():
            supervisor.__enter__()
    return contenders


def _joined(lab: Lab, index: int, who: dict[str, Any], kind: str) -> Contender:
    peer, own = lab.namespace(f"peer{index}"), lab.namespace(f"own{index}")
    lab.veth((peer, "eth0"), (own, "eth0"))
    peer.address("eth0", f"10.0.{index}.2/24")
    return Contender(who, peer, own, f"10.0.{index}.1", kind)


def _host(address: str, name: str) -> RouterGraph:
    graph = RouterGraph("host")
    graph.add(Ethernet("eth0", AfPacketPort("eth0")))
    graph.add(Ip("ip", {"eth0": f"{address}/24"}))
    graph.add(Arp("arp"))
    graph.add(Icmp("icmp"))
    graph.add(Udp("udp"))
    graph.add(Applications("apps", ApplicationPort(name)))
    graph.connect("icmp", "ip", "eth0")
    graph.connect("ip", "arp", "eth0")
    graph.connect("apps", "udp", "ip")
    graph.connect("udp", "icmp")
    return graph
