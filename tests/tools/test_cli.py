"""The commands as people type them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LESSON = str(ROOT / "examples" / "01_router.py")


BENCHES = ["bench forward", "bench path", "bench channel", "bench replication"]


def scout(*arguments, **options):
    command = [sys.executable, "-c", "from scout.tools.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


@pytest.mark.parametrize("command", ["demo", "run", "draw", "rates", "doctor", *BENCHES])
def test_help_shows_an_example(command):
    result = scout(*command.split(), "--help")
    assert result.returncode == 0
    assert f"Example: scout {command}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--bogus"], ["--bogus"]),
        (["demo", "--seconds", "-1"], ["--seconds"]),
        (["run", "nowhere.py"], ["nowhere.py", "no such file"]),
        (["run", __file__ + "x"], ["no such file"]),
        (["draw", LESSON, "-o", "picture.gif"], [".svg"]),
        (["draw", LESSON, "-o", "x.svg", "--path", "up"], ["up", "left"]),
        (["draw", LESSON, "-o", "x.svg", "--live"], ["--live", "scout run"]),
        (["rates", "nosuch0"], ["nosuch0"]),
        (["bench", "channel", "--plot", "figure.gif"], ["--plot", ".svg"]),
        (["bench", "replication", "--plot", "nowhere/figure.svg"], ["--plot", "nowhere"]),
        (["bench", "replication", "--updates", "0"], ["--updates", "at least 1"]),
    ],
)
def test_bad_usage_is_one_line_and_status_2(arguments, words, tmp_path):
    result = scout(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert all(word in result.stderr for word in words), result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", ["no router graph"]),
        ("import nonsense_of_mine\n", ["router.py:1", "nonsense_of_mine"]),
        ("\nif\n", ["router.py:2"]),
        ("from scout import RouterGraph\ng = RouterGraph('g')\n", ["no port"]),
        (
            "from scout import RouterGraph\ng = RouterGraph('g')\ng.connect('a', 'b')\n",
            ["router.py:3", "'a'"],
        ),
    ],
)
def test_a_file_that_is_no_router(text, words, tmp_path):
    file = tmp_path / "router.py"
    file.write_text(text)
    result = scout("run", str(file))
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert all(word in result.stderr for word in words), result.stderr


@pytest.mark.parametrize("suffix", ["svg", "png", "dot", "mmd"])
def test_draw(suffix, tmp_path):
    for extra in ([], ["--path", "left"]):
        output = tmp_path / f"picture.{suffix}"
        result = scout("draw", LESSON, "-o", str(output), *extra)
        assert result.returncode == 0, result.stderr
        assert output.stat().st_size > 200


@pytest.mark.needs_namespaces
@pytest.mark.parametrize("replicas", [1, 2])
def test_demo(replicas, tmp_path):
    result = scout("demo", "--seconds", "0.5", "--replicas", str(replicas), "--json", "-", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["schema"] == 1 and report["command"] == "demo"
    rows = {row["name"]: row for row in report["results"]}
    assert rows["ping"]["received"] == rows["ping"]["sent"]
    assert rows["tcp"]["intact"] and rows["tcp"]["bytes"] >= 200_000_000
    flood = rows["flood"]
    assert flood["sent"] == flood["forwarded"] + sum(flood["drops"].values())
    assert flood["forwarded"] > 0
    figures = [row for row in report["results"] if row["name"] == "replica"]
    assert len(figures) == replicas
    assert (tmp_path / "scout-demo.svg").exists()
    assert not [name for name in os.listdir("/run/netns") if name.startswith(f"scout-{result.args}")]


@pytest.mark.needs_namespaces
def test_a_killed_demo_leaves_nothing_after_the_next_start(tmp_path):
    command = [sys.executable, "-c", "from scout.tools.cli import main; main()", "demo", "--seconds", "30"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not any(f"scout-{process.pid}." in name for name in _namespaces()) and time.monotonic() < end:
        time.sleep(0.05)
    assert any(f"scout-{process.pid}." in name for name in _namespaces())
    time.sleep(1.0)
    process.kill()
    process.wait()
    from scout.io.host.lab import Lab

    with Lab("after"):
        assert not any(f"scout-{process.pid}." in name for name in _namespaces())


def _namespaces():
    return os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
