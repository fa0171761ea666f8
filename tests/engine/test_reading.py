"""Reading a run by name: tables, counters, and why a replica died."""

import numpy as np
import pytest
from folding import folding, send, source

from scout.io.access import load8
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import Router
from scout.paths.model.stage import Exit, Outcome, Stage
from scout.paths.model.table import Table
from scout.paths.stages.filter import Filter
from scout.paths.stages.requests import End, Requests
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.testing import await_until


def test_tables_are_read_by_name():
    port = source()
    graph, path = folding(port)
    with Supervisor(graph, [path], 2, report=[].append) as supervisor:
        assert {"folding.state", "folding.finished"} <= set(supervisor.tables)
        send(port, range(100))
        port.end()
        assert supervisor.wait(600)
        by_object = supervisor.table(supervisor.tables["folding.state"], 1)
        assert by_object["requests"].tolist() == supervisor.table("folding.state", replica=1)["requests"].tolist()
        supervisor.remove_replica(0) if supervisor.alive == 2 else None
        assert supervisor.table("folding.state")["requests"].tolist() == [100]  # of a replica that takes part
    with pytest.raises(ScoutError, match=r"no table 'folding\.stat'; near it are folding\.state"):
        supervisor.table("folding.stat")
    with pytest.raises(ScoutError, match="no replica 9; there are 0, 1"):
        supervisor.table("folding.state", 9)
    with pytest.raises(ScoutError, match="no stage of these paths has this table"):
        supervisor.table(Table(np.zeros(1, np.int64), "private"), 0)


def test_counters_are_read_by_name():
    port = source()
    graph, path = folding(port)
    with Supervisor(graph, [path], 2, report=[].append) as supervisor:
        send(port, range(100))
        port.end()
        assert supervisor.wait(600)
    counters = supervisor.counters("requests")
    assert counters == supervisor.counters(path)
    assert set(counters) == set(path.counter_names) and 100 in counters.values()
    by_replica = [supervisor.counters(path, replica) for replica in range(2)]
    assert {name: sum(each[name] for each in by_replica) for name in counters} == counters
    with pytest.raises(ScoutError, match="no path begins at 'nowhere'; paths begin at requests"):
        supervisor.counters("nowhere")


class Failing(Router):
    """The end of a path whose stage raises."""

    requires = {"down": "request"}

    def arrive(self, service, below):
        return "fail"

    def stage(self, key, graph, attributes):
        return Stage(fail, (Outcome("end", Exit(None)),))


def fail(frame, end):
    if load8(frame, 0) == ord("r"):  # of "request"
        raise ValueError("on purpose")
    return 0


def test_the_traceback_of_a_stage_is_reported_once_for_all_replicas_and_successors(capfd):
    port, reports = source(), []
    graph = RouterGraph("failing")
    graph.add(Requests("requests", port))
    graph.add(Failing("failing"))
    graph.connect("failing", "requests")
    with Supervisor(graph, [graph.create_path("requests")], 2, report=reports.append) as supervisor:
        send(port, range(1))
        await_until(lambda: len(reports) >= 5)
        send(port, range(1, 2))
        assert supervisor.wait(600)
    deaths = [line for line in reports if "died" in line]
    assert len(deaths) == 8 and all("died: ValueError: on purpose" in line for line in deaths)
    (traceback,) = [line for line in reports if "died" not in line]
    assert traceback.startswith("Traceback") and "on purpose" in traceback
    assert capfd.readouterr().err == ""


def divides(frame, end):
    return 1 // (load8(frame, 0) - 7)


def test_an_error_in_native_code_names_the_stages_that_may_have_raised_it():
    graph, port, reports = RouterGraph("dividing"), source(), []
    graph.add(Requests("requests", port))
    graph.add(Filter("divider", divides, connects="request"))
    graph.add(End("done", "request"))
    graph.connect("done", "divider", "requests")
    path = graph.create_path("requests")
    with Supervisor(graph, [path], replicas=1, restarts=0, report=reports.append):
        port.send(bytes([7]))
        await_until(lambda: reports)
    words = (
        "ZeroDivisionError: integer division by zero in stage divider.receive of the path from requests: send the frame"
    )
    assert words in reports[0]
    with pytest.raises(ScoutError, match=rf"test_reading\.py:{divides.__code__.co_firstlineno + 1}: "):
        path.run(bytes([7]))
