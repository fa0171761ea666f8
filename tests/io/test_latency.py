"""Histograms of latencies: the bins, as compiled code finds them."""

import numpy as np
import pytest
from numba.core import types

from scout.io.latency import BINS, bin_of, bounds
from scout.ring.jit import entry


@entry(types.void(types.int64[::1], types.int64[::1]))
def find_bins(latencies: np.ndarray, bins: np.ndarray) -> None:
    for index in range(len(latencies)):
        bins[index] = bin_of(latencies[index])


@pytest.mark.parametrize("last", [1 << 20, 1 << 39])
def test_a_latency_lies_between_the_bounds_of_its_bin(last: int) -> None:
    latencies = np.unique(np.geomspace(1, last, 5_000).astype(np.int64))
    bins = np.zeros(len(latencies), np.int64)
    find_bins(latencies, bins)
    edges = bounds()
    assert (edges[bins] <= latencies).all() and (latencies < edges[bins + 1]).all()
    assert (edges[1:] / edges[:-1]).max() <= 1.25


def test_what_is_too_short_or_too_long_is_in_the_first_and_the_last_bin() -> None:
    latencies = np.array([-5, 0, 1, 1 << 41, 1 << 62])
    bins = np.zeros(5, np.int64)
    find_bins(latencies, bins)
    assert bins.tolist() == [0, 0, 0, BINS - 1, BINS - 1]
    assert bounds()[0] == 1.0 and bounds()[-1] == 2.0**40
