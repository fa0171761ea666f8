"""The page that `scout bench all` writes: a section for each benchmark, with tables and plots."""

import time
from collections.abc import Iterable, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scout.tools.drawing.plot import Line, Panel, plot
from scout.tools.files import write_file

__all__ = ["Section", "forward_panels", "plot_forward", "tables", "write_page"]

_STYLE = """
body { font: 15px/1.45 sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; }
code { background: #f4f4f4; padding: .1em .3em; }
"""


class Section:
    """The part of the page that is about one benchmark.

    Parameters
    ----------
    name : str
        As in `scout bench NAME`.
    command : str
        The command that was run.
    about : str
        A sentence about the measurement.
    report : dict or None
        Its JSON report; None if it failed.
    picture : str or None
        The plot's file, relative to the page.
    """

    def __init__(self, name: str, command: str, about: str, report: dict[str, Any] | None, picture: str | None) -> None:
        self.name, self.command, self.about, self.report, self.picture = name, command, about, report, picture

    def html(self) -> str:
        """The section as HTML."""
        parts = [f"<h2 id='{self.name}'>{self.name}</h2>", f"<p>{escape(self.about)}</p>"]
        parts.append(f"<p><code>{escape(self.command)}</code></p>")
        if self.report is None:
            return "\n".join([*parts, "<p><strong>It failed; run the command to see why.</strong></p>"])
        if self.picture:
            parts.append(f"<p><img src='{escape(self.picture)}' alt='{self.name}'></p>")
        parts += [_table(rows) for rows in tables(self.report["results"])]
        settings = ", ".join(f"{key} {value}" for key, value in self.report["parameters"].items())
        figures = f"<a href='{self.name}.json'>{self.name}.json</a>"
        return "\n".join([*parts, f"<p>Parameters: {escape(settings)}. Figures: {figures}</p>"])


def tables(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Rows in the order given, those with the same keys together."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return list(groups.values())


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["<table>", _cells("th", rows[0]), *(_cells("td", map(_text, row.values())) for row in rows), "</table>"]
    return "\n".join(lines)


def _cells(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _text(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def write_page(folder: Path, sections: Sequence[Section], machine: dict[str, Any]) -> Path:
    """Write index.html; its path.

    Parameters
    ----------
    folder : pathlib.Path
    sections : sequence of Section
    machine : dict
        As in the reports.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    cores = f"{machine['cpus']} core{'s' if machine['cpus'] != 1 else ''}"
    software = f"Linux {machine['kernel']}, Python {machine['python']}, numba {machine['numba']}"
    head = [
        "<!doctype html>",
        "<html lang='en'><head><meta charset='utf-8'><title>Scout benchmarks</title>",
        f"<style>{_STYLE}</style></head><body>",
        "<h1>Scout benchmarks</h1>",
        f"<p>Scout {version('scout-paths')} on {escape(machine['model'])}, {cores}; {escape(software)}; "
        f"{time.strftime('%Y-%m-%d %H:%M %Z')}. Each benchmark measures all contenders in turn, in several rounds; "
        "compare ratios, not figures of different machines.</p>",
    ]
    file = folder / "index.html"
    text = "\n".join([*head, *(section.html() for section in sections), "</body></html>", ""])
    write_file(str(file), text.encode())
    return file


def plot_forward(path: str, rows: Sequence[dict[str, Any]]) -> None:
    """Plot the rows of `scout bench forward`."""
    plot(path, "Forwarding", forward_panels(rows))


def forward_panels(rows: Sequence[dict[str, Any]]) -> list[Panel]:
    """A panel for each measure of which there are rows: floods, loss-free rates, latency, TCP."""
    floods = [row for row in rows if "flows" in row and "load" not in row]
    loss_free = [row for row in rows if row.get("load") == "loss-free"]
    pings = [
        row | {"load": f"{row['load']}, {part}", "us": row[key]}
        for part, key in _PERCENTILES
        for row in rows
        if key in row
    ]
    tcp = [row for row in rows if row.get("load") == "tcp"]
    panels = [
        _panel("saturated", "frames a second", floods, _load, "pps_median"),
        _panel("loss-free", "frames a second", loss_free, _load, "pps_median"),
        _panel("round-trip time", "µs", pings, lambda row: str(row["load"]), "us", base=10),
        _panel("TCP", "Gbit/s", tcp, lambda row: f"{row['connections']}", "gbps_median", "connections"),
    ]
    return [panel for panel in panels if panel.lines]


_PERCENTILES = (("median", "us_p50"), ("99 %", "us_p99"))


def _load(row: dict[str, Any]) -> str:
    return f"{row['flows']:,}\n{row['frame_bytes']}"


def _panel(
    title: str, unit: str, rows: Sequence[dict[str, Any]], label: Any, key: str, axis: str = "", base: int = 0
) -> Panel:
    """One point for each row: a place on the x axis for each label, a marker for each contender."""
    places = {name: 2**index for index, name in enumerate(dict.fromkeys(map(label, rows)))}
    lines = []
    for style, who in enumerate(dict.fromkeys((row["name"], row["replicas"]) for row in rows)):
        own = [row for row in rows if (row["name"], row["replicas"]) == who]
        name = f"{who[0]}, {who[1]} replica{'s' if who[1] > 1 else ''}" if who[1] else who[0]
        lines.append(Line(name, [places[label(row)] for row in own], [row[key] for row in own], style, joined=False))
    axis = axis or ("flows, bytes of a frame" if rows and "flows" in rows[0] else "")
    return Panel(title, axis, unit, [(place, name) for name, place in places.items()], lines, base=base)
