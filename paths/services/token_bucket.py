"""Token bucket: polices every flow to a rate and a burst.

Usage: TokenBucket(name, rate, burst, capacity, full, mode, service)
Requires and provides: one service, of the type that is given.
Drops: policed, policer-full.

The single-rate marker of RFC 2697 (section 3, colour-blind, excess burst 0) with what it marks red dropped. Each
flow (addresses, protocol, ports) has a bucket of `burst` bytes that fills at `rate` bytes a second of the packets'
own time; a packet passes if the bucket has its size. What is no IPv4 flow passes. A bucket that is full again is
as good as new, so its row expires then.
"""

from typing import Any

from scout.io.access import length
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.framework.table import EVICT, REFUSE, new_table, place
from scout.paths.model.graph import GraphError
from scout.paths.model.stage import drop
from scout.paths.wire.flow import five_tuple

__all__ = ["TokenBucket", "police"]

POLICED, FULL = drop("policed"), drop("policer-full")

SECOND = 1_000_000_000
MOST_BURST = 4_000_000_000  # bytes; the tokens of a bucket, in billionths of a byte, fit an int64
MOST_RATE = 1_000_000_000_000  # bytes a second


def police(
    frame: Any, end: Any, packet: Any, buckets: Any, counts: Any, rate: int, burst: int, refill: int, policy: int
) -> int:
    """Take the packet's size out of its flow's bucket; drop it if there is less."""
    key, more = five_tuple(frame, end)
    if key == 0:
        return 0
    row = place(buckets, counts, key, more, packet.timestamp, refill, policy)
    if row < 0:
        return FULL
    bucket = buckets[row]
    if bucket.time == 0:
        bucket.tokens = burst * SECOND
        bucket.time = packet.timestamp
    elapsed = packet.timestamp - bucket.time
    if elapsed > 0:  # packets of several ports may be a little out of order
        # Not more than it takes to fill it: the product stays small.
        bucket.tokens = min(bucket.tokens + min(elapsed, refill) * rate, burst * SECOND)
        bucket.time = packet.timestamp
    size = length(frame, end, packet) * SECOND
    if bucket.tokens < size:
        return POLICED
    bucket.tokens -= size
    return 0


class TokenBucket(Service):
    """Polices flows.

    Parameters
    ----------
    name : str
    rate : int
        Bytes a second, from the header of the service on: the committed information rate.
    burst : int
        Bytes: the committed burst size. A packet longer than that never passes.
    capacity : int
        Flows with a bucket at most, about; a power of two.
    full : {"evict", "refuse"}
        What becomes of a new flow when the table is full: it gets the bucket of the one that has sent nothing for
        longest (which begins anew with a full one, counted as `evicted`), or its packets are dropped (counted
        as `table-full`).
    mode, service : str
        As for `Service`; all modes but "atomic" are allowed.

    Examples
    --------
    ::

        graph.add(TokenBucket("policer", rate=125_000, burst=30_000))  # 1 Mbit/s a flow
        graph.connect("ip", "policer", "left")
    """

    def __init__(
        self,
        name: str,
        rate: int,
        burst: int,
        capacity: int = 1 << 14,
        full: str = "evict",
        mode: str = "replicated",
        service: str = "ipv4",
    ) -> None:
        if not 1 <= rate <= MOST_RATE or not 1 <= burst <= MOST_BURST:
            raise GraphError(f"{name}: rate {rate}, burst {burst}; give 1 to {MOST_RATE} and 1 to {MOST_BURST} bytes")
        if full not in ("evict", "refuse"):
            raise GraphError(f"{name}: full={full!r}; use evict or refuse")
        super().__init__(
            name,
            {"buckets": new_table(capacity, [("tokens", "i8"), ("time", "i8")])},
            [Handler(police)],
            service,
            mode,
            rate=rate,
            burst=burst,
            refill=burst * SECOND // rate + 1,
            policy=EVICT if full == "evict" else REFUSE,
        )
