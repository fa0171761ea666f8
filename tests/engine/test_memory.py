"""A process keeps nothing of the runs that are over."""

import gc
import threading
import weakref

import psutil
import pytest
from folding import folding, send, source

from scout.io.ports.contract import PortError
from scout.supervisor import Supervisor

MIB = 1 << 20


def run_once():
    """Run a router that fills its channel; the graph, and a weak reference to the channel."""
    port = source(entries=4096)
    graph, path = folding(port)
    with Supervisor(graph, [path], 2, report=[].append) as supervisor:
        send(port, range(4_096))
        port.end()
        assert supervisor.wait(600)
        return graph, weakref.ref(supervisor.channels[0][0])


def test_the_memory_of_a_process_does_not_grow_by_runs():
    kept = [run_once()[0] for _ in range(2)]  # the first ones load code
    for thread in threading.enumerate():
        if thread.name == "scout-compile":  # loads more of it meanwhile
            thread.join()
    before = psutil.Process().memory_full_info().uss
    kept += [run_once()[0] for _ in range(6)]
    gc.collect()
    # A channel alone is 7 MiB. The kept graphs themselves need less than 0.1 MiB.
    assert psutil.Process().memory_full_info().uss - before < 5 * MIB
    assert len(kept) == 8


def test_a_graph_that_is_kept_does_not_keep_the_channels_of_its_runs():
    graph, channel = run_once()
    gc.collect()
    assert channel() is None
    assert graph.ports == ["requests"]


def test_a_port_receives_nothing_after_the_run():
    port = source()
    graph, path = folding(port)
    with Supervisor(graph, [path], 1, report=[].append):
        assert port.send(b"request")
    with pytest.raises(PortError, match="the run is over"):
        port.send(b"request")
