"""`scout demo`: two hosts joined by Scout's router, with real traffic: ping, TCP, and a flood."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path as FilePath
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scout.drop_reasons import documented
from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.io.host.process import usable_cores
from scout.io.mac import mac_number
from scout.io.ports import afpacket
from scout.loader import load_router
from scout.reports import compiling
from scout.supervisor import Supervisor
from scout.tools.commands.rates import Meter, table
from scout.tools.drawing.draw import draw
from scout.tools.lessons import LESSONS
from scout.tools.report import Report
from scout.tools.traffic.flood import Flood
from scout.tools.traffic.peers import ping, tcp_transfer
from scout.tools.traffic.two_hosts import LEFT, MACS, RIGHT, two_hosts

__all__ = ["run"]

ROUTER = LESSONS / "01_router.py"
PINGS, TRANSFER = 20, 256 << 20
PATIENCE = 60.0  # seconds that the transfer may take

_OF_THE_KERNEL = {
    "kernel-backlog-in": "the kernel's queue before the router was full",
    "kernel-backlog-out": "the kernel's queue behind the router was full",
}
"""Reasons of this command: drops on the veth pairs, which the router does not see."""


def run(seconds: float, replicas: int | None, json_path: str | None, picture: str) -> int:
    """Run the demo.

    Parameters
    ----------
    seconds : float
        How long to flood.
    replicas : int or None
        How many domains; `default_replicas` if None.
    json_path : str or None
        Where to write the figures.
    picture : str
        Where to draw the path.

    Returns
    -------
    int
        The exit status: 1 if a packet was lost without a count, or a replica died.
    """
    report = Report("demo", json_path)
    replicas = replicas or default_replicas()
    graph, paths = load_router(str(ROUTER))
    results: list[dict[str, Any]] = []
    with ExitStack() as stack:
        screen = stack.enter_context(_screen(report))
        lab = stack.enter_context(Lab("demo"))
        left, router, right = two_hosts(lab)
        supervisor = Supervisor(graph, paths, replicas, report=report.note, progress=screen.compiling)
        with router.entered():
            stack.enter_context(supervisor)
        screen.watch(Meter((), [space.netns for space in (left, router, right)]))
        screen.say(f"ping {LEFT} to {RIGHT}")
        results.append({"name": "ping", **screen.during(lambda: ping(left, RIGHT, PINGS))})
        screen.say(f"TCP, {TRANSFER >> 20} MiB, SHA-256 compared at the far end")
        transfer = screen.during(lambda: tcp_transfer(left, right, RIGHT, TRANSFER, PATIENCE))
        results.append({"name": "tcp", **transfer})
        screen.say(f"flood of 60-byte UDP frames, {seconds:g} s")
        results += _flood(supervisor, left, router, right, seconds, screen)
        supervisor.stop()
        account = supervisor.account()
        died = supervisor.replicas - supervisor.alive
    results += [{"name": "replica", **figures} for figures in supervisor.replica_figures()]
    paths[0].graph["routers"] = [str(name) for name in graph]
    draw(paths[0], FilePath(picture), title=f"path from {paths[0].source}")
    problems = _problems(results, account, died)
    _summary(report.console, results, picture, problems)
    report.write({"seconds": seconds, "replicas": supervisor.replicas}, results)
    return 1 if problems else 0


def default_replicas() -> int:
    """One replica per core, less one core that is left to the traffic generator.

    Replicas that share every core with the generator forward only a small part of the flood.
    """
    return max(1, len(usable_cores()) - 1)


def _flood(
    supervisor: Supervisor,
    left: Namespace,
    router: Namespace,
    right: Namespace,
    seconds: float,
    screen: "_Screen",
) -> list[dict[str, Any]]:
    """Flood the router; one row for the flood, and one for each reason for which frames of it were dropped."""
    left.offload("eth0", tx_udp_segmentation=False)  # the kernel cuts the generator's super-frames there
    flood = Flood(60, LEFT, RIGHT, mac_number(MACS[0]), mac_number(MACS[1]))
    with right.entered():
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sink.bind((RIGHT, 4001))  # so that the far kernel answers nothing
    before = _figures(supervisor, router, right)
    start = time.monotonic()
    process = left.run(flood.run, "eth0", seconds, None, usable_cores()[0])
    screen.during(lambda: process.join(), lambda: process.is_alive())
    elapsed = time.monotonic() - start
    _settle(supervisor)
    after = _figures(supervisor, router, right)
    sink.close()
    moved = {key: after[key] - before.get(key, 0) for key in after if after[key] - before.get(key, 0)}
    forwarded = moved.pop("forwarded", 0)
    rate = {"pps": round(forwarded / elapsed), "seconds": round(elapsed, 1)}
    flooded = {"name": "flood", "sent": flood.sent, "forwarded": forwarded, **rate}
    return [flooded, *({"name": "flood-drop", "reason": reason, "packets": moved[reason]} for reason in sorted(moved))]


def _figures(supervisor: Supervisor, router: Namespace, right: Namespace) -> dict[str, int]:
    """Packets forwarded to the right so far, and dropped on the way, by reason."""
    account = supervisor.account()
    # A veth hands a frame to the far end's backlog queue, where the kernel counts the frames that find it full.
    before, behind = router.link_stats("r0").rx_dropped, right.link_stats("eth0").rx_dropped
    own = {"kernel-backlog-in": before, "kernel-backlog-out": behind}
    return {"forwarded": account["out"].get("right", 0) - behind} | account["drops"] | own


def _settle(supervisor: Supervisor) -> None:
    """Wait until the router has accounted for every packet that it received, for at most a few seconds."""
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        account = supervisor.account()
        dealt = sum(sum(account[part].values()) for part in ("out", "ended", "drops"))
        if dealt == account["received"]:
            return
        time.sleep(0.02)


def _problems(results: list[dict[str, Any]], account: dict[str, Any], died: int) -> list[str]:
    """The problems, a sentence each; empty if there are none."""
    rows = {row["name"]: row for row in results}
    problems = []
    if rows["ping"]["received"] < rows["ping"]["sent"]:
        problems.append(f"{rows['ping']['sent'] - rows['ping']['received']} pings were not answered")
    if not rows["tcp"]["intact"]:
        problems.append("the TCP transfer did not arrive intact")
    flood = rows["flood"]
    dropped = sum(row["packets"] for row in results if row["name"] == "flood-drop")
    missing = flood["sent"] - flood["forwarded"] - dropped
    if missing:
        problems.append(f"{missing} frames of the flood are not accounted for")
    primaries = sum(row["primary"] for row in results if row["name"] == "replica")
    unread = account["drops"].get("unread-at-stop", 0) + account["drops"].get("ring-full", 0)
    if not died and primaries + unread != account["received"]:
        problems.append(f"{account['received'] - unread} packets had {primaries} primaries")
    if died:
        problems.append(f"{died} replicas died")
    return problems


def _summary(
    console: Console,
    results: list[dict[str, Any]],
    picture: str,
    problems: list[str],
) -> None:
    rows = {row["name"]: row for row in results}
    pinged, tcp, flood = rows["ping"], rows["tcp"], rows["flood"]
    shown = Table.grid(padding=(0, 2))
    shown.add_row("ping", f"{pinged['received']} of {pinged['sent']} answered, median {pinged['rtt_ms_median']} ms")
    intact = "intact" if tcp["intact"] else "NOT intact"
    shown.add_row("tcp", f"{tcp['bytes'] >> 20} MiB {intact}, {tcp['gbps']} Gbit/s")
    drops = [row for row in results if row["name"] == "flood-drop"]
    dropped = sum(row["packets"] for row in drops)
    shown.add_row("flood", f"{flood['sent']:,} sent = {flood['forwarded']:,} forwarded + {dropped:,} dropped")
    shown.add_row("", f"{flood['pps']:,} forwarded a second, over {flood['seconds']} s")
    for row in drops:
        shown.add_row("", f"{row['packets']:,} dropped as {row['reason']}{_explained(row['reason'])}")
    for row in results:
        if row["name"] == "replica":
            text = f"core {row['core']}: saw {row['seen']:,} packets, primary of {row['primary']:,}"
            shown.add_row(f"replica {row['id']}", text)
    shown.add_row("path", f"drawn in {picture}")
    console.print(shown)
    for problem in problems:
        console.print(Text(f"scout: {problem}", style="bold red"))


def _explained(reason: str) -> str:
    """The meaning of a drop reason of interfaces, after a colon; empty for other reasons."""
    meaning = documented(afpacket.__doc__ or "").get(reason) or _OF_THE_KERNEL.get(reason)
    return f": {meaning}" if meaning else ""


class _Screen:
    """The progress of the demo: live on a terminal, else a line for each step on standard error."""

    def __init__(self, report: Report, live: Live | None) -> None:
        self._report, self._live = report, live
        self._meter: Meter | None = None
        self._step = ""

    def compiling(self, part: str) -> None:
        self.say(compiling(part))

    def watch(self, meter: Meter) -> None:
        self._meter = meter

    def say(self, step: str) -> None:
        self._step = step
        if self._live:
            self._refresh()
        else:
            self._report.note(step)

    def during(self, work: Callable[[], Any], busy: Callable[[], bool] | None = None) -> Any:
        """Do `work`, showing rates meanwhile: while `busy`, or from a thread beside it."""
        if self._live is None:
            return work()
        if busy is None:
            self._refresh()
            result = work()
            self._refresh()
            return result
        while busy():
            time.sleep(0.25)
            self._refresh()
        return work()

    def _refresh(self) -> None:
        assert self._live
        rows = self._meter.sample() if self._meter else []
        shown = [row for row in rows if row["interface"] != "lo"]
        body = [Text(self._step, style="bold"), table(shown)] if shown else [Text(self._step, style="bold")]
        self._live.update(Group(*body), refresh=True)


@contextmanager
def _screen(report: Report) -> Iterator[_Screen]:
    if not report.console.is_terminal:
        yield _Screen(report, None)
        return
    with Live(console=report.console, auto_refresh=False, transient=True) as live:
        yield _Screen(report, live)
