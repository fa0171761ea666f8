"""Checks of a service when it is made. Errors name the handler, its file and line, and the fix."""

from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from scout.paths.framework.events import ARRIVAL, RUNS, Event, Handler
from scout.paths.framework.kinds import check_kinds, check_names
from scout.paths.framework.purity import assignments, impurities
from scout.paths.model.references import everything
from scout.paths.model.router import GraphError
from scout.paths.model.stage import GATHER, Stage
from scout.paths.model.table import Table
from scout.paths.stages.filter import checked

__all__ = ["GIVEN", "MODES", "MOST_HANDLERS", "check_service", "names_time", "refuse_sharded"]

MODES = {"replicated": "replicated", "sharded": "private", "locked": "shared", "atomic": "shared"}
"""The modes, each with the kind of the state's tables."""

MOST_HANDLERS = 62  # bits of the mask that says which are bound

GIVEN = ("frame", "end", "packet", "argument", "events", "timers", "counts", "mask")
"""Parameters that every handler may have."""

_RESERVED = {*GIVEN, *GATHER, "primary", "replica", "bound", "lock", "number", "clock"}
# Local names of the generated function.
_RESERVED |= {"verdict", "given", "until", "last", "turn", "row", "event", "no_frame", "no_end", "received", "now"}


def check_service(
    name: str,
    state: Mapping[str, np.ndarray],
    handlers: Sequence[Handler],
    bindings: Mapping[str, Any],
    mode: str,
    atomic: bool,
) -> None:
    """Refuse a service that cannot work, or whose replicas could differ.

    Raises
    ------
    GraphError
        Names the service, the handler, its file and line, and the fix.
    """
    if not name.isidentifier():  # before it names a file
        raise GraphError(f"service name {name!r}: use letters, digits and _, as in a Python name")
    if mode not in MODES:
        raise GraphError(f"{name}: mode {mode!r}; use {', '.join(MODES)}")
    if mode == "atomic" and not atomic:
        raise GraphError(f"{name}: its handlers are not written for mode 'atomic'; use replicated, sharded or locked")
    if not isinstance(handlers, Sequence) or not all(isinstance(each, Handler) for each in handlers):
        raise GraphError(f"{name}: handlers={handlers!r}; give a list of handlers, as [Handler(function)]")
    if not 1 <= len(handlers) <= MOST_HANDLERS:
        raise GraphError(f"{name}: {len(handlers)} handlers; give 1 to {MOST_HANDLERS}")
    for given in (*state, *bindings):
        if given in _RESERVED or not given.isidentifier() or (given in state and given in bindings):
            raise GraphError(f"{name}: {given!r} cannot be the name of a table or binding, or is both; rename it")
    for given, array in state.items():
        if isinstance(array, Table):
            raise GraphError(f"{name}: state {given} is a Table; give the array, not a Table")
        if not isinstance(array, np.ndarray) or array.ndim != 1:
            raise GraphError(f"{name}: state {given}={array!r} is no one-dimensional numpy array; give one")
    for handler in handlers:
        _check_handler(name, handler, state, bindings)
    for handler in handlers:
        _check_purity(name, handler, handlers, state, bindings)
        _check_tables(name, handler, state, bindings, mode)
        if atomic:
            _check_atomic(name, handler, state)
    for given in (*state, *bindings):
        if not any(given in handler.parameters for handler in handlers):
            raise GraphError(f"{name}: no handler has a parameter {given!r}; leave it out")


def refuse_sharded(name: str, mode: str, separated: str) -> None:
    """Refuse mode "sharded" for a service whose state is about packets of several flows, named by `separated`."""
    if mode == "sharded":
        raise GraphError(f"{name}: mode 'sharded' would separate {separated}; use replicated or locked")


def _check_handler(name: str, handler: Handler, state: Mapping[str, np.ndarray], bindings: Mapping[str, Any]) -> None:
    place = checked(name, handler.function)
    if handler.event is not None and not isinstance(handler.event, Event):
        raise GraphError(f"{place}: event {handler.event!r}; give one made with Event(...)")
    if handler.run not in RUNS:
        raise GraphError(f"{place}: run={handler.run!r}; use {', '.join(RUNS)}")
    for parameter in handler.parameters:
        if parameter not in (*GIVEN, *state, *bindings):
            fix = (
                'use Handler(..., run="primary") or run="others"'
                if parameter in ("primary", "replica")
                else f"give Service({name!r}, ..., {parameter}=...), or put it into the state"
            )
            raise GraphError(f"{place}: parameter {parameter!r} is not known; {fix}")
    if Stage(handler.function, ()).holds:
        raise GraphError(f"{place}: a handler cannot hold a packet; drop it, or set a timer with after(...)")


def _check_purity(
    name: str,
    handler: Handler,
    handlers: Sequence[Handler],
    state: Mapping[str, np.ndarray],
    bindings: Mapping[str, Any],
) -> None:
    """Refuse what would make replicas differ: impure replicated work, and state that one replica alone changes."""
    function, run = handler.function, handler.run
    who = f"{name}: handler {function.__name__} (run={run!r})"
    if ARRIVAL in _events_of(function):
        raise GraphError(f"{who} at {_place(function)} raises the arrival of a packet; raise an event of your own")
    if run != "primary":
        for place, what, fix in impurities(function):
            raise GraphError(f"{who} at {place} refers to {what}: {fix}")
        for parameter in handler.parameters:
            kind = getattr(bindings.get(parameter), "kind", None)
            if kind == "shared" or (kind == "private" and run == "all"):
                raise GraphError(
                    f"{who} at {_place(function)} takes {parameter}, a {kind} table, which replicas need not agree in: "
                    'keep it in the state, or use it in a handler with run="primary"'
                )
    if run != "all":
        for event in _events_of(function):
            for other in handlers:
                if other.event == event and other.run == "all":
                    raise GraphError(
                        f"{who} at {_place(function)} raises {event!r}, which {other.function.__name__} handles on "
                        'every replica: raise it in a handler with run="all"'
                    )


def _check_tables(
    name: str, handler: Handler, state: Mapping[str, np.ndarray], bindings: Mapping[str, Any], mode: str
) -> None:
    """Refuse changes of tables that would make replicas differ, or that would change no table."""
    function, run = handler.function, handler.run
    who = f"{name}: handler {function.__name__} (run={run!r})"
    check_names(who, function, state)
    check_kinds(who, function, bindings)
    replicated = [key for key, value in bindings.items() if getattr(value, "kind", None) == "replicated"]
    if run != "all":
        for place, parameter, _ in assignments(function, (*state, *replicated, "counts", "timers")):
            raise GraphError(
                f'{who} at {place} assigns to {parameter}, which is replicated: do it in a handler with run="all", '
                "or keep it in a private Table"
            )
    if mode != "replicated":
        for place, parameter, _ in assignments(function, replicated):
            raise GraphError(
                f"{who} at {place} assigns to {parameter}, a replicated table, and in mode {mode!r} only some replicas "
                "run the handler: put the table into the state"
            )


def _check_atomic(name: str, handler: Handler, state: Mapping[str, np.ndarray]) -> None:
    for place, parameter, atomic in assignments(handler.function, (*state, "counts", "timers")):
        if not atomic:
            raise GraphError(
                f"{name}: handler {handler.function.__name__} at {place} assigns to {parameter} by itself: use the "
                "accessors add_to, store_to and exchange_in, or leave atomic=True out"
            )


def names_time(handler: Handler) -> bool:
    """True if a handler, or a function that it calls, reads `packet.timestamp`."""
    called = [each for each in everything(handler.function) if isinstance(each, FunctionType)]
    return any("timestamp" in each.__code__.co_names for each in [handler.function, *called])  # type: ignore[attr-defined]


def _events_of(function: Any) -> set[Event]:
    """The events that a function, or a function that it calls, names."""
    return {value for value in everything(function) if isinstance(value, Event)}


def _place(function: Any) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
