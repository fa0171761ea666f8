"""The model that BBR has of a path: its rate, its round trip, and how much may be under way (section 5.5)."""

from typing import Any

from scout.paths.protocols.tcp.bbr_state import ANY_AMOUNT, REFILL, STARTUP, UP

__all__ = [
    "amount",
    "bound_by_losses",
    "paced_rate",
    "path_amount",
    "rate_of",
    "see_aggregation",
    "see_full",
    "see_losses",
    "see_rate",
    "see_round_trip",
    "start_round",
    "tolerant",
    "too_many_lost",
    "with_headroom",
]

SECOND = 1_000_000_000
_LOSS_SHARE = 50  # a loss of more than one in so many is too much
_RTT_MEMORY = 10 * SECOND
_TRIAL_AFTER = 5 * SECOND  # since the lowest round trip was seen
_EXTRA_ROUNDS = 5  # of each of two windows
_MOST = 1 << 30  # bytes under way
_LONGEST = 1 << 27  # microseconds of a round trip


def rate_of(c: Any) -> int:
    """The rate that the path takes."""
    return min(max(c.bbr.rate_now, c.bbr.rate_before), c.bbr.rate_short)


def paced_rate(c: Any) -> int:
    """The rate at which to send: a little less than the path takes, so that no queue is left.

    A bound that losses have set is none that makes a queue. If the margin held for it too, a path that loses a few
    packets in each round would be thought slower by it in each round.
    """
    return min(max(c.bbr.rate_now, c.bbr.rate_before) * 99 // 100, c.bbr.rate_short)


def path_amount(c: Any, percent: int) -> int:
    """So many percent of what fills the path: rate times round trip."""
    b = c.bbr
    if b.min_rtt == 0 or b.rate_now + b.rate_before == 0:
        return min(10 * c.mss, max(2 * c.mss, 14600)) * percent // 100
    # Microseconds, so that the product fits in an int64.
    time = min(max(b.min_rtt // 1000, 1), _LONGEST)
    return min(rate_of(c) * time // 1_000_000, _MOST) * percent // 100


def amount(c: Any, percent: int) -> int:
    """The same with what bursts need on their way."""
    enough = max(path_amount(c, percent), 3 * c.quantum, 4 * c.mss)
    return enough + 2 * c.mss if c.bbr.phase == UP else enough


def with_headroom(c: Any) -> int:
    """The bytes that may be under way so that others find room (section 5.3.3.2)."""
    b = c.bbr
    if b.flight_long >= ANY_AMOUNT:
        return ANY_AMOUNT
    return max(b.flight_long - max(c.mss, b.flight_long * 15 // 100), 4 * c.mss)


def start_round(c: Any) -> None:
    """A round ends when what is sent from now on is delivered."""
    c.bbr.round_end = c.delivery.delivered
    c.bbr.is_full = 0
    c.bbr.round_start = 0


def too_many_lost(c: Any) -> bool:
    """True if more was lost of the newest sample's round than chance explains: 2 %, and more than two segments.

    The draft has 2 % alone. On a path that few segments fill, that is less than one.
    """
    return c.delivery.newly_lost > max(c.delivery.in_flight // _LOSS_SHARE, 2 * c.mss)


def tolerant(c: Any, delivered: int) -> int:
    """The bytes that were sent so that so many were delivered; just those if too many of them were lost.

    The bounds that losses set are to be what the path delivers. Without the few bytes that chance has lost they would
    fall a little in each round.
    """
    d = c.delivery
    if d.newly_lost == 0 or d.sampled == 0 or too_many_lost(c):
        return delivered
    return delivered + delivered * min(d.newly_lost * 1000 // d.sampled, 1000) // 1000


def see_losses(c: Any) -> None:
    """See whether bytes counted as lost since the last acknowledgement."""
    b = c.bbr
    if c.delivery.lost > b.lost_seen:
        if b.losses == 0:
            b.loss_round_end = c.delivery.delivered
        b.losses += 1
    b.lost_seen = c.delivery.lost


def see_rate(c: Any) -> None:
    """Take a sample: the rate, and whether rounds end."""
    b, d = c.bbr, c.delivery
    b.rate_latest = max(b.rate_latest, tolerant(c, d.rate))
    b.flight_latest = max(b.flight_latest, tolerant(c, d.sampled))
    if d.since >= b.loss_round_end:
        b.loss_round_end = d.delivered
        b.loss_round_start = 1
    if d.since >= b.round_end:
        start_round(c)
        b.round_count += 1
        b.rounds_waited += 1
        b.round_start = 1
    if d.rate >= max(b.rate_now, b.rate_before) or d.limited == 0:
        b.rate_now = max(b.rate_now, d.rate)


def bound_by_losses(c: Any) -> None:
    """A round has ended: bytes that were lost in it bound the rate until the next trial (section 5.5.10.3)."""
    b = c.bbr
    if b.losses and b.phase not in (STARTUP, REFILL, UP):
        if b.rate_short >= ANY_AMOUNT:
            b.rate_short = max(b.rate_now, b.rate_before)
        if b.flight_short >= ANY_AMOUNT:
            b.flight_short = c.cwnd
        b.rate_short = max(b.rate_latest, b.rate_short * 7 // 10)
        b.flight_short = max(b.flight_latest, b.flight_short * 7 // 10)
    b.losses = 0


def see_full(c: Any) -> None:
    """The path is full when the rate has not grown by a quarter in three rounds (section 5.3.1.2)."""
    b, d = c.bbr, c.delivery
    if b.is_full_now or d.limited:
        return
    if d.rate * 4 >= b.full_rate * 5:
        b.full_rate = d.rate
        b.full_count = 0
    elif b.round_start:
        b.full_count += 1
        if b.full_count >= 3:
            b.is_full_now = 1
            b.was_full = 1


def see_round_trip(c: Any, now: int) -> None:
    """The lowest round trip of ten seconds, and of the time since ProbeRTT."""
    b, d = c.bbr, c.delivery
    b.is_stale = 1 if now - b.trial_rtt_at > _TRIAL_AFTER else 0
    if d.rtt < b.trial_rtt or b.trial_rtt == 0 or b.is_stale:
        b.trial_rtt = d.rtt
        b.trial_rtt_at = now
    if b.min_rtt == 0 or b.trial_rtt < b.min_rtt or now - b.min_rtt_at > _RTT_MEMORY:
        b.min_rtt = b.trial_rtt
        b.min_rtt_at = b.trial_rtt_at


def see_aggregation(c: Any, size: int, now: int) -> None:
    """See how much more is acknowledged at once than the rate explains (section 5.5.9)."""
    b = c.bbr
    # Microseconds, as in `path_amount`; a second is long enough to be no burst.
    time = min(now - b.extra_at, SECOND) // 1000
    expected = min(rate_of(c) * time // 1_000_000, _MOST)
    if b.extra_delivered <= expected:
        b.extra_delivered = 0
        b.extra_at = now
        expected = 0
    b.extra_delivered += size
    if b.round_count - b.extra_round >= _EXTRA_ROUNDS:
        b.extra_round = b.round_count
        b.extra_before = b.extra_now
        b.extra_now = 0
    if b.was_full or b.round_start:
        extra = min(b.extra_delivered - expected, c.cwnd)
        b.extra_now = max(b.extra_now, extra) if b.was_full else extra
