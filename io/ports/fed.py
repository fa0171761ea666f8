"""What ports on a software channel and a `Sink` have in common: ports in memory and on pcap files."""

from collections.abc import Mapping

from scout.io.batch import BATCH_SIZE, LONGEST
from scout.io.channels.software import Feed, Records
from scout.io.ports.contract import PortError, PortOperations, mac_number
from scout.io.transmit.sink import TRANSMIT, Sink, enqueue, flush

__all__ = ["BATCH", "ENTRIES", "FedPort"]

ENTRIES = 2048
"""Requests that a channel holds by default. A quarter of them come between two snapshots of a replica's state: large
tables want more."""

BATCH = 32
"""Requests that are dequeued together by default: few enough that replicas share out dear work evenly."""

FRAME_MARGIN = 18  # bytes of a frame beyond the MTU: the Ethernet header and one VLAN tag


class FedPort:
    """What ports on a `Feed` and a `Sink` have in common; subclasses open and feed them.

    Parameters
    ----------
    name : str
        What messages call the port.
    mac : str
        Its MAC address, as 02:00:00:00:00:01.
    mtu : int
        Bytes of the longest IP packet; frames that are longer by more than a VLAN tag are left out.
    entries : int
        Packets that its channel holds; a power of two. Of ports that share one the greatest number counts.
    batch : int
        Packets that are dequeued together at most; a power of two. Of ports that share a channel the smallest counts.

    Attributes
    ----------
    interface : str
        The name.
    transmits : numpy.ndarray
        For the compiled loops, shared by all replicas: a `TRANSMIT` each.
    """

    operations = PortOperations(TRANSMIT, enqueue, flush)

    def __init__(self, name: str, mac: str, mtu: int, entries: int, batch: int) -> None:
        if not 68 <= mtu <= LONGEST - FRAME_MARGIN:
            raise PortError(f"port {name}: mtu {mtu}; give 68 to {LONGEST - FRAME_MARGIN}")
        if not 16 <= entries <= 1 << 24 or entries & (entries - 1):
            raise PortError(f"port {name}: {entries} entries; give a power of two, 16 to {1 << 24}")
        if not 1 <= batch <= BATCH_SIZE or batch & (batch - 1):
            raise PortError(f"port {name}: batches of {batch}; give a power of two, 1 to {BATCH_SIZE}")
        self.interface, self.mac, self.mtu = name, mac_number(mac), mtu
        self.entries, self.batch, self.frame_bytes = entries, batch, mtu + FRAME_MARGIN
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
        """Make ready for one more replica."""
        self._opened.enlist(replica)

    def resume(self, replica: int) -> None:
        """Make ready for the successor of a dead replica: what that one had not sent is gone."""
        self._opened.resume(replica)

    def transmitted(self) -> dict[str, int]:
        """Frames that left from all replicas, those of them made here, those for which there was no room."""
        return self._opened.transmitted()

    def is_up(self) -> bool:
        """True: there is no interface that could go away."""
        return True

    # Receiving.

    def channel(self, ports: Mapping[int, "FedPort"], replicas: int, keeps: bool) -> Feed:
        """Make the one channel of these ports, by index; this port is one of them.

        Parameters
        ----------
        ports : mapping of int to FedPort
            All open, and of one class.
        replicas : int
        keeps : bool
            True if requests are kept back to each replica's newest snapshot.
        """
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
        """What the port receives from the start on, if it is known."""
        return None

    def at_end(self) -> bool:
        """True if nothing more will be sent to the channel."""
        return self._fed.played(self._index)

    @property
    def is_live(self) -> bool:
        """True if its packets come now, with the times at which they come."""
        return False

    def close(self) -> None:
        """Close the port; what was sent can still be read."""
        self._feed = None  # a graph that is kept does not keep the memory of channels of past runs
