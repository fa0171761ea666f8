"""Ports in memory: for tests, lessons and benchmarks, without root or interfaces."""

from collections.abc import Iterable

from scout.io import feed, sink
from scout.io.feed import Feed, checked_mtu
from scout.io.port import PortError, mac_number
from scout.io.sink import Sink
from scout.ring.channel import CHANNEL

__all__ = ["MemoryPort"]


class MemoryPort:
    """A port that receives frames it is given, and keeps those that it sends.

    Parameters
    ----------
    mac : str
        As 02:00:00:00:00:01.
    mtu : int
    frames : iterable of bytes, or of pairs of bytes and a time stamp in nanoseconds, optional
        What to receive. With frames the port's input ends after the last one; without, `send` gives it
        frames while the router runs.
    capacity : int
        Bytes of sent frames that each replica can keep; more are counted as tx-full.
    """

    kernels = ("scout.io.feed", "scout.io.sink")
    RECEIVE, CURSOR, TRANSMIT = CHANNEL, feed.CURSOR, sink.TRANSMIT
    descriptor = None

    def __init__(
        self,
        mac: str,
        mtu: int = 1500,
        frames: Iterable[bytes | tuple[bytes, int]] | None = None,
        capacity: int = 1 << 24,
    ) -> None:
        self.interface = "memory"
        self.mac, self.mtu, self._frames, self._capacity = mac_number(mac), checked_mtu(mtu), frames, capacity
        self._feed: Feed | None = None

    def __repr__(self) -> str:
        return "MemoryPort()"

    def open(self, index: int, replicas: int, members: int) -> None:
        """Make the channel and the buffers."""
        self._feed, self._sink = Feed(index, replicas), Sink(replicas, self._capacity)
        self.ring, self.cursors, self.transmits = self._feed.ring, self._feed.cursors, self._sink.transmits

    def feed(self) -> None:
        """Begin to receive the frames given."""
        if self._frames is not None:
            pairs = (each if isinstance(each, tuple) else (each, 0) for each in self._frames)
            self._opened.start((stamp, frame) for frame, stamp in pairs)

    def send(self, frame: bytes, timestamp: int | None = None) -> None:
        """Have the router receive a frame now."""
        self._opened.send(frame, timestamp)

    def sent(self) -> list[bytes]:
        """The frames that the router sent, by the time at which they were received."""
        return [frame for _, frame in sorted(self._sink.records(), key=lambda record: record[0])]

    @property
    def _opened(self) -> Feed:
        if self._feed is None:
            raise PortError("memory port: not open; use it inside `with Supervisor(...)`")
        return self._feed

    def is_up(self) -> bool:
        """True: memory does not go away."""
        return True

    def drained(self, dead: set[int]) -> bool:
        """True if all frames given have been dealt with."""
        return self._opened.drained(dead)

    def bury(self, replica: int, ordered: bool, sure: bool) -> int:
        """Take a dead replica out; how many packets went with it."""
        return self._opened.bury(replica, ordered, sure)

    def kernel_counters(self) -> dict[str, int]:
        """Frames received, and those that were too long."""
        return self._opened.counters()

    def transmitted(self) -> dict[str, int]:
        """Frames sent, and those refused by reason."""
        return self._sink.counters()

    def close(self) -> None:
        """End the input."""
        if self._feed:
            self._feed.close()
