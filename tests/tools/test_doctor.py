"""The doctor's probes: that they find what is here, and can find that it is not."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from pyroute2 import netns

from scout.ring.errors import ScoutError
from scout.tools.commands import doctor
from scout.tools.probes import probe, software
from scout.tools.probes.probe import Probe, Shortfall, check


def here() -> list[str]:
    return [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt", "user")]


@pytest.mark.needs_namespaces
def test_it_finds_what_these_tests_run_on_and_leaves_no_trace() -> None:
    before = here()
    found = {each.name: each for each in map(check, doctor.probes())}
    assert here() == before
    assert not [name for name in netns.listnetns() if "-doctor-" in name]
    for name in ("namespaces and veth", "AF_PACKET", "packet ring", "numba"):
        assert found[name].status == "ok", found[name]
    for each in found.values():
        assert (each.fix == "") == (each.status == "ok"), each


def test_a_missing_program_is_found_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(OSError, match="not found"):
        software.program("ping")()
    with pytest.raises(OSError, match="no cc"):
        software.compiler()


def die() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def fall_short() -> str:
    raise Shortfall("a little")


def refuse() -> str:
    raise ScoutError("thing: refused; allow it")


def wait_for_ever() -> str:
    signal.pause()
    return ""


@pytest.mark.parametrize(
    ("look", "status", "found", "fix"),
    [
        (lambda: "here", "ok", "here", ""),
        (fall_short, "optional", "a little", "fix it"),
        (refuse, "missing", "thing: refused", "allow it"),
        (lambda: str(1 // 0), "missing", "ZeroDivisionError: integer division or modulo by zero", "fix it"),
        (die, "missing", "the probe died with status -9", "fix it"),
        (wait_for_ever, "missing", "no answer in 0.2 s", "fix it"),
    ],
)
def test_how_a_probe_ends_is_the_finding(
    monkeypatch: pytest.MonkeyPatch, look: Callable[[], str], status: str, found: str, fix: str
) -> None:
    monkeypatch.setattr(probe, "PROBE_SECONDS", 60.0 if look is not wait_for_ever else 0.2)
    result = check(Probe("thing", "missing", "why", "fix it", look))
    assert (result.status, result.found, result.fix) == (status, found, fix)


@pytest.mark.parametrize(("lack", "exit_status"), [("optional", 0), ("missing", 1)])
def test_the_report(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    lack: probe.Status,
    exit_status: int,
) -> None:
    probes = [
        Probe("good", "missing", "For all", "never said", lambda: "here"),
        Probe("bad", lack, "For some", "allow it", refuse),
    ]
    monkeypatch.setattr(doctor, "probes", lambda: probes)
    path = tmp_path / "doctor.json"
    assert doctor.run(str(path)) == exit_status
    assert capsys.readouterr().out.splitlines() == [
        "ok       good: here. For all",
        f"{lack:8} bad: thing: refused. For some. allow it",
    ]
    report = json.loads(path.read_text())
    assert report["command"] == "doctor" and report["schema"] == 1
    assert [row["status"] for row in report["results"]] == ["ok", lack]

    assert doctor.run("-") == exit_status
    assert json.loads(capsys.readouterr().out)["results"] == report["results"]
