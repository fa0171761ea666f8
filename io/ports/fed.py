"""The common part of ports in memory and on pcap files: they receive from a `Feed` and send to a `Sink`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scout.io.batch import BATCH_SIZE, LONGEST
from scout.io.channels.software import Feed
from scout.io.ports.contract import PortError, PortOperations, mac_of_port
from scout.io.ports.playback import play
from scout.io.ports.records import Records
from scout.io.transmit.sink import TRANSMIT, Sink, enqueue, flush

__all__ = ["BATCH", "ENTRIES", "FedPort", "check_sizes"]

ENTRIES = 2048
"""Requests that a channel holds by default. A replica saves its state after every quarter of them, so large tables need
more entries."""

BATCH = 32
"""Requests that are dequeued together by default: few enough for replicas to share expensive work evenly."""

FRAME_MARGIN = 18  # bytes of a frame beyond the MTU: the Ethernet header and one VLAN tag


def check_sizes(name: str, entries: int, batch: int) -> None:
    """Refuse sizes that the channel of the port called `name` cannot have.

    Raises
    ------
    PortError
        If one is out of its range; names the port.
    """
    if not 16 <= entries <= 1 << 24 or entries & (entries - 1):
        raise PortError(f"port {name}: {entries} entries; give a power of two, 16 to {1 << 24}")
    if not 1 <= batch <= BATCH_SIZE or batch & (batch - 1):
        raise PortError(f"port {name}: batches of {batch}; give a power of two, 1 to {BATCH_SIZE}")


class FedPort:
    """A port that receives from a `Feed` and sends to a `Sink`; subclasses open it and say what it receives.

    Parameters
    ----------
    name : str
        The name of the port in messages.
    mac : str
        Its MAC address, as 02:00:00:00:00:01.
    mtu : int
        Bytes of the longest IP packet. Frames that are longer by more than an Ethernet header with one VLAN tag are not
        received, and are counted as too-long.
    entries : int
        Packets that its channel holds, a power of two. Ports that share a channel have the greatest of their numbers.
    batch : int
        Packets that are dequeued together at most, a power of two; all have one primary. Ports that share a channel
        have the smallest of their numbers.

    Attributes
    ----------
    interface : str
        The name.
    transmits : numpy.ndarray
        A `TRANSMIT` for each possible replica, shared with the compiled loops.

    Raises
    ------
    PortError
        If a number is out of its range, or `mac` is not a MAC address.
    """

    operations = PortOperations(TRANSMIT, enqueue, flush)

    def __init__(self, name: str, mac: str, mtu: int, entries: int, batch: int) -> None:
        if not 68 <= mtu <= LONGEST - FRAME_MARGIN:
            raise PortError(f"port {name}: mtu {mtu}; give 68 to {LONGEST - FRAME_MARGIN}")
        check_sizes(name, entries, batch)
        self.interface, self.mac, self.mtu = name, mac_of_port(name, mac), mtu
        if self.mac >> 40 & 1:
            raise PortError(f"port {name}: {mac} is the address of a group; the first byte of a port's mac is even")
        self.entries, self.batch, self.frame_bytes = entries, batch, mtu + FRAME_MARGIN
        self.options: dict[str, Any] = {"mtu": mtu, "entries": entries, "batch": batch}
        self._index = -1
        self._feed: Feed | None = None
        self._sink: Sink | None = None

    # Sending.

    def _open(self, index: int, sink: Sink) -> None:
        self._index, self._feed, self._sink = index, None, sink
        self.transmits = sink.transmits

    @property
    def _opened(self) -> Sink:
        if self._sink is None:
            raise PortError(f"port {self.interface} is not open; use it inside `with Supervisor(...)`")
        return self._sink

    def enlist(self, replica: int) -> None:
        """Prepare the sending side of one more replica."""
        self._opened.enlist(replica)

    def descriptors(self) -> list[int]:
        """The file that replicas write to, if there is one."""
        return self._opened.descriptors

    def resume(self, replica: int) -> None:
        """Prepare the sending side for the successor of a dead replica: what that one had added is not sent."""
        self._opened.resume(replica)

    def transmitted(self) -> dict[str, int]:
        """Frames that left, those of them that the router made itself, and those for which there was no room."""
        return self._opened.transmitted()

    def fault(self) -> str:
        """Nothing: there is no interface that could go down."""
        return ""

    def refresh(self) -> None:
        """Do nothing: name and MTU are constant."""

    def warnings(self) -> list[str]:
        """None: nobody else sees the packets."""
        return []

    # Receiving.

    def channel(self, ports: Mapping[int, "FedPort"], replicas: int, keeps: bool) -> Feed:
        """Make the one channel by which packets come from all these ports."""
        feed = Feed(ports, replicas, keeps)
        for port in ports.values():
            port._feed = feed
        return feed

    @property
    def _fed(self) -> Feed:
        self._opened  # noqa: B018
        if self._feed is None:
            raise PortError(
                f"port {self.interface}: no path begins at it, or the run is over; make one with create_path"
            )
        return self._feed

    def records(self) -> Records | None:
        """The packets that the port receives from the start on; None if there are none."""
        return None

    def play(self, feed: np.ndarray, producer: int) -> None:
        """Send these packets to the channel, one `FEED`, as its producer of this number; for a process of its own."""
        records = self.records()
        assert records
        play(feed, producer, self._index, self.frame_bytes, records)

    def at_end(self) -> bool:
        """True if no more packets will be sent to the channel."""
        return self._fed.played(self._index)

    @property
    def is_live(self) -> bool:
        """True if packets come while the router runs, so that time also passes without them."""
        return False

    def close(self) -> None:
        """Close the port; frames that were sent can still be read."""
        # A graph that is kept does not keep the memory of past runs.
        self._feed = None
        if self._sink:
            self._sink.close()
