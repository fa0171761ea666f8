"""Token bucket: polices every flow to a rate and a burst.

Usage: TokenBucket(name, rate, burst, capacity, full, mode, connects)
Requires and provides: one service, of the type `connects`.

A flow is the packets with one pair of addresses, one protocol and one pair of L4 ports. Each flow has a bucket of
`burst` bytes that fills at `rate` bytes a second of the packets' own time. A packet passes if the bucket contains at
least as many bytes as the packet has; they are then taken out. This is the single-rate marker of RFC 2697 (section 3,
colour-blind, excess burst 0): packets that it marks red are dropped. Packets other than IPv4 pass.

A GSO packet counts as the packets that the device will make of it, with a header each. It passes or is dropped as a
whole. If it is longer than the burst, while each of its packets is not, it passes when the bucket is full. The bucket
then owes the rest, so that the mean rate is kept.

State
    `buckets`, a row for each flow. A bucket that is full again is as good as new: its row expires then.
Events and handlers
    arrival: `police`, on every replica.
Drops
    policed: the flow's bucket contains fewer bytes than the packet has.
    policer-full: a new flow finds the table full, and `full` is "refuse".
Modes
    replicated, sharded, locked.
Example
    TokenBucket("policer", rate=125_000, burst=30_000)  # 1 Mbit/s for each flow
"""

from typing import Any

from scout.io.packet import SECOND
from scout.paths.framework.events import Handler
from scout.paths.framework.flow_table import new_table, place, policy_of
from scout.paths.framework.service import Service
from scout.paths.model.router import GraphError
from scout.paths.model.verdict import drop
from scout.paths.wire.flow import five_tuple
from scout.paths.wire.segments import segments

__all__ = ["TokenBucket", "police"]

POLICED, FULL = drop("policed"), drop("policer-full")

MOST_BURST = 4_000_000_000  # bytes: with a GSO packet more, in billionths of a byte, it fits an int64
MOST_RATE = 1_000_000_000_000  # bytes a second

BUCKET = [
    ("spent", "i8"),  # what is missing from a full bucket, billionths of a byte: a new row is a full bucket
    ("time", "i8"),  # when that was so, nanoseconds
]


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
    if bucket.spent > 0:  # the row has not expired, so the product fits an int64
        bucket.spent = max(bucket.spent - (packet.timestamp - bucket.time) * rate, 0)
    bucket.time = packet.timestamp
    count, size = segments(frame, end, packet)
    wanted = size if count == 1 or size <= burst else max(burst, size // count)
    passes = bucket.spent + wanted * SECOND <= burst * SECOND
    if passes:
        bucket.spent += size * SECOND
    if bucket.spent > burst * SECOND:  # it owes: it is not as good as new before that is paid, too
        bucket.used += (bucket.spent - burst * SECOND) // rate + 1
    return 0 if passes else POLICED


class TokenBucket(Service):
    """Polices flows.

    Parameters
    ----------
    name : str
    rate : int
        Bytes a second, from the IPv4 header on: the committed information rate.
    burst : int
        Bytes: the committed burst size. A packet longer than that never passes; of a GSO packet this holds for each
        packet that the device makes of it.
    capacity : int
        About how many flows have a bucket at a time; a power of two.
    full : {"evict", "refuse"}
        Treatment of a new flow when the table is full. "evict": it gets the bucket, full again, of the flow that has
        sent nothing for longest (counted as `evicted`). "refuse": its packets are dropped (counted as `table-full`).
    mode, connects : str
        As for `Service`; all modes but "atomic".

    Raises
    ------
    GraphError
        If the rate, the burst or `full` makes no sense.

    Examples
    --------
    ::

        graph.add(TokenBucket("policer", rate=125_000, burst=30_000))  # 1 Mbit/s for each flow
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
        connects: str = "ipv4",
    ) -> None:
        if not 1 <= rate <= MOST_RATE or not 1 <= burst <= MOST_BURST:
            raise GraphError(f"{name}: rate {rate}, burst {burst}; give 1 to {MOST_RATE} and 1 to {MOST_BURST} bytes")
        super().__init__(
            name,
            {"buckets": new_table(capacity, BUCKET)},
            [Handler(police)],
            connects,
            mode,
            rate=rate,
            burst=burst,
            refill=burst * SECOND // rate + 1,
            policy=policy_of(name, full),
        )
