"""The stages of the primary of a received packet: per-byte work, and then a request (docs/tcp.md).

`receive` verifies a segment and says where its data belong in the peer's stream, by the replica's own copy of the
state, which it only reads. `notice` reads an ICMP error about a segment.
"""

from typing import Any

from scout.io.access import add16, load8, load16, load32, require, store32, store64
from scout.io.endpoints import message
from scout.io.endpoints.message import NOTICE, SEGMENT
from scout.io.packet import NEEDS_CHECKSUM
from scout.io.packet_sum import packet_sum16
from scout.paths.model.verdict import drop
from scout.paths.protocols.family import family_of
from scout.paths.protocols.sockets import bound_socket, error_number, write_message
from scout.paths.protocols.tcp.arrival import is_current
from scout.paths.protocols.tcp.header import read_timestamp
from scout.paths.protocols.tcp.joining import serial_number
from scout.paths.protocols.tcp.passing import NOWHERE
from scout.paths.protocols.tcp.rows import CONNECTED, SPLICED
from scout.paths.protocols.tcp.sequence import position
from scout.paths.protocols.tcp.serving_segments import POSITION, UNKNOWN
from scout.paths.protocols.tcp.splice import NO_NEWS, news
from scout.paths.protocols.tcp.state import FIN_WAIT_2, SYN_RECEIVED
from scout.paths.wire import icmp, ipv4, tcp
from scout.paths.wire.address import IPV4
from scout.paths.wire.icmp import quoted
from scout.paths.wire.ip import destination_of, header_of, payload_of, pseudo_sum, source_of
from scout.paths.wire.ipv4 import header_length
from scout.paths.wire.tcp import ACK, SYN, tcp_header_length
from scout.ring.jit import outline

__all__ = ["notice", "receive"]

BAD_HEADER, BAD_CHECKSUM, GROUP = drop("tcp-bad-header"), drop("tcp-bad-checksum"), drop("tcp-group")
NO_CONNECTION = drop("tcp-no-connection")

PASSES = 1
"""Outcome: a segment that is passed on."""

AHEAD = 1 << 24
"""Bytes by which an acknowledgement may be further on than this replica's copy of the state."""


def receive(
    frame: Any,
    end: Any,
    packet: Any,
    rows: Any,
    bindings: Any,
    connections: Any,
    fins: Any,
    runs: Any,
    mtus: Any,
    first: int,
) -> int:
    """Verify a segment, and make a message of it that becomes a request; one of a spliced connection passes (1)."""
    at = message.HEADER  # of the packet, behind the room for the message's header
    family = family_of(bindings)
    header = header_of(frame, at, family)
    size, tcp_at = payload_of(frame, at, header, family), at + header
    if size < tcp.HEADER or not require(frame, end, tcp_at + tcp.HEADER):
        return BAD_HEADER
    data = tcp_header_length(frame, tcp_at)
    if data < tcp.HEADER or data > size or not require(frame, end, tcp_at + data):
        return BAD_HEADER
    if packet.link_broadcast:
        return GROUP  # RFC 9293 section 3.9.2.3, MUST-57
    remote, local = source_of(frame, at, family), destination_of(frame, at, family)
    remote_port, local_port = load16(frame, tcp_at + tcp.SOURCE), load16(frame, tcp_at + tcp.DESTINATION)
    number, place, serial = bound_socket(bindings, local, local_port, remote, remote_port), NOWHERE, 0
    is_spliced = number >= 0 and rows[number & message.ROW].role == SPLICED
    if is_spliced:
        row = number & message.ROW
        socket, other = rows[row], rows[rows[row].partner - 1 & message.ROW]
        place = news(frame, tcp_at, size == data, socket, other, row, fins, packet.timestamp)
        if place == NO_NEWS:
            store32(frame, message.SOCKET, number)
            return PASSES
    if packet.flags & NEEDS_CHECKSUM == 0:  # else the sender left it to a device that the packet has not passed
        total = add16(pseudo_sum(frame, at, ipv4.TCP, size, family), packet_sum16(frame, packet, tcp_at, size))
        if total != 0xFFFF:
            return BAD_CHECKSUM
    if number >= 0 and rows[number & message.ROW].role == CONNECTED:
        c = connections[number & message.ROW]
        if size > data:
            place = place_of(frame, tcp_at, data, size - data, c, packet.timestamp)
            if place != NOWHERE:
                serial = serial_number(frame, at, data, size - data, number, place, c.snd_nxt, runs[0], family)
        else:
            begin = load32(frame, tcp_at + tcp.SEQUENCE)
            serial = serial_number(frame, at, data, 0, number, begin, c.snd_nxt, runs[0], family)
    elif not is_spliced:
        number = UNKNOWN
        place = mtus[first + packet.port]
    extent = (tcp_at + data) << 16 | size - data
    write_message(frame, SEGMENT, ipv4.TCP, 0, number, local, remote, local_port << 16 | remote_port, extent)
    store64(frame, POSITION, place)
    store64(frame, message.SERIAL, serial)
    return 0


@outline
def place_of(frame: Any, at: int, header: int, size: int, c: Any, now: int) -> int:
    """The position in the peer's stream of the data of a segment, `NOWHERE` if they may not be placed.

    Not all of them were received before, and the segment's acknowledgement and timestamp are some that the connection
    can take: one that it refuses, which is forged or an old duplicate, must not write over data that came before.
    Whether there is room in the ring the application says, and not the window here: this replica's copy of the state
    may be older than the window that the peer knows, and the data would be lost. An application that has gone reads
    nothing.
    """
    if c.state < SYN_RECEIVED or c.state > FIN_WAIT_2 or c.reader_gone:
        return NOWHERE
    begin = position(load32(frame, at + tcp.SEQUENCE), c.rcv_nxt)
    if begin <= c.irs or begin + size <= c.rcv_nxt:
        return NOWHERE
    ack = position(load32(frame, at + tcp.ACKNOWLEDGEMENT), c.snd_una)
    if load8(frame, at + tcp.FLAGS) & (ACK | SYN) != ACK or not c.snd_una - c.max_wnd <= ack <= c.snd_nxt + AHEAD:
        return NOWHERE
    if c.timestamps and not is_current(c, read_timestamp(frame, at, at + header), now):
        return NOWHERE
    return begin - c.irs - 1


def notice(frame: Any, end: Any) -> int:
    """Make a request of an ICMP error about a segment over IPv4."""
    kind_at = message.HEADER + header_length(frame, message.HEADER)
    quote, tcp_at = quoted(frame, end, kind_at, tcp.SEQUENCE + 4)
    if tcp_at < 0:
        return NO_CONNECTION
    local, remote = source_of(frame, quote, IPV4), destination_of(frame, quote, IPV4)
    ports, sequence = load32(frame, tcp_at + tcp.SOURCE), load32(frame, tcp_at + tcp.SEQUENCE)
    mtu = load32(frame, kind_at + icmp.REST) & 0xFFFF
    note = error_number(load8(frame, kind_at + icmp.TYPE), load8(frame, kind_at + icmp.CODE))
    write_message(frame, NOTICE, ipv4.TCP, note, UNKNOWN, local, remote, ports, (message.HEADER + 8) << 16)
    store32(frame, message.HEADER, sequence)
    store32(frame, message.HEADER + 4, mtu)
    return 0
