"""A router of three ports, of which the third has no interface at first, and a stream through the two others."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from scout.io.host.lab import Lab
from scout.io.host.process import Child
from scout.io.ports.afpacket import AfPacketPort
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import shared
from scout.supervisor import Supervisor
from scout.testing import await_until
from scout.tools.traffic.two_hosts import two_hosts

__all__ = ["LEFT", "OWN", "RIGHT", "THIRD", "Stream", "router_graph", "running"]

LEFT, RIGHT, THIRD = "10.0.0.2", "10.0.1.2", "10.0.2.2"
OWN = "10.0.2.1/24"


def router_graph(third: AfPacketPort, *addresses: str) -> RouterGraph:
    """A router of three ports, of which the third may have no interface."""
    graph = RouterGraph("three")
    graph.add(Ethernet("left", AfPacketPort("r0")))
    graph.add(Ethernet("right", AfPacketPort("r1")))
    graph.add(Ethernet("third", third))
    networks: dict[str, Any] = {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}
    graph.add(Ip("ip", networks | ({"third": addresses} if addresses else {})))
    graph.add(Arp("arp"))
    graph.add(Icmp("icmp"))
    for port in graph.ports:
        graph.connect("icmp", "ip", port)
        graph.connect("ip", "arp", port)
    return graph


COUNTS = np.dtype([("passed", "i8"), ("wrong", "i8"), ("stopped", "i8")])


class Stream:
    """Numbered datagrams from left to right, by a process of its own, until the block ends.

    Few are on their way at a time, and none is sent while a replica is far behind, so that no machine is too slow.
    """

    WINDOW, MOST_LAG = 32, 512

    def __init__(self, run: Any) -> None:
        (self._channel, _) = run.supervisor.channels[0]
        self._counts = shared(1, COUNTS)
        with run.left.entered():
            self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with run.right.entered():
            self._sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sink.bind((RIGHT, 4001))
        self._sink.settimeout(300)

    def __enter__(self) -> "Stream":
        self._process = Child(self._run)
        self.more()
        return self

    def __exit__(self, *exception: object) -> None:
        self._counts["stopped"] = 1
        self._process.join()
        self._sender.close()
        self._sink.close()
        assert self._process.exitcode == 0, "a datagram was lost"

    @property
    def wrong(self) -> int:
        """Datagrams that came in another order."""
        return int(self._counts["wrong"][0])

    def more(self, count: int = 200) -> None:
        """Wait until so many more datagrams have passed."""
        wanted = int(self._counts["passed"][0]) + count
        await_until(lambda: self._counts["passed"][0] >= wanted or not self._process.is_alive())

    def _may_send(self) -> bool:
        members = [each for each in range(MOST_REPLICAS) if self._channel.is_member(each)]
        return not self._counts["stopped"][0] and all(self._channel.lag(each) < self.MOST_LAG for each in members)

    def _run(self) -> None:
        sent, counts = 0, self._counts[0]
        while not counts["stopped"] or counts["passed"] < sent:
            while sent < counts["passed"] + self.WINDOW and self._may_send():
                self._sender.sendto(struct.pack("!Q", sent), (RIGHT, 4001))
                sent += 1
            if counts["passed"] == sent:
                time.sleep(0.001)
                continue
            (number,) = struct.unpack("!Q", self._sink.recv(100))
            counts["wrong"] += number != counts["passed"]
            counts["passed"] += 1


@contextmanager
def running(third: AfPacketPort) -> Iterator[SimpleNamespace]:
    graph = router_graph(third)
    paths = [graph.create_path(port, order="channel") for port in graph.ports]
    reports: list[str] = []
    with Lab("ports") as lab:
        left, router, right = two_hosts(lab)
        host = lab.namespace("third")
        lab.veth((host, "eth0"), (router, "r2"))
        host.address("eth0", f"{THIRD}/24")
        host.route("default", via="10.0.2.1")
        supervisor = Supervisor(graph, paths, replicas=2, report=reports.append)
        with router.entered():
            supervisor.__enter__()
        try:
            yield SimpleNamespace(
                lab=lab, left=left, router=router, right=right, third=host, supervisor=supervisor, reports=reports
            )
        finally:
            supervisor.stop()
