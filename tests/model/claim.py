"""Policy `claim`: who comes first to an unclaimed entry claims a batch by one compare-exchange on its mark.

A mark is (number, count, slot); its number tells a claim of this round from one of an earlier round, so the
producer writes no mark. All follow one chain of claims: they begin at one place (or at a multiple of
`interval`, which no claim crosses) and jump by the claimed count.

Orders. The payload is handed over by TAIL; the mark hands over nothing but itself: its compare-exchange
could be relaxed, and is acq_rel for the price of the same instruction.
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
        "no boundary",  # a claim crosses a multiple of interval
        "forgets its claim",  # a successor is other for what its slot claimed
    )

    def free(self, s: Shared, me: Replica) -> bool:
        """Not while the mark at head is our own claim: a predecessor may have died over it (F17)."""
        mark = s.ring[me.next % self.entries].mark
        return self.bug == "hasty leave" or mark is None or mark[0] != me.next or mark[2] != me.slot

    def open(self, s: Shared, me: Replica) -> Any:
        """Load the mark at head (acquire)."""
        mark = s.ring[me.next % self.entries].mark
        if mark is not None and (mark[0] == me.next or self.bug == "untagged"):
            primary = mark[2] == me.slot and self.bug != "forgets its claim"
            return self.opened(s, me, mark[1], primary)
        return s, me._replace(seen=mark, at="claim")

    def claim(self, s: Shared, me: Replica) -> Any:
        """Compare-exchange the mark; who loses it follows the winner."""
        at = me.next % self.entries
        entry = s.ring[at]
        if entry.mark != me.seen and self.bug != "plain store":
            return s, me._replace(seen=None, at="open")
        count = min(me.tail - me.next, self.batch) if self.bug == "no boundary" else self.room(me)
        ring = put(s.ring, at, entry._replace(mark=(me.next, count, me.slot)))
        return self.opened(s._replace(ring=ring), me, count, True)
