"""Which deadlines of `scout bench paths` nobody could have met, as the machine gave the core to others.

Three things are noted while packets are served: when each was received and its work began and ended; when the core
stood still in the middle of work (`scout.tools.bench.path_work`); and, from beside, when the kernel gave the replica's
core to other processes, as it counts that (`Watch`). From these a schedule is computed that costs nothing and knows the
future no better than Scout: the packet with the earliest deadline has the core, at once, whatever had it before, unless
the core stands still. A packet that is late in this schedule too is late because of the machine: the core stood still,
or many packets came at a time since the generator's core did. All other misses are Scout's.

Between two packets that wait, the schedule takes the time that Scout takes in half of all cases, to receive others in.
Times in which the host of a virtual machine has no core for it are noted in work alone, and a packet for which the
channel had no room is not noted at all. So some misses that the machine causes are taken for Scout's.
"""

import heapq
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scout.tools.bench.path_work import BEGAN, ENDED, FIGURES, NOTED, RECEIVED

__all__ = ["Machine", "Watch", "late_anyway", "latest", "machine", "pauses_in", "union"]

_LOOK = 0.0005  # seconds between two looks of a watch


@dataclass(frozen=True)
class Machine:
    """How the machine behaved while packets were served."""

    late_anyway: int
    """Packets that were late, and would have been late in the best schedule."""
    busy: float
    """The share of the time that the work of the packets took, without pauses."""
    longest: float
    """The longest time in which the core stood still, in seconds."""


class Watch:
    """Looks from beside for how long a process had no core: the times, to half a millisecond, in a `with` block.

    Parameters
    ----------
    starved : callable
        The seconds that the process has had no core so far though it could have run.
    """

    def __init__(self, starved: Callable[[], float]) -> None:
        self._starved, self._ends = starved, threading.Event()
        self._found: list[tuple[int, int]] = []
        self._thread = threading.Thread(target=self._look, args=(starved(),), daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join()

    @property
    def pauses(self) -> np.ndarray:
        """From when and until when it had none: int64[:, 2], nanoseconds since 1970."""
        return np.array(self._found, np.int64).reshape(-1, 2)

    def _look(self, before: float) -> None:
        while not self._ends.wait(_LOOK):
            starved, now = self._starved(), time.time_ns()
            if starved > before:
                self._found.append((now - round((starved - before) * 1e9), now))
            before = starved


def union(pauses: np.ndarray) -> np.ndarray:
    """Pauses that do not overlap, for those that may: int64[:, 2], by time."""
    found: list[list[int]] = []
    for start, end in sorted(pauses.tolist()):
        if found and start <= found[-1][1]:
            found[-1][1] = max(found[-1][1], end)
        else:
            found.append([start, end])
    return np.array(found, np.int64).reshape(-1, 2)


def latest(meter: np.ndarray, count: int) -> np.ndarray:
    """The latest `count` packets that came to a meter, at most as many as it has noted: int64[:, 3], oldest first."""
    rows = meter[FIGURES:].reshape(-1, 3)
    came = int(meter[0])
    return rows[[number % len(rows) for number in range(max(came - count, came - len(rows), 0), came)]].copy()


def pauses_in(chain: np.ndarray) -> np.ndarray:
    """The latest pauses that a table of work has noted: int64[:, 2], as they came."""
    rows, count = chain[NOTED:].reshape(-1, 2), int(chain[NOTED - 1])
    return rows[[number % len(rows) for number in range(max(count - len(rows), 0), count)]].copy()


def late_anyway(received: np.ndarray, work: np.ndarray, deadline: np.ndarray, pauses: np.ndarray) -> np.ndarray:
    """Which packets are late in the best schedule on a core that stands still in some times.

    Parameters
    ----------
    received, work, deadline : int64[:]
        Of each packet: when it came, how long its work takes, and when it had to have ended. Nanoseconds.
    pauses : int64[:, 2]
        When the core stood still: from and until. They do not overlap.

    Returns
    -------
    bool[:]
        True for each packet that is late.
    """
    late = np.zeros(len(received), bool)
    order = np.argsort(received, kind="stable")
    waiting: list[list[int]] = []  # deadline, packet, work that is left
    pause, came, now = 0, 0, 0
    while came < len(order) or waiting:
        if not waiting:
            now = max(now, int(received[order[came]]))
        while came < len(order) and received[order[came]] <= now:
            packet = int(order[came])
            heapq.heappush(waiting, [int(deadline[packet]), packet, int(work[packet])])
            came += 1
        while pause < len(pauses) and pauses[pause][1] <= now:
            pause += 1
        if pause < len(pauses) and pauses[pause][0] <= now:
            now = int(pauses[pause][1])
            continue
        first = waiting[0]
        until = now + first[2]
        if came < len(order):
            until = min(until, int(received[order[came]]))
        if pause < len(pauses):
            until = min(until, int(pauses[pause][0]))
        first[2] -= until - now
        now = until
        if first[2] == 0:
            heapq.heappop(waiting)
            late[first[1]] = now > first[0]
    return late


def _between(packets: np.ndarray) -> int:
    """Nanoseconds from the end of a packet's work to the beginning of the next one's, if that waits: the median."""
    packets = packets[np.argsort(packets[:, BEGAN])]
    waited = packets[1:, RECEIVED] < packets[:-1, ENDED]
    return int(np.median((packets[1:, BEGAN] - packets[:-1, ENDED])[waited])) if waited.any() else 0


def machine(kinds: Sequence[tuple[np.ndarray, float]], pauses: np.ndarray) -> Machine:
    """How the machine behaved while the packets of some kinds were served.

    Parameters
    ----------
    kinds : sequence of (int64[:, 3], float)
        Of each kind its packets, as of `latest`, and their deadline in seconds.
    pauses : int64[:, 2]
        When the core stood still. They may overlap.
    """
    packets = np.concatenate([found for found, _ in kinds])
    if not len(packets):
        return Machine(0, 0.0, 0.0)
    deadline = np.concatenate([found[:, RECEIVED] + int(limit * 1e9) for found, limit in kinds])
    start, end = int(packets[:, RECEIVED].min()), int(packets[:, ENDED].max())
    pauses = union(pauses[(pauses[:, 1] > start) & (pauses[:, 0] < end)])
    within = np.minimum(pauses[:, 1], packets[:, ENDED, None]) - np.maximum(pauses[:, 0], packets[:, BEGAN, None])
    work = np.maximum(packets[:, ENDED] - packets[:, BEGAN] - within.clip(0).sum(axis=1), 0)
    anyway = late_anyway(packets[:, RECEIVED], work + _between(packets), deadline, pauses)
    lengths = (pauses[:, 1] - pauses[:, 0]) / 1e9
    return Machine(
        int(np.count_nonzero(anyway & (packets[:, ENDED] > deadline))),
        float(work.sum() / max(1, end - start)),
        float(lengths.max(initial=0.0)),
    )
