"""`scout doctor`: what this machine allows Scout to do. Every line is the result of a probe, not a guess."""

from contextlib import nullcontext
from dataclasses import asdict

from rich import box
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scout.io.host import sandbox
from scout.tools.probes import network, software
from scout.tools.probes.probe import Check, Probe, Status, check
from scout.tools.report import Report

__all__ = ["probes", "run"]


def run(json_path: str | None = None) -> int:
    """Probe this machine and print the results.

    Parameters
    ----------
    json_path : str, optional
        Where to write the report as JSON: a file, or `-` for standard output, to which then nothing else goes.

    Returns
    -------
    int
        The exit status: 0 if nothing that Scout needs is missing, else 1.
    """
    report = Report("doctor", json_path)
    console = report.console
    found = []
    # No spinner: its thread would run while the probes fork.
    with Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else nullcontext() as live:
        for probe in probes():
            if live is not None:
                live.update(Text(f"probing: {probe.name}"), refresh=True)
            found.append(check(probe))
    if console.is_terminal:
        console.print(_table(found))
    else:
        report.say(*map(_line, found))
    report.write({}, [asdict(each) for each in found])
    return int(any(each.status == "missing" for each in found))


def _line(found: Check) -> str:
    return f"{found.status:8} {found.name}: {found.found}. {found.meaning}. {found.fix}".rstrip(" .")


def _table(found: list[Check]) -> Table:
    shown = Table("", "what", "found", box=box.SIMPLE_HEAD)
    for each in found:
        style = {"ok": "green", "missing": "bold red", "optional": "yellow"}[each.status]
        text = Text(each.found)
        if each.status != "ok":
            text.append(f"\n{each.meaning}. To fix: {each.fix}", style="dim")
        shown.add_row(Text(each.status, style=style), Text(each.name), text)
    return shown


def probes() -> list[Probe]:
    """All probes: first those that everything depends on, last those that only the tests need."""
    root = "run as root, or see user namespaces"
    user_lack: Status = "missing" if sandbox.needed() else "optional"
    return [
        Probe(
            "user namespaces",
            user_lack,
            "Without root, Scout works in one",
            "allow them (sysctl user.max_user_namespaces, the container's policy), or run as root",
            network.user_namespaces,
        ),
        Probe("namespaces and veth", "missing", "Labs and the demo are made of them", root, network.veth),
        Probe("AF_PACKET", "missing", "Scout receives and sends by it", root, network.af_packet),
        Probe(
            "packet ring",
            "missing",
            "The kernel's receive ring is Scout's channel",
            "use Linux 4.6 or later",
            network.packet_ring,
        ),
        Probe(
            "latency",
            "optional",
            "A packet that finds the router idle waits that long",
            'keep a core awake for it: Supervisor(wait="spin")',
            network.latency,
        ),
        Probe(
            "veth offloads", "optional", "Benchmarks make packets with UDP segmentation", root, network.veth_offloads
        ),
        Probe(
            "cores",
            "optional",
            "With one, replicas take turns",
            "allow this process more (taskset, cgroup)",
            software.cores,
        ),
        Probe("numba", "missing", "Compiles the paths", "install Scout again with pip", software.numba),
        Probe("C compiler", "optional", "Benchmarks compare with C", "install gcc", software.compiler),
        *(
            Probe(
                name, "optional", "Some tests use it as a peer", f"install the package {name}", software.program(name)
            )
            for name in ("ping", "curl", "iperf3", "tcpdump")
        ),
    ]
