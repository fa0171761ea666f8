"""Where control requests come among the blocks of the kernel's ring, as in `io.blocks` (`_next`, `add_control`).

Each block has a word, PLACES: a tag of its round, how many control requests come before it, and whether that is
settled. Whoever opens a block first settles it; until then the number may grow. The words are those of twice as many
blocks as there are: a replica may stand before a block that comes `blocks` after one that a slower replica looks at.

Of the block side (`kernel_ring`) only what matters here is left: a block is filled if all before it of its place went
back, blocks go back at once when all floors allow it, and who joins is refused if its block went back.

Orders. TOLD is stored with release and loaded with acquire: the request goes with it. PLACES is compared and exchanged
acq_rel: who learns of a request by it sees what its writer saw, the request; and of a settled block that it is filled.
"""

from typing import Any, NamedTuple

from model.explore import Broken, Model, put

__all__ = ["PlacesModel"]

NOBODY = (-1, -1)


class Word(NamedTuple):
    """PLACES, one word in memory; `number` stands for the tag."""

    number: int = -1
    settled: int = 0
    count: int = 0


class Control(NamedTuple):
    payload: int = -1
    owner: tuple[int, int] = NOBODY  # number, replica


class Slot(NamedTuple):
    """A replica's CURSOR, and its newest snapshot: blocks and control requests before it. Outlives it."""

    sequence: int = 0
    told: int = 0
    floor: int = 0
    told_floor: int = 0
    until: int = 0
    saved: tuple[int, int] = (0, 0)


class Memory(NamedTuple):
    """The words in memory, and below the line what only the checks know."""

    places: tuple[Word, ...]
    controls: tuple[Control, ...]
    owners: tuple[tuple[int, int], ...]  # of the blocks
    slots: tuple[Slot, ...]
    gating: int
    filled: int = 0
    handed: int = 0
    told: int = 0  # TOLD: published
    lock: int = 0  # held by who publishes a control request, or who lets one join
    # --
    order: tuple[str, ...] = ()  # of the requests, as who came first found them
    done: tuple[int, ...] = ()  # who finished them + 1
    lost: int = -1
    deaths: int = 0
    retires: int = 0
    joins: int = 0


class Process(NamedTuple):
    """A replica, the supervisor in its place (`S`), who publishes, or the kernel."""

    name: str
    slot: int
    at: str | None
    found: Word | None = None
    count: int = 0
    seen: tuple[int, int] = NOBODY
    what: str = ""
    mine: int = 0
    place: tuple[int, int] = (0, 0)


class PlacesModel(Model):
    """`rounds` blocks through a ring of `blocks`, and `requests` control requests through one of `entries`.

    Parameters
    ----------
    interval : int
        Snapshots are saved at places that are multiples of it.
    deaths, retires, joins : int
        At most so many; of the dead, so many without a successor.
    """

    bugs = (
        "one word a block",  # the foremost takes the word that a slow one yet needs
        "untagged",  # what is said of a block of a round before
        "not settled",  # a block is opened if nothing is published: another may see more
        "own count",  # a replica goes by what it sees published
        "plain raise",  # PLACES is stored, not compared and exchanged
        "plain settle",
        "raises the settled",
        "blocks only",  # until is compared with the number of blocks let go of
        "forgets the told",  # a successor goes on after the control requests that it was told of
        "told is not kept",  # told_floor is raised before the snapshot
        "unchecked told",  # who joins does not look how far control requests were written over
        "joins meanwhile",  # while a control request is written
        "published first",  # TOLD before the request
        "retired at head",  # what is lost is looked for at the head of one that replays
        "lost and done",  # who joins again does what was given up
    )

    def __init__(
        self,
        bug: str = "",
        rounds: int = 3,
        blocks: int = 2,
        requests: int = 2,
        entries: int = 2,
        interval: int = 2,
        members: int = 0b11,
        deaths: int = 0,
        retires: int = 0,
        joins: int = 0,
    ) -> None:
        super().__init__(bug)
        self.rounds, self.blocks, self.requests, self.entries = rounds, blocks, requests, entries
        self.interval, self.members = interval, members
        self.deaths, self.retires, self.joins = deaths, retires, joins
        self.words = blocks if bug == "one word a block" else 2 * blocks

    def initial(self) -> Any:
        memory = Memory(
            (Word(),) * self.words,
            (Control(),) * self.entries,
            (NOBODY,) * self.blocks,
            (Slot(),) * 2,
            self.members,
            deaths=self.deaths,
            retires=self.retires,
            joins=self.joins,
        )
        replicas = (
            Process(f"R{slot}", slot, "look") if self.members >> slot & 1 else Process(f"S{slot}", slot, "gone")
            for slot in range(2)
        )
        return memory, (Process("kernel", 0, "fill"), Process("control", 0, "write"), *replicas)

    def finished(self, state: Any) -> bool:
        memory, processes = state
        if any(process.at not in (None, "gone") for process in processes):
            return False
        lost = [place for place, done in enumerate(memory.done) if not done and place != memory.lost]
        if lost:
            raise Broken(f"the requests at places {lost} had no primary: {memory.order}")
        return True

    def _set(self, memory: Memory, slot: int, /, **values: Any) -> Memory:
        return memory._replace(slots=put(memory.slots, slot, memory.slots[slot]._replace(**values)))

    def _floors(self, memory: Memory, name: str) -> list[int]:
        return [getattr(slot, name) for number, slot in enumerate(memory.slots) if memory.gating >> number & 1]

    # The kernel, and who publishes control requests.

    def fill(self, memory: Memory, me: Process) -> Any:
        """Fill a block, which everybody has let go of in the round before."""
        if memory.filled == self.rounds:
            return memory, me._replace(at=None)
        handed = max(memory.handed, memory.filled - self.blocks + 1)
        if handed > min(self._floors(memory, "floor")):
            return None
        return memory._replace(filled=memory.filled + 1, handed=handed), me

    def write(self, memory: Memory, me: Process) -> Any:
        """`add_control`: nobody needs the entry any more (told_floor: acquire, pairs with `tell_floor`)."""
        number = me.count
        if number == self.requests:
            return memory, me._replace(at=None)
        if self.bug == "published first" and memory.told == number:
            return memory._replace(told=number + 1), me
        if number - self.entries >= min(self._floors(memory, "told_floor")):
            return None
        control = memory.controls[number % self.entries]._replace(payload=number)
        memory = memory._replace(controls=put(memory.controls, number % self.entries, control), lock=1)
        return memory._replace(lock=0) if self.bug == "published first" else memory, me._replace(
            count=number + 1
        ) if self.bug == "published first" else me._replace(at="publish")

    def publish(self, memory: Memory, me: Process) -> Any:
        """Store TOLD (release, pairs with `look_told`)."""
        return memory._replace(told=me.count + 1, lock=0), me._replace(count=me.count + 1, at="write")

    # A replica: `_next`.

    def look(self, memory: Memory, me: Process) -> Any:
        """Load PLACES (acquire): what was said of the block at our head?"""
        me, slot = Process(me.name, me.slot, "look"), memory.slots[me.slot]
        if (slot.sequence, slot.told) == (self.rounds, self.requests):
            return memory, me._replace(at=None)
        if self.bug == "own count":
            return self._judge(memory, me._replace(found=Word()), memory.told)
        found = memory.places[slot.sequence % self.words]
        if found.number == slot.sequence or (self.bug == "untagged" and found.number >= 0):
            return self._judge(memory, me._replace(found=found), found.count, found.settled)
        return self._judge(memory, me._replace(found=found), slot.told)

    def _judge(self, memory: Memory, me: Process, count: int, settled: int = 0) -> Any:
        slot = memory.slots[me.slot]
        if slot.told < count:
            return memory, self._chosen(memory, me, "control")
        if settled and self.bug != "raises the settled":
            return memory, self._chosen(memory, me, "block")
        return memory, me._replace(count=count, at="look_told")

    def look_told(self, memory: Memory, me: Process) -> Any:
        """Load TOLD (acquire): may more of them come before this block?"""
        if memory.told > me.count and self.bug != "own count":
            return memory, me._replace(at="raise_count", place=(memory.told, 0))
        return memory, me._replace(at="look_filled")

    def look_filled(self, memory: Memory, me: Process) -> Any:
        """Load number and status (acquire): is the block there?"""
        slot = memory.slots[me.slot]
        if slot.sequence >= memory.filled:
            return memory, Process(me.name, me.slot, "look")
        if self.bug in ("not settled", "own count"):
            return memory, self._chosen(memory, me, "block")
        if me.found and me.found.settled and me.found.number == slot.sequence:
            return memory, self._chosen(memory, me, "block")
        return memory, me._replace(at="settle")

    def raise_count(self, memory: Memory, me: Process) -> Any:
        """Compare-exchange PLACES (acq_rel): as many as are published; then from the top."""
        return self._exchange(memory, me, 0, me.place[0], self.bug == "plain raise")

    def settle(self, memory: Memory, me: Process) -> Any:
        """Compare-exchange PLACES (acq_rel): no more of them; then from the top."""
        return self._exchange(memory, me, 1, me.count, self.bug == "plain settle")

    def _exchange(self, memory: Memory, me: Process, settled: int, count: int, plain: bool) -> Any:
        number = memory.slots[me.slot].sequence
        if memory.places[number % self.words] == me.found or plain:
            memory = memory._replace(places=put(memory.places, number % self.words, Word(number, settled, count)))
        return memory, Process(me.name, me.slot, "look")

    def _chosen(self, memory: Memory, me: Process, what: str) -> Process:
        slot = memory.slots[me.slot]
        here = slot.sequence if self.bug == "blocks only" else slot.sequence + slot.told
        return Process(me.name, me.slot, "work" if here < slot.until else "elect", what=what)

    # Election and work.

    def _owner(self, memory: Memory, me: Process) -> tuple[int, tuple[int, int]]:
        slot = memory.slots[me.slot]
        if me.what == "control":
            return slot.told, memory.controls[slot.told % self.entries].owner
        return slot.sequence, memory.owners[slot.sequence % self.blocks]

    def elect(self, memory: Memory, me: Process) -> Any:
        """Load OWNER (acquire)."""
        number, owner = self._owner(memory, me)
        if owner[0] == number:
            return memory, me._replace(mine=int(owner[1] == me.slot), at="work")
        return memory, me._replace(seen=owner, at="claim")

    def claim(self, memory: Memory, me: Process) -> Any:
        """Compare-exchange OWNER (acq_rel); who loses loads it again."""
        number, owner = self._owner(memory, me)
        if owner != me.seen:
            return memory, me._replace(seen=NOBODY, at="elect")
        mine = (number, me.slot)
        if me.what == "control":
            at = number % self.entries
            control = memory.controls[at]._replace(owner=mine)
            memory = memory._replace(controls=put(memory.controls, at, control))
        else:
            memory = memory._replace(owners=put(memory.owners, number % self.blocks, mine))
        return memory, me._replace(seen=NOBODY, mine=1, at="work")

    def work(self, memory: Memory, me: Process) -> Any:
        """Read the request; is it the one that all have at this place?"""
        slot = memory.slots[me.slot]
        here = slot.sequence + slot.told
        name = f"block {slot.sequence}" if me.what == "block" else f"control {slot.told}"
        if me.what == "control" and memory.controls[slot.told % self.entries].payload != slot.told:
            raise Broken(f"wants {name}, reads {memory.controls[slot.told % self.entries].payload}")
        if me.what == "block" and not memory.handed <= slot.sequence < memory.filled:
            raise Broken(f"reads {name}, which is the kernel's")
        if here == len(memory.order):
            memory = memory._replace(order=(*memory.order, name), done=(*memory.done, 0))
        if memory.order[here] != name:
            raise Broken(f"has {name} at place {here}, where another had {memory.order[here]}")
        if me.mine:
            memory = self._finish(memory, me, here)
        return memory, me._replace(mine=0, at="let_go")

    def _finish(self, memory: Memory, me: Process, here: int) -> Memory:
        done = memory.done[here]
        again = done == me.slot + 1 and here == memory.slots[me.slot].until and memory.deaths < self.deaths
        if here == memory.lost or (done and not again):
            raise Broken(f"{memory.order[here]} is finished by slot {me.slot}; it was done by {done - 1}, or given up")
        return memory._replace(done=put(memory.done, here, me.slot + 1))

    def let_go(self, memory: Memory, me: Process) -> Any:
        """Count it."""
        slot = memory.slots[me.slot]
        if me.what == "block":
            memory = self._set(memory, me.slot, sequence=slot.sequence + 1)
        else:
            memory = self._set(memory, me.slot, told=slot.told + 1)
        if (slot.sequence + slot.told + 1) % self.interval:
            return memory, Process(me.name, me.slot, "look")
        return memory, Process(me.name, me.slot, "tell_floor" if self.bug == "told is not kept" else "save")

    def save(self, memory: Memory, me: Process) -> Any:
        """Publish a snapshot (`snapshot`, the model)."""
        slot = memory.slots[me.slot]
        late = self.bug == "told is not kept"
        memory = self._set(memory, me.slot, saved=(slot.sequence, slot.told))
        return memory, me._replace(at="floor" if late else "tell_floor")

    def tell_floor(self, memory: Memory, me: Process) -> Any:
        """Store told_floor (release)."""
        early = self.bug == "told is not kept"
        memory = self._set(memory, me.slot, told_floor=memory.slots[me.slot].told)
        return memory, me._replace(at="save" if early else "floor")

    def floor(self, memory: Memory, me: Process) -> Any:
        """Store floor."""
        return self._set(memory, me.slot, floor=memory.slots[me.slot].sequence), me._replace(at="look")

    # Death; a successor, or none; who joins. Each is a step: only floors are looked at by others, and GATING.

    def die(self, memory: Memory, me: Process) -> Any:
        if not memory.deaths or me.name[0] != "R" or me.at is None:
            return None
        return memory._replace(deaths=memory.deaths - 1), Process(f"S{me.slot}", me.slot, "bury")

    def bury(self, memory: Memory, me: Process) -> Any:
        outcomes = [self._resumed(memory, me)]
        if memory.retires and memory.gating & ~(1 << me.slot):
            outcomes.append(self._retired(memory._replace(retires=memory.retires - 1), me))
        return outcomes

    def _resumed(self, memory: Memory, me: Process) -> Any:
        slot = memory.slots[me.slot]
        sequence, told = slot.saved
        if self.bug == "forgets the told":
            told = slot.told
        until = max(slot.until, slot.sequence + slot.told)
        values = {"sequence": sequence, "told": told, "floor": sequence, "told_floor": told}
        return self._set(memory, me.slot, until=until, **values), Process(f"R{me.slot}", me.slot, "look")

    def _retired(self, memory: Memory, me: Process) -> Any:
        """What it is the primary of is lost: by PLACES from its head on, at the first place that it had not done."""
        slot = memory.slots[me.slot]
        sequence, told = slot.sequence, slot.told
        word = memory.places[sequence % self.words]
        while word.number == sequence and sequence + told < slot.until and self.bug != "retired at head":
            sequence, told = (sequence, told + 1) if told < word.count else (sequence + 1, told)
            word = memory.places[sequence % self.words]
        mine = 0
        if word.number == sequence and sequence + told >= slot.until:
            if told < word.count:
                mine = int(memory.controls[told % self.entries].owner == (told, me.slot))
            else:
                mine = int(memory.owners[sequence % self.blocks] == (sequence, me.slot))
        here = sequence + told
        until = slot.until if self.bug == "lost and done" else max(slot.until, here + mine)
        memory = memory._replace(lost=here if mine else memory.lost, gating=memory.gating & ~(1 << me.slot))
        return self._set(memory, me.slot, until=until), Process(me.name, me.slot, "gone")

    def gone(self, memory: Memory, me: Process) -> Any:
        """Another's newest snapshot is copied."""
        if not memory.joins:
            return None
        memory = memory._replace(joins=memory.joins - 1)
        return memory, me._replace(at="join", place=memory.slots[1 - me.slot].saved)

    def join(self, memory: Memory, me: Process) -> Any:
        """Not while a control request is published: one lock is for both."""
        if memory.lock and self.bug != "joins meanwhile":
            return None
        sequence, told = me.place
        late = memory.told - told > self.entries and self.bug != "unchecked told"
        if memory.handed > sequence or late:
            return memory, me._replace(place=memory.slots[1 - me.slot].saved)
        slot = memory.slots[me.slot]
        until = max(sequence + told, slot.sequence + slot.told, slot.until)
        slot = Slot(sequence, told, sequence, told, until, me.place)
        memory = memory._replace(slots=put(memory.slots, me.slot, slot), gating=memory.gating | 1 << me.slot)
        return memory, Process(f"R{me.slot}", me.slot, "look")
