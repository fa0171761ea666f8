"""The kernel's block ring as `io.blocks` uses it: claims, floors, handing back under a lock; deaths, and who joins.

The kernel opens a block that is its own (status 0): it writes the block's number; later it fills it and stores
the status. Each replica walks the blocks with its own head, `sequence`, and keeps what comes from its `floor` on.
Who raises its floor gives back what nobody needs. Control requests are left out (`places`): place is number.

Orders. Number, then status, both acquire, where a block is looked for: the number tells the round, the status that
the kernel is done with it. Status, then number, where one is given back: what is USER and has the number yet was not
given back. The status is stored with release: what was read of the block was read before. Four pairs of words are
stored and loaded crosswise, and need seq_cst on both sides (`dekker`): two floors; a floor, and LOCK; a bit in
GATING, and LOCK (who is refused, or is taken out); the bit of who joins, and LIMIT.
"""

from typing import Any, NamedTuple

from model.explore import Broken, Model, put

__all__ = ["KernelRingModel"]

SUPERVISOR = 9
NONE = 99
"""More than any floor: nobody was found."""


class Block(NamedTuple):
    status: int = 0  # 1: USER, the replicas'
    number: int = -1  # of the round, from 0; as written by the kernel
    filled: int = -1  # what is in it
    owner: tuple[int, int] = (-1, -1)  # number, replica; never reset


class Slot(NamedTuple):
    """A replica's CURSOR, and its newest snapshot's place. Outlives it."""

    sequence: int = 0
    floor: int = 0
    until: int = 0
    saved: int = 0


class Memory(NamedTuple):
    """The words in memory, and below the line what only the checks know."""

    blocks: tuple[Block, ...]
    slots: tuple[Slot, ...]
    gating: int
    limit: int = 0
    handed: int = 0
    lock: int = 0
    turn: int = 0
    # --
    members: int = 0  # those in GATING for whom blocks have to be kept: not who may be refused
    done: tuple[int, ...] = ()  # the primary that finished a block; 0: nobody, -1: all let go of it
    lost: int = -1  # a block that was given up
    deaths: int = 0  # still to come
    retires: int = 0
    joins: int = 0


class Process(NamedTuple):
    """A replica, the supervisor in its place (`S`), or the kernel. `block` counts what the kernel closed."""

    name: str
    slot: int
    at: str | None
    block: int = 0
    mine: int = 0
    seen: tuple[int, int] = (-1, -1)
    # Handing back:
    then: str | None = None  # what comes after
    rest: int = 0
    low: int = NONE
    handed: int = 0
    limit: int = -1  # -1: the first look
    look: str = ""  # which one it is


class KernelRingModel(Model):
    """`rounds` blocks through a ring of `blocks`.

    Parameters
    ----------
    interval : int
        With `keeps`, snapshots are saved at its multiples; else nothing is kept.
    ordered : bool
        Primaries finish in channel order.
    deaths, retires, joins : int
        At most so many; of the dead, so many without a successor.
    """

    bugs = (
        "status first",  # F14: the number is looked at after the status
        "no number",  # a fast replica reads again what a slow one still needs
        "plain store",  # the claim is not a compare-exchange
        "untagged",  # a claim of the round before is taken for one of this
        "forgets its claim",  # a successor is other for what its slot claimed
        "claims in replay",
        "forgets until",  # a successor of one that replayed
        "floor first",  # the floor is raised when a block is opened
        "floor before head",
        "floor before snapshot",
        "stale floor",  # a successor does not raise its floor to where it begins
        "own floor",  # who hands back goes by its own floor
        "plain lock",
        "number first",  # where a block is given back, the status is looked at after the number
        "not again",  # a block is given back whatever its status and number say
        "handed first",  # HANDED says so before the status is stored
        "no second look",
        "limit falls",  # LIMIT is announced below what was given back
        "looks before it lets go",
        "unchecked join",
        "bit first",  # who joins sets its bit before its floor
        "refused stays",
        "refused is silent",  # it does not hand back what only it kept
        "lock not freed",
        "successor is silent",  # others had relied on the dead
        "retired is silent",
        "turn not passed",
        "retired at head",  # what is lost is looked for at the head of one that replays
        "lost and done",  # who joins again does what was given up
        "old claims",  # who joins does again what an earlier life of the slot has done
    )

    def __init__(
        self,
        bug: str = "",
        rounds: int = 3,
        blocks: int = 2,
        replicas: int = 2,
        members: int = 0b11,
        interval: int = 1,
        keeps: bool = False,
        ordered: bool = False,
        deaths: int = 0,
        retires: int = 0,
        joins: int = 0,
    ) -> None:
        super().__init__(bug)
        self.rounds, self.blocks, self.replicas, self.members = rounds, blocks, replicas, members
        self.interval, self.keeps, self.ordered = interval, keeps, ordered
        self.deaths, self.retires, self.joins = deaths, retires, joins

    def initial(self) -> Any:
        memory = Memory(
            (Block(),) * self.blocks,
            (Slot(),) * self.replicas,
            self.members,
            members=self.members,
            done=(0,) * self.rounds,
            deaths=self.deaths,
            retires=self.retires,
            joins=self.joins,
        )
        replicas = (
            Process(f"R{slot}", slot, "look") if self.members >> slot & 1 else Process(f"S{slot}", slot, "gone")
            for slot in range(self.replicas)
        )
        return memory, (Process("kernel", 0, "kernel_open"), *replicas)

    def finished(self, state: Any) -> bool:
        """The end: all was read, and all that is not needed went back."""
        memory, processes = state
        if any(process.at not in (None, "gone") for process in processes):
            return False
        for number, done in enumerate(memory.done):
            if done == 0 and number != memory.lost:
                raise Broken(f"block {number} had no primary")
        slots = [memory.slots[slot] for slot in self._slots(memory.gating)]
        needed = min((slot.saved if self.keeps else slot.sequence for slot in slots), default=0)
        if memory.handed < needed:
            raise Broken(f"{memory.handed} blocks went back, and the first that is needed is {needed}")
        return True

    def _slots(self, mask: int) -> list[int]:
        return [slot for slot in range(self.replicas) if mask >> slot & 1]

    def _block(self, memory: Memory, number: int) -> Block:
        return memory.blocks[number % self.blocks]

    def _change(self, memory: Memory, number: int, /, **values: Any) -> Memory:
        block = self._block(memory, number)._replace(**values)
        return memory._replace(blocks=put(memory.blocks, number % self.blocks, block))

    def _set(self, memory: Memory, slot: int, /, **values: Any) -> Memory:
        return memory._replace(slots=put(memory.slots, slot, memory.slots[slot]._replace(**values)))

    # The kernel.

    def kernel_open(self, memory: Memory, me: Process) -> Any:
        """prb_open_block: the number is written when a block is opened."""
        if me.block == self.rounds:
            return memory, me._replace(at=None)
        if self._block(memory, me.block).status:
            return None
        return self._change(memory, me.block, number=me.block), me._replace(at="kernel_fill")

    def kernel_fill(self, memory: Memory, me: Process) -> Any:
        return self._change(memory, me.block, filled=me.block), me._replace(at="kernel_close")

    def kernel_close(self, memory: Memory, me: Process) -> Any:
        """The status is stored with release."""
        return self._change(memory, me.block, status=1), me._replace(block=me.block + 1, at="kernel_open")

    # A replica: `_next`, `_is_filled`, `_elect`, `done`.

    def look(self, memory: Memory, me: Process) -> Any:
        """Load the block's number (acquire): is it the one we expect?"""
        number = memory.slots[me.slot].sequence
        if number == self.rounds:
            return memory, Process(me.name, me.slot, None)
        block = self._block(memory, number)
        me = me._replace(block=number)
        if self.bug == "no number":
            return (memory, me._replace(at="elect")) if block.status else None
        if self.bug == "status first":
            return (memory, me._replace(at="look_number")) if block.status else None
        return (memory, me._replace(at="look_status")) if block.number == number else None

    def look_status(self, memory: Memory, me: Process) -> Any:
        """Load the status (acquire): is the kernel done with it?"""
        return (memory, self._opened(memory, me)) if self._block(memory, me.block).status else None

    def look_number(self, memory: Memory, me: Process) -> Any:
        """Only with the seeded bug."""
        if self._block(memory, me.block).number == me.block:
            return memory, self._opened(memory, me)
        return memory, me._replace(at="look")

    def _opened(self, memory: Memory, me: Process) -> Process:
        return me._replace(at="floor_early" if self.bug == "floor first" else "elect")

    def floor_early(self, memory: Memory, me: Process) -> Any:
        """Only with the seeded bug."""
        return self._set(memory, me.slot, floor=me.block + 1), me._replace(at="elect")

    def elect(self, memory: Memory, me: Process) -> Any:
        """Load OWNER (acquire); not if the block is replayed."""
        if me.block < memory.slots[me.slot].until and self.bug != "claims in replay":
            return memory, me._replace(at="work")
        owner = self._block(memory, me.block).owner
        if owner[0] == me.block or (self.bug == "untagged" and owner[0] >= 0):
            return self._elected(memory, me)
        return memory, me._replace(at="claim", seen=owner)

    def claim(self, memory: Memory, me: Process) -> Any:
        """Compare-exchange OWNER (acq_rel); who loses loads it again."""
        found, me = me.seen, me._replace(seen=(-1, -1))
        if self._block(memory, me.block).owner != found and self.bug != "plain store":
            return memory, me._replace(at="elect")
        return self._change(memory, me.block, owner=(me.block, me.slot)), self._primary(me)

    def _elected(self, memory: Memory, me: Process) -> Any:
        mine = self._block(memory, me.block).owner[1] == me.slot and self.bug != "forgets its claim"
        return memory, self._primary(me) if mine else me._replace(at="work")

    def _primary(self, me: Process) -> Process:
        return me._replace(mine=1, at="await_turn" if self.ordered else "work")

    def await_turn(self, memory: Memory, me: Process) -> Any:
        """Load TURN (acquire); past ours, a predecessor had sent what is of this block."""
        if memory.turn < me.block:
            return None
        return memory, me._replace(at="work", mine=1 if memory.turn == me.block else 0)

    def work(self, memory: Memory, me: Process) -> Any:
        """Read the block in place; for its primary, finish it."""
        block = self._block(memory, me.block)
        if (block.number, block.filled) != (me.block, me.block):
            raise Broken(f"wants block {me.block}, reads {block.filled} while the kernel fills {block.number}")
        if me.mine:
            memory = self._finish(memory, me)
        if self.bug == "floor before head":
            return memory, me._replace(at="floor", block=me.block + 1, mine=0)
        return memory, me._replace(at="pass_turn" if self.ordered and me.mine else "done", mine=0)

    def _finish(self, memory: Memory, me: Process) -> Memory:
        done = memory.done[me.block]
        again = done == me.slot + 1 and me.block == memory.slots[me.slot].until and memory.deaths < self.deaths
        if me.block == memory.lost or (done and not again):
            raise Broken(f"block {me.block} is finished by slot {me.slot}; {done - 1} had done so, or it was given up")
        return memory._replace(done=put(memory.done, me.block, me.slot + 1))

    def pass_turn(self, memory: Memory, me: Process) -> Any:
        """Store TURN (release)."""
        return memory._replace(turn=me.block + 1), me._replace(at="done")

    def done(self, memory: Memory, me: Process) -> Any:
        """Count the block: our head, which others only look at."""
        number = me.block + (self.bug != "floor before head")
        memory, me = self._set(memory, me.slot, sequence=number), me._replace(block=number)
        if not self.keeps:
            return memory, me._replace(at="look" if self.bug == "floor before head" else "floor")
        if number % self.interval:
            return memory, me._replace(at="look")
        return memory, me._replace(at="floor" if self.bug == "floor before snapshot" else "save")

    def save(self, memory: Memory, me: Process) -> Any:
        """Publish a snapshot (`snapshot`, the model)."""
        memory = self._set(memory, me.slot, saved=me.block)
        return memory, me._replace(at="look" if self.bug == "floor before snapshot" else "floor")

    def floor(self, memory: Memory, me: Process) -> Any:
        """`keep_from`: exchange our floor (seq_cst: before the looks at LOCK and others' floors), then hand back."""
        memory = self._settled(self._set(memory, me.slot, floor=me.block))
        late = {"floor before head": "done", "floor before snapshot": "save"}
        then = late.get(self.bug, "look")
        return memory, self._hands_back(me, then)._replace(block=me.block if then != "look" else 0)

    def _settled(self, memory: Memory) -> Memory:
        """Check what all have let go of, and forget who was its primary: fewer states."""
        floors = [memory.slots[slot].floor for slot in self._slots(memory.gating)]
        done = list(memory.done)
        for number in range(min(floors, default=0)):
            if done[number] == 0 and number != memory.lost:
                raise Broken(f"all have let go of block {number} and it had no primary")
            done[number] = -1
        return memory._replace(done=tuple(done))

    # `_hand_back` and `_lowest`.

    def _hands_back(self, me: Process, then: str | None) -> Process:
        return Process(me.name, me.slot, "look_gating", then=then, look="first")

    def _over(self, me: Process) -> Process:
        name = me.name.replace("S", "R") if me.then == "look" else me.name
        return Process(name, me.slot, me.then, block=me.block)

    def look_gating(self, memory: Memory, me: Process) -> Any:
        """Load GATING (seq_cst); nobody there is the same as a floor of 0."""
        rest = 1 << me.slot if self.bug == "own floor" else memory.gating
        return (memory, me._replace(rest=rest, at="look_floor")) if rest else self._looked(memory, me, 0)

    def look_floor(self, memory: Memory, me: Process) -> Any:
        """Load the floor of the next in the mask (seq_cst; what it has read was read before)."""
        slot = self._slots(me.rest)[0]
        low, rest = min(me.low, memory.slots[slot].floor), me.rest & me.rest - 1
        return (memory, me._replace(low=low, rest=rest)) if rest else self._looked(memory, me, low)

    def _looked(self, memory: Memory, me: Process, low: int) -> Any:
        me = me._replace(rest=0, low=NONE)
        if me.look in ("first", "last"):
            return memory, me._replace(low=low, at="compare")
        if me.look == "limit":
            limit = low if self.bug == "limit falls" else max(me.handed, low)
            return memory, me._replace(limit=limit, at="announce")
        return self._confirmed(memory, me, min(me.limit, low))

    def compare(self, memory: Memory, me: Process) -> Any:
        """Load HANDED (acquire)."""
        more, me = me.low > memory.handed, me._replace(low=NONE)
        if me.look == "last":
            return memory, me._replace(at="look_gating", look="limit") if more else me._replace(at="unlock", look="")
        return memory, me._replace(at="lock") if more else self._over(me)

    def lock(self, memory: Memory, me: Process) -> Any:
        """Compare-exchange LOCK (seq_cst, also if it fails): who has it looks again. HANDED is ours with it."""
        if memory.lock:
            return memory, self._over(me)
        if self.bug == "plain lock":
            return memory, me._replace(at="lock_late")
        return self._locked(memory, me)

    def lock_late(self, memory: Memory, me: Process) -> Any:
        """Only with the seeded bug."""
        return self._locked(memory, me)

    def _locked(self, memory: Memory, me: Process) -> Any:
        holder = SUPERVISOR if me.name[0] == "S" else me.slot + 1
        return memory._replace(lock=holder), me._replace(handed=memory.handed, at="look_gating", look="limit")

    def announce(self, memory: Memory, me: Process) -> Any:
        """Exchange LIMIT (seq_cst), then look again: pairs with `enter` and `check`. Never below what went back."""
        memory = memory._replace(limit=me.limit)
        if self.bug == "no second look":
            return self._confirmed(memory, me, me.limit)
        return memory, me._replace(at="look_gating", look="second")

    def _confirmed(self, memory: Memory, me: Process, limit: int) -> Any:
        confirmed = max(me.handed, limit)
        at = "lower" if confirmed < me.limit else self._giving(me.handed, confirmed)
        return memory, me._replace(limit=confirmed, at=at, look="")

    def lower(self, memory: Memory, me: Process) -> Any:
        """Store LIMIT (release): who joins and passes by it needs nothing below."""
        return memory._replace(limit=me.limit), me._replace(at=self._giving(me.handed, me.limit))

    def _giving(self, handed: int, confirmed: int) -> str:
        if handed < confirmed:
            return {"number first": "give_number", "not again": "give", "handed first": "count"}.get(
                self.bug, "give_status"
            )
        return "look_last" if self.bug == "looks before it lets go" else "unlock"

    def give_status(self, memory: Memory, me: Process) -> Any:
        """Load the status (acquire): a holder may have died after it had given the block back."""
        user = self._block(memory, me.handed).status
        return memory, me._replace(at=("give" if self.bug == "number first" else "give_number") if user else "count")

    def give_number(self, memory: Memory, me: Process) -> Any:
        """Load the number (acquire): if it is this one yet, USER was said of this round."""
        if self._block(memory, me.handed).number != me.handed:
            return memory, me._replace(at="count")
        return memory, me._replace(at="give_status" if self.bug == "number first" else "give")

    def give(self, memory: Memory, me: Process) -> Any:
        """Store the status (release)."""
        block = self._block(memory, me.handed)
        if block.status and block.number != me.handed:
            raise Broken(f"gives block {me.handed} back, which is filled as {block.number}")
        needed = [slot for slot in self._slots(memory.members) if memory.slots[slot].floor <= me.handed]
        if needed:
            raise Broken(f"gives block {me.handed} back, which {needed} need")
        memory = self._change(memory, me.handed, status=0)
        if self.bug == "handed first":
            return memory, self._gave(me)
        return memory, me._replace(at="count")

    def count(self, memory: Memory, me: Process) -> Any:
        """Store HANDED (release)."""
        memory = memory._replace(handed=me.handed + 1)
        return memory, me._replace(at="give") if self.bug == "handed first" else self._gave(me)

    def _gave(self, me: Process) -> Process:
        return me._replace(handed=me.handed + 1, at=self._giving(me.handed + 1, me.limit))

    def look_last(self, memory: Memory, me: Process) -> Any:
        """Only with the seeded bug."""
        return memory, me._replace(at="look_gating", look="last")

    def unlock(self, memory: Memory, me: Process) -> Any:
        """Exchange LOCK (seq_cst), then look again: others may have raised their floors and found it taken."""
        memory, me = memory._replace(lock=0), me._replace(handed=0, limit=-1)
        if self.bug == "looks before it lets go":
            return memory, self._over(me)
        return memory, me._replace(at="look_gating", look="first")

    # Death: a successor (`resume`), or none (`retire`).

    def die(self, memory: Memory, me: Process) -> Any:
        if not memory.deaths or me.name[0] != "R" or me.at is None:
            return None
        return memory._replace(deaths=memory.deaths - 1), Process(f"S{me.slot}", me.slot, "bury")

    def bury(self, memory: Memory, me: Process) -> Any:
        """The supervisor's choice: not the last one is retired."""
        outcomes = [(memory, me._replace(at="resume"))]
        if memory.retires and memory.gating & ~(1 << me.slot):
            outcomes.append((memory._replace(retires=memory.retires - 1), me._replace(at="lost")))
        return outcomes

    def resume(self, memory: Memory, me: Process) -> Any:
        """From its newest snapshot; what it had let go of is replayed. Nobody else looks at these words."""
        slot = memory.slots[me.slot]
        until = slot.sequence if self.bug == "forgets until" else max(slot.until, slot.sequence)
        begin = slot.saved if self.keeps else slot.sequence
        memory = self._set(memory, me.slot, until=until, sequence=begin)
        return memory, me._replace(at="free" if self.bug == "stale floor" else "raise_floor", then="look")

    def raise_floor(self, memory: Memory, me: Process) -> Any:
        """Exchange its floor (seq_cst): it may have died before it did so itself."""
        floor = memory.slots[me.slot].sequence
        return self._settled(self._set(memory, me.slot, floor=floor)), me._replace(at="free")

    def free(self, memory: Memory, me: Process) -> Any:
        """Exchange LOCK if it names the dead (seq_cst); then do what others relied on it for."""
        if memory.lock == me.slot + 1 and self.bug != "lock not freed":
            memory = memory._replace(lock=0)
        silent = {"look": "successor is silent", "gone": "retired is silent"}[str(me.then)]
        return memory, self._over(me) if self.bug == silent else self._hands_back(me, me.then)

    def lost(self, memory: Memory, me: Process) -> Any:
        """Load OWNER (acquire) of the first block that it had not let go of: is it lost?"""
        slot = memory.slots[me.slot]
        here = max(slot.sequence, slot.until)
        if self.bug == "retired at head" and slot.sequence < slot.until:
            return memory, me._replace(at="ungate")
        if self._block(memory, here).owner != (here, me.slot):
            return memory, me._replace(at="ungate")
        return memory, me._replace(block=here, at="lose_turn" if self.ordered else "lose")

    def lose_turn(self, memory: Memory, me: Process) -> Any:
        """Load TURN (acquire) again and again; pass it, unless that was done (release)."""
        if self.bug == "turn not passed":
            return memory, me._replace(at="lose")
        if memory.turn < me.block:
            return None
        return memory._replace(turn=max(memory.turn, me.block + 1)), me._replace(at="lose")

    def lose(self, memory: Memory, me: Process) -> Any:
        """Count it; who joins in this slot leaves it alone."""
        until = memory.slots[me.slot].until if self.bug == "lost and done" else me.block + 1
        memory = self._set(memory._replace(lost=me.block), me.slot, until=until)
        return memory, me._replace(at="ungate", block=0)

    def ungate(self, memory: Memory, me: Process) -> Any:
        """Clear its bit in GATING (seq_cst)."""
        without = ~(1 << me.slot)
        memory = memory._replace(gating=memory.gating & without, members=memory.members & without)
        return self._settled(memory), me._replace(at="free", then="gone")

    # Who joins: `join`; the supervisor does it.

    def gone(self, memory: Memory, me: Process) -> Any:
        return (memory._replace(joins=memory.joins - 1), me._replace(at="choose")) if memory.joins else None

    def choose(self, memory: Memory, me: Process) -> Any:
        """A place to begin: another's newest snapshot; without state, where the foremost is."""
        others = [memory.slots[slot] for slot in self._slots(memory.members)]
        at = "enter" if self.bug == "bit first" else "place"
        if not self.keeps:
            return memory, me._replace(block=max(slot.sequence for slot in others), at=at)
        return [(memory, me._replace(block=slot.saved, at=at)) for slot in others]

    def place(self, memory: Memory, me: Process) -> Any:
        """Store head and floor, before the bit. What an earlier life of the slot let go of stays so (F9, C1)."""
        slot, number = memory.slots[me.slot], me.block
        until = number if self.bug == "old claims" else max(number, slot.sequence, slot.until)
        memory = self._set(memory, me.slot, sequence=number, floor=number, saved=number, until=until)
        return memory, me._replace(at="check" if self.bug == "bit first" else "enter")

    def enter(self, memory: Memory, me: Process) -> Any:
        """Set the bit in GATING (atomic or, seq_cst), then look at LIMIT: pairs with `announce` and the second look."""
        memory = memory._replace(gating=memory.gating | 1 << me.slot)
        return memory, me._replace(at="place" if self.bug == "bit first" else "check")

    def check(self, memory: Memory, me: Process) -> Any:
        """Load LIMIT (seq_cst): if more may have gone back than our place allows, begin anew."""
        if memory.limit > me.block and self.bug != "unchecked join":
            return memory, me._replace(at="withdraw", block=0)
        if memory.handed > me.block:
            raise Broken(f"joins at block {me.block}, and {memory.handed} went back")
        return memory._replace(members=memory.members | 1 << me.slot), Process(f"R{me.slot}", me.slot, "look")

    def withdraw(self, memory: Memory, me: Process) -> Any:
        """Clear the bit in GATING (seq_cst); then hand back what only it had kept."""
        if self.bug != "refused stays":
            memory = memory._replace(gating=memory.gating & ~(1 << me.slot))
        silent = self.bug == "refused is silent"
        return memory, me._replace(at="choose") if silent else self._hands_back(me, "choose")
