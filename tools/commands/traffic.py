"""`scout traffic`: sends frames by one interface and accounts for those that arrive at another."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from pyroute2 import IPRoute
from rich.live import Live
from rich.text import Text

from scout.io.host.process import Child, usable_cores
from scout.io.mac import mac_number
from scout.ring.errors import ScoutError
from scout.tools.namespaces import Place, parse_place
from scout.tools.report import Report
from scout.tools.traffic.flood import IMIX, Flood
from scout.tools.traffic.generator import Generator
from scout.tools.traffic.neighbour import address_of, hop_to
from scout.tools.traffic.replay import Replay
from scout.tools.traffic.sink import Sink

__all__ = ["Stream", "run"]

_REFRESH = 0.2  # seconds
_FOR_EVER = 1e9  # seconds


@dataclass(frozen=True)
class Stream:
    """The frames to send.

    Attributes
    ----------
    sizes : list of str
        Bytes of frames, without the check sequence, that follow each other; "imix" stands for several.
    flows : int
    burst : int or None
        Frames of a flow in a row.
    source, destination : str or None
        IPv4 addresses; a destination may be a prefix. By default those of the two interfaces.
    next_hop : str or None
        MAC address; by default the kernel's routes and ARP tell.
    pcap : str or None
        A capture to send in place of all this.
    """

    sizes: list[str]
    flows: int = 1
    burst: int | None = None
    source: str | None = None
    destination: str | None = None
    next_hop: str | None = None
    pcap: str | None = None


def run(
    sender: str | None,
    receiver: str | None,
    stream: Stream,
    pps: float | None,
    seconds: float | None,
    frames: int | None,
    json_path: str | None = None,
) -> int:
    """Send, receive, and print the account.

    Parameters
    ----------
    sender, receiver : str or None
        Interfaces as `eth0` or `namespace/eth0`; one of them may be missing.
    stream : Stream
    pps : float or None
        Frames a second; None for as many as possible.
    seconds : float or None
        How long; None for 3 s, and for a sink alone until interrupted.
    frames : int or None
        How many frames at most.
    json_path : str, optional
        Where to write the figures.

    Returns
    -------
    int
        The exit status: 1 if the generator failed.
    """
    if not sender and not receiver:
        raise ScoutError("traffic: name an interface to send by with --from, to receive from with --to, or both")
    report = Report("traffic", json_path)
    source, target = (parse_place(text) if text else None for text in (sender, receiver))
    generator = _generator(source, target, stream) if source else None
    length = seconds if seconds is not None else 3.0 if generator else _FOR_EVER
    if frames is not None and seconds is None:
        length = _FOR_EVER
    with _sink(target) as sink:
        elapsed, failed = _transfer(report, source, generator, sink, pps, length, frames)
        rows = _rows(generator, sink, elapsed, replayed=bool(stream.pcap))
    report.say(*(_sentence(row) for row in rows))
    parameters = {"from": sender, "to": receiver, "pps": pps, "flows": stream.flows, "burst": stream.burst}
    report.write(parameters | {"frame_bytes": stream.sizes, "pcap": stream.pcap}, rows)
    return int(failed)


def _generator(source: Place, target: Place | None, stream: Stream) -> Generator:
    if stream.pcap:
        return Replay(stream.pcap)
    destination = stream.destination
    if destination is None:
        if target is None:
            raise ScoutError("traffic: name where to send to with --destination, or the far end with --to")
        destination = address_of(target)
    own = stream.source or address_of(source)
    try:
        first = str(next(iter(IPv4Network(destination).hosts())))
    except ValueError as error:
        raise ScoutError(f"--destination {destination}: no IPv4 address or prefix, as 10.2.0.0/24: {error}") from error
    hop = mac_number(stream.next_hop) if stream.next_hop else hop_to(source, first)
    sizes = [size for each in stream.sizes for size in (IMIX if each == "imix" else [int(each)])]
    return Flood(
        sizes[0] if len(sizes) == 1 else sizes,
        own,
        destination,
        _mac_of(source),
        hop,
        flows=stream.flows,
        burst=stream.burst,
    )


def _mac_of(place: Place) -> int:
    with place.entered(), IPRoute() as ip:
        (link,) = ip.link("get", ifname=place.interface)
        return mac_number(link.get("address"))


@contextmanager
def _sink(place: Place | None) -> Iterator[Sink | None]:
    """Open a sink in its namespace."""
    if place is None:
        yield None
        return
    with place.entered():
        sink = Sink(place.interface)
        sink.__enter__()
    try:
        yield sink
    finally:
        sink.__exit__()


def _transfer(
    report: Report,
    source: Place | None,
    generator: Generator | None,
    sink: Sink | None,
    pps: float | None,
    seconds: float,
    frames: int | None,
) -> tuple[float, bool]:
    """Run generator and sink in processes of their own; how long it took, and whether the generator failed."""
    receiving = Child(sink.run) if sink else None
    sending = None
    console = report.console
    start = time.monotonic()
    end = start
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
    try:
        if generator and source:
            with source.entered():
                sending = Child(generator.run, source.interface, seconds, pps, usable_cores()[0], frames, quiet=True)
        with suppress(KeyboardInterrupt), live or nullcontext():
            while sending.is_alive() if sending else time.monotonic() < start + seconds:
                time.sleep(_REFRESH if live else 0.02)
                if live:
                    live.update(Text(_progress(generator, sink, time.monotonic() - start)), refresh=True)
        if generator:
            generator.stop()
        if sending:
            sending.join()
        end = time.monotonic()
        if sink and generator:
            sink.settle(generator.sent)
    finally:
        if sink:
            sink.stop()
        for process in (sending, receiving):
            if process:
                process.terminate()
                process.join()
    failed = sending is not None and sending.exitcode not in (0, None)
    if failed and sending:
        report.note(sending.error.strip().splitlines()[-1])
    elif source and generator and not generator.sent:
        failed = True
        report.note(f"interface {source.interface}: nothing could be sent; is it up?")
    return end - start, failed


def _progress(generator: Generator | None, sink: Sink | None, seconds: float) -> str:
    parts = [f"{seconds:.1f} s"]
    if generator:
        parts.append(f"{generator.sent:,} frames sent")
    if sink:
        parts.append(f"{sink.received:,} received")
    return ", ".join(parts)


def _rows(generator: Generator | None, sink: Sink | None, seconds: float, replayed: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if generator:
        rows.append({"name": "generator", "sent": generator.sent, "refused": generator.refused})
        rows[-1] |= {"seconds": round(seconds, 3), "pps": round(generator.sent / seconds)}
    if sink:
        # Frames of a capture have no sequence numbers: the sink only counts them.
        sent = generator.sent if generator and not replayed else None
        figures = sink.figures(sent)
        rows.append({"name": "sink", **figures, "pps": round((sink.received + sink.other) / seconds)})
    return rows


def _sentence(row: dict[str, Any]) -> str:
    """A row for people: its figures without those that are zero."""
    figures = (f"{value:,} {key.replace('_', ' ')}" for key, value in row.items() if key != "name" and value)
    return f"{row['name']}: {', '.join(figures) or 'nothing'}"
