"""The plain run: a path, or one stage, as plain Python over a bytes buffer, for print, pdb and coverage.

It walks the plan that native code is written from. It agrees with the native run in the leaf, in the bytes, and in what
it does to tables and to the packet's record, and it is stricter: a byte outside the packet, an index outside a table,
a field that does not exist end it with an error that names the line.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from scout.io.access import Frame
from scout.io.batch import gather
from scout.io.packet import NOT_HELD, PACKET, REACH
from scout.paths.compiler.plain import Record, View, WrongVerdict, verdict_of
from scout.paths.compiler.plan import Block, Edge, lower
from scout.paths.model.path import Path
from scout.paths.model.references import written
from scout.paths.model.setting import Setting
from scout.paths.model.stage import GATHER, Stage, parameters_of
from scout.paths.model.table import Table
from scout.paths.model.verdict import HOLD, TOO_LONG, reason_of
from scout.ring.errors import ScoutError

__all__ = ["UnknownVerdict", "Visit", "emissions", "emit", "run", "started", "try_stage", "visits", "walk"]

_MTU = 1500
"""Bytes that a port which is not open is taken to send."""


class UnknownVerdict(int):
    """A verdict that leads nowhere in a path: the packet would be dropped and counted as unknown-verdict."""

    def __repr__(self) -> str:
        return f"unknown-verdict {int(self)}"


def run(path: Path, data: bytes, fields: Mapping[str, int]) -> tuple[str, bytes]:
    """See `Path.run`."""
    if not isinstance(data, bytes | bytearray | memoryview):
        kind = type(data).__name__
        raise ScoutError(f"path from {path.source}: run is given {kind}; give the bytes of a frame, as bytes(packet)")
    with started(path, data):
        last = _last(path, data, fields)
    if last.is_unknown:
        name = reason_of(last.verdict)  # known if the stage has made a drop, which its path has no edge for
        why = "neither 0, one of its outcomes, nor a drop"
        if name != "unknown-verdict":
            why = f"make drop({name!r}) at the top of the module and return it here"
        return f"{last.leaf} {last.verdict}: {why}", bytes(last.frame)
    return last.leaf, bytes(last.frame)


def emit(path: Path, fields: Mapping[str, int]) -> list[tuple[str, bytes]]:
    """See `Path.emit`."""
    made = []
    with started(path, b""):
        for begin in emissions(path):
            leaf, frame, _ = walk(path, bytes(REACH), {**fields, "at": begin})
            made.append((leaf, bytes(frame)))
    return made


def emissions(path: Path, arrays: Mapping[int, np.ndarray] | None = None) -> Iterator[int]:
    """For each packet that a stage wants to be made now, the number of the stage at which it begins.

    The caller sends a frame of `REACH` bytes through the path from there (`visits`); `arrays` as there.
    """
    for table, begin in lower(path).emissions.items():
        waiting = (arrays or {}).get(id(table), table.initial)
        before = waiting[0] + 1
        while 0 < waiting[0] < before:
            before = waiting[0]
            yield begin


@contextmanager
def started(path: Path, data: bytes) -> Iterator[None]:
    """Start the routers, as a run does when its ports are open; ports that are not open get an address and an MTU."""
    graph = path.router_graph
    closed = [graph.router(name).port for name in graph.ports]
    closed = [(port, port.mac, port.mtu) for port in closed if not port.mac or not port.mtu]
    for port, mac, mtu in closed:
        port.mac = mac or int.from_bytes(data[:6].ljust(6, b"\0"), "big")
        port.mtu = mtu or _MTU
    try:
        if closed or not graph.graph.get("started"):
            for router in graph.routers:
                router.start(graph)
            graph.graph["started"] = True
        yield
    finally:
        for port, mac, mtu in closed:
            port.mac, port.mtu = mac, mtu


class Visit(NamedTuple):
    """A stage that a packet has gone through in the plain run.

    Attributes
    ----------
    block : Block
        The stage in the path's plan.
    verdict : int
    edge : Edge or None
        The edge that the verdict took; None if the packet is held, or the verdict leads nowhere.
    leaf : str
        Where the packet left the path; empty if it goes on to another stage.
    start : int
        Offset in the frame's `data` of the header that the stage worked on.
    frame : Frame
        The packet now; the next stage changes it.
    packet : Record
        Its record. The addresses in it mean nothing here.
    """

    block: Block
    verdict: int
    edge: Edge | None
    leaf: str
    start: int
    frame: Frame
    packet: Record

    @property
    def is_held(self) -> bool:
        """True if the stage holds the packet."""
        return self.verdict == HOLD and self.block.stage.holds

    @property
    def is_unknown(self) -> bool:
        """True if the verdict leads nowhere: the packet is dropped as `unknown-verdict`."""
        return self.edge is None and not self.is_held


def visits(
    path: Path, frame: Frame, fields: Mapping[str, int], arrays: Mapping[int, np.ndarray] | None = None
) -> Iterator[Visit]:
    """Send one frame through the path, stage by stage.

    The state of the stages is changed in place: of each table its array in `arrays`, by the table's `id`, or else its
    `initial`.

    Raises
    ------
    ScoutError
        If a stage fails; names it, its file and line.
    """
    plan = lower(path)
    packet = _packet({"port": path.ports.index(path.source)} | dict(fields))
    packet.tail_bytes = len(frame.data) - frame.end
    block = list(plan.blocks.values())[packet.at]
    while True:
        stage = block.stage
        with _blamed(stage.function, f"stage {block.node}"):
            frame.move(-stage.push)
            start = frame.start
            verdict = _verdict(stage, frame, packet, arrays or {})
            if verdict == HOLD and stage.holds:
                frame.move(stage.push)
                edge, leaf = None, f"{block.node} holds"
            elif (edge := block.edge(verdict)) is None:
                leaf = f"{block.node} unknown-verdict"
            elif edge.egress is not None:
                leaf = edge.target
            else:
                frame.move(edge.pull)
                leaf = ""
                if edge.waits:  # the wait takes no time here
                    packet.timestamp, packet.held_since = packet.due, NOT_HELD
        yield Visit(block, verdict, edge, leaf, start, frame, packet)
        if leaf or edge is None:
            return
        block = plan.blocks[edge.target]


def walk(path: Path, data: bytes, fields: Mapping[str, int]) -> tuple[str, Frame, Record]:
    """Send one frame through the path; the leaf it came to, the frame, and its record, as they were then.

    `visits` lists the errors.
    """
    last = _last(path, data, fields)
    return last.leaf, last.frame, last.packet


def _last(path: Path, data: bytes, fields: Mapping[str, int]) -> Visit:
    for visit in visits(path, Frame(data, reach=REACH), fields):
        last = visit
    return last


def try_stage(
    function: Callable[..., int], data: bytes, outcomes: int | None = None, **bindings: Any
) -> tuple[int, bytes]:
    """Run one stage function by itself, as plain Python.

    Parameters
    ----------
    function : callable
        `function(frame, end, ...)`, as a `Stage` or a `Filter` takes it.
    data : bytes
        The packet, from the header on that the stage works on. The stage sees all of it.
    outcomes : int, optional
        How many outcomes the stage has: 1 for a `Filter`, whose function returns 0 or drops.
    **bindings
        The function's other parameters: ints, `Table`s or arrays. `packet` is a mapping of the fields that
        are not 0; `primary` is True if it is not given. A `Table` stays as it is; an array that is given is changed.

    Returns
    -------
    tuple of int and bytes
        The verdict, and the packet afterwards. A verdict that would lead nowhere in a path (beyond `outcomes`, or a
        drop reason that the function does not name) is shown as `unknown-verdict`.

    Raises
    ------
    ScoutError
        If the function fails; names its file and line.

    Examples
    --------
    >>> from scout.io.access import load16, require
    >>> from scout.paths.model.verdict import drop
    >>> TELNET = drop("telnet")
    >>> def no_telnet(frame, end, port):
    ...     if require(frame, end, 4) and load16(frame, 2) == port:
    ...         return TELNET
    ...     return 0
    >>> try_stage(no_telnet, bytes([0, 80, 0, 23]), port=23)
    (drop('telnet'), b'\\x00P\\x00\\x17')
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        kind = type(data).__name__
        raise ScoutError(
            f"{function.__name__}: try_stage is given {kind}; give the bytes of a packet, as bytes(packet)"
        )
    known = {*parameters_of(function), "packet", "primary"}
    if unknown := [name for name in bindings if name not in known]:
        raise ScoutError(f"{function.__name__} has no parameter {unknown[0]!r}; leave {unknown[0]}=... out")
    frame = Frame(data)
    packet = _packet(bindings.pop("packet", {}))
    isolated = {name: _copy(value) for name, value in bindings.items()}
    with _blamed(function, function.__name__):
        stage = Stage(function, (), {"primary": True} | isolated)
        verdict = _call(stage, frame, packet, {})
        if not _leads(stage, verdict, outcomes):
            verdict = UnknownVerdict(verdict)
    return verdict, bytes(frame)


def _copy(value: Any) -> Any:
    if isinstance(value, Setting) or not isinstance(value, Table):
        return value
    return Table(value.initial.copy(), value.kind)


def _leads(stage: Stage, verdict: int, outcomes: int | None) -> bool:
    """True if a path has a way for the verdict."""
    if verdict >= 0:
        return outcomes is None or verdict < outcomes
    if verdict == HOLD:
        return stage.holds
    return verdict in stage.drops or reason_of(verdict) != "unknown-verdict"


def _packet(fields: Mapping[str, int]) -> Record:
    packet = Record(np.zeros(1, PACKET)[0])
    for name, value in fields.items():
        setattr(packet, name, value)
    return packet


def _verdict(stage: Stage, frame: Frame, packet: Record, arrays: Mapping[int, np.ndarray]) -> int:
    if stage.payload and packet.tail_bytes and not gather(frame, packet, None, 0):
        return TOO_LONG
    return _call(stage, frame, packet, arrays)


def _call(stage: Stage, frame: Frame, packet: Record, arrays: Mapping[int, np.ndarray]) -> int:
    given = {"primary": True} | dict.fromkeys(GATHER) | dict(stage.bindings) | {"packet": packet}
    missing = [name for name in stage.parameters if name not in given]
    if missing:
        raise TypeError(f"parameter {missing[0]!r} is not bound; give {missing[0]}=...")
    arguments = {name: _argument(given[name], arrays) for name in stage.parameters}
    return verdict_of(getattr(stage.function, "plain", stage.function), frame, None, **arguments)


def _argument(value: Any, arrays: Mapping[int, np.ndarray]) -> Any:
    if isinstance(value, Setting):
        return value.value
    if isinstance(value, Table):
        value = arrays.get(id(value), value.initial)
    if isinstance(value, np.ndarray):
        return View(value)
    return value() if callable(value) else value


@contextmanager
def _blamed(function: Any, name: str) -> Any:
    """Turn an exception in a stage into one line that names the stage, its file and line."""
    try:
        yield
    except Exception as error:
        if isinstance(error, WrongVerdict):
            function = error.function
        code = function.__code__
        files = {each.__code__.co_filename for each in written(function)}
        own = [at for at in traceback.extract_tb(error.__traceback__) if at.filename in files]
        place = f"{own[-1].filename}:{own[-1].lineno}" if own else f"{code.co_filename}:{code.co_firstlineno}"
        kind = "" if isinstance(error, ScoutError) else f"{type(error).__name__}: "
        raise ScoutError(f"{place}: {name}: {kind}{error}") from error
