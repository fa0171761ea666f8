"""`scout rates`: packet rates of interfaces, live."""

import json
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from time import monotonic, time
from typing import Any

import psutil
from rich import box
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scout.io.host.names import LAB_NETNS
from scout.io.host.namespace import entered
from scout.ring.errors import ScoutError
from scout.tools import namespaces as named
from scout.tools.figures import short, ticks
from scout.tools.report import Report

__all__ = ["Meter", "run", "table"]

# Key of a row: psutil's counter, and the units of the rate that one count stands for.
RATES = {
    "rx_pps": ("packets_recv", 1),
    "tx_pps": ("packets_sent", 1),
    "rx_bps": ("bytes_recv", 8),
    "tx_bps": ("bytes_sent", 8),
    "rx_drops_per_s": ("dropin", 1),
    "tx_drops_per_s": ("dropout", 1),
    "rx_errors_per_s": ("errin", 1),
    "tx_errors_per_s": ("errout", 1),
}


class Meter:
    """Rates of interfaces since the last sample, in one namespace or several at once.

    Parameters
    ----------
    interfaces : sequence of str
        The interfaces to measure; all when empty.
    namespaces : sequence of str
        Names in /run/netns; of a lab's namespace also the part after the process: `demo-left`. The
        calling thread's own namespace when empty.

    Raises
    ------
    ScoutError
        If an interface or a namespace does not exist; the message names those that do.
    """

    def __init__(self, interfaces: Sequence[str] = (), namespaces: Sequence[str] = ()) -> None:
        self._interfaces = interfaces
        self._namespaces: list[tuple[str | None, str | None]] = [(name, named.kernel_name(name)) for name in namespaces]
        self._namespaces = self._namespaces or [(None, None)]
        self._last = {name: _counters(kernel_name) for name, kernel_name in self._namespaces}
        present = sorted({interface for _, counters in self._last.values() for interface in counters})
        for interface in interfaces:
            if interface not in present:
                place = f"namespace {', '.join(namespaces)}" if namespaces else "this namespace"
                raise ScoutError(f"interface {interface}: not in {place}; there are: {', '.join(present)}")

    def sample(self) -> list[dict[str, Any]]:
        """Measure from the last sample, or from when the meter was made, to now.

        Returns
        -------
        list of dict
            One flat row per interface: `namespace` (None for the thread's own), `interface`, and in each
            direction `rx_pps` (packets a second), `rx_bps` (bits a second, of whole Ethernet frames),
            `rx_drops_per_s` and `rx_errors_per_s`, likewise `tx_…`. An interface that came since the
            last sample is in the next one.

        Raises
        ------
        ScoutError
            If a namespace is gone.
        """
        rows = []
        for name, kernel_name in self._namespaces:
            then, before = self._last[name]
            now, after = self._last[name] = _counters(kernel_name)
            for interface, counters in after.items():
                if interface not in before or (self._interfaces and interface not in self._interfaces):
                    continue
                row: dict[str, Any] = {"namespace": name, "interface": interface}
                for key, (counter, weight) in RATES.items():
                    # An interface that was removed and made again counts from zero.
                    moved = max(0, getattr(counters, counter) - getattr(before[interface], counter))
                    row[key] = round(moved * weight / (now - then), 3)
                rows.append(row)
        return rows


def table(rows: list[dict[str, Any]]) -> Table:
    """Show what `Meter.sample` returned as a table for a terminal of 80 columns."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    if any(row["namespace"] for row in rows):
        shown.add_column("namespace")
    shown.add_column("interface")
    for heading in ("in\npps", "out\npps", "in\nbit/s", "out\nbit/s", "drops\n/s", "errors\n/s"):
        shown.add_column(heading, justify="right")
    for row in rows:
        place = [LAB_NETNS.sub("", row["namespace"])] if row["namespace"] else []
        good = [row[key] for key in ("rx_pps", "tx_pps", "rx_bps", "tx_bps")]
        bad = [row[f"rx_{what}_per_s"] + row[f"tx_{what}_per_s"] for what in ("drops", "errors")]
        shown.add_row(
            *(Text(name) for name in (*place, row["interface"])),
            *(Text(short(value)) for value in good),
            *(Text(short(value), style="bold red" if value else "") for value in bad),
        )
    return shown


def run(
    interfaces: Sequence[str],
    netns: Sequence[str],
    interval: float,
    count: int | None = None,
    json_path: str | None = None,
) -> None:
    """Show rates until interrupted: a live table on a terminal, one JSON line per interval in a pipe.

    Parameters
    ----------
    interfaces, netns : sequence of str
        As for `Meter`.
    interval : float
        Seconds between two measurements.
    count : int, optional
        How many measurements; no end by default.
    json_path : str, optional
        Where to write all measurements as one report when they end. With `-`, nothing else goes to standard output.
    """
    if interval <= 0:
        raise ScoutError(f"--interval {interval:g}: use a number of seconds above 0")
    report = Report("rates", json_path)
    meter = Meter(interfaces, netns)
    console = report.console
    kept: list[dict[str, Any]] = []
    with suppress(KeyboardInterrupt):
        live = Live(table([]), console=console, auto_refresh=False) if console.is_terminal else None
        with live or nullcontext():
            for _ in ticks(interval, count):
                stamp, rows = round(time(), 3), meter.sample()
                if json_path:
                    kept += [{"time_s": stamp, **row} for row in rows]
                if live is not None:
                    live.update(table(rows), refresh=True)
                elif json_path != "-":
                    print(json.dumps({"time_s": stamp, "results": rows}), flush=True)
    report.write({"interval_s": interval}, kept)


def _counters(kernel_name: str | None) -> tuple[float, dict[str, Any]]:
    """The time (monotonic, in s), and psutil's counters of each interface at that time."""
    with nullcontext() if kernel_name is None else entered(kernel_name):
        # /proc/net is that of the process's first thread, and labs move single threads to another namespace.
        usual, psutil.PROCFS_PATH = psutil.PROCFS_PATH, "/proc/thread-self"
        try:
            return monotonic(), psutil.net_io_counters(pernic=True, nowrap=False)
        finally:
            psutil.PROCFS_PATH = usual
