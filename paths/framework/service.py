"""Service: a state, events and handlers; one stage of a path.

Usage: Service(name, state, handlers, service, mode, payload, **bindings)
Requires and provides: one service, of the type that is given.
Drops: what the handlers name.

A handler runs on every replica (it keeps the state), on a request's primary alone (it has the effects), or
on the others alone. A request is served in two parts: first all that runs on every replica, the packet's
arrival and then the events raised, in their order; then, for the same events in the same order, what
runs on this replica alone. Nothing of another request comes between.

The service becomes one function, written to a file of the cache that people can read (`Service.file`).
"""

import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from scout.paths.compiler.native import write_generated
from scout.paths.framework.events import ARRIVAL, RUNS, Event, Handler, new_queue
from scout.paths.framework.purity import assignments, impurities
from scout.paths.framework.state import atomically
from scout.paths.framework.timers import new_timers
from scout.paths.model.graph import GraphError, RouterGraph
from scout.paths.model.stage import GATHER, Exit, Outcome, Stage, Table, Via, references
from scout.paths.stages.filter import Filter, checked

__all__ = ["CONTROLLED", "COUNTS", "MODES", "Service"]

MODES = {"replicated": "replicated", "sharded": "private", "locked": "shared", "atomic": "shared"}
"""The modes, each with the kind of the state's tables."""

CONTROLLED = 1
"""The verdict on a control request: it ends here."""

MOST_HANDLERS = 62  # bits of the mask that says which are bound

COUNTS = np.dtype(
    [
        ("events_lost", "i8"),  # raised by handlers that run on every replica, and did not fit
        ("refused", "i8"),  # keys that a full table refused
        ("evicted", "i8"),  # keys that gave up their row to another
    ]
)
"""What a service counts of what did not fit; handlers get it as `counts`."""

_GIVEN = ("frame", "end", "packet", "argument", "events", "timers", "counts")
_RESERVED = {*_GIVEN, *GATHER, "primary", "replica", "bound", "lock", "number"}
_RESERVED |= {"mask", "verdict", "given", "until", "last", "turn", "row", "event", "no_frame", "no_end"}  # generated


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
        event was raised with), `events` (to raise some), `timers` (to set and cancel some), or `counts`
        (what did not fit, a record of `COUNTS`). Handlers of a timer's event get a packet of no bytes.
    service : str
        Type of the service, as for `Filter`; in "adjacency" it takes what IP sends, else what comes up.
    mode : {"replicated", "sharded", "locked", "atomic"}
        Every replica has the state and keeps it the same; or each has that of its own flows; or all share one,
        under a lock or by atomic accessors.
    payload : bool or "primary"
        True if the handlers want all of the packet in one piece; "primary" if those that run on the primary alone do:
        then the other replicas touch no more than the first `REACH` bytes.
    atomic : bool
        True if the handlers change state by the accessors of `scout.paths.framework.state` alone, so that mode
        "atomic" is allowed.
    timers : int
        How many timers there can be.
    sequenced : bool
        True if all replicas must see the requests in one order, whichever ports they come by (sequential consistency):
        the ports of all paths that lead here share one channel then, and have to be of one kind. Else each port's have
        one order, and requests of several ports may be seen in different ones by different replicas (PRAM
        consistency). Makes no difference in other modes than "replicated".
    **bindings
        Ints, functions that give an int when the path is started, and `Table`s.

    Attributes
    ----------
    tables : dict of str to Table
        The state, `bound`, and what else the handlers use of `timers`, `events` and `counts`.
    function : callable
        The stage that the service becomes.
    file : pathlib.Path
        Its source.

    Raises
    ------
    GraphError
        If a handler cannot be one; names it, its file and line, and the mend.

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
        service: str = "ipv4",
        mode: str = "replicated",
        payload: bool | str = False,
        atomic: bool = False,
        timers: int = 1024,
        sequenced: bool = False,
        **bindings: int | Table | Callable[[], int],
    ) -> None:
        self.mode, self.sequenced, self.handlers = mode, sequenced, tuple(handlers)
        _check(name, state, self.handlers, bindings, mode, atomic)
        if payload not in (True, False, "primary"):
            raise GraphError(f"{name}: payload={payload!r}; use True, False or 'primary'")
        if payload == "primary" and all(each.run != "primary" for each in handlers):
            raise GraphError(f"{name}: payload='primary', and no handler runs on the primary; leave it out")
        self._names = _unique([each.function.__name__ for each in self.handlers])
        used = {parameter for each in self.handlers for parameter in _parameters(each.function)}
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
        if mode == "locked":
            self.lock = self.tables["lock"] = Table(np.zeros(8, np.int64), "shared")
            self.tables["number"] = Table(np.ones(1, np.int64), "number")
        parameters = [*self.tables, *bindings]
        text = _Text(name, mode, self.handlers, self._names, parameters, payload == "primary").write()
        self.file = write_generated("services", name, hashlib.sha256(text.encode()).hexdigest()[:16], text)
        self.function = _loaded(self.file, text, self._names, self.handlers, atomic=mode == "atomic")
        direction = {"send" if service == "adjacency" else "receive": self.function}
        super().__init__(name, **direction, service=service, payload=payload is True, **self.tables, **bindings)  # type: ignore[arg-type]
        everywhere = [each.function for each in self.handlers if each.run == "all"]
        here = [each.function for each in self.handlers if each.run == "primary"]
        self._writes = any(True for each in everywhere for _ in assignments(each, ("frame",)))
        self._alone = any(Stage(each, ()).drops or list(assignments(each, ("frame", "packet"))) for each in here)

    def _check(self, function: Callable[..., int]) -> None:
        """Nothing: the function is our own; its handlers have been checked."""

    def _bound(self) -> list[str]:
        return [name for name, each in zip(self._names, self.handlers, strict=True) if each.bound]

    def mask(self, bound: Iterable[str]) -> int:
        """The mask that says that the handlers named, and no others, are bound: the argument of CONTROL_BIND.

        A handler's name is that of its function; with several of one function the second's ends in _2, and so on.
        """
        wanted = set(bound)
        if not wanted <= set(self._names):
            raise GraphError(
                f"{self.name}: no handler {min(wanted - set(self._names))!r}; there are {', '.join(self._names)}"
            )
        return sum(1 << index for index, name in enumerate(self._names) if name in wanted)

    def account(self, read: Callable[[Table], np.ndarray] = lambda table: table.initial) -> dict[str, int]:
        """What did not fit, so far: events, timers, and keys in tables.

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

    def stage(self, key: str, graph: RouterGraph, source: str) -> Stage:
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


# What is refused.


def _check(
    name: str,
    state: Mapping[str, np.ndarray],
    handlers: Sequence[Handler],
    bindings: Mapping[str, Any],
    mode: str,
    atomic: bool,
) -> None:
    if mode not in MODES:
        raise GraphError(f"{name}: mode {mode!r}; use {', '.join(MODES)}")
    if mode == "atomic" and not atomic:
        raise GraphError(f"{name}: its handlers are not written for mode 'atomic'; use replicated, sharded or locked")
    if not 1 <= len(handlers) <= MOST_HANDLERS:
        raise GraphError(f"{name}: {len(handlers)} handlers; give 1 to {MOST_HANDLERS}")
    for given in (*state, *bindings):
        if given in _RESERVED or not given.isidentifier() or (given in state and given in bindings):
            raise GraphError(f"{name}: {given!r} cannot be the name of a table or binding, or is both; rename it")
    for given, array in state.items():
        if not isinstance(array, np.ndarray) or array.ndim != 1:
            raise GraphError(f"{name}: state {given}={array!r} is no one-dimensional numpy array; give one")
    for handler in handlers:
        _check_handler(name, handler, state, bindings)
    for handler in handlers:
        _check_purity(name, handler, handlers, state, bindings)
        if atomic:
            _check_atomic(name, handler, state)
    for given in (*state, *bindings):
        if not any(given in _parameters(each.function) for each in handlers):
            raise GraphError(f"{name}: no handler has a parameter {given!r}; leave it out")


def _check_handler(name: str, handler: Handler, state: Mapping[str, np.ndarray], bindings: Mapping[str, Any]) -> None:
    place = checked(name, handler.function)
    if not isinstance(handler.event, Event):
        raise GraphError(f"{place}: event {handler.event!r}; give one made with Event(...)")
    if handler.run not in RUNS:
        raise GraphError(f"{place}: run={handler.run!r}; use {', '.join(RUNS)}")
    for parameter in _parameters(handler.function):
        if parameter not in (*_GIVEN, *state, *bindings):
            mend = (
                'use Handler(..., run="primary") or run="others"'
                if parameter in ("primary", "replica")
                else f"give Service({name!r}, ..., {parameter}=...), or put it into the state"
            )
            raise GraphError(f"{place}: parameter {parameter!r} is not known; {mend}")
    if "HOLD" in references(handler.function):
        raise GraphError(f"{place}: a handler cannot hold a packet; drop it, or set a timer with after(...)")


def _check_purity(
    name: str,
    handler: Handler,
    handlers: Sequence[Handler],
    state: Mapping[str, np.ndarray],
    bindings: Mapping[str, Any],
) -> None:
    function, run = handler.function, handler.run
    who = f"{name}: handler {function.__name__} (run={run!r})"
    if ARRIVAL in _events_of(function):
        raise GraphError(f"{who} at {_at(function)} raises the arrival of a packet; raise an event of your own")
    if run != "primary":
        for place, what, mend in impurities(function):
            raise GraphError(f"{who} at {place} refers to {what}: {mend}")
        for parameter in _parameters(function):
            kind = getattr(bindings.get(parameter), "kind", None)
            if kind == "shared" or (kind == "private" and run == "all"):
                raise GraphError(
                    f"{who} at {_at(function)} takes {parameter}, a {kind} table, which replicas need not agree in: "
                    'keep it in the state, or use it in a handler with run="primary"'
                )
    if run != "all":
        for place, parameter, _ in assignments(function, (*state, "counts", "timers")):
            raise GraphError(
                f'{who} at {place} assigns to {parameter}, which is replicated: do it in a handler with run="all", '
                "or keep it in a private Table"
            )
        for event in _events_of(function):
            for other in handlers:
                if other.event == event and other.run == "all":
                    raise GraphError(
                        f"{who} at {_at(function)} raises {event!r}, which {other.function.__name__} handles on every "
                        'replica: raise it in a handler with run="all"'
                    )


def _check_atomic(name: str, handler: Handler, state: Mapping[str, np.ndarray]) -> None:
    for place, parameter, atomic in assignments(handler.function, (*state, "counts", "timers")):
        if not atomic:
            raise GraphError(
                f"{name}: handler {handler.function.__name__} at {place} assigns to {parameter} by itself: use the "
                "accessors add_to, store_to and exchange_in, or leave atomic=True out"
            )


def _events_of(function: Any, seen: set[Any] | None = None) -> set[Event]:
    """The events that a function, or what it calls, names."""
    seen = set() if seen is None else seen
    found: set[Event] = set()
    if function in seen:
        return found
    seen.add(function)
    for value in references(function).values():
        if isinstance(value, Event):
            found.add(value)
        elif isinstance(value, FunctionType):
            found |= _events_of(value, seen)
    return found


def _at(function: Any) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"


def _parameters(function: Callable[..., int]) -> tuple[str, ...]:
    return Stage(function, ()).parameters


def _unique(names: Sequence[str]) -> list[str]:
    """The names, with _2 and so on behind those that were there before."""
    return [name + (f"_{names[:i].count(name) + 1}" if name in names[:i] else "") for i, name in enumerate(names)]


# The generated text.

_QUEUES = {
    "everywhere": "The events queued, on every replica. Gives the first drop verdict, or 0.",
    "here": "The events queued, on this replica alone. Gives the first drop verdict, or 0.",
}
_FIRST_VERDICT = ["if given < 0 and verdict == 0:", "    verdict = given"]


class _Text:
    """The source of a service's function."""

    def __init__(
        self,
        name: str,
        mode: str,
        handlers: Sequence[Handler],
        names: Sequence[str],
        parameters: Sequence[str],
        gathers: bool,
    ) -> None:
        self.gathers = gathers
        self.name, self.mode, self.parameters = name, mode, list(parameters)
        self.handlers = list(zip(range(len(handlers)), names, handlers, strict=True))
        self.queued = "events" in parameters
        self.events = list(dict.fromkeys(each.event for each in handlers if each.event != ARRIVAL))
        self.raised = {
            "everywhere": [event for event in self.events if self._run(event, "all")],
            "here": [event for event in self.events if self._alone(event)],
        }
        self.others = any(each.run == "others" for each in handlers)
        more = "".join(f", {each}" for each in parameters)
        self.given = {"everywhere": f"packet, mask{more}", "here": f"packet, primary, mask{more}"}

    def write(self) -> str:
        rows = [
            f"  {index:2} {name:20} {FilePath(each.function.__code__.co_filename).name}:"
            f"{each.function.__code__.co_firstlineno}, at {each.event.name}, {_ON[each.run]}"
            for index, name, each in self.handlers
        ]
        lines = [
            f'"""Service {self.name!r}, mode {self.mode}. Generated by Scout; the handlers are:',
            "",
            *rows,
            "",
            "They stand here as on_NAME.",
            '"""',
            "",
            *self._imports(),
        ]
        for function in ("everywhere", "here"):
            if self.raised[function]:
                lines += self._queue(function)
        return "\n".join([*lines, *self._service(), ""])

    def _imports(self) -> list[str]:
        timed, locked = "timers" in self.parameters, self.mode == "locked"
        return [
            *(["from scout.io.access import blank"] if timed else []),
            *(["from scout.io.batch import gather"] if self.gathers else []),
            "from scout.io.packet import CONTROL_BIND",
            "from scout.paths.framework.events import UNTIL_END"
            + (", close_replicated, close_request" if self.queued else ""),
            "from scout.paths.framework.service import CONTROLLED",
            *(["from scout.paths.model.stage import TOO_LONG"] if self.gathers else []),
            *(["from scout.paths.framework.state import acquire, release"] if locked else []),
            *(["from scout.paths.framework.timers import fire, is_due, newest"] if timed else []),
        ]

    def _service(self) -> list[str]:
        take, give = (["acquire(lock, number)"], ["release(lock)"]) if self.mode == "locked" else ([], [])
        arrival, alone = self._run(ARRIVAL, "all"), self._alone(ARRIVAL)
        return [
            "",
            "",
            f"def service(frame, end, packet, primary, {', '.join([*GATHER[: 2 * self.gathers], *self.parameters])}):",
            f'    """Service {self.name!r}, mode {self.mode}."""',
            "    mask = bound[0]",
            "    if packet.control == CONTROL_BIND:",
            "        bound[0] = packet.argument",
            "        return CONTROLLED",
            *_indented([*take, *self._timers(take, give)]),
            "    if packet.control != 0:",
            *_indented([*give, "return CONTROLLED"], 8),
            "    verdict = given = 0",
            "    until = UNTIL_END",
            *_indented([*arrival, *(_FIRST_VERDICT if arrival else [])]),
            *_indented(self._raised("everywhere")),
            *_indented(["close_replicated(events, counts)"] if self.queued else []),
            *_indented([*give, *self._gathered()]),
            *_indented(["given = 0", *alone, *_FIRST_VERDICT] if alone else []),
            *_indented(self._raised("here")),
            *_indented(["close_request(events)"] if self.queued else []),
            "    return verdict",
        ]

    def _gathered(self) -> list[str]:
        """Put the packet into one piece, if a handler that wants it is to run."""
        if not self.gathers:
            return []
        first = [index for index, _, each in self.handlers if (each.event, each.run) == (ARRIVAL, "primary")][:1]
        wanted = [f"until > {index}" for index in first] + ["events[0].count"] * bool(self.raised["here"])
        return [
            f"if primary and ({' or '.join(wanted)}):",
            "    frame = gather(frame, packet, whole, whole_index)",
            "    if frame == 0:",
            *_indented(["close_request(events)"] if self.queued else [], 8),
            "        return verdict if verdict != 0 else TOO_LONG",
            "    end = packet.end",
        ]

    def _timers(self, take: list[str], give: list[str]) -> list[str]:
        if "timers" not in self.parameters:
            return []
        runs = {
            function: [f"    {function}(no_frame, no_end, {self.given[function]})"] if events else []
            for function, events in self.raised.items()
        }
        return [
            "last = newest(timers)",
            "no_frame, no_end = blank(frame, end)",
            "while is_due(timers, packet.timestamp, last):",
            "    fire(timers, events)",
            *runs["everywhere"],
            "    close_replicated(events, counts)",
            *_indented(give),
            *runs["here"],
            "    close_request(events)",
            *_indented(take),
        ]

    def _raised(self, function: str) -> list[str]:
        """Run what was raised, if something was."""
        if not self.raised[function]:
            return []
        # Where the others have nothing to do with the events, they do not look at them.
        test = "primary and " if function == "here" and not self.others else ""
        return [
            f"if {test}events[0].count:",
            f"    given = {function}(frame, end, {self.given[function]})",
            *_indented(_FIRST_VERDICT),
        ]

    def _queue(self, function: str) -> list[str]:
        """A function that runs the events queued."""
        lines = []
        word = "if"
        for event in self.raised[function]:
            body = self._run(event, "all") if function == "everywhere" else self._alone(event)
            lines += [f"{word} event == {int(event)}:  # {event.name}", *_indented(body)]
            word = "elif"
        first = function == "everywhere"
        return [
            "",
            "",
            f"def {function}(frame, end, {self.given[function]}):",
            f'    """{_QUEUES[function]}"""',
            "    verdict = turn = 0",
            "    while turn < events[0].count:",
            "        row = events[turn]",
            "        event, argument = row.event, row.argument",
            "        given = 0",
            f"        until = {'UNTIL_END' if first else 'row.until'}",
            *_indented(lines, 8),
            *(["        row.until = until"] if first else []),
            *_indented(_FIRST_VERDICT, 8),
            "        turn += 1",
            "    return verdict",
        ]

    def _alone(self, event: Event) -> list[str]:
        """The handlers of an event that run on this replica alone."""
        primary, others = self._run(event, "primary"), self._run(event, "others")
        lines = ["if primary:", *_indented(primary)] if primary else []
        return [*lines, "if not primary:", *_indented(others)] if others else lines

    def _run(self, event: Event, run: str) -> list[str]:
        lines: list[str] = []
        for index, name, handler in self.handlers:
            if handler.event != event or handler.run != run:
                continue
            tests = ["given == 0"] if lines else []
            tests += [f"until > {index}"] if run != "all" else []
            arguments = ", ".join(
                "0" if each == "argument" and event == ARRIVAL else each for each in _parameters(handler.function)
            )
            lines += [
                f"if {' and '.join([*tests, f'mask & {1 << index:#x}'])}:",
                f"    given = on_{name}(frame, end{', ' if arguments else ''}{arguments})",
            ]
            if run == "all":
                lines += ["    if given != 0:", f"        until = {index}"]
        return lines


_ON = {"all": "on every replica", "primary": "on the primary alone", "others": "on the others alone"}


def _indented(lines: Iterable[str], by: int = 4) -> list[str]:
    return [" " * by + line for line in lines]


def _loaded(
    file: FilePath, text: str, names: Sequence[str], handlers: Sequence[Handler], atomic: bool
) -> Callable[..., int]:
    """The function of a generated module, with the handlers among its names."""
    module = ModuleType(f"scout_service_{file.stem}")
    module.__dict__.update({f"on_{name}": each.function for name, each in zip(names, handlers, strict=True)})
    sys.modules[module.__name__] = module  # numba looks a function's module up there, also for code from the cache
    exec(compile(text, str(file), "exec"), module.__dict__)
    function = atomically(module.service) if atomic else module.service
    function.parts = tuple(each.function for each in handlers)
    return function
