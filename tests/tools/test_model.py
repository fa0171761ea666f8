"""The models behind projections: what they were given they find again."""

from dataclasses import replace

import numpy as np
import pytest

from scout.tools.bench.projection import ChannelModel, Sample, ServiceModel, fit_channel, fit_service, ideal_speedup

TRUTH = ServiceModel(private=1.9, shared=2.1, channel=3.0, lock=5.0, handover=180.0, atomic=2.6, transfer=22.0, lines=8)
RATIOS = (100, 50, 20, 10, 5, 2, 1)


def samples(truth: ServiceModel, most: int, noise: float = 0.0) -> list[Sample]:
    random = np.random.default_rng(1)
    cases = [
        (mode, 20 * ratio, 20, cores)
        for ratio in RATIOS
        for mode in ("sequential", "replicated", "locked", "atomic")
        for cores in range(1, 2 if mode == "sequential" else most + 1)
    ]
    return [Sample(*case, truth.ns(*case) * (1 + noise * random.standard_normal())) for case in cases]


def test_ideal_is_the_papers() -> None:
    assert ideal_speedup(10, 1) == 1
    assert ideal_speedup(10, 2) == pytest.approx(11 / 6)
    assert ideal_speedup(10, 8) == pytest.approx(11 / 2.25)
    assert ideal_speedup(1, 10**9) == pytest.approx(2)


@pytest.mark.parametrize("most", [2, 4, 8])
def test_finds_the_costs_it_was_given(most: int) -> None:
    found = fit_service(samples(TRUTH, most), TRUTH.lines)
    for name, value in vars(replace(TRUTH, error=0.0)).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-3, abs=1e-3), name


def test_noise_moves_projections_little_and_shows_in_the_error() -> None:
    found = fit_service(samples(TRUTH, 2, noise=0.02), TRUTH.lines)
    assert 0.01 < found.error < 0.04
    for mode in ("replicated", "locked", "atomic"):
        for cores in (8, 16, 64):
            assert found.ns(mode, 200, 20, cores) == pytest.approx(TRUTH.ns(mode, 200, 20, cores), rel=0.1)


def test_one_core_shows_no_contention() -> None:
    found = fit_service(samples(TRUTH, 1), TRUTH.lines)
    assert found.handover == found.transfer == 0
    assert found.lock == pytest.approx(TRUTH.lock, abs=1e-3)


def test_a_cost_that_is_not_there_is_zero_and_never_negative() -> None:
    free = replace(TRUTH, channel=0.0, lock=0.0)
    cheaper = [s if s.mode == "sequential" else replace(s, ns=s.ns * 0.98) for s in samples(free, 2)]
    found = fit_service(cheaper, TRUTH.lines)
    assert found.channel == found.lock == 0


def test_more_cores_never_serve_less_in_the_model() -> None:
    for mode in ("replicated", "locked", "atomic"):
        times = [TRUTH.ns(mode, 200, 20, cores) for cores in (2, 4, 8, 16, 64)]
        assert times == sorted(times, reverse=True)


def test_channel_model() -> None:
    found = fit_channel([1, 2, 4], [2.0, 2.5, 3.5])
    assert (found.alone, found.other) == pytest.approx((2.0, 0.5))
    assert found.error == pytest.approx(0, abs=1e-9)
    assert found.ns(64) == pytest.approx(33.5)


def test_other_replicas_never_make_an_entry_cheaper() -> None:
    found = fit_channel([1, 2], [2.0, 1.9])
    assert found.other == 0 and 1.9 < found.alone < 2.0
    assert isinstance(found, ChannelModel) and found.error > 0
