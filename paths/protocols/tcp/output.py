"""The segments that a connection sends: lost bytes again, new bytes, a FIN, or an acknowledgement alone.

It runs once behind all segments of a batch, so they are acknowledged together (MUST-58, MUST-59).
"""

from typing import Any

from scout.paths.protocols.tcp.actions import EMIT, REPORT, ROOM, next_action, plain_segment
from scout.paths.protocols.tcp.congestion import in_flight, restart
from scout.paths.protocols.tcp.delivery import mark_sent
from scout.paths.protocols.tcp.pacing import end_burst, spend, start_burst
from scout.paths.protocols.tcp.path_mtu import see_sent
from scout.paths.protocols.tcp.path_search import begin_probe, next_probe
from scout.paths.protocols.tcp.receiver import acknowledged, offer, readable
from scout.paths.protocols.tcp.resend import set_resend
from scout.paths.protocols.tcp.roundtrip import clock
from scout.paths.protocols.tcp.sent import begin_of, divide, has_room, mark_resent, note_sent, transmission
from scout.paths.protocols.tcp.sequence import MODULUS
from scout.paths.protocols.tcp.settings import (
    BBR,
    CONGESTION,
    LARGEST_SEGMENT,
    LARGEST_SEND,
    NODELAY,
    OFFER_TIMEOUT,
    USER_TIMEOUT,
)
from scout.paths.protocols.tcp.state import (
    CLOSED,
    ESTABLISHED,
    LISTEN,
    LOST,
    MORE_TIMER,
    PROBING,
    SYN_RECEIVED,
    SYN_SENT,
)
from scout.paths.wire.tcp import ACK, CWR, ECE, FIN, PSH, SYN, URG
from scout.ring.jit import outline

__all__ = ["emit", "emit_acknowledgement", "finish", "report"]

SECOND = 1_000_000_000

_BLOCKS, _BLOCKS_WITH_TIMESTAMP = 4, 3  # SACK blocks that the option bytes have room for


@outline
def finish(c: Any, out: Any, now: int) -> None:
    """Send what is due after requests: call it once behind every batch of them."""
    if c.state != CLOSED and c.state != LISTEN:
        start_burst(c, now)
        if c.lost:
            _send_again(c, out, now)
        _send_new(c, out, now)
        end_burst(c, now)
        if c.ack_due and c.state != SYN_SENT:
            emit_acknowledgement(c, out, now)
        set_resend(c, now)
    report(c, out)


def _send_again(c: Any, out: Any, now: int) -> None:
    """Send lost bytes again, as far as both windows allow."""
    index, edge = 0, max(c.snd_una + c.snd_wnd, c.snd_una + 1)
    while index < c.sent_count and c.lost:
        each = transmission(c, index)
        if each.flags & LOST == 0:
            index += 1
            continue
        if out.count >= ROOM:
            c.timers[MORE_TIMER] = now
            return
        first = begin_of(c, index)
        size = _allowed(c, min(each.last, edge) - first)
        if size <= 0 or (first + size < each.last and not divide(c, index, first + size)):
            return
        mark_resent(c, index, now)
        spend(c, size)
        c.prr_out += size
        if c.undo == 1:
            c.undo = 2
            c.undo_stamp = clock(c, now)
        emit(c, out, first, first + size, 0, now)
        index += 1


def _allowed(c: Any, size: int) -> int:
    """How many of so many bytes the congestion window and one action allow."""
    flight = in_flight(c)
    space = c.cwnd - flight
    if space < min(size, c.mss):
        c.limited = 1
        if flight > 0:
            return 0
        space = c.mss
    if c.allowance < min(size, c.mss):
        c.paced = 1
        return 0
    space = min(space, c.allowance)
    most = max(c.settings[LARGEST_SEND] // c.mss, 1) * c.mss
    if size <= min(space, most):
        return size  # a device cuts it, so that only its last segment is not a full one
    size = min(space, most)
    return size // c.mss * c.mss if size > c.mss else size


def _send_new(c: Any, out: Any, now: int) -> None:
    """Send what was not sent before, as far as both windows and the Nagle algorithm allow."""
    c.limited = 1 if c.lost else 0
    if c.snd_una == c.snd_nxt and c.state >= ESTABLISHED and now - c.sent_last_at > c.rto:
        restart(c)
    if c.mtu_next and has_room(c) and out.count < ROOM and next_probe(c):
        _probe_path(c, out, now)
    while has_room(c):
        last = _next_end(c)
        if last <= c.snd_nxt:
            break
        if out.count >= ROOM:
            c.timers[MORE_TIMER] = now
            break
        first = c.snd_nxt
        note_sent(c, last, now)
        spend(c, last - first)
        if c.settings[CONGESTION] == BBR:
            mark_sent(c, now)
        if c.recovery:
            c.prr_out += last - first
        c.rearm = 1
        emit(c, out, first, last, 1, now)
        c.sent_last_at = now
    # A window of which less than half is used has not been tried out, and does not grow (RFC 7661 section 4.1).
    if in_flight(c) * 2 >= c.cwnd:
        c.limited = 1


def _probe_path(c: Any, out: Any, now: int) -> None:
    """Send a segment of new bytes that is larger than others, to see whether it passes."""
    first, size = c.snd_nxt, next_probe(c)
    note_sent(c, first + size, now, PROBING)
    begin_probe(c, size)
    spend(c, size)
    c.rearm = 1
    emit(c, out, first, first + size, 1, now)
    out.actions[out.count - 1].segment = size
    c.sent_last_at = now


def _next_end(c: Any) -> int:
    """The position behind the next segment of new bytes; `snd_nxt` if none is to be sent."""
    if c.snd_nxt == c.iss:
        return c.iss + 1 if c.state == SYN_SENT or c.state == SYN_RECEIVED else c.iss
    if c.state < ESTABLISHED:
        return c.snd_nxt
    waiting, usable = c.snd_end - c.snd_nxt, c.snd_una + c.snd_wnd - c.snd_nxt
    if waiting < 0 or usable <= 0:  # the FIN was sent; or the window is closed, or has shrunk (MUST-34)
        return c.snd_nxt
    size = _allowed(c, min(waiting, usable)) if waiting else 0
    whole = size // c.mss * c.mss
    if size < waiting:
        # Less than the application has given: full segments, or half of the largest window (MUST-38).
        size = whole if whole or 2 * size < c.max_wnd else size
        return c.snd_nxt + size
    is_alone = whole == 0 and c.snd_una == c.snd_nxt
    if size > whole and not (is_alone or c.settings[NODELAY] or c.fin or c.snd_up > c.snd_nxt):
        return c.snd_nxt + whole  # Nagle: wait for an acknowledgement or for more
    return c.snd_nxt + size + (1 if c.fin and usable > size else 0)


@outline
def emit(c: Any, out: Any, first: int, last: int, is_new: int, now: int) -> None:
    """Send positions [first, last): bytes, with the SYN before and the FIN behind them."""
    is_syn = first == c.iss
    begin, end = max(first, c.iss + 1), min(last, c.snd_end)
    flags = 0 if c.state == SYN_SENT else ACK
    if is_syn:
        flags |= SYN
    if last > c.snd_end:
        flags |= FIN
    if end > begin and end == c.snd_end:
        flags |= PSH  # MUST-61
    action = next_action(out, EMIT)
    plain_segment(action, flags, first, c.rcv_nxt if flags & ACK else 0)
    action.length = max(end - begin, 0)
    action.offset = begin - c.iss - 1
    action.segment = c.mss
    see_sent(c, begin, end)
    if is_syn:
        _add_syn_options(c, action)
    _add_timestamp(c, action, now)
    if c.snd_up > first and not is_syn:
        action.flags |= URG
        action.urgent = min(c.snd_up - first, 0xFFFF)  # MUST-62
    if c.ecn and not is_syn and is_new and end > begin and c.settings[CONGESTION] != BBR:
        action.capable = 1
        if c.ecn_reduced:
            action.flags |= CWR
            c.ecn_reduced = 0
    _complete(c, action, is_syn)
    # With gaps, an acknowledgement of its own follows, which has room for SACK.
    if c.gap_count == 0 and c.again.last == c.again.first:
        acknowledged(c)


def _add_syn_options(c: Any, action: Any) -> None:
    """The options of a SYN: of the answer to one, those that it had."""
    action.mss = min(c.settings[LARGEST_SEGMENT], 0xFFFF)
    action.sack_permitted = c.sack
    if c.scale:
        action.scale = c.rcv_scale
    if c.settings[OFFER_TIMEOUT]:
        action.user_timeout = c.settings[USER_TIMEOUT] // SECOND
    if c.ecn and c.state == SYN_SENT and c.syn_repeated == 0:
        action.flags |= ECE | CWR
    elif c.ecn and c.state == SYN_RECEIVED and c.syn_repeated == 0:
        action.flags |= ECE


def _add_timestamp(c: Any, action: Any, now: int) -> None:
    if c.timestamps:
        action.has_timestamp = 1
        action.tsval = clock(c, now)
        action.tsecr = c.ts_recent if action.flags & ACK else 0


def _complete(c: Any, action: Any, is_syn: bool) -> None:
    """The window, and ECN's echo."""
    action.window = offer(c, is_syn)
    if c.ecn and c.ecn_echo and not is_syn:
        action.flags |= ECE


@outline
def emit_acknowledgement(c: Any, out: Any, now: int) -> None:
    """Send an acknowledgement without data, with what was received out of order.

    Its number lies in the peer's window, if bytes were sent beyond that: to probe it, or before it shrank. A peer, such
    as Linux, takes nothing of a segment beyond its window, and two ends with full windows would wait for each other.
    """
    action = next_action(out, EMIT)
    edge = c.snd_una + c.snd_wnd if c.state >= ESTABLISHED else c.snd_nxt
    plain_segment(action, ACK, min(c.snd_nxt, edge), c.rcv_nxt)
    _add_timestamp(c, action, now)
    _complete(c, action, False)
    if c.timeout_due:
        action.user_timeout = c.settings[USER_TIMEOUT] // SECOND
        c.timeout_due = 0
    if c.sack:
        most = _BLOCKS_WITH_TIMESTAMP if c.timestamps or action.user_timeout else _BLOCKS
        if c.timestamps and action.user_timeout:
            most -= 1
        count = 0
        if c.again.last > c.again.first:  # first, so that it can be told from the others (RFC 2883 section 4)
            action.sacks[0].first = c.again.first & MODULUS
            action.sacks[0].last = c.again.last & MODULUS
            count = 1
        for index in range(min(c.gap_count, most - count)):
            action.sacks[count].first = c.gaps[index].first & MODULUS
            action.sacks[count].last = c.gaps[index].last & MODULUS
            count += 1
        action.sack_count = count
    c.again.last = c.again.first
    acknowledged(c)


@outline
def report(c: Any, out: Any) -> None:
    """Tell the socket where the connection is, if that has changed."""
    received = c.rcv_read + readable(c) - c.irs - 1 if c.irs or c.rcv_nxt else 0
    reached = min(c.snd_una, c.snd_end) - c.iss - 1
    state = c.state
    if (
        state == c.told_state
        and received == c.told_received
        and reached == c.told_acknowledged
        and c.rcv_up == c.told_urgent
        and c.soft_error == c.told_error
    ):
        return
    c.told_state = state
    c.told_received = received
    c.told_acknowledged = reached
    c.told_urgent = c.rcv_up
    c.told_error = c.soft_error
    action = next_action(out, REPORT)
    action.state = state
    action.reason = c.reason
    action.received = received
    action.acknowledged = max(reached, 0)
    action.ended = 1 if 0 <= c.rcv_fin < c.rcv_nxt else 0
    action.urgent_until = max(c.rcv_up - c.irs - 1, 0)
    action.error = c.soft_error
