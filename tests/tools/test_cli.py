"""The command line: help, bad usage, where figures go, and what is left behind."""

import json
import os
import re
import signal
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from commands import LESSON, MEMORY_ROUTER, PATIENCE, SCOUT, here, scout, start

from scout.control_socket import requests
from scout.io.host.lab import Lab
from scout.ring.membership import MOST_REPLICAS
from scout.supervisor import Supervisor
from scout.tools import options
from scout.tools.bench import path as bench_path
from scout.tools.commands import demo
from scout.tools.traffic.two_hosts import two_hosts

COMMANDS = ["demo", "run", "draw", "rates", "top", "traffic", "doctor"]
REQUESTS = ["ctl", "ctl show", *(f"ctl {request.name}" for request in requests.REQUESTS)]
BENCHES = [f"bench {name}" for name in ("forward", "path", "fib", "channel", "replication", "services", "soak")]


@pytest.mark.parametrize("command", [*COMMANDS, *BENCHES, "bench all", *REQUESTS])
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert here(*command.split(), "--help") == 0
    assert f"Example: scout {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--bogus"], ["--bogus"]),
        (["demo", "--seconds", "-1"], ["--seconds", "; see scout demo --help"]),
        (["demo", "--replicas", "0"], ["--replicas 0: give 1 to 31"]),
        (["run", "router.py", "--replicas", "99"], ["--replicas 99: give 1 to 31"]),
        (["rates", "--json", "/proc/y"], ["--json /proc/y", "name a file"]),
        (["rates", "--json", "/proc/version"], ["--json /proc/version", "name a file"]),
        (["demo", "--picture", "nowhere/x.svg"], ["nowhere"]),
        (["run", "nowhere.py"], ["nowhere.py", "no such file"]),
        (
            ["draw", "14_router.py", "-o", "x.svg"],
            ["14_router.py: no such file", "the lessons are 01_router.py, 02_own"],
        ),
        (["run", __file__ + "x"], ["no such file"]),
        (["draw", LESSON, "-o", "picture.gif"], ["picture.gif", ".svg"]),
        (["run", "/tmp"], ["/tmp", "this is a folder"]),
        (["draw", "nowhere/01_router.py", "-o", "picture.svg"], ["nowhere/01_router.py", "no such file"]),
        (["draw", LESSON, "-o", "/proc/picture.svg"], ["/proc/picture.svg", "name a file"]),
        (["run", LESSON, "--json", "/proc/figures.json"], ["--json /proc/figures.json", "name a file"]),
        (["draw", LESSON, "-o", "nowhere/picture.svg"], ["nowhere/picture.svg", "there is no folder"]),
        (["draw", LESSON, "-o", "x.svg", "--path", "up"], ["up", "left"]),
        (["draw", LESSON, "-o", "x.svg", "--live"], ["no process runs", "scout run"]),
        (["draw", LESSON, "-o", "x.svg", "--every", "0"], ["--every"]),
        (["top", "--interval", "0"], ["--interval"]),
        (["top", "--socket", "nowhere/x.sock"], ["nowhere/x.sock", "no router answers there"]),
        (["ctl", "--socket", "nowhere/x.sock", "show", "router"], ["nowhere/x.sock", "no router answers there"]),
        (["ctl", "show", "router", "--socket", "nowhere/x.sock"], ["nowhere/x.sock", "no router answers there"]),
        (["ctl", "stop", "--socket", "nowhere/x.sock"], ["nowhere/x.sock", "no router answers there"]),
        (["ctl", "--socket", "nowhere/x.sock", "show", "rooter"], ["rooter"]),
        (["ctl", "remove-replica", "one"], ["REPLICA"]),
        (["rates", "nosuch0"], ["nosuch0"]),
        (["rates", "--interval", "0"], ["--interval"]),
        (["bench", "channel", "--plot", "figure.gif"], ["--plot", ".svg"]),
        (["bench", "replication", "--plot", "nowhere/figure.svg"], ["--plot", "nowhere"]),
        (["bench", "replication", "--updates", "0"], ["--updates"]),
        (["bench", "services", "--service", "nat"], ["--service", "nat", "napt"]),
        *(([*command.split(), "--rounds", "0"], ["--rounds"]) for command in BENCHES[:-1]),
        *(
            (
                [*command.split(), *([LESSON] if command == "run" else []), "--json", "nowhere/f.json"],
                ["--json", "nowhere"],
            )
            for command in (*COMMANDS, *BENCHES)
            if command != "draw"
        ),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing has been measured or written by then."""
    monkeypatch.chdir(tmp_path)
    assert here(*arguments) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert len(errors.strip().splitlines()) == 1, errors
    assert all(word in errors for word in words), errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", ["no router graph"]),
        ("import nonsense_of_mine\n", ["router.py:1", "nonsense_of_mine"]),
        ("\nif\n", ["router.py:2"]),
        ("x = 1\0\n", ["router.py:", "null bytes"]),
        ("import sys\nsys.exit(3)\n", ["router.py:2", "sys.exit(3)"]),
        ("from scout import RouterGraph\ng = RouterGraph('g')\n", ["no port"]),
        (
            "from scout import RouterGraph\ng = RouterGraph('g')\ng.connect('a', 'b')\n",
            ["router.py:3", "'a'"],
        ),
    ],
)
def test_a_file_that_is_no_router(
    text: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "router.py"
    file.write_text(text)
    assert here("run", str(file)) == 2
    errors = capsys.readouterr().err
    assert len(errors.strip().splitlines()) == 1, errors
    assert all(word in errors for word in words), errors


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert here("--version") == 0
    assert capsys.readouterr().out == f"scout {version('scout-paths')}\n"


def test_as_many_replicas_may_be_asked_for_as_a_channel_has_room_for() -> None:
    assert options.MOST_REPLICAS == MOST_REPLICAS


@pytest.mark.parametrize(("cores", "replicas"), [(1, 1), (2, 1), (8, 7)])
def test_the_demo_leaves_a_core_to_the_traffic(cores: int, replicas: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "usable_cores", lambda: list(range(cores)))
    assert demo.default_replicas() == replicas


def test_a_missing_interface_is_reported_before_anything_is_compiled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "router.py"
    file.write_text(Path(LESSON).read_text().replace('"r0"', '"nosuch0"'))
    assert here("run", str(file), "--replicas", "1") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nosuch0" in line or "not permitted" in line


@pytest.mark.needs_namespaces
def test_a_missing_permission_is_reported_before_anything_is_compiled(tmp_path: Path) -> None:
    without = ["setpriv", "--bounding-set=-net_raw", *SCOUT]
    environment = os.environ | {"SCOUT_CACHE": str(tmp_path)}
    with Lab("test") as lab, two_hosts(lab)[1].entered():
        ended = subprocess.run(
            [*without, "run", LESSON], capture_output=True, text=True, timeout=PATIENCE, env=environment
        )
    assert ended.returncode == 2
    assert ended.stderr == "scout: port left: r0: raw sockets are not allowed; run as root, or see scout doctor\n"
    assert not list(tmp_path.rglob("numba"))  # the folder of compiled entries


@pytest.mark.parametrize("suffix", ["svg", "png", "dot", "mmd"])
def test_draw(suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for extra in ([], ["--path", "left"]):
        output = tmp_path / f"picture.{suffix}"
        assert here("draw", LESSON, "-o", str(output), *extra) == 0
        assert output.stat().st_size > 200
    assert capfd.readouterr() == ("", "")


def test_a_lesson_is_found_by_its_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("01_router.py", "examples/01_router.py"):
        assert here("draw", name, "-o", "picture.dot") == 0
        assert '"icmp"' in (tmp_path / "picture.dot").read_text()


def test_the_account_explains_frames_that_are_not_for_the_router(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As all frames of a capture are, until its port has the address of the machine that recorded it."""
    monkeypatch.setenv("COLUMNS", "200")
    file = tmp_path / "memory_router.py"
    file.write_text(MEMORY_ROUTER)
    assert here("run", str(file), "--replicas", "1") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "not-for-us" in line]
    assert line.split()[:3] == ["dropped", "not-for-us", "3"]
    assert "MAC addresses" in line and "mac=..." in line


def test_run_reports_the_account_in_flat_rows_and_says_what_it_does(tmp_path: Path) -> None:
    file = tmp_path / "memory_router.py"
    file.write_text(MEMORY_ROUTER)
    result = scout("run", str(file), "--replicas", "1", "--json", "-", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["schema"] == 1 and report["command"] == "run"
    assert {"cpus", "model", "kernel", "python", "numba"} == set(report["machine"])
    rows = report["results"]
    assert {"name": "received", "packets": 3} in rows
    assert {"name": "dropped", "reason": "not-for-us", "packets": 3} in rows
    assert [row["primary"] for row in rows if row["name"] == "replica"] == [3]
    assert not any(isinstance(value, dict | list) for row in rows for value in row.values())
    said = [line for line in result.stderr.splitlines() if line.startswith("scout: ")]
    assert said[-1].startswith("scout: ready: memory on left")
    assert [path.name for path in tmp_path.iterdir()] == ["memory_router.py"]


def test_a_run_that_ended_too_early_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that brings a port's packets died, for example (tests/engine/test_recovery.py has one killed)."""
    monkeypatch.setattr(Supervisor, "failures", property(lambda supervisor: ["port left: it died"]))
    file = tmp_path / "memory_router.py"
    file.write_text(MEMORY_ROUTER)
    assert here("run", str(file), "--replicas", "1") == 1


@pytest.mark.long
def test_without_a_c_compiler_standard_output_holds_the_report_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_path, "compile_c", lambda *arguments: None)
    assert here("bench", "path", "--brief", "--rounds", "1", "--json", "-") == 0
    output, errors = capsys.readouterr()
    names = [row["name"] for row in json.loads(output)["results"]]
    assert {"scout", "scout-user-stage"} <= set(names) and not any(re.match("c($|-)", name) for name in names)
    assert "no C compiler" in errors


@pytest.mark.long
@pytest.mark.needs_namespaces
@pytest.mark.parametrize("replicas", [1, 2])
def test_demo(replicas: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.run(0.5, replicas, "-", str(tmp_path / "demo.svg")) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == 1 and report["command"] == "demo"
    rows = {row["name"]: row for row in report["results"]}
    assert rows["ping"]["received"] == rows["ping"]["sent"]
    assert rows["tcp"]["intact"] and rows["tcp"]["bytes"] >= 200_000_000
    dropped = sum(row["packets"] for row in report["results"] if row["name"] == "flood-drop")
    assert rows["flood"]["sent"] == rows["flood"]["forwarded"] + dropped
    assert rows["flood"]["forwarded"] > 0
    assert len([row for row in report["results"] if row["name"] == "replica"]) == replicas
    assert not any(isinstance(value, dict | list) for row in report["results"] for value in row.values())
    assert (tmp_path / "demo.svg").exists()
    assert not [name for name in _namespaces() if name.startswith(f"scout-{os.getpid()}.")]


@pytest.mark.needs_namespaces
def test_a_killed_demo_leaves_nothing_after_the_next_start(tmp_path: Path) -> None:
    with start("demo", "--seconds", "3600", cwd=tmp_path) as process:
        assert process.stderr
        for line in process.stderr:  # the namespaces are there before anything is compiled or sent
            if "compiling" in line or "ping" in line:
                break
        assert any(f"scout-{process.pid}." in name for name in _namespaces())
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
    with Lab("after"):
        assert not any(f"scout-{process.pid}." in name for name in _namespaces())


def _namespaces() -> list[str]:
    return os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
