"""Stages: one router's part of a path, a plain function over a packet with what it is bound to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from scout.paths.model.effects import Effects, effects
from scout.paths.model.references import everything
from scout.paths.model.table import Table
from scout.paths.model.verdict import TOO_LONG, DropReason, Hold

__all__ = [
    "GATHER",
    "Emission",
    "Exit",
    "Outcome",
    "Own",
    "Stage",
    "To",
    "Via",
    "parameters_of",
]

GATHER = ("whole", "whole_index")
"""Parameters of a stage function that calls `scout.io.batch.gather`: room for whole packets, and this one's number."""


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
    out as the path's main line. A packet that takes an outcome which `waits` goes on at the time that the stage has
    written to `packet.due` (nanoseconds since 1970), and that is its timestamp from then on. Only its primary has it
    then, so no replicated stage may stand behind.
    """

    label: str
    hop: To | Via | Exit | DropReason
    pull: int = 0
    common: bool = False
    waits: bool = False


@dataclass(frozen=True)
class Emission:
    """Packets that the primary makes besides the one at hand.

    They begin at the same router's stage `key`, once the packets of the batch have left and before its requests are
    released: if the primary dies, its successor makes them again. There is no edge to that stage. It gets a packet of
    `REACH` bytes without contents, cuts it to size, and takes one off `waiting`.

    Parameters
    ----------
    key : str
    waiting : Table
        A private table of one int64, to which both stages are bound: how many packets wait to be made. It is 0 again
        where waiting packets must not be made, since a predecessor has made them.
    """

    key: str
    waiting: Table


class Own(int):
    """An int that a stage is bound to for one path alone: paths that differ in nothing else share their code."""


@dataclass(frozen=True)
class Stage:
    """A function and what binds it into a path.

    The function's effects on packets and tables are found in its source (`effects`). `replicated`, `writes`, `resizes`
    and `alone` add to that, for a function that is generated or whose source cannot be read; they take nothing away.

    Parameters
    ----------
    function : callable
        `function(frame, end, ...)` returns a verdict: k >= 0 takes the k-th outcome, a `drop(...)` drops,
        `HOLD` holds. Its other parameters are found by name: `packet` (the record `PACKET`), `primary`
        (False in the replicas that only keep their state), or one of `bindings`.
    outcomes : tuple of Outcome
        Where the verdicts 0, 1, ... lead. Empty for a stage that is put into a path: the edit says it.
    bindings : mapping
        Parameters of the function: an int becomes a field of the path's configuration (a function that
        gives one is asked when the path is started), an `Own` int a field of the path's record, a `Table` an array.
    push : int
        Bytes of header that the stage puts before the packet.
    replicated : bool
        True if every replica has to run it, to keep state the same.
    writes : bool
        True if it writes the packet in a replica that is not the primary.
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
    keeps_flow : bool
        True if it changes neither addresses, protocol, L4 ports nor DSCP of a packet, although it writes some of it.
    note : str
        A word for people, shown in pictures.
    on_timeout : To or Via, optional
        Where packets go that were held too long. They enter there anew: it is no edge of the path. Only their primary
        has them, so where replicated work would stand behind they are dropped instead.
    emits : Emission, optional
        The packets that it makes besides the one at hand.
    """

    function: Callable[..., int]
    outcomes: tuple[Outcome, ...] = ()
    bindings: Mapping[str, "int | Table | Callable[[], int]"] = field(default_factory=dict)
    push: int = 0
    replicated: bool = False
    writes: bool = False
    resizes: bool = False
    payload: bool = False
    sharded: bool = False
    controlled: bool = False
    alone: bool = False
    keeps_flow: bool = False
    note: str = ""
    on_timeout: "To | Via | None" = None
    emits: Emission | None = None

    def __post_init__(self) -> None:
        # Of a generated function its generator says what it does.
        found = Effects() if self.is_generated else self.effects
        for name, value in (("writes", found.writes), ("resizes", found.resizes)):
            object.__setattr__(self, name, getattr(self, name) or value)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The function's parameters after `frame` and `end`."""
        return parameters_of(self.function)

    @property
    def tables(self) -> dict[str, Table]:
        """The tables of the stage by the parameters that they are bound to."""
        bound = {name: self.bindings.get(name) for name in self.parameters}
        return {name: value for name, value in bound.items() if isinstance(value, Table)}

    @property
    def effects(self) -> Effects:
        """The function's effects; they may change when one of its tables becomes a replicated one."""
        return effects(self.function, {name: table.varies for name, table in self.tables.items()})

    @property
    def is_generated(self) -> bool:
        """True if the function was generated of others, its `parts`; its source says little then."""
        return hasattr(self.function, "parts")

    @property
    def keeps_state(self) -> bool:
        """True if every replica has to run the stage, to keep replicated state the same."""
        if self.replicated or self.is_generated:
            return self.replicated
        return any(self.tables[name].kind == "replicated" for name in self.effects.changes)

    @property
    def gathers(self) -> bool:
        """True if the function puts the packet into one piece by itself (`scout.io.batch.gather`)."""
        return GATHER[0] in self.parameters

    @property
    def drops(self) -> tuple[DropReason, ...]:
        """The drop verdicts that the function refers to, in the order of their names."""
        found = {value.name: value for value in _verdicts(self.function) if isinstance(value, DropReason)}
        if self.payload:
            found[TOO_LONG.name] = TOO_LONG
        return tuple(found[name] for name in sorted(found))

    @property
    def holds(self) -> bool:
        """True if the function may hold a packet."""
        return any(isinstance(value, Hold) for value in _verdicts(self.function))


@lru_cache(1024)  # a search through the code of all that the function calls
def _verdicts(function: Any) -> tuple[DropReason | Hold, ...]:
    """The verdicts that a function, and the functions that it calls, refer to by name."""
    return tuple(value for value in everything(function) if isinstance(value, DropReason | Hold))


def parameters_of(function: Any) -> tuple[str, ...]:
    """A stage function's parameters after `frame` and `end`."""
    code = function.__code__
    return code.co_varnames[2 : code.co_argcount]
