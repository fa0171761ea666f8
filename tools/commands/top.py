"""`scout top`: what a running router does, live, read through its control socket."""

import json
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scout.control_socket.client import ask, find
from scout.ring.errors import ScoutError
from scout.tools.figures import short, ticks
from scout.tools.report import Report

__all__ = ["rates", "run", "screen"]

_COUNTED = {
    "port": {"received": "rx_pps", "sent": "tx_pps", "made_here": "made_pps", "not_sent": "not_sent_pps"},
    "path": {"packets": "pps", "dropped": "dropped_pps", "bytes": "bytes_per_s", "busy_s": "busy_percent"},
    "edge": {"packets": "pps"},
    "queue": {
        "served": "pps",
        "full": "full_pps",
        "crowded": "crowded_pps",
        "throttled": "throttled_pps",
        "late": "late_pps",
        "busy_s": "busy_percent",
    },
    "drop": {"packets": "pps"},
    "replica": {"primary": "primary_pps", "seen": "seen_pps", "replayed": "replayed_pps", "cpu_s": "cpu_percent"},
    "channel": {"position": "requests_per_s"},
    "latency": {"packets": "pps"},
}
"""By the kind of row: its counts, and what the rate of each is called."""

_KEYS = ("port", "path", "from", "to", "reason", "channel", "replica", "below_us")
"""The keys by which a row is found again."""

_QUEUE = {"waiting": "waiting", "pps": "pps", "full pps": "full_pps", "late pps": "late_pps", "CPU %": "busy_percent"}
"""The figures of a path's queue, by their headings."""

_PATH = {
    "pps": "pps",
    "dropped pps": "dropped_pps",
    "bytes/s": "bytes_per_s",
    "CPU %": "busy_percent",
    "waiting": "waiting",
}
"""The figures of a path, by their headings."""

_PERCENTILES = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "max_us": 1.0}
"""The figures of the latencies of a replica's packets, and how many packets took no longer."""

_BUSIEST = 12  # the screen shows the busiest paths and edges, so many of them


def rates(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """The rates between two answers to "show figures".

    Returns
    -------
    list of dict
        The rows of `after`, each with the rates of its counts: packets a second (`pps`), and the percentage of a core.
        The rate of what is not counted, as the bytes of a path that is not accounted for, is None as its count is.
        A replica's row has the percentiles of its packets' latencies, None if it sent none.
    """
    span = after["time_s"] - before["time_s"]
    known = {_key(row): row for row in before["rows"]}
    rows = []
    for row in after["rows"]:
        made, earlier = dict(row), known.get(_key(row), {})
        if earlier.get("pid") != row.get("pid"):
            earlier = earlier | {"cpu_s": 0.0}  # a successor's process counts its CPU time from zero
        for count, rate in _COUNTED[row["name"]].items():
            weight = 100.0 if rate.endswith("_percent") else 1.0
            moved = None if row[count] is None else row[count] - (earlier.get(count) or 0)
            made[rate] = None if moved is None else round(max(0.0, moved * weight / span), 3)
        rows.append(made)
    latencies = [row for row in rows if row["name"] == "latency"]
    rows = [row for row in rows if row["name"] != "latency"]
    for row in rows:
        if row["name"] == "replica":
            row |= _percentiles([each for each in latencies if each["replica"] == row["replica"]])
    return rows


def _percentiles(bins: list[dict[str, Any]]) -> dict[str, float | None]:
    """The percentiles of latencies, each the end of the bin in which it is; bins are in ascending order."""
    total = sum(each["pps"] for each in bins)
    found: dict[str, float | None] = {}
    for name, part in _PERCENTILES.items():
        left = part * total * (1 - 1e-9)
        found[name] = None
        for each in bins if total else ():
            left -= each["pps"]
            if left <= 0:
                found[name] = each["below_us"]
                break
    return found


def run(interval: float, once: bool, json_path: str | None, socket: str | None) -> None:
    """Show rates until interrupted: a live screen on a terminal, one JSON line an interval in a pipe.

    Parameters
    ----------
    interval : float
        Seconds between two measurements.
    once : bool
        Measure one interval only.
    json_path : str or None
        Where to write all measurements as one report when they end. With `-`, nothing else goes to standard output.
    socket : str or None
        The router's control socket; that of the only router that runs if None.
    """
    report = Report("top", json_path)
    path = socket or find()
    router = ask(path, "show router")["rows"][0]
    last, kept = ask(path, "show figures"), []
    console = report.console
    with suppress(KeyboardInterrupt):
        live = Live(Text("measuring …"), console=console, screen=not once) if console.is_terminal else None
        with live or nullcontext():
            for _ in ticks(interval, 1 if once else None):
                try:
                    now = ask(path, "show figures")
                except ScoutError as error:
                    report.note(f"the measurement ends: {error}")
                    break
                rows, last = rates(last, now), now
                if json_path:
                    kept += [{"time_s": now["time_s"], **row} for row in rows]
                if live is not None:
                    live.update(screen(router, rows), refresh=True)
                elif json_path != "-":
                    print(json.dumps({"time_s": now["time_s"], "results": rows}), flush=True)
    report.write({"interval_s": interval, "router": router["router"], "file": router["file"]}, kept)


def screen(router: dict[str, Any], rows: list[dict[str, Any]]) -> RenderableType:
    """Show the rows that `rates` returned, for a terminal of 80 columns."""
    of = {name: [row for row in rows if row["name"] == name] for name in _COUNTED}
    paths, edges = (_busiest(of[name]) for name in ("path", "edge"))
    lags = {(row["replica"], row["channel"]): row["lag"] for row in of["channel"]}
    for row in of["replica"]:
        row["lags"] = " ".join(f"{lag:,}" for (replica, _), lag in lags.items() if replica == row["replica"])
    return Group(
        Text(f"{router['router']}, process {router['pid']}: {router['file']}", overflow="fold"),
        _table(of["port"], ("port", "state"), {"in pps": "rx_pps", "out pps": "tx_pps", "not sent": "not_sent_pps"}),
        _table(
            of["replica"],
            ("replica", "pid", "core", "state", "lags"),
            {"primary pps": "primary_pps", "seen pps": "seen_pps", "CPU %": "cpu_percent"},
        ),
        _table(of["replica"], ("replica",), {f"latency {key}".replace("_us", ", µs"): key for key in _PERCENTILES}),
        _table(paths, ("path",), _PATH),
        *([_table(of["queue"], ("path", "places"), _QUEUE)] if of["queue"] else []),
        _table(edges, ("path", "from", "to"), {"pps": "pps"}),
        _table([row for row in of["drop"] if row["packets"]], ("reason", "meaning"), {"pps": "pps", "all": "packets"}),
    )


def _table(rows: Iterable[dict[str, Any]], words: Iterable[str], figures: dict[str, str]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for word in words:
        shown.add_column(word, overflow="fold")
    for heading in figures:
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        values = (row[key] for key in figures.values())
        shown.add_row(
            *(Text(str(row[word])) for word in words),
            *(Text("" if value is None else short(value)) for value in values),
        )
    return shown


def _busiest(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    used = [row for row in rows if row["pps"] > 0 or row.get("dropped_pps", 0) > 0]
    return sorted(used, key=lambda row: row["pps"], reverse=True)[:_BUSIEST]


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["name"], *(row.get(key) for key in _KEYS))
