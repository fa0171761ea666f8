"""The stage `transmit`: the primary makes a packet of the next entry of `scout.paths.protocols.tcp.outbox`.

A segment gets its headers; its data stay in the send ring of the socket. One that is longer than a packet of the next
hop's port is cut by the device (TCP segmentation offload).
"""

from typing import Any

from scout.io.access import require, store16, store32, store64, trim
from scout.io.endpoints import message
from scout.io.endpoints.records import CIPHER, IV, MESSAGE_BYTES, NEED, REACHED
from scout.io.endpoints.stream_access import append
from scout.io.packet import NEEDS_CHECKSUM
from scout.paths.model.verdict import drop
from scout.paths.protocols.family import family_of, hop_of
from scout.paths.protocols.next_hop import CONNECTED
from scout.paths.protocols.sockets import write_message
from scout.paths.protocols.tcp.header import write_header
from scout.paths.protocols.tcp.outbox import OPENED, RECORDS, REPORT, SEGMENT
from scout.paths.wire import ipv4, tcp
from scout.paths.wire.address import ANY, address_in
from scout.paths.wire.ip import gso_tcp, least_header, pseudo_sum
from scout.paths.wire.ip import write_header as write_ip_header
from scout.ring.jit import outline

__all__ = ["transmit"]

NOTHING, NO_ROUTE = drop("tcp-nothing-to-send"), drop("no-route")

SENT, TOLD = 0, 1
"""Outcomes: a segment; a message to a socket."""

ECT_0 = 2  # the ECN bits of a packet of a transport that knows ECN (RFC 3168 section 5)


def transmit(
    frame: Any,
    end: Any,
    packet: Any,
    outbox: Any,
    waiting: Any,
    sent: Any,
    entries: Any,
    vectors: Any,
    leaves: Any,
    root: int,
    next_hops: Any,
    mtus: Any,
    first: int,
    ttl: int,
    rings: int,
    socket_bytes: int,
    ring_bytes: int,
    whole: Any,
    whole_index: int,
) -> int:
    """Make a packet of the next entry: a segment (`SENT`), or a message (`TOLD`)."""
    if waiting[0] <= 0 or not require(frame, end, message.HEADER + MESSAGE_BYTES):
        return NOTHING
    entry = outbox[sent[0]]
    waiting[0] -= 1
    sent[0] += 1
    if entry.kind != SEGMENT:
        write_told(frame, end, packet, entry)
        return TOLD
    family = family_of(next_hops)
    tcp_at, remote = least_header(family), address_in(entry.remote)
    hop = hop_of(entries, vectors, leaves, root, remote)
    if hop < 0 or next_hops[hop].kind > CONNECTED:
        return NO_ROUTE
    header, size = write_header(frame, tcp_at, entry.ports >> 16, entry.ports & 0xFFFF, entry), entry.length
    traffic, whole_size = entry.traffic | (ECT_0 if entry.capable else 0), header + size
    # Identification 0 and don't fragment: an atomic datagram (RFC 6864).
    fragment = ipv4.DONT_FRAGMENT
    write_ip_header(frame, 0, ipv4.TCP, whole_size, address_in(entry.local), remote, traffic, ttl, fragment, family)
    store16(frame, tcp_at + tcp.CHECKSUM, pseudo_sum(frame, 0, ipv4.TCP, whole_size, family))
    packet.flags = NEEDS_CHECKSUM
    packet.checksum_start = tcp_at
    packet.checksum_offset = tcp.CHECKSUM
    segment = min(entry.segment, mtus[first + next_hops[hop].port] - tcp_at - header)
    if size > segment:
        packet.gso_type = gso_tcp(family)
        packet.gso_size = segment
        packet.header_bytes = tcp_at + header
    ring = rings + (entry.number & message.ROW) * socket_bytes - (ring_bytes if entry.received else 0)
    append(frame, packet, tcp_at + header, ring, ring_bytes, entry.offset, size, whole, whole_index)
    return SENT


def write_told(frame: Any, end: Any, packet: Any, entry: Any) -> None:
    """Write a message to a socket: the words of its stream, or a connection of a listener."""
    if entry.kind == REPORT:
        size = 8 * len(entry.words)
        write_message(frame, message.REPORT, ipv4.TCP, 0, entry.number, ANY, ANY, 0, message.HEADER << 16 | size)
        for index in range(len(entry.words)):
            store64(frame, message.HEADER + 8 * index, entry.words[index])
    elif entry.kind == RECORDS:
        size = write_records(frame, entry)
    elif entry.kind == OPENED:
        size = 8
        write_message(frame, message.OPENED, ipv4.TCP, 0, entry.number, ANY, ANY, 0, message.HEADER << 16 | size)
        store64(frame, message.HEADER, entry.words[0])
    else:
        size = 4
        extent = message.HEADER << 16 | size
        local, remote = address_in(entry.local), address_in(entry.remote)
        write_message(frame, message.ACCEPTED, ipv4.TCP, 0, entry.number, local, remote, entry.ports, extent)
        store32(frame, message.HEADER, entry.words[0])
    trim(frame, end, packet, message.HEADER + size)


@outline
def write_records(frame: Any, entry: Any) -> int:
    """Write a message RECORDS; the bytes of its data."""
    at, extent = message.HEADER, message.HEADER << 16 | MESSAGE_BYTES
    write_message(frame, message.RECORDS, ipv4.TCP, 0, entry.number, ANY, ANY, 0, extent)
    for index in range(5):
        store64(frame, at + 8 * index, entry.words[index])
    store64(frame, at + NEED, 0)
    store64(frame, at + REACHED, 0)
    store64(frame, at + CIPHER, entry.words[5])
    for index in range(6):
        store64(frame, at + IV + 8 * index, entry.secret[index])
    return MESSAGE_BYTES
