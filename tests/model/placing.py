"""Segments placed in the receive ring of a stream, as in `io.endpoints.placing` and `io.endpoints.application_stream`.

A ring of one byte, under TSO as in `model.dekker`. Byte 0 is there. A segment with byte 0 has come again, and a slow
replica places it. Meanwhile the application reads byte 0 and frees it, the stack is told, and another replica places
byte 1 in the same cell. The application must never find byte 0 there again.

A replica that dies does not write any more, and what it has stored reaches memory. Then the supervisor takes back what
it has announced, and its successor places the segment anew.
"""

from typing import Any, NamedTuple

from model.dekker import exchange, load, store
from model.explore import Broken, Model, put

__all__ = ["PlacingModel"]

FREED, PLACING, OTHER_PLACING, CELL, RECEIVED, TOLD = range(6)
SLOW, OTHER, APPLICATION = range(3)


class Memory(NamedTuple):
    """Words, and for each processor the stores that only it sees, oldest first. CELL has 1 + the number of its byte."""

    words: tuple[int, ...] = (0, 0, 0, 1, 1, 0)
    buffers: tuple[tuple[tuple[int, int], ...], ...] = ((), (), ())
    deaths: int = 0


class Process(NamedTuple):
    name: str
    at: str | None
    freed: int = 0
    processor: int = -1


class PlacingModel(Model):
    bugs = (
        "plain announcement",  # PLACING is stored, not exchanged
        "one look",  # FREED is looked at before the announcement only
        "no fence",  # in the application, between FREED and PLACING
        "unchecked",  # the application does not look at PLACING
        "withdrawn early",  # PLACING is cleared before the bytes are written
        "taken back early",  # though the replica has not died
    )

    def __init__(self, bug: str = "", deaths: int = 0) -> None:
        super().__init__(bug)
        self.deaths = deaths

    def initial(self) -> Any:
        return Memory(deaths=self.deaths), (
            Process("the slow replica", "look_first" if self.bug == "one look" else "announce"),
            Process("the other replica", "await_window"),
            Process("the application", "free"),
            *(Process(f"buffer {each}", "drain", processor=each) for each in (SLOW, OTHER, APPLICATION)),
            Process("the supervisor", "take_back" if self.bug == "taken back early" else None),
        )

    def finished(self, state: Any) -> bool:
        memory, processes = state
        if any(process.at for process in processes[:3]) or any(memory.buffers):
            return False
        if memory.words[CELL] != 2:
            raise Broken("byte 0 is there, and should be byte 1")
        return True

    def drain(self, memory: Memory, me: Process) -> Any:
        if not memory.buffers[me.processor]:
            return None
        (word, value), *rest = memory.buffers[me.processor]
        return memory._replace(
            words=put(memory.words, word, value), buffers=put(memory.buffers, me.processor, tuple(rest))
        ), me

    # The slow replica.

    def die(self, memory: Memory, me: Process) -> Any:
        if me.name != "the slow replica" or me.at == "clear" or not memory.deaths:
            return None
        return memory._replace(deaths=memory.deaths - 1), me._replace(at="clear")

    def clear(self, memory: Memory, me: Process) -> Any:
        """What the dead replica has stored is in memory: the supervisor takes the announcement back."""
        if memory.buffers[SLOW]:
            return None
        return memory._replace(words=put(memory.words, PLACING, 0)), me._replace(at="announce")

    def take_back(self, memory: Memory, me: Process) -> Any:
        return memory._replace(words=put(memory.words, PLACING, 0)), me._replace(at=None)

    def look_first(self, memory: Memory, me: Process) -> Any:
        return memory, me._replace(at="announce", freed=load(memory, SLOW, FREED))

    def announce(self, memory: Memory, me: Process) -> Any:
        me = me._replace(at="look")
        if self.bug == "one look":
            me = me._replace(at="withdraw" if me.freed else "write")
        if self.bug == "plain announcement":
            return store(memory, SLOW, PLACING, 1), me
        after = exchange(memory, SLOW, PLACING, 1)
        return None if after is None else (after, me)

    def look(self, memory: Memory, me: Process) -> Any:
        is_read = load(memory, SLOW, FREED) > 0
        if self.bug == "withdrawn early" and not is_read:
            return store(memory, SLOW, PLACING, 0), me._replace(at="write")
        return memory, me._replace(at="withdraw" if is_read else "write")

    def write(self, memory: Memory, me: Process) -> Any:
        return store(memory, SLOW, CELL, 1), me._replace(at="withdraw")

    def withdraw(self, memory: Memory, me: Process) -> Any:
        return store(memory, SLOW, PLACING, 0), me._replace(at=None)

    # The other replica: byte 1 comes when the stack knows that byte 0 was read.

    def await_window(self, memory: Memory, me: Process) -> Any:
        return (memory, me._replace(at="announce_other")) if load(memory, OTHER, TOLD) else None

    def announce_other(self, memory: Memory, me: Process) -> Any:
        after = exchange(memory, OTHER, OTHER_PLACING, 2)
        return None if after is None else (after, me._replace(at="look_other"))

    def look_other(self, memory: Memory, me: Process) -> Any:
        if load(memory, OTHER, FREED) < 1:
            raise Broken("the window is open, and byte 0 was not freed")
        return memory, me._replace(at="write_other")

    def write_other(self, memory: Memory, me: Process) -> Any:
        return store(memory, OTHER, CELL, 2), me._replace(at="withdraw_other")

    def withdraw_other(self, memory: Memory, me: Process) -> Any:
        return store(memory, OTHER, OTHER_PLACING, 0), me._replace(at="report")

    def report(self, memory: Memory, me: Process) -> Any:
        return store(memory, OTHER, RECEIVED, 2), me._replace(at=None)

    # The application: it has read byte 0.

    def free(self, memory: Memory, me: Process) -> Any:
        after = "look_at_placing" if self.bug == "no fence" else "fence"
        return store(memory, APPLICATION, FREED, 1), me._replace(at=after)

    def fence(self, memory: Memory, me: Process) -> Any:
        return None if memory.buffers[APPLICATION] else (memory, me._replace(at="look_at_placing"))

    def look_at_placing(self, memory: Memory, me: Process) -> Any:
        """It tells nothing as long as a replica writes there, and looks again."""
        if load(memory, APPLICATION, PLACING) and self.bug != "unchecked":
            return memory, me
        return memory, me._replace(at="tell")

    def tell(self, memory: Memory, me: Process) -> Any:
        return store(memory, APPLICATION, TOLD, 1), me._replace(at="read")

    def read(self, memory: Memory, me: Process) -> Any:
        if load(memory, APPLICATION, RECEIVED) < 2:
            return None
        if load(memory, APPLICATION, CELL) != 2:
            raise Broken("byte 0 is there, and should be byte 1")
        return memory, me._replace(at=None)
