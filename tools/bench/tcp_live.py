"""The live measurements of `scout bench tcp`: one connection over a veth pair, whose other end is the kernel's.

The application (`tcp_application.py`) is the same Python program on Scout's sockets and on the kernel's, in a process
of its own; its client are this process's sockets, which are the kernel's. Each contender has a veth pair of its own.
Nothing is pinned but Scout's replicas: peer, stack and application share the cores. All senders control congestion by
the same rule, CUBIC. The host's default may be BBR, which sends at a rate that it has measured over the last ten round
trips: here these are half a millisecond, and a rate measured while the receiver's window was closed makes it pause for
some milliseconds with nothing under way.

Scout receives frames to a MAC address of its own: with the interface's address the kernel would also look for a route
of each frame, in the sender's time. Without offloads each segment is a frame, and no frame is longer than the link's
MTU says, so the port has a ring of many short slots: while one replica has no core, frames wait there for it. With them
the streams have 4 MiB each, as much as the kernel lets its own send buffers grow to: a shorter window closes again and
again while the application or a replica waits for its core. Without them a window of that many segments fills the ring.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.io.ports.afpacket import AfPacketPort
from scout.io.ports.applications import ApplicationPort
from scout.paths.protocols.tcp.router import Tcp
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.tools.bench.placement import handoff_ns
from scout.tools.bench.tcp_application import CHUNK, ECHO, PORT, SINK, SOURCE
from scout.tools.bench.tcp_replay import host_graph, host_paths
from scout.tools.traffic.peers import CONTROL

__all__ = ["LiveFigures", "LiveHost", "contenders"]

QUESTION = 32  # bytes of a request, and of its response
PATIENCE = 30.0  # seconds
OFFLOADS = ("tx_tcp_segmentation", "tx_generic_segmentation", "tx_checksum_ip_generic", "rx_gro")
"""Those of a veth device that join, cut or leave checksums out."""

MAC = "02:00:00:00:01:01"
"""The MAC address of Scout's port."""

LONGEST, FRAMES = 1514, 8192
"""Bytes of a slot of the port's receive ring, and how many there are, where links have no offloads."""

STREAM = 1 << 22
"""Bytes of each ring of a stream where links have offloads."""

WARM_UP = 0.1  # seconds of a transfer that are not counted: the congestion window grows


class LiveFigures(NamedTuple):
    """The figures of one measurement."""

    receive: float  # Gbit/s that the application receives
    send: float  # Gbit/s that it sends
    us_p50: float  # round trips of a request and its response
    us_p99: float
    handoffs_ns: tuple[float, float, float]
    """How far apart two cores were (`scout.tools.bench.placement`): before receiving, behind it, and behind sending."""

    def around(self, direction: str) -> tuple[float, float]:
        """How far apart they were before and behind the transfer in a direction."""
        before, between, behind = self.handoffs_ns
        return (before, between) if direction == "receive" else (between, behind)


@dataclass
class LiveHost:
    """A stack with an application that serves, and its peer's namespace; `replicas` is 0 for the kernel."""

    replicas: int
    peer: Namespace
    address: str

    def measure(self, seconds: float, trips: int) -> LiveFigures:
        """Measure once: transfers of so many seconds, and so many round trips."""
        before = handoff_ns()
        received = self._received(seconds)
        between = handoff_ns()
        sent = self._sent(seconds)
        behind = handoff_ns()
        return LiveFigures(received, sent, *self._round_trips(trips), (before, between, behind))

    @contextmanager
    def client(self, wanted: bytes) -> Iterator[socket.socket]:
        """A connection to the application, which is told what is wanted."""
        with self.peer.entered():
            made = socket.socket()
        with made:
            made.settimeout(PATIENCE)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONTROL.encode())
            made.connect((self.address, PORT))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.sendall(wanted)
            yield made

    def _received(self, seconds: float) -> float:
        data, total = memoryview(bytes(CHUNK)), 0
        with self.client(SINK) as client:
            end = time.perf_counter() + WARM_UP
            while time.perf_counter() < end:
                client.sendall(data)
            start = time.perf_counter()
            while time.perf_counter() < start + seconds:
                client.sendall(data)
                total += len(data)
            client.shutdown(socket.SHUT_WR)
            client.recv(1)  # it has received all
            return total * 8e-9 / (time.perf_counter() - start)

    def _sent(self, seconds: float) -> float:
        buffer, total = memoryview(bytearray(CHUNK)), 0
        with self.client(SOURCE) as client:
            end = time.perf_counter() + WARM_UP
            while time.perf_counter() < end:
                client.recv_into(buffer)
            start = time.perf_counter()
            while time.perf_counter() < start + seconds:
                total += client.recv_into(buffer)
            return total * 8e-9 / (time.perf_counter() - start)

    def _round_trips(self, trips: int) -> tuple[float, float]:
        times, question = [], bytes(QUESTION)
        with self.client(ECHO) as client:
            for _ in range(trips):
                start = time.perf_counter_ns()
                client.sendall(question)
                left = QUESTION
                while left:
                    left -= len(client.recv(left))
                times.append(time.perf_counter_ns() - start)
        low, high = np.percentile(times, (50, 99)) / 1e3
        return float(low), float(high)


def contenders(stack: ExitStack, lab: Lab, replicas: list[int], offloads: bool) -> list[LiveHost]:
    """The kernel, and Scout with so many replicas, all of them running until `stack` ends."""
    return [_started(stack, lab, index, count, offloads) for index, count in enumerate([0, *replicas])]


def _started(stack: ExitStack, lab: Lab, index: int, replicas: int, offloads: bool) -> LiveHost:
    peer, own = lab.namespace(f"peer{index}"), lab.namespace(f"own{index}")
    lab.veth((peer, "eth0"), (own, "eth0"))
    for end in (peer, own):
        if not offloads:
            end.offload("eth0", **dict.fromkeys(OFFLOADS, False))
    peer.address("eth0", f"10.0.{index}.2/24")
    host = LiveHost(replicas, peer, f"10.0.{index}.1")
    kind = "kernel"
    if replicas:
        kind = f"bench-tcp-{os.getpid()}-{replicas}"
        if offloads:
            port, apps = AfPacketPort("eth0", mac=MAC), ApplicationPort(kind, stream_bytes=STREAM)
        else:
            port, apps = AfPacketPort("eth0", mac=MAC, longest=LONGEST, frames=FRAMES), ApplicationPort(kind)
        graph = host_graph("bench_tcp_live", port, host.address, Tcp("tcp"), apps)
        supervisor = Supervisor(graph, host_paths(graph), replicas)
        stack.callback(supervisor.stop)
        with own.entered():
            supervisor.__enter__()
    else:
        own.address("eth0", f"{host.address}/24")
    command = [sys.executable, "-m", "scout.tools.bench.tcp_application", kind, host.address]
    with own.entered():
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(_end, process)
    assert process.stdout
    if process.stdout.readline().strip() != "ready":
        raise ScoutError("the application of scout bench tcp did not start")
    return host


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()
