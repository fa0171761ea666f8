"""Help for tests of your own stages and services: a router in memory, frames to it, and the frames that it sent.

No root, no namespace and no interface is needed. To try a single stage as plain Python there is `scout.try_stage`, and
`Path.run` for a path; here the compiled router runs with its replicas.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from scout.io.mac import mac_text
from scout.io.ports.memory import MemoryPort
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.model.router import GraphError
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.stages.filter import Filter
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor

__all__ = ["HOSTS", "ROUTER", "MemoryRouter", "await_until", "ipv4_router"]

ROUTER = {"left": "02:00:00:00:00:01", "right": "02:00:00:00:00:02"}
"""The MAC addresses of the ports of `ipv4_router`; its IPv4 addresses are 10.0.0.1/24 and 10.0.1.1/24."""

HOSTS = {"left": "02:00:00:00:00:0a", "right": "02:00:00:00:00:0b"}
"""The MAC addresses of the hosts 10.0.0.2 on the left and 10.0.1.2 on the right, which the router knows."""


def ipv4_router(service: Filter | None = None) -> RouterGraph:
    """An IPv4 router between two ports in memory, `left` and `right`.

    Parameters
    ----------
    service : Service or Filter, optional
        Stands between `Ip` and both ports, for packets that come in.

    Raises
    ------
    GraphError
        If it is something else.
    """
    if service is not None and not isinstance(service, Filter):
        raise GraphError(f"ipv4_router of a {type(service).__name__}: give a stage, as Filter('name', function)")
    graph = RouterGraph("testing")
    for name, mac in ROUTER.items():
        graph.add(Ethernet(name, MemoryPort(mac)))
    graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
    arp = Arp("arp")
    graph.add(arp)
    graph.add(Icmp("icmp"))
    if service:
        graph.add(service)
    for index, name in enumerate(ROUTER):
        graph.connect("icmp", "ip", *([service.name] if service else []), name)
        graph.connect("ip", "arp", name)
        arp.pin(index, f"10.0.{index}.2", HOSTS[name])
    return graph


_FIRST_MAC = 0x020000000001  # bit 1 of the first byte marks an address that is no manufacturer's
_MTU = 1500


class MemoryRouter:
    """Runs a router graph with its ports in memory, for the time of a `with` block.

    An exception that ends the block gets a note that says what the router has done with its packets: a test that fails
    shows it.

    Parameters
    ----------
    graph : RouterGraph
        Instances of `MemoryPort` that were made without `frames` stay its ports. The others are replaced by such ports,
        for good: they have the MAC addresses and MTUs that the replaced ports were given; else the MTU is 1500, and the
        addresses are 02:00:00:00:00:01 for the first port of the graph, 02:00:00:00:00:02 for the second, and so on.
    paths : sequence of Path, optional
        By default one from each port, whose packets leave in the order in which they came.
    replicas : int
        How many domains run; one is enough unless the test is about several.

    Attributes
    ----------
    graph : RouterGraph
    supervisor : Supervisor
        Has everything else: `supervisor.account()`, `supervisor.change(...)`.
    reports : list of str
        The sentences that the supervisor has reported so far, such as the death of a replica with its traceback.

    Raises
    ------
    ScoutError
        If this is no router graph, or the paths cannot run together; on entering, if a path does not compile; before
        that, if something is asked for that only a router at work has.

    Examples
    --------
    ::

        from scapy.all import IP, UDP, Ether
        from scout.testing import HOSTS, ROUTER, MemoryRouter, ipv4_router

        def test_a_datagram_passes():
            frame = Ether(src=HOSTS["left"], dst=ROUTER["left"]) / IP(src="10.0.0.2", dst="10.0.1.2") / UDP() / b"hello"
            with MemoryRouter(ipv4_router()) as router:
                router.send("left", bytes(frame))
                (sent,) = router.sent("right")
            assert Ether(sent)[IP].ttl == 63
    """

    def __init__(self, graph: RouterGraph, paths: Sequence[Path] | None = None, replicas: int = 1) -> None:
        if not isinstance(graph, RouterGraph):
            raise GraphError(f"MemoryRouter of a {type(graph).__name__}: give a router graph, as ipv4_router(stage)")
        for index, name in enumerate(graph.ports):
            port = graph.router(name).port
            if not (isinstance(port, MemoryPort) and port.is_live):
                graph.router(name).port = MemoryPort(mac_text(port.mac or _FIRST_MAC + index), port.mtu or _MTU)
        chosen = [graph.create_path(name, order="channel") for name in graph.ports] if paths is None else paths
        self.graph = graph
        self.reports: list[str] = []
        self._has_started = False
        self.supervisor = Supervisor(graph, chosen, replicas, report=self.reports.append)

    def __enter__(self) -> Self:
        self.supervisor.__enter__()
        self._has_started = True
        return self

    def __exit__(self, kind: object, exception: BaseException | None, trace: object) -> None:
        if exception is not None:
            exception.add_note(self._so_far())
        self.supervisor.stop()

    def send(self, port: str, frame: bytes, timestamp: int | None = None) -> None:
        """Have the router receive a frame at a port, at a time in nanoseconds since 1970 (now by default).

        Raises
        ------
        ScoutError
            If the port does not take it: the frame is too long, or the channel is full.
        """
        if not self._port(port).send(frame, timestamp):
            raise ScoutError(f"port {port}: a frame of {len(frame)} bytes was left out: too long, or no room")

    def sent(self, port: str) -> list[bytes]:
        """All frames that have left by a port, once everything that was received is dealt with."""
        self.settle()
        return self._port(port).sent()

    def drops(self) -> dict[str, int]:
        """The packets that were dropped, by reason, once everything that was received is dealt with."""
        self.settle()
        return dict(self.supervisor.account()["drops"])

    def held(self) -> int:
        """The packets that are held until their next hop answers ARP, once everything that was received is dealt with.

        The router knows a next hop after `Arp.pin`, or once it has received an ARP reply of it.
        """
        self.settle()
        return self._held()

    def table(self, name: str, replica: int | None = None) -> np.ndarray:
        """A copy of a table of one replica, by default of the first, once everything that was received is dealt with.

        `Supervisor.table` lists the parameters and errors.
        """
        self.settle()
        return self.supervisor.table(name, replica).copy()

    def settle(self) -> None:
        """Wait until every replica has dealt with everything that was received, and no packet waits until a time.

        Packets may still be held.
        """
        if not self._has_started:
            raise ScoutError("the router has not started; use it inside `with MemoryRouter(graph) as router:`")
        channels = [channel for channel, _ in self.supervisor.channels]
        await_until(
            lambda: (
                all(channel.lag(replica) == 0 for channel in channels for replica in self.supervisor.taking_part)
                and not self.supervisor.memory.delayed(self.supervisor.taking_part)
            )
        )

    def _held(self) -> int:
        return int(self.supervisor.memory.holds["held"].sum())

    def _so_far(self) -> str:
        """What the router has done with its packets until now, in a sentence."""
        account, held = self.supervisor.account(), self._held()
        parts = [
            f"received {account['received']}",
            *(f"sent {len(self._port(name).sent())} by {name}" for name in self.graph.ports),
            *(f"dropped {count} for {reason}" for reason, count in account["drops"].items()),
            *([f"holds {held} until their next hops answer ARP (Arp.pin makes one known)"] if held else []),
            *self.reports,
        ]
        return f"the router in memory has {'; '.join(parts)}"

    def _port(self, name: str) -> MemoryPort:
        if name not in self.graph.ports:
            raise ScoutError(f"no port {name!r}; there are {', '.join(self.graph.ports)}")
        port: MemoryPort = self.graph.router(name).port
        return port


def await_until(condition: Callable[[], Any], timeout: float = 600.0) -> Any:
    """Wait until `condition` returns something true, and return that.

    Raises
    ------
    ScoutError
        After `timeout` seconds, which are only there to end a test that hangs.
    """
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise ScoutError(f"waited in vain for {timeout:g} seconds")
        time.sleep(0.001)
    return found
