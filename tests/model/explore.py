"""An explicit-state model checker: every interleaving of a few small processes on shared memory.

A state is `(shared, processes)`: a named tuple of the words in memory (and of what the checks remember), and
a tuple of named tuples, one a process, each with a `name` and with `at`, the name of its next step. A step is
a method of the model, `step(shared, me)`, and makes at most one access to memory that others may see. It
returns `(shared, me)` as they are after it, a list of these where there is a choice, or None where the process
waits. It raises `Broken` where it finds what must never be.

Memory is sequentially consistent unless a model says otherwise (`dekker`): x86 differs from that only by its
store buffers, and wherever a protocol hands something over by a release store and an acquire load, what is
explored here is what the C11 model allows too.
"""

import gc
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pytest

__all__ = ["Broken", "Found", "Model", "Violation", "cases", "explore", "finds", "put"]

State = tuple[Any, tuple[Any, ...]]


class Broken(Exception):
    """Raised by a step that finds what must never be."""


class Violation(AssertionError):
    """What `explore` found, with the steps that lead there."""


class Found(NamedTuple):
    """How much was explored without a violation."""

    states: int
    steps: int


class Model:
    """What `explore` needs. `bug` names a seeded one: the explorer has to find it."""

    bugs: tuple[str, ...] = ()

    def __init__(self, bug: str = "") -> None:
        assert not bug or bug in self.bugs, bug
        self.bug = bug

    def initial(self) -> State:
        raise NotImplementedError

    def finished(self, state: State) -> bool:
        """True if this may be the end; raises `Broken` if something is missing then."""
        return all(process.at is None for process in state[1])

    def die(self, shared: Any, me: Any) -> Any:
        """`(shared, me)` after `me` was killed here; None if it cannot be."""
        return None

    def successors(self, state: State) -> Iterator[tuple[str, State]]:
        shared, processes = state
        for index, me in enumerate(processes):
            if me.at is None:
                continue
            try:
                outcome = getattr(self, me.at)(shared, me)
            except Broken as broken:
                raise Broken(f"{me.name}: {me.at}: {broken}") from None
            if outcome is not None:
                for after, then in outcome if type(outcome) is list else (outcome,):
                    yield f"{me.name}: {me.at}", (after, put(processes, index, then))
            death = self.die(shared, me)
            if death is not None:
                yield f"{me.name}: dies before {me.at}", (death[0], put(processes, index, death[1]))


def put(values: tuple[Any, ...], index: int, value: Any) -> tuple[Any, ...]:
    """`values` with one of them changed."""
    return (*values[:index], value, *values[index + 1 :])


def explore(model: Model, most: int = 5_000_000) -> Found:
    """Visit every state that can be reached, breadth first; from each the end must be reachable.

    Python does not look for cyclic garbage meanwhile: there is none, and it would go through all states time and again.

    Raises
    ------
    Violation
        With a shortest trace, if a step is `Broken`, or the end cannot be reached from some state.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return _explored(model, most)
    finally:
        if was_enabled:
            gc.enable()


def _explored(model: Model, most: int) -> Found:
    initial = model.initial()
    numbers: dict[State, int] = {initial: 0}
    states: list[State] = [initial]
    parents: list[tuple[int, str]] = [(-1, "")]
    before: list[list[int]] = [[]]  # predecessors, to go back from the ends
    ends: list[int] = []
    steps = 0
    number = 0
    while number < len(states):
        state = states[number]
        label = "at the end"
        try:
            if model.finished(state):
                ends.append(number)
            for label, after in model.successors(state):
                steps += 1
                known = numbers.get(after)
                if known is None:
                    known = numbers[after] = len(states)
                    states.append(after)
                    parents.append((number, label))
                    before.append([])
                before[known].append(number)
        except Broken as broken:
            raise Violation(_trace(states, parents, number, str(broken))) from None
        assert len(states) <= most, f"more than {most} states: the model is too big"
        number += 1
    _ends_reachable(states, parents, before, ends)
    return Found(len(states), steps)


def _ends_reachable(states: list[State], parents: list[Any], before: list[list[int]], ends: list[int]) -> None:
    good = bytearray(len(states))
    for end in ends:
        good[end] = 1
    pending = list(ends)
    while pending:
        for earlier in before[pending.pop()]:
            if not good[earlier]:
                good[earlier] = 1
                pending.append(earlier)
    if not all(good):
        raise Violation(_trace(states, parents, good.index(0), "from here the end cannot be reached"))


def _trace(states: list[State], parents: list[Any], number: int, what: str) -> str:
    lines = [f"=> {what}"]
    while number:
        earlier, label = parents[number]
        lines.append(f"{label}   {_changes(states[earlier][0], states[number][0])}")
        number = earlier
    return "\n".join(["", *reversed(lines)])


def _changes(old: Any, new: Any) -> str:
    if isinstance(old, frozenset):
        return ", ".join(f"{key} = {value}" for key, value in new - old)
    pairs = zip(old._fields, old, new, strict=True)
    return ", ".join(f"{name} {_short(was)} -> {_short(now)}" for name, was, now in pairs if was != now)


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + " ".join(_short(item) for item in value) + ")"
    return "-" if value is None else str(value)


def finds(model: Model) -> bool:
    """True if a violation is found."""
    try:
        explore(model)
    except Violation:
        return True
    return False


def cases(usual: Iterable[tuple[Any, ...]], long: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Parameters of a test, with ids that can be read; the `long` ones are marked so."""
    return [pytest.param(*each, id="-".join(map(_name, each))) for each in usual] + [
        pytest.param(*each, id="-".join(map(_name, each)), marks=pytest.mark.long) for each in long
    ]


def _name(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items()) or "-"
    if isinstance(value, tuple):
        return str(value[0])
    return value if isinstance(value, str) else str(value.__name__)
