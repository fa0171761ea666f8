"""The stage `splice`: the primary of a segment of a spliced connection rewrites its headers, and sends it on.

It only reads the state, which does not change as long as the connections are spliced
(`scout.paths.protocols.tcp.splicing`). The data are neither read nor copied, and the checksum is updated (RFC 1624): if
it was wrong it stays wrong, for the receiver to see.
"""

from typing import Any

from scout.io.access import add16, load8, load16, load32, lowering, store8, store16, store32, sum16
from scout.io.endpoints import message
from scout.io.packet import GSO_NONE, NEEDS_CHECKSUM
from scout.io.packet_sum import packet_sum16
from scout.paths.limit import exchange_word, load_word
from scout.paths.model.verdict import drop
from scout.paths.protocols.family import family_of
from scout.paths.protocols.tcp.header import END, NOP, SACK, TIMESTAMP
from scout.paths.protocols.tcp.passing import NOWHERE
from scout.paths.protocols.tcp.splicing import LARGEST_WINDOW
from scout.paths.wire import ipv4, tcp
from scout.paths.wire.address import address_in
from scout.paths.wire.checksum import adjust
from scout.paths.wire.ip import (
    gso_tcp,
    header_of,
    hop_limit_of,
    payload_of,
    pseudo_sum,
    put_hop_limit,
    put_traffic,
    rewrite_addresses,
    traffic_of,
)
from scout.paths.wire.tcp import ACK, CWR, ECE, FIN, RST, SYN, tcp_header_length
from scout.ring.jit import outline

__all__ = ["NO_NEWS", "news", "splice"]

EXPIRED, CONGESTED, BAD_CHECKSUM = drop("ttl-expired"), drop("tcp-congested"), drop("tcp-bad-checksum")

ECN_BITS = 3  # of the traffic class; both are set in a packet that a router has marked (RFC 3168 section 5)
TIMESTAMP_BYTES = 12  # with the padding that comes with it

SIGN_OF_LIFE = 1_000_000_000
"""Nanoseconds after which a segment without data becomes a request again."""

NO_NEWS = 1


def news(frame: Any, at: int, is_empty: bool, socket: Any, other: Any, row: int, fins: Any, now: int) -> int:
    """The position (`NOWHERE` and below) of a segment of a spliced connection that has to become a request; or NO_NEWS.

    Parameters
    ----------
    frame
    at : int
        Offset of the TCP header.
    is_empty : bool
        True if there are no data.
    socket, other
        The rows of the connection and of the one that it is spliced with.
    row : int
        The index of `socket`.
    fins
        The word of each row: the number of its socket, plus 1, if its peer's FIN has come with data.
    now : int
        When it was received.
    """
    flags, s = load8(frame, at + tcp.FLAGS), socket.splice
    if flags & SYN:
        return NOWHERE
    if not is_empty:
        return NO_NEWS
    its = 1 if s.ended & FIN == 0 and load_word(fins, row) == socket.number else 0
    theirs = other.splice.ended & FIN == 0 and load_word(fins, socket.partner - 1 & message.ROW) == other.number
    if theirs:
        its += 2
    is_due = s.probes > 0 or abs(now - s.seen) > SIGN_OF_LIFE
    return NOWHERE - its if flags & (FIN | RST) or its or s.ended & RST or is_due else NO_NEWS


def splice(
    frame: Any,
    end: Any,
    packet: Any,
    rows: Any,
    fins: Any,
    bindings: Any,
) -> int:
    """Rewrite a segment for the other connection's peer; the bindings tell the family."""
    at, row = message.HEADER, load32(frame, message.SOCKET) & message.ROW
    socket, other = rows[row], rows[rows[row].partner - 1 & message.ROW]
    s, t, family = socket.splice, other.splice, family_of(bindings)
    ttl, tos = hop_limit_of(frame, at, family), traffic_of(frame, at, family)
    if ttl <= 1:
        return EXPIRED
    if s.ecn == 0 and tos & ECN_BITS:
        if tos & ECN_BITS == ECN_BITS:
            return CONGESTED  # the other end would not tell the sender; a loss does (RFC 6040 section 4.2)
        put_traffic(frame, at, tos & ~ECN_BITS, family)
    header = header_of(frame, at, family)
    tcp_at = at + header
    size, data = payload_of(frame, at, header, family), tcp_header_length(frame, tcp_at)
    if load8(frame, tcp_at + tcp.FLAGS) & FIN:
        exchange_word(fins, row, load_word(fins, row), socket.number)
    longest = s.segment - (data - tcp.HEADER - (TIMESTAMP_BYTES if s.stamped else 0))
    cuts = size - data > longest and (packet.gso_type == GSO_NONE or packet.gso_size > longest)
    if cuts and packet.flags & NEEDS_CHECKSUM == 0:
        total = add16(pseudo_sum(frame, at, ipv4.TCP, size, family), packet_sum16(frame, packet, tcp_at, size))
        if total != 0xFFFF:
            return BAD_CHECKSUM  # the device is to write new ones
    before = sum16(frame, tcp_at, data)
    put_hop_limit(frame, at, ttl - 1, family)
    addresses = rewrite_addresses(frame, at, address_in(other.local), address_in(other.remote), family)
    rewrite_header(frame, tcp_at, data, other, s, t)
    checksum = load16(frame, tcp_at + tcp.CHECKSUM)
    if packet.flags & NEEDS_CHECKSUM:
        store16(frame, tcp_at + tcp.CHECKSUM, add16(checksum, addresses))  # the sum of the pseudo-header
    else:
        grown = add16(sum16(frame, tcp_at, data), before ^ 0xFFFF)
        store16(frame, tcp_at + tcp.CHECKSUM, adjust(checksum, add16(grown, addresses)))
    if cuts:
        cut(frame, packet, at, tcp_at, data, size, longest, family)
    return 0


def rewrite_header(frame: Any, at: int, header: int, other: Any, s: Any, t: Any) -> None:
    """Rewrite a TCP header, but its checksum."""
    flags = load8(frame, at + tcp.FLAGS)
    store32(frame, at + tcp.SOURCE, other.local_port << 16 | other.remote_port)
    store32(frame, at + tcp.SEQUENCE, load32(frame, at + tcp.SEQUENCE) + s.sequence)
    if flags & ACK:
        store32(frame, at + tcp.ACKNOWLEDGEMENT, load32(frame, at + tcp.ACKNOWLEDGEMENT) - t.sequence)
    if s.ecn == 0:
        store8(frame, at + tcp.FLAGS, flags & ~(ECE | CWR))
    window = load16(frame, at + tcp.WINDOW) << s.scale >> s.other_scale
    store16(frame, at + tcp.WINDOW, min(window, LARGEST_WINDOW))
    if header > tcp.HEADER:
        rewrite_options(frame, at + tcp.HEADER, at + header, flags & ACK, s, t)


def rewrite_options(frame: Any, place: int, stop: int, acknowledges: int, s: Any, t: Any) -> None:
    """Rewrite timestamps and the blocks of SACK, or take these out."""
    while place + 1 < stop:
        kind, length = load8(frame, place), load8(frame, place + 1)
        if kind == NOP:
            place += 1
            continue
        if kind == END or length < 2 or place + length > stop:
            break
        if kind == TIMESTAMP and length == 10:
            store32(frame, place + 2, load32(frame, place + 2) + s.timestamp)
            if acknowledges:
                store32(frame, place + 6, load32(frame, place + 6) - t.timestamp)
        elif kind == SACK:
            edge = place + 2
            while s.sack and edge + 4 <= place + length:
                store32(frame, edge, load32(frame, edge) - t.sequence)
                edge += 4
            edge = place
            while s.sack == 0 and edge < place + length:
                store8(frame, edge, NOP)
                edge += 1
        place += length


@outline
def cut(frame: Any, packet: Any, at: int, tcp_at: int, header: int, size: int, longest: int, family: int) -> None:
    """Have the device cut the segment, since it is longer than the other peer takes."""
    if packet.flags & NEEDS_CHECKSUM == 0:
        store16(frame, tcp_at + tcp.CHECKSUM, pseudo_sum(frame, at, ipv4.TCP, size, family))
        packet.flags = NEEDS_CHECKSUM
        packet.checksum_start = from_origin(frame, packet) + tcp_at
        packet.checksum_offset = tcp.CHECKSUM
    packet.gso_type = gso_tcp(family)
    packet.gso_size = longest
    packet.header_bytes = packet.checksum_start + header


def from_origin(frame: Any, packet: Any) -> int:
    """The offset of the header at hand from the frame's first byte as it was received."""
    return frame.start - frame.origin  # type: ignore[no-any-return]


@lowering(from_origin)
def _native_from_origin(frame, packet):  # type: ignore[no-untyped-def]
    return lambda frame, packet: frame - packet.origin
