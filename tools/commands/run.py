"""`scout run`: a router file at work until it is interrupted, or its inputs are at their end.

SIGHUP has it reload the router file, as it has other daemons do. It is also what processes get whose terminal is
closed: then the router ends.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.table import Table

from scout.accounts import account_rows
from scout.control_socket.server import ControlSocket
from scout.loader import load_router
from scout.reports import compiling
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.tools.lessons import router_file
from scout.tools.report import Report

__all__ = ["run"]

_EXPLAINED = {
    "not-for-us": "sent to MAC addresses that no port has; for a capture, give the port that of the machine that "
    "recorded it: PcapPort(..., mac=...)",
}
"""Drop reasons that a beginner meets first, each with what to do."""


_INTERVAL = 0.2  # seconds between two looks whether the router is to stop, or to be reloaded


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
    with socket, supervisor:
        try:
            ports = ", ".join(f"{name} ({supervisor.port(name)!r})" for name in graph.ports)
            with _hangups() as hangup:
                report.note(f"ready: {graph.name} on {ports}, {supervisor.replicas} replicas; Ctrl-C stops it")
                while not supervisor.wait(_INTERVAL) and not stopped.is_set():
                    if hangup.is_set():
                        hangup.clear()
                        _reload(supervisor, file, report)
        except KeyboardInterrupt:
            pass
    account = supervisor.account()
    _show(report.console, account)
    rows = account_rows(account) + [{"name": "replica", **figures} for figures in supervisor.replica_figures()]
    report.write({"file": file, "replicas": supervisor.replicas}, rows)
    return 1 if supervisor.failures else 0


@contextmanager
def _hangups() -> Iterator[threading.Event]:
    """Have SIGHUP set an event, or interrupt if it came because the terminal was closed; under nohup it is ignored."""
    came, before, had_terminal = threading.Event(), signal.getsignal(signal.SIGHUP), _has_terminal()

    def hang_up(number: int, frame: Any) -> None:
        if had_terminal and not _has_terminal():
            raise KeyboardInterrupt
        came.set()

    if before != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, hang_up)
    try:
        yield came
    finally:
        signal.signal(signal.SIGHUP, before)


def _has_terminal() -> bool:
    """True if this process has a controlling terminal: one that was closed is none."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _reload(supervisor: Supervisor, file: str, report: Report) -> None:
    """Make the router like its file, as `scout ctl reload` does; if that cannot be, say why, and change nothing."""
    try:
        changes = supervisor.reload(load_router(file)[1])
    except ScoutError as error:
        report.note(f"not reloaded, and nothing has changed: {error}")
    else:
        report.note(f"reloaded {file}: {'; '.join(each.text for each in changes) or 'it has not changed'}")


def _show(console: Console, account: dict[str, Any]) -> None:
    shown = Table.grid(padding=(0, 2))
    shown.add_row("received", f"{account['received']:,}")
    if "made" in account:
        shown.add_row("made", f"{account['made']:,}", "by stages, for what was received")
    for part, word in (("out", "out"), ("ended", "ended"), ("drops", "dropped")):
        for key, count in sorted(account[part].items()):
            shown.add_row(f"{word} {key}", f"{count:,}", _EXPLAINED.get(key, "") if part == "drops" else "")
    console.print(shown)
