"""The timer request: what is due at its time (RFC 9293 sections 3.8 and 3.10.8, RFC 6298, RFC 8985).

`scout.paths.protocols.tcp.deadlines` says how a time becomes a request.
"""

from typing import Any

from scout.paths.protocols.tcp.actions import ADVICE, EMIT, ROOM, next_action, plain_segment
from scout.paths.protocols.tcp.congestion import enter_loss
from scout.paths.protocols.tcp.ending import abort, end
from scout.paths.protocols.tcp.loss import find_losses, lose_all
from scout.paths.protocols.tcp.output import emit
from scout.paths.protocols.tcp.path_mtu import believe_claim, try_larger
from scout.paths.protocols.tcp.path_search import judge_probe, suspect_black_hole
from scout.paths.protocols.tcp.resend import start_resend
from scout.paths.protocols.tcp.roundtrip import clock, timeout
from scout.paths.protocols.tcp.sent import begin_of, divide, has_room, note_sent, transmission
from scout.paths.protocols.tcp.settings import (
    KEEP_IDLE,
    KEEP_INTERVAL,
    KEEP_PROBES,
    KEEPALIVE,
    SYN_TIMEOUT,
    USER_TIMEOUT,
)
from scout.paths.protocols.tcp.state import (
    ACK_TIMER,
    ESTABLISHED,
    FINISHED,
    FOREVER,
    KEEP_TIMER,
    LIFE_TIMER,
    MORE_TIMER,
    PACE_TIMER,
    PATH_TIMER,
    PERSIST,
    PROBE,
    REORDER,
    RESEND_TIMER,
    RETRANSMITTED,
    SYN_RECEIVED,
    TIMED_OUT,
    TIMEOUT,
)
from scout.paths.wire.tcp import ACK
from scout.ring.jit import outline

__all__ = ["due", "expire"]

ADVISE_AFTER = 3  # retransmissions: R1 of RFC 9293 section 3.8.3


def due(c: Any) -> int:
    """When the connection wants a timer request; `FOREVER` if it waits for nothing."""
    soonest = FOREVER
    for index in range(len(c.timers)):
        soonest = min(soonest, c.timers[index])
    return soonest


@outline
def expire(c: Any, out: Any, now: int) -> None:
    """Do what is due by `now`; `finish` has to follow."""
    if c.timers[MORE_TIMER] <= now:
        c.timers[MORE_TIMER] = FOREVER
    if c.timers[PACE_TIMER] <= now:
        c.timers[PACE_TIMER] = FOREVER
    if c.timers[ACK_TIMER] <= now:
        c.timers[ACK_TIMER] = FOREVER
        c.ack_due = 1
    if c.timers[LIFE_TIMER] <= now:
        end(c, FINISHED)
    if c.timers[KEEP_TIMER] <= now:
        _keep_alive(c, out, now)
    if c.timers[PATH_TIMER] <= now:
        try_larger(c, now)
    if c.timers[RESEND_TIMER] <= now:
        c.timers[RESEND_TIMER] = FOREVER
        c.rearm = 1
        _resend(c, out, now)


def _resend(c: Any, out: Any, now: int) -> None:
    """The sender's timer has fired."""
    if c.resend == REORDER:
        find_losses(c, now)
        judge_probe(c)
    elif c.resend == PROBE:
        _probe_tail(c, out, now)
    elif _has_waited_too_long(c, now):
        abort(c, out, now, TIMED_OUT)
    elif c.resend == PERSIST:
        _probe_window(c, out, now)
    elif c.sent_count:
        _time_out(c, out, now)


def _has_waited_too_long(c: Any, now: int) -> bool:
    """R2, as a time (RFC 9293 section 3.8.3, MUST-20 to 23; RFC 5482)."""
    return now - c.waiting_since >= c.settings[SYN_TIMEOUT if c.state <= SYN_RECEIVED else USER_TIMEOUT]


def _time_out(c: Any, out: Any, now: int) -> None:
    """RFC 6298 rules 5.4 to 5.7."""
    c.backoff += 1
    c.probe_last = 0
    believe_claim(c, now)
    if c.state >= ESTABLISHED:
        suspect_black_hole(c, now)
    if c.backoff == ADVISE_AFTER and out.count < ROOM:
        next_action(out, ADVICE)
    if c.state <= SYN_RECEIVED:
        c.syn_repeated = 1
        c.rto = max(c.rto, 1_000_000_000)
    else:
        enter_loss(c)
    lose_all(c)
    judge_probe(c)


def _probe_tail(c: Any, out: Any, now: int) -> None:
    """Send a new segment, or the last one again, so that its acknowledgement tells of losses (RFC 8985 section 7.3)."""
    edge = c.snd_una + c.snd_wnd
    c.probe_again = 0
    if c.snd_end > c.snd_nxt and edge > c.snd_nxt and has_room(c):
        first = c.snd_nxt
        last = min(c.snd_end, edge, first + c.mss)
        note_sent(c, last, now)
        emit(c, out, first, last, 1, now)
    elif c.sent_count:
        first = max(c.snd_nxt - c.mss - c.fin, c.snd_una)
        if begin_of(c, c.sent_count - 1) < first:
            divide(c, c.sent_count - 1, first)
        first = max(first, begin_of(c, c.sent_count - 1))
        newest = transmission(c, c.sent_count - 1)
        newest.flags |= RETRANSMITTED
        newest.sent_at = now
        c.probe_again = 1
        c.resent_cwnd = 0  # a report of these bytes would not tell whether it is the probe that came twice
        emit(c, out, first, c.snd_nxt, 0, now)
    c.probe_last = c.snd_nxt
    c.rearm = 0
    start_resend(c, TIMEOUT, timeout(c), now)


def _probe_window(c: Any, out: Any, now: int) -> None:
    """Send one byte that the peer may have no room for; its answer has its window (MUST-36).

    A window that is open, but too small for a segment that is not silly, is used now (RFC 9293 section 3.8.6.2.1).
    """
    room = min(c.snd_una + c.snd_wnd, c.snd_end) - c.snd_nxt
    if room > 0 and has_room(c):
        first = c.snd_nxt
        note_sent(c, first + min(room, c.mss), now)
        emit(c, out, first, c.snd_nxt, 1, now)
        return
    c.backoff += 1
    if c.snd_una < c.snd_nxt:
        transmission(c, 0).flags |= RETRANSMITTED
        emit(c, out, c.snd_una, c.snd_una + 1, 0, now)
    elif c.snd_end + c.fin > c.snd_nxt:
        first = c.snd_nxt
        note_sent(c, first + 1, now)
        emit(c, out, first, first + 1, 0, now)
    c.rearm = 0
    start_resend(c, PERSIST, timeout(c), now)


def _keep_alive(c: Any, out: Any, now: int) -> None:
    """RFC 9293 section 3.8.4: ask a peer that is silent for long whether it is there."""
    c.timers[KEEP_TIMER] = FOREVER
    if c.settings[KEEPALIVE] == 0 or c.state < ESTABLISHED:
        return
    idle = now - c.heard_at
    if idle < c.settings[KEEP_IDLE]:
        c.timers[KEEP_TIMER] = c.heard_at + c.settings[KEEP_IDLE]
    elif c.snd_una != c.snd_nxt:
        c.timers[KEEP_TIMER] = now + c.settings[KEEP_INTERVAL]  # what is under way asks already
    elif c.probes >= c.settings[KEEP_PROBES]:  # never for a single one that is unanswered (MUST-29)
        abort(c, out, now, TIMED_OUT)
    else:
        c.probes += 1
        c.timers[KEEP_TIMER] = now + c.settings[KEEP_INTERVAL]
        action = next_action(out, EMIT)
        plain_segment(action, ACK, c.snd_nxt - 1, c.rcv_nxt)
        if c.timestamps:
            action.has_timestamp = 1
            action.tsval = clock(c, now)
            action.tsecr = c.ts_recent
