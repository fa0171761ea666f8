"""The states of a TCP connection as a middle box sees them (RFC 9293 section 3.3.2), and what a segment makes of them.

Each direction of a connection is a side, which knows what that end has sent and acknowledged. A middle box sees a
segment before the end that it is for, and does not know whether the end takes it. So it changes a connection only for
segments that the end must take, and lets pass those that the end answers with a reset or a challenge. An answer to a
SYN that has not come by is none of them. If that SYN was an old duplicate which came another way (figure 8), the
opener's SYN comes again, a second later or so: it returns the other end to LISTEN, or is challenged, and the opener
resets the challenge (section 3.10.7.4).

Numbers are compared modulo 2^32 (RFC 9293 section 3.4).
"""

from typing import Any

import numpy as np

from scout.paths.framework.state import clear
from scout.paths.wire.tcp import ACK, FIN, RST, SYN

__all__ = [
    "CLOSED",
    "SIDE",
    "STATES",
    "SYN_SENT",
    "TIME_WAIT",
    "begin",
    "follow",
    "is_possible",
    "may_replace",
]

STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECEIVED",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSED",
)
"""The states, by their number in the table.

SYN_RECEIVED: both ends have sent a SYN, also at once (section 3.5). FIN_WAIT: one end has closed; CLOSE_WAIT: and the
other has acknowledged that. LAST_ACK: both have closed; TIME_WAIT: and both were acknowledged. CLOSED: reset.
"""

NONE, SYN_SENT, SYN_RECEIVED, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSED = range(9)

# Bits of a side's flags.
SENT_SYN, SYN_ACKED, SENT_FIN, FIN_ACKED, HAS_ACKED, OFFERS = 1, 2, 4, 8, 16, 32

MODULUS = 0xFFFFFFFF
LARGEST_WINDOW = 1 << 30  # RFC 7323 section 2.3

SIDE = np.dtype(
    [
        ("flags", "i8"),
        ("start", "i8"),  # the number after its SYN
        ("next", "i8"),  # the number after the last that it has sent
        ("fin", "i8"),  # the number after its FIN
        ("ack", "i8"),  # the last number that it has acknowledged
        # Of a SYN with another number, sent later: the number after the SYN, and after its data.
        ("offered", "i8"),
        ("offered_next", "i8"),
    ]
)
"""One side of a connection. Sequence numbers are 0 to 2^32 - 1."""


def reached(number: int, mark: int) -> bool:
    """True if a sequence number is `mark` or after it."""
    return (number - mark) & MODULUS <= MODULUS >> 1


def is_possible(flags: int) -> bool:
    """True if a TCP sends the flags FIN, SYN, RST and ACK in this combination."""
    if flags & SYN:
        return flags & (FIN | RST) == 0
    if flags & RST:
        return flags & FIN == 0
    return flags & ACK != 0  # RFC 9293 section 3.10.7.4: every end drops a segment without


def state_of(mine: int, other: int) -> int:
    """The state that follows from the flags of both sides."""
    both, either = mine & other, mine | other
    if both & FIN_ACKED:
        return TIME_WAIT
    if both & SENT_FIN:
        return LAST_ACK
    if either & FIN_ACKED:
        return CLOSE_WAIT
    if either & SENT_FIN:
        return FIN_WAIT
    if both & SYN_ACKED:
        return ESTABLISHED
    return SYN_RECEIVED if both & SENT_SYN else SYN_SENT


def answers_syn(side: Any, acknowledged: int) -> bool:
    """True if an acknowledgement is of the SYN of a side, or of data behind it."""
    return reached(acknowledged, side.start) and reached(side.next, acknowledged)


def offer(side: Any, sequence: int, after: int) -> None:
    """Note a SYN with another number than the side's first; a copy of it may come without its data (RFC 7413)."""
    start = (sequence + 1) & MODULUS
    if side.flags & OFFERS == 0 or side.offered != start or reached(after, side.offered_next):
        side.offered_next = after
    side.offered = start
    side.flags |= OFFERS


def takes_offer(side: Any, acknowledged: int) -> bool:
    """True if an acknowledgement is of the SYN with another number that a side has sent."""
    if side.flags & OFFERS == 0:
        return False
    return reached(acknowledged, side.offered) and reached(side.offered_next, acknowledged)


def may_replace(connection: Any, side: Any, sequence: int) -> bool:
    """True if a SYN with that number replaces the connection at once (RFC 9293 section 3.6.1, MAY-2)."""
    return connection.state == CLOSED or (connection.state == TIME_WAIT and reached(sequence, side.next))


def begin(connection: Any, sides: Any, first: int, opener: int) -> None:
    """A connection that side `opener` opens: its sides, in rows `first` and `first + 1`, know nothing yet."""
    clear(sides, first)
    clear(sides, first + 1)
    connection.state = SYN_SENT
    connection.opener = opener


def begin_again(connection: Any, sides: Any, first: int, opener: int) -> None:
    """Replace a connection by the one that side `opener` has offered with a SYN, now that it is answered."""
    side = sides[first + opener]
    before, before_next, start, after = side.start, side.next, side.offered, side.offered_next
    waiting = connection.state <= SYN_RECEIVED and side.flags & SENT_SYN != 0
    begin(connection, sides, first, opener)
    side.flags = SENT_SYN
    side.start = start
    side.next = after
    if waiting:  # either of the two SYNs may be an old duplicate: the other one may still be answered
        side.flags |= OFFERS
        side.offered = before
        side.offered_next = before_next


def follow(
    connection: Any, sides: Any, first: int, side: int, flags: int, sequence: int, acknowledged: int, size: int
) -> int:
    """Let a segment of `side` change its connection.

    Parameters
    ----------
    connection, sides
        The connection's row; the table that has its sides in rows `first` and `first + 1`.
    first, side : int
    flags, sequence, acknowledged : int
        Of the segment; the flags FIN, SYN, RST and ACK.
    size : int
        Bytes of data.

    Returns
    -------
    int
        1 if it changed the connection, or could have; 0 if the other end will answer it with a reset or a challenge,
        or drop it; -1 if it has a number that the other end cannot have sent, is out of every window, or answers a
        SYN that has not come by.
    """
    mine, other = sides[first + side], sides[first + 1 - side]
    if flags & (SYN | ACK) == SYN | ACK and takes_offer(other, acknowledged):
        begin_again(connection, sides, first, 1 - side)
    state = connection.state
    if state == CLOSED:
        return 0
    unanswered = state == SYN_SENT and mine.flags & SENT_SYN == 0
    if flags & RST:
        # RFC 9293 section 3.10.7.4 (from RFC 5961): only the exact number resets. Section 3.10.7.3: a SYN is refused
        # by a reset that acknowledges it.
        exact = (other.flags & HAS_ACKED and sequence == other.ack) or (mine.flags & SENT_SYN and sequence == mine.next)
        if exact or (unanswered and flags & ACK and answers_syn(other, acknowledged)):
            connection.state = CLOSED
            return 1
        return 0
    last = (sequence + size + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)) & MODULUS
    if flags & SYN:
        if mine.flags & SENT_SYN and (sequence + 1) & MODULUS != mine.start:
            if flags & ACK:
                # The other end's SYN may be answered anew, with another number (a SYN cookie, a reboot): which of them
                # has arrived is known by what acknowledges it.
                if mine.flags & SYN_ACKED or not answers_syn(other, acknowledged):
                    return 0
                offer(mine, sequence, last)
                return 1
            # An old duplicate; or this end has lost the connection and opens another one (section 3.5.1). That is so
            # if the other end answers with a SYN.
            offer(mine, sequence, last)
            return 1 if state == SYN_SENT else 0
        if state > SYN_RECEIVED:
            return 0  # a late copy
        if unanswered and flags & ACK and not answers_syn(other, acknowledged):
            return -1  # it answers a SYN that has not come by
    elif unanswered:
        return 0  # the other end has a connection that the opener has lost: the opener resets it (section 3.5.1)
    elif flags & ACK and other.flags & SYN_ACKED == 0 and takes_offer(other, acknowledged):
        other.start = other.offered
        other.next = other.offered_next
        other.flags &= ~OFFERS
    if other.flags & HAS_ACKED and (sequence - other.ack + LARGEST_WINDOW) & MODULUS > 2 * LARGEST_WINDOW:
        return -1
    if flags & ACK:
        if other.flags & SENT_SYN == 0 or (other.next - acknowledged) & MODULUS > LARGEST_WINDOW:
            return -1
        if other.flags & SYN_ACKED == 0 and not answers_syn(other, acknowledged):
            return 0  # section 3.10.7.4: an end in SYN-RECEIVED answers it with a reset
        other.flags |= SYN_ACKED
        if other.flags & SENT_FIN and reached(acknowledged, other.fin):
            other.flags |= FIN_ACKED
        if mine.flags & HAS_ACKED == 0 or reached(acknowledged, mine.ack):
            mine.ack = acknowledged
        mine.flags |= HAS_ACKED
    if flags & SYN and mine.flags & SENT_SYN == 0:
        mine.flags |= SENT_SYN
        mine.start = (sequence + 1) & MODULUS
        mine.next = last
    elif reached(last, mine.next):
        mine.next = last
    if flags & FIN:
        mine.flags |= SENT_FIN
        mine.fin = last
    connection.state = state_of(mine.flags, other.flags)
    return 1
