"""TCP: connections of applications as the ends of paths, replicated (RFC 9293, docs/tcp.md).

Usage: Tcp(name, ttl, congestion, **settings)
Requires: transport (`Ip`), icmp-transport (`Icmp`).
Provides: socket (`Applications`).

Its address family is that of the router below (`scout.paths.protocols.family`).

All that changes a connection is a request in the channel of the `ApplicationPort`: calls of applications, timers, and
the headers of segments. Every replica serves all of them and so has all connections. The primary of a received packet
does the work on its bytes before its header becomes a request; the primary of a request sends what it makes necessary.

A SYN takes one of the spare sockets of its listener. Without one it is dropped for some seconds, in which the
application may offer more, and then answered with a SYN cookie (RFC 4987). A segment for no connection is answered with
a reset.

Drops
    tcp-bad-header: a segment whose header is wrong.
    tcp-bad-checksum: a segment whose checksum is wrong; for the connection it is lost.
    tcp-group: a segment that came to a group address of the link.
    tcp-no-connection: an ICMP error about a segment that no connection has under way, or a segment for a listener that
        is neither a SYN nor the acknowledgement of a cookie.
    tcp-no-spare: a SYN, or the acknowledgement of a cookie, to a listener without a spare socket; the peer tries again.
    tcp-not-connected: a request of an application about a connection that has ended.
    tcp-nothing-to-send: a packet that was to be sent, and had been before.
    tcp-congested: a segment between spliced connections that a router has marked, whose receiver would not tell.
    ttl-expired: a segment between spliced connections whose TTL is at its end.
    no-route: a segment to an address that no route leads to; for the connection it is lost.
    tcp-bad-record: a record of a secured stream that cannot be opened; the connection is reset.
    bad-request: a local request that TCP does not know, or one that secures a stream and cannot be right.
Example
    Tcp("tcp")
"""

from typing import Any

import numpy as np

from scout.io.endpoints import message
from scout.io.endpoints.stream import SEND_RING, WORDS
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError, Router
from scout.paths.model.stage import Emission, Exit, Outcome, Stage, To, Via
from scout.paths.model.table import Table
from scout.paths.protocols.sockets import new_bindings
from scout.paths.protocols.tcp.deadlines import new_deadlines
from scout.paths.protocols.tcp.joining import RUN
from scout.paths.protocols.tcp.outbox import ENTRIES, ENTRY
from scout.paths.protocols.tcp.receive import notice, receive
from scout.paths.protocols.tcp.records import SECURED
from scout.paths.protocols.tcp.rows import HOST, ROW
from scout.paths.protocols.tcp.secret import new_secret
from scout.paths.protocols.tcp.serving import serve
from scout.paths.protocols.tcp.settings import (
    CONGESTION,
    CONTROLS,
    DEFAULT_SEGMENT,
    LARGEST_SEGMENT,
    LARGEST_SEND,
    RECEIVE_BUFFER,
    SEND_BUFFER,
    settings,
)
from scout.paths.protocols.tcp.splice import splice
from scout.paths.protocols.tcp.state import CONNECTION, FOREVER
from scout.paths.protocols.tcp.transmit import transmit
from scout.paths.wire import ip, ipv4, ipv6
from scout.paths.wire.address import IPV6

__all__ = ["Tcp"]

LONGEST_SEND = ip.LONGEST - ipv4.HEADER - 60
"""Bytes of data in one packet that a device cuts into segments: as many as fit behind the longest header of IPv4."""

LONGEST_SEGMENT = LONGEST_SEND

DEFAULT_SEGMENT_6 = 1220
"""Bytes of data that a peer takes which does not say, over IPv6 (RFC 9293 MUST-15)."""


class Tcp(Router):
    """TCP for the sockets of applications.

    Parameters
    ----------
    name : str
    ttl : int
        The TTL of all segments (RFC 9293 section 3.9.1, MUST-49).
    congestion : str
        The congestion control of connections that choose none: "cubic", "bbr" or "reno".
    **chosen : int
        The settings of new connections (`scout.paths.protocols.tcp.settings.DEFAULTS`), such as `NODELAY=1`. The sizes
        of the buffers are those of the port (`ApplicationPort(stream_bytes=...)`).

    Attributes
    ----------
    congestion : int
        The number of that congestion control.
    ip : Ip
        The router that it stands on, once the graph is complete.
    rows, connections, bindings : Table
        The sockets, their connections, and the flow table that finds them; valid once the graph is complete.

    Raises
    ------
    GraphError
        If the TTL is out of its range, or there is no such congestion control.
    ScoutError
        If there is no such setting.

    Examples
    --------
    >>> tcp = Tcp("tcp", NODELAY=1)
    """

    protocol = ipv4.TCP
    requires = {"net": "transport", "icmp": "icmp-transport"}
    provides = {"sockets": "socket"}

    def __init__(self, name: str, ttl: int = 64, congestion: str = "cubic", **chosen: int) -> None:
        super().__init__(name)
        if not 1 <= ttl <= 255:
            raise GraphError(f"{name}: ttl={ttl}; give 1 to 255")
        if congestion not in CONTROLS:
            raise GraphError(f"{name}: congestion={congestion!r}; give one of {', '.join(CONTROLS)}")
        self._ttl, self._chosen = ttl, chosen
        self._settings = settings(
            **{
                "LARGEST_SEND": LONGEST_SEND,
                "LARGEST_SEGMENT": LONGEST_SEGMENT,
                "CONGESTION": CONTROLS.index(congestion),
            }
            | chosen
        )
        self.congestion = int(self._settings[CONGESTION])

    def configure(self, graph: RouterGraph) -> None:
        below, above = graph.reached(self.name, "net"), graph.reached(self.name, "sockets")
        if not above:
            raise GraphError(f"{self.name} has no sockets above; connect Applications(...) to it")
        self.ip: Any = graph.router(below[0][0])
        self._port: Any = graph.router(above[0][0]).port
        rows = np.zeros(self._port.sockets, ROW)
        rows["due"] = rows["work_due"] = FOREVER
        host = np.zeros(1, HOST)
        host["settings"] = self._settings_of(self.family)
        host["settings"][0, [RECEIVE_BUFFER, SEND_BUFFER]] = self._port.stream_bytes
        host["most"], host["secret"] = host["settings"][0, LARGEST_SEGMENT], new_secret()
        self.hosts, self.rows = Table(host), Table(rows)
        self.bindings = Table(new_bindings(len(rows), self.family))
        self.connections = Table(np.zeros(len(rows), CONNECTION), counts="changes")
        self.secured = Table(np.zeros(len(rows), SECURED), counts="changes")
        self.deadline = Table(new_deadlines(len(rows)))
        self.fins = Table(np.zeros(len(rows), np.int64), "shared")
        self.runs = Table(np.zeros(1, RUN), "private")
        self.outbox = Table(np.zeros(ENTRIES, ENTRY), "private")
        self.waiting, self.sent = (Table(np.zeros(1, np.int64), "private") for _ in range(2))

    @property
    def family(self) -> int:
        """The address family: that of the router below."""
        return int(self.ip.family)

    def _settings_of(self, family: int) -> np.ndarray:
        """The settings of new connections of a family."""
        values = self._settings.copy()
        if family == IPV6:
            longest = LONGEST_SEND - (ipv6.HEADER - ipv4.HEADER)
            values[[LARGEST_SEND, LARGEST_SEGMENT]] = np.minimum(values[[LARGEST_SEND, LARGEST_SEGMENT]], longest)
            if "DEFAULT_SEGMENT" not in self._chosen:
                values[DEFAULT_SEGMENT] = DEFAULT_SEGMENT_6
        return values

    def _first_ring(self) -> int:
        """Address of the send ring of the first socket."""
        memory = self._port.memory
        return int(memory.record["areas"][0]) + memory.sizes.stream_offset + WORDS + SEND_RING * self._port.stream_bytes

    def arrive(self, service: str, below: bool) -> str:
        return {"net": "receive", "icmp": "notice"}.get(service, "serve")

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        to_socket = Outcome("to a socket", Via("sockets"))
        state = {"rows": self.rows, "bindings": self.bindings, "connections": self.connections}
        if key == "receive":
            outcomes = (Outcome("request", Via("sockets")), Outcome("spliced", To("splice"), common=True))
            sizes = {name: self.ip.sending[name] for name in ("mtus", "first")}
            return Stage(receive, outcomes, state | sizes | {"fins": self.fins, "runs": self.runs}, push=message.HEADER)
        if key == "splice":
            passed = Outcome("segment", Via("net"), pull=message.HEADER)
            return Stage(splice, (passed,), {"rows": self.rows, "fins": self.fins, "bindings": self.bindings})
        if key == "notice":
            return Stage(notice, (Outcome("request", Via("sockets")),), push=message.HEADER)
        box: dict[str, Any] = {"outbox": self.outbox, "waiting": self.waiting, "sent": self.sent}
        if key == "serve":
            bound = state | box | {"hosts": self.hosts, "deadlines": self.deadline, "secured": self.secured}
            outcomes = (Outcome("served", Exit()), Outcome("data lost", Exit()))
            return Stage(serve, outcomes, bound, emits=Emission("transmit", self.waiting))
        rings = {
            "rings": self._first_ring,
            "socket_bytes": lambda: self._port.memory.sizes.socket_bytes,
            "ring_bytes": self._port.stream_bytes,
            "ttl": self._ttl,
        }
        return Stage(transmit, (Outcome("segment", Via("net")), to_socket), box | rings | self.ip.sending)
