"""The doctor's probes: that they find what is here, and can find that it is not."""

import json
import os
import signal
from pathlib import Path

import pytest
from pyroute2 import netns

from scout.ring.errors import ScoutError
from scout.tools.commands import doctor
from scout.tools.commands.doctor import Probe


def here() -> list[str]:
    return [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt", "user")]


@pytest.mark.needs_namespaces
def test_it_finds_what_these_tests_run_on_and_leaves_no_trace() -> None:
    before = here()
    found = {check.name: check for check in doctor.checks()}
    assert here() == before
    assert not [name for name in netns.listnetns() if "-doctor-" in name]
    for name in ("namespaces and veth", "AF_PACKET", "packet ring", "numba"):
        assert found[name].status == "ok", found[name]
    for check in found.values():
        assert (check.mend == "") == (check.status == "ok"), check


@pytest.mark.needs_namespaces
def test_what_an_ordinary_user_lacks_is_found_lacking() -> None:
    def load_a_program_as_nobody() -> str:
        doctor._user_namespaces()
        return doctor._bpf()

    check = doctor._check(Probe("bpf()", "optional", "why", "what to do", load_a_program_as_nobody))
    assert (check.status, check.found, check.mend) == ("optional", "Operation not permitted", "what to do")


def test_a_missing_program_is_found_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert doctor._check(doctor._program("ping")).found == "not found"
    with pytest.raises(OSError, match="no cc"):
        doctor._compiler()


def die() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def fall_short() -> str:
    raise doctor.Shortfall("a little")


def refuse() -> str:
    raise ScoutError("thing: refused; allow it")


def wait_for_ever() -> str:
    signal.pause()
    return ""


@pytest.mark.parametrize(
    ("look", "status", "found", "mend"),
    [
        (lambda: "here", "ok", "here", ""),
        (fall_short, "optional", "a little", "mend it"),
        (refuse, "missing", "thing: refused", "allow it"),
        (lambda: str(1 // 0), "missing", "ZeroDivisionError: integer division or modulo by zero", "mend it"),
        (die, "missing", "the probe died with status -9", "mend it"),
        (wait_for_ever, "missing", "no answer in 0.2 s", "mend it"),
    ],
)
def test_how_a_probe_ends_is_the_finding(
    monkeypatch: pytest.MonkeyPatch, look: "doctor.Callable[[], str]", status: str, found: str, mend: str
) -> None:
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 5.0 if look is not wait_for_ever else 0.2)
    check = doctor._check(Probe("thing", "missing", "why", "mend it", look))
    assert (check.status, check.found, check.mend) == (status, found, mend)


@pytest.mark.parametrize(("lack", "exit_status"), [("optional", 0), ("missing", 1)])
def test_the_report(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    lack: doctor.Status,
    exit_status: int,
) -> None:
    probes = [
        Probe("good", "missing", "For all", "never said", lambda: "here"),
        Probe("bad", lack, "For some", "allow it", refuse),
    ]
    monkeypatch.setattr(doctor, "_probes", lambda: probes)
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
