"""The forwarding benchmark's rows, its search, and the page of `scout bench all`; no figure is judged."""

import json
from pathlib import Path

import pytest
from commands import here
from hypothesis import given
from hypothesis import strategies as st

from scout.tools.bench import everything, forward
from scout.tools.bench.page import Section, forward_panels, tables, write_page
from scout.tools.bench.search import LOSS, Trial, loss_free_rate
from scout.tools.report import machine

MACHINE = {"cpus": 2, "model": "a <fast> one", "kernel": "6.18", "python": "3.11", "numba": "0.6"}


@given(capacity=st.floats(1e3, 1e6), highest=st.floats(1e3, 2e6))
def test_the_search_finds_the_capacity_of_a_device(capacity: float, highest: float) -> None:
    def trial(pps: float) -> Trial:
        return Trial(10**6, round(10**6 * max(0.0, 1 - capacity / pps)), pps)

    found = loss_free_rate(trial, highest)
    assert found <= capacity * (1 + 2 * LOSS)
    assert found >= min(capacity, highest) - highest / 128


def test_the_search_does_not_trust_a_generator_that_is_too_slow() -> None:
    assert loss_free_rate(lambda pps: Trial(1000, 0, min(pps, 500_000.0)), 1_000_000) <= 500_000


@pytest.mark.long
@pytest.mark.needs_namespaces
def test_rows_have_the_shapes_that_tools_rely_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(forward, "TRIAL", 0.05)
    monkeypatch.setattr(forward, "HIGHEST", 2e5)  # less traffic: no figure is judged
    monkeypatch.setattr(forward, "PROBES", {"idle": (5, 0.0), "half": (5, 0.0)})
    arguments = ("--rounds", "1", "--seconds", "0.05", "--flows", "16", "--frame-bytes", "imix", "--json", "-")
    assert here("bench", "forward", *arguments) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    pps, gbps = ([f"{unit}_{which}" for which in ("min", "median", "max")] for unit in ("pps", "gbps"))
    who = ["name", "replicas"]
    shapes = {tuple(row) for row in rows}
    assert shapes == {
        (*who, "flows", "frame_bytes", *pps),
        (*who, "load", "flows", "frame_bytes", *pps),
        (*who, "load", "us_p50", "us_p99"),
        (*who, "load", "connections", *gbps),
    }
    floods = [row for row in rows if list(row) == [*who, "flows", "frame_bytes", *pps]]
    assert {"scout-afpacket", "kernel", "python-socket"} <= {row["name"] for row in floods}
    assert all(row["flows"] == 16 and row["frame_bytes"] == "imix" for row in floods)
    assert {row["load"] for row in rows if "us_p50" in row} == {"idle", "half"}
    assert {row["connections"] for row in rows if row.get("load") == "tcp"} == {1, 8}
    assert {row["name"] for row in rows if row.get("load") == "tcp"} == {"scout-afpacket", "kernel", "direct"}
    assert len(forward_panels(rows)) == 4


def test_rows_of_one_shape_make_one_table() -> None:
    assert tables([{"a": 1}, {"b": 2}, {"a": 3}]) == [[{"a": 1}, {"a": 3}], [{"b": 2}]]


def test_the_page_names_the_machine_and_escapes_what_it_shows(tmp_path: Path) -> None:
    report = {"results": [{"name": "x<y", "pps": 1_000_000, "ratio": None}], "parameters": {"rounds": 3}}
    sections = [
        Section("path", "scout bench path", "About it.", report, "path.svg"),
        Section("soak", "scout bench soak", "About that.", None, None),
    ]
    text = write_page(tmp_path, sections, MACHINE).read_text()
    for expected in ("a &lt;fast&gt; one", "x&lt;y", "1,000,000", "src='path.svg'", "rounds 3", "It failed"):
        assert expected in text
    assert "None" not in text


def test_all_benchmarks_are_run_and_a_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The benchmarks are played by a program that writes a report, or fails."""
    player = tmp_path / "player.py"
    player.write_text(
        "import json, sys\n"
        "name, path = sys.argv[2], sys.argv[4]\n"
        "report = {'parameters': {}, 'results': [{'name': name, 'replicas': 1, 'load': 'tcp', 'connections': 1,"
        " 'gbps_median': 1.0}]}\n"
        "open(path, 'w').write(json.dumps(report)) if name != 'soak' else sys.exit(1)\n"
    )
    monkeypatch.setattr(everything, "_SCOUT", [everything.sys.executable, str(player)])
    folder = tmp_path / "new" / "figures"
    assert here("bench", "all", "--report", str(folder)) == 1
    text = (folder / "index.html").read_text()
    assert text.count("<h2") == len(everything.BENCHMARKS) and text.count("It failed") == 1
    assert machine()["kernel"] in text and (folder / "forward.svg").exists()
    assert "failed: soak" in capsys.readouterr().err


def test_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, word in (
        (("forward", "--measure", "speed"), "--measure speed"),
        (("forward", "--frame-bytes", "59"), "--frame-bytes 59"),
        (("forward", "--frame-bytes", "long"), "--frame-bytes long"),
        (("forward", "--flows", "0"), "--flows"),
        (("all", "--report", "/proc/figures"), "--report /proc/figures"),
    ):
        assert here("bench", *arguments) == 2
        errors = capsys.readouterr().err
        assert len(errors.strip().splitlines()) == 1 and word in errors
