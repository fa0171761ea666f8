"""Paths that had no packet for so long that they are to end (`idle=`).

Time is that of packets, and where they come live it goes on while none come. That a path ends is a change like others,
so replicas need not agree about the time.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from scout.domain_arguments import Channels
from scout.memory import Memory
from scout.paths.model.path import Path

__all__ = ["IdlePaths"]

_SECOND = 1e9  # nanoseconds


@dataclass
class _Seen:
    """A path when packets were seen last: the sum of its counters, the packets' time (0: unknown), and the clock's."""

    counted: int
    time: int
    clock: float


class IdlePaths:
    """Finds the paths of a run that are idle.

    Parameters
    ----------
    channels : sequence of tuple
        The channels, each with its paths.
    memory : Memory
    """

    def __init__(self, channels: Channels, memory: Memory) -> None:
        self._channels, self._memory = channels, memory
        self._seen: dict[Path, _Seen] = {}

    def find(self) -> Sequence[Path]:
        """The paths that are idle now."""
        paths = self._memory.paths
        waiting = [path for path in paths if path.attributes.idle]
        self._seen = {path: self._seen[path] for path in waiting if path in self._seen}
        if not waiting:
            return []
        counted, clock = paths.activity(waiting), time.monotonic()
        times = {path.source: channel for channel, served in self._channels for path in served}
        now = {source: self._memory.packet_time(channel) for source, channel in times.items()}
        live = {source: channel.is_live for source, channel in times.items()}
        idle = []
        for path, count in zip(waiting, counted, strict=True):
            seen = self._seen.get(path)
            if seen is None or seen.counted != count:
                self._seen[path] = _Seen(count, now[path.source], clock)
                continue
            seen.time = seen.time or now[path.source]
            quiet = (now[path.source] - seen.time) / _SECOND
            if live[path.source]:  # a replica that sleeps sees no time pass
                quiet = max(quiet, clock - seen.clock)
            if quiet >= path.attributes.idle:
                idle.append(path)
        return idle
