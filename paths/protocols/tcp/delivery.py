"""The delivery rate: how fast the peer gets the bytes that are sent (draft-ietf-ccwg-bbr section 4.1).

Some of the bytes under way are marked, about eight in a round trip. When the peer has one of them, the rate is the
amount that was delivered since it was sent, in the longer of two times: the one in which the peer got that amount, and
the one in which it was sent.
"""

from typing import Any

from scout.paths.protocols.tcp.bbr_state import MARKS

__all__ = ["FASTEST", "begin_flight", "forget_marks", "mark_limited", "mark_sent", "take_delivered"]

SECOND = 1_000_000_000
FASTEST = 1 << 35
"""Bytes a second; so many times the times here fit in an int64."""

_MOST = 1 << 33  # bytes of a sample: so many times SECOND fit in an int64


def _mark(d: Any, index: int) -> Any:
    return d.marks[(d.mark_head + index) & MARKS - 1]


def begin_flight(c: Any, now: int) -> None:
    """Bytes are about to be sent: after an idle time the time of samples begins here."""
    if c.pipe == 0:
        c.delivery.first_sent_at = now
        c.delivery.delivered_at = now


def mark_sent(c: Any, now: int) -> None:
    """New bytes were sent, up to `snd_nxt`: mark the last one, unless there is a mark near to it."""
    d = c.delivery
    if d.mark_count == MARKS or (d.mark_count and now - _mark(d, d.mark_count - 1).sent_at < c.srtt >> 3):
        return
    added = _mark(d, d.mark_count)
    d.mark_count += 1
    added.last = c.snd_nxt
    added.delivered = d.delivered
    added.delivered_at = d.delivered_at
    added.first_sent_at = d.first_sent_at
    added.sent_at = now
    added.in_flight = c.pipe
    added.lost = d.lost
    added.limited = 1 if d.limited_until else 0


def mark_limited(c: Any) -> None:
    """The application has given less than the path could take: samples of what is under way say little."""
    c.delivery.limited_until = max(c.delivery.delivered + c.pipe, 1)


def forget_marks(c: Any) -> None:
    """Take no samples of the bytes that are under way."""
    c.delivery.mark_count = 0


def take_delivered(c: Any, size: int, now: int) -> bool:
    """So many more bytes are delivered; True if there is a new sample."""
    d = c.delivery
    d.delivered += size
    d.delivered_at = now
    if d.limited_until and d.delivered > d.limited_until:
        d.limited_until = 0
    reached = max(c.snd_una, c.rack_fack)
    covered = 0
    while covered < d.mark_count and _mark(d, covered).last <= reached:
        covered += 1
    if covered == 0:
        return False
    newest = _mark(d, covered - 1)
    d.mark_head = (d.mark_head + covered) & MARKS - 1
    d.mark_count -= covered
    d.first_sent_at = newest.sent_at
    d.rtt = max(now - newest.sent_at, 1)
    d.since = newest.delivered
    d.sampled = d.delivered - newest.delivered
    d.in_flight = newest.in_flight
    d.newly_lost = d.lost - newest.lost
    d.limited = newest.limited
    time = max(newest.sent_at - newest.first_sent_at, now - newest.delivered_at, 1)
    # A shorter time than any round trip is an error of measurement.
    d.rate = min(min(d.sampled, _MOST) * SECOND // time, FASTEST) if time >= c.min_rtt else 0
    return True
