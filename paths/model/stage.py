"""Stages: one router's part of a path, a plain function over a packet with what it is bound to."""

import dis
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import CellType, FunctionType
from typing import Any

import numpy as np

from scout.ring.errors import ScoutError

__all__ = [
    "GATHER",
    "HOLD",
    "TOO_LONG",
    "DropReason",
    "Exit",
    "Outcome",
    "Stage",
    "Table",
    "To",
    "Via",
    "drop",
    "reason_of",
    "rebound",
    "references",
    "written",
]


class DropReason(int):
    """A verdict of a stage: the packet goes no further, and is counted under a name."""

    name: str

    def __repr__(self) -> str:
        return f"drop({self.name!r})"


_reasons: dict[int, DropReason] = {}


def drop(name: str) -> DropReason:
    """The verdict that drops a packet and counts it under `name`.

    Call it at the top of a module and return the result from a stage. It is a negative int that depends
    on the name alone, so that compiled code in the cache stays true.

    Examples
    --------
    >>> TELNET = drop("telnet")
    >>> TELNET < 0, TELNET == drop("telnet")
    (True, True)
    """
    code = -(zlib.crc32(name.encode()) & 0x3FFFFFFF) - 16
    known = _reasons.get(code)
    if known is None:
        known = DropReason(code)
        known.name = name
        _reasons[code] = known
    elif known.name != name:
        raise ScoutError(f"drop reasons {known.name!r} and {name!r} have the same code; rename one")
    return known


def reason_of(verdict: int) -> str:
    """The name of a drop verdict."""
    known = _reasons.get(verdict)
    return known.name if known else "unknown-verdict"


TOO_LONG = drop("too-long-for-payload")
"""The verdict on a packet that a stage wants in one piece and that does not fit."""

HOLD = -1
"""The verdict of a stage that cannot go on yet: the packet is kept and comes back to this stage."""


GATHER = ("whole", "whole_index")
"""Parameters of a stage function that calls `scout.io.batch.gather`: room for whole packets, and this one's number."""


class Table:
    """State of a stage: a numpy array of which each domain has its own, or all share one.

    Parameters
    ----------
    initial : numpy.ndarray
        What the state is before the first packet.
    kind : {"replicated", "private", "shared", "constant", "number"}
        `replicated`: each domain's own, changed by replicated work alone and so the same everywhere.
        `private`: each domain's own, about what it is primary of. `shared`: one for all domains, changed
        atomically. `constant`: one for all domains, never changed while they run. `number`: each domain's own, an
        int64 that is its replica's number plus 1.
    """

    def __init__(self, initial: np.ndarray, kind: str = "replicated") -> None:
        if kind not in ("replicated", "private", "shared", "constant", "number"):
            raise ScoutError(f"table of kind {kind!r}: use replicated, private, shared, constant or number")
        self.initial, self.kind = np.ascontiguousarray(initial), kind


@dataclass(frozen=True)
class To:
    """The next stage is the same router's stage `key`."""

    key: str


@dataclass(frozen=True)
class Via:
    """The next stage is another router's: the one connected to this router's `service`.

    `router` picks one of several that are connected.
    """

    service: str
    router: str | None = None


@dataclass(frozen=True)
class Exit:
    """The packet leaves the path: by the port of router `port`, or None if it ends here."""

    port: str | None = None


@dataclass(frozen=True)
class Outcome:
    """Where a verdict leads: verdict k of a stage is its k-th outcome.

    `pull` bytes of header are taken off on the way. The first outcome, and those marked `common`, are laid
    out as the path's main line.
    """

    label: str
    hop: To | Via | Exit | DropReason
    pull: int = 0
    common: bool = False


@dataclass(frozen=True)
class Stage:
    """A function and what binds it into a path.

    Parameters
    ----------
    function : callable
        `function(frame, end, ...)` returns a verdict: k >= 0 takes the k-th outcome, a `drop(...)` drops,
        `HOLD` holds. Its other parameters are found by name: `packet` (the record `PACKET`), `primary`
        (False in the replicas that only keep their state), or one of `bindings`.
    outcomes : tuple of Outcome
        Where the verdicts 0, 1, ... lead.
    bindings : mapping
        Parameters of the function: an int becomes a field of the path's configuration (a function that
        gives one is asked when the path is started), a `Table` an array.
    push : int
        Bytes of header that the stage puts before the packet.
    replicated : bool
        True if every replica has to run it, to keep state the same.
    writes : bool
        False if it never writes the packet in a replica that is not the primary.
    resizes : bool
        True if it changes `packet.end` or the tail.
    payload : bool
        True if it wants all of the packet in one piece, and not its first `REACH` bytes.
    sharded : bool
        True if each replica has to get only its own flows, as the primary of all of them.
    controlled : bool
        True if control requests (`packet.control`) may begin at it.
    alone : bool
        True if the primary alone may drop or change packets here: no replicated stage may stand behind it.
    note : str
        A word for people, shown in pictures.
    when_replicated : Stage, optional
        The stage that takes this one's place, with the same outcomes, if replicated work lies behind it in the path:
        what it does depends on state and request alone.
    on_timeout : To or Via, optional
        Where packets go that were held too long. They enter there anew: it is no edge of the path.
    """

    function: Callable[..., int]
    outcomes: tuple[Outcome, ...]
    bindings: Mapping[str, "int | Table | Callable[[], int]"] = field(default_factory=dict)
    push: int = 0
    replicated: bool = False
    writes: bool = True
    resizes: bool = False
    payload: bool = False
    sharded: bool = False
    controlled: bool = False
    alone: bool = False
    note: str = ""
    when_replicated: "Stage | None" = None
    on_timeout: "To | Via | None" = None

    @property
    def parameters(self) -> tuple[str, ...]:
        """The function's parameters after `frame` and `end`."""
        code = self.function.__code__
        return code.co_varnames[2 : code.co_argcount]

    @property
    def gathers(self) -> bool:
        """True if the function puts the packet into one piece by itself (`scout.io.batch.gather`)."""
        return GATHER[0] in self.parameters

    @property
    def drops(self) -> tuple[DropReason, ...]:
        """The drop verdicts that the function names, in the order of their names."""
        found: dict[str, DropReason] = {}
        _find_drops(self.function, found, set())
        if self.payload:
            found[TOO_LONG.name] = TOO_LONG
        return tuple(found[name] for name in sorted(found))

    @property
    def holds(self) -> bool:
        """True if the function may hold a packet."""
        return "HOLD" in references(self.function)


def references(function: Any) -> dict[str, Any]:
    """What the global names and the closure of a function's body stand for."""
    scope = function.__globals__
    named = {step.argval for step in dis.get_instructions(function) if step.opname == "LOAD_GLOBAL"}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: scope[name] for name in sorted(named & scope.keys())} | {n: c.cell_contents for n, c in cells}


def rebound(function: FunctionType, translated: Callable[[Any], Any]) -> FunctionType:
    """A copy of `function` for which its global names and its closure stand for what `translated` makes of them."""
    scope = dict(function.__globals__)
    scope.update({name: translated(scope[name]) for name in references(function) if name in scope})
    cells = tuple(CellType(translated(cell.cell_contents)) for cell in function.__closure__ or ())
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, cells)
    copy.__dict__.update(function.__dict__)
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    return copy


def written(function: Any) -> tuple[Any, ...]:
    """The functions that people wrote of a stage's: itself, or what it was generated from (`function.parts`)."""
    return getattr(function, "parts", (function,))


def _find_drops(function: Any, found: dict[str, DropReason], seen: set[int]) -> None:
    for value in references(function).values():
        if isinstance(value, DropReason):
            found[value.name] = value
        elif hasattr(value, "__code__") and id(value) not in seen:
            seen.add(id(value))
            _find_drops(value, found, seen)
