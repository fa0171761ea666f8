"""Policy `modulo`: the members stamped on a group's first entry take turns, without any atomic.

Who leaves is primary of what is still stamped with it: it serves on until it finds a group
that is not, of those that were published after it had cleared its bit.
A plain store stamps, TAIL hands the stamp over.
"""

from typing import Any

from model.ring import Replica, RingModel, Shared

__all__ = ["ModuloModel"]


class ModuloModel(RingModel):
    stamps = True
    serves_on = True
    bugs = (
        *RingModel.bugs,
        "nobody",  # F5: stamp without members
        "leaves at once",
        "first without",  # F19: leave at the first group that is stamped without our bit
        "members now",  # the turn is taken from MEMBERS as it is when a replica looks
    )

    def __init__(self, bug: str = "", group: int = 1, **sizes: Any) -> None:
        super().__init__(bug, **{"interval": group, "batch": group, **sizes})
        self.group = group
        self.serves_on = bug != "leaves at once"

    def mark(self, members: int) -> Any:
        return members

    def free(self, s: Shared, me: Replica) -> bool:
        return True

    def room(self, me: Replica) -> int:
        return min(me.tail - me.next, self.group - me.next % self.group)

    def open(self, s: Shared, me: Replica) -> Any:
        """Load the mark of the group's first entry: a plain load, TAIL's acquire stands before it."""
        group = me.next // self.group
        members = s.members if self.bug == "members now" else s.ring[group * self.group % self.entries].mark
        if me.leaving and me.next >= me.until and not members >> me.slot & 1:
            return s, me._replace(at="ungate")
        turns = [slot for slot in range(self.replicas) if members >> slot & 1]
        return self.opened(s, me, self.room(me), turns[group % len(turns)] == me.slot)
