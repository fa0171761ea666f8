"""Policy MODULO of `ring.election`: the members stamped on a group's first entry take turns, without any atomic.

A replica that leaves is still primary of groups that are stamped with it. It goes on until it finds a group that is
not stamped with it and was published after it had cleared its bit. A plain store stamps a group; the release store of
TAIL makes the stamp visible.
"""

from typing import Any

from model.refcount import GroupModel
from model.ring import Replica, RingModel, Shared

__all__ = ["ModuloModel"]


class ModuloModel(GroupModel):
    bugs = (
        *RingModel.bugs,
        "nobody",  # stamp without members
        "leaves at once",
        "first without",  # leave at the first group that is stamped without our bit
        "members now",  # the turn is taken from MEMBERS as it is when a replica looks
    )

    def stamped(self, members: int) -> Any:
        return members

    def nothing_left(self, s: Shared, me: Replica) -> bool:
        head = s.slots[me.slot].head
        if self.bug == "leaves at once":
            return True
        if head >= s.tail or head < me.least:
            return False
        return not s.ring[self.first(s, me) % self.entries].mark >> me.slot & 1

    def decide(self, s: Shared, me: Replica) -> Any:
        """`_in_turn`: load the mark of the group's first entry; a plain load, TAIL's acquire stands before it."""
        first = self.first(s, me)
        members = s.members if self.bug == "members now" else s.ring[first % self.entries].mark
        turns = [slot for slot in range(self.replicas) if members >> slot & 1]
        return self.decided(s, me, int(turns[first // self.group % len(turns)] == me.slot))
