"""The rates meter against counters that are known, and the command as a program."""

import io
import json
import multiprocessing
import os
import pty
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from commands import PATIENCE, scout, start
from rich.console import Console

from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.ring.errors import ScoutError
from scout.tools.commands import rates

FRAME = b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + b"\x88\xb5" + bytes(86)  # 100 bytes, local experimental type


@pytest.fixture
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    with Lab("rates") as lab:
        left, right = lab.namespace("left"), lab.namespace("right")
        lab.veth((left, "eth0"), (right, "r0"))
        yield left, right


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Two seconds go by from one reading of a namespace to the next."""
    now = [0.0]

    def monotonic() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(rates, "monotonic", monotonic)
    return now


@pytest.mark.needs_namespaces
def test_two_namespaces_in_one_table(pair: tuple[Namespace, Namespace], clock: list[float]) -> None:
    left, _ = pair
    meter = rates.Meter(["eth0", "r0"], [left.netns, "rates-right"])  # in full, and as the lab calls it
    with left.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind(("eth0", 0))
        for _ in range(10):
            sender.send(FRAME)
    rows = meter.sample()
    # The kernel counts what arrives for nobody as dropped.
    idle = dict.fromkeys(rates.RATES, 0)
    assert rows == [
        {"namespace": left.netns, "interface": "eth0", **idle, "tx_pps": 5, "tx_bps": 4000},
        {
            "namespace": "rates-right",
            "interface": "r0",
            **idle,
            "rx_pps": 5,
            "rx_bps": 4000,
            "rx_drops_per_s": 5,
        },
    ]
    assert all(row["rx_pps"] == row["tx_pps"] == 0 for row in meter.sample())

    console = Console(width=80, file=io.StringIO())
    console.print(rates.table(rows))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "rates-left" in shown and left.netns not in shown and "4 k" in shown
    assert "…" not in shown, "the table is too wide"


@pytest.mark.needs_namespaces
def test_an_interface_made_again_counts_from_zero(clock: list[float]) -> None:
    with Lab("again") as lab:
        left, right = lab.namespace("left"), lab.namespace("right")
        lab.veth((left, "eth0"), (right, "r0"))
        with left.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.bind(("eth0", 0))
            sender.send(FRAME)
            meter = rates.Meter(["eth0"])
            assert subprocess.run(["ip", "link", "del", "eth0"]).returncode == 0
            lab.veth((left, "eth0"), (right, "r0"))
            (row,) = meter.sample()
    assert row["tx_pps"] == 0


@pytest.mark.needs_namespaces
def test_the_calling_threads_namespace_is_the_default(pair: tuple[Namespace, Namespace]) -> None:
    left, _ = pair
    seen: set[str] = set()

    def measure() -> None:
        with left.entered():
            seen.update(row["interface"] for row in rates.Meter().sample())

    # Not in the first thread: /proc/net is that of the first thread, also when another thread reads it.
    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    assert seen == {"lo", "eth0"}
    assert rates.psutil.PROCFS_PATH == "/proc"


def hold_a_lab_of_the_same_name(pipe: Connection) -> None:
    with Lab("rates") as lab:
        lab.namespace("left")
        pipe.send("made")
        pipe.recv()


@pytest.mark.needs_namespaces
def test_what_does_not_exist_is_named_with_what_does(pair: tuple[Namespace, Namespace]) -> None:
    left, _ = pair
    with pytest.raises(ScoutError, match=r"interface eth9: not in namespace .*; there are: eth0, lo"):
        rates.Meter(["eth9"], [left.netns])
    with pytest.raises(ScoutError, match=f"namespace nowhere: not found.*{left.netns}"):
        rates.Meter([], ["nowhere"])
    ours, theirs = multiprocessing.Pipe()
    other = multiprocessing.get_context("fork").Process(target=hold_a_lab_of_the_same_name, args=(theirs,))
    other.start()
    ours.recv()
    with pytest.raises(ScoutError, match=f"2 labs have one; name it in full: .*{left.netns}"):
        rates.Meter([], ["rates-left"])
    ours.send("done")
    other.join()
    with pytest.raises(ScoutError, match="--interval 0"):
        rates.run([], [], 0)


@pytest.mark.needs_namespaces
def test_a_namespace_that_goes_away_ends_it() -> None:
    with Lab("brief") as lab:
        meter = rates.Meter([], [lab.namespace("only").netns])
    with pytest.raises(ScoutError, match="not found"):
        meter.sample()


def test_one_json_line_per_interval_in_a_pipe() -> None:
    result = scout("rates", "lo", "--interval", "0.01", "--count", "2")
    first, second = map(json.loads, result.stdout.splitlines())
    assert [row["interface"] for row in first["results"]] == ["lo"]
    assert second["time_s"] > first["time_s"]
    assert (result.returncode, result.stderr) == (0, "")


def test_a_report_of_all_measurements(tmp_path: Path) -> None:
    result = scout("rates", "lo", "--interval", "0.01", "--count", "3", "--json", "-")
    report = json.loads(result.stdout)
    assert report["command"] == "rates" and report["parameters"] == {"interval_s": 0.01}
    assert len(report["results"]) == 3
    for row in report["results"]:
        assert {"time_s", "interface", *rates.RATES} <= row.keys()


def test_an_interruption_ends_it_quietly_with_its_report(tmp_path: Path) -> None:
    file = tmp_path / "rates.json"
    with start("rates", "lo", "--interval", "0.01", "--json", str(file)) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""
    assert json.loads(file.read_text())["results"]


def test_a_table_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    with start("rates", "lo", "--interval", "0.01", "--count", "1", stdout=theirs) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "interface" in shown and "lo" in shown
    assert errors == ""
