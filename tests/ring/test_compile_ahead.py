"""Entries that are compiled ahead, by a thread: one that cannot be compiled now is compiled when it is called."""

import subprocess
import sys

from scout.io.endpoints.ciphers import crypt
from scout.ring import jit

ALONE = """
import os
import resource

from scout.ring import jit
from scout.ring.cache import cache_folder
from scout.ring.channel import Channel


def waiting():
    return [each for each in jit._declared if not each.is_ready and "scout.ring" in each.__module__]


cache_folder()  # reads all of Scout's sources, the first time
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
"""


def test_a_process_that_may_open_no_file_compiles_later() -> None:
    """A process of its own: in this one other tests have compiled them."""
    ended = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stderr == "", ended.stderr


def test_what_needs_a_library_that_may_not_be_loaded_is_not_compiled_ahead() -> None:
    assert crypt.function not in [each.function for each in jit._declared]


ENDS = """
import threading, weakref
from scout.ring import jit

kept = [type("Each", (), {})() for _ in range(150_000)]
many = [weakref.finalize(each, int) for each in kept]  # it takes the process some time to go through them at its end
begun = threading.Event()

def compiling(entry):
    begun.set()
    for _ in range(150_000):
        kept.append(type(kept[0])())
        weakref.finalize(kept[-1], int)  # as numba makes them

jit.Entry._compiled = compiling
jit._released = lambda native: native
threading.Thread(target=lambda: jit.Entry(compiling, None).native, daemon=True).start()
begun.wait()
"""


def test_a_process_that_ends_waits_for_what_a_thread_compiles() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
