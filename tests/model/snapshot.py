"""Snapshots as in `ring.snapshot`: two buffers a replica, each with a version that is odd while it is written.

The owner saves at places 1, 2, ...; it may die at any step, its successor adopts the newest whole buffer and goes
on from there. Another replica adopts while the owner saves on. A buffer's data are two words, which have to be
equal to its place.

Orders. The version is stored odd, with a fence behind it, before the data, and even, with release, after: what
a reader copies between two equal even versions was not written meanwhile; its fence keeps the copy before
the second look. On x86 stores and loads keep their order anyway.
"""

from typing import Any, NamedTuple

from model.explore import Broken, Model, put

__all__ = ["SnapshotModel"]


class Buffer(NamedTuple):
    version: int = 0
    place: int = -1
    data: tuple[int, int] = (-1, -1)


class Memory(NamedTuple):
    buffers: tuple[Buffer, Buffer] = (Buffer(), Buffer())
    deaths: int = 0
    floor: int = 0  # the place before which the log is gone


class Process(NamedTuple):
    name: str
    at: str | None
    place: int = -1
    buffer: int = -1
    seen: int = 0
    data: tuple[int, ...] = ()
    looked: int = 0


class SnapshotModel(Model):
    bugs = (
        "one buffer",
        "place first",  # the buffer is the newest before its data are there
        "never odd",  # a reader cannot see that a buffer is being written
        "no second look",
        "place only",  # the second look is at the place alone
        "older by place",  # the owner fills the buffer of the lower place, whole or not
    )

    def __init__(self, bug: str = "", saves: int = 3, deaths: int = 2, readers: int = 1) -> None:
        super().__init__(bug)
        self.saves, self.deaths, self.readers = saves, deaths, readers

    def initial(self) -> Any:
        first = Buffer(2, 0, (0, 0))  # the state before the first request
        memory = Memory(buffers=(first, first if self.bug == "one buffer" else Buffer()), deaths=self.deaths)
        readers = tuple(Process(f"reader {number}", "choose") for number in range(self.readers))
        return memory, (Process("owner", "choose_older", 0), *readers)

    def die(self, memory: Memory, me: Process) -> Any:
        if not memory.deaths or me.name != "owner" or me.at is None:
            return None
        return memory._replace(deaths=memory.deaths - 1), Process("owner", "choose")

    # The owner: save.

    def choose_older(self, memory: Memory, me: Process) -> Any:
        """Its own buffers: no step of others matters. One that is not whole is filled first."""
        if me.place == self.saves:
            return memory, me._replace(at=None)
        one, other = memory.buffers
        older = 1 if other.place < one.place else 0
        if self.bug != "older by place" and (one.version | other.version) & 1:
            older = one.version & 1 ^ 1
        if self.bug == "one buffer":
            older = 0
        me = me._replace(place=me.place + 1, buffer=older)
        if self.bug == "never odd":
            return memory, me._replace(at="fill")
        return memory, me._replace(at="say_place" if self.bug == "place first" else "open")

    def _write(self, memory: Memory, me: Process, **values: Any) -> Memory:
        buffer = memory.buffers[me.buffer]._replace(**values)
        return memory._replace(buffers=put(memory.buffers, me.buffer, buffer))

    def open(self, memory: Memory, me: Process) -> Any:
        """Store the version, odd; then a fence."""
        return self._write(memory, me, version=memory.buffers[me.buffer].version | 1), me._replace(at="fill")

    def fill(self, memory: Memory, me: Process) -> Any:
        """Copy the state: two steps."""
        data = memory.buffers[me.buffer].data
        half = me.seen
        memory = self._write(memory, me, data=put(data, half, me.place))
        if half == 0:
            return memory, me._replace(seen=1)
        return memory, me._replace(seen=0, at="close" if self.bug == "place first" else "say_place")

    def say_place(self, memory: Memory, me: Process) -> Any:
        return self._write(memory, me, place=me.place), me._replace(at="open" if self.bug == "place first" else "close")

    def close(self, memory: Memory, me: Process) -> Any:
        """Store the version, even (release)."""
        version = memory.buffers[me.buffer].version
        version = version + 2 if self.bug == "never odd" else (version | 1) + 1
        return self._write(memory, me, version=version), me._replace(at="say_floor")

    def say_floor(self, memory: Memory, me: Process) -> Any:
        """Let go of the log before the snapshot (`keep_from`)."""
        return memory._replace(floor=me.place), me._replace(at="choose_older")

    # Taking a snapshot (`adopt`), by the owner's successor or by another replica.

    def choose(self, memory: Memory, me: Process) -> Any:
        """Load a buffer's place (acquire)."""
        if me.looked == 2:
            if me.buffer < 0:
                return self._failed(memory, me)
            return memory, me._replace(looked=0, at="version")
        return memory, me._replace(seen=memory.buffers[me.looked].place, at="choose_whole")

    def choose_whole(self, memory: Memory, me: Process) -> Any:
        """Load its version (acquire): is it whole, and newer than the other?"""
        if me.seen > me.place and memory.buffers[me.looked].version & 1 == 0:
            me = me._replace(place=me.seen, buffer=me.looked)
        return memory, me._replace(seen=0, looked=me.looked + 1, at="choose")

    def _failed(self, memory: Memory, me: Process) -> Any:
        if me.name == "owner":
            raise Broken("the successor finds no snapshot")
        return memory, Process(me.name, None)

    def version(self, memory: Memory, me: Process) -> Any:
        """Load the version (acquire, pairs with `close`)."""
        return memory, me._replace(seen=memory.buffers[me.buffer].version, at="copy")

    def copy(self, memory: Memory, me: Process) -> Any:
        me = me._replace(data=(*me.data, memory.buffers[me.buffer].data[len(me.data)]))
        return memory, me if len(me.data) < 2 else me._replace(at="again")

    def again(self, memory: Memory, me: Process) -> Any:
        """After a fence, load version and place again."""
        buffer = memory.buffers[me.buffer]
        same = me.seen & 1 == 0 and buffer.version == me.seen and buffer.place == me.place
        if self.bug == "place only":
            same = buffer.place == me.place
        if not same and self.bug != "no second look":
            return self._failed(memory, me)
        if me.data != (me.place, me.place):
            raise Broken(f"took {me.data} for the state at {me.place}")
        if me.name != "owner":
            return memory, Process(me.name, None)
        if me.place < memory.floor:
            raise Broken(f"the newest whole snapshot is at {me.place}, the log begins at {memory.floor}")
        return memory, Process(me.name, "choose_older", place=me.place)
