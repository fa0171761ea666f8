"""Services on interfaces: one order of two NICs, control requests among frames, joining, leaving, deaths."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lab_router import LEFT, RIGHT, caught_up, router_graph
from port_router import kill
from pyroute2 import IPRoute

from scout.io.channels.kernel_ring import BATCH
from scout.io.host.lab import Lab
from scout.paths.framework.events import Event, Handler
from scout.paths.framework.service import Service
from scout.paths.framework.timers import after
from scout.paths.wire.flow import mix
from scout.supervisor import Supervisor
from scout.testing import await_until
from scout.tools.traffic.flood import Flood
from scout.tools.traffic.peers import ping, tcp_transfer
from scout.tools.traffic.two_hosts import MACS, two_hosts

pytestmark = pytest.mark.needs_namespaces

SEEN = np.dtype([("packets", "i8"), ("digest", "i8"), ("marked", "i8"), ("rung", "i8")])
RING = Event("ring")
DELAY = 300_000_000  # nanoseconds


def note(frame: Any, end: Any, packet: Any, seen: Any, timers: Any) -> int:
    """Count a packet, and fold when and where it came into a digest of all in their order."""
    seen[0].packets += 1
    seen[0].digest = mix(seen[0].digest ^ packet.timestamp << 4 ^ packet.port)
    if seen[0].packets == 1:
        after(timers, packet, DELAY, RING, 7)
    return 0


def mark(frame: Any, end: Any, seen: Any) -> int:
    """Note how many packets came before: where the handler was bound."""
    seen[0].marked = mix(seen[0].marked ^ seen[0].packets)
    return 0


def ring(frame: Any, end: Any, argument: int, seen: Any) -> int:
    seen[0].rung += argument
    return 0


@contextmanager
def noting(
    replicas: int, order: str = "completed", sequenced: bool = True, mode: str = "replicated"
) -> Iterator[SimpleNamespace]:
    """A router between two hosts whose service notes all packets of both interfaces."""
    graph = router_graph()
    handlers = [Handler(note), Handler(mark, bound=False), Handler(ring, RING)]
    service = graph.add(Service("noting", {"seen": np.zeros(1, SEEN)}, handlers, mode=mode, sequenced=sequenced))
    for port in ("left", "right"):
        graph.connect("ip", "noting", port)
    reports: list[str] = []
    with Lab("interfaces") as lab:
        left, router, right = two_hosts(lab)
        paths = [graph.create_path(port, order=order) for port in ("left", "right")]
        supervisor = Supervisor(graph, paths, replicas, report=reports.append)
        with router.entered():
            supervisor.__enter__()
        try:
            yield SimpleNamespace(
                left=left, router=router, right=right, supervisor=supervisor, service=service, reports=reports
            )
        finally:
            supervisor.stop()


def seen(run: Any, replica: int) -> tuple[int, ...]:
    """The words that a replica has noted."""
    return tuple(run.supervisor.table(run.service.tables["seen"], replica)[0].tolist())


def ring_full(run: Any) -> int:
    """Frames that found a ring full: a busy machine may not get round to reading it."""
    return int(run.supervisor.account()["drops"].get("ring-full", 0))


def settled(run: Any) -> None:
    """Wait until every replica that takes part has seen all that came."""
    await_until(lambda: run.supervisor.account()["received"] > 0)
    await_until(lambda: _all_dealt(run))
    caught_up(run.supervisor)


def _all_dealt(run: Any) -> bool:
    account = run.supervisor.account()
    dealt = sum(sum(account[part].values()) for part in ("out", "ended", "drops"))
    return bool(dealt == account["received"])


@pytest.mark.long
def test_two_interfaces_have_one_order_in_every_replica() -> None:
    with noting(2) as run:
        assert ping(run.left, RIGHT, 3)["received"] == ping(run.right, LEFT, 3)["received"] == 3
        assert tcp_transfer(run.left, run.right, RIGHT, 16 << 20, 600.0)["intact"]
        assert tcp_transfer(run.right, run.left, LEFT, 16 << 20, 600.0)["intact"]
        settled(run)
        assert len(run.supervisor.channels) == 1
        run.supervisor.stop()
        assert run.supervisor.diverged() == []
        assert seen(run, 0) == seen(run, 1)
        assert seen(run, 0)[0] > 500


def test_a_timer_fires_also_if_no_packet_comes() -> None:
    with noting(2) as run:
        assert ping(run.left, RIGHT, 1)["received"] == 1
        await_until(lambda: all(seen(run, replica)[3] == 7 for replica in range(2)))
        settled(run)
        run.supervisor.stop()
        assert run.supervisor.diverged() == []
        assert seen(run, 0) == seen(run, 1)


def passed(run: Any, count: int = 1000) -> None:
    """Wait until so many packets have come."""
    wanted = run.supervisor.account()["received"] + count
    await_until(lambda: run.supervisor.account()["received"] >= wanted)


def _flooded(run: Any, work: Callable[[], None]) -> int:
    """Have packets pass from left to right, 20,000 a second, while `work` is done; how many were sent."""
    assert ping(run.left, RIGHT, 1)["received"] == 1
    run.left.offload("eth0", tx_udp_segmentation=False)
    flood = Flood(60, LEFT, RIGHT, *(int(mac.replace(":", ""), 16) for mac in MACS[:2]))
    with run.right.entered():
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sink:
        sink.bind((RIGHT, 4001))
        sender = run.left.run(flood.run, "eth0", 600.0, 20_000.0)  # until it is told to stop
        work()
        flood.stop()
        sender.join(600)
        assert sender.exitcode == 0
        settled(run)
    return flood.sent


def test_handlers_are_bound_at_one_packet_in_all_replicas() -> None:
    with noting(2) as run:

        def work() -> None:
            for _ in range(10):
                passed(run)
                run.supervisor.bind(run.service, "note", "mark", "ring")
                passed(run)
                run.supervisor.bind(run.service, "note", "ring")

        sent = _flooded(run, work)
        run.supervisor.stop()
        assert run.supervisor.diverged() == []
        assert seen(run, 0) == seen(run, 1)
        packets, _, marked, _ = seen(run, 0)
        assert packets + ring_full(run) >= sent and marked != 0


@pytest.mark.parametrize(
    ("order", "sequenced"),
    [
        ("completed", True),
        *(pytest.param(*each, marks=pytest.mark.long) for each in (("channel", True), ("completed", False))),
    ],
)
def test_replicas_join_and_leave_while_packets_flow(order: str, sequenced: bool) -> None:
    with noting(1, order, sequenced) as run:

        def work() -> None:
            for number in range(3):
                passed(run)
                assert run.supervisor.add_replica() == (number + 1) % 2
                passed(run)
                kill(run.supervisor, (number + 1) % 2)
                passed(run)
                run.supervisor.remove_replica(number % 2)
            run.supervisor.add_replica()

        sent = _flooded(run, work)
        assert run.supervisor.taking_part == [0, 1]
        run.supervisor.stop()
        if sequenced:
            assert run.supervisor.diverged() == []
            assert seen(run, 0) == seen(run, 1)
        full = ring_full(run)
        assert seen(run, 0)[0] + full >= sent
        account = run.supervisor.account()
        drops = account["drops"]
        again = drops.pop("done-again", 0)
        # Frames that a primary had sent before it was killed leave again: a batch for each death at most.
        assert sent - full <= account["out"]["right"] <= sent + 100 + 3 * BATCH and again >= -3 * BATCH
        assert drops.pop("ring-full", 0) == full and not drops


@pytest.mark.long
def test_flows_are_sharded_and_all_replicas_know_all_next_hops() -> None:
    """ARP's table is the same in all replicas, also where flows are divided: its messages are everyone's."""
    with noting(2, sequenced=False, mode="sharded") as run:
        with run.right.entered():
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with run.left.entered():
            senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(40)]
        with sink:
            sink.bind((RIGHT, 4001))
            sink.settimeout(600)
            for number, sender in enumerate(senders):
                with sender:
                    sender.sendto(bytes([number]), (RIGHT, 4001))
            assert {sink.recv(10)[0] for _ in senders} == set(range(len(senders)))
        settled(run)
        run.supervisor.stop()
        counts = [seen(run, replica)[0] for replica in range(2)]
        assert sum(counts) == len(senders) and min(counts) > 0
        assert not run.supervisor.account()["drops"]


def test_an_interface_that_goes_away_is_reported_also_if_another_has_its_name_then() -> None:
    with noting(1) as run:
        assert ping(run.left, RIGHT, 1)["received"] == 1
        with run.router.entered(), IPRoute() as route:
            index = route.link_lookup(ifname="r1")[0]
            route.link("set", index=index, state="down")
            await_until(lambda: len(run.reports) == 1)
            route.link("set", index=index, state="up")
            await_until(lambda: len(run.reports) == 2)
            route.link("del", index=index)
            await_until(lambda: len(run.reports) == 3)
            route.link("add", ifname="r1", kind="veth", peer="r9")
            route.link("set", index=route.link_lookup(ifname="r1")[0], state="up")
            assert route.link_lookup(ifname="r1")[0] != index
            time.sleep(0.5)  # it looks at its interfaces ten times a second
        assert [report.split("interface ")[1] for report in run.reports] == [
            "r1 is down or gone; the other ports go on",
            "r1 is up again",
            "r1 is down or gone; the other ports go on",
        ]
