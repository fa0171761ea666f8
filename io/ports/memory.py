"""Ports in memory: they receive frames from a list or a call, and keep the frames that they send.

They need no root, no namespace and no interface: for tests, lessons and benchmarks.

Drops
    ring-full: a frame finds no room in the channel within the time-out of `send`.
    too-long: a received frame is longer than the MTU allows.
    tx-full: the room for sent frames (`capacity`) is used up.
Example
    MemoryPort("02:00:00:00:00:01")
"""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from scout.io.ports.contract import Port, PortError
from scout.io.ports.fed import BATCH, ENTRIES, FedPort
from scout.io.ports.records import LATEST, Records, pack_records
from scout.io.transmit.sink import Sink

__all__ = ["MemoryPort"]


class MemoryPort(FedPort):
    """A port that receives the frames that it is given, and keeps those that it sends.

    Parameters
    ----------
    mac : str
        Its MAC address, as 02:00:00:00:00:01.
    mtu : int
        Bytes of the longest IP packet. Frames that are longer by more than an Ethernet header with one VLAN tag are not
        received, and are counted as too-long.
    frames : iterable of bytes or of (bytes, int), optional
        The frames to receive, each with its time, nanoseconds since 1970; without one it is the time when the run
        starts. The input ends with them. A port without `frames` receives those that are given to `send`, until `end`.
    capacity : int
        Bytes of sent frames that a replica can keep, with 16 more for each frame and 32 for each batch. Frames beyond
        are counted as tx-full. Memory that is not used costs nothing.
    entries : int
        Packets that its channel holds, a power of two. A replica saves its state after every quarter of them.
    batch : int
        Packets that are dequeued together at most, a power of two; all have one primary.

    Examples
    --------
    ::

        left, right = MemoryPort("02:00:00:00:00:01", frames=[frame]), MemoryPort("02:00:00:00:00:02", frames=[])
        ...  # a graph with both, and its paths
        with Supervisor(graph, paths) as supervisor:
            supervisor.wait()
        print(right.sent())
    """

    def __init__(
        self,
        mac: str,
        mtu: int = 1500,
        frames: Iterable[bytes | tuple[bytes, int]] | None = None,
        capacity: int = 1 << 26,
        entries: int = ENTRIES,
        batch: int = BATCH,
    ) -> None:
        super().__init__(f"in memory {mac}", mac, mtu, entries, batch)
        if capacity < 0:
            raise PortError(f"port {self.interface}: capacity {capacity}; give a number of bytes")
        self._frames = None if frames is None else [self._dated(each) for each in frames]
        self._capacity, self._ended = capacity, False
        self.options |= {"frames": self._frames, "capacity": capacity}

    def __repr__(self) -> str:
        return f"MemoryPort({self.interface.split()[-1]!r})"

    def _dated(self, each: bytes | tuple[bytes, int]) -> tuple[bytes, int | None]:
        frame, timestamp = each if isinstance(each, tuple) else (each, None)
        if timestamp is not None and not 0 <= timestamp < LATEST:
            raise PortError(f"port {self.interface}: time {timestamp}; give nanoseconds since 1970, before 2106")
        return frame, timestamp

    def open(self, index: int) -> None:
        """Make the buffers, for the port of index `index`."""
        self._open(index, Sink(capacity=self._capacity))
        self._ended = False

    def records(self) -> Records | None:
        """The frames that the port was made with; None if there are none."""
        if not self._frames:
            return None
        now = time.time_ns()
        return pack_records((now if timestamp is None else timestamp, frame) for frame, timestamp in self._frames)

    def send(
        self, frame: bytes, timestamp: int | None = None, offload: bytes = bytes(10), timeout: float = 1.0
    ) -> bool:
        """Let the router receive a frame.

        Parameters
        ----------
        frame : bytes
        timestamp : int, optional
            When it was received, nanoseconds since 1970; by default now.
        offload : bytes
            Its struct virtio_net_hdr, 10 bytes, little-endian: what the sending kernel left to a device.
        timeout : float
            Seconds to wait for room in the channel.

        Returns
        -------
        bool
            False if the frame is too long, or there was no room in time; it is counted as too-long or ring-full.

        Raises
        ------
        PortError
            If the port is not open, was given `frames`, or no path begins at it; or after `end`.
        """
        if self._frames is not None or self._ended:
            raise PortError(f"port {self.interface}: its input has an end; make it without frames, send before end()")
        if len(offload) != 10:
            raise PortError(f"port {self.interface}: offload of {len(offload)} bytes; struct virtio_net_hdr has 10")
        now = time.time_ns() if timestamp is None else timestamp
        return self._fed.send(self._index, frame, now, offload, timeout)

    def end(self) -> None:
        """Say that no more frames will be sent, so that the run can end."""
        self._ended = True

    def sent(self) -> list[bytes]:
        """The frames that the router has sent by this port since it was opened, in the order in which they left.

        In a path with channel order that is the order in which its packets came.
        """
        return self._opened.frames()

    @property
    def is_live(self) -> bool:
        """True if packets come by `send`, and `end` was not called."""
        return self._frames is None and not self._ended

    def at_end(self) -> bool:
        """True if no more packets will be sent to the channel."""
        return self._ended if self._frames is None else super().at_end()


if TYPE_CHECKING:
    _conforms: type[Port] = MemoryPort
