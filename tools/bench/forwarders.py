"""The routers that `scout bench forward` compares, each with a topology of its own: source - router - sink.

All topologies are alike, so that all exist at once and can be measured in turn. Scout, the C program and the Python
program receive frames to a MAC address of their own: with the interface's address the kernel would also look up each
frame's route, in the sender's time. Flows go to many addresses behind one next hop, `NOBODY`: the sink's kernel drops
frames to its MAC address at once.
"""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.io.host.process import usable_cores
from scout.io.mac import mac_number
from scout.io.ports.afpacket import AfPacketPort
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.supervisor import Supervisor
from scout.tools.bench.baselines import python_socket

__all__ = [
    "FLOODED",
    "LONGEST",
    "MACS",
    "SINK",
    "SOURCE",
    "Forwarder",
    "Topology",
    "c",
    "direct",
    "kernel",
    "python",
    "scout",
]

MACS = [f"02:00:00:00:00:{number:02x}" for number in range(1, 5)]
"""MAC addresses of the source, of the router's r0 and r1, and of the sink."""
ROUTER_MACS = ("02:00:00:00:01:01", "02:00:00:00:01:02")
SOURCE, SINK = "10.0.0.2", "10.0.1.2"
FLOODED, NEXT_HOP, NOBODY = "10.2.0.0/20", "10.0.1.3", "02:00:00:00:00:ff"
"""The prefix that floods go to, and the next hop that leads there."""
LONGEST = 16_240
"""Bytes of the longest super-frame that the kernel makes of frames that the router receives: 10 full frames. Its slot
has 255 cache lines."""
ETHERNET_HEADER = 14
WARM_UP = 0.2  # seconds until a program forwards


class Topology:
    """A source, a router and a sink in namespaces of their own.

    Attributes
    ----------
    source, router, sink : Namespace
    router_mac : str
        The MAC address to which the source sends.
    """

    def __init__(self, lab: Lab, name: str, macs: tuple[str, str] = ROUTER_MACS) -> None:
        self.router_mac = macs[0]
        self.source, self.router, self.sink = (lab.namespace(f"{name}-{part}") for part in ("a", "r", "b"))
        lab.veth((self.source, "eth0"), (self.router, "r0"), mac=(MACS[0], MACS[1]))
        lab.veth((self.router, "r1"), (self.sink, "eth0"), mac=(MACS[2], MACS[3]))
        # The C program answers no ARP request, so all neighbours are set.
        for host, address, gateway, mac in (
            (self.source, SOURCE, "10.0.0.1", macs[0]),
            (self.sink, SINK, "10.0.1.1", macs[1]),
        ):
            host.address("eth0", f"{address}/24")
            host.neighbour("eth0", gateway, mac)
            host.route("default", via=gateway)

    def cut_super_frames(self) -> None:
        """Have the kernel cut UDP super-frames of the generator and of the router at the device; TCP's stay whole."""
        self.source.offload("eth0", tx_udp_segmentation=False)
        self.router.offload("r1", tx_udp_segmentation=False)

    def join_received(self) -> None:
        """Have the router's kernel join the frames of a flow that follow one another before the router gets them.

        NICs do so by default, but for UDP only if they are told to.
        """
        self.router.offload("r0", rx_gro=True, rx_udp_gro_forwarding=True)
        self.router.gro_max_size("r0", LONGEST - ETHERNET_HEADER)


class _Pair(Topology):
    """A source and a sink, without a router."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.router_mac = MACS[3]
        self.source, self.sink = (lab.namespace(f"{name}-{part}") for part in ("a", "b"))
        lab.veth((self.source, "eth0"), (self.sink, "eth0"), mac=(MACS[0], MACS[3]))
        self.source.address("eth0", f"{SOURCE}/24")
        self.sink.address("eth0", f"{SINK}/24")
        self.source.route(f"{SINK}/32", interface="eth0")
        self.sink.route(f"{SOURCE}/32", interface="eth0")


class Forwarder:
    """A router to be measured.

    Attributes
    ----------
    name : str
    replicas : int
        0 for the kernel, which has none.
    topology : Topology
    serving : callable
        Returns a context manager: the router is at work for the time of the `with` block.
    """

    def __init__(
        self, name: str, replicas: int, topology: Topology, serving: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self.name, self.replicas, self.topology, self.serving = name, replicas, topology, serving

    @property
    def who(self) -> dict[str, Any]:
        """The keys of a row that say which router it is about."""
        return {"name": self.name, "replicas": self.replicas}


def scout(lab: Lab, name: str, replicas: int, order: str, **options: Any) -> Forwarder:
    """Scout with this many replicas, releasing packets in this order; `options` are those of its ports."""
    topology = Topology(lab, name)

    def serving() -> AbstractContextManager[Any]:
        graph = RouterGraph("bench_forward")
        graph.add(Ethernet("left", AfPacketPort("r0", mac=ROUTER_MACS[0], **options)))
        graph.add(Ethernet("right", AfPacketPort("r1", mac=ROUTER_MACS[1], **options)))
        graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}, {FLOODED: NEXT_HOP}))
        arp = Arp("arp")
        for port, address, mac in ((0, SOURCE, MACS[0]), (1, SINK, MACS[3]), (1, NEXT_HOP, NOBODY)):
            arp.pin(port, address, mac)
        graph.add(arp)
        graph.add(Icmp("icmp"))
        for side in ("left", "right"):
            graph.connect("icmp", "ip", side)
            graph.connect("ip", "arp", side)
        paths = [graph.create_path(side, order=order) for side in ("left", "right")]
        return _Inside(topology.router, Supervisor(graph, paths, replicas, report=lambda line: None))

    return Forwarder("scout-afpacket", replicas, topology, serving)


def direct(lab: Lab, name: str) -> Forwarder:
    """No router, but one veth pair between source and sink: what the ends can do by themselves."""
    return Forwarder("direct", 0, _Pair(lab, name), nullcontext)


def kernel(lab: Lab, name: str) -> Forwarder:
    """The kernel's own forwarding."""
    topology = Topology(lab, name, (MACS[1], MACS[2]))
    router = topology.router
    router.address("r0", "10.0.0.1/24")
    router.address("r1", "10.0.1.1/24")
    router.neighbour("r0", SOURCE, MACS[0])
    router.neighbour("r1", SINK, MACS[3])
    router.neighbour("r1", NEXT_HOP, NOBODY)
    router.route(FLOODED, via=NEXT_HOP)
    router.sysctl("net.ipv4.ip_forward", 1)
    return Forwarder("kernel", 0, topology, nullcontext)


def c(lab: Lab, name: str, program: str) -> Forwarder:
    """The compiled `baselines/forward.c`."""
    topology = Topology(lab, name)
    ports = [f"{port}/{mac}" for port, mac in zip(("r0", "r1"), ROUTER_MACS, strict=True)]
    routes = [f"{SINK}/32,1,{MACS[3]}", f"{FLOODED},1,{NOBODY}", f"10.0.0.0/24,0,{MACS[0]}"]
    command = [program, str(usable_cores()[-1]), *ports, *routes]
    return Forwarder("c-afpacket", 1, topology, lambda: _Process(topology.router, _execute, command))


def python(lab: Lab, name: str) -> Forwarder:
    """The plain Python program `baselines/python_socket.py`, which forwards in one direction."""
    topology = Topology(lab, name)
    own, next_hop = (mac_number(mac).to_bytes(6, "big") for mac in (ROUTER_MACS[0], NOBODY))
    arguments = (usable_cores()[-1], "r0", "r1", own, {FLOODED: next_hop})
    return Forwarder("python-socket", 1, topology, lambda: _Process(topology.router, python_socket.serve, *arguments))


class _Inside:
    """A context manager entered in a namespace, left outside of it."""

    def __init__(self, namespace: Namespace, inner: AbstractContextManager[Any]) -> None:
        self._namespace, self._inner = namespace, inner

    def __enter__(self) -> Any:
        with self._namespace.entered():
            return self._inner.__enter__()

    def __exit__(self, *exception: Any) -> None:
        self._inner.__exit__(*exception)


class _Process:
    """A program in a process of its own, for the time of a `with` block."""

    def __init__(self, namespace: Namespace, function: Callable[..., Any], *arguments: Any) -> None:
        self._namespace, self._function, self._arguments = namespace, function, arguments

    def __enter__(self) -> None:
        self._process = self._namespace.run(self._function, *self._arguments)
        time.sleep(WARM_UP)

    def __exit__(self, *exception: Any) -> None:
        self._process.terminate()
        self._process.join()


def _execute(command: list[str]) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.execv(command[0], command)
