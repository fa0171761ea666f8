"""The contract of ports: what the supervisor and a domain's loop use of any port.

A port is Scout's object for a network interface, a pcap file or a list of frames. It makes the channel by which its
packets come (`scout.io.channels.contract`), and it sends: every replica has a `TRANSMIT` record of its own, to which
the compiled operations `enqueue` and `flush` add packets. The back ends are modules of this package.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from scout.io.channels.contract import PacketChannel
from scout.io.mac import mac_number
from scout.ring.errors import ScoutError

__all__ = ["Port", "PortError", "PortOperations", "mac_of_port"]


class PortOperations(NamedTuple):
    """The compiled operations of a port's sending side, and the record that they take. Both are numba dispatchers."""

    transmit: np.dtype
    """The record of one replica. The loop writes `number` (before `enqueue`: the batch's number in all channels, or -1
    if the packets are not those of one batch) and `made` (frames that the router made itself)."""
    enqueue: Any
    """`enqueue(transmit, packet, record)`: add a packet, whose record is at address `record`, to those that leave. Its
    memory may not change before `flush`. At most `scout.io.batch.BATCH_SIZE` packets between two calls of `flush`."""
    flush: Any
    """`flush(transmit)`: send what was added, and count each frame as sent or under the reason why it was not."""
    expire: Any = None
    """`expire(transmit, protocol)`: make a request `EXPIRE` (`scout.io.endpoints.message`) for a transport, in the
    channel by which the port's own requests come; None if it has none."""
    prepare: Any = None
    """`prepare(transmit, packet)`: do the part of `enqueue` that needs no order, so that replicas do it at the same
    time where packets leave in channel order; `enqueue` does it where nobody has. None if there is none."""


class Port(Protocol):
    """A port. It is open between `open` and `close`, and can be opened again."""

    operations: PortOperations
    """The same for all ports of a class."""
    interface: str
    """The name of the port in messages."""
    mac: int
    """The router's MAC address here, 48 bits; valid once open."""
    mtu: int
    """Bytes of the longest IP packet that can leave; valid once open."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The port's parameters that its `repr` does not show; a reload of the router file cannot change them."""

    transmits: np.ndarray
    """An `operations.transmit` record for each possible replica, shared; each is written by its replica."""

    def open(self, index: int) -> None:
        """Open the port as the one of this index in the graph.

        Raises
        ------
        PortError
            If it cannot be opened; names the port and the fix.
        """

    def channel(self, ports: Mapping[int, Any], replicas: int, keeps: bool) -> PacketChannel:
        """Make the one channel by which the packets of some open ports come.

        Parameters
        ----------
        ports : mapping of int to Port
            By index, all of this port's class; this port is one of them.
        replicas : int
            How many replicas take part from the start.
        keeps : bool
            True if the channel keeps requests back to each replica's newest snapshot.
        """

    def enlist(self, replica: int) -> None:
        """Prepare the sending side of one more replica."""

    def descriptors(self) -> list[int]:
        """The descriptors of files and sockets that replicas use by their numbers; they have no others of the process.

        The descriptor of the channel is not among them.
        """

    def resume(self, replica: int) -> None:
        """Prepare the sending side for the successor of a dead replica: what that one had added is not sent."""

    def transmitted(self) -> dict[str, int]:
        """`sent` (frames that left), `made` (those of them that the router made itself), and the frames that could not
        leave, by drop reason."""

    def fault(self) -> str:
        """The reason why the interface carries no packets: "is down or gone", "has no carrier" or "has no
        interface"; else empty."""

    def refresh(self) -> None:
        """Learn what may have changed outside since `open`: `interface` (its name) and `mtu`."""

    def warnings(self) -> list[str]:
        """A sentence for each thing outside of Scout that disturbs the open port, and how to switch it off."""

    def close(self) -> None:
        """Close the port. Its figures stay."""


class PortError(ScoutError):
    """A port that cannot be opened or used."""


def mac_of_port(port: str, text: str) -> int:
    """The 48-bit number of the MAC address that a port is given.

    Raises
    ------
    PortError
        If the text is none; names the port.
    """
    try:
        return mac_number(text)
    except ScoutError as error:
        raise PortError(f"port {port}: {error}") from error
