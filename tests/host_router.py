"""A host in a lab for tests: the router's own addresses with sockets of UDP or TCP, and the kernel as its peer."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from scout import sockets
from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.io.ports.afpacket import AfPacketPort
from scout.io.ports.applications import ApplicationPort
from scout.io.ports.tap_device import TapPort
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import Router
from scout.paths.model.verdict import drop
from scout.paths.protocols.applications import Applications
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.protocols.udp import Udp
from scout.paths.stages.filter import Filter
from scout.supervisor import Supervisor

_numbers = count()  # of hosts, of which a process may run several
LOST = drop("lost")
OURS, PEER = "10.0.0.1", "10.0.0.2"


def host_graph(port: Any, name: str = "apps", transport: Router | None = None, sockets: int = 64) -> RouterGraph:
    """A host with one interface, whose applications find it by a name; its transport is UDP by default."""
    transport = transport or Udp("udp")
    graph = RouterGraph("host")
    graph.add(Ethernet("eth0", port))
    graph.add(Ip("ip", {"eth0": f"{OURS}/24"}, {"10.9.0.0/16": PEER}))
    graph.add(Arp("arp"))
    graph.add(Icmp("icmp"))
    graph.add(transport)
    graph.add(Applications("apps", ApplicationPort(name, sockets=sockets)))
    graph.connect("icmp", "ip", "eth0")
    graph.connect("ip", "arp", "eth0")
    graph.connect("apps", transport.name, "ip")
    graph.connect(transport.name, "icmp")
    return graph


def add_loss(graph: RouterGraph, share: int) -> None:
    """Have one of so many packets of both directions lost; every test loses other ones."""
    graph.add(Filter("loss", lose, lose, share=share))
    graph.connect("ip", "loss", "eth0")


def lose(frame: Any, end: Any, packet: Any, share: int) -> int:
    return LOST if packet.timestamp // 64 % share == 0 else 0


@dataclass
class Host:
    """A host that runs, and the namespace of its peer."""

    supervisor: Supervisor
    peer: Namespace
    stack: sockets.Stack
    name: str
    reports: list[str]

    def ours(self, port: int = 0) -> sockets.DatagramSocket:
        """A socket of the host, bound to an L4 port of its address."""
        made = sockets.DatagramSocket(self.stack)
        made.settimeout(300)
        made.bind((OURS, port))
        return made

    def our_stream(self, port: int = 0) -> sockets.StreamSocket:
        """A stream socket of the host, bound to an L4 port of its address if one is given."""
        made = sockets.StreamSocket(self.stack)
        made.settimeout(300)
        if port:
            made.bind((OURS, port))
        return made

    def their_stream(self, port: int = 0) -> socket.socket:
        """A stream socket of the peer's kernel, bound to an L4 port of its address if one is given."""
        with self.peer.entered():
            made = socket.socket()
        made.settimeout(300)
        if port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((PEER, port))
        return made

    def theirs(self, port: int = 0) -> socket.socket:
        """A socket of the peer's kernel."""
        with self.peer.entered():
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(300)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        made.bind((PEER, port))
        return made


@contextmanager
def running_host(
    replicas: int, tap: bool = False, transport: Router | None = None, loss: int = 0, sockets_: int = 64
) -> Iterator[Host]:
    """A host that runs in a lab, joined to a peer's namespace; with `tap` by a TAP device of that namespace.

    One of `loss` packets is lost, if it is not 0.
    """
    number = next(_numbers)
    name = f"test-{os.getpid()}-{number}"
    graph = host_graph(TapPort("r0") if tap else AfPacketPort("r0"), name, transport, sockets_)
    if loss:
        add_loss(graph, loss)
    reports: list[str] = []
    with Lab(f"host{number}") as lab:
        peer = ours = lab.namespace("peer")
        if not tap:
            ours = lab.namespace("ours")
            lab.veth((peer, "eth0"), (ours, "r0"))
            peer.address("eth0", f"{PEER}/24")
        # The segments of a connection become requests in the order in which they came.
        paths = [graph.create_path("eth0", order="channel" if transport else "completed"), graph.create_path("apps")]
        supervisor = Supervisor(graph, paths, replicas, report=reports.append)
        with ours.entered():
            supervisor.__enter__()
        try:
            if tap:
                peer.address("r0", f"{PEER}/24")
            stack = sockets.attach(name)
            yield Host(supervisor, peer, stack, name, reports)
            stack.close()
        finally:
            supervisor.stop()
