"""`scout run`: a router file at work until it is interrupted, or its inputs are at their end."""

from typing import Any

from rich.console import Console
from rich.table import Table

from scout.loader import load_router
from scout.supervisor import Supervisor
from scout.tools.drawing.live import Published
from scout.tools.lessons import router_file
from scout.tools.report import Report, account_rows

__all__ = ["run"]

_EXPLAINED = {
    "not-for-us": "sent to MAC addresses that no port has; for a capture, give the port that of the machine that "
    "recorded it: PcapPort(..., mac=...)",
}
"""Drop reasons that a beginner meets first, each with what to do."""


def run(file: str, replicas: int | None, json_path: str | None) -> int:
    """Run a router file.

    Parameters
    ----------
    file : str
    replicas : int or None
        How many domains; one per core if None.
    json_path : str or None
        Where to write the account.

    Returns
    -------
    int
        The exit status: 1 if no replica is left, or a process that brings packets died.
    """
    report = Report("run", json_path)
    file = router_file(file)
    graph, paths = load_router(file)
    shared = Published(file)
    supervisor = Supervisor(graph, paths, replicas, progress=lambda what: report.note(f"compiling {what}"))
    with supervisor:
        try:
            shared.update(supervisor)
            ports = ", ".join(f"{name} ({supervisor.port(name)!r})" for name in graph.ports)
            report.note(f"ready: {graph.name} on {ports}, {supervisor.replicas} replicas; Ctrl-C stops it")
            while not supervisor.wait(0.5):
                shared.update(supervisor)
        except KeyboardInterrupt:
            pass
    account = supervisor.account()
    _show(report.console, account)
    rows = account_rows(account) + [{"name": "replica", **figures} for figures in supervisor.replica_figures()]
    report.write({"file": file, "replicas": supervisor.replicas}, rows)
    return 1 if supervisor.failures else 0


def _show(console: Console, account: dict[str, Any]) -> None:
    shown = Table.grid(padding=(0, 2))
    shown.add_row("received", f"{account['received']:,}")
    for part, word in (("out", "out"), ("ended", "ended"), ("drops", "dropped")):
        for key, count in sorted(account[part].items()):
            shown.add_row(f"{word} {key}", f"{count:,}", _EXPLAINED.get(key, "") if part == "drops" else "")
    console.print(shown)
