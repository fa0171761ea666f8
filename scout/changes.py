"""Changes while packets flow: from what is wanted to one control request, at one position in every replica.

A call is planned first: every router checks and prepares the changes that it takes, and nothing has changed if one of
them refuses. Then the change gets a number, its *epoch*; its rows are written to the log that all replicas read; and a
control request is inserted in every channel. A replica makes the change when it comes to this request
(`scout.domain_changes`), so every packet before it is led by the old values and every packet behind it by the new ones,
whichever replica is its primary, and in a replay too. Where ports have channels of their own, each channel has its own
position for the change.

The old values may be freed after a grace period: when no replica can receive the request again in any channel, and no
packet that was led by them waits in a path's queue, and then none is held.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from scout.domain_arguments import Channels
from scout.domain_changes import HEAD, LOG, SETTING
from scout.io.delay import MOST_DELAY
from scout.io.hold import HOLD_TIME
from scout.io.packet import CONTROL_CHANGE
from scout.memory import Memory
from scout.paths.changes.values import SetValue
from scout.paths.model.change import Amendment, Change
from scout.paths.model.path import Path
from scout.paths.model.setting import Setting
from scout.plan import Plan
from scout.ring.errors import ScoutError

__all__ = ["Changes"]

_ROOM_TIMEOUT = 1.0  # seconds that a change waits for room in a channel or in the log
_LOCK_TIMEOUT = 10.0  # seconds that it waits for another thread's change, or a replica that joins
_NAP = 0.001  # seconds between two looks
_HELD = 2 * HOLD_TIME
"""Nanoseconds after which no packet is held that was held before: one that waited too long goes at its next trial."""


@dataclass
class _Made:
    """A change that was made."""

    row: int
    """Its first row in the log, counted from the beginning of the run."""
    rows: int
    release: list[Callable[[], None]]
    numbers: dict[int, int] = field(default_factory=dict)
    """By channel: the number of its control request, once that was inserted."""
    queued: dict[tuple[int, int], int] = field(default_factory=dict)
    """The packets that waited in queues when the requests had passed (`PathQueues.backlog`)."""
    held: dict[int, int] = field(default_factory=dict)
    """By replica that held packets when the queues had been served: its time then, or the earliest one since."""


class Changes:
    """Makes the changes of a run.

    Parameters
    ----------
    plan : Plan
    channels : sequence of tuple
        The channels, each with its paths.
    memory : Memory
    settings : sequence of Setting
        Those of the running paths, in the order of their cells.

    Attributes
    ----------
    epoch : int
        The number of the newest change; 0 before the first.
    """

    def __init__(self, plan: Plan, channels: Channels, memory: Memory, settings: Sequence[Setting]) -> None:
        self._plan, self._channels, self._memory = plan, channels, memory
        self._cells = {id(setting): index for index, setting in enumerate(settings)}
        self._ports = [plan.index(paths[0]) for _, paths in channels]  # one of each channel
        self._routers = {router.name: index for index, router in enumerate(plan.graph.routers)}
        self.epoch = 0
        self._rows = 0  # written to the log so far
        self._sent: deque[_Made] = deque()  # replicas may still have to come to them
        self._unsent: deque[_Made] = deque()  # those of them whose request some channel has had no room for
        self._passed: deque[_Made] = deque()  # packets may still be queued that were led by what was before them,
        self._served: deque[_Made] = deque()  # or held
        self._closed = False
        self._lock = threading.RLock()

    def close(self) -> None:
        """Make no more changes, and free all that is old: no replica runs."""
        with self._lock:
            self._closed = True
            for made in (*self._served, *self._passed, *self._sent):
                for release in made.release:
                    release()
            for each in (self._served, self._passed, self._sent, self._unsent):
                each.clear()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within it no change is made, and nothing old is freed."""
        with self._lock:
            yield

    # Making.

    def apply(self, changes: Sequence[Change]) -> int:
        """Make changes that take effect together; see `Supervisor.change`."""
        return self.amend(lambda epoch: self.prepare(changes))

    def check(self, changes: Sequence[Change], gone: Collection[Path]) -> None:
        """Find out whether changes could be made now, and these paths deleted with them; errors as of `apply`.

        Nothing is changed.
        """
        with self._alone():
            for amendment in reversed(self.prepare(changes, gone)):
                amendment.undo()

    def amend(self, prepare: Callable[[int], Sequence[Amendment]]) -> int:
        """Make what `prepare` returns, as one change; it is given the epoch of the change, which is returned.

        Raises
        ------
        ScoutError
            If `prepare` raises it, or there is no room for the change; then it is undone.
        """
        with self._alone():
            if not self._insert_rest(_ROOM_TIMEOUT):
                raise ScoutError("a channel has no room yet for an earlier change; try again")
            try:
                return self.make(prepare(self.epoch + 1))
            finally:
                self.collect()  # behind the change: packets do not wait for it

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # A reporter's callback may make a change, in the thread for which a replica that joins may be waiting.
        if not self._lock.acquire(timeout=_LOCK_TIMEOUT):
            raise ScoutError("a replica joins, or another change is made; try again")
        try:
            if self._closed:
                raise ScoutError("the router does not run any more; start it anew")
            yield
        finally:
            self._lock.release()

    def make(self, amendments: Sequence[Amendment]) -> int:
        """Make what was prepared, as one change; its epoch.

        Raises
        ------
        ScoutError
            If there is no room for it; then it is undone.
        """
        with self._lock:
            try:
                made = self._write(amendments)
                self._insert(made, 0)
            except BaseException:
                for amendment in reversed(amendments):  # one that was prepared later may stand on an earlier one
                    amendment.undo()
                raise
            self.epoch += 1
            self._rows += made.rows
            self._sent.append(made)
            self._unsent.append(made)
            for amendment in amendments:
                for setting, value in amendment.settings.items():
                    setting.value = value
                amendment.commit()
            self._insert_rest(_ROOM_TIMEOUT)
            self._memory.ticker.call()  # for `collect`
            return self.epoch

    def prepare(self, changes: Sequence[Change], gone: Collection[Path] = ()) -> list[Amendment]:
        """Have the routers prepare changes that they take; nothing is prepared if one of them refuses.

        Paths that are `gone` are deleted together with the changes.
        """
        by_router: dict[str, list[Change]] = {}
        values: dict[Setting, int] = {}
        for change in changes:
            if not isinstance(change, Change):
                raise ScoutError(f"{change!r} is no change; give one, as in AddRoute('10.9.0.0/16', via='10.0.1.2')")
            if isinstance(change, SetValue):
                values[self._setting(change)] = change.setting.checked(change.value)
            else:
                by_router.setdefault(self._taker(change), []).append(change)
        prepared = [Amendment(values)] if values else []
        try:
            for name, each in by_router.items():
                prepared.append(self._plan.graph.router(name).prepare(each, self._plan.graph))
            self._check_facts(changes, gone)
        except BaseException:
            for amendment in reversed(prepared):
                amendment.undo()
            raise
        return prepared

    def _check_facts(self, changes: Sequence[Change], gone: Collection[Path]) -> None:
        """Refuse what was prepared if the code of a path that stays relies on what would not hold any more."""
        for fact, paths in self._memory.paths.relying.items():
            path = next((each for each in paths if each not in gone), None)
            if path and any(map(fact.concerns, changes)) and not fact.holds(path):
                raise ScoutError(
                    f"path {path.name!r} relies on a fact that the change would end: {fact}; delete the path first"
                )

    def _setting(self, change: SetValue) -> Setting:
        if id(change.setting) not in self._cells:
            raise ScoutError(f"{change}: no stage of the running paths has this setting; bind it before they start")
        return change.setting

    def _taker(self, change: Change) -> str:
        """The router that is to make a change."""
        takers = [router.name for router in self._plan.graph.routers if isinstance(change, router.takes)]
        if change.router:
            if change.router not in takers:
                raise ScoutError(f"{change}: {change.router!r} takes no such change; {_listed(takers)}")
            return change.router
        if len(takers) != 1:
            raise ScoutError(f"{change}: {_listed(takers)}; name one of them by router=...")
        return takers[0]

    def _write(self, amendments: Sequence[Amendment]) -> _Made:
        """Write a change to the log, where no replica reads before it finds the control request."""
        rows = [
            (SETTING, 0, self._cells[id(key)], value) for each in amendments for key, value in each.settings.items()
        ]
        rows += [(self._routers[o.router], o.operation, o.one, o.two) for each in amendments for o in each.orders]
        if len(rows) + 1 > LOG:
            raise ScoutError(f"a change of {len(rows)} rows, more than {LOG - 1}; divide it")
        deadline = time.monotonic() + _ROOM_TIMEOUT
        while self._rows + len(rows) + 1 - (self._sent[0].row if self._sent else self._rows) > LOG:
            if time.monotonic() > deadline:
                raise ScoutError("the log of changes stays full, as a replica does not come to them; try again")
            time.sleep(_NAP)
            self.collect()
        for index, row in enumerate([(HEAD, 0, self.epoch + 1, len(rows)), *rows]):
            self._memory.log[(self._rows + index) % LOG] = row
        return _Made(self._rows, len(rows) + 1, [amendment.release for amendment in amendments])

    def _insert(self, made: _Made, index: int, timeout: float = _ROOM_TIMEOUT) -> None:
        """Insert the control request of a change in one channel, by which replicas see the rows in the log."""
        channel, paths = self._channels[index]
        now = self._memory.now(channel)
        number = channel.control(self._ports[index], CONTROL_CHANGE, 0, made.row, now, timeout)
        if not number:
            raise ScoutError(f"the channel of {paths[0].source} stays full; try again")
        made.numbers[index] = number

    def _insert_rest(self, timeout: float) -> bool:
        """Insert the control requests that are missing in some channel, in order; False if there is no room yet."""
        deadline = time.monotonic() + timeout
        while self._unsent:
            made = self._unsent[0]
            for index in range(len(self._channels)):
                if index not in made.numbers:
                    try:
                        self._insert(made, index, max(0.0, deadline - time.monotonic()))
                    except ScoutError:
                        return False
            self._unsent.popleft()
        return True

    # Freeing.

    @property
    def are_pending(self) -> bool:
        """True if a change was made and `collect` has not yet freed what it replaced."""
        return bool(self._sent or self._passed or self._served)

    def collect(self) -> None:
        """Free what no replica needs any more; does nothing while a change is made. Never waits."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._insert_rest(0)
            while self._sent and self._has_passed(self._sent[0]):
                made = self._sent.popleft()
                made.queued = self._memory.paths.backlog(self.members())
                self._passed.append(made)
            while self._passed and not self._waits(self._passed[0]):
                made = self._passed.popleft()
                made.held = {replica: self._now(replica) for replica in self.members() if self._holds(replica)}
                self._served.append(made)
            while self._served and not any(self._may_hold(self._served[0], each) for each in self.members()):
                for release in self._served.popleft().release:
                    release()
        finally:
            self._lock.release()

    def _has_passed(self, made: _Made) -> bool:
        """True if no replica can receive the control request of a change again, in any channel."""
        return len(made.numbers) == len(self._channels) and all(
            self._channels[index][0].passed(number) for index, number in made.numbers.items()
        )

    def _waits(self, made: _Made) -> bool:
        """True if a packet may still be in a queue that was there when the requests of a change had passed."""
        if made.queued:
            made.queued = self._memory.paths.queues.left_of(made.queued, self.members())
        return bool(made.queued)

    def _may_hold(self, made: _Made, replica: int) -> bool:
        """True if a replica may still hold a packet that it held when the requests of a change had passed."""
        if replica not in made.held or not self._holds(replica):
            return False
        made.held[replica] = since = min(made.held[replica], self._now(replica))  # earlier if time was set back
        delayed = self._memory.delayed([replica]) > 0
        return self._now(replica) - since <= _HELD + MOST_DELAY * delayed

    def _holds(self, replica: int) -> int:
        return int(self._memory.holds["held"][replica]) + self._memory.delayed([replica])

    def _now(self, replica: int) -> int:
        return int(self._memory.holds["now"][replica])

    def members(self) -> list[int]:
        """The replicas that take part in some channel."""
        return [each for each in self._memory.settings if any(channel.is_member(each) for channel, _ in self._channels)]

    # Reading.

    def reached(self, epoch: int) -> bool:
        """True if every replica has come to the change of this epoch, in every channel."""
        return all(
            self._memory.epochs(replica)[index] >= epoch
            for index, (channel, _) in enumerate(self._channels)
            for replica in self.members()
            if channel.is_member(replica)
        )

    def is_current(self) -> bool:
        """True if in every channel the foremost replica has come to the newest change."""
        self.collect()
        return all(
            any(self._memory.epochs(each)[index] == self.epoch for each in self.members() if channel.is_member(each))
            for index, (channel, _) in enumerate(self._channels)
        )


def _listed(takers: Sequence[str]) -> str:
    return f"the routers that take it are {', '.join(takers)}" if takers else "no router of the graph takes it"
