"""How commands end: closed pipes, full disks, signals, descriptors that are closed from the start."""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
from commands import MEMORY_ROUTER, PATIENCE, SCOUT, here, scout, start

from scout.tools.report import Report

SHELL = " ".join(map(shlex.quote, SCOUT))


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("guard") / "memory_router.py"
    file.write_text(MEMORY_ROUTER)
    return str(file)


@pytest.fixture(scope="module")
def endless_router(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A router whose input has no end."""
    file = tmp_path_factory.mktemp("guard") / "memory_router.py"
    file.write_text(MEMORY_ROUTER.replace(", frames=[bytes(60)] * 3", ""))
    return str(file)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("--help | head -1", 0),
        ("--help >&-", 0),
        ("--help > /dev/full", 1),
        ("rates lo --interval 0.01 | head -1", 0),  # would go on for ever
        ("rates lo --interval 0.01 --count 2 --json /dev/full", 2),
        ("run ROUTER --replicas 1 > /dev/full", 1),
        pytest.param("rates lo --interval 0.01 --count 2 > /dev/full", 1, marks=pytest.mark.long),
        *(
            pytest.param(f"run ROUTER --replicas 1 {rest}", status, marks=pytest.mark.long)
            for rest, status in (
                ("| true", 0),
                ("--json - | true", 0),
                (">&- 2>&-", 0),
                ("< /dev/null 2> /dev/full", 0),
                ("--json - > /dev/full", 1),
            )
        ),
        ("run ROUTER --replicas 1 --json /dev/full", 2),
        ("draw ROUTER -o /dev/full", 2),
    ],
)
def test_the_end_is_a_status_and_at_most_one_line(command: str, status: int, router: str) -> None:
    line = f"{SHELL} {command.replace('ROUTER', shlex.quote(router))}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == status, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("scout: ")]
    errors = [line for line in said if not line.startswith(("scout: compiling", "scout: ready"))]
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert len(errors) == (status > 0), done.stderr
    assert all("No space left on device" in line or "cannot draw" in line for line in errors)


@pytest.mark.parametrize(
    "encoding",
    [
        {"PYTHONIOENCODING": "ascii"},
        pytest.param({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, marks=pytest.mark.long),
    ],
)
def test_characters_that_a_terminal_does_not_know_are_replaced(encoding: dict[str, str]) -> None:
    result = scout("doctor", env=os.environ | encoding)
    assert result.returncode in (0, 1) and "Traceback" not in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_signal_ends_a_running_router_with_its_account(number: signal.Signals, endless_router: str) -> None:
    with start("run", endless_router, "--replicas", "1") as process:
        assert process.stderr
        for line in process.stderr:
            if "ready" in line:
                break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert output.startswith("received") and errors == ""
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


@pytest.mark.long
def test_a_router_ends_when_its_terminal_is_closed(endless_router: str) -> None:
    terminal, side = os.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(side, termios.TIOCSCTTY, 0)

    try:
        process = start("run", endless_router, "--replicas", "1", preexec_fn=take_terminal)
        os.close(side)
        with process:
            assert process.stderr
            while "ready" not in (line := process.stderr.readline()):
                assert line, "it ended before it was ready"
            os.close(terminal)
            output, errors = process.communicate(timeout=PATIENCE)
    finally:
        with suppress(OSError):
            os.close(terminal)
    assert process.returncode == 0 and errors == ""
    assert output.startswith("received")


INTERRUPTED_IN_A_CALLBACK = """
import ctypes, os, signal, time
from scout.tools.guard import guarded

def work():
    ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.NUMBER))()
    while True:
        time.sleep(1)

guarded(work)
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_that_comes_while_c_code_calls_python_is_not_lost(number: str) -> None:
    """As when a picture's fonts are read."""
    program = INTERRUPTED_IN_A_CALLBACK.replace("NUMBER", number)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (130, "")


def test_an_interruption_as_soon_as_a_router_is_ready_ends_it_with_its_account(
    endless_router: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(report: Report, message: str) -> None:
        if message.startswith("ready"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Report, "note", interrupted)
    assert here("run", endless_router, "--replicas", "1") == 0
    assert capsys.readouterr().out.startswith("received")


@pytest.mark.long
def test_nohup_keeps_a_router_running_when_the_terminal_is_closed(endless_router: str) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with start("run", endless_router, "--replicas", "1", preexec_fn=ignore) as process:
        assert process.stderr
        for line in process.stderr:
            if "ready" in line:
                break
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.terminate()
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and output.startswith("received") and errors == ""
