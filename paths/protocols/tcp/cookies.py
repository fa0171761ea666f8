"""SYN cookies (RFC 4987 section 3.6): answering SYNs without keeping anything, for a listener with no free row.

The initial number of the answer *is* what a row would have kept::

    bits 27-31  the minute, modulo 32
    bits 24-26  which of `SIZES` the peer's MSS reaches
    bits 0-23   a secret function of the flow, the peer's initial number, the minute and the size

The other options fit the answer's timestamp, if the peer uses timestamps: the low six bits are the window scale (15:
none), and whether SACK and ECN are used. Without timestamps a connection that a cookie opens has none of these.
"""

from typing import Any

from scout.paths.protocols.tcp.actions import EMIT, next_action, plain_segment
from scout.paths.protocols.tcp.arrival import arrive
from scout.paths.protocols.tcp.opening import LARGEST_SCALE, answer_syn, listen, scale_of, synchronize
from scout.paths.protocols.tcp.secret import authenticate, timestamp_offset
from scout.paths.protocols.tcp.sequence import MODULUS
from scout.paths.protocols.tcp.settings import (
    DEFAULT_SEGMENT,
    ECN,
    LARGEST_SEGMENT,
    RECEIVE_BUFFER,
    SACK,
    TIMESTAMPS,
    WINDOW_SCALE,
)
from scout.paths.wire.tcp import ACK, CWR, ECE, SYN
from scout.ring.jit import outline

__all__ = ["MINUTES", "SIZES", "answer_with_cookie", "open_by_cookie"]

SIZES = (64, 512, 536, 1024, 1220, 1300, 1440, 1460)
"""The sizes that a cookie can tell (RFC 4987: the largest that is not above the peer's MSS)."""

MINUTES = 2
"""How many minutes a cookie is good for, at most."""

_MINUTE, _MILLISECOND = 60_000_000_000, 1_000_000
_HASH = 0xFFFFFF
_NO_SCALE, _SACK, _ECN, _OPTIONS = 15, 16, 32, 63
_Flow = tuple[int, int, int, int, int]


def _cookie(secret: Any, flow: _Flow, irs: int, minute: int, index: int) -> int:
    # Of the minute more than the cookie tells: else it were good again every 32 minutes. The word is unlike the last
    # words of other uses of the secret.
    more = irs << 32 | (minute & 0xFFFFFF) << 8 | index << 4 | 2
    tag = authenticate(secret, flow[0], flow[1], flow[2], flow[3], flow[4], more)
    return (minute & 31) << 27 | index << 24 | tag & _HASH


def _size_index(mss: int) -> int:
    index = len(SIZES) - 1
    while index and SIZES[index] > mss:
        index -= 1
    return index


@outline
def answer_with_cookie(secret: Any, flow: _Flow, segment: Any, settings: Any, out: Any, now: int) -> None:
    """Answer a SYN without a connection.

    Parameters
    ----------
    secret
        A record of `scout.paths.protocols.tcp.secret.SECRET`.
    flow : tuple of int
        The words of the connection's outgoing direction.
    segment, settings, out
        The SYN; the listener's settings; the record that takes the answer.
    now : int
    """
    index = _size_index(segment.mss if segment.mss else settings[DEFAULT_SEGMENT])
    cookie = _cookie(secret, flow, segment.sequence, now // _MINUTE, index)
    action = next_action(out, EMIT)
    plain_segment(action, SYN | ACK, cookie, segment.sequence + 1)
    action.window = min(settings[RECEIVE_BUFFER], MODULUS >> 16)
    action.mss = min(settings[LARGEST_SEGMENT], MODULUS >> 16)
    if segment.has_timestamp and settings[TIMESTAMPS]:
        options = _NO_SCALE
        if segment.scale >= 0 and settings[WINDOW_SCALE]:
            options = min(segment.scale, LARGEST_SCALE)
            action.scale = scale_of(settings[RECEIVE_BUFFER])
        if segment.sack_permitted and settings[SACK]:
            options |= _SACK
            action.sack_permitted = 1
        if segment.flags & (ECE | CWR) == ECE | CWR and settings[ECN]:
            options |= _ECN
            action.flags |= ECE
        action.has_timestamp = 1
        clock = (now // _MILLISECOND + timestamp_offset(secret, flow)) & MODULUS
        stamp = clock & ~_OPTIONS | options
        # Later timestamps must not be before this one (RFC 7323 section 5.4).
        action.tsval = (stamp if stamp <= clock else stamp - _OPTIONS - 1) & MODULUS
        action.tsecr = segment.tsval


@outline
def open_by_cookie(
    table: Any, row: int, secret: Any, flow: _Flow, segment: Any, settings: Any, out: Any, now: int
) -> bool:
    """Open a connection in a row by the acknowledgement of a cookie.

    Parameters as of `answer_with_cookie` and of `scout.paths.protocols.tcp.opening.listen`. The segment is taken by the
    connection: only `finish` has to follow.

    Returns
    -------
    bool
        False if it acknowledges no cookie of the last minutes; the row is then as it was.
    """
    if segment.flags & (SYN | ACK) != ACK:
        return False
    cookie, irs = (segment.acknowledgement - 1) & MODULUS, (segment.sequence - 1) & MODULUS
    age = (now // _MINUTE - (cookie >> 27)) & 31
    index = cookie >> 24 & 7
    if age >= MINUTES or cookie != _cookie(secret, flow, irs, now // _MINUTE - age, index):
        return False
    listen(table, row, settings, cookie, timestamp_offset(secret, flow), now)
    c = table[row]
    c.changes += 1
    flags, sequence, window = segment.flags, segment.sequence, segment.window
    segment.flags = SYN
    segment.sequence = irs
    segment.mss = SIZES[index]
    if segment.has_timestamp:
        options = segment.tsecr & _OPTIONS
        segment.scale = options & 15 if options & 15 != _NO_SCALE else -1
        segment.sack_permitted = 1 if options & _SACK else 0
        segment.flags |= ECE | CWR if options & _ECN else 0
    synchronize(c, segment, now)
    answer_syn(c, now)
    c.rcv_edge = c.rcv_nxt + min(c.settings[RECEIVE_BUFFER], MODULUS >> 16)  # as the answer has offered
    c.ack_due = 0
    segment.flags = flags
    segment.sequence = sequence
    segment.window = window
    arrive(c, segment, out, now)
    return True
