"""Policy REFCOUNT of `ring.election`, the paper's: the first to decrement a group's count is its primary.

The producer stamps the first entry of each group with the mask of members, a count with names: a mark is (owner,
waiting). Each replica takes its own bit; the first, which finds that none has signed, signs by the same
compare-exchange, whether it has a bit to take or not: a group of members that have all left, or that were not
yet members, has a primary, too. The decision is stored with the group's number, for the group's later entries and for a
successor: no replica signs in the middle of a group.

Orders. Compare-exchange and subtraction are acq_rel, as a reference count's; they hand over nothing but the mark.
The role is stored before the group's number (release), both read by the owner and its successor only.
"""

from typing import Any

from model.explore import put
from model.ring import Replica, RingModel, Shared

__all__ = ["GroupModel", "RefcountModel"]


class GroupModel(RingModel):
    """The common part of policies by groups: the role is decided once a group."""

    stamps = True

    def __init__(self, bug: str = "", group: int = 1, **sizes: Any) -> None:
        super().__init__(bug, **{"interval": group, "batch": group, **sizes})
        self.group = group

    def first(self, s: Shared, me: Replica) -> int:
        return s.slots[me.slot].head // self.group * self.group

    def open(self, s: Shared, me: Replica) -> Any:
        """If the group at head is decided, go by that: own words only."""
        member, first = s.slots[me.slot], self.first(s, me)
        if member.group == first + 1:
            return self.open_group(s, me, member.role)
        return s, me._replace(at="decide")

    def decide(self, s: Shared, me: Replica) -> Any:
        raise NotImplementedError

    def decided(self, s: Shared, me: Replica, role: int) -> Any:
        """Store the role."""
        return self._set(s, me.slot, role=role), me._replace(seen=None, at="note_group")

    def note_group(self, s: Shared, me: Replica) -> Any:
        """Store the group's number (release, after the role); the batch is open."""
        s = self._set(s, me.slot, group=self.first(s, me) + 1)
        return self.open_group(s, me, s.slots[me.slot].role)

    def open_group(self, s: Shared, me: Replica, role: int) -> Any:
        head, first = s.slots[me.slot].head, self.first(s, me)
        return self.opened(s, me, min(self.most(s, me), first + self.group - head), bool(role))


class RefcountModel(GroupModel):
    bugs = (
        *RingModel.bugs,
        "mid-group",  # leave with a group unfinished
        "nobody",  # stamp without members
        "plain signature",  # the owner is stored, not compared and exchanged
        "two steps",  # the paper's count alone elects; after a death between decrement and note there is none
        "only members sign",  # a replica without a bit never signs
    )

    def stamped(self, members: int) -> Any:
        return (-1, members)

    def nothing_left(self, s: Shared, me: Replica) -> bool:
        """Not with a group that is ours unfinished, nor where a predecessor has signed the one at head."""
        member, first = s.slots[me.slot], self.first(s, me)
        if member.head != first:
            return member.role == 0 or self.bug == "mid-group"
        mark = s.ring[first % self.entries].mark
        return member.head >= s.tail or mark[0] != me.slot

    def decide(self, s: Shared, me: Replica) -> Any:
        """`_dequeue`: load the mark (acquire)."""
        mark = s.ring[self.first(s, me) % self.entries].mark
        owner, waiting = mark
        ours = waiting >> me.slot & 1
        if self.bug == "two steps":
            return s, me._replace(at="take", seen=None) if ours else me._replace(at="look_only")
        if owner == -1 and (ours or self.bug != "only members sign"):
            return s, me._replace(seen=mark, at="sign")
        if owner == me.slot:
            return self.decided(s, me, 1)
        return (s, me._replace(at="take")) if ours else self.decided(s, me, 0)

    def look_only(self, s: Shared, me: Replica) -> Any:
        """Only with the seeded bug."""
        return self.decided(s, me, 0)

    def sign(self, s: Shared, me: Replica) -> Any:
        """Compare-exchange the mark: our bit out, we are its owner. If it has changed, look again."""
        at = self.first(s, me) % self.entries
        owner, waiting = s.ring[at].mark
        if (owner, waiting) != me.seen and self.bug != "plain signature":
            return s, me._replace(seen=None, at="decide")
        mark = (me.slot, waiting & ~(1 << me.slot))
        return self.decided(s._replace(ring=put(s.ring, at, s.ring[at]._replace(mark=mark))), me, 1)

    def take(self, s: Shared, me: Replica) -> Any:
        """Subtract our bit. Nobody else does, so it is still there."""
        at = self.first(s, me) % self.entries
        owner, waiting = s.ring[at].mark
        mark = (owner, waiting & ~(1 << me.slot))
        s = s._replace(ring=put(s.ring, at, s.ring[at]._replace(mark=mark)))
        return self.decided(s, me, int(self.bug == "two steps" and waiting == s.members))
