"""The kernel's block ring as `io.afpacket` uses it: dequeue, release, hand back; deaths, and successors.

The kernel opens a block that is its own (status 0): it writes the block's number; later it fills it and stores
the status. Each replica walks the blocks with its own head, `sequence`; `kept` counts the blocks it has released.
Both are its own words and outlive it.

Orders. Number, then status, both acquire: the number tells the round, the status that the kernel is done with it.
REFERENCES, then TAKER, both acquire, and stored in the other order: a bit of the next round is never taken for one
of this. The status is handed back by release: what was read of the block was read before.
"""

from typing import Any, NamedTuple

from model.explore import Broken, Model, put

__all__ = ["KernelRingModel"]

NOBODY = -1


class Block(NamedTuple):
    status: int = 0  # 1: the replicas'
    number: int = -1  # of the round, from 0; as written by the kernel
    filled: int = -1  # what is in it
    waiting: int = 0  # lower half of REFERENCES: who has yet to dequeue
    held: int = 0  # upper half: who has yet to release
    members: int = 0
    owner: int = NOBODY
    taker: tuple[int, int] = (-1, NOBODY)  # number of the round, replica


class Memory(NamedTuple):
    blocks: tuple[Block, ...]
    sequences: tuple[int, ...]
    kepts: tuple[int, ...]
    members: int
    done: tuple[int, ...]  # mask of the primaries that finished a block; -1: it went back to the kernel
    deaths: int
    retires: int
    killed: int = 0


class Process(NamedTuple):
    name: str
    slot: int
    at: str | None
    mine: int = 0
    held: int = 0
    taker: tuple[int, int] = (-1, NOBODY)
    block: int = 0


class KernelRingModel(Model):
    bugs = (
        "status first",  # F14: the number is looked at after the status
        "no number",  # a fast replica reads again what a slow one still holds
        "plain signature",
        "no signature",  # who is first is the primary, also if it dies before it says so
        "no taker",  # K1, K2: the last to release hands back, whatever happens to it
        "two takers",  # TAKER is stored, not compared and exchanged
        "taker first",  # K2': TAKER is loaded before REFERENCES
        "forgets the last",  # K1': retiring overlooks what the dead was about to hand back
        "old round",  # K5: retiring does not know which round REFERENCES is of
        "reset last",  # the status is stored before the words are reset
    )

    def __init__(
        self, bug: str = "", rounds: int = 4, blocks: int = 2, replicas: int = 2, deaths: int = 0, retires: int = 0
    ) -> None:
        super().__init__(bug)
        self.rounds, self.blocks, self.replicas, self.deaths, self.retires = rounds, blocks, replicas, deaths, retires

    def initial(self) -> Any:
        everyone = (1 << self.replicas) - 1
        block = Block(waiting=everyone, held=everyone, members=everyone)
        nothing = (0,) * self.replicas
        memory = Memory(
            (block,) * self.blocks, nothing, nothing, everyone, (0,) * self.rounds, self.deaths, self.retires
        )
        replicas = tuple(Process(f"R{slot}", slot, "look") for slot in range(self.replicas))
        return memory, (Process("kernel", 0, "kernel_open"), *replicas)

    def finished(self, state: Any) -> bool:
        memory, processes = state
        if any(process.at is not None for process in processes):
            return False
        if not memory.retires < self.retires and 0 in memory.done:
            raise Broken(f"a block had no primary: {memory.done}")
        return True

    def _set(self, memory: Memory, index: int, **values: Any) -> Memory:
        return memory._replace(blocks=put(memory.blocks, index, memory.blocks[index]._replace(**values)))

    # The kernel; its `block` counts the blocks that it has closed.

    def kernel_open(self, memory: Memory, me: Process) -> Any:
        """prb_open_block: the number is written when a block is opened."""
        if me.block == self.rounds:
            return memory, me._replace(at=None)
        index = me.block % self.blocks
        if memory.blocks[index].status:
            return None
        return self._set(memory, index, number=me.block), me._replace(at="kernel_fill")

    def kernel_fill(self, memory: Memory, me: Process) -> Any:
        return self._set(memory, me.block % self.blocks, filled=me.block), me._replace(at="kernel_close")

    def kernel_close(self, memory: Memory, me: Process) -> Any:
        """The status is stored with release."""
        return self._set(memory, me.block % self.blocks, status=1), me._replace(block=me.block + 1, at="kernel_open")

    # A replica: receive.

    def look(self, memory: Memory, me: Process) -> Any:
        """Load the block's number (acquire): is it the one we expect?"""
        sequence = memory.sequences[me.slot]
        if memory.kepts[me.slot] < sequence:
            return memory, me._replace(at="release", block=memory.kepts[me.slot])
        if sequence == self.rounds:
            return memory, me._replace(at=None)
        me = me._replace(block=sequence)
        block = memory.blocks[sequence % self.blocks]
        if self.bug == "no number":
            return (memory, me._replace(at="elect")) if block.status else None
        if self.bug == "status first":
            return (memory, me._replace(at="look_number")) if block.status else None
        return (memory, me._replace(at="look_status")) if block.number == sequence else None

    def look_status(self, memory: Memory, me: Process) -> Any:
        """Load the status (acquire): is the kernel done with it?"""
        block = memory.blocks[me.block % self.blocks]
        return memory, me._replace(at="elect" if block.status else "look")

    def look_number(self, memory: Memory, me: Process) -> Any:
        """Only with the seeded bug."""
        block = memory.blocks[me.block % self.blocks]
        return memory, me._replace(at="elect" if block.number == me.block else "look")

    def elect(self, memory: Memory, me: Process) -> Any:
        """`_elect`: take our bit of the lower half, if it is there (acq_rel); the first goes on to sign."""
        index = me.block % self.blocks
        block = memory.blocks[index]
        if not block.waiting >> me.slot & 1:
            if self.bug == "no signature":
                return memory, me._replace(at="work")
            return memory, me._replace(at="sign")
        memory = self._set(memory, index, waiting=block.waiting & ~(1 << me.slot))
        first = block.waiting == block.members
        if self.bug == "no signature":
            return memory, me._replace(at="work", mine=int(first))
        return memory, me._replace(at="sign" if first else "work")

    def sign(self, memory: Memory, me: Process) -> Any:
        """Compare-exchange the owner."""
        index = me.block % self.blocks
        owner = memory.blocks[index].owner
        if owner == NOBODY or self.bug == "plain signature":
            return self._set(memory, index, owner=me.slot), me._replace(at="work", mine=1)
        return memory, me._replace(at="work", mine=int(owner == me.slot))

    def work(self, memory: Memory, me: Process) -> Any:
        """Read the block in place; for its primary, finish it."""
        block = memory.blocks[me.block % self.blocks]
        if (block.number, block.filled) != (me.block, me.block):
            raise Broken(f"wants block {me.block}, reads {block.filled} while the kernel fills {block.number}")
        if me.mine:
            done = memory.done[me.block]
            if done not in (0, 1 << me.slot) or (done and not memory.killed):
                raise Broken(f"block {me.block} is finished again, by {me.slot}; it was by mask {done}")
            memory = memory._replace(done=put(memory.done, me.block, 1 << me.slot))
        return memory, me._replace(at="done", mine=0)

    def done(self, memory: Memory, me: Process) -> Any:
        """Count it; then release."""
        memory = memory._replace(sequences=put(memory.sequences, me.slot, me.block + 1))
        return memory, me._replace(at="release")

    # Release and hand back: `keep_from`, `_release`, `_hand_back`.

    def release(self, memory: Memory, me: Process) -> Any:
        """Load REFERENCES (acquire): do we hold it?"""
        if self.bug == "no taker":
            return self._discharge(memory, me, memory.blocks[me.block % self.blocks].held >> me.slot & 1)
        if self.bug == "taker first":
            return memory, me._replace(taker=memory.blocks[me.block % self.blocks].taker, at="load_held")
        return memory, me._replace(held=memory.blocks[me.block % self.blocks].held >> me.slot & 1, at="load_taker")

    def load_held(self, memory: Memory, me: Process) -> Any:
        """Only with the seeded bug."""
        me = me._replace(held=memory.blocks[me.block % self.blocks].held >> me.slot & 1)
        return self._judge(memory, me)

    def load_taker(self, memory: Memory, me: Process) -> Any:
        """Load TAKER (acquire): has somebody signed for this round?"""
        return self._judge(memory, me._replace(taker=memory.blocks[me.block % self.blocks].taker))

    def _judge(self, memory: Memory, me: Process) -> Any:
        if me.taker[0] >= me.block:
            if me.taker == (me.block, me.slot):
                return memory, me._replace(at="again")
            return memory, me._replace(at="kept", taker=(-1, NOBODY), held=0)
        return memory, me._replace(at="discharge" if me.held else "last")

    def again(self, memory: Memory, me: Process) -> Any:
        """A predecessor signed: until the status is stored, which only we do, nothing of the block can change."""
        block = memory.blocks[me.block % self.blocks]
        unfinished = block.number == me.block and block.status
        me = me._replace(taker=(-1, NOBODY), held=0)
        return memory, me._replace(at="reset_owner" if unfinished else "kept")

    def discharge(self, memory: Memory, me: Process) -> Any:
        """Subtract our bit (acq_rel)."""
        return self._discharge(memory, me, 1)

    def _discharge(self, memory: Memory, me: Process, held: int) -> Any:
        index = me.block % self.blocks
        after = memory.blocks[index].held & ~(1 << me.slot)
        memory = self._set(memory, index, held=after)
        if self.bug == "no taker":
            return memory, me._replace(at="reset_owner" if held and after == 0 else "kept")
        return memory, me._replace(at="last", held=0)

    def last(self, memory: Memory, me: Process) -> Any:
        """Load REFERENCES (acquire): does anybody hold it?"""
        held = memory.blocks[me.block % self.blocks].held
        return memory, me._replace(at="kept" if held else "take", taker=(-1, NOBODY) if held else me.taker)

    def take(self, memory: Memory, me: Process) -> Any:
        """Compare-exchange TAKER (acq_rel): one of those who found nobody hands it back."""
        index = me.block % self.blocks
        seen, me = me.taker, me._replace(taker=(-1, NOBODY))
        if memory.blocks[index].taker != seen and self.bug != "two takers":
            return memory, me._replace(at="kept")
        return self._set(memory, index, taker=(me.block, me.slot)), me._replace(at="reset_owner")

    def reset_owner(self, memory: Memory, me: Process) -> Any:
        """`_hand_back`: the words of the next round, then the status."""
        if memory.done[me.block] == 0 and memory.retires == self.retires:
            raise Broken(f"block {me.block} goes back and had no primary")
        if self.bug == "reset last":
            memory = self._set(memory, me.block % self.blocks, status=0)
        return self._set(memory, me.block % self.blocks, owner=NOBODY), me._replace(at="load_members")

    def load_members(self, memory: Memory, me: Process) -> Any:
        """Load the members (acquire); as they are now, they are those of the next round."""
        return memory, me._replace(held=memory.members, at="reset_references")

    def reset_references(self, memory: Memory, me: Process) -> Any:
        """MEMBERS and REFERENCES: one step, as only this replica may look at them until the status is stored."""
        values = {"members": me.held, "waiting": me.held, "held": me.held}
        memory = self._set(memory, me.block % self.blocks, **values)
        return memory, me._replace(held=0, at="kept" if self.bug == "reset last" else "hand_back")

    def hand_back(self, memory: Memory, me: Process) -> Any:
        """Store the status (release)."""
        return self._set(memory, me.block % self.blocks, status=0), me._replace(at="kept")

    def kept(self, memory: Memory, me: Process) -> Any:
        """Count it as released."""
        if me.name.startswith("supervisor"):
            return memory, me._replace(at="retire", block=0)
        return memory._replace(kepts=put(memory.kepts, me.slot, me.block + 1)), me._replace(at="look", block=0)

    # Death: a successor in the same slot, or none.

    def die(self, memory: Memory, me: Process) -> Any:
        if not memory.deaths or me.name[0] != "R" or me.at in (None, "revive"):
            return None
        return memory._replace(deaths=memory.deaths - 1, killed=1), Process(me.name, me.slot, "revive")

    def revive(self, memory: Memory, me: Process) -> Any:
        """A successor; or, if there is another replica left, none: the supervisor retires the slot."""
        outcomes = [(memory, me._replace(at="look"))]
        if memory.retires and memory.members != 1 << me.slot:
            without = memory._replace(members=memory.members & ~(1 << me.slot), retires=memory.retires - 1)
            at = "retire" if self.bug == "forgets the last" else "retire_first"
            outcomes.append((without, me._replace(name=f"supervisor for {me.slot}", at=at)))
        return outcomes

    def retire_first(self, memory: Memory, me: Process) -> Any:
        """`_retire`: what the dead was about to release and perhaps to hand back."""
        if memory.kepts[me.slot] == memory.sequences[me.slot]:
            return memory, me._replace(at="retire")
        return memory, me._replace(block=memory.kepts[me.slot], at="release")

    def retire(self, memory: Memory, me: Process) -> Any:
        """Load a block's TAKER: its references are of the round that comes after. Again and again, for all blocks.

        A hand-back that had read the old members sets the dead's bit once more.
        """
        others = [slot for slot in range(self.replicas) if memory.members >> slot & 1]
        idle = all(memory.kepts[slot] == self.rounds for slot in others)
        if idle and not any(block.held >> me.slot & 1 for block in memory.blocks):
            return memory, me._replace(at=None)
        outcomes = []
        for index, block in enumerate(memory.blocks):
            number = block.taker[0] + self.blocks if block.taker[0] >= 0 else index
            if self.bug == "old round":
                kept = memory.kepts[me.slot]
                number = next(n for n in range(kept, kept + self.blocks) if n % self.blocks == index)
            outcomes.append((memory, me._replace(block=number, at="retire_held")))
        return outcomes

    def retire_held(self, memory: Memory, me: Process) -> Any:
        """Load REFERENCES (acquire): is it held by the dead?"""
        held = memory.blocks[me.block % self.blocks].held >> me.slot & 1
        return memory, me._replace(at="release" if held else "retire", block=me.block if held else 0)
