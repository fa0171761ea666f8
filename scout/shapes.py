"""Shapes: code that serves one path, or any number of paths that differ in their records alone.

Where a port has several paths (`Plan.demuxes`), code depends on the shape of a path. Its counters and its parameters of
its own (`Own`) are a row of shared arrays, the row of the path's number.

The shapes of the start are compiled before packets flow; others may come later (`scout.live_shapes`). All are called by
the addresses of their code (`scout.shape_memory`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path as FilePath
from typing import Any
from weakref import ref

from scout.paths.compiler.generated import digest_of
from scout.paths.compiler.native import CompiledPath, code_of, compile_path
from scout.paths.compiler.plan import Plan, known_plan, lower
from scout.paths.model.path import Path

__all__ = ["Shape", "Shapes"]


@dataclass(eq=False)
class Shape:
    """A shape of a run.

    Attributes
    ----------
    number : int
        Shapes count from 0.
    path : Path
        The first path of this shape: what the code depends on is the same in all of them.
    plan : Plan
        The plan of that path.
    many : bool
        True if it may have several paths, so that arrays have rows for them.
    compiled : CompiledPath or None
        The code, compiled for that path; None if the shape came while packets flow.
    tier : str
        "fused", or "linked" as long as its stages are called one by one.
    file : pathlib.Path or None
        The generated source of the fused code.
    """

    number: int
    path: Path
    many: bool
    compiled: CompiledPath | None
    tier: str = "fused"
    file: FilePath | None = None

    def __post_init__(self) -> None:
        self.plan = lower(self.path)

    @property
    def code(self) -> CompiledPath:
        """The code of a shape that was there at the start."""
        assert self.compiled
        return self.compiled

    @property
    def has_records(self) -> bool:
        """True if its paths have parameters of their own, in records."""
        return self.many and bool(self.plan.own)


class Shapes(Sequence[Shape]):
    """The shapes of a run, compiled when the first path of each comes.

    Parameters
    ----------
    many : bool
        True if a shape may have many paths; otherwise each path is a shape of its own.
    progress : callable
        Called with the name of each path before it is compiled, if it is not in the cache.
    """

    def __init__(self, many: bool, progress: Callable[[str], None]) -> None:
        self._many, self._progress = many, progress
        self._shapes: list[Shape] = []
        self._known: dict[Any, Shape] = {}
        self._keys: dict[int, tuple[ref[Plan], Any]] = {}

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, number: Any) -> Any:
        return self._shapes[number]

    def add(self, path: Path) -> Shape:
        """The shape of a path; it is compiled if it is new.

        Raises
        ------
        CompileError
            If a stage does not compile.
        """
        if found := self.find(path):
            return found
        progress = partial(self._progress, f"path from {path.name}")
        return self._add(path, compile_path(path, self._many, progress))

    def admit(self, path: Path) -> Shape:
        """A new shape, for a path that comes while packets flow; nothing is compiled."""
        shape = self._add(path, None)
        shape.tier = "linked"
        return shape

    def _add(self, path: Path, compiled: CompiledPath | None) -> Shape:
        made = Shape(len(self._shapes), path, self._many, compiled)
        made.file = compiled.file if compiled else None
        self._shapes.append(made)
        self._known[self._key(path)] = made
        return made

    def find(self, path: Path) -> Shape | None:
        """The shape of a path if it was compiled, else None."""
        return self._known.get(self._key(path))

    def _key(self, path: Path) -> Any:
        """A key that is equal for paths of one shape."""
        if not self._many:
            return id(path)
        plan = known_plan(path)  # what runs was made of it: nothing is analysed again
        number = id(plan)
        if number not in self._keys:
            # Gone with the plan: paths that come and go may each have a plan of their own.
            self._keys[number] = ref(plan, lambda _: self._keys.pop(number, None)), _likeness(path)
        return self._keys[number][1]


def _likeness(path: Path) -> Any:
    """A path's code and the parameters that are not the path's own."""
    plan = lower(path)
    common = {name: _comparable(value) for name, value in plan.parameters.items() if name not in plan.own}
    return digest_of(*code_of(path, many=True)), tuple(common.items())


def _comparable(value: Any) -> Any:
    """A parameter, which is an int or how to ask for one: two that ask the same are equal."""
    return (value.func, *map(id, value.args)) if isinstance(value, partial) else value
