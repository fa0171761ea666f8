"""The ring that all policies share: reserve, regate, publish; close; snapshot; die, revive; join and leave.

Producers, replicas and joiners are the processes; policies (`claim`, `refcount`, `modulo`) add how a batch is
opened. Requests carry their number as payload: a replica that reads another one has read an entry that was
overwritten, or one that was not yet written.

Orders. TAIL is stored with release and loaded with acquire: payloads, marks and owners go with it. floor is
stored with release by its owner and loaded with acquire by the producer: who reads it knows that the replica
reads the entries below no more. Both hand something over one way, for which release and acquire suffice.
Regate and join (LIMIT against GATING) look at each other crosswise and need seq_cst: `dekker`.
"""

from typing import Any, NamedTuple

from model.explore import Broken, Model, put

__all__ = ["NONE", "Entry", "Producer", "Replica", "RingModel", "Shared", "Supervisor"]

NONE = 1 << 20
"""More than any floor: nobody was found."""


class Entry(NamedTuple):
    """One of the ring."""

    payload: int = -1
    mark: Any = None
    owner: int = 0


class Shared(NamedTuple):
    """The words in memory, and below the line what only the checks know."""

    ring: tuple[Entry, ...]
    heads: tuple[int, ...]
    floors: tuple[int, ...]
    snapshots: tuple[int, ...]  # place of each slot's newest own
    starts: tuple[int, ...]  # place where each slot's replica joined, for the supervisor
    limit: int  # announced: what who joins compares
    granted: int  # verified: what reserve compares; never falls
    members: int
    gating: int
    tail: int = 0
    lock: int = 0
    # --
    done: tuple[int, ...] = ()  # mask of the slots that finished a request as its primary; -1: all let go of it
    producing: int = 0  # producers not at their end
    deaths: int = 0  # still to come
    leaves: int = 0
    joins: int = 0
    killed: int = 0  # 1 if any has died
    buried: int = 0  # mask of producers that are dead
    sent: int = 0  # requests published


class Producer(NamedTuple):
    """A producer's registers."""

    name: str
    number: int
    left: int
    at: str | None = "produce"
    want: int = 0
    tail: int = 0
    granted: int = 0
    stamp: int = 0
    mask: int = 0
    low: int = NONE
    new: int = 0  # LIMIT as announced, in the second look
    filled: int = 0


class Replica(NamedTuple):
    """A replica's registers. `next` is the state that it has: the first request not in it."""

    name: str
    slot: int
    at: str | None = "look"
    next: int = 0
    tail: int = 0
    count: int = 0
    primary: int = 0
    seen: Any = None  # a mark as it was loaded
    leaving: int = 0
    until: int = 0  # who leaves serves at least so far


class Supervisor(NamedTuple):
    """Pushes dead producers aside."""

    name: str = "supervisor"
    at: str | None = "watch"
    holder: int = 0


class RingModel(Model):
    """Producers and `replicas` slots on a ring.

    Parameters
    ----------
    requests : int
        Published by each of `producers`, in batches of up to `batch`.
    interval : int
        Snapshots are taken at its multiples, which no batch crosses; `snapshots` False: none, floor is head.
    members : int
        Mask of the slots that are members from the start.
    deaths, leaves, joins : int
        At most so many, of any replica (and producer, if there are several) before any of its steps.
    """

    group = 1  # entries that have one primary
    stamps = False  # the producer writes marks
    serves_on = False  # who leaves serves until it is stamped no more
    bugs = (
        "publish first",  # TAIL before the payload
        "no gate",  # the producer minds only the first of the floors
        "floor first",  # floor is stored when the batch is opened
        "floor before head",
        "floor before snapshot",
        "stale floor",  # F16: a successor does not look after its floor
        "hasty leave",  # F4, F17: leave with a group or claim unfinished
        "limit falls",  # F1: regate may lower what is granted
        "members first",  # a bit in MEMBERS before the place is checked
        "unchecked join",
        "place off the chain",  # F6
        "old claims",  # F9
        "ahead",  # F7: who joins ahead, and nobody waits for that
        "one word",  # F2: the next holder takes an announced LIMIT for verified
        "pushes the living",
        "unlock first",  # LOCK is cleared before TAIL is stored
        "trusted floor",  # F8: a successor takes a floor for checked that is not
        "checked again",  # F8: a successor checks its floor against an announced LIMIT
    )

    def __init__(
        self,
        bug: str = "",
        requests: int = 4,
        entries: int = 2,
        batch: int = 1,
        producers: int = 1,
        replicas: int = 2,
        members: int = 0b11,
        interval: int = 1,
        snapshots: bool = False,
        deaths: int = 0,
        leaves: int = 0,
        joins: int = 0,
    ) -> None:
        super().__init__(bug)
        self.requests, self.entries, self.batch, self.producers = requests, entries, batch, producers
        self.replicas, self.members, self.interval, self.snapshots = replicas, members, interval, snapshots
        self.deaths, self.leaves, self.joins = deaths, leaves, joins

    def initial(self) -> Any:
        nothing = (0,) * self.replicas
        shared = Shared(
            ring=(Entry(),) * self.entries,
            heads=nothing,
            floors=nothing,
            snapshots=nothing,
            starts=nothing,
            limit=self.entries,
            granted=self.entries,
            members=self.members,
            gating=self.members,
            done=(0,) * (self.requests * self.producers),
            producing=self.producers,
            deaths=self.deaths,
            leaves=self.leaves,
            joins=self.joins,
        )
        first = "produce" if self.producers == 1 else "acquire"
        producers = tuple(Producer(f"P{n}", n, self.requests, first) for n in range(self.producers))
        replicas = tuple(
            Replica(f"R{slot}", slot, "look" if self.members >> slot & 1 else "gone") for slot in range(self.replicas)
        )
        supervisors = (Supervisor(),) if self.producers > 1 else ()
        return shared, producers + supervisors + replicas

    def finished(self, state: Any) -> bool:
        shared, processes = state
        if any(process.at not in (None, "gone") for process in processes):
            return False
        lost = [number for number in range(shared.tail) if shared.done[number] == 0]
        if lost:
            raise Broken(f"requests {lost} had no primary")
        return True

    # Several producers: the lock.

    def acquire(self, s: Shared, me: Producer) -> Any:
        """Compare-exchange LOCK, 0 to ours (acquire, pairs with `release`): TAIL, GRANTED and the marks are ours."""
        if not me.left:
            return s._replace(producing=s.producing - 1), me._replace(at=None)
        return None if s.lock else (s._replace(lock=me.number + 1), me._replace(at="produce"))

    def release(self, s: Shared, me: Producer) -> Any:
        """Store LOCK = 0 (release)."""
        if self.bug == "unlock first" and me.filled:
            return s._replace(lock=0), me._replace(at="publish", filled=0)
        return s._replace(lock=0), me._replace(at="acquire")

    def watch(self, s: Shared, me: Supervisor) -> Any:
        """Load LOCK; if it names a producer that surely runs no more, push it aside.

        What the dead has done: announced a LIMIT too high (the next holder goes by GRANTED), filled and stamped
        entries from TAIL on (the next does it again), or published and not unlocked: nothing to be mended.
        """
        if s.producing == 0:
            return s, me._replace(at=None)
        dead = s.buried if self.bug != "pushes the living" else -1
        return (s, me._replace(holder=s.lock, at="push")) if s.lock and dead >> s.lock - 1 & 1 else None

    def push(self, s: Shared, me: Supervisor) -> Any:
        """Compare-exchange LOCK, the dead to 0."""
        return s._replace(lock=0 if s.lock == me.holder else s.lock), Supervisor()

    # The producer: reserve, fill, publish.

    def produce(self, s: Shared, me: Producer) -> Any:
        """TAIL and GRANTED are its own words: reading them is no step."""
        if not me.left and self.producers == 1:
            return s._replace(producing=s.producing - 1), me._replace(at=None)
        me = me._replace(tail=s.tail, granted=s.granted, filled=0, stamp=0, at="stamp" if self.stamps else None)
        wants = range(1, min(self.batch, me.left) + 1)
        return [(s, me._replace(want=want, at=me.at or self._reserved(me, want))) for want in wants]

    def _reserved(self, me: Producer, want: int) -> str:
        return ("publish" if self.bug == "publish first" else "fill") if me.tail + want <= me.granted else "gate"

    def stamp(self, s: Shared, me: Producer) -> Any:
        """Load MEMBERS (acquire) in reserve: nobody there is the same as full (F5)."""
        if s.members == 0 and self.bug != "nobody":
            return s, me._replace(at=self._again())
        return s, me._replace(stamp=s.members, at=self._reserved(me, me.want))

    def gate(self, s: Shared, me: Producer) -> Any:
        """Load GATING: acquire in the first look, seq_cst in the second."""
        if self.bug == "no gate":
            return s, me._replace(mask=s.gating & -s.gating, low=NONE, at="floor")
        return s, me._replace(mask=s.gating, low=NONE, at="floor")

    def floor(self, s: Shared, me: Producer) -> Any:
        """Load the floor of the next replica in the mask (acquire, pairs with `close`)."""
        if me.mask:
            slot = (me.mask & -me.mask).bit_length() - 1
            me = me._replace(mask=me.mask & me.mask - 1, low=min(me.low, s.floors[slot]))
        if me.mask:
            return s, me
        new = me.low // self.group * self.group + self.entries
        if me.new:
            return s, me._replace(low=NONE, granted=max(me.granted, min(me.new, new)), at="settle")
        if me.low == NONE or (new <= me.granted and self.bug != "limit falls"):
            return s, me._replace(low=NONE, at=self._again())
        return s, me._replace(low=NONE, new=new, at="announce")

    def announce(self, s: Shared, me: Producer) -> Any:
        """Raise LIMIT by an exchange (seq_cst), then look again: pairs with `enter` and `check`."""
        if self.bug == "one word":
            s = s._replace(granted=me.new)
        return s._replace(limit=me.new), me._replace(at="gate")

    def settle(self, s: Shared, me: Producer) -> Any:
        """Lower LIMIT to what the second look allows (release)."""
        if self.bug == "limit falls":
            me = me._replace(granted=me.new)
        return s._replace(limit=me.granted), me._replace(new=0, at="grant")

    def grant(self, s: Shared, me: Producer) -> Any:
        """Store GRANTED; only producers read it."""
        room = me.granted - me.tail
        at = self._again() if room <= 0 else self._reserved(me, min(me.want, room))
        return s._replace(granted=me.granted), me._replace(want=min(me.want, max(room, 0)), at=at)

    def _again(self) -> str:
        return "produce" if self.producers == 1 else "release"

    def fill(self, s: Shared, me: Producer) -> Any:
        """Write an entry: plain stores, published by TAIL. A group's first one is stamped."""
        number = me.tail + me.filled
        entry = s.ring[number % self.entries]._replace(payload=number)
        if self.stamps and number % self.group == 0:
            entry = entry._replace(mark=self.mark(me.stamp), owner=0)
        done = self.bug == "publish first"
        last = "release" if self.bug == "unlock first" else "publish"
        at = "fill" if me.filled + 1 < me.want else self._after_publishing() if done else last
        ring = put(s.ring, number % self.entries, entry)
        return s._replace(ring=ring), me._replace(filled=me.filled + 1, at=at, left=me.left - done)

    def mark(self, members: int) -> Any:
        raise NotImplementedError

    def publish(self, s: Shared, me: Producer) -> Any:
        """Store TAIL (release, pairs with `look`)."""
        s = s._replace(tail=me.tail + me.want, sent=s.sent + me.want)
        if s.sent != s.tail:
            raise Broken(f"{s.sent} requests were published, TAIL is {s.tail}")
        if self.bug == "publish first":
            return s, me._replace(at="fill")
        return s, me._replace(left=me.left - me.want, at=self._after_publishing())

    def _after_publishing(self) -> str:
        return "acquire" if self.bug == "unlock first" else self._again()

    # A replica: open_batch (the policies'), work, close_batch.

    def look(self, s: Shared, me: Replica) -> Any:
        """Load TAIL (acquire, pairs with `publish`). The supervisor's wish that we leave is seen here, too."""
        if me.next >= s.tail:
            if s.producing == 0:
                return self._gone(s, me) if me.leaving else (s, me._replace(at=None))
            outcomes = []
        else:
            outcomes = [(s, me._replace(tail=s.tail, at="open"))]
        if self._may_leave(s, me):
            left = s._replace(members=s.members & ~(1 << me.slot), leaves=s.leaves - 1)
            outcomes.append((left, me._replace(leaving=1, at="until" if self.serves_on else "ungate")))
        return outcomes

    def _may_leave(self, s: Shared, me: Replica) -> bool:
        """Leave: clear the bit in MEMBERS (atomic and).

        Only where nothing is left to us (`free`), not the last one, and only if another began here or before (F7):
        else there are requests that nobody else will see.
        """
        others = s.members & ~(1 << me.slot)
        if not s.leaves or me.leaving or not others or not self.free(s, me):
            return False
        starts = [s.starts[slot] for slot in range(self.replicas) if others >> slot & 1]
        return self.bug == "ahead" or min(starts) <= me.next

    def free(self, s: Shared, me: Replica) -> bool:
        """True if nothing at our head is ours to finish."""
        raise NotImplementedError

    def room(self, me: Replica) -> int:
        """How many requests a batch may have: what is there, at most `batch`, not over a multiple of `interval`."""
        return min(me.tail - me.next, self.batch, self.interval - me.next % self.interval)

    def opened(self, s: Shared, me: Replica, count: int, primary: bool) -> Any:
        """A batch is open. member.count and member.primary are the owner's registers."""
        if self.bug == "floor first":
            s = s._replace(floors=put(s.floors, me.slot, me.next + count))
        return s, me._replace(count=count, primary=int(primary), seen=None, tail=0, at="work")

    def work(self, s: Shared, me: Replica) -> Any:
        """Read one request in place; for its primary, finish it."""
        number = self._read(s, me)
        if me.primary:
            s = self._finish(s, number, me.slot)
        me = me._replace(next=number + 1, count=me.count - 1)
        return s, me if me.count else me._replace(primary=0, at=self._closing(me))

    def _read(self, s: Shared, me: Replica) -> int:
        payload = s.ring[me.next % self.entries].payload
        if payload != me.next:
            raise Broken(f"wants request {me.next}, reads {payload}")
        return payload

    def _finish(self, s: Shared, number: int, slot: int) -> Shared:
        done = s.done[number]
        if done not in (0, 1 << slot):
            raise Broken(f"request {number} is finished by slot {slot}, and was by mask {done}")
        if done and not s.killed:
            raise Broken(f"request {number} is finished twice though nobody died")
        return s._replace(done=put(s.done, number, 1 << slot))

    def _closing(self, me: Replica) -> str:
        if self.bug == "floor first":
            return "close"
        return "close_floor" if self.bug == "floor before head" else "close"

    def close(self, s: Shared, me: Replica) -> Any:
        """Store head (release), before floor: a successor goes on at head and needs its entry (F13)."""
        s = s._replace(heads=put(s.heads, me.slot, me.next))
        if self.bug == "floor before head":
            return s, me._replace(at="look")
        if not self.snapshots:
            return s, me._replace(at="close_floor")
        if me.next % self.interval:
            return s, me._replace(at="look")
        return s, me._replace(at="close_floor" if self.bug == "floor before snapshot" else "snapshot")

    def snapshot(self, s: Shared, me: Replica) -> Any:
        """Publish a snapshot (release; `snapshot`, the model), before floor says that the log is not needed."""
        s = s._replace(snapshots=put(s.snapshots, me.slot, me.next))
        return s, me._replace(at="look" if self.bug == "floor before snapshot" else "close_floor")

    def close_floor(self, s: Shared, me: Replica) -> Any:
        """Store floor (release, pairs with `floor`)."""
        s = s._replace(floors=put(s.floors, me.slot, me.next))
        at = {"floor before head": "close", "floor before snapshot": "snapshot"}.get(self.bug, "look")
        return self.settled(s), me._replace(at=at)

    def settled(self, s: Shared) -> Shared:
        """Check what all have let go of, and forget who was its primary: fewer states."""
        low = min((s.floors[slot] for slot in range(self.replicas) if s.gating >> slot & 1), default=0)
        done = list(s.done)
        for number in range(min(low, s.tail)):
            if done[number] == 0:
                raise Broken(f"all have let go of request {number} and it had no primary")
            done[number] = -1
        return s._replace(done=tuple(done))

    # Death and successor.

    def die(self, s: Shared, me: Any) -> Any:
        if not s.deaths or me.at in (None, "gone", "revive") or isinstance(me, Supervisor):
            return None
        s = s._replace(deaths=s.deaths - 1, killed=1)
        if isinstance(me, Producer):
            if self.producers == 1:
                return None
            return s._replace(buried=s.buried | 1 << me.number, producing=s.producing - 1), me._replace(
                left=0, want=0, tail=0, granted=0, stamp=0, mask=0, low=NONE, new=0, filled=0, at=None
            )
        return s, Replica(me.name, me.slot, "revive", leaving=me.leaving)

    def revive(self, s: Shared, me: Replica) -> Any:
        """The successor in the same slot. All that it loads is its own: one step.

        What is gated on but no member died while it joined, or leaves: the supervisor knows which. Of the first
        nobody knows whether its floor was checked, and it had claimed nothing: it begins anew (F8). Of a member
        the check is not repeated: LIMIT is announced too high for a moment in every regate.
        """
        if not s.gating >> me.slot & 1:
            return s, me._replace(at="gone" if me.leaving else "choose")
        member = s.members >> me.slot & 1 or me.leaving or self.bug == "trusted floor"
        place = s.snapshots[me.slot] if self.snapshots else s.heads[me.slot]
        if self.bug == "checked again":
            return s, me._replace(next=place, at="check")
        return s, me._replace(next=place, at="replay" if member else "withdraw")

    def replay(self, s: Shared, me: Replica) -> Any:
        """Bring the state from the snapshot to head: as other, whatever the marks say; head stays (F13)."""
        if me.next < s.heads[me.slot]:
            self._read(s, me)
            return s, me._replace(next=me.next + 1)
        return s, me._replace(at="replayed")

    def replayed(self, s: Shared, me: Replica) -> Any:
        """Make good what the predecessor may not have come to between head and floor (F16); own words only."""
        if me.leaving and not self.serves_on:
            return s, me._replace(at="ungate")
        if me.leaving and me.until == 0:
            me = me._replace(until=s.tail)
        if self.bug == "stale floor" or s.floors[me.slot] >= me.next:
            return s, me._replace(at="look")
        if not self.snapshots:
            return s, me._replace(at="close_floor")
        return s, me._replace(at="look" if me.next % self.interval else "snapshot")

    # Join and leave.

    def until(self, s: Shared, me: Replica) -> Any:
        """Load TAIL after the bit in MEMBERS was cleared: all before may be stamped with it (F19)."""
        return s, me._replace(until=0 if self.bug == "first without" else s.tail, at="look")

    def ungate(self, s: Shared, me: Replica) -> Any:
        """Clear the bit in GATING (atomic and, release: our reads are over)."""
        return self._gone(s, me)

    def _gone(self, s: Shared, me: Replica) -> Any:
        s = s._replace(gating=s.gating & ~(1 << me.slot), members=s.members & ~(1 << me.slot))
        return s, Replica(me.name, me.slot, "gone")

    def gone(self, s: Shared, me: Replica) -> Any:
        """The supervisor may start another in this slot."""
        return (s._replace(joins=s.joins - 1), me._replace(at="choose")) if s.joins and s.producing else None

    def choose(self, s: Shared, me: Replica) -> Any:
        """A place to begin: another's newest snapshot, or, without state, the next multiple of interval."""
        if self.snapshots:
            others = [slot for slot in range(self.replicas) if slot != me.slot]
            return [(s, me._replace(next=s.snapshots[slot], at="copy")) for slot in others]
        place = s.tail if self.bug == "place off the chain" else -(-s.tail // self.interval) * self.interval
        return s, me._replace(next=place, at="place")

    def copy(self, s: Shared, me: Replica) -> Any:
        """Publish the foreign snapshot as an own one, so that a successor has it (F10)."""
        return s._replace(snapshots=put(s.snapshots, me.slot, me.next)), me._replace(at="place")

    def place(self, s: Shared, me: Replica) -> Any:
        """Store head and floor, before the bit. Requests that an earlier life of the slot let go of stay so (F9)."""
        head = me.next if self.bug == "old claims" else max(s.heads[me.slot], me.next)
        s = s._replace(heads=put(s.heads, me.slot, head), floors=put(s.floors, me.slot, me.next))
        s = s._replace(starts=put(s.starts, me.slot, me.next))
        return s, me._replace(at="member" if self.bug == "members first" else "enter")

    def enter(self, s: Shared, me: Replica) -> Any:
        """Set the bit in GATING (atomic or, seq_cst), then look at LIMIT: pairs with `announce` and `gate`."""
        at = {"members first": "check", "unchecked join": "member"}.get(self.bug, "check")
        return s._replace(gating=s.gating | 1 << me.slot), me._replace(at=at)

    def check(self, s: Shared, me: Replica) -> Any:
        """Load LIMIT (seq_cst): if the producer may go further than our place allows, begin anew."""
        if s.limit > s.floors[me.slot] + self.entries:
            return s, me._replace(at="withdraw")
        return s, me._replace(at="member")

    def withdraw(self, s: Shared, me: Replica) -> Any:
        """Clear the bit in GATING again (atomic and)."""
        return s._replace(gating=s.gating & ~(1 << me.slot)), me._replace(at="choose")

    def member(self, s: Shared, me: Replica) -> Any:
        """Set the bit in MEMBERS (atomic or), once nothing before our place can be stamped with it (F7)."""
        if s.tail < me.next and s.producing and self.bug != "ahead":
            return None
        s = s._replace(members=s.members | 1 << me.slot)
        return s, me._replace(at="enter" if self.bug == "members first" else "replay")
