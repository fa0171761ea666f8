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

from scout.io.host.lab import Lab, Namespace
from scout.io.ports.contract import mac_number
from scout.loader import load_router
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor, usable_cores
from scout.tools.commands.rates import Meter, table
from scout.tools.drawing.draw import draw
from scout.tools.report import write_json
from scout.tools.traffic.flood import Flood
from scout.tools.traffic.peers import ping, tcp_transfer

__all__ = ["ROUTER", "run", "two_hosts"]

ROUTER = FilePath(__file__).resolve().parents[2] / "examples" / "01_router.py"
MACS = [f"02:00:00:00:00:{number:02x}" for number in range(1, 5)]  # left host, r0, r1, right host
LEFT, RIGHT = "10.0.0.2", "10.0.1.2"
PINGS, TRANSFER = 20, 256 << 20
PATIENCE = 60.0  # seconds that the transfer may take


def two_hosts(lab: Lab) -> tuple[Namespace, Namespace, Namespace]:
    """The demo's topology: host - router - host; the kernel of the router's namespace has no address."""
    left, router, right = (lab.namespace(name) for name in ("left", "router", "right"))
    lab.veth((left, "eth0"), (router, "r0"), mac=(MACS[0], MACS[1]))
    lab.veth((router, "r1"), (right, "eth0"), mac=(MACS[2], MACS[3]))
    router.offload("r1", tx_udp_segmentation=False)  # the router may send super-frames: the kernel cuts them here
    for host, address, gateway in ((left, LEFT, "10.0.0.1"), (right, RIGHT, "10.0.1.1")):
        host.address("eth0", f"{address}/24")
        host.route("default", via=gateway)
    return left, router, right


def run(seconds: float, replicas: int | None, json_path: str | None, picture: str) -> int:
    """Run the demo; the command's exit status."""
    if not 0 < seconds <= 3600:
        raise ScoutError(f"--seconds {seconds:g}: give more than 0 and at most 3600")
    console = Console(stderr=json_path == "-")
    graph, paths = load_router(str(_router_file()))
    results: list[dict[str, Any]] = []
    with ExitStack() as stack:
        screen = stack.enter_context(_screen(console))
        lab = stack.enter_context(Lab("demo"))
        left, router, right = two_hosts(lab)
        supervisor = Supervisor(graph, paths, replicas, report=console.print, progress=screen.compiling)
        with router.entered():
            stack.enter_context(supervisor)
        screen.watch(Meter((), [space.netns for space in (left, router, right)]))
        screen.say(f"ping {LEFT} to {RIGHT}")
        results.append({"name": "ping", **screen.during(lambda: ping(left, RIGHT, PINGS))})
        screen.say(f"TCP, {TRANSFER >> 20} MiB, SHA-256 compared at the far end")
        transfer = screen.during(lambda: tcp_transfer(left, right, RIGHT, TRANSFER, PATIENCE))
        results.append({"name": "tcp", **transfer})
        screen.say(f"flood of 60-byte UDP frames, {seconds:g} s")
        results.append({"name": "flood", **_flood(supervisor, left, router, right, seconds, screen)})
        supervisor.stop()
        account = supervisor.account()
        died = supervisor.replicas - supervisor.alive
    results += [{"name": "replica", **figures} for figures in supervisor.replica_figures()]
    draw(paths[0], FilePath(picture), title=f"path from {paths[0].source}")
    if json_path:
        write_json(json_path, "demo", {"seconds": seconds, "replicas": supervisor.replicas}, results)
    problems = _problems(results, account, died)
    _summary(console, results, account, picture, problems)
    return 1 if problems else 0


def _router_file() -> FilePath:
    if ROUTER.is_file():
        return ROUTER
    raise ScoutError(
        f"{ROUTER}: the demo's router file is missing; run from a checkout, installed with pip install -e ."
    )


def _flood(
    supervisor: Supervisor,
    left: Namespace,
    router: Namespace,
    right: Namespace,
    seconds: float,
    screen: "_Screen",
) -> dict[str, Any]:
    """Flood the router; where every frame went."""
    left.offload("eth0", tx_udp_segmentation=False)  # the kernel cuts the generator's super-frames at the device
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
    return {
        "sent": flood.sent,
        "forwarded": forwarded,
        "drops": moved,
        "pps": round(forwarded / elapsed),
    }


def _figures(supervisor: Supervisor, router: Namespace, right: Namespace) -> dict[str, int]:
    """Packets forwarded to the right so far, and dropped on the way, by reason."""
    account = supervisor.account()
    # A veth hands a frame to the far end's backlog queue; what finds it full, the kernel counts there.
    before, behind = router.link_stats("r0").rx_dropped, right.link_stats("eth0").rx_dropped
    own = {"kernel-backlog-in": before, "kernel-backlog-out": behind}
    return {"forwarded": account["out"].get("right", 0) - behind} | account["drops"] | own


def _settle(supervisor: Supervisor) -> None:
    """Wait until the router has dealt with all that it received, at most a few seconds."""
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        account = supervisor.account()
        dealt = sum(sum(account[part].values()) for part in ("out", "ended", "drops"))
        if dealt == account["received"]:
            return
        time.sleep(0.02)


def _problems(results: list[dict[str, Any]], account: dict[str, Any], died: int) -> list[str]:
    """What went wrong, in words; empty if all is well."""
    rows = {row["name"]: row for row in results}
    problems = []
    if rows["ping"]["received"] < rows["ping"]["sent"]:
        problems.append(f"{rows['ping']['sent'] - rows['ping']['received']} pings were not answered")
    if not rows["tcp"]["intact"]:
        problems.append("the TCP transfer did not arrive intact")
    flood = rows["flood"]
    missing = flood["sent"] - flood["forwarded"] - sum(flood["drops"].values())
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
    account: dict[str, Any],
    picture: str,
    problems: list[str],
) -> None:
    rows = {row["name"]: row for row in results}
    pinged, tcp, flood = rows["ping"], rows["tcp"], rows["flood"]
    shown = Table.grid(padding=(0, 2))
    shown.add_row("ping", f"{pinged['received']} of {pinged['sent']} answered, median {pinged['rtt_ms_median']} ms")
    intact = "intact" if tcp["intact"] else "NOT intact"
    shown.add_row("tcp", f"{tcp['bytes'] >> 20} MiB {intact}, {tcp['gbps']} Gbit/s")
    drops = ", ".join(f"{count:,} {reason}" for reason, count in sorted(flood["drops"].items())) or "none"
    shown.add_row("flood", f"{flood['sent']:,} sent = {flood['forwarded']:,} forwarded + dropped: {drops}")
    shown.add_row("", f"{flood['pps']:,} packets a second")
    for row in results:
        if row["name"] == "replica":
            text = f"core {row['core']}: saw {row['seen']:,} packets, primary of {row['primary']:,}"
            shown.add_row(f"replica {row['id']}", text)
    shown.add_row("path", f"drawn in {picture}")
    console.print(shown)
    for problem in problems:
        console.print(Text(f"scout: {problem}", style="bold red"))


class _Screen:
    """What is shown while the demo runs: live on a terminal, a line per step in a pipe."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console, self._live = console, live
        self._meter: Meter | None = None
        self._step = ""

    def compiling(self, what: str) -> None:
        self.say(f"compiling {what} (cached from then on)" if self._live else f"compiling {what}")

    def watch(self, meter: Meter) -> None:
        self._meter = meter

    def say(self, step: str) -> None:
        self._step = step
        if self._live:
            self._refresh()

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
def _screen(console: Console) -> Iterator[_Screen]:
    if not console.is_terminal:
        yield _Screen(console, None)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield _Screen(console, live)
