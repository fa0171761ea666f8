"""`scout bench channel`: small runs of the real thing, in Python and in C."""

import ctypes
import shutil

import pytest
from commands import report_of

from scout.io.host.process import usable_cores as cores
from scout.ring.layout import CHANNEL, MEMBER
from scout.tools.bench import channel as bench_channel
from scout.tools.bench import crew
from scout.tools.bench.baselines import compile_c
from scout.tools.bench.channel import DESCRIPTOR, PACKET, Case, _Bench

SHORTER = 256


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> _Bench:
    """No measurement is repeated because a replica was preempted: no figure is judged."""
    monkeypatch.setattr(crew, "_TRIES", 1)
    return _Bench(SHORTER)


def test_c_works_on_the_same_records() -> None:
    library = compile_c("ring.c", "-shared", "-fPIC")
    if library is None:
        pytest.skip("no C compiler is here")
    loaded = ctypes.CDLL(str(library))
    assert loaded.channel_bytes() == CHANNEL.itemsize
    assert loaded.member_bytes() == MEMBER.itemsize


@pytest.mark.parametrize("entry_bytes", [DESCRIPTOR, pytest.param(PACKET, marks=pytest.mark.long)])
@pytest.mark.parametrize("load", ["prefilled", pytest.param("streaming", marks=pytest.mark.long)])
@pytest.mark.parametrize("policy", ["claim", "refcount", "modulo"])
@pytest.mark.parametrize("name", ["scout", pytest.param("c", marks=pytest.mark.long)])
@pytest.mark.parametrize("crowd", [(2, 1), *(pytest.param(each, marks=pytest.mark.long) for each in ((1, 1), (2, 2)))])
def test_all_are_dequeued_and_have_one_primary(
    bench: _Bench, crowd: tuple[int, int], name: str, policy: str, load: str, entry_bytes: int
) -> None:
    """`measure` adds up what each replica read, and counts the primaries: it raises if anything is missing."""
    if name not in bench.loops:
        pytest.skip("no C compiler is here")
    replicas, producers = crowd
    for batch in (32, 1):
        rates = bench.measure(Case(name, load, policy, batch, producers, replicas, entry_bytes))
        assert rates.replica > 0 and rates.total > 0


def test_the_papers_scheme_has_one_primary(bench: _Bench) -> None:
    if "paper" not in bench.loops:
        pytest.skip("no C compiler is here")
    for replicas in (1, 2, 3):
        assert bench.measure(Case("c", "prefilled", "paper", 1, 1, replicas, DESCRIPTOR)).total > 0


def test_what_was_not_read_is_noticed(bench: _Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful:
        @staticmethod
        def drain(*arguments: object) -> int:
            return 0

    monkeypatch.setitem(bench.loops, "scout", Forgetful)
    with pytest.raises(RuntimeError, match="of 4096 requests 0 had a primary"):
        bench.measure(Case("scout", "prefilled", "claim", 32, 1, 1, DESCRIPTOR))


@pytest.mark.long
def test_rows_projections_and_plot(tmp_path, capsys) -> None:
    report, picture = tmp_path / "channel.json", tmp_path / "channel.png"
    bench_channel.run(1, str(report), str(picture), shorter=SHORTER)
    written = report_of(report, "bench channel")
    rows = written["results"]
    keys = {"name", "policy", "producers", "replicas", "entry_bytes", "batch", "load", "projected"}
    units = {f"mops_{what}_{figure}" for what in ("per_replica", "total") for figure in ("min", "median", "max")}
    assert all(keys | units <= set(row) for row in rows)
    measured = [row for row in rows if not row["projected"]]
    names = {"scout", "c"} if shutil.which("cc") else {"scout"}
    assert {row["name"] for row in measured} == names
    assert {row["policy"] for row in measured} >= {"claim", "refcount", "modulo"}
    assert {row["entry_bytes"] for row in measured} == {DESCRIPTOR, PACKET}
    assert {row["producers"] for row in measured if row["load"] == "streaming"} == {1, 2}
    assert {row["batch"] for row in measured} == {1, written["parameters"]["default_batch"]}
    most = max(row["replicas"] for row in measured)
    assert most == min(len(cores()), 31)
    assert all(row["replicas"] > most for row in rows if row["projected"])
    if most > 1:
        assert {row["replicas"] for row in rows if row["projected"]} == {n for n in (8, 16, 64) if n > most}
    for row in measured:
        if row["load"] == "prefilled" and row["name"] == "c":
            assert row["ratio_to_c"] == 1
    assert (tmp_path / "channel.svg").read_text().count("dashed: projected") == (4 if most < 64 else 0)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "claim, batches of" in capsys.readouterr().out
