"""Entries that are compiled ahead, by a thread: one that cannot be compiled now is compiled when it is called."""

import os
import resource

from scout.io.host.process import Child
from scout.ring import jit
from scout.ring.channel import Channel


def waiting() -> list[str]:
    return [each.function.__name__ for each in jit._declared if not each.is_ready and "scout.ring" in each.__module__]


def test_a_process_that_may_open_no_file_compiles_later() -> None:
    def work() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        for number in set(range(highest)) - {int(name) for name in os.listdir("/proc/self/fd")}:
            os.dup2(2, number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        jit.compile_entries("scout.ring")
        assert waiting()
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        channel = Channel(8, 8, 1)
        assert channel.send(b"request") and channel.replica(0).receive() == (b"request", True)

    assert waiting()
    child = Child(work, quiet=True)
    assert child.join(600) and child.exitcode == 0, child.error
