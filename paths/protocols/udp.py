"""UDP: sockets of applications as the ends of paths (RFC 768, RFC 1122 section 4.1).

Usage: Udp(name)
Requires: transport (`Ip`), icmp-transport (`Icmp`).
Provides: socket (`Applications`).

Its address family is that of the router below (`scout.paths.protocols.family`).

A datagram goes to the socket that is bound to its destination, or is answered with port unreachable. The socket table
is replicated state: every replica changes it at the same local request. All else is done by the primary alone:
checksums, headers, and the copy of the data. ICMP errors about datagrams of a socket are told to it.

A datagram that is longer than the MTU leaves as one packet of up to 64 KiB which the kernel cuts into fragments
(UDP fragmentation offload); one with a segment size is cut into datagrams likewise. Checksums are left to the device,
or completed when a short packet leaves.

Drops
    udp-bad-length: a datagram whose length is wrong.
    udp-bad-checksum: a datagram whose checksum is wrong (RFC 1122 section 4.1.3.4), or over IPv6 missing (RFC 8200
        section 8.1).
    udp-group: a datagram that came to a group address of the link; no error may answer it.
    udp-no-socket: an ICMP error about a datagram of a socket that is closed.
    udp-not-bound: a local request of a socket that has no address.
    bad-request: a local request that UDP does not know.
Example
    Udp("udp")
"""

import errno
from typing import Any

import numpy as np

from scout.io.access import add16, length, load8, load16, require, store16, store32
from scout.io.endpoints import message
from scout.io.endpoints.message import BIND, CLOSE, DATA, ERROR, FAILED, SEND
from scout.io.packet import GSO_UDP, GSO_UDP_L4, NEEDS_CHECKSUM
from scout.io.packet_sum import packet_sum16
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError, Router
from scout.paths.model.stage import Exit, Outcome, Stage, To, Via
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.protocols.family import family_of, hop_of, source_at
from scout.paths.protocols.next_hop import BROADCAST, CONNECTED, MULTICAST
from scout.paths.protocols.sockets import (
    COUNTS,
    SOCKET,
    bind,
    bound_socket,
    error_number,
    new_bindings,
    remote_of,
    socket_of,
    write_message,
)
from scout.paths.wire import icmp, ip, ipv4, udp
from scout.paths.wire.address import IPV4, IPV6, address_in, is_any
from scout.paths.wire.icmp import PORT_UNREACHABLE, quoted
from scout.paths.wire.ip import destination_of, header_of, least_header, payload_of, pseudo_sum, source_of, write_header
from scout.paths.wire.ipv4 import header_length

__all__ = ["Udp", "change", "notice", "receive", "request", "send"]

BAD_LENGTH, BAD_CHECKSUM, GROUP = drop("udp-bad-length"), drop("udp-bad-checksum"), drop("udp-group")
NO_SOCKET, NOT_BOUND, BAD_REQUEST = drop("udp-no-socket"), drop("udp-not-bound"), drop("bad-request")

TTL = 64
ACCEPTED, UNREACHABLE = 0, 1
"""Outcomes of `receive`."""


def receive(frame: Any, end: Any, packet: Any, bindings: Any) -> int:
    """Find the socket that a datagram is for, and make a message of it (`ACCEPTED`); `UNREACHABLE` if there is none."""
    at = message.HEADER  # of the packet, behind the room for the message's header
    family = family_of(bindings)
    header = header_of(frame, at, family)
    size = payload_of(frame, at, header, family)
    udp_at = at + header
    if size < udp.HEADER or not require(frame, end, udp_at + udp.HEADER):
        return BAD_LENGTH
    told = load16(frame, udp_at + udp.LENGTH)
    if told < udp.HEADER or told > size:
        return BAD_LENGTH
    if packet.link_broadcast:
        return GROUP
    # The sender may have left it to a device that the packet has not passed. Over IPv4 there may be none.
    if packet.flags & NEEDS_CHECKSUM == 0 and (family == IPV6 or load16(frame, udp_at + udp.CHECKSUM) != 0):
        total = add16(pseudo_sum(frame, at, ipv4.UDP, told, family), packet_sum16(frame, packet, udp_at, told))
        if total != 0xFFFF or load16(frame, udp_at + udp.CHECKSUM) == 0:
            return BAD_CHECKSUM
    remote, local = source_of(frame, at, family), destination_of(frame, at, family)
    remote_port, local_port = load16(frame, udp_at + udp.SOURCE), load16(frame, udp_at + udp.DESTINATION)
    number = bound_socket(bindings, local, local_port, remote, remote_port)
    if number < 0:
        packet.error = PORT_UNREACHABLE
        return UNREACHABLE
    segment = packet.gso_size if packet.gso_type == GSO_UDP_L4 else 0
    ports, extent = local_port << 16 | remote_port, (udp_at + udp.HEADER) << 16 | told - udp.HEADER
    write_message(frame, DATA, ipv4.UDP, segment, number, local, remote, ports, extent)
    return ACCEPTED


def notice(frame: Any, end: Any, packet: Any, bindings: Any) -> int:
    """Tell the socket that an ICMP error is about, over IPv4."""
    kind_at = message.HEADER + header_length(frame, message.HEADER)
    quote, udp_at = quoted(frame, end, kind_at, udp.DESTINATION + 2)
    if udp_at < 0:
        return NO_SOCKET
    local, remote = source_of(frame, quote, IPV4), destination_of(frame, quote, IPV4)
    local_port, remote_port = load16(frame, udp_at + udp.SOURCE), load16(frame, udp_at + udp.DESTINATION)
    number = bound_socket(bindings, local, local_port, remote, remote_port)
    if number < 0:
        return NO_SOCKET
    note = error_number(load8(frame, kind_at + icmp.TYPE), load8(frame, kind_at + icmp.CODE))
    write_message(frame, ERROR, ipv4.UDP, note, number, local, remote, local_port << 16 | remote_port, 0)
    return 0


def request(frame: Any, end: Any) -> int:
    """Tell local requests: send (0), or a change of the socket table (1)."""
    kind = load8(frame, message.KIND)
    if kind == SEND:
        return 0
    return 1 if kind in (BIND, CLOSE) else BAD_REQUEST


def change(frame: Any, end: Any, sockets: Any, bindings: Any, counts: Any) -> int:
    """Change the socket table."""
    return 0 if bind(frame, sockets, bindings, counts, load8(frame, message.KIND) == BIND) >= 0 else BAD_REQUEST


SENT, NOT_SENT = 0, 1
"""Outcomes of `send`."""
FRAGMENT_HEADER = 8
"""Bytes that IPv6 puts into each fragment (RFC 8200 section 4.5)."""


def send(
    frame: Any,
    end: Any,
    packet: Any,
    sockets: Any,
    entries: Any,
    vectors: Any,
    leaves: Any,
    root: int,
    next_hops: Any,
    mtus: Any,
    first: int,
) -> int:
    """Make a datagram of a request (`SENT`), or a message about the reason why it cannot be sent (`NOT_SENT`)."""
    row = socket_of(frame, sockets)
    if row < 0:
        return NOT_BOUND
    socket = sockets[row]
    size = length(frame, end, packet) - message.HEADER + udp.HEADER
    family = family_of(next_hops)
    remote, remote_port = remote_of(frame, family), load16(frame, message.REMOTE_PORT)
    if remote_port == 0:
        remote, remote_port = address_in(socket.remote), socket.remote_port
    hop = hop_of(entries, vectors, leaves, root, remote)
    segment, identification = load16(frame, message.NOTE), load16(frame, message.NUMBER + 2)
    header = least_header(family)
    failed = refusal(next_hops[hop].kind if hop >= 0 else -1, remote_port, header + size)
    if failed:
        ports = socket.local_port << 16 | remote_port
        write_message(frame, FAILED, ipv4.UDP, failed, socket.number - 1, address_in(socket.local), remote, ports, 0)
        return NOT_SENT
    local = address_in(socket.local)
    if is_any(local):
        local = source_at(next_hops[hop])
    mtu = mtus[first + next_hops[hop].port]
    udp_at = message.HEADER - udp.HEADER
    at = udp_at - header
    write_header(frame, at, ipv4.UDP, size, local, remote, 0, TTL, identification << 16, family)
    store32(frame, udp_at + udp.SOURCE, socket.local_port << 16 | remote_port)
    store16(frame, udp_at + udp.LENGTH, size)
    store16(frame, udp_at + udp.CHECKSUM, pseudo_sum(frame, at, ipv4.UDP, size, family))
    packet.flags = NEEDS_CHECKSUM
    packet.checksum_start = udp_at
    packet.checksum_offset = udp.CHECKSUM
    if segment != 0 and size > udp.HEADER + segment:
        cut(packet, GSO_UDP_L4, segment)
    elif header + size > mtu:
        cut(packet, GSO_UDP, mtu - header - (FRAGMENT_HEADER if family == IPV6 else 0) & ~7)
    return SENT


def cut(packet: Any, kind: int, size: int) -> None:
    """Have the device cut the packet."""
    packet.gso_type = kind
    packet.gso_size = size
    packet.header_bytes = packet.checksum_start + udp.HEADER


def refusal(kind: int, remote_port: int, size: int) -> int:
    """The reason (errno) why a packet of `size` bytes cannot be sent to a next hop of this kind, or 0."""
    if remote_port == 0:
        return errno.EDESTADDRREQ
    if size > ip.LONGEST:
        return errno.EMSGSIZE
    if kind in (BROADCAST, MULTICAST):
        return errno.EACCES
    return errno.ENETUNREACH if kind < 0 or kind > CONNECTED else 0


class Udp(Router):
    """UDP for the sockets of applications.

    Parameters
    ----------
    name : str

    Attributes
    ----------
    ip : Ip
        The router that it stands on, once the graph is complete.
    sockets, bindings : Table
        The socket table: `SOCKET` rows, and a flow table that finds them; valid once the graph is complete.

    Examples
    --------
    >>> udp = Udp("udp")
    """

    protocol = ipv4.UDP
    requires = {"net": "transport", "icmp": "icmp-transport"}
    provides = {"sockets": "socket"}

    def configure(self, graph: RouterGraph) -> None:
        below, above = graph.reached(self.name, "net"), graph.reached(self.name, "sockets")
        if not above:
            raise GraphError(f"{self.name} has no sockets above; connect Applications(...) to it")
        self.ip: Any = graph.router(below[0][0])
        rows = graph.router(above[0][0]).port.sockets
        self.sockets, self.bindings = Table(np.zeros(rows, SOCKET)), Table(new_bindings(rows, self.family))
        self.counts = Table(np.zeros(1, COUNTS))

    @property
    def family(self) -> int:
        """The address family: that of the router below."""
        return int(self.ip.family)

    def arrive(self, service: str, below: bool) -> str:
        return {"net": "in", "icmp": "notice"}.get(service, "request")

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        to_socket = Outcome("to a socket", Via("sockets"))
        bindings = {"bindings": self.bindings}
        if key == "in":
            unreachable = Outcome("no socket", Via("icmp"), message.HEADER)
            return Stage(receive, (to_socket, unreachable), bindings, push=message.HEADER)
        if key == "notice":
            return Stage(notice, (to_socket,), bindings, push=message.HEADER)
        if key == "request":
            return Stage(request, (Outcome("send", To("send")), Outcome("change", To("change"))))
        if key == "change":
            return Stage(
                change, (Outcome("changed", Exit()),), {"sockets": self.sockets, "counts": self.counts} | bindings
            )
        at = message.HEADER - udp.HEADER - least_header(self.family)
        sent = Outcome("sent", Via("net"), at)
        return Stage(send, (sent, Outcome("not sent", Via("sockets"))), {"sockets": self.sockets} | self.ip.sending)
