"""`scout run`: a router file at work until interrupted."""

from typing import Any

from rich.console import Console
from rich.table import Table

from scout.loader import load_router
from scout.supervisor import Supervisor
from scout.tools.drawing.live import publish
from scout.tools.report import write_json

__all__ = ["run"]


def run(file: str, replicas: int | None, json_path: str | None) -> int:
    """Run a router file; the command's exit status: 1 if no replica is left."""
    console = Console(stderr=True)
    graph, paths = load_router(file)
    supervisor = Supervisor(graph, paths, replicas, progress=lambda what: _progress(console, what))
    with supervisor:
        shared = publish(file, supervisor)
        ports = ", ".join(f"{name} ({supervisor.port(name)!r})" for name in graph.ports)
        console.print(
            f"scout: {graph.name} on {ports}, {supervisor.replicas} replicas; Ctrl-C stops it",
            markup=False,
            soft_wrap=True,
        )
        try:
            while not supervisor.wait(0.5):
                shared.update()
        except KeyboardInterrupt:
            pass
        died = supervisor.alive == 0
    account = supervisor.account()
    _summary(Console(stderr=json_path == "-"), account)
    if json_path:
        rows: list[dict[str, Any]] = [{"name": "account", **account}]
        rows += [{"name": "replica", **figures} for figures in supervisor.replica_figures()]
        write_json(json_path, "run", {"file": file, "replicas": supervisor.replicas}, rows)
    return 1 if died else 0


def _progress(console: Console, what: str) -> None:
    if console.is_terminal:
        console.print(f"scout: compiling {what}")


def _summary(console: Console, account: dict[str, Any]) -> None:
    shown = Table.grid(padding=(0, 2))
    shown.add_row("received", f"{account['received']:,}")
    for part, word in (("out", "out"), ("ended", "ended"), ("drops", "dropped")):
        for key, count in sorted(account[part].items()):
            shown.add_row(f"{word} {key}", f"{count:,}")
    console.print(shown)
