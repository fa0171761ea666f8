"""Child processes: every process that waits for one sees its end at once, and no signal reaches another process."""

import errno
import os
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import psutil
import pytest

from scout.io.host import process
from scout.io.host.process import Child, Forker, usable_cores, wait_for_any
from scout.ring.errors import ScoutError
from scout.testing import await_until


def raises():
    raise ValueError("on purpose")


def status_of(function, *arguments, **options):
    child = Child(function, *arguments, **options)
    assert child.join(600)
    return child.exitcode


def test_the_exit_status_says_how_the_function_ended(capfd):
    assert status_of(int) == 0
    assert status_of(sys.exit) == 0
    assert status_of(sys.exit, 7) == 7
    assert status_of(sys.exit, "a message") == 1
    assert status_of(raises) == 1
    assert "ValueError: on purpose" in capfd.readouterr().err


def test_a_quiet_child_keeps_its_traceback_for_its_parent(capfd):
    child = Child(raises, quiet=True)
    assert child.join(600)
    assert child.error.startswith("Traceback") and child.error.endswith("ValueError: on purpose\n")
    assert capfd.readouterr().err == ""


def test_of_a_long_traceback_the_end_is_kept():
    def raise_much():
        raise ValueError("x" * 100_000 + " the end")

    child = Child(raise_much, quiet=True)
    assert child.join(600)
    assert child.error.endswith("the end\n")


def test_what_a_child_prints_is_not_lost_and_not_printed_twice(capfd):
    print("before", end=" ")
    assert status_of(print, "inside") == 0
    assert capfd.readouterr().out == "before inside\n"


def test_a_child_has_no_descriptors_but_those_that_it_is_to_keep():
    """A socket that the parent closes is closed, and an object that is collected in the child closes nothing new."""
    ours, theirs = socket.socketpair()
    kept, keeping = os.pipe()
    number = theirs.fileno()

    def tell():
        os.write(keeping, b"kept")
        made = os.eventfd(0)
        theirs.close()
        os.fstat(made)
        assert number != made and os.read(0, 1) == b""

    child = Child(tell, keep=[keeping])
    try:
        theirs.close()
        ours.settimeout(600)
        assert ours.recv(1) == b""
        assert child.join(600) and child.exitcode == 0, child.error
        assert os.read(kept, 4) == b"kept"
    finally:
        ours.close()
        os.close(kept)
        os.close(keeping)


def test_waiting_for_a_process_whose_end_another_thread_has_seen_returns_at_once():
    child = Child(int)
    assert child.join(600)
    waiter = threading.Thread(target=wait_for_any, args=([child], None), daemon=True)
    waiter.start()
    waiter.join(600)
    assert not waiter.is_alive()


def test_no_signal_is_sent_to_a_process_that_has_ended(monkeypatch):
    """Its pid may belong to another process by then."""
    child = Child(int)
    assert child.join(600)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a signal to a pid"))
    child.kill()
    child.terminate()


def test_killing_while_another_thread_waits_for_the_end():
    for _ in range(20):
        child = Child(signal.pause)
        waiters = [threading.Thread(target=child.join) for _ in range(3)]
        for waiter in waiters:
            waiter.start()
        killers = [threading.Thread(target=child.kill) for _ in range(3)]
        for each in (*killers, *waiters):
            if each in killers:
                each.start()
            each.join(600)
        assert child.exitcode == -signal.SIGKILL


def test_a_child_without_a_pidfd_does_not_stay_behind(monkeypatch):
    def no_more(pid):
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "pidfd_open", no_more)
    before = psutil.Process().children()
    with pytest.raises(OSError, match="too many open files"):
        Child(signal.pause)
    assert psutil.Process().children() == before


def test_a_child_dies_with_the_thread_that_forked_it_unless_a_forker_did():
    forker, children = Forker(), []

    def fork():
        children.append(Child(signal.pause))
        children.append(forker.fork(signal.pause))

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    bound, free = children
    assert bound.join(600) and bound.exitcode == -signal.SIGKILL
    assert free.is_alive()
    forker.close()
    assert free.join(600)


def test_a_child_dies_with_a_thread_that_ends_as_soon_as_it_has_forked_it(monkeypatch):
    def late(*arguments):
        time.sleep(0.1)  # a busy machine does that to the child
        return bind(*arguments)

    bind, children = process._libc.prctl, []
    monkeypatch.setattr(process, "_libc", SimpleNamespace(prctl=late))
    thread = threading.Thread(target=lambda: children.append(Child(signal.pause)))
    thread.start()
    thread.join()
    assert children[0].join(600) and children[0].exitcode == -signal.SIGKILL


def test_a_closed_forker_forks_nothing():
    used, unused = Forker(), Forker()
    assert used.call(int) == 0
    for forker in (used, unused):
        forker.close()
        forker.close()
        with pytest.raises(ScoutError, match="the forker is closed"):
            forker.fork(int)


def test_errors_of_forking_reach_the_caller_of_a_forker(monkeypatch):
    def no_more():
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    forker = Forker()
    with monkeypatch.context() as patch, pytest.raises(BlockingIOError):
        patch.setattr(os, "fork", no_more)
        forker.fork(int)
    forker.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_signals_of_the_terminal_are_the_parents_to_handle(number):
    ready, write = os.pipe()

    def survive():
        os.kill(os.getpid(), number)
        os.write(write, b"x")

    child = Child(survive)
    assert select.select([ready], [], [], 60)[0]
    assert child.join(600) and child.exitcode == 0
    for descriptor in (ready, write):
        with suppress(OSError):
            os.close(descriptor)


def test_usable_cores_are_those_of_the_affinity_mask():
    assert set(usable_cores()) == os.sched_getaffinity(0)


def test_the_time_without_a_core_is_counted():
    """Two processes want one core, so each of them waits for it."""
    core = usable_cores()[0]

    def compute():
        os.sched_setaffinity(0, {core})
        while True:
            pass

    children = [Child(compute) for _ in range(2)]
    assert not os.path.exists("/proc/self/schedstat") or await_until(lambda: min(each.starved for each in children) > 0)
    for child in children:
        child.kill()
        assert child.join(600)
