"""Service: a state, events and handlers that become one stage of a path.

Usage: Service(name, state, handlers, connects, mode, payload, atomic, timers, sequenced, **bindings)
Requires and provides: one service, of the type `connects`.

State
    Tables (structured numpy arrays) that every replica has and changes in the same way. Handlers get them by name.
Events
    A packet's arrival (`ARRIVAL`), events that handlers raise (`raise_event`), and timers (`after`).
Handlers
    Functions that run at an event: on every replica (they keep the state), on the request's primary alone (they have
    the effects), or on the other replicas alone. A request is served in two parts: first all that runs on every
    replica, the packet's arrival and then the events raised, in their order; then, for the same events in the same
    order, what runs on this replica alone. Nothing of another request comes between.
Time
    `packet.timestamp` is the service's time in all handlers: it follows the timestamps of requests, but never runs
    backwards (`scout.paths.framework.clock`).

Drops
    The verdicts that the handlers name; too-long-for-payload if `payload` is asked for and the packet does not fit.
Modes
    replicated, sharded, locked; atomic if the handlers allow it.
Example
    Service("count", {"seen": np.zeros(1, [("packets", "i8")])}, [Handler(count)])

The services in `scout.paths.services` are written with this class; `token_bucket` is a short one to learn from.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from scout.paths.compiler.generated import write_generated
from scout.paths.framework.check import MODES, check_service, names_time
from scout.paths.framework.clock import new_clock
from scout.paths.framework.events import Handler, new_queue
from scout.paths.framework.flow_table import rows
from scout.paths.framework.kinds import with_shared_tables
from scout.paths.framework.purity import assignments
from scout.paths.framework.service_source import Source, load_service
from scout.paths.framework.timers import new_timers
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError
from scout.paths.model.stage import Exit, Outcome, Stage, Via
from scout.paths.model.table import Table
from scout.paths.stages.filter import Filter

__all__ = ["CONTROLLED", "COUNTS", "Service"]

CONTROLLED = 1
"""The verdict on a control request: it ends here."""

COUNTS = np.dtype(
    [
        ("events_lost", "i8"),  # raised by handlers that run on every replica, and did not fit
        ("refused", "i8"),  # keys that a full table refused
        ("evicted", "i8"),  # keys that gave up their row to another
    ]
)
"""The counts of events, timers and keys that did not fit; handlers get them as `counts`."""


class Service(Filter):
    """A stateful service between two routers; connect it as a `Filter`.

    Parameters
    ----------
    name : str
    state : mapping of str to numpy.ndarray
        Structured arrays: what each table of the state is before the first request. Handlers get them by name.
    handlers : sequence of Handler
        In the order in which they run, at most 62. A handler is `function(frame, end, ...)`; its other parameters
        are found by name: `packet`, a table of the state, one of `bindings`, `argument` (the int64 that its
        event was raised with), `events` (for `raise_event`), `timers` (for `after` and `cancel`), `counts` (a record
        of `COUNTS`), or `mask` (an int: bit i says that handler i is bound). The handlers of a timer's event get a
        packet of no bytes.
    connects : str
        Type of the services that it connects, as for `Filter`; with "adjacency" it takes what IP sends, else what comes
        up.
    mode : {"replicated", "sharded", "locked", "atomic"}
        replicated: every replica has the whole state and changes it in the same way. sharded: each replica has the
        state of its own flows. locked, atomic: all replicas share one state, under a lock or by atomic accessors.
    payload : bool or "primary"
        True if all handlers get the whole packet in one piece. "primary" if only the handlers that run on the primary
        do: the other replicas then touch no more than the first `REACH` bytes.
    atomic : bool
        True if the handlers change state by `add_to`, `store_to`, `exchange_in` and `claim` alone, so that mode
        "atomic" is allowed.
    timers : int
        How many timers may be set at a time; a timer that does not fit is refused and counted.
    sequenced : bool
        True if all replicas must see the requests of all ports in one order (sequential consistency): the ports of all
        paths that lead here then share one channel, and must be of one kind. False if only the requests of each port
        need one order: two replicas may see the requests of two ports in different orders (PRAM consistency). It makes
        a difference in mode "replicated" only.
    **bindings
        Ints, functions that give an int when the path is started, and `Table`s.

    Attributes
    ----------
    tables : dict of str to Table
        The state, and the service's own tables, as far as the handlers use them: `bound`, `timers`, `events`, `counts`
        and `clock`.
    function : callable
        The stage that the service becomes.
    file : pathlib.Path
        The source of that function.

    Raises
    ------
    GraphError
        If a handler cannot be one; the message names it, its file and line, and the fix.

    Examples
    --------
    ::

        def count(frame, end, seen):
            seen[0].packets += 1
            return 0

        service = Service("count", {"seen": np.zeros(1, [("packets", "i8")])}, [Handler(count)])
        graph.add(service)
        graph.connect("ip", "count", "left")
    """

    def __init__(
        self,
        name: str,
        state: Mapping[str, np.ndarray],
        handlers: Sequence[Handler],
        connects: str = "ipv4",
        mode: str = "replicated",
        payload: bool | str = False,
        atomic: bool = False,
        timers: int = 1024,
        sequenced: bool = False,
        **bindings: int | Table | Callable[[], int],
    ) -> None:
        check_service(name, state, handlers, bindings, mode, atomic)
        self.mode, self.sequenced, self.handlers = mode, sequenced, tuple(handlers)
        if payload not in (True, False, "primary"):
            raise GraphError(f"{name}: payload={payload!r}; use True, False or 'primary'")
        if payload == "primary" and all(each.run != "primary" for each in handlers):
            raise GraphError(f"{name}: payload='primary', and no handler runs on the primary; leave it out")
        self._names = _unique([each.function.__name__ for each in self.handlers])
        used = {parameter for each in self.handlers for parameter in each.parameters}
        kind = MODES[mode]
        self.tables = {each: Table(array, kind) for each, array in state.items()}
        self.tables["bound"] = Table(np.array([self.mask(self._bound())]), kind)
        if "timers" in used:
            self.tables["timers"] = Table(new_timers(timers), kind)
        if used & {"timers", "events"}:
            self.tables["events"] = Table(new_queue(), "private")
            used.add("counts")
        if "counts" in used:
            self.tables["counts"] = Table(np.zeros(1, COUNTS), kind)
        if any(names_time(each) for each in self.handlers):
            # The clock has no atomic accessors: in mode "atomic" each replica has its own.
            self.tables["clock"] = Table(new_clock(1), "private" if mode == "atomic" else kind)
        if mode == "locked":
            self.lock = self.tables["lock"] = Table(np.zeros(8, np.int64), "shared")
            self.tables["number"] = Table(np.ones(1, np.int64), "number")
        parameters = [*self.tables, *bindings]
        text = Source(name, mode, self.handlers, self._names, parameters, payload == "primary").write()
        self.file = write_generated("services", name, hashlib.sha256(text.encode()).hexdigest()[:16], text)
        functions = {  # those that are given a shared table, with atomic accessors
            name: with_shared_tables(each.function, {key: bindings.get(key) for key in each.parameters})
            for name, each in zip(self._names, self.handlers, strict=True)
        }
        self.function = load_service(self.file, text, functions, atomic=mode == "atomic")
        self.function.parts = tuple(each.function for each in self.handlers)  # type: ignore[attr-defined]
        direction = {"send" if connects == "adjacency" else "receive": self.function}
        super().__init__(name, **direction, connects=connects, payload=payload is True, **self.tables, **bindings)  # type: ignore[arg-type]
        everywhere = [each.function for each in self.handlers if each.run == "all"]
        here = [each.function for each in self.handlers if each.run != "all"]
        self._writes = any(True for each in everywhere for _ in assignments(each, ("frame",)))
        self._alone = payload == "primary" or any(
            Stage(each, ()).drops or list(assignments(each, ("frame", "packet"))) for each in here
        )

    def _check(self, function: Callable[..., int]) -> None:
        """Do nothing: the function is a generated one, and its handlers have been checked."""

    def configure(self, graph: RouterGraph) -> None:
        super().configure(graph)
        if "clock" in self.tables:
            self.tables["clock"].initial = new_clock(len(graph.ports))

    def _bound(self) -> list[str]:
        return [name for name, each in zip(self._names, self.handlers, strict=True) if each.bound]

    def mask(self, bound: Iterable[str]) -> int:
        """The mask of a control request (`CONTROL_BIND`) after which just the handlers named are bound.

        A handler's name is that of its function. Of several handlers of one function the second one's name ends in _2,
        and so on.
        """
        wanted = set(bound)
        if not wanted <= set(self._names):
            raise GraphError(
                f"{self.name}: no handler {min(wanted - set(self._names))!r}; there are {', '.join(self._names)}"
            )
        return sum(1 << index for index, name in enumerate(self._names) if name in wanted)

    def names_in(self, mask: int) -> list[str]:
        """The names of the handlers that a mask binds: the reverse of `mask`. All of them for -1."""
        return [name for index, name in enumerate(self._names) if mask >> index & 1]

    def account(self, read: Callable[[Table], np.ndarray] = lambda table: table.initial) -> dict[str, int]:
        """The counts, so far, of events, timers and keys in tables that did not fit.

        Parameters
        ----------
        read : callable
            Gives a replica's copy of a table, as in `lambda table: supervisor.table(table, replica)`; by default
            that of plain runs.
        """
        lost = int(read(self.tables["events"])[0]["lost_alone"]) if "events" in self.tables else 0
        found = {}
        if "counts" in self.tables:
            counts = read(self.tables["counts"])[0]
            found = {"events-lost": int(counts["events_lost"]) + lost}
            found |= {"table-full": int(counts["refused"]), "evicted": int(counts["evicted"])}
        if "timers" in self.tables:
            found["timers-full"] = int(read(self.tables["timers"])[0]["refused"])
        return found

    def rows(self, name: str, table: np.ndarray | None = None) -> np.ndarray:
        """The rows of a flow table that hold a key: of `table`, a replica's copy; by default of that of plain runs."""
        return rows(self.tables[name].initial if table is None else table)

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        passed = Outcome("passed", Via("up" if key == "receive" else "down"))
        return Stage(
            self.function,
            (passed, Outcome("control", Exit(None))),
            self.bindings,
            replicated=self.mode == "replicated",
            writes=self._writes,
            resizes=True,
            payload=self.payload,
            sharded=self.mode == "sharded",
            controlled=True,
            alone=self._alone,
        )


def _unique(names: Sequence[str]) -> list[str]:
    """The names; _2 and so on is appended to those that were there before."""
    return [name + (f"_{names[:i].count(name) + 1}" if name in names[:i] else "") for i, name in enumerate(names)]
