"""The watcher survives every error, and reports each of them once."""

import errno
import os
import signal
import subprocess

import psutil
import pytest
from folding import check_states, folding, program, send, source

from scout.health import PortHealth
from scout.io.channels.software import Feed
from scout.reports import Reporter
from scout.supervisor import Supervisor
from scout.testing import await_until


def kill(supervisor, replica, number=signal.SIGKILL):
    """Kill a replica, and wait until its successor is there."""
    killed = supervisor.processes[replica]
    os.kill(killed.pid, number)
    await_until(lambda: supervisor.processes[replica] is not killed)


def finish(supervisor, port, count=1_000):
    """Send requests, and check that all of them are dealt with."""
    send(port, range(count))
    port.end()
    assert supervisor.wait(600)
    check_states(supervisor, range(count))


def test_supervision_survives_a_report_callback_that_raises(capfd):
    def report(line):
        raise RuntimeError("the callback's own error")

    port = source()
    graph, path = folding(port)
    with Supervisor(graph, [path], 2, report=report) as supervisor:
        for replica in (0, 1, 0):
            kill(supervisor, replica)
        finish(supervisor, port)
    assert capfd.readouterr().err.count("the callback's own error") == 1


def test_a_report_callback_may_ask_the_supervisor_and_change_it():
    port, seen = source(), []
    graph, path = folding(port)

    def report(line):
        seen.append((supervisor.alive, supervisor.account()["received"]))
        if supervisor.alive == 2:
            supervisor.remove_replica(1)

    supervisor = Supervisor(graph, [path], 2, report=report)
    with supervisor:
        os.kill(supervisor.processes[0].pid, signal.SIGKILL)
        await_until(lambda: supervisor.taking_part == [0])
        finish(supervisor, port)
    assert seen[0] == (2, 0)


def test_a_report_callback_may_stop_the_run():
    graph, path = folding(source())
    supervisor = Supervisor(graph, [path], 2, report=lambda line: supervisor.stop())
    with supervisor:
        process = supervisor.processes[1]
        os.kill(supervisor.processes[0].pid, signal.SIGKILL)
        assert supervisor.wait(600)
        assert process.join(600)


@pytest.mark.long
def test_supervision_survives_a_closed_standard_error(tmp_path):
    text = """
        import os
        from test_watcher import *
        port = source()
        graph, path = folding(port)
        os.close(2)
        sys.stderr.close()
        with Supervisor(graph, [path], 2) as supervisor:
            kill(supervisor, 0)
            kill(supervisor, 1)
            finish(supervisor, port)
        print("whole")
        """
    done = subprocess.run(program(tmp_path, text), stdout=subprocess.PIPE, text=True, timeout=600, check=False)
    assert (done.returncode, done.stdout) == (0, "whole\n")


@pytest.mark.long
def test_a_program_that_does_not_stop_its_router_exits_in_silence(tmp_path):
    text = """
        from folding import *
        from scout.supervisor import Supervisor
        graph, path = folding(source())
        supervisor = Supervisor(graph, [path], 2).__enter__()
        print(*[process.pid for process in supervisor.processes.values()])
        """
    done = subprocess.run(program(tmp_path, text), capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    await_until(lambda: not any(psutil.pid_exists(int(pid)) for pid in done.stdout.split()))


def test_a_death_by_a_signal_without_a_name_is_reported():
    port, reports = source(), []
    graph, path = folding(port)
    with Supervisor(graph, [path], 2, report=reports.append) as supervisor:
        kill(supervisor, 0, signal.SIGRTMIN + 3)
        finish(supervisor, port)
    assert "died: signal SIGRTMIN+3; its successor is process" in reports[0]


def test_a_successor_is_forked_as_soon_as_the_kernel_allows_it(monkeypatch):
    port, reports = source(), []
    graph, path = folding(port)
    with Supervisor(graph, [path], 2, report=reports.append) as supervisor:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fork", no_more)
            kill(supervisor, 0)  # the spare process takes its place, and there is no other spare
            dead = supervisor.processes[0]
            os.kill(dead.pid, signal.SIGKILL)
            await_until(lambda: len(reports) == 2)
            send(port, range(100))
        await_until(lambda: supervisor.processes[0] is not dead)
        send(port, range(100, 1_000))
        port.end()
        assert supervisor.wait(600)
        check_states(supervisor, range(1_000))
    assert reports[1] == "replica 0 waits for a successor: no process can be forked: no more processes"
    assert [line.split(" (")[0] for line in reports] == ["replica 0", reports[1], "replica 0"]


def no_more():
    raise BlockingIOError(errno.EAGAIN, "no more processes")


def test_the_counters_of_channels_are_read_although_nobody_asks(monkeypatch):
    """Those of the kernel have 32 bits: unread, they wrap within an hour at a million packets a second."""
    readings = []
    read = Feed.counters
    monkeypatch.setattr(Feed, "counters", lambda channel: readings.append(channel) or read(channel))
    graph, path = folding(source())
    with Supervisor(graph, [path], 1, report=[].append):
        before = len(readings)
        await_until(lambda: len(readings) >= before + 2)


def test_an_error_in_one_of_its_tasks_is_reported_once(monkeypatch):
    looks = []

    def fail(self):
        looks.append(1)
        raise ValueError("on purpose")

    monkeypatch.setattr(PortHealth, "changes", fail)
    monkeypatch.setattr("scout.watcher._PORTS", 0.0)
    port, reports = source(), []
    graph, path = folding(port)
    with Supervisor(graph, [path], 2, report=reports.append) as supervisor:
        await_until(lambda: len(looks) > 3)
        kill(supervisor, 0)
        finish(supervisor, port)
    assert [("on purpose" in line, "died" in line) for line in reports] == [(True, False), (False, True)]


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(1), KeyboardInterrupt()])
def test_a_reporter_says_once_what_the_callback_raises(error, capfd):
    def report(line):
        raise error

    reporter = Reporter(report)
    for number in range(3):
        reporter(f"message {number}")
    (line,) = capfd.readouterr().err.splitlines()
    assert "the report callback failed" in line and "message 0" in line


def test_a_reporter_says_a_message_once_if_it_is_told_to():
    said = []
    reporter = Reporter(said.append)
    for message in ("a", "b", "a"):
        reporter.once(message)
    assert said == ["a", "b"]


def test_a_round_of_the_watcher_does_not_go_through_the_stages_of_all_paths(monkeypatch):
    """There may be thousands of paths, and 50 rounds a second."""
    port = source()
    graph, path = folding(port)
    with Supervisor(graph, [path], 1) as supervisor:
        control = supervisor._parts.control
        with monkeypatch.context() as patched:
            patched.setattr(control, "_controlled", lambda *_: pytest.fail("it goes through them"))
            control.tick()
        finish(supervisor, port)
