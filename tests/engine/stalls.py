"""How long a transfer stands still when replicas are killed.

    python tests/engine/stalls.py

It kills replicas in turn while a connection sends or receives, and prints the longest time in which nothing came.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    from scout.io.host.sandbox import enter

    enter()
    sys.path[:0] = [str(Path(__file__).parents[1])]

from host_router import Host, running_host
from test_tcp import accepted

from scout import Tcp
from scout.testing import await_until

KILLS, PAUSE, BLOCK = 30, 0.35, 1 << 18


class Reader:
    """A thread that receives, and notes the pauses that are longer than a millisecond."""

    def __init__(self, sock: Any) -> None:
        self._sock, self.pauses, self.bytes = sock, [], 0  # type: ignore[var-annotated]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        room, last = bytearray(BLOCK), time.monotonic()
        while count := self._sock.recv_into(room):
            now = time.monotonic()
            if now - last > 1e-3:
                self.pauses.append((last, now))
            last, self.bytes = now, self.bytes + count

    def longest(self, begin: float, end: float) -> float:
        """The longest pause, in seconds, that was within a time at least in part."""
        return max((after - before for before, after in self.pauses if after > begin and before < end), default=0.0)

    def join(self) -> None:
        self._thread.join()


def write(sock: Any, stop: threading.Event) -> None:
    while not stop.is_set():
        sock.sendall(bytes(BLOCK))
    sock.shutdown(1)


def measure(host: Host, sends: bool) -> None:
    ours, theirs = accepted(host, 7600)
    writer, reader = (ours, theirs) if sends else (theirs, ours)
    with ours, theirs:
        stop, reading = threading.Event(), Reader(reader)
        writing = threading.Thread(target=write, args=(writer, stop))
        writing.start()
        time.sleep(1)
        began, first, stalls = time.monotonic(), reading.bytes, []
        for number in range(KILLS):
            before, killed = len(host.supervisor.stalls), time.monotonic()
            os.kill(host.supervisor.processes[number % 2].pid, signal.SIGKILL)
            await_until(lambda before=before: len(host.supervisor.stalls) > before)  # type: ignore[misc]
            time.sleep(PAUSE)
            stalls.append(reading.longest(killed, killed + PAUSE))
        rate = (reading.bytes - first) * 8e-9 / (time.monotonic() - began)
        stop.set()
        writing.join()
        reading.join()
    stalls.sort()
    print(
        f"{'sent' if sends else 'received'}: {rate:.1f} Gbit/s; {KILLS} kills: stood still for "
        f"{stalls[KILLS // 2] * 1e3:.0f} ms in the median, {stalls[-1] * 1e3:.0f} ms at most"
    )


if __name__ == "__main__":
    with running_host(2, False, Tcp("tcp")) as running:
        for way in (False, True):
            measure(running, way)
