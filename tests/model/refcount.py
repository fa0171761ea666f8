"""Policy `refcount`, the paper's: the first to decrement a group's count is its primary.

The producer stamps the first entry of each group of `batch` entries with its members, twice: the upper half
says who they are, the lower half who has yet to dequeue. A replica takes its bit by one atomic subtraction;
who finds both halves equal was the first, and signs the group by a compare-exchange on its owner. The signature
is the election; the bit says who need not try. Who has no bit to take (its predecessor took it, or it was no
member yet) signs if nobody has: else the group of a first that died before it signed, or of members that have
all left, would have no primary (F3).

Orders. The subtraction is acq_rel, as a reference count's is; the signature's compare-exchange hands over
nothing but itself.
"""

from typing import Any

from model.explore import put
from model.ring import Producer, Replica, RingModel, Shared

__all__ = ["RefcountModel"]


class RefcountModel(RingModel):
    stamps = True
    bugs = (
        *RingModel.bugs,
        "mid-group",  # F4: leave with a group unfinished
        "nobody",  # F5: stamp without members
        "plain signature",  # the owner is stored, not compared and exchanged
        "no signature",  # the bit alone elects
        "only members sign",  # F3: who is not in the upper half never signs
        "late signature",  # sign in the middle of a group
        "revived other",  # a successor whose bit is taken does not sign
    )

    def __init__(self, bug: str = "", group: int = 1, **sizes: Any) -> None:
        super().__init__(bug, **{"interval": group, "batch": group, **sizes})
        self.group = group

    def mark(self, members: int) -> Any:
        return members, members

    def _first(self, me: Replica) -> int:
        return me.next // self.group * self.group % self.entries

    def free(self, s: Shared, me: Replica) -> bool:
        """Only between groups (F4), and not while a signature at head is our own (F17)."""
        if self.bug == "hasty leave":
            return me.next % self.group == 0
        if me.next % self.group:
            return self.bug == "mid-group"
        entry = s.ring[me.next % self.entries]
        return entry.owner != me.slot + 1 or s.tail <= me.next

    def room(self, me: Replica) -> int:
        return min(me.tail - me.next, self.group - me.next % self.group)

    def open(self, s: Shared, me: Replica) -> Any:
        """Load the mark of the group's first entry (acquire, pairs with the subtractions).

        In the middle of a group nobody signs any more: who is to sign stands at its first entry.
        """
        if me.next % self.group and self.bug != "late signature":
            return s, me._replace(at="owner")
        members, waiting = s.ring[self._first(me)].mark
        if waiting >> me.slot & 1:
            return s, me._replace(at="take")
        if self.bug == "only members sign" and not members >> me.slot & 1:
            return self.opened(s, me, self.room(me), False)
        if self.bug == "no signature":
            return self.opened(s, me, self.room(me), bool(me.seen))
        return s, me._replace(at="owner")

    def take(self, s: Shared, me: Replica) -> Any:
        """Subtract our bit (acq_rel). Nobody else does, so it is still there."""
        at = self._first(me)
        members, waiting = s.ring[at].mark
        left = put(s.ring, at, s.ring[at]._replace(mark=(members, waiting & ~(1 << me.slot))))
        s = s._replace(ring=left)
        if self.bug == "no signature":
            return self.opened(s, me, self.room(me), members == waiting)
        if members == waiting:
            return s, me._replace(at="sign")
        return self.opened(s, me, self.room(me), False)

    def owner(self, s: Shared, me: Replica) -> Any:
        """Load the owner (acquire): who comes back to a group, or has no bit in it, finds itself, another or nobody."""
        owner = s.ring[self._first(me)].owner
        if owner == 0 and (me.next % self.group == 0 or self.bug == "late signature") and self.bug != "revived other":
            return s, me._replace(at="sign")
        return self.opened(s, me, self.room(me), owner == me.slot + 1)

    def sign(self, s: Shared, me: Replica) -> Any:
        """Compare-exchange the owner, 0 to ours (acq_rel)."""
        at = self._first(me)
        if s.ring[at].owner and self.bug != "plain signature":
            return self.opened(s, me, self.room(me), False)
        s = s._replace(ring=put(s.ring, at, s.ring[at]._replace(owner=me.slot + 1)))
        return self.opened(s, me, self.room(me), True)
