"""The ring that all policies share: `ring.producer`, `ring.floors`, `ring.membership`, and `ring.batch`.

Producers and replicas are the processes, and a supervisor that pushes dead producers aside; policies (`claim`,
`refcount`, `modulo`) add how a batch is opened. Requests carry their number as payload: a replica that reads
another one has read an entry that was overwritten, or one that was not yet written.

Orders. TAIL is stored with release and loaded with acquire: payloads, marks and lengths go with it. floor is
stored with release by its owner and loaded with acquire by the producer, which then knows that the replica
reads the entries below no more. Both hand something over one way, for which release and acquire suffice.
Regate and join (LIMIT against GATING) look at each other crosswise and need seq_cst: `dekker`.

Over 400 lines because the processes share one state: each step of one is a condition of the others.
"""

from typing import Any, NamedTuple

from model.explore import Broken, Model, put

__all__ = ["NONE", "Entry", "Member", "Producer", "Replica", "RingModel", "Shared", "Supervisor"]

NONE = 1 << 20
"""More than any floor: nobody was found."""

IDLE, BUSY, LAPPED = range(3)


class Entry(NamedTuple):
    """One of the ring."""

    payload: int = -1
    mark: Any = None


class Member(NamedTuple):
    """A slot's MEMBER record, and its newest snapshot's place (`snapshot`, the model). Outlives its owner."""

    head: int = 0
    floor: int = 0
    state: int = IDLE
    until: int = 0
    group: int = 0
    role: int = 0
    saved: int = 0


class Shared(NamedTuple):
    """The words in memory, and below the line what only the checks know."""

    ring: tuple[Entry, ...]
    slots: tuple[Member, ...]
    limit: int  # announced; a joining replica compares it with its floor
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
    at: str | None = "reserve"
    want: int = 0
    tail: int = 0
    granted: int = 0
    stamp: int = 0
    mask: int = 0
    rest: int = 0
    low: int = NONE
    new: int = 0  # LIMIT as announced, in the second look
    filled: int = 0
    foremost: int = -1
    highest: int = -1


class Replica(NamedTuple):
    """A replica's registers."""

    name: str
    slot: int
    at: str | None = "look"
    next: int = 0  # in a batch: the request at hand; in a join: the place
    tail: int = 0
    count: int = 0
    primary: int = 0
    seen: Any = None  # a mark as it was loaded
    leaving: int = 0
    least: int = 0  # a replica that leaves serves at least up to here


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
        No batch crosses its multiples; with `keeps`, snapshots are saved there, else floor is head.
    laps : bool
        The producer overtakes replicas that are in the way and idle, but for the foremost.
    members : int
        Mask of the slots that are members from the start.
    deaths, leaves, joins : int
        At most so many, of any replica (and producer, if there are several) before any of its steps.
    """

    group = 1  # entries that have one primary by their number
    stamps = False  # the producer writes marks
    bugs: tuple[str, ...] = (
        "publish first",  # TAIL before the payload
        "no gate",  # the producer minds only the first of the floors
        "floor first",  # floor is stored when the batch is opened
        "floor before head",
        "floor before snapshot",
        "stale floor",  # a successor does not look after its floor
        "hasty leave",  # leave with a claim or group unfinished
        "asked in replay",  # what is left is looked for at the head of one that replays
        "limit falls",  # regate may lower what is granted
        "members first",  # a bit in MEMBERS before the place is checked
        "unchecked join",
        "off the chain",  # a joiner begins at TAIL
        "head in replay",  # a joiner begins at the head of one that replays
        "old claims",  # a joining replica repeats requests that an earlier replica of the slot has served
        "forgets until",  # a refused join forgets what that earlier life has done
        "one word",  # the next holder takes an announced LIMIT for verified
        "pushes the living",
        "unlock first",  # LOCK is cleared before TAIL is stored
        "trusted floor",  # a successor takes a floor for checked that is not
        "checked again",  # a successor checks its floor against an announced LIMIT
        "laps the busy",
        "laps all",  # the foremost, too
        "clears its bits",  # the producer clears an overtaken replica's bits
        "idle too early",  # a successor is idle before it has redone its claim
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
        keeps: bool = False,
        laps: bool = False,
        deaths: int = 0,
        leaves: int = 0,
        joins: int = 0,
    ) -> None:
        super().__init__(bug)
        self.requests, self.entries, self.batch, self.producers = requests, entries, batch, producers
        self.replicas, self.members, self.interval, self.keeps = replicas, members, interval, keeps
        self.laps, self.deaths, self.leaves, self.joins = laps, deaths, leaves, joins

    def initial(self) -> Any:
        shared = Shared(
            ring=(Entry(),) * self.entries,
            slots=(Member(),) * self.replicas,
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
        producers = tuple(Producer(f"P{n}", n, self.requests, self._again()) for n in range(self.producers))
        supervisors = (Supervisor(),) if self.producers > 1 else ()
        replicas = tuple(
            Replica(f"R{slot}", slot, "look" if self.members >> slot & 1 else "gone") for slot in range(self.replicas)
        )
        return shared, producers + supervisors + replicas

    def finished(self, state: Any) -> bool:
        shared, processes = state
        if any(process.at not in (None, "gone") for process in processes):
            return False
        lost = [number for number in range(shared.tail) if shared.done[number] == 0]
        if lost:
            raise Broken(f"requests {lost} had no primary")
        return True

    # Several producers: the lock (`producer.acquire`, `release`; `Channel.free_lock`).

    def acquire(self, s: Shared, me: Producer) -> Any:
        """Compare-exchange LOCK, 0 to ours (acquire, pairs with `release`): TAIL, GRANTED and the marks are ours."""
        if not me.left:
            return s._replace(producing=s.producing - 1), me._replace(at=None)
        return None if s.lock else (s._replace(lock=me.number + 1), me._replace(at="reserve"))

    def release(self, s: Shared, me: Producer) -> Any:
        """Store LOCK = 0 (release)."""
        if self.bug == "unlock first" and me.filled:
            return s._replace(lock=0), me._replace(at="publish", filled=0)
        return s._replace(lock=0), me._replace(at="acquire")

    def watch(self, s: Shared, me: Supervisor) -> Any:
        """Load LOCK; if it names a producer that surely runs no more, push it aside.

        The dead producer may have announced a LIMIT that is too high (the next holder goes by GRANTED), filled and
        stamped entries from TAIL on (the next holder does it again), or published without unlocking. None of these
        needs a repair.
        """
        if s.producing == 0:
            return s, me._replace(at=None)
        dead = s.buried if self.bug != "pushes the living" else -1
        return (s, me._replace(holder=s.lock, at="push")) if s.lock and dead >> s.lock - 1 & 1 else None

    def push(self, s: Shared, me: Supervisor) -> Any:
        """Store LOCK = 0: nobody else changes it while it names the dead."""
        return s._replace(lock=0 if s.lock == me.holder else s.lock), Supervisor()

    # The producer: `producer.reserve`, `floors.refresh_limit`, `producer.publish`.

    def _again(self) -> str:
        return "reserve" if self.producers == 1 else "acquire"

    def _over(self, me: Producer, left: int) -> Producer:
        """After it has published, or found no room: its registers are forgotten."""
        return Producer(me.name, me.number, left, "reserve" if self.producers == 1 else "release")

    def reserve(self, s: Shared, me: Producer) -> Any:
        """TAIL and GRANTED are the producers' own words: reading them is no step. Load MEMBERS (acquire).

        Without members the channel counts as full. The loaded mask is stamped, also if a replica resigns meanwhile.
        """
        if not me.left:
            return s._replace(producing=s.producing - 1), me._replace(at=None)
        if self.stamps and s.members == 0 and self.bug != "nobody":
            return (s, me._replace(at="release")) if self.producers > 1 else None
        me = me._replace(tail=s.tail, granted=s.granted, filled=0, stamp=s.members if self.stamps else 0)
        wants = range(1, min(self.batch, me.left) + 1)
        return [(s, me._replace(want=want, at=self._reserved(me, want))) for want in wants]

    def _reserved(self, me: Producer, want: int) -> str:
        return ("publish" if self.bug == "publish first" else "fill") if me.granted - me.tail >= want else "gate"

    def gate(self, s: Shared, me: Producer) -> Any:
        """Load GATING: seq_cst, pairs with `enter`."""
        mask = s.gating & -s.gating if self.bug == "no gate" else s.gating
        ranks = self.laps and mask
        return s, me._replace(mask=mask, rest=mask if ranks else 0, at="rank" if ranks else "floor")

    def rank(self, s: Shared, me: Producer) -> Any:
        """`_foremost`: load a state and a floor (acquire). An overtaken replica does not count."""
        slot = (me.rest & -me.rest).bit_length() - 1
        member = s.slots[slot]
        if member.state != LAPPED and member.floor > me.highest:
            me = me._replace(foremost=slot, highest=member.floor)
        me = me._replace(rest=me.rest & me.rest - 1)
        return s, me if me.rest else me._replace(highest=-1, at="floor")

    def floor(self, s: Shared, me: Producer) -> Any:
        """`_lowest`: load the floor of the next replica in the mask (acquire, pairs with `close`)."""
        if me.mask:
            slot = (me.mask & -me.mask).bit_length() - 1
            member = s.slots[slot]
            if self.laps and member.state == LAPPED and self.bug != "clears its bits":
                return s, me._replace(mask=me.mask & me.mask - 1)
            spared = slot == me.foremost and self.bug != "laps all"
            if self.laps and not spared and me.tail - member.floor >= self.entries:
                return s, me._replace(at="overtake")
            me = me._replace(mask=me.mask & me.mask - 1, low=min(me.low, member.floor))
            if me.mask:
                return s, me
        low = me.low // self.group * self.group if me.low < NONE else me.tail - self.entries
        new = low + self.entries
        me = me._replace(low=NONE, foremost=-1)
        if me.new:
            return s, me._replace(granted=max(me.granted, min(me.new, new)), at="settle")
        if new <= me.granted and (self.bug != "limit falls" or s.gating == 0):
            return s, self._over(me, me.left)
        return s, me._replace(new=new, at="announce")

    def overtake(self, s: Shared, me: Producer) -> Any:
        """`_overtake`: compare-exchange a state, IDLE to LAPPED (acq_rel, pairs with `begin`). Busy: it is minded."""
        slot = (me.mask & -me.mask).bit_length() - 1
        member = s.slots[slot]
        rest = me._replace(mask=me.mask & me.mask - 1, at="floor")
        if member.state == BUSY and self.bug != "laps the busy":
            return s, rest._replace(low=min(me.low, member.floor))
        s = self._set(s, slot, state=LAPPED)
        if self.bug == "clears its bits":
            return s, me._replace(at="clear_member")
        return s, rest

    def clear_member(self, s: Shared, me: Producer) -> Any:
        """Only with the seeded bug."""
        return s._replace(members=s.members & ~(me.mask & -me.mask)), me._replace(at="clear_gating")

    def clear_gating(self, s: Shared, me: Producer) -> Any:
        """Only with the seeded bug."""
        s = s._replace(gating=s.gating & ~(me.mask & -me.mask))
        return s, me._replace(mask=me.mask & me.mask - 1, at="floor")

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
        s = s._replace(granted=me.granted)
        if room <= 0:
            return s, self._over(me, me.left)
        want = min(me.want, room)
        return s, me._replace(want=want, at=self._reserved(me, want))

    def fill(self, s: Shared, me: Producer) -> Any:
        """Write an entry: plain stores, published by TAIL. A group's first one is stamped."""
        number = me.tail + me.filled
        entry = s.ring[number % self.entries]._replace(payload=number)
        if self.stamps and number % self.group == 0:
            entry = entry._replace(mark=self.stamped(me.stamp))
        early = self.bug == "publish first"
        s = s._replace(ring=put(s.ring, number % self.entries, entry))
        me = me._replace(filled=me.filled + 1)
        if me.filled < me.want:
            return s, me
        if early:
            return s, self._over(me, me.left - me.want)
        return s, me._replace(at="release" if self.bug == "unlock first" else "publish")

    def stamped(self, members: int) -> Any:
        """The mark of a fresh group."""
        raise NotImplementedError

    def publish(self, s: Shared, me: Producer) -> Any:
        """Store TAIL (release, pairs with `look`)."""
        s = s._replace(tail=me.tail + me.want, sent=s.sent + me.want)
        if s.sent != s.tail:
            raise Broken(f"{s.sent} requests were published, TAIL is {s.tail}")
        if self.bug == "publish first":
            return s, me._replace(at="fill")
        me = self._over(me, me.left - me.want)
        return s, me._replace(at="acquire") if self.bug == "unlock first" else me

    # A replica: open_batch (the policies' `open`), work, close_batch; snapshots as in `Domain`.

    def _set(self, s: Shared, slot: int, **values: Any) -> Shared:
        return s._replace(slots=put(s.slots, slot, s.slots[slot]._replace(**values)))

    def look(self, s: Shared, me: Replica) -> Any:
        """Load TAIL, if no request is known to be there (acquire, pairs with `publish`).

        The wish that we leave is seen here, too: `membership.resign`, then `may_leave` between any two batches.
        """
        head = s.slots[me.slot].head
        if self._is_due(s, me):
            return s, me._replace(at="save")
        if me.leaving and self.has_done_all(s, me):
            return s, me._replace(at="ungate")
        outcomes = []
        if me.tail > head:
            return s, me._replace(at=self._opening(s, me))
        if head < s.tail:
            me_then = me._replace(tail=s.tail)
            outcomes.append((s, me_then._replace(at=self._opening(s, me_then))))
        elif s.producing == 0:
            return self._gone(s, me) if me.leaving else (s, me._replace(at=None))
        others = s.members & ~(1 << me.slot)
        if s.leaves and not me.leaving and others and self.may_leave(s, others):
            left = s._replace(members=s.members & ~(1 << me.slot), leaves=s.leaves - 1)
            outcomes.append((left, me._replace(leaving=1, at="resigned")))
        return outcomes

    def may_leave(self, s: Shared, others: int) -> bool:
        """The supervisor's part: not the last one. One that is overtaken, and has to join anew, does not count."""
        return any(others >> slot & 1 and s.slots[slot].state != LAPPED for slot in range(self.replicas))

    def resigned(self, s: Shared, me: Replica) -> Any:
        """Load TAIL after the bit in MEMBERS was cleared: all before may be stamped with it."""
        return s, me._replace(least=0 if self.bug == "first without" else s.tail, at="look")

    def has_done_all(self, s: Shared, me: Replica) -> bool:
        """True if a replica that has resigned may leave. While it replays this is not known yet."""
        if self.bug == "hasty leave":
            return True
        replays = s.slots[me.slot].head < s.slots[me.slot].until and self.bug != "asked in replay"
        return not replays and self.nothing_left(s, me)

    def nothing_left(self, s: Shared, me: Replica) -> bool:
        """True if nothing from our head on is ours to finish."""
        raise NotImplementedError

    def _opening(self, s: Shared, me: Replica) -> str:
        if self.laps:
            return "begin"
        return "replay" if s.slots[me.slot].head < s.slots[me.slot].until else "open"

    def begin(self, s: Shared, me: Replica) -> Any:
        """Compare-exchange our state, IDLE to BUSY (acq_rel, pairs with `overtake`), before a mark is looked at."""
        member = s.slots[me.slot]
        if member.state == LAPPED:
            return s, me._replace(at="overtaken")
        return self._set(s, me.slot, state=BUSY), me._replace(at="replay" if member.head < member.until else "open")

    def replay(self, s: Shared, me: Replica) -> Any:
        """Replay requests that a predecessor released, never as primary. Only own words are read."""
        member = s.slots[me.slot]
        return self.opened(s, me, min(self.most(s, me), member.until - member.head, self.batch), False)

    def most(self, s: Shared, me: Replica) -> int:
        """How many requests a batch may have: what is there, not over a multiple of `interval`."""
        head = s.slots[me.slot].head
        return min(me.tail - head, self.interval - head % self.interval)

    def opened(self, s: Shared, me: Replica, count: int, primary: bool) -> Any:
        """A batch is open."""
        head = s.slots[me.slot].head
        if self.bug == "floor first":
            s = self._set(s, me.slot, floor=head + count)
        return s, me._replace(next=head, count=count, primary=int(primary), seen=None, at="work")

    def work(self, s: Shared, me: Replica) -> Any:
        """Read one request in place; for its primary, finish it."""
        payload = s.ring[me.next % self.entries].payload
        if payload != me.next:
            raise Broken(f"wants request {me.next}, reads {payload}")
        if me.primary:
            s = self._finish(s, me.next, me.slot)
        me = me._replace(next=me.next + 1, count=me.count - 1)
        if me.count:
            return s, me
        return s, me._replace(primary=0, at="close_floor" if self.bug == "floor before head" else "close")

    def _finish(self, s: Shared, number: int, slot: int) -> Shared:
        done = s.done[number]
        if done not in (0, 1 << slot):
            raise Broken(f"request {number} is finished by slot {slot}, and was by mask {done}")
        if done and not s.killed:
            raise Broken(f"request {number} is finished twice though nobody died")
        return s._replace(done=put(s.done, number, 1 << slot))

    def close(self, s: Shared, me: Replica) -> Any:
        """Store head (release), before floor: a successor goes on at head and needs its entry."""
        s = self._set(s, me.slot, head=me.next)
        at = "look" if self.keeps or self.bug == "floor before head" else "close_floor"
        return s, self._closed(me, at)

    def _closed(self, me: Replica, at: str) -> Replica:
        if at != "look":
            return me._replace(at=at)
        return me._replace(at="idle" if self.laps else at, next=0, tail=me.tail if me.tail > me.next else 0)

    def close_floor(self, s: Shared, me: Replica) -> Any:
        """Store floor (release, pairs with the producer's `floor`)."""
        s = self._set(s, me.slot, floor=me.next)
        return self.settled(s), self._closed(me, "close" if self.bug == "floor before head" else "look")

    def idle(self, s: Shared, me: Replica) -> Any:
        """Store our state (release, pairs with `overtake`), not in the middle of a group.

        Nor before a successor has redone what its predecessor had claimed at `until`.
        """
        member = s.slots[me.slot]
        stays = member.head % self.group != 0 or member.head <= member.until
        if self.bug == "idle too early":
            stays = False
        return self._set(s, me.slot, state=BUSY if stays else IDLE), me._replace(at="look")

    def _is_due(self, s: Shared, me: Replica) -> bool:
        member = s.slots[me.slot]
        return self.keeps and member.head % self.interval == 0 and member.head != member.floor

    def save(self, s: Shared, me: Replica) -> Any:
        """Publish a snapshot (`snapshot`, the model), before floor says that the log is not needed."""
        head = s.slots[me.slot].head
        if self.bug == "floor before snapshot":
            return self._set(s, me.slot, floor=head), me._replace(at="save_late")
        return self._set(s, me.slot, saved=head), me._replace(at="keep_from")

    def save_late(self, s: Shared, me: Replica) -> Any:
        """Only with the seeded bug."""
        return self._set(s, me.slot, saved=s.slots[me.slot].head), me._replace(at="look")

    def keep_from(self, s: Shared, me: Replica) -> Any:
        """Store floor (release)."""
        return self.settled(self._set(s, me.slot, floor=s.slots[me.slot].head)), me._replace(at="look")

    def settled(self, s: Shared) -> Shared:
        """Check the requests that all replicas have released, and forget their primaries: fewer states."""
        floors = [
            member.floor
            for slot, member in enumerate(s.slots)
            if s.gating >> slot & 1 and not (self.laps and member.state == LAPPED)
        ]
        done = list(s.done)
        for number in range(min(min(floors, default=0), s.tail)):
            if done[number] == 0:
                raise Broken(f"all have let go of request {number} and it had no primary")
            done[number] = -1
        return s._replace(done=tuple(done))

    # Death and successor.

    joining = ("choose", "copy", "place", "enter", "check", "withdraw", "member")

    def die(self, s: Shared, me: Any) -> Any:
        """Not while it joins, unless it laps and does that itself: else the supervisor joins for it."""
        if not s.deaths or me.at in (None, "gone", "revive") or isinstance(me, Supervisor):
            return None
        s = s._replace(deaths=s.deaths - 1, killed=1)
        if isinstance(me, Producer):
            if self.producers == 1:
                return None
            s = s._replace(buried=s.buried | 1 << me.number, producing=s.producing - 1)
            return s, Producer(me.name, me.number, 0, None)
        return s, Replica(me.name, me.slot, "revive", leaving=me.leaving)

    def revive(self, s: Shared, me: Replica) -> Any:
        """The successor in the same slot (`membership.resume`), by the supervisor, in words that are the dead one's.

        A replica that is gated on but is no member died while it joined, or it is leaving; the supervisor knows which.
        If it was joining, it had claimed nothing, and whether its floor was checked is unknown: it begins anew. For a
        member the check is not repeated: LIMIT is announced too high for a moment in every regate.
        """
        member = s.slots[me.slot]
        if not s.gating >> me.slot & 1:
            return s, me._replace(at="gone" if me.leaving else "choose")
        if not s.members >> me.slot & 1 and not me.leaving and self.bug != "trusted floor":
            return s, me._replace(at="withdraw")
        place = member.saved if self.keeps else member.head
        state = IDLE if self.bug == "idle too early" and member.state == BUSY else member.state
        floor = member.floor if self.bug == "stale floor" else place  # the dead may have stored head only
        s = self._set(s, me.slot, until=max(member.until, member.head), head=place, floor=floor, state=state)
        s = self.settled(s)
        if self.bug == "checked again":
            return s, me._replace(at="check")
        return s, me._replace(at="resigned" if me.leaving else "look")

    # Join and leave (`membership.join`, `leave`).

    def ungate(self, s: Shared, me: Replica) -> Any:
        """Clear the bit in GATING (atomic and, release: our reads are over)."""
        return self._gone(s, me)

    def _gone(self, s: Shared, me: Replica) -> Any:
        s = s._replace(gating=s.gating & ~(1 << me.slot), members=s.members & ~(1 << me.slot))
        return s, Replica(me.name, me.slot, "gone")

    def gone(self, s: Shared, me: Replica) -> Any:
        """The supervisor may start another in this slot."""
        return (s._replace(joins=s.joins - 1), me._replace(at="choose")) if s.joins and s.producing else None

    def overtaken(self, s: Shared, me: Replica) -> Any:
        """Clear our bit in MEMBERS. Only we change our bits."""
        if me.leaving:
            return self._gone(s, me)
        return s._replace(members=s.members & ~(1 << me.slot)), me._replace(at="withdraw")

    def withdraw(self, s: Shared, me: Replica) -> Any:
        """Clear our bit in GATING."""
        return s._replace(gating=s.gating & ~(1 << me.slot)), me._replace(at="choose")

    def choose(self, s: Shared, me: Replica) -> Any:
        """A place to begin: another's newest snapshot; without state, where the foremost is, or was."""
        if self.keeps and self.bug not in ("head in replay", "off the chain"):
            others = [slot for slot in range(self.replicas) if slot != me.slot]
            return [(s, me._replace(next=s.slots[slot].saved, at="copy")) for slot in others]
        place = max(
            member.head if self.bug == "head in replay" else max(member.head, member.until) for member in s.slots
        )
        return s, me._replace(next=s.tail if self.bug == "off the chain" else place, tail=0, at="place")

    def copy(self, s: Shared, me: Replica) -> Any:
        """Publish the foreign snapshot as an own one, so that a successor has it."""
        return self._set(s, me.slot, saved=me.next), me._replace(tail=0, at="place")

    def place(self, s: Shared, me: Replica) -> Any:
        """Store head, floor and state, before the bit. Requests released by an earlier replica of the slot stay so."""
        member = s.slots[me.slot]
        until = max(me.next, member.head, 0 if self.bug == "forgets until" else member.until)
        if self.bug == "old claims":
            until = me.next
        values = {"head": me.next, "floor": me.next, "until": until, "group": 0, "role": 0, "state": IDLE}
        at = "member" if self.bug == "members first" else "enter"
        return self._set(s, me.slot, **values), me._replace(at=at)

    def enter(self, s: Shared, me: Replica) -> Any:
        """Set the bit in GATING (atomic or, seq_cst), then look at LIMIT: pairs with `announce` and `gate`."""
        at = "member" if self.bug == "unchecked join" else "check"
        return s._replace(gating=s.gating | 1 << me.slot), me._replace(at=at)

    def check(self, s: Shared, me: Replica) -> Any:
        """Load LIMIT (seq_cst): if the producer may go further than our place allows, begin anew."""
        if s.limit > s.slots[me.slot].floor + self.entries:
            return s, me._replace(at="withdraw")
        if self.bug == "members first":
            return s, me._replace(next=0, at="look")
        return s, me._replace(next=0, at="member")

    def member(self, s: Shared, me: Replica) -> Any:
        """Set the bit in MEMBERS (atomic or)."""
        s = s._replace(members=s.members | 1 << me.slot)
        return s, me._replace(next=0, at="enter" if self.bug == "members first" else "look")
