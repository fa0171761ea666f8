"""`scout bench services`: a small run of the real thing, its bounds, its search, and the port that plays traces."""

import json
from pathlib import Path

import pytest
from harness import one_port

from scout.io.host.process import usable_cores
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.tools.bench import service_trials, services
from scout.tools.bench.service_trials import INDEPENDENT, LOSS, Case, Figures, Trial, allows
from scout.tools.bench.services import MEASURES, Group
from scout.tools.bench.trace_port import Offered, TracePort, drain, follow

MAC = "02:00:00:00:00:01"
FRAME = bytes.fromhex("020000000001020000000099") + b"\x88\xb5" + bytes(46)  # an ethertype for experiments


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENTRIES": 256, "LAPS": 1, "SECONDS": 0.01, "STEPS": 1}.items():
        monkeypatch.setattr(service_trials, name, value)


@pytest.mark.long
@pytest.mark.usefixtures("short")
@pytest.mark.skipif(len(usable_cores()) < 2, reason="with one core there is nothing to compare")
def test_rows_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    report, picture = tmp_path / "services.json", tmp_path / "services.svg"
    services.run(1, ["port_knocking"], ["plain"], ["single"], str(picture), str(report))
    rows = json.loads(report.read_text())["results"]
    cores = len(usable_cores())
    modes = [mode for mode in ("replicated", "sharded", "locked", "atomic") if allows("port_knocking", mode)]
    expected = {("replicated", 1, measure) for measure in MEASURES} | {(INDEPENDENT, cores, "drain")}
    expected |= {(mode, cores, measure) for mode in modes for measure in MEASURES}
    assert {(row["mode"], row["replicas"], row["measure"]) for row in rows} == expected
    for row in rows:
        rates = [row[f"{row['measure']}_pps_{name}"] for name in ("min", "median", "max")]
        assert 0 < rates[0] <= rates[1] <= rates[2]
        assert row["speedup"] > 0 and row["bound"] > 0
        if row["replicas"] == 1:
            assert row["bound"] == row["speedup"] == 1
        if row["mode"] == INDEPENDENT:
            assert row["bound"] == row["speedup"]
    assert picture.exists()
    assert f"{cores} independent processes reach" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.usefixtures("short")
def test_a_trace_that_does_not_pass_its_service_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_trials, "KNOCK", 7001)  # the trace knocks at 7000
    with pytest.raises(ScoutError, match="the trace does not pass the service"):
        Trial(Case("port_knocking", "replicated", "single", "plain", 1)).measure()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ScoutError, match="--trace double"):
        services.run(1, [], [], ["double"], None, None)


def group(machine: float, follow_ns: float, rate: float) -> tuple[Group, Case]:
    """One core serves a request in 500 ns; two rounds, of which the second is half as fast in all."""
    one = Case("heavy_hitter", "sharded", "single", "aes-gcm", 1)
    both = Case("heavy_hitter", INDEPENDENT, "single", "aes-gcm", 2)
    replicated = Case("heavy_hitter", "replicated", "single", "aes-gcm", 2)
    alone = [Figures(2e6, 2e6, 0.0), Figures(1e6, 1e6, 0.0)]
    figures = {
        one: alone,
        both: [Figures(machine * 2e6, 0.0, 0.0), Figures(machine * 1e6, 0.0, 0.0)],
        replicated: [Figures(rate, rate, follow_ns), Figures(rate / 2, rate / 2, 2 * follow_ns)],
    }
    return Group(figures), replicated


def test_the_bound_is_the_smaller_of_the_machines_and_the_models() -> None:
    one, case = group(machine=1.7, follow_ns=50.0, rate=3e6)
    assert one.model(case) == pytest.approx(500 / (50 + 450 / 2))
    assert one.bound(case) == pytest.approx(1.7)
    two, case = group(machine=1.95, follow_ns=50.0, rate=3.2e6)
    assert two.bound(case) == pytest.approx(500 / 275)
    rows = {(row["mode"], row["measure"]): row for row in two.rows()}
    assert rows["replicated", "drain"]["speedup"] == 1.6 and rows["replicated", "drain"]["bound"] == 1.818
    assert rows["sharded", "drain"]["bound"] == 1 and rows[INDEPENDENT, "drain"]["bound"] == 1.95
    assert (INDEPENDENT, "mlffr") not in rows
    assert any("0.88 of the smaller" in sentence for sentence in two.sentences())


class Limited:
    """A port behind which a service passes at most so many packets a second."""

    def __init__(self, pps: float) -> None:
        self.pps, self.offers = pps, 0

    def offer(self, pps: float, seconds: float) -> Offered:
        self.offers += 1
        packets, served = round(pps * seconds), round(min(pps, self.pps) * seconds)
        return Offered(packets, packets - served, served, 0)


@pytest.mark.parametrize("drained", [2e5, 1e6, 5e6])
def test_the_search_finds_the_rate_at_which_no_more_than_the_allowed_share_is_lost(drained: float) -> None:
    port = Limited(1e6)
    found = service_trials._searched(port, drained)  # type: ignore[arg-type]
    assert 0.97 <= found / (1e6 / (1 - LOSS)) <= 1
    assert port.offers < 30


def test_a_trace_is_drained_by_all_replicas_and_followed_by_one_that_is_no_primary() -> None:
    port = TracePort(MAC, [FRAME] * 64)
    graph = one_port(port=port)
    with Supervisor(graph, [graph.create_path("left")], 2) as supervisor:
        cursors = supervisor.channels[0][0].cursors
        assert drain([port]) > 0
        assert cursors["seen"][:2].tolist() == [64, 64] and cursors["claimed"][:2].sum() == 64
        before = int(cursors["claimed"][1])
        for lap in range(1, 4):
            assert follow(port, 1, supervisor.processes[1]) > 0
            assert cursors["seen"][:2].tolist() == [64 * (lap + 1)] * 2
        assert cursors["claimed"][1] == before
        assert port.offer(1e4, 0.01).packets > 0
    account = supervisor.account()
    assert account["received"] == sum(sum(account[part].values()) for part in ("out", "ended", "drops"))
    assert "unread-at-stop" not in account["drops"]
