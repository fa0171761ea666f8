"""BBR: congestion control by a model of the path, its rate and its round trip (draft-ietf-ccwg-bbr, version 3).

`acknowledge` runs for each acknowledgement that tells of delivered bytes. It updates the model (`bbr_model`), goes from
phase to phase, and sets the rate of `pacing` and the congestion window. Startup doubles the rate each round until it
grows no more; Drain empties the queue that this has made. ProbeBW goes round: it sends less than the path takes (DOWN)
until the queue is empty, as much (CRUISE) for two to three seconds, again after it has let bounds go (REFILL), and a
quarter more to see whether there is more (UP). ProbeRTT leaves the path nearly empty every five seconds, for 200 ms.

Times that the draft takes at random come from the connection's numbers, so that replicas agree. Fast recovery changes
no window but by the model, as in its authors' code for Linux. docs/tcp.md says what else differs from the draft.
"""

from typing import Any

from scout.paths.protocols.tcp.bbr_model import (
    amount,
    bound_by_losses,
    paced_rate,
    path_amount,
    see_aggregation,
    see_full,
    see_losses,
    see_rate,
    see_round_trip,
    start_round,
    tolerant,
    too_many_lost,
    with_headroom,
)
from scout.paths.protocols.tcp.bbr_state import (
    ANY_AMOUNT,
    CRUISE,
    DOWN,
    DRAIN,
    FEEDBACK,
    NO_PHASE,
    PROBE_RTT,
    REFILL,
    REFILLING,
    SETTLED,
    STARTING,
    STARTUP,
    STOPPING,
    UP,
)
from scout.paths.protocols.tcp.delivery import FASTEST, forget_marks, take_delivered
from scout.paths.protocols.tcp.state import FOREVER, PACE_TIMER
from scout.ring.jit import outline

__all__ = ["acknowledge", "begin", "end", "resume"]

MILLISECOND, SECOND = 1_000_000, 1_000_000_000
LARGEST = 1 << 30  # bytes of a window

_RTT_TIME = 200 * MILLISECOND  # of ProbeRTT
_MOST_RENO_ROUNDS = 63  # after which Reno would have filled the path again (section 5.3.3.5.1)


def begin(c: Any, now: int) -> None:
    """Control a connection from now on."""
    b, d = c.bbr, c.delivery
    forget_marks(c)
    d.delivered_at = now
    d.first_sent_at = now
    d.limited_until = 0
    b.phase = STARTUP
    b.round_end = d.delivered
    b.rate_now = 0
    b.rate_before = 0
    b.rate_short = ANY_AMOUNT
    b.flight_short = ANY_AMOUNT
    b.flight_long = ANY_AMOUNT
    b.min_rtt = 0  # the one that is known may be of a timestamp, and too short by a millisecond
    b.min_rtt_at = now
    b.trial_rtt = 0
    b.trial_rtt_at = now
    b.lost_seen = d.lost
    b.losses = 0
    b.loss_round_end = d.delivered
    b.full_rate = 0
    b.full_count = 0
    b.is_full_now = 0
    b.was_full = 0
    b.extra_at = now
    b.extra_delivered = 0
    b.extra_now = 0
    b.extra_before = 0
    b.acks = SETTLED
    b.is_trial = 0
    b.rtt_until = 0
    b.is_stale = 0
    b.was_idle = 0
    b.cwnd_before = c.cwnd
    # As if the first window were what the path takes in a round trip (section 5.6.2).
    first = c.cwnd * SECOND // (c.srtt or MILLISECOND)
    set_rate(c, min(first, FASTEST) * 277 // 100)
    c.pace_at = now


def end(c: Any) -> None:
    """Another algorithm controls the connection from now on, with the window as it is."""
    c.bbr.phase = NO_PHASE
    c.pacing_rate = 0
    c.timers[PACE_TIMER] = FOREVER


@outline
def acknowledge(c: Any, size: int, now: int) -> None:
    """An acknowledgement tells that so many more bytes are delivered."""
    b = c.bbr
    if b.phase == NO_PHASE:
        return
    see_losses(c)
    b.round_start = 0
    b.loss_round_start = 0
    b.is_stale = 0
    if take_delivered(c, size, now):
        _learn(c, now)
    see_aggregation(c, size, now)
    if b.phase == STARTUP and b.was_full:
        b.phase = DRAIN
        b.drain_round = b.round_count
    if b.phase == DRAIN and (c.pipe <= amount(c, 100) or b.round_count > b.drain_round + 3):
        _start_down(c, now)
    if DOWN <= b.phase <= UP:
        _go_round(c, size, now)
    _probe_rtt(c, now)
    control(c, size)
    b.was_idle = 0


def _learn(c: Any, now: int) -> None:
    """Update the model by a sample."""
    b, d = c.bbr, c.delivery
    see_rate(c)
    if b.loss_round_start:
        if b.phase == STARTUP and b.losses >= 6 and too_many_lost(c):
            b.was_full = 1  # section 5.3.1.3
            b.flight_long = max(path_amount(c, 100), b.flight_latest)
        bound_by_losses(c)
        b.rate_latest = tolerant(c, d.rate)
        b.flight_latest = tolerant(c, d.sampled)
    see_full(c)
    see_round_trip(c, now)


# ProbeBW (section 5.3.3).


def _start_down(c: Any, now: int) -> None:
    b, d = c.bbr, c.delivery
    b.phase = DOWN
    b.losses = 0
    b.rate_latest = 0
    b.flight_latest = 0
    b.up_share = ANY_AMOUNT
    b.cycle_at = now
    b.acks = STOPPING
    # Two to three seconds: connections that share a path are not to try at the same time.
    draw = ((c.iss & 0xFFFF_FFFF) * 0x9E37 + d.delivered * 0x79B9 & 0xFFFF_FFFF) >> 7
    b.wait = 2 * SECOND + draw % 1000 * MILLISECOND
    b.rounds_waited = draw & 1
    start_round(c)


def _go_round(c: Any, size: int, now: int) -> None:
    """See whether the next phase of ProbeBW begins."""
    b = c.bbr
    _follow_trial(c, size, now)
    if b.phase == DOWN or b.phase == CRUISE:
        rounds = min(min(path_amount(c, 100), c.cwnd) // c.mss, _MOST_RENO_ROUNDS)
        if now - b.cycle_at > b.wait or b.rounds_waited >= max(rounds, 1):
            b.phase = REFILL
            b.rate_short = ANY_AMOUNT
            b.flight_short = ANY_AMOUNT
            b.up_rounds = 0
            b.up_acked = 0
            b.acks = REFILLING
            start_round(c)
        elif b.phase == DOWN and c.pipe <= min(with_headroom(c), amount(c, 100)):
            b.phase = CRUISE
    elif b.phase == REFILL:
        if b.round_start:
            b.phase = UP
            b.is_trial = 1
            b.acks = STARTING
            start_round(c)
            _expect_more(c)
            _raise_share(c)
    elif b.is_full and c.cwnd >= b.flight_long:
        _expect_more(c)
    elif b.is_full_now:
        _start_down(c, now)


def _expect_more(c: Any) -> None:
    """The rate is tried from here."""
    c.bbr.full_rate = c.delivery.rate
    c.bbr.full_count = 0
    c.bbr.is_full_now = 0


def _follow_trial(c: Any, size: int, now: int) -> None:
    """Learn from a trial of a higher rate how much may be under way."""
    b, d = c.bbr, c.delivery
    if b.round_start and b.acks == STARTING:
        b.acks = FEEDBACK
    elif b.round_start and b.acks == STOPPING:
        b.acks = SETTLED
        b.is_trial = 0
        if d.limited == 0:
            b.rate_before = b.rate_now
            b.rate_now = 0
    if too_many_lost(c):
        if b.is_trial and b.acks != STARTING:  # it is of bytes that were sent in the trial
            b.is_trial = 0
            if d.limited == 0:
                b.flight_long = max(d.in_flight, min(path_amount(c, 100), c.cwnd) * 7 // 10)
            if b.phase == UP:
                _start_down(c, now)
    elif b.flight_long < ANY_AMOUNT:
        b.flight_long = max(b.flight_long, d.in_flight)
        if b.phase == UP and b.is_full and c.cwnd >= b.flight_long:
            b.up_acked += size
            if b.up_acked >= b.up_share:
                b.flight_long = min(b.flight_long + b.up_acked // b.up_share, LARGEST)
                b.up_acked %= b.up_share
            if b.round_start:
                _raise_share(c)


def _raise_share(c: Any) -> None:
    """Let the bound grow twice as fast in each round of a trial: by one segment, two, four."""
    b = c.bbr
    b.up_share = max(c.cwnd // (c.mss << b.up_rounds), 1)
    b.up_rounds = min(b.up_rounds + 1, 14)


# ProbeRTT (section 5.3.4).


def _probe_rtt(c: Any, now: int) -> None:
    """Empty the path for a short time, if its round trip was not seen for long."""
    b = c.bbr
    if b.phase != PROBE_RTT:
        if b.is_stale == 0 or b.was_idle:
            return
        b.cwnd_before = c.cwnd if c.recovery == 0 else max(b.cwnd_before, c.cwnd)
        b.phase = PROBE_RTT
        b.rtt_until = 0
        b.acks = STOPPING
        start_round(c)
    c.delivery.limited_until = max(c.delivery.delivered + c.pipe, 1)
    if b.rtt_until == 0:
        if c.pipe <= _trial_window(c):
            b.rtt_until = now + _RTT_TIME
            b.rtt_round_done = 0
            start_round(c)
        return
    if b.round_start:
        b.rtt_round_done = 1
    if b.rtt_round_done:
        _end_probe_rtt(c, now)


def _end_probe_rtt(c: Any, now: int) -> None:
    b = c.bbr
    if b.rtt_until == 0 or now <= b.rtt_until:
        return
    b.trial_rtt_at = now
    c.cwnd = max(c.cwnd, b.cwnd_before)
    b.rate_short = ANY_AMOUNT
    b.flight_short = ANY_AMOUNT
    if b.was_full:
        _start_down(c, now)
        b.phase = CRUISE
    else:
        b.phase = STARTUP


def _trial_window(c: Any) -> int:
    return max(path_amount(c, 50), 4 * c.mss)


# The rate and the window (section 5.6).


def resume(c: Any, now: int) -> None:
    """The connection was idle, as the application had nothing to send (section 5.4.1)."""
    b = c.bbr
    b.was_idle = 1
    b.extra_at = now
    b.extra_delivered = 0
    if DOWN <= b.phase <= UP and b.rate_now + b.rate_before:
        set_rate(c, paced_rate(c))
    elif b.phase == PROBE_RTT:
        _end_probe_rtt(c, now)


def control(c: Any, size: int) -> None:
    """Set the rate and the window by the model, when so many bytes were delivered."""
    b = c.bbr
    gain, share = 100, 200
    if b.phase == STARTUP:
        gain = 277
    elif b.phase == DRAIN:
        gain = 50
    elif b.phase == DOWN:
        gain = 90
    elif b.phase == UP:
        gain, share = 125, 225
    elif b.phase == PROBE_RTT:
        share = 50
    rate = paced_rate(c) * gain // 100
    if rate and (b.was_full or rate > c.pacing_rate):
        set_rate(c, rate)
    target = amount(c, share) + max(b.extra_now, b.extra_before)
    if b.was_full:
        c.cwnd = min(c.cwnd + size, target)
    elif c.cwnd < target or c.delivery.delivered < 10 * c.mss:
        c.cwnd += size
    bound = b.flight_short
    if b.phase == CRUISE or b.phase == PROBE_RTT:
        bound = min(bound, with_headroom(c))
    elif DOWN <= b.phase <= UP:
        bound = min(bound, b.flight_long)
    if b.phase == PROBE_RTT:
        bound = min(bound, _trial_window(c))
    c.cwnd = min(max(min(c.cwnd, bound), 4 * c.mss), LARGEST)


def set_rate(c: Any, rate: int) -> None:
    """Send at this rate, in bursts of a millisecond, or of two segments."""
    c.pacing_rate = min(max(rate, c.mss), FASTEST)
    c.quantum = min(max(c.pacing_rate // 1000, 2 * c.mss), 1 << 20)
