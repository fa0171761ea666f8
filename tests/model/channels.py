"""Replicas, supervisors and producers on the real functions of a software channel and of the kernel's ring."""

from collections.abc import Iterator
from typing import Any

from model.real import Again, Patch, Process, RealModel
from scout.io.channels.kernel_ring_frame import LENGTH, STATUS, STATUS_USER
from scout.ring.election import CONTROL
from scout.ring.layout import CONTROLS, GATING, MEMBERS, RETURNED

__all__ = ["KernelModel", "SoftwareModel"]

_SERVING = ("open", "work", "mark", "send", "close", "save", "advance")
_PAYLOAD = 16  # offset in an entry, and in a frame's slot


class ChannelModel(RealModel):
    """`replicas` on a channel with `requests`; those in the mask `members` from the start, others may join.

    Parameters
    ----------
    ordered : bool
        Primaries send in channel order.
    deaths, retires, joins : int
        At most so many; of the dead, so many without a successor.
    """

    def __init__(
        self,
        *patches: Patch,
        requests: int = 2,
        members: int = 0b11,
        ordered: bool = False,
        deaths: int = 0,
        retires: int = 0,
        joins: int = 0,
        **sizes: Any,
    ) -> None:
        super().__init__(*patches, dies=deaths > 0, **sizes)
        self.requests, self.mask, self.ordered = requests, members, ordered
        self.budget = {"deaths": deaths, "retires": retires, "joins": joins}

    @property
    def total(self) -> int:
        return self.requests

    def initial(self) -> Any:
        words: dict[Any, int] = {("ghost", name): number for name, number in self.budget.items()}
        words |= {self.word(GATING): self.mask, self.word(MEMBERS): self.mask}
        replicas = (
            Process(f"R{slot}", slot, "open" if self.mask >> slot & 1 else "gone") for slot in range(self.replicas)
        )
        return frozenset(words.items()), (*self.producers(), *replicas)

    def producers(self) -> tuple[Process, ...]:
        raise NotImplementedError

    def finished(self, state: Any) -> bool:
        shared, processes = state
        if any(process.at not in (None, "gone") for process in processes):
            return False
        words = dict(shared)
        for position in range(self.total):
            done, lost = (words.get(("ghost", (what, position)), 0) for what in ("done", "lost"))
            self.require(done > 0 or lost > 0, f"request {position} had no primary")
        return True

    def choices(self, words: dict[Any, int], me: Process) -> Iterator[tuple[str, tuple[dict[Any, int], Process]]]:
        deaths, retires = words["ghost", "deaths"], words["ghost", "retires"]
        if me.at in _SERVING and deaths:
            yield "dies", (words | {("ghost", "deaths"): deaths - 1}, Process(me.name, me.slot, "succeed"))
        if me.at == "succeed" and not me.results and retires and words[self.word(GATING)] & ~(1 << me.slot):
            yield "gets no successor", (words | {("ghost", "retires"): retires - 1}, me._replace(at="retire"))

    # A replica.

    def position(self, slot: int) -> int:
        return int(self.code.position(self.members[slot]))

    def open(self, slot: int) -> tuple[Any, ...]:
        if self.position(slot) == self.total:
            return (None,)
        if self.dequeue(slot):
            return ("work",)
        member = self.members[slot]
        saved = not self.channel.keeps or self.ghost(("saved", slot)) == member.head << 8 | member.controls
        return ("open",) if saved else ("save",)  # a replica with nothing to do saves anywhere

    def dequeue(self, slot: int) -> int:
        raise NotImplementedError

    def content(self, slot: int, index: int) -> tuple[int, int]:
        """The request read at `index` of the batch at hand, and the right one; both with their kind."""
        raise NotImplementedError

    def work(self, slot: int) -> tuple[Any, ...]:
        member = self.members[slot]
        here, primary = self.position(slot), member.primary
        if self.code.passes_over(self.channel, member):
            for key in range(here, here + member.count):
                self.require(self.ghost(("plain", key)) == 1, f"passes over {key}, of which nobody said that it may")
            return ("close",)
        for index in range(member.count):
            found, expected = self.content(slot, index)
            self.require(found == expected, f"reads {found} at position {here + index}, where {expected} should be")
            key = here + index
            known = self.ghost(("order", key))
            self.require(known in (0, expected + 1), f"has {expected} at position {key}, another had {known - 1}")
            self.ghost(("order", key), expected + 1)
            if primary:
                done, released = self.ghost(("done", key)), self.ghost(("released", key))
                self.require(done in (0, slot + 1), f"is primary of {key}, which replica {done - 1} has done")
                self.require(not released, f"does {key} again, which it had released")
                self.require(not self.ghost(("lost", key)), f"does {key}, which was given up")
                self.ghost(("done", key), slot + 1)
        if primary and here % 2 == 0:
            return ("mark",)
        return self.finish_work(slot)

    def mark(self, slot: int) -> tuple[Any, ...]:
        member = self.members[slot]
        for key in range(self.position(slot), self.position(slot) + member.count):
            self.ghost(("plain", key), 1)
        self.code.mark_plain(self.channel, member)
        return self.finish_work(slot)

    def finish_work(self, slot: int) -> tuple[Any, ...]:
        return ("send",) if self.ordered and self.members[slot].primary else ("close",)

    def send(self, slot: int) -> tuple[Any, ...]:
        here, count = self.position(slot), self.members[slot].count
        if self.code.await_turn(self.channel, here, 0):
            left = self.ghost("left")
            gap = [key for key in range(left, here) if not self.ghost(("lost", key))]
            self.require(not gap and left <= here + count, f"sends {here} where {left} is next")
            self.ghost("left", max(left, here + count))
        return ("close",)

    def close(self, slot: int) -> tuple[Any, ...]:
        member = self.members[slot]
        here, count = self.position(slot), member.count
        if self.ordered and member.primary:
            self.code.leave_in_turn(self.channel, here, count)
        primary = member.primary
        self.release(slot)
        if primary:
            for key in range(here, here + count):
                self.ghost(("released", key), 1)
        due = self.channel.keeps and self.position(slot) % self.channel.interval == 0
        return ("save",) if due else ("open",)

    def release(self, slot: int) -> None:
        raise NotImplementedError

    def save(self, slot: int) -> tuple[Any, ...]:
        member = self.members[slot]
        self.ghost(("saved", slot), member.head << 8 | member.controls)
        return ("advance",)

    def advance(self, slot: int) -> tuple[Any, ...]:
        self.code.advance_floor(self.channel, self.members[slot], slot)
        return ("open",)

    # The supervisor, in the place of a replica that does not run.

    def saved(self, slot: int) -> tuple[int, int]:
        """Where a successor begins: the position, and how many control requests are before it."""
        if self.channel.keeps:
            head, controls = divmod(self.ghost(("saved", slot)), 1 << 8)
        else:
            head, controls = self.members[slot].head, self.members[slot].controls
        return head + controls, controls

    def succeed(self, slot: int) -> tuple[Any, ...]:
        self.code.resume([self.channel], self.members, slot, *self.saved(slot))
        self.settle(slot)
        return ("open",)

    def retire(self, slot: int) -> tuple[Any, ...]:
        member = self.members[slot]
        here = max(self.position(slot), member.until)
        for key in range(here, here + self.code.unfinished([self.channel], self.members, slot)):
            self.ghost(("lost", key), 1)
        self.code.retire([self.channel], self.members, slot, self.ordered)
        if self.code.load64(self.word(GATING)) >> slot & 1:
            return ("retire",)
        self.settle(slot)
        return ("gone",)

    def settle(self, slot: int) -> None:
        """Do what a kind of channel needs in addition, for a replica that does not run."""

    def gone(self, slot: int) -> tuple[Any, ...]:
        joins = self.ghost("joins")
        if not joins:
            raise Again
        self.ghost("joins", joins - 1)
        return ("choose",)

    def choose(self, slot: int) -> tuple[Any, ...]:
        """A position to join at: another's snapshot, or where the foremost is."""
        gating = self.code.load64(self.word(GATING))
        others = [other for other in range(self.replicas) if gating >> other & 1 and other != slot]
        if not others:
            return ("choose",)
        return ("join", *max(self.saved(other) for other in others))

    def join(self, slot: int, position: int, controls: int) -> tuple[Any, ...]:
        if self.room(controls) and self.code.join([self.channel], self.members, slot, position, controls):
            self.ghost(("saved", slot), (position - controls) << 8 | controls)
            return ("open",)
        self.settle(slot)
        return ("choose",)

    def room(self, controls: int) -> bool:
        return True


class SoftwareModel(ChannelModel):
    """A producer publishes the requests; the number of each is its payload."""

    def producers(self) -> tuple[Process, ...]:
        return (Process("P", 0, "produce"),)

    def produce(self, slot: int) -> tuple[Any, ...]:
        tail = self.code.published(self.channel)
        if tail == self.requests:
            return (None,)
        room = self.code.reserve(self.channel, min(self.channel.batch, self.requests - tail))
        for number in range(tail, tail + room):
            self.code.store64(self.code.slot_of(self.channel, number) + _PAYLOAD, number)
        if room:
            self.code.publish(self.channel, room)
        return ("produce",)

    def dequeue(self, slot: int) -> int:
        return int(self.code.open_batch(self.channel, self.members[slot], slot))

    def content(self, slot: int, index: int) -> tuple[int, int]:
        number = self.members[slot].head + index
        return self.code.load64(self.code.slot_of(self.channel, number) + _PAYLOAD), number

    def release(self, slot: int) -> None:
        self.code.close_batch(self.channel, self.members[slot], slot)

    def advance(self, slot: int) -> tuple[Any, ...]:
        self.code.store64_release(self.code.floor_of(self.channel, slot), self.members[slot].head)
        return ("open",)


class KernelModel(ChannelModel):
    """The kernel fills `requests` frames, and `controls` control requests come in between."""

    def __init__(self, *patches: Patch, controls: int = 0, room: int = 2, **sizes: Any) -> None:
        super().__init__(*patches, ("kernel_ring_protocol", "MOST_CONTROLS = 1024", f"MOST_CONTROLS = {room}"), **sizes)
        self.controls = controls
        marks = 1 << (self.channel.entries + room - 1).bit_length()
        self.channel.mark_count, self.channel.lap_bits = marks, marks.bit_length() - 1

    @property
    def total(self) -> int:
        return self.requests + self.controls

    def producers(self) -> tuple[Process, ...]:
        return Process("kernel", 0, "fill", (0,)), Process("control", 0, "tell", (0,))

    def fill(self, slot: int, number: int) -> tuple[Any, ...]:
        """Fill the next slot, if it has been returned; the status last."""
        if number == self.requests:
            return (None,)
        frame = self.code.frame_at(self.channel, number)
        if self.code.load32_acquire(frame + STATUS):
            raise Again
        self.code.store32(frame + LENGTH, 1)
        self.code.store64(frame + _PAYLOAD, number)
        self.code.store32_release(frame + STATUS, STATUS_USER)
        return "fill", number + 1

    def tell(self, slot: int, number: int) -> tuple[Any, ...]:
        if number == self.controls:
            return (None,)
        self._lock()
        told = self.code.add_control([self.channel], 0, 0, 0, number, 0)
        self.ghost("lock", 0)
        return "tell", number + (told > 0)

    def _lock(self) -> None:
        """A lock of the supervisor's process: it publishes control requests and lets replicas join."""
        if self.ghost("lock"):
            raise Again
        self.ghost("lock", 1)

    def dequeue(self, slot: int) -> int:
        return int(self.code.open_requests(self.channel, self.members[slot], slot, slot))

    def content(self, slot: int, index: int) -> tuple[int, int]:
        member = self.members[slot]
        if member.role & CONTROL:
            argument = self.code.load64(self.code.control_at(self.channel, member.controls) + 24)
            return 2 * argument + 1, 2 * member.controls + 1
        number = member.head + index
        return 2 * self.code.load64(self.code.frame_at(self.channel, number) + _PAYLOAD), 2 * number

    def release(self, slot: int) -> None:
        self.code.finish(self.channel, self.members[slot], slot)
        if not self.channel.keeps:
            self.code.advance_floor(self.channel, self.members[slot], slot)

    def settle(self, slot: int) -> None:
        self.code.settle([self.channel], slot)

    def room(self, controls: int) -> bool:
        self._lock()
        return self.code.load64(self.word(CONTROLS)) - controls <= self.code.MOST_CONTROLS

    def join(self, slot: int, position: int, controls: int) -> tuple[Any, ...]:
        then = super().join(slot, position, controls)
        self.ghost("lock", 0)
        return then

    def finished(self, state: Any) -> bool:
        """Also, the frames that no replica needs have been returned."""
        if not super().finished(state):
            return False
        words = dict(state[0])
        gating = words[self.word(GATING)]
        floors = [self.floor(words, slot) for slot in range(self.replicas) if gating >> slot & 1]
        returned = words.get(self.word(RETURNED), 0)
        self.require(returned >= min(floors, default=0), f"{returned} frames were returned, the floors are {floors}")
        return True

    def floor(self, words: dict[Any, int], slot: int) -> int:
        return words.get(self.code.floor_of(self.channel, slot), 0)
