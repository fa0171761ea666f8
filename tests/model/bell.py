"""Sleep and wake-up as in `ring.bell`: two replicas, the kernel that brings frames, and the supervisor.

Nothing here ends a sleep but an event: where a replica sleeps that is needed, the end cannot be reached. So what the
limit of a sleep is for is left out: a process that dies between clearing the flag and ringing.

Replica 0 is the lookout at first. An epoll instance is a flag: an event came since the last sleep on it ended. The
others' claims are not told from frames: a replica passes over what another one has claimed.
"""

from typing import Any, NamedTuple

from model.explore import Model, put

__all__ = ["BellModel"]

ENTRIES = 1  # of the ring
WATCH = 2  # the instance that the lookout sleeps on; replica r has instance r


class Memory(NamedTuple):
    frames: int = 0  # filled by the kernel
    claimed: int = 0
    controls: int = 0  # published by the supervisor
    heads: tuple[int, ...] = (0, 0)
    sleepers: int = 0
    lookout: int = 0
    events: tuple[int, ...] = (0, 0, 0)
    gating: tuple[int, ...] = (1, 1)
    deaths: int = 0


class Process(NamedTuple):
    name: str
    at: str | None
    number: int = -1
    left: int = 0  # to bring, or to tell
    told: int = 0  # control requests that the replica has had
    found: int = 0  # the flag, as it was looked at
    then: str | None = None  # behind the bell


class BellModel(Model):
    bugs = (
        "no second look",  # announced, the replica sleeps at once
        "announced late",  # behind the last look
        "cleared late",  # behind the bell
        "flag first",  # the supervisor looks at the flag before it publishes
        "forgets events",  # those that came before the sleep, as if descriptors were registered then
        "no help",  # nobody wakes a replica that is behind
        "lookout stays",  # though it has been retired
        "new lookout by flag",  # for which the bell is rung only if the flag is set
    )

    def __init__(self, bug: str = "", frames: int = 2, controls: int = 1, deaths: int = 0) -> None:
        super().__init__(bug)
        self.frames, self.controls, self.deaths = frames, controls, deaths

    def initial(self) -> Any:
        return Memory(deaths=self.deaths), (
            Process("kernel", "bring", left=self.frames),
            Process("supervisor", "flag" if self.bug == "flag first" else "tell", left=self.controls),
            Process("R0", "look", 0),
            Process("R1", "look", 1),
        )

    def finished(self, state: Any) -> bool:
        memory, (kernel, supervisor, *replicas) = state
        done = memory.claimed == self.frames and not (kernel.left or supervisor.left)
        return done and all(
            memory.heads[me.number] == self.frames and me.told == self.controls
            for me in replicas
            if memory.gating[me.number]
        )

    def die(self, memory: Memory, me: Process) -> Any:
        if me.number < 0 or not memory.deaths or me.at in ("dead", "write"):
            return None
        return memory._replace(deaths=memory.deaths - 1), me._replace(at="dead", found=0, then=None)

    # The kernel and the supervisor.

    def bring(self, memory: Memory, me: Process) -> Any:
        """Fill an entry, if there is room, and signal the one instance that has the ring's descriptor."""
        lowest = min(head for head, counts in zip(memory.heads, memory.gating, strict=True) if counts)
        if not me.left or memory.frames - lowest == ENTRIES:
            return None
        events = put(memory.events, WATCH, 1)
        return memory._replace(frames=memory.frames + 1, events=events), me._replace(left=me.left - 1)

    def tell(self, memory: Memory, me: Process) -> Any:
        if not me.left:
            return None
        me = me._replace(left=me.left - 1, at="flag", then="tell")
        if self.bug == "flag first":
            me = me._replace(at="clear" if me.found else "flag")
        return memory._replace(controls=memory.controls + 1), me

    # The bell, as whoever rings it.

    @staticmethod
    def _done(me: Process) -> Process:
        return me._replace(at=me.then, found=0, then=me.then if me.number < 0 else None)

    def flag(self, memory: Memory, me: Process) -> Any:
        me = me._replace(found=memory.sleepers)
        if self.bug == "flag first" and me.name == "supervisor":
            return memory, me._replace(at="tell", then="flag")
        return memory, me._replace(at="clear") if me.found else self._done(me)

    def clear(self, memory: Memory, me: Process) -> Any:
        after = memory if self.bug == "cleared late" else memory._replace(sleepers=0)
        return after, me._replace(at="write") if memory.sleepers else self._done(me)

    def write(self, memory: Memory, me: Process) -> Any:
        late = self.bug == "cleared late"
        return memory._replace(events=(1, 1, 1)), me._replace(at="clear_late") if late else self._done(me)

    def clear_late(self, memory: Memory, me: Process) -> Any:
        return memory._replace(sleepers=0), self._done(me)

    # A replica.

    def look(self, memory: Memory, me: Process) -> Any:
        """A round of the loop; with nothing to do it announces that it will sleep."""
        return self._round(memory, me, "last_look" if self.bug == "announced late" else "announce")

    def last_look(self, memory: Memory, me: Process) -> Any:
        return self._round(memory, me, "announce" if self.bug == "announced late" else "sleep")

    def _round(self, memory: Memory, me: Process, otherwise: str) -> Any:
        if memory.controls > me.told:
            return memory, me._replace(at="look", told=memory.controls)
        head = memory.heads[me.number]
        if head < memory.claimed:  # another replica is, or was, their primary
            return memory, me._replace(at="release")
        if head < memory.frames:
            then = "release" if self.bug == "no help" else "measure"
            return memory._replace(claimed=head + 1), me._replace(at=then)
        return memory, me._replace(at=otherwise)

    def measure(self, memory: Memory, me: Process) -> Any:
        """With a batch at hand: help a replica that is behind."""
        other = 1 - me.number
        behind = memory.heads[me.number] + 1 - memory.heads[other] > 0 and memory.gating[other]
        return memory, me._replace(at="flag", then="release") if behind else me._replace(at="release")

    def release(self, memory: Memory, me: Process) -> Any:
        heads = put(memory.heads, me.number, memory.heads[me.number] + 1)
        return memory._replace(heads=heads), me._replace(at="look")

    def announce(self, memory: Memory, me: Process) -> Any:
        second = self.bug not in ("no second look", "announced late")
        return memory._replace(sleepers=1), me._replace(at="last_look" if second else "sleep")

    def sleep(self, memory: Memory, me: Process) -> Any:
        """Choose the instance."""
        watches = memory.lookout == me.number
        if self.bug == "forgets events":
            memory = memory._replace(events=put(memory.events, WATCH if watches else me.number, 0))
        return memory, me._replace(at="sleep_on_watch" if watches else "sleep_on_own")

    def sleep_on_watch(self, memory: Memory, me: Process) -> Any:
        return self._asleep(memory, me, WATCH)

    def sleep_on_own(self, memory: Memory, me: Process) -> Any:
        return self._asleep(memory, me, me.number)

    def _asleep(self, memory: Memory, me: Process, instance: int) -> Any:
        if not memory.events[instance]:
            return None
        return memory._replace(events=put(memory.events, instance, 0)), me._replace(at="look")

    # The death of a replica, as the supervisor handles it.

    def dead(self, memory: Memory, me: Process) -> Any:
        """It gets a successor, which looks at its channels at once, or is retired."""
        successor = memory, me._replace(at="replace", then="look")
        gating = put(memory.gating, me.number, 0)
        return [successor, (memory._replace(gating=gating), me._replace(at="replace", then=None))]

    def replace(self, memory: Memory, me: Process) -> Any:
        if memory.lookout != me.number or self.bug == "lookout stays":
            return memory, self._done(me)
        then = "flag" if self.bug == "new lookout by flag" else "write"
        return memory._replace(lookout=1 - me.number), me._replace(at=then)
