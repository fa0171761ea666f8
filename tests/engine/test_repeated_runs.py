"""A process that starts and stops many supervisors keeps no memory, descriptors or threads of them."""

import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from lab_router import router_graph
from port_router import LEFT, RIGHT, finished, frames, supervised

from scout.io.host.lab import Lab
from scout.io.ports.memory import MemoryPort
from scout.io.ports.pcap import PcapPort
from scout.paths.services.heavy_hitter import HeavyHitter
from scout.supervisor import Supervisor

MIB = 1 << 20


@pytest.fixture
def no_collector() -> Iterator[None]:
    """The memory of a run goes with the last reference to it: the garbage collector may not run for a long time."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def resources() -> dict[str, int]:
    """The memory, descriptors, threads and children of this process."""
    process = psutil.Process()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "children": len(process.children()),
        "MiB resident": process.memory_info().rss // MIB,
        "MiB mapped": process.memory_info().vms // MIB,
    }


def check_growth(run: Callable[[], object], first: int, last: int, mib: int) -> None:
    """Run `last` times; from run `first` on only memory may grow, by less than `mib`."""
    for number in range(1, last + 1):
        run()
        if number == first:
            before = resources()
    after = resources()
    for name in ("descriptors", "threads", "children"):
        assert after[name] <= before[name], (before, after)
    for name in ("MiB resident", "MiB mapped"):
        assert after[name] - before[name] < mib, (before, after)


def memory_run() -> Supervisor:
    """A small router with a service, between ports in memory."""
    left, right = MemoryPort(LEFT, frames=list(frames(20))), MemoryPort(RIGHT, frames=[])
    service = HeavyHitter("heavy", 1 << 40, mode="sharded")  # as in tests/io/test_ports.py, so that it compiles once
    supervisor = supervised(left, right, 2, service=service)
    with supervisor:
        assert finished(supervisor)["out"]["right"] == 20
    return supervisor


@pytest.mark.usefixtures("no_collector")
def test_many_runs_in_memory() -> None:
    """Each maps some 300 MiB."""
    check_growth(memory_run, 2, 6, mib=16)


@pytest.mark.long
@pytest.mark.usefixtures("no_collector")
def test_fifty_more_runs_in_memory() -> None:
    check_growth(memory_run, 2, 52, mib=16)


@pytest.mark.usefixtures("no_collector")
def test_the_memory_of_a_run_goes_with_its_supervisor() -> None:
    supervisor = memory_run()
    kept = [supervisor, supervisor.memory, supervisor.channels[0][0], supervisor.processes[0]]
    alive = [weakref.ref(each) for each in kept]
    del supervisor, kept
    assert [reference() for reference in alive] == [None] * 4


def test_a_port_keeps_of_a_run_only_what_it_sent(tmp_path: Path) -> None:
    """Also if its graph is kept."""
    ports = [MemoryPort(LEFT, frames=list(frames(20))), PcapPort(write=tmp_path / "out.pcap", mac=RIGHT)]
    supervisor = supervised(*ports, 2)
    with supervisor:
        assert supervisor.wait(600)
        before = psutil.Process().memory_info().vms
    assert len(ports[0].sent()) == 0 and finished(supervisor)["out"]["right"] == 20
    del supervisor
    gc.collect()
    assert before - psutil.Process().memory_info().vms > 128 * MIB
    assert all(port._feed is None for port in ports)


@pytest.mark.needs_namespaces
def test_runs_on_interfaces() -> None:
    with Lab("repeated") as lab:
        router = lab.namespace("router")
        for name in ("r0", "r1"):
            lab.veth((router, name), (lab.namespace(f"host-{name}"), "eth0"))

        def run() -> None:
            graph = router_graph(frames=512)  # a ring that is kept would be seen: it takes 34 MiB
            paths = [graph.create_path(port) for port in graph.ports]
            with router.entered(), Supervisor(graph, paths, 2, report=[].append) as supervisor:
                assert supervisor.alive == 2

        check_growth(run, 2, 4, mib=64)
