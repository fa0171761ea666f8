"""`scout run`: a router file at work until it is interrupted, or its inputs are at their end.

It loads the file, plans what is to run (`Supervisor`) and opens the control socket. Entering the supervisor opens the
ports, compiles the paths and starts the replicas. Then it waits, stops everything, and shows the account.
"""

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console
from rich.table import Table

from scout.accounts import account_rows
from scout.control_socket.server import ControlSocket
from scout.loader import load_router
from scout.reports import compiling
from scout.supervisor import Supervisor
from scout.tools.lessons import router_file
from scout.tools.report import Report

__all__ = ["run"]

_EXPLAINED = {
    "not-for-us": "sent to MAC addresses that no port has; for a capture, give the port that of the machine that "
    "recorded it: PcapPort(..., mac=...)",
}
"""Drop reasons that a beginner meets first, each with what to do."""


_INTERVAL = 0.2  # seconds between two looks whether the router is to stop


def run(
    file: str,
    replicas: int | None,
    json_path: str | None,
    control: bool = True,
    control_path: str | None = None,
    most_paths: int | None = None,
    path_schedule: str | None = None,
) -> int:
    """Run a router file.

    Parameters
    ----------
    file : str
    replicas : int or None
        How many domains; one per core if None.
    json_path : str or None
        Where to write the account.
    control : bool
        True if the router has a control socket.
    control_path : str, optional
        Where; by default in the user's runtime directory.
    most_paths : int, optional
        Paths that there may be at a time.
    path_schedule : str, optional
        Which path with a queue is served next: a name of `scout.ring.schedule`.

    Returns
    -------
    int
        The exit status: 1 if no replica is left, or a process that brings packets died.
    """
    report = Report("run", json_path)
    file = router_file(file)
    graph, paths = load_router(file)
    supervisor = Supervisor(
        graph,
        paths,
        replicas,
        progress=lambda part: report.note(compiling(part)),
        most_paths=most_paths,
        path_schedule=path_schedule,
    )
    stopped = threading.Event()
    socket: AbstractContextManager[Any] = nullcontext()
    if control:
        socket = ControlSocket(supervisor, file, control_path, stop=stopped.set)
    with socket, supervisor:  # the socket first: a place that is taken is refused before anything is compiled
        try:
            ports = ", ".join(f"{name} ({supervisor.port(name)!r})" for name in graph.ports)
            report.note(f"ready: {graph.name} on {ports}, {supervisor.replicas} replicas; Ctrl-C stops it")
            while not supervisor.wait(_INTERVAL) and not stopped.is_set():
                pass
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
    if "made" in account:
        shown.add_row("made", f"{account['made']:,}", "by stages, for what was received")
    for part, word in (("out", "out"), ("ended", "ended"), ("drops", "dropped")):
        for key, count in sorted(account[part].items()):
            shown.add_row(f"{word} {key}", f"{count:,}", _EXPLAINED.get(key, "") if part == "drops" else "")
    console.print(shown)
