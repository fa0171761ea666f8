"""`scout bench all`: runs every benchmark in its default size, and writes one page with their tables and plots."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from scout.ring.errors import ScoutError
from scout.tools.bench.page import Section, plot_forward, write_page
from scout.tools.report import Report, machine

__all__ = ["BENCHMARKS", "run"]

BENCHMARKS = {
    "forward": "A router between two namespaces: many flows and one, rates without loss, latency, and TCP.",
    "path": "The compiled path alone, without input and output.",
    "fib": "The forwarding table: lookups, building, changes and memory.",
    "udp": "UDP sockets of an application, on Scout and on the kernel.",
    "tcp": "One TCP connection: replayed from memory by number of cores, and live against the kernel's TCP.",
    "paths": "Paths with queues: deadlines under a flood, path schedulers, early discard; Scout's experiments.",
    "channel": "Dequeuing from a replicated channel; the paper's Figure 2.",
    "replication": "Replicated work against a lock and atomic instructions; the paper's Figure 1(b).",
    "services": "The services that Scout ships, in their four modes.",
    "soak": "Replicas that are killed, join and leave while requests flow: nothing may be lost.",
}
"""The benchmarks in the order in which they run, and what each measures."""

_PLOTTED = ("tcp", "paths", "channel", "replication", "services")  # they plot themselves
_SCOUT = [sys.executable, "-c", "from scout.tools.cli import main; main()"]


def run(folder: str) -> int:
    """Run all benchmarks, write index.html and their reports and plots to a folder.

    Parameters
    ----------
    folder : str
        Is made if it is not there.

    Returns
    -------
    int
        The exit status: 1 if a benchmark failed; the page has the others.

    Raises
    ------
    ScoutError
        If the folder cannot be made or written to.
    """
    report, place = Report("bench all", None), _folder(folder)
    sections, failed = [], []
    for number, (name, about) in enumerate(BENCHMARKS.items(), 1):
        report.note(f"{number} of {len(BENCHMARKS)}: scout bench {name}")
        sections.append(_section(place, name, about))
        if sections[-1].report is None:
            failed.append(name)
        write_page(place, sections, machine())  # also of a run that is interrupted
    report.say(f"written: {place / 'index.html'}")
    if failed:
        report.note(f"failed: {', '.join(failed)}")
    return int(bool(failed))


def _folder(folder: str) -> Path:
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        probe = place / ".scout"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ScoutError(f"--report {folder}: {error.strerror}; name a folder that can be written") from error
    return place


def _section(folder: Path, name: str, about: str) -> Section:
    """Run one benchmark in a process of its own: it may enter a sandbox, and its memory goes with it."""
    written, picture = folder / f"{name}.json", folder / f"{name}.svg"
    written.unlink(missing_ok=True)
    arguments = ["bench", name, "--json", str(written)]
    if name in _PLOTTED:
        arguments += ["--plot", str(picture)]
    process = subprocess.Popen([*_SCOUT, *arguments], stdout=subprocess.DEVNULL)  # its progress is on standard error
    try:
        process.wait()
    except BaseException:  # Ctrl-C reaches the benchmark too, which then removes what it made
        process.terminate()
        process.wait()
        raise
    found: dict[str, Any] | None = None
    if process.returncode == 0 and written.exists():
        found = json.loads(written.read_text())
        if name == "forward":
            plot_forward(str(picture), found["results"])
    command = f"scout bench {name}"
    return Section(name, command, about, found, picture.name if found and picture.exists() else None)
