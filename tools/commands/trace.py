"""`scout trace`: frames through a router file's path, stage by stage, as plain Python. No interface is opened."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from rich import box
from rich.table import Table

from scout.io.ports.pcap_file import read_pcap
from scout.loader import load_router
from scout.paths.compiler.trace import Step, trace
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.paths.protocols.arp import Arp
from scout.paths.wire.decode import decode
from scout.ring.errors import ScoutError
from scout.tools.lessons import router_file
from scout.tools.module_docs import meaning
from scout.tools.report import Report

__all__ = ["Frames", "run"]


class Frames(NamedTuple):
    """Where the frames come from: just one of these is given."""

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
            raise ScoutError("give the frames by one of --hex, --pcap and --scapy")
        if self.hex is not None:
            return iter([(0, _from_hex(self.hex))])
        if self.pcap is not None:
            return read_pcap(self.pcap)
        return iter([(0, frame) for frame in _from_scapy(str(self.scapy))])


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError as error:
        raise ScoutError(f"--hex: {error}; give the bytes of a frame as hexadecimal digits") from error


def _from_scapy(expression: str) -> list[bytes]:
    """The frames of a Scapy expression, as `Ether()/IP(dst="10.0.1.2")/UDP()`."""
    try:
        import scapy.all
    except ImportError as error:
        raise ScoutError("--scapy: Scapy is not installed; pip install scapy, or use --hex or --pcap") from error
    try:
        packets = eval(expression, vars(scapy.all).copy())
        if isinstance(packets, scapy.all.Packet):
            packets = list(packets)  # one packet for each value of fields that are sets
        return [bytes(packet) for packet in packets]
    except Exception as error:  # whatever an expression of the user raises
        raise ScoutError(f"--scapy {expression}: {type(error).__name__}: {error}") from error


def run(
    file: str, source: str | None, frames: Frames, neighbours: Sequence[str], count: int, json_path: str | None
) -> None:
    """Trace frames that come in at port `source` of a router file.

    Raises
    ------
    ScoutError
        If there is no such path, or the frames or neighbours make no sense.
    """
    found = list(islice(frames.read(), count + 1))
    graph, paths = load_router(router_file(file))
    path = _path(file, paths, source)
    for neighbour in neighbours:
        _pin(graph, neighbour)
    report = Report("trace", json_path)
    rows: list[dict[str, Any]] = []
    for number, (timestamp, frame) in enumerate(found[:count], 1):
        steps = list(trace(path, frame, timestamp=timestamp))
        _show(report, path, number, frame, steps)
        rows += [_row(path, number, step) for step in steps]
    if len(found) > count:
        report.say(f"There are more than {count} frames; --count shows more.")
    report.write({"file": file, "from": path.source, "neighbours": list(neighbours)}, rows)


def _path(file: str, paths: Sequence[Path], source: str | None) -> Path:
    names = ", ".join(path.source for path in paths)
    for path in paths:
        if path.source == source or (source is None and len(paths) == 1):
            return path
    if source is None:
        raise ScoutError(
            f"{file}: name the port that the frames come from, as --from {paths[0].source}; there are {names}"
        )
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


def _show(report: Report, path: Path, number: int, frame: bytes, steps: Sequence[Step]) -> None:
    """Print one frame's way for people."""
    report.say(f"frame {number}: {len(frame)} bytes at port {path.source}", *_headers(frame))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), expand=False)
    for title in ("stage", "reads", "changes", "goes on to"):
        table.add_column(title, overflow="fold")
    for step in steps:
        changes = [
            *map(str, step.changes),
            *(f"[{note}]" for note in step.notes),
            *(f"({each})" for each in step.tables),
        ]
        table.add_row(
            f"{step.stage}\n{step.function}",
            "\n".join(step.reads),
            "\n".join(text.replace("[", "\\[") for text in changes),
            f"{step.target}\n{step.outcome}",
        )
    if not report.console.is_terminal:
        report.console.width = 160
    report.console.print(table)
    last = steps[-1]
    why = meaning(path, last.stage, last.outcome) if last.is_drop else ""
    report.say(*([f"dropped at {last.stage}: {last.outcome}{': ' if why else ''}{why}"] if last.is_drop else []))
    if last.target == f"{last.stage} holds":
        report.say(f"held at {last.stage} until its next hop is known: --neighbour PORT/ADDRESS=MAC makes it known")
    if last.target.startswith("to "):
        report.say(f"leaves {last.target}: {len(last.frame)} bytes", *_headers(last.frame))
    report.say("")


def _headers(frame: bytes) -> list[str]:
    """A line for each header of a frame."""
    fields = decode(frame)
    lines = []
    for header in dict.fromkeys(field.header for field in fields):
        values = [f"{field.name} {field.text(frame)}" for field in fields if field.header == header]
        lines.append(f"  {header}: {', '.join(values)}")
    return lines


def _row(path: Path, number: int, step: Step) -> dict[str, Any]:
    return {
        "name": step.stage,
        "frame": number,
        "function": step.function,
        "reads": ", ".join(step.reads),
        "changes": ", ".join(map(str, step.changes)),
        "notes": ", ".join(map(str, step.notes)),
        "tables": ", ".join(map(str, step.tables)),
        "outcome": step.outcome,
        "target": step.target,
        "dropped": step.is_drop,
        "meaning": meaning(path, step.stage, step.outcome) if step.is_drop else "",
        "hex": step.frame.hex(),
    }
