"""The memory that replicas work on, made and shared by the supervisor before it forks them.

It outlives a replica: the successor of a dead replica goes on with the memory of its predecessor.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numba
import numpy as np

from scout.domain import CompiledDomain
from scout.domain_arguments import Channels, ReplicaMemory
from scout.domain_changes import LOG
from scout.domain_emission import emissions
from scout.domain_loop import CLOCK, RUN, WAY
from scout.io.batch import BATCH_SIZE, new_batch
from scout.io.channels.contract import PacketChannel
from scout.io.delay import ENDED, LIVE, RECORDED, new_delays
from scout.io.hold import HOLD, new_hold
from scout.io.latency import BINS, LOOK
from scout.io.packet import PACKET
from scout.io.rest import NEVER, WAITER
from scout.io.stopwatch import nanoseconds_a_tick
from scout.path_table import PathTable
from scout.paths.model.change import ORDER
from scout.paths.model.graph import RouterGraph
from scout.paths.model.setting import Setting
from scout.paths.model.table import Table
from scout.ring.atomics import store64_release
from scout.ring.bell import Bell
from scout.ring.errors import ScoutError
from scout.ring.jit import entry
from scout.ring.membership import MOST_REPLICAS
from scout.ring.schedule import HEAD
from scout.ring.segment import LINE, address, private, shared
from scout.ring.snapshot import Snapshots
from scout.ring.turn import STOP
from scout.shape_memory import ShapeMemory
from scout.ticker import Ticker

__all__ = ["Memory"]


_ENDED = 4  # index of the word of a replica's orders that says that its loop has ended


@entry(numba.void(numba.int64))
def _say_ended(word: int) -> None:
    """Say that a replica's loop has ended, in the word at this address."""
    store64_release(word, 1)  # after all that the loop has stored; pairs with `Memory.has_ended`


class Memory:
    """The memory of all replicas of a run.

    Parameters
    ----------
    graph : RouterGraph
    channels : sequence of tuple
        The channels, each with its paths.
    paths : PathTable
    domain : CompiledDomain
    strategy : int
        How replicas wait for packets (`scout.ring.wait`).
    held : int
        Packets that a replica holds at most (`scout.io.hold`).
    delays : bool
        True if packets may wait until a time (`scout.io.delay`).
    shapes : ShapeMemory
        The memory of shapes.

    Attributes
    ----------
    paths : PathTable
        The paths, with what replicas count on them.
    bell : Bell
        The bell that wakes the replicas.
    refused : numpy.ndarray
        int64[replica, 8]: the first word counts the packets that no path takes.
    holds : numpy.ndarray
        `HOLD`[replica]: the packets that each replica holds (`scout.io.hold`).
    orders : numpy.ndarray
        int64[replica, 8]: the first word tells a domain to run, to leave or to stop; `CLOCK` is the supervisor's clock,
        and `WAY` is how time passes for packets that wait (`scout.domain_loop`). The replica sets the fifth word when
        its loop has ended.
    positions : dict of int to numpy.ndarray
        For each replica int64[3 * channels], part of its state, so that a snapshot restores it: the position in each
        channel at which the state was saved, the control requests before each of these positions, and the epoch of each
        channel: the number of the newest change that the replica has come to there.
    settings : dict of int to numpy.ndarray
        For each replica int64[channels, settings], also part of its state: the settings' values.
    log : numpy.ndarray
        `ORDER`[LOG]: the changes (`scout.changes`).
    latencies : numpy.ndarray
        int64[replica, BINS]: packets by their latencies (`scout.io.latency`), of the times in which somebody looked.
    changed : numpy.ndarray
        int64[replica, 8]: in the first word of each row the changes that the replica was the primary of.
    ticker : Ticker
        The supervisor's clock.
    snapshots : Snapshots
        The saved states of all replicas.
    """

    def __init__(
        self,
        graph: RouterGraph,
        channels: Channels,
        paths: PathTable,
        domain: CompiledDomain,
        strategy: int,
        held: int,
        delays: bool,
        shapes: ShapeMemory,
    ) -> None:
        self._graph, self._channels, self.paths, self.shapes, self._delays = graph, channels, paths, shapes, delays
        self._domain, self._strategy, self._held = domain, strategy, held
        self.bell = Bell(channel.descriptor for channel, _ in channels if channel.descriptor is not None)
        for channel, _ in channels:
            channel.attach(self.bell.address)
        lines = LINE // 8
        self.refused = shared((MOST_REPLICAS, lines), np.int64)
        self.holds = shared(MOST_REPLICAS, HOLD)
        self.orders = shared((MOST_REPLICAS, lines), np.int64)
        self.latencies = shared((MOST_REPLICAS, BINS), np.int64)
        self._look_until = 0.0
        _ = _say_ended.native  # compiled before a process is forked
        self.snapshots = Snapshots()
        self.positions: dict[int, np.ndarray] = {}
        self.settings: dict[int, np.ndarray] = {}
        self.log = shared(LOG, ORDER)
        self.changed = shared((MOST_REPLICAS, lines), np.int64)
        self._heads = shared((MOST_REPLICAS, len(channels)), HEAD)
        for index, (channel, served) in enumerate(channels):
            self._heads["places"][:, index] = channel.ring["entries"][0]
            self._heads["weight"][:, index] = max(path.weight for path in served)
            self._heads["deadline"][:, index] = min(path.deadline for path in served)
        self._common = {
            id(table): table.initial if table.kind == "constant" else _copied(table.initial)
            for table in domain.tables
            if table.kind in ("constant", "shared")
        }
        self.ticker = Ticker(self.orders)
        self._tables: dict[int, dict[int, np.ndarray]] = {}
        self._waiters: dict[int, np.ndarray] = {}
        self._kept: dict[int, list[Any]] = {}  # arrays that the arguments refer to by address only
        self._arguments: dict[int, tuple[Any, ...]] = {}

    def table(self, table: Table, replica: int) -> np.ndarray:
        """A replica's copy of a stage's table.

        Raises
        ------
        ScoutError
            If no stage that runs has this table, or there never was such a replica.
        """
        if replica not in self._tables:
            raise ScoutError(f"no replica {replica}; there are {', '.join(map(str, self._tables))}")
        if id(table) not in self._tables[replica]:
            raise ScoutError(f"no stage of these paths has this table of {table.initial.shape} {table.initial.dtype}")
        return self._tables[replica][id(table)]

    def has(self, replica: int) -> bool:
        """True if the memory of a replica of this number was made."""
        return replica in self._arguments

    def saved(self, replica: int) -> list[tuple[int, int]]:
        """The position in each channel, and the control requests before it, of the state that a replica has now.

        Right after `Snapshots.adopt` this is the position at which that snapshot was saved.
        """
        positions, controls, _ = np.split(self.positions[replica], 3)
        return list(zip(positions.tolist(), controls.tolist(), strict=True))

    def epochs(self, replica: int) -> np.ndarray:
        """The epoch of a replica in each channel: a view of memory that the replica writes."""
        return self.positions[replica][2 * len(self._channels) :]

    def renew(self, replica: int, epoch: int) -> None:
        """Give a replica that does not run, and keeps no state, the settings of the newest change."""
        self.settings[replica][:, : len(self._domain.settings)] = [each.value for each in self._domain.settings]
        self.epochs(replica)[:] = epoch

    def enlist(self, replica: int) -> None:
        """Make the memory of a replica, and its sending end of every port."""
        self.ticker.enlist(replica)
        tables = dict(self._common)
        for table in self._domain.tables:
            if id(table) not in tables:
                tables[id(table)] = _copied(table.initial)
                if table.kind == "number":
                    tables[id(table)][:] = replica + 1
        self._tables[replica] = tables
        self.positions[replica] = positions = shared(3 * len(self._channels), np.int64)
        self.settings[replica] = settings = shared((len(self._channels), max(1, len(self._domain.settings))), np.int64)
        self.renew(replica, 0)
        for index, setting in enumerate(self._domain.settings):
            tables[id(setting)] = settings[0, index : index + 1]
        state = [tables[id(table)] for table in self._domain.state]
        counts = [table.counts for table in self._domain.state]
        self.snapshots.enlist(replica, [*state, settings, positions], counts)
        for name in self._graph.ports:
            self._graph.router(name).port.enlist(replica)
        batch, slots = new_batch()
        made, room = new_batch(1)
        hold = self.holds[replica : replica + 1]
        self._waiters[replica] = self._waiter(replica)
        delays = new_delays(self.holds, replica) if self._delays else None
        # No method of this object, which the memory of shapes would keep alive, and is kept alive by.
        find_table = partial(_find_table, self._domain.settings, self._tables, self.settings)
        find = partial(find_table, replica, 0)
        makers, amenders, bound = self._domain.routines.rows(find)
        self._kept[replica] = [slots, room, new_hold(hold, self._held), delays, bound]
        self.shapes.enlist(replica, find_table)
        changing = [find(router.changes) for router in self._graph.routers if router.changes is not None]
        own = ReplicaMemory(
            replica=replica,
            orders=address(self.orders[replica]),
            latencies=self.latencies[replica],
            waiter=self._waiters[replica],
            batch=batch,
            resumed=private(BATCH_SIZE, PACKET),
            made=made,
            hold=hold,
            parts=self.snapshots.parts[replica],
            positions=positions,
            settings=settings,
            log=self.log,
            changed=self.changed[replica],
            notes=self.snapshots.notes[replica],
            buffers=self.snapshots.buffers(replica),
            buffer_bytes=self.snapshots.size,
            heads=self._heads[replica],
            demux=self.paths.demux,
            kinds=self.paths.kinds,
            accounts=self.paths.open_accounts(replica),
            queues=self.paths.queues.queues[replica],
            queue_heads=self.paths.queues.heads[replica],
            queues_used=self.paths.queues.used,
            refused=self.refused[replica],
            codes=self.shapes.codes,
            contexts=self.shapes.contexts[replica],
            emissions=emissions(self._channels, self.paths.shapes, find),
            makers=makers,
            amenders=amenders,
            changing=np.array(changing, np.int64),
            tables=tables,
        )
        self._arguments[replica] = tuple(argument.value(own) for argument in self._domain.arguments)

    def reconfigure(self) -> None:
        """Ask again for the parameters of paths that depend on the interfaces of ports, such as MAC addresses.

        Plain stores of single words: no packet comes or leaves by a port whose interface changes.
        """
        self.shapes.reconfigure()

    def descriptors(self) -> list[int]:
        """The descriptors that the process of a replica needs."""
        users = [*(self._graph.router(name).port for name in self._graph.ports), *self._graph.routers]
        channels = [channel.descriptor for channel, _ in self._channels if channel.descriptor is not None]
        return [*self.bell.descriptors, *channels, *(each for user in users for each in user.descriptors())]

    def delayed(self, replicas: Sequence[int]) -> int:
        """Packets that wait until a time, in these replicas."""
        return int(self.holds["delayed"][replicas].sum())

    def release(self, replica: int) -> None:
        """Release what a dead replica had: locks of shared services, and packets that waited in it."""
        for router in self._graph.routers:
            if router.lock is not None:
                word = self.table(router.lock, replica)  # names its holder
                if word[0] == replica + 1:
                    word[0] = 0
        hold = self.holds[replica]  # other replicas wait until its packets have left
        hold["delayed"] = hold["shown"] = 0

    def order(self, replica: int, order: int) -> None:
        """Give a replica an order (`scout.domain_loop`), and wake it."""
        if order == RUN:
            self.orders[replica, _ENDED] = 0
        self.orders[replica, 0] = order
        self.bell.ring()

    def has_ended(self, replica: int) -> bool:
        """True if the loop of a replica has ended as it was told: its process does nothing more with this memory."""
        # The supervisor looks at what the loop has stored after this, behind a branch; pairs with `_say_ended`.
        return bool(self.orders[replica, _ENDED])

    def look(self, seconds: float) -> None:
        """Have replicas measure latencies for so long, from now on."""
        self._look_until = time.monotonic() + seconds
        self._say_wanted()

    def tick(self, live: bool, ended: bool) -> None:
        """Advance the domains' clock by the time since the last call, if packets come live; else it stands still.

        `ended` is True if no more packets will come.
        """
        self._say_wanted()
        way = LIVE if live else ENDED if ended else RECORDED
        if self.orders[0, WAY // 8] != way:
            self.orders[:, WAY // 8] = way  # a word of its own: nothing else goes with it
        self.ticker.tick()

    def _say_wanted(self) -> None:
        """Tell replicas whether somebody wants to know latencies."""
        wanted = int(time.monotonic() < self._look_until)
        if self.orders[0, LOOK // 8] != wanted:
            self.orders[:, LOOK // 8] = wanted  # a word of its own: nothing else goes with it

    def now(self, channel: PacketChannel) -> int:
        """The time of the packets of a channel, nanoseconds since 1970: what its foremost replica takes it to be.

        That is the timestamp of the newest request, and the time since then if packets come live. It is not the time of
        day if they were recorded, or sent with times of their own.
        """
        return max((int(self.holds["now"][each]) for each in self._arguments if channel.is_member(each)), default=0)

    def packet_time(self, channel: PacketChannel) -> int:
        """The same; 0 until the first packet: its timestamp is the first one that is not of the supervisor's clock."""
        now = self.now(channel)
        return now if now > int(self.orders[0, CLOCK // 8]) else 0

    def warm_up(self) -> None:
        """Call the loop, which returns at once, before any replica is forked.

        Numba takes milliseconds to learn the types of its arguments. Processes that are forked later know them, so that
        a replica that joins, or a successor, does not keep the others waiting for that.
        """
        replica = next(iter(self._arguments))
        self.orders[replica, 0] = STOP
        self._domain.serve(*self._arguments[replica])
        self.orders[replica, 0] = RUN

    def serve(self, replica: int) -> None:
        """Serve as a replica; returns when its order says so. For a process of its own."""
        own = self.bell.listen()
        self._waiters[replica]["own"] = own.fileno()
        self._domain.serve(*self._arguments[replica])
        _say_ended(address(self.orders[replica, _ENDED:]))  # the process may take long to end: it gives back its memory

    def _waiter(self, replica: int) -> np.ndarray:
        waiter = private(1, WAITER)
        waiter["strategy"], waiter["replica"] = self._strategy, replica
        waiter["tick"] = nanoseconds_a_tick()
        waiter["bell"], waiter["watch"], waiter["until"] = self.bell.address, self.bell.watch, NEVER
        return waiter


def _copied(initial: np.ndarray) -> np.ndarray:
    array = shared(initial.shape, initial.dtype)
    if initial.view(np.uint8).any():  # pages of zeros stay untouched
        array[:] = initial
    return array


def _find_table(
    known: Sequence[Setting],
    tables: dict[int, dict[int, np.ndarray]],
    settings: dict[int, np.ndarray],
    replica: int,
    channel: int,
    table: Table,
) -> int:
    """Where a replica has a table, and a setting in a channel; 0 if no path had it at the start."""
    if isinstance(table, Setting):
        index = next((at for at, each in enumerate(known) if each is table), -1)
        return address(settings[replica][channel, index:]) if index >= 0 else 0
    found = tables[replica].get(id(table))
    return 0 if found is None else address(found)
