"""An arriving segment (RFC 9293 section 3.10.7), with the checks of RFC 5961 and RFC 7323 section 5 (PAWS)."""

from typing import Any

from scout.paths.protocols.tcp.acknowledgement import take_acknowledgement
from scout.paths.protocols.tcp.actions import EMIT, ROOM, next_action, plain_segment, refuse
from scout.paths.protocols.tcp.ending import abort, end, linger
from scout.paths.protocols.tcp.opening import answer_syn, establish, follow_timeout, synchronize
from scout.paths.protocols.tcp.receiver import owe, take
from scout.paths.protocols.tcp.sent import mark_lost
from scout.paths.protocols.tcp.sequence import position, signed
from scout.paths.protocols.tcp.settings import LARGEST_SEGMENT
from scout.paths.protocols.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    FINISHED,
    LAST_ACK,
    LISTEN,
    NONE,
    REFUSED,
    RESET,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from scout.paths.wire.tcp import ACK, CWR, FIN, RST, SYN, URG
from scout.ring.jit import outline

__all__ = ["ANEW", "arrive", "is_current"]

ANEW = 1
"""The result of `arrive` for a SYN in TIME-WAIT that begins another connection: give it to the listener (MAY-2)."""

SECOND = 1_000_000_000
CHALLENGES = 10  # a second and connection (RFC 5961 section 7)
OLD_TIMESTAMP = 24 * 86400 * SECOND  # after which a timestamp proves nothing (RFC 7323 section 5.5)


@outline
def arrive(c: Any, segment: Any, out: Any, now: int) -> int:
    """Take a segment whose per-byte work has succeeded: its checksum is right, its bytes are in the receive ring.

    Parameters
    ----------
    c
        The connection, a record of `scout.paths.protocols.tcp.state.CONNECTION`.
    segment
        A record of `scout.paths.protocols.tcp.header.SEGMENT`.
    out
        A record of `scout.paths.protocols.tcp.actions.OUT`, which takes resets. All else is sent by
        `scout.paths.protocols.tcp.output.finish`, once behind all segments of a batch.
    now : int
        The time of the request, in nanoseconds.

    Returns
    -------
    int
        0, or `ANEW`.
    """
    if c.state == CLOSED:
        refuse(segment, out)
    elif c.state == LISTEN:
        _in_listen(c, segment, out, now)
    elif c.state == SYN_SENT:
        _in_syn_sent(c, segment, out, now)
    else:
        return _synchronized(c, segment, out, now)
    return 0


def _in_listen(c: Any, segment: Any, out: Any, now: int) -> None:
    """Section 3.10.7.2."""
    if segment.flags & RST:
        return
    if segment.flags & ACK:
        refuse(segment, out)
    elif segment.flags & SYN:
        c.heard_at = now
        synchronize(c, segment, now)
        answer_syn(c, now)
        # The entry is made for its SYN; sending it is like sending a lost one.
        mark_lost(c, 0)


def _in_syn_sent(c: Any, segment: Any, out: Any, now: int) -> None:
    """Section 3.10.7.3."""
    ack = position(segment.acknowledgement, c.snd_una)
    acknowledges = segment.flags & ACK != 0
    if acknowledges and not c.iss < ack <= c.snd_nxt:
        refuse(segment, out)
        return
    if segment.flags & RST:
        if acknowledges:
            end(c, REFUSED)
        return
    if segment.flags & SYN == 0:
        return
    c.heard_at = now
    synchronize(c, segment, now)
    if acknowledges:
        take_acknowledgement(c, segment, c.irs, ack, now)
        c.snd_wnd = segment.window  # not scaled
        c.max_wnd = segment.window
        establish(c, now)
    else:  # both ends open at the same time (MUST-10)
        c.state = SYN_RECEIVED
        mark_lost(c, 0)
        c.ack_due = 0


def _synchronized(c: Any, segment: Any, out: Any, now: int) -> int:
    """Section 3.10.7.4: all other states."""
    sequence, flags, length = position(segment.sequence, c.rcv_nxt), segment.flags, segment.length
    if c.state == SYN_RECEIVED and flags & SYN and sequence == c.irs:
        # The peer's SYN again: it has not seen ours. Or its answer, as both opened at once: an acknowledgement.
        if flags & ACK == 0:
            mark_lost(c, 0)
            return 0
        sequence += 1
        flags &= ~SYN
    stamp = segment.tsval if segment.has_timestamp else -1
    if c.timestamps and flags & RST == 0 and not is_current(c, stamp, now):
        _challenge(c, now)
        return 0
    space = length + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)
    if c.state == TIME_WAIT and flags & (SYN | RST | ACK) == SYN and _is_later(c, segment, sequence):
        end(c, FINISHED)
        return ANEW
    if not _is_in_window(c, sequence, space):
        if sequence == c.rcv_nxt and flags & SYN == 0:
            length = 0  # a closed window: the acknowledgement, RST and URG are taken (MUST-66)
            flags &= ~FIN
            if flags & RST == 0 and space:
                c.ack_due = 1
        else:
            if flags & RST == 0:
                _note_repetition(c, sequence, length)
                _challenge(c, now)
                if c.state == TIME_WAIT and flags & FIN:
                    linger(c, now)
            return 0
    c.heard_at = now
    c.probes = 0
    if c.timestamps and segment.has_timestamp and sequence <= c.acked:
        c.ts_recent = segment.tsval
        c.ts_recent_at = now
    if flags & RST:
        _take_reset(c, sequence, now)
        return 0
    if flags & SYN:
        if c.state == SYN_RECEIVED and c.passive:
            end(c, NONE)
        else:
            _challenge(c, now)
        return 0
    if flags & ACK == 0:
        return 0
    follow_timeout(c, segment.user_timeout)
    return _take_rest(c, segment, sequence, flags, length, out, now)


def is_current(c: Any, stamp: int, now: int) -> bool:
    """False if a timestamp (-1: a segment without one) tells that a segment is an old duplicate (PAWS)."""
    return stamp >= 0 and (signed(stamp - c.ts_recent) >= 0 or now - c.ts_recent_at >= OLD_TIMESTAMP)


def _is_later(c: Any, segment: Any, sequence: int) -> bool:
    """True if a SYN in TIME-WAIT is none of the connection that was (RFC 6191 section 2)."""
    if c.timestamps and segment.has_timestamp:
        return signed(segment.tsval - c.ts_recent) > 0 or sequence > c.rcv_nxt
    return sequence > c.rcv_nxt


def _is_in_window(c: Any, sequence: int, space: int) -> bool:
    """Table 6."""
    edge = max(c.rcv_edge, c.rcv_nxt)
    if space == 0:
        return sequence == c.rcv_nxt if edge == c.rcv_nxt else c.rcv_nxt <= sequence < edge
    return edge > c.rcv_nxt and (c.rcv_nxt <= sequence < edge or c.rcv_nxt <= sequence + space - 1 < edge)


def _note_repetition(c: Any, sequence: int, length: int) -> None:
    """Bytes that have come again are reported once (RFC 2883)."""
    if length and sequence < c.rcv_nxt:
        c.again.first = sequence
        c.again.last = min(sequence + length, c.rcv_nxt)


def _challenge(c: Any, now: int) -> None:
    """Acknowledge something doubtful, not too often (RFC 5961 section 7)."""
    if now - c.challenge_at >= SECOND:
        c.challenge_at = now
        c.challenges = 0
    # Bytes that have come again are no attack: without an acknowledgement they would come for ever.
    if c.challenges < CHALLENGES or c.again.last > c.again.first:
        c.challenges += 1
        c.ack_due = 1


def _take_reset(c: Any, sequence: int, now: int) -> None:
    """RFC 5961 section 3: only the exact number resets."""
    if sequence != c.rcv_nxt:
        _challenge(c, now)
    elif c.state == SYN_RECEIVED:
        end(c, NONE if c.passive else REFUSED)
    elif c.state == TIME_WAIT or c.state == CLOSING or c.state == LAST_ACK:
        end(c, FINISHED)
    else:
        end(c, RESET)


def _take_rest(c: Any, segment: Any, sequence: int, flags: int, length: int, out: Any, now: int) -> int:
    """The acknowledgement, URG, data and FIN of a segment in the window."""
    ack = position(segment.acknowledgement, c.snd_una)
    if c.state == SYN_RECEIVED:
        if not c.snd_una < ack <= c.snd_nxt:
            if out.count < ROOM:
                plain_segment(next_action(out, EMIT), RST, segment.acknowledgement, 0)
            return 0
        c.snd_wl1 = sequence - 1
        establish(c, now)
    elif ack > c.snd_nxt or ack < c.snd_una - c.max_wnd:
        _challenge(c, now)  # RFC 5961 section 5
        return 0
    take_acknowledgement(c, segment, sequence, ack, now)
    _follow_fin(c, now)
    if c.state == CLOSED:
        return 0
    if c.fin and c.state == ESTABLISHED:  # closed before it was established
        c.state = FIN_WAIT_1
    if c.state == ESTABLISHED or c.state == FIN_WAIT_1 or c.state == FIN_WAIT_2:
        if flags & URG and segment.urgent:
            c.rcv_up = max(c.rcv_up, sequence + segment.urgent)
        if c.reader_gone and length and sequence + length > c.rcv_nxt:
            abort(c, out, now)  # nobody will read it (RFC 9293 section 3.6.1)
            return 0
        _take_data(c, sequence, length, flags, segment.congested, now)
    elif c.state == TIME_WAIT and flags & FIN:
        c.ack_due = 1
        linger(c, now)
    return 0


def _follow_fin(c: Any, now: int) -> None:
    """See whether this end's FIN is acknowledged."""
    if c.fin == 0 or c.snd_una <= c.snd_end:
        return
    if c.state == FIN_WAIT_1:
        c.state = FIN_WAIT_2
        if c.reader_gone:
            linger(c, now)
    elif c.state == CLOSING:
        c.state = TIME_WAIT
        linger(c, now)
    elif c.state == LAST_ACK:
        end(c, FINISHED)


def _take_data(c: Any, sequence: int, length: int, flags: int, congested: int, now: int) -> None:
    """Data and FIN, in order or not."""
    if c.ecn and length:
        if flags & CWR:
            c.ecn_echo = 0
        if congested:
            c.ecn_echo = 1
    fits = c.gap_count == 0 and sequence + length <= c.rcv_edge
    if length:
        c.rcv_segment = max(c.rcv_segment, min(length, c.settings[LARGEST_SEGMENT]))
        size = take(c, sequence, sequence + length)
        if size and fits and c.again.last == c.again.first:
            owe(c, size, now)
        else:
            c.ack_due = 1  # at once: out of order, a gap filled, come again (RFC 5681 section 4.2), or too long
    if flags & FIN and c.rcv_fin < 0 and sequence + length >= c.rcv_nxt:
        c.rcv_fin = sequence + length
    if c.rcv_fin == c.rcv_nxt:
        c.rcv_nxt += 1
        c.rcv_edge = max(c.rcv_edge, c.rcv_nxt)
        c.gap_count = 0
        c.ack_due = 1
        if c.state == ESTABLISHED:
            c.state = CLOSE_WAIT
        elif c.state == FIN_WAIT_1:
            c.state = CLOSING
        else:
            c.state = TIME_WAIT
            linger(c, now)
    elif flags & FIN:
        c.ack_due = 1
