"""Ports for applications: local requests of other processes enter, and messages to their sockets leave.

Applications open sockets by `scout.sockets` (docs/endpoints.md). The port needs no root and no interface.

Drops
    ring-full: a request of the stack's own finds no room in the channel.
    socket-full: a message finds no room in the ring of its socket; the application is too slow.
    socket-closed: a message to a socket that was closed meanwhile.
    requests-full: a segment finds no room among the requests of its replica; it is as if the network had lost it.
Example
    ApplicationPort("apps")
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scout.io.channels.applications import ApplicationFeed
from scout.io.endpoints.ciphers import crypt, library, new_contexts
from scout.io.endpoints.deliver import TOUCHED, TRANSMIT, enqueue, expire, flush, prepare
from scout.io.endpoints.memory import EndpointMemory
from scout.io.endpoints.message import HEADER, LONGEST_DATA, ROW
from scout.io.ports.collected import BATCH, ENTRIES, CollectedPort
from scout.io.ports.contract import Port, PortError, PortOperations
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import address, shared

__all__ = ["ApplicationPort"]

_MOST_APPLICATIONS = 64


class ApplicationPort(CollectedPort):
    """A port whose other side are sockets of applications in other processes.

    Parameters
    ----------
    name : str
        The name by which applications find it (`scout.sockets.attach`).
    sockets : int
        Sockets that can be open at a time, in all applications together. Each takes a file descriptor.
    applications : int
        Applications that can be attached at a time.
    receive_bytes : int
        Bytes of messages that wait in a socket at most, for each replica; a power of two. Memory that is not used costs
        nothing.
    send_bytes : int
        Bytes of requests that wait in an application at most; a power of two.
    stream_bytes : int
        Bytes that a connected socket of a transport with streams (`Tcp`) keeps for its reader at most, and from its
        writer; a power of two. Memory that is not used costs nothing.
    entries : int
        Requests that the channel holds, a power of two. A replica saves its state after every quarter of them.
    batch : int
        Requests that are dequeued together at most, a power of two; all have one primary.

    Attributes
    ----------
    memory : EndpointMemory
        Valid while the port is open.
    feed : ApplicationFeed or None
        Its channel.
    transmits : numpy.ndarray
        A `TRANSMIT` for each possible replica, shared with the compiled loops.

    Raises
    ------
    PortError
        If a number is out of its range.
    """

    operations = PortOperations(TRANSMIT, enqueue, flush, expire, prepare)
    frame_bytes = HEADER + LONGEST_DATA
    mac, mtu = 0x02_00_00_00_00_00, LONGEST_DATA

    def __init__(
        self,
        name: str,
        sockets: int = 256,
        applications: int = 16,
        receive_bytes: int = 1 << 18,
        send_bytes: int = 1 << 20,
        stream_bytes: int = 1 << 20,
        entries: int = ENTRIES,
        batch: int = BATCH,
    ) -> None:
        super().__init__(name, entries, batch)
        if not 1 <= sockets <= ROW:
            raise PortError(f"port {name}: {sockets} sockets; give 1 to {ROW}")
        if not 1 <= applications <= _MOST_APPLICATIONS:
            raise PortError(f"port {name}: {applications} applications; give 1 to {_MOST_APPLICATIONS}")
        for what, value in (("receive_bytes", receive_bytes), ("send_bytes", send_bytes)):
            if not 1 << 17 <= value <= 1 << 26 or value & (value - 1):
                raise PortError(f"port {name}: {what}={value}; give a power of two, {1 << 17} to {1 << 26}")
        if not 1 << 12 <= stream_bytes <= 1 << 26 or stream_bytes & (stream_bytes - 1):
            raise PortError(f"port {name}: stream_bytes={stream_bytes}; give a power of two, {1 << 12} to {1 << 26}")
        self.name = name
        self.sockets, self.applications, self.stream_bytes = sockets, applications, stream_bytes
        self._bytes = receive_bytes, send_bytes, stream_bytes
        self.options |= {"sockets": sockets, "applications": applications}
        self.options |= {"receive_bytes": receive_bytes, "send_bytes": send_bytes, "stream_bytes": stream_bytes}
        self.feed: ApplicationFeed | None = None
        self._index = -1
        self._memory: EndpointMemory | None = None

    def __repr__(self) -> str:
        return f"ApplicationPort({self.name!r})"

    @property
    def memory(self) -> EndpointMemory:
        """The memory that is shared with applications."""
        if self._memory is None:
            raise PortError(f"port {self.name} is not open; use it inside `with Supervisor(...)`")
        return self._memory

    def open(self, index: int) -> None:
        """Make the memory, for the port of index `index`.

        Raises
        ------
        PortError
            If this process may not open that many files.
        """
        self._index, self.feed = index, None
        self._memory = memory = EndpointMemory(self.name, self.sockets, 1 + self.applications, *self._bytes)
        self.tails = shared((MOST_REPLICAS, self.sockets), np.int64)
        self._touched, self._one = shared((MOST_REPLICAS, TOUCHED), np.int64), shared(1, np.int64)
        self._expiry = shared((MOST_REPLICAS, HEADER), np.uint8)
        self._one[:] = 1
        self.transmits = shared(MOST_REPLICAS, TRANSMIT)
        for field in (
            "areas",
            "sockets",
            "socket_bytes",
            "ring_bytes",
            "numbers",
            "bells",
            "stream_offset",
            "stream_bytes",
        ):
            self.transmits[field] = memory.record[field]
        for field, rows in (("here", self.transmits), ("requests", memory.replica_areas), ("expiry", self._expiry)):
            self.transmits[field] = address(rows) + np.arange(MOST_REPLICAS) * rows.strides[0]
        memory.writing = self.transmits["writing"]
        self.transmits["ended"] = address(memory.ended)
        if library():
            self._contexts = new_contexts()
            self.transmits["contexts"], self.transmits["crypt"] = address(self._contexts), crypt.address
        self.transmits["one"], self.transmits["replica"] = address(self._one), range(MOST_REPLICAS)
        for field, rows in (("tails", self.tails), ("touched", self._touched)):
            self.transmits[field] = address(rows) + np.arange(MOST_REPLICAS) * rows.strides[0]

    def channel(self, ports: Mapping[int, Any], replicas: int, keeps: bool) -> ApplicationFeed:
        """Make the channel by which requests come.

        Raises
        ------
        PortError
            If another port is to share it.
        """
        if len(ports) != 1:
            raise PortError(f"port {self.name}: it shares no channel with other ports")
        self.feed = ApplicationFeed(ports, replicas, keeps)
        self.transmits["feed"] = address(self.feed.ring)
        return self.feed

    def request(self, header: bytes, timestamp: int) -> int:
        """Send a local request of the stack's own; the position behind it, 0 if there was no room for a second.

        Raises
        ------
        PortError
            If the port is closed.
        """
        if self.feed is None:
            raise PortError(f"port {self.name}: it is closed; use it inside `with Supervisor(...)`")
        sent = self.feed.send(self._index, header, timestamp, bytes(10), 1.0)
        return self.feed.sent if sent else 0

    def enlist(self, replica: int) -> None:
        """Have the requests of one more replica collected; its sending side is there."""
        self.memory.enlist(replica)

    def descriptors(self) -> list[int]:
        """The memory file, and the eventfds."""
        return self.memory.descriptors

    def resume(self, replica: int) -> None:
        """Prepare the sending side for the successor of a dead replica, and wake the applications that it had to wake.

        It may have died between its note that an application is awake (ARMED) and the wake-up.
        """
        touched = self._touched[replica, : int(self.transmits["count"][replica])]
        self.memory.wake(touched)
        self.transmits["count"][replica] = 0
        self.leave(replica)

    def leave(self, replica: int) -> None:
        """Finish what a dead replica has begun: it writes to no socket, and its requests are collected.

        Requests that it has not published are made again, as the packets that they came from are done again.
        """
        own = self.transmits[replica]
        if row := int(own["writing"]):
            self.memory.stop_placing(row - 1, replica)
        own["writing"] = own["requested"] = own["joint"] = own["prior"] = 0
        own["request_tail"] = self.memory.published(replica)
        self.memory.ring_for(replica)

    def transmitted(self) -> dict[str, int]:
        """Messages that reached their sockets, those of them that the router made itself, and others, by reason."""
        names = {
            "sent": "sent",
            "made": "made",
            "full": "socket-full",
            "closed": "socket-closed",
            "crowded": "requests-full",
        }
        return {name: int(self.transmits[field].sum()) for field, name in names.items()}

    def fault(self) -> str:
        """Nothing: there is no interface that could go down."""
        return ""

    def refresh(self) -> None:
        """Do nothing: name and MTU are constant."""

    def warnings(self) -> list[str]:
        """None: nobody else sees the requests."""
        return []

    def close(self) -> None:
        """Close the port: its sockets get no more messages."""
        if self._memory:
            self._memory.close()
        self._memory = self.feed = None


if TYPE_CHECKING:
    _conforms: type[Port] = ApplicationPort
