"""Policy CLAIM of `ring.election`: the first replica at an unclaimed entry claims a batch by one compare-exchange.

A mark is (number, count, slot); its number tells a claim of this round from one of an earlier round, so the
producer writes no mark. All follow one chain of claims: they begin at one place (or at a multiple of
`interval`, which no claim crosses) and jump by the claimed count.

Orders. The compare-exchange is acq_rel and the mark is loaded with acquire: a claim may cover requests beyond the
TAIL that a follower has seen; their entries come to it through the mark, from the claimant, which had seen them.
"""

from typing import Any

from model.explore import put
from model.ring import Replica, RingModel, Shared

__all__ = ["ClaimModel"]


class ClaimModel(RingModel):
    bugs = (
        *RingModel.bugs,
        "plain store",  # the claim is not a compare-exchange
        "untagged",  # a claim of the round before is taken for one of this
        "forgets its claim",  # a successor is other for what its slot claimed
    )

    def nothing_left(self, s: Shared, me: Replica) -> bool:
        """Not while the mark at head is our own claim: a predecessor died over it."""
        head = s.slots[me.slot].head
        mark = s.ring[head % self.entries].mark
        return mark is None or mark[0] != head or mark[2] != me.slot

    def open(self, s: Shared, me: Replica) -> Any:
        """`_claim`: load the mark at head (acquire)."""
        head = s.slots[me.slot].head
        mark = s.ring[head % self.entries].mark
        if mark is not None and (mark[0] == head or self.bug == "untagged"):
            primary = mark[2] == me.slot and self.bug != "forgets its claim"
            return self.opened(s, me, mark[1], primary)
        return s, me._replace(seen=mark, at="claim")

    def claim(self, s: Shared, me: Replica) -> Any:
        """Compare-exchange the mark; a replica that loses it follows the winner."""
        head = s.slots[me.slot].head
        at = head % self.entries
        entry = s.ring[at]
        if entry.mark != me.seen and self.bug != "plain store":
            return s, me._replace(seen=None, at="open")
        count = min(self.most(s, me), self.batch)
        ring = put(s.ring, at, entry._replace(mark=(head, count, me.slot)))
        return self.opened(s._replace(ring=ring), me, count, True)
