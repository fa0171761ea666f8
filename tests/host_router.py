"""A host in a lab for tests: the router's own addresses with sockets of UDP or TCP, and the kernel as its peer."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
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
from scout.paths.protocols.applications import Applications
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.protocols.udp import Udp
from scout.supervisor import Supervisor

_numbers = count()  # of hosts, of which a process may run several
OURS, PEER = "10.0.0.1", "10.0.0.2"


def host_graph(port: Any, name: str = "apps", transport: Router | None = None, **sizes: int) -> RouterGraph:
    """A host with one interface, whose applications find it by a name; its transport is UDP by default.

    The sizes are those of the `ApplicationPort`.
    """
    transport = transport or Udp("udp")
    graph = RouterGraph("host")
    graph.add(Ethernet("eth0", port))
    graph.add(Ip("ip", {"eth0": f"{OURS}/24"}, {"10.9.0.0/16": PEER}))
    graph.add(Arp("arp"))
    graph.add(Icmp("icmp"))
    graph.add(transport)
    graph.add(Applications("apps", ApplicationPort(name, **{"sockets": 64} | sizes)))
    graph.connect("icmp", "ip", "eth0")
    graph.connect("ip", "arp", "eth0")
    graph.connect("apps", transport.name, "ip")
    graph.connect(transport.name, "icmp")
    return graph


@dataclass
class Host:
    """A host that runs, its namespace, and that of its peer."""

    supervisor: Supervisor
    own: Namespace
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


Network = Callable[[Lab, Namespace], AbstractContextManager[Namespace]]


@contextmanager
def _link(lab: Lab, ours: Namespace) -> Iterator[Namespace]:
    peer = lab.namespace("peer")
    lab.veth((peer, "eth0"), (ours, "r0"))
    peer.address("eth0", f"{PEER}/24")
    yield peer


@contextmanager
def _device(_: Lab, ours: Namespace) -> Iterator[Namespace]:
    ours.address("r0", f"{PEER}/24")
    yield ours


@contextmanager
def running_host(
    replicas: int,
    tap: bool = False,
    transport: Router | None = None,
    network: Network | None = None,
    **sizes: int,
) -> Iterator[Host]:
    """A host that runs in a lab, joined to a peer's namespace; with `tap` by a TAP device of that namespace.

    Parameters
    ----------
    replicas : int
    tap : bool
    transport : Router, optional
        UDP by default.
    network : callable, optional
        Joins the host to its peer, instead of a link. It is called with the lab and the host's namespace, makes an
        interface r0 in that namespace, and returns a context with the peer's namespace. With `tap` the host runs
        already, and r0 is the device's interface.
    **sizes : int
        Those of the `ApplicationPort`.
    """
    number = next(_numbers)
    name = f"test-{os.getpid()}-{number}"
    graph = host_graph(TapPort("r0") if tap else AfPacketPort("r0"), name, transport, **sizes)
    reports: list[str] = []
    with Lab(f"host{number}") as lab, ExitStack() as stack:
        ours = lab.namespace("ours")
        if not tap:
            peer = stack.enter_context((network or _link)(lab, ours))
        # The segments of a connection become requests in the order in which they came.
        paths = [graph.create_path("eth0", order="channel" if transport else "completed"), graph.create_path("apps")]
        # Tests kill replicas at such a pace that one may have had no core since the death before.
        supervisor = Supervisor(graph, paths, replicas, report=reports.append, restarts=1000)
        with ours.entered():
            supervisor.__enter__()
        try:
            with ExitStack() as ends:  # what uses the device ends before it
                if tap:
                    peer = ends.enter_context((network or _device)(lab, ours))
                attached = ends.enter_context(closing(sockets.attach(name)))
                yield Host(supervisor, ours, peer, attached, name, reports)
        finally:
            supervisor.stop()
