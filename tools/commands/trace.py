"""`scout trace`: packets stage by stage. Frames go through a router file, or a running router is tapped."""

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from scout.control_socket.client import ask, find
from scout.io.ports.pcap_file import read_pcap
from scout.loader import load_router
from scout.paths.compiler.trace import trace
from scout.paths.demux.plain import find_path
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.protocols.arp import Arp
from scout.paths.wire.decode import decode
from scout.ring.errors import ScoutError
from scout.tools.capture import LINKS, UNKNOWN, capture
from scout.tools.files import write_file
from scout.tools.lessons import router_file
from scout.tools.report import Report
from scout.trace_rows import trace_rows

__all__ = ["Frames", "Picked", "Way", "run"]

_PATIENCE = 10.0  # seconds that a router may answer later than it was given to wait for packets


class Frames(NamedTuple):
    """Frames that are given: just one of these."""

    hex: str | None
    pcap: str | None
    scapy: str | None

    def read(self) -> Iterator[tuple[int, bytes]]:
        """The frames and their times, nanoseconds since 1970 (0 where they have none).

        Raises
        ------
        ScoutError
            If it is not just one, or they cannot be read.
        """
        if sum(value is not None for value in self) != 1:
            raise ScoutError("give the frames by one of --hex, --pcap and --scapy, or have them picked by --live")
        if self.hex is not None:
            return iter([(0, _from_hex(self.hex))])
        if self.pcap is not None:
            return read_pcap(self.pcap)
        return iter([(0, frame) for frame in _from_scapy(str(self.scapy))])


class Picked(NamedTuple):
    """Packets that a running router receives, if `live`: those with all of the rest, which its control socket takes."""

    live: bool
    host: str | None
    port: int | None
    proto: str | None
    reason: str | None
    seconds: int
    socket: str | None


class Way(NamedTuple):
    """The port where packets come in, the neighbours that are known beforehand, and how many packets to follow."""

    source: str | None
    neighbours: Sequence[str]
    most: int


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError as error:
        raise ScoutError(f"--hex {text}: give the bytes of a frame, each as two hexadecimal digits") from error


def _from_scapy(expression: str) -> list[bytes]:
    """The frames of a Scapy expression, as `Ether()/IP(dst="10.0.1.2")/UDP()`."""
    try:
        import scapy.all
    except ImportError as error:
        fix = f"{sys.executable} -m pip install scapy"
        raise ScoutError(f"--scapy: Scapy is not installed; run {fix}, or use --hex or --pcap") from error
    try:
        packets = eval(expression, vars(scapy.all).copy())
        if isinstance(packets, scapy.all.Packet):
            packets = list(packets)  # one packet for each value of fields that are sets
        return [bytes(packet) for packet in packets]
    except Exception as error:  # whatever an expression of the user raises
        raise ScoutError(f"--scapy {expression}: {type(error).__name__}: {error}") from error


def run(
    file: str, way: Way, frames: Frames, picked: Picked, brief: bool, pcapng: str | None, json_path: str | None
) -> None:
    """Trace frames that are given through a router file; or packets of the router that runs it.

    `brief`: print one line a frame.

    Raises
    ------
    ScoutError
        If there is no such path, the frames or neighbours make no sense, or no router runs.
    """
    report = Report("trace", json_path)
    rows = _live(file, way, frames, picked) if picked.live else _given(file, way, frames, picked, report)
    for _, of_frame in groupby(rows, key=lambda row: row["frame"]):
        received, *steps = of_frame
        if brief:
            report.say(f"{_received(received)}: {_end(steps[-1], picked.live)}")
        else:
            _show(report, received, steps, picked.live)
    if not rows:
        report.say("no such packet came")
    if pcapng:
        write_file(pcapng, capture(map(_seen, rows)))
    report.write({"file": file, "from": way.source, "neighbours": list(way.neighbours)}, rows)


def _given(file: str, way: Way, frames: Frames, picked: Picked, report: Report) -> list[dict[str, Any]]:
    if any(value is not None for value in (picked.host, picked.port, picked.proto, picked.reason, picked.socket)):
        raise ScoutError("--host, --port, --proto, --reason and --socket pick packets of a running router; add --live")
    found = list(islice(frames.read(), way.most + 1))
    graph, paths = load_router(router_file(file))
    beginning = _paths(file, paths, way.source)
    for neighbour in way.neighbours:
        _pin(graph, neighbour)
    if len(found) > way.most:
        report.say(f"There are more than {way.most} frames; --count shows more.")
    rows: list[dict[str, Any]] = []
    for number, (timestamp, frame) in enumerate(found[: way.most], 1):
        path = find_path(beginning, frame)
        if path is None:
            raise ScoutError(f"frame {number}: no path from {beginning[0].source} takes it (no-path)")
        rows += trace_rows(path, number, timestamp, frame, list(trace(path, frame, timestamp=timestamp)))
    return rows


def _live(file: str, way: Way, frames: Frames, picked: Picked) -> list[dict[str, Any]]:
    if any(value is not None for value in frames) or way.neighbours:
        raise ScoutError("--live picks packets of a running router; leave --hex, --pcap, --scapy and --neighbour out")
    if way.source is None:
        raise ScoutError("name the port that the packets come from, as --from left")
    given = {"source": way.source, "count": way.most, **picked._asdict()}
    del given["live"]
    socket = given.pop("socket") or find(router_file(file))
    wanted = {name: value for name, value in given.items() if value is not None}
    rows: list[dict[str, Any]] = ask(socket, "trace", wanted, picked.seconds + _PATIENCE)["rows"]
    return rows


def _paths(file: str, paths: Sequence[Path], source: str | None) -> list[Path]:
    """The paths from a port, by default from the only one at which paths begin."""
    sources = list(dict.fromkeys(path.source for path in paths))
    if source in sources or (source is None and len(sources) == 1):
        return [path for path in paths if path.source == (source or sources[0])]
    names = ", ".join(sources)
    if source is None:
        raise ScoutError(f"{file}: name the port that the frames come from, as --from {sources[0]}; of {names}")
    raise ScoutError(f"--from {source}: {file} has no such path; there are paths from {names}")


def _pin(graph: RouterGraph, neighbour: str) -> None:
    """Make a neighbour known that is given as PORT/ADDRESS=MAC."""
    place, _, mac = neighbour.partition("=")
    port, _, address = place.partition("/")
    resolvers = [router for router in graph.routers if isinstance(router, Arp)]
    if not (port and address and mac):
        raise ScoutError(f"--neighbour {neighbour}: write it as right/10.0.1.2=02:00:00:00:00:0b")
    if not resolvers:
        raise ScoutError(f"--neighbour {neighbour}: the graph has no router that knows neighbours")
    for resolver in resolvers:
        resolver.pin(port, address, mac)


def _received(row: dict[str, Any]) -> str:
    return f"frame {row['frame']}: {len(row['hex']) // 2} bytes at {row['name']}"


def _end(last: dict[str, Any], is_live: bool) -> str:
    """What became of a frame, by the row of its last stage."""
    if last["dropped"]:
        return f"dropped at {last['name']}: {last['outcome']}{': ' if last['meaning'] else ''}{last['meaning']}"
    if last["target"] == f"{last['name']} holds":
        known = f" until {last['awaits']} is known" if last["awaits"] else ""
        fix = f": --neighbour {last['awaits']}=MAC makes it known" if known and not is_live else ""
        return f"held at {last['name']}{known}{fix}"
    if last["target"].startswith("to "):
        return f"leaves {last['target']}: {len(last['hex']) // 2} bytes"
    return f"ends at {last['name']}: {last['target']}"


def _show(report: Report, received: dict[str, Any], steps: Sequence[dict[str, Any]], is_live: bool) -> None:
    """Print one frame's way for people."""
    last = steps[-1]
    report.say(_received(received), *_headers(bytes.fromhex(received["hex"])))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), expand=False)
    for title in ("stage", "reads", "changes", "goes on to"):
        table.add_column(title, overflow="fold")
    for row in steps:
        changes = [*_lines(row["changes"]), *(f"[{note}]" for note in _lines(row["notes"]))]
        changes += [f"({table})" for table in _lines(row["tables"])]
        cells = (f"{row['name']}\n{row['function']}", "\n".join(_lines(row["reads"])), "\n".join(changes))
        # The line below the table says why a packet is dropped.
        table.add_row(*map(Text, cells), Text("dropped" if row["dropped"] else f"{row['target']}\n{row['outcome']}"))
    if not report.console.is_terminal:
        report.console.width = 160
    report.console.print(table)
    leaves = last["target"].startswith("to ")
    report.say(_end(last, is_live), *(_headers(bytes.fromhex(last["hex"])) if leaves else []))
    report.say("")


def _lines(cell: str) -> list[str]:
    return cell.split(", ") if cell else []


def _headers(frame: bytes) -> list[str]:
    """A line for each header of a frame."""
    fields = decode(frame)
    lines = []
    for header in dict.fromkeys(field.header for field in fields):
        values = [f"{field.name} {field.text(frame)}" for field in fields if field.header == header]
        lines.append(f"  {header}: {', '.join(values)}")
    return lines


def _seen(row: dict[str, Any]) -> tuple[str, int, int, bytes]:
    """A row as a packet of a capture, which was seen behind its stage."""
    return row["name"], LINKS.get(row["header"], UNKNOWN), row["timestamp_ns"], bytes.fromhex(row["hex"])
