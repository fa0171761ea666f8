"""The plain run: a path, or one stage, as plain Python over a bytes buffer, for print, pdb and coverage.

It agrees with the native run in the leaf, in the bytes, and in what it does to tables and to the packet's
record, and it is stricter: a byte outside the packet, an index outside a table, a field that does not
exist end it with an error that names the line.
"""

import traceback
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from scout.io.access import Frame
from scout.io.batch import LONGEST
from scout.io.packet import PACKET, REACH
from scout.paths.model.path import Path
from scout.paths.model.stage import GATHER, HOLD, TOO_LONG, Stage, Table, written
from scout.ring.errors import ScoutError

__all__ = ["Record", "run", "try_stage", "walk"]


class Record:
    """A record of a structured array as compiled code sees it: fields are attributes.

    Numbers are read as Python's own, which do not overflow as numpy's small ones do, and cut to the
    field's width when they are written.
    """

    __slots__ = ("_record",)

    def __init__(self, record: np.void) -> None:
        object.__setattr__(self, "_record", record)

    def __getattr__(self, name: str) -> Any:
        return _seen(self._record[self._known(name)])

    def __setattr__(self, name: str, value: Any) -> None:
        self._record[name] = _cut(value, self._record.dtype[self._known(name)])

    def _known(self, name: str) -> str:
        names = self._record.dtype.names
        if name not in names:
            raise AttributeError(f"no field {name!r}; there are {', '.join(names)}")
        return name


class _View:
    """An array as compiled code sees it; what is written goes to the array itself."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape = array, array.shape

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> Any:
        return _seen(self._array[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._array[index] = _cut(value, self._array.dtype)

    def clear(self, index: int) -> None:
        """Set all of a row to zero; see `scout.paths.framework.state.clear`."""
        self._array[index] = np.zeros((), self._array.dtype)


def _seen(value: Any) -> Any:
    if isinstance(value, np.void):
        return Record(value)
    return _View(value) if isinstance(value, np.ndarray) else value.item()


def _cut(value: Any, dtype: np.dtype) -> Any:
    """`value` as a store of so many bits leaves it; numpy would refuse one that does not fit."""
    if dtype.kind not in "iu":
        return value
    bits = 8 * dtype.itemsize
    value = int(value) & (1 << bits) - 1
    return value - (1 << bits) if dtype.kind == "i" and value >> bits - 1 else value


def run(path: Path, data: bytes, fields: Mapping[str, int]) -> tuple[str, bytes]:
    """See `Path.run`."""
    leaf, frame, _ = walk(path, data, fields)
    return leaf, bytes(frame)


def walk(path: Path, data: bytes, fields: Mapping[str, int]) -> tuple[str, Frame, Record]:
    """Send one frame through the path; the leaf it came to, the frame, and its record, as they were then.

    Addresses in the record mean nothing here. The state of the stages is `Table.initial`, in place.

    Raises
    ------
    ScoutError
        If a stage fails; names it, its file and line.
    """
    frame = Frame(data, reach=REACH)
    packet = _packet({"port": path.ports.index(path.source)} | dict(fields))
    packet.tail_bytes = len(frame.data) - frame.end
    node = list(path.stages)[packet.at]
    while True:
        stage = path.stages[node]
        with _blamed(stage.function, f"stage {node}"):
            frame.move(-stage.push)
            verdict = _verdict(stage, frame, packet)
            if verdict == HOLD and stage.holds:
                frame.move(stage.push)
                return f"{node} holds", frame, packet
            edges = path.out_edges(node, data=True)
            edge = next(((head, edge) for _, head, edge in edges if verdict in edge["verdicts"]), None)
            if edge is None:
                return f"{node} unknown-verdict", frame, packet
            node, pull = edge[0], edge[1]["pull"]
            if "stage" not in path.nodes[node]:
                return node, frame, packet
            frame.move(pull)


def try_stage(function: Callable[..., int], data: bytes, **bindings: Any) -> tuple[int, bytes]:
    """Run one stage function by itself, as plain Python.

    Parameters
    ----------
    function : callable
        `function(frame, end, ...)`, as a `Stage` or a `Filter` takes it.
    data : bytes
        The packet, from the header on that the stage works on. The stage sees all of it.
    **bindings
        The function's other parameters: ints, `Table`s or arrays. `packet` is a mapping of the fields that
        are not 0; `primary` is True if it is not given.

    Returns
    -------
    tuple of int and bytes
        The verdict, and the packet afterwards.

    Examples
    --------
    >>> from scout.io.access import load16, require
    >>> from scout.paths.model.stage import drop
    >>> def no_telnet(frame, end, port):
    ...     if require(frame, end, 4) and load16(frame, 2) == port:
    ...         return drop("telnet")
    ...     return 0
    >>> try_stage(no_telnet, bytes([0, 80, 0, 23]), port=23)
    (drop('telnet'), b'\\x00P\\x00\\x17')
    """
    frame = Frame(data)
    packet = _packet(bindings.pop("packet", {}))
    with _blamed(function, function.__name__):
        verdict = _call(Stage(function, (), {"primary": True} | bindings), frame, packet)
    return verdict, bytes(frame)


def _packet(fields: Mapping[str, int]) -> Record:
    packet = Record(np.zeros(1, PACKET)[0])
    for name, value in fields.items():
        setattr(packet, name, value)
    return packet


def _verdict(stage: Stage, frame: Frame, packet: Record) -> int:
    if stage.payload and packet.tail_bytes:
        if len(frame.data) - frame.start > LONGEST:
            return TOO_LONG
        frame.end, packet.tail_bytes = len(frame.data), 0
    return _call(stage, frame, packet)


def _call(stage: Stage, frame: Frame, packet: Record) -> int:
    given = {"primary": True} | dict.fromkeys(GATHER) | dict(stage.bindings) | {"packet": packet}
    missing = [name for name in stage.parameters if name not in given]
    if missing:
        raise TypeError(f"parameter {missing[0]!r} is not bound; give {missing[0]}=...")
    arguments = {name: _argument(given[name]) for name in stage.parameters}
    verdict = stage.function(frame, None, **arguments)
    if not isinstance(verdict, int | np.integer):
        raise TypeError(f"returned {verdict!r}; return 0 to go on, or a drop(...)")
    return verdict


def _argument(value: Any) -> Any:
    if isinstance(value, Table):
        value = value.initial
    if isinstance(value, np.ndarray):
        return _View(value)
    return value() if callable(value) else value


@contextmanager
def _blamed(function: Any, name: str) -> Any:
    """Turn what goes wrong in a stage into one line that names the stage, its file and line."""
    try:
        yield
    except Exception as error:
        code = function.__code__
        files = {each.__code__.co_filename for each in written(function)}
        own = [at for at in traceback.extract_tb(error.__traceback__) if at.filename in files]
        place = f"{own[-1].filename}:{own[-1].lineno}" if own else f"{code.co_filename}:{code.co_firstlineno}"
        kind = "" if isinstance(error, ScoutError) else f"{type(error).__name__}: "
        raise ScoutError(f"{place}: {name}: {kind}{error}") from error
