"""A router in a lab, for tests: two hosts with the kernel's own stack, and Scout between them."""

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.io.ports.afpacket import AfPacketPort
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.supervisor import Supervisor
from scout.testing import await_until
from scout.tools.traffic.two_hosts import two_hosts

LEFT, RIGHT = "10.0.0.2", "10.0.1.2"


@dataclass
class Running:
    left: Namespace
    router: Namespace
    right: Namespace
    supervisor: Supervisor
    reports: list[str]

    def sums(self) -> tuple[int, int]:
        """Packets received, and packets accounted for."""
        account: Any = self.supervisor.account()
        return account["received"], sum(sum(account[part].values()) for part in ("out", "ended", "drops"))

    def settle(self) -> None:
        """Wait until all that was received is accounted for."""
        await_until(lambda: len(set(self.sums())) == 1)


def router_graph(**options: Any) -> RouterGraph:
    """A router as `harness.two_ports` makes it, with the same name: what it compiles to is the same too.

    `options` are those of its ports.
    """
    graph = RouterGraph("test")
    graph.add(Ethernet("left", AfPacketPort("r0", **options)))
    graph.add(Ethernet("right", AfPacketPort("r1", **options)))
    graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}, {"10.9.0.0/16": "10.0.1.2"}))
    graph.add(Arp("arp"))
    graph.add(Icmp("icmp"))
    for port in ("left", "right"):
        graph.connect("icmp", "ip", port)
        graph.connect("ip", "arp", port)
    return graph


def caught_up(supervisor: Supervisor) -> None:
    """Wait until every replica that takes part has seen all that came."""
    await_until(
        lambda: not any(row["lag"] for row in supervisor.replica_figures() if row["id"] in supervisor.taking_part)
    )


@contextmanager
def running(
    replicas: int = 1,
    order: str = "completed",
    restarts: int = 3,
    wishes: Iterable[Mapping[str, Any]] = (),
    most_paths: int | None = None,
    **options: Any,
) -> Iterator[Running]:
    """A router that runs in a lab; `wishes` are attributes of further paths from the left, `options` the ports'."""
    graph = router_graph(**options)
    paths = [graph.create_path(port, order=order) for port in ("left", "right")]
    paths += [graph.create_path("left", order=order, **wish) for wish in wishes]
    reports: list[str] = []
    with Lab("test") as lab:
        left, router, right = two_hosts(lab)
        supervisor = Supervisor(graph, paths, replicas, report=reports.append, restarts=restarts, most_paths=most_paths)
        with router.entered():
            supervisor.__enter__()
        try:
            yield Running(left, router, right, supervisor, reports)
        finally:
            supervisor.stop()


def awaited_error(sock: socket.socket) -> int:
    """The error that the kernel reports to a socket, once it has come."""
    return int(await_until(lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
