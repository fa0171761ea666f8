"""The trace of a packet: what each stage of its path read and changed, and where it sent the packet.

The packet goes through the plain run, whose frame and tables are watched. Nothing in a stage knows of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scout.io.access import Frame
from scout.io.mac import mac_text
from scout.io.packet import HEADROOM, NOTES, REACH
from scout.paths.compiler.interpreter import Visit, emissions, started, visits
from scout.paths.compiler.plan import at
from scout.paths.model.path import Path
from scout.paths.model.references import written
from scout.paths.model.router import Router
from scout.paths.model.stage import Stage
from scout.paths.wire import ethernet, ipv4
from scout.paths.wire.decode import Field, decode
from scout.paths.wire.icmp import error_text

__all__ = ["Change", "Step", "trace"]

_ARP = bytes.fromhex("000108000604")
"""The first bytes of an ARP message about IPv4 on Ethernet."""

_ETHERTYPES = [kind.to_bytes(2, "big") for kind in (ethernet.IPV4, ethernet.ARP, ethernet.IPV6)]

_MOST_BYTES = 1 << 20
"""Bytes of a table that is compared before and after a stage; greater ones hold routes, which no stage changes."""


_MOST_ROWS = 4
"""Rows of a table whose changes are shown one by one."""


@dataclass(frozen=True)
class Change:
    """A field that a stage gave another value."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name} {self.before} → {self.after}" if self.before else f"{self.name} {self.after}"


@dataclass(frozen=True)
class Step:
    """A stage that the packet went through.

    Attributes
    ----------
    stage : str
        Its name in the path.
    function : str
        File, line and name of its function.
    reads : tuple of str
        The header fields that it read, as "ipv4.ttl"; a header of which it read everything, as "ipv4.*".
    changes : tuple of Change
        The header fields that it wrote other values to.
    notes : tuple of Change
        The fields of the packet's record that it set for later stages, as "next_hop".
    tables : tuple of Change
        The cells of its tables that it changed, as "seen[0].packets"; of a table of which it changed more than 4 rows
        only how many.
    outcome : str
        The verdict's name; the drop reason if the packet is dropped.
    target : str
        The next stage, or the leaf at which the packet left the path.
    frame : bytes
        The packet afterwards, from the header at hand of the next stage, or from its first byte if it left.
    header : str
        The kind of that header, as of `scout.paths.wire.decode.decode`; "data" if it is unknown.
    is_drop : bool
        True if the packet is dropped here.
    awaits : str
        The thing that the packet waits for, as right/10.0.1.2 for a neighbour, if it is held here; else empty.
    verdict : int
        The number that the stage returned.
    """

    stage: str
    function: str
    reads: tuple[str, ...]
    changes: tuple[Change, ...]
    notes: tuple[Change, ...]
    tables: tuple[Change, ...]
    outcome: str
    target: str
    frame: bytes
    header: str
    is_drop: bool
    awaits: str
    verdict: int


class _WatchedBytes(bytearray):
    """The bytes of a frame, which remember what was read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.read: list[slice] = []

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            self.read.append(index)
        return super().__getitem__(index)


class _WatchedFrame(Frame):
    def __init__(self, data: bytes) -> None:
        super().__init__(data, reach=REACH)
        self.data: _WatchedBytes = _WatchedBytes(bytes(self.data))


def trace(path: Path, data: bytes, arrays: Mapping[int, np.ndarray] | None = None, **fields: int) -> Iterator[Step]:
    """Send one frame through a path as plain Python, and tell of each stage what it did.

    The packets that stages make for it follow.

    Parameters
    ----------
    path : Path
    data : bytes
        The frame as received.
    arrays : mapping of int to numpy.ndarray, optional
        The state that stages work on, by the `id` of the table; by default that of the tables before a start. It stays
        as the packet has left it.
    **fields
        Fields of the packet's record, such as `timestamp` (nanoseconds since 1970).

    Yields
    ------
    Step
        The stages in the order in which the packet went through them.

    Raises
    ------
    ScoutError
        If a stage fails; names it, its file and line.

    Examples
    --------
    ::

        for step in trace(path, frame):
            print(step.stage, *map(str, step.changes), step.target)
    """
    arrays = arrays or {}
    with started(path, data):
        yield from _steps(path, data, arrays, fields)
        for begin in emissions(path, arrays):
            yield from _steps(path, bytes(REACH), arrays, fields | {"at": begin})


def _steps(path: Path, data: bytes, arrays: Mapping[int, np.ndarray], fields: Mapping[str, int]) -> Iterator[Step]:
    frame = _WatchedFrame(data)
    before = _State(path, frame, {}, arrays)
    for visit in visits(path, frame, fields, arrays):
        after = _State(path, frame, _notes_of(visit), arrays)
        yield _step(path, visit, before, after)
        before = after
        frame.data.read.clear()


def _notes_of(visit: Visit) -> dict[str, int]:
    """The notes that the packet's record has now."""
    # The field of a held packet's destination says what the packet waits for.
    return {name: getattr(visit.packet, name) for name in NOTES if not (visit.is_held and name == "destination")}


def _router(path: Path, visit: Visit) -> Router:
    return path.router_graph.router(path.nodes[visit.block.node]["router"])


class _State:
    """A packet and the tables of its path at one moment."""

    def __init__(self, path: Path, frame: Frame, notes: Mapping[str, int], arrays: Mapping[int, np.ndarray]) -> None:
        self.data = bytes(frame.data)
        self.notes = dict(notes)
        self.tables = {
            id(table): arrays.get(id(table), table.initial).copy()
            for table in path.tables
            if table.kind != "constant" and table.initial.nbytes <= _MOST_BYTES
        }


def _step(path: Path, visit: Visit, before: _State, after: _State) -> Step:
    frame, edge, block = visit.frame, visit.edge, visit.block
    read = list(frame.data.read)  # type: ignore[attr-defined]
    return Step(
        stage=block.node,
        function=", ".join(map(at, written(block.stage.function))),
        reads=_reads(_fields(before.data, visit), read),
        changes=_changes(visit, before.data, after.data),
        notes=_notes(before.notes, after.notes),
        tables=_tables(block.stage, before, after),
        outcome=edge.label if edge else visit.leaf.rpartition(" ")[2],
        target=visit.leaf or (edge.target if edge else ""),
        frame=after.data[frame.start :],
        header=_header(after.data, frame.start),
        is_drop=visit.is_unknown or (edge is not None and edge.verdict < 0),
        awaits=_router(path, visit).awaited(visit.packet.awaited) if visit.is_held else "",
        verdict=int(visit.verdict),
    )


def _fields(data: bytes, visit: Visit) -> list[Field]:
    """The fields from the header on that a stage works on."""
    return decode(data, _header(data, visit.start), visit.start)


def _header(data: bytes, start: int) -> str:
    """The kind of a header: the first of the frame as received is Ethernet's, others are found by their bytes."""
    if start == HEADROOM:
        return "ethernet"
    if data[start : start + 6] == _ARP:
        return "arp"
    if len(data) >= start + ipv4.HEADER and data[start] >> 4 == 4:
        total = int.from_bytes(data[start + ipv4.TOTAL_LENGTH : start + ipv4.TOTAL_LENGTH + 2], "big")
        if ipv4.HEADER <= total <= len(data) - start:
            return "ipv4"
    if data[start + ethernet.ETHERTYPE : start + ethernet.HEADER] in _ETHERTYPES:
        return "ethernet"
    return "data"


def _reads(fields: list[Field], read: list[slice]) -> tuple[str, ...]:
    touched = [each for each in fields if any(span.start < each.stop and each.start < span.stop for span in read)]
    found: list[str] = []
    for header in dict.fromkeys(each.header for each in touched):
        own = [each for each in touched if each.header == header]
        all_of_it = len(own) > 1 and own == [each for each in fields if each.header == header]
        found += [f"{header}.*"] if all_of_it else [each.label for each in own]
    return tuple(found)


def _changes(visit: Visit, before: bytes, after: bytes) -> tuple[Change, ...]:
    # The Ethernet header is put back to where it was; any other header that a stage pushes is new.
    new = visit.start if visit.start == HEADROOM else visit.start + visit.block.stage.push
    found = []
    for field in _fields(after, visit):
        if before[field.start : field.stop] != after[field.start : field.stop]:
            was_there = field.start >= new and field.stop <= len(before)
            found.append(Change(field.label, field.text(before) if was_there else "", field.text(after)))
    return tuple(found)


def _notes(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[Change, ...]:
    return tuple(Change(name, "", _note(name, value)) for name, value in after.items() if before.get(name, 0) != value)


def _note(name: str, value: int) -> str:
    if name == "destination" and 0 <= value < 1 << 48:
        return mac_text(value)
    if name == "error":
        return error_text(value)
    return hex(value) if name == "ethertype" else str(value)


def _tables(stage: Stage, before: _State, after: _State) -> tuple[Change, ...]:
    found: list[Change] = []
    for name, table in stage.tables.items():
        if id(table) in after.tables:
            found += _cells(name, before.tables[id(table)], after.tables[id(table)])
    return tuple(found)


def _cells(name: str, before: np.ndarray, after: np.ndarray) -> list[Change]:
    """The cells of a table that differ, those of a record by field; of more than a few rows only how many."""
    places = np.argwhere(before != after).tolist()
    rows = len({place[0] for place in places})
    if rows > _MOST_ROWS:
        return [Change(name, "", f"{rows} rows")]
    found = []
    for place in places:
        cell, index = name + "".join(f"[{each}]" for each in place), tuple(place)
        if not before.dtype.names:
            found.append(Change(cell, str(before[index]), str(after[index])))
        for field in before.dtype.names or ():
            one, other = before[index][field], after[index][field]
            if np.any(one != other):
                found.append(Change(f"{cell}.{field}", *(" ".join(str(each).split()) for each in (one, other))))
    return found
