"""Regate and join under TSO: each processor stores into a buffer of its own, which reaches memory later.

This is the one place where two sides store and then look at each other's word. The producer stores LIMIT and looks
at GATING, the joiner stores its bit and looks at LIMIT. Were both stores still in their buffers, both would look in
vain: the joiner reads an entry that the producer fills. An exchange (or `lock or`) empties the buffer first; in
C11 terms all four accesses have to be seq_cst.

As in `floors.refresh_limit` and `membership.join`. A ring of one entry; the member there has let go of request
0, the joiner would begin at it.
"""

from typing import Any, NamedTuple

from model.explore import Broken, Model, put

__all__ = ["DekkerModel"]

GATING, LIMIT, FLOOR, ENTRY = range(4)
PRODUCER, JOINER = range(2)
MEMBER_FLOOR = ENTRIES = 1


class Memory(NamedTuple):
    """Words, and for each processor the stores that only it sees, oldest first."""

    words: tuple[int, ...] = (0, ENTRIES, MEMBER_FLOOR, 0)
    buffers: tuple[tuple[tuple[int, int], ...], ...] = ((), ())


class Process(NamedTuple):
    name: str
    at: str | None
    limit: int = 0
    joined: int = 0


def load(memory: Memory, processor: int, word: int) -> int:
    """The newest of one's own stores to the word, else what is in memory."""
    return next((value for at, value in reversed(memory.buffers[processor]) if at == word), memory.words[word])


def store(memory: Memory, processor: int, word: int, value: int) -> Memory:
    buffer = (*memory.buffers[processor], (word, value))
    return memory._replace(buffers=put(memory.buffers, processor, buffer))


def exchange(memory: Memory, processor: int, word: int, value: int) -> Memory | None:
    """A locked instruction: None while the buffer is not empty."""
    return None if memory.buffers[processor] else memory._replace(words=put(memory.words, word, value))


class DekkerModel(Model):
    bugs = (
        "plain limit",  # LIMIT is stored, not exchanged
        "plain bit",  # the bit in GATING is stored, not or-ed by a locked instruction
        "floor after bit",
        "one look",  # the producer looks at GATING before it raises LIMIT only
        "unchecked",  # the joiner does not look at LIMIT
    )

    def initial(self) -> Any:
        return Memory(), (
            Process("P", "announce"),
            Process("J", "bit" if self.bug == "floor after bit" else "floor"),
            Process("P's buffer", "flush_producer"),
            Process("J's buffer", "flush_joiner"),
        )

    def finished(self, state: Any) -> bool:
        memory, processes = state
        return processes[0].at is None and processes[1].at is None and memory.buffers == ((), ())

    def flush_producer(self, memory: Memory, me: Process) -> Any:
        return self._flush(memory, me, PRODUCER)

    def flush_joiner(self, memory: Memory, me: Process) -> Any:
        return self._flush(memory, me, JOINER)

    def _flush(self, memory: Memory, me: Process, processor: int) -> Any:
        if not memory.buffers[processor]:
            return None
        (word, value), *rest = memory.buffers[processor]
        buffers = put(memory.buffers, processor, tuple(rest))
        return Memory(put(memory.words, word, value), buffers), me

    def announce(self, memory: Memory, me: Process) -> Any:
        """The first look saw only the member; LIMIT goes up."""
        new = MEMBER_FLOOR + ENTRIES
        me = me._replace(limit=new, at="fill" if self.bug == "one look" else "look")
        if self.bug == "plain limit":
            return store(memory, PRODUCER, LIMIT, new), me
        after = exchange(memory, PRODUCER, LIMIT, new)
        return None if after is None else (after, me)

    def look(self, memory: Memory, me: Process) -> Any:
        gating = load(memory, PRODUCER, GATING)
        return memory, me._replace(at="look_floor" if gating else "fill")

    def look_floor(self, memory: Memory, me: Process) -> Any:
        limit = min(me.limit, load(memory, PRODUCER, FLOOR) + ENTRIES)
        return memory, me._replace(limit=limit, at="fill" if limit == me.limit else "lower")

    def lower(self, memory: Memory, me: Process) -> Any:
        return store(memory, PRODUCER, LIMIT, me.limit), me._replace(at="fill")

    def fill(self, memory: Memory, me: Process) -> Any:
        """Write request 1 over request 0, if that is allowed."""
        if me.limit <= ENTRIES:
            return memory, me._replace(at=None)
        return store(memory, PRODUCER, ENTRY, 1), me._replace(at=None)

    def floor(self, memory: Memory, me: Process) -> Any:
        """Floor 0; the slot's earlier life let go of request 0."""
        return store(memory, JOINER, FLOOR, 0), me._replace(at="check" if self.bug == "floor after bit" else "bit")

    def bit(self, memory: Memory, me: Process) -> Any:
        me = me._replace(at="floor" if self.bug == "floor after bit" else "check")
        if self.bug == "plain bit":
            return store(memory, JOINER, GATING, 1), me
        after = exchange(memory, JOINER, GATING, 1)
        return None if after is None else (after, me)

    def check(self, memory: Memory, me: Process) -> Any:
        limit = load(memory, JOINER, LIMIT)
        if limit > ENTRIES and self.bug != "unchecked":
            return memory, me._replace(at=None)
        return memory, me._replace(at="read", joined=1)

    def read(self, memory: Memory, me: Process) -> Any:
        """The producer may write at any time after: the joiner looks again and again."""
        if load(memory, JOINER, ENTRY) != 0:
            raise Broken("the joiner's request is overwritten")
        quiet = memory.buffers == ((), ())
        return memory, me._replace(at=None) if quiet else me
