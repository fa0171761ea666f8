"""Projections to more cores than the machine has: models fitted to the measurements (docs/replication-model.md).

All times are nanoseconds for each request. Fits are least squares of relative errors, so that short and long
requests count alike; `error` is the root of their mean square: 0.1 for a tenth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["ChannelModel", "Sample", "ServiceModel", "fit_channel", "fit_service", "ideal_speedup"]


def ideal_speedup(ratio: float, cores: int) -> float:
    """(R + P) / (R + P / N) for P : R = `ratio` : 1, on `cores` cores."""
    return (1 + ratio) / (1 + ratio / cores)


@dataclass(frozen=True)
class ChannelModel:
    """A replica's time for an entry: `alone`, and `other` more for each other replica at the same ring."""

    alone: float
    other: float
    error: float

    def ns(self, replicas: int) -> float:
        """A replica's time for an entry, of `replicas` that dequeue at once."""
        return self.alone + self.other * (replicas - 1)


def fit_channel(replicas: Sequence[int], ns: Sequence[float]) -> ChannelModel:
    """Fit the time of an entry, `ns`, measured with so many `replicas`."""
    counts, times = np.asarray(replicas, float), np.asarray(ns, float)
    alone, other = _least_squares(np.column_stack([np.ones_like(counts), counts - 1]), times)
    return ChannelModel(alone, other, _error((alone + other * (counts - 1)) / times))


@dataclass(frozen=True)
class Sample:
    """A measurement of the synthetic service: its mode (or "sequential"), updates, cores, time of a request."""

    mode: str
    private: int  # updates of a core's own memory
    shared: int  # updates that every core must see
    cores: int
    ns: float


@dataclass(frozen=True)
class ServiceModel:
    """The synthetic service's costs.

    Attributes
    ----------
    private, shared : float
        An update of private memory, and of one's own copy of the state.
    channel : float
        To dequeue a request and let go of it.
    lock, handover : float
        To take and free a lock that nobody wants; and what taking it costs more if others have it by turns: the
        lock's line and those of the state come from another core.
    atomic, transfer : float
        An atomic update alone; and what it costs more if another core has the line.
    lines : int
        Cache lines of the state: so many transfers can be under way at once.
    error : float
        Root mean square of the relative errors of the fit.
    """

    private: float
    shared: float
    channel: float
    lock: float
    handover: float
    atomic: float
    transfer: float
    lines: int
    error: float = 0.0

    def ns(self, mode: str, private: int, shared: int, cores: int) -> float:
        """Time from one request to the next, all cores together.

        replicated  c + R + P/N
        locked      max((c + P + S) / N, S), where S = R + l, and handover more if N > 1
        atomic      max((c + P + A) / N, m t / L), where A = m (a + (1 - 1/N) t)
        """
        parallel = private * self.private
        if mode == "sequential":
            return parallel + shared * self.shared
        if mode == "replicated":
            return self.channel + shared * self.shared + parallel / cores
        others = 1 - 1 / cores
        if mode == "locked":
            section = shared * self.shared + self.lock + (self.handover if cores > 1 else 0)
            return max((self.channel + parallel + section) / cores, section)
        each = self.atomic + others * self.transfer
        busiest = shared * self.transfer / self.lines if cores > 1 else 0
        return max((self.channel + parallel + shared * each) / cores, busiest)


def fit_service(samples: Sequence[Sample], lines: int) -> ServiceModel:
    """Fit the costs, one after the other: each from the samples in which it is the only one not known yet.

    Samples of the sequential loop and of all modes on one core are needed. Without samples of several cores
    there is no contention: `handover` and `transfer` are 0.
    """
    own = _picked(samples, "sequential")
    private, shared = _least_squares(np.array([(s.private, s.shared) for s in own], float), _times(own))
    known = ServiceModel(private, shared, 0.0, 0.0, 0.0, 0.0, 0.0, lines)

    def fitted(name: str, mode: str, several: bool) -> ServiceModel:
        chosen = [sample for sample in _picked(samples, mode) if (sample.cores > 1) == several]
        return _search(known, name, chosen) if chosen else known

    known = _search(known, "channel", _picked(samples, "replicated"))
    known = fitted("lock", "locked", several=False)
    known = fitted("handover", "locked", several=True)
    known = fitted("atomic", "atomic", several=False)
    known = fitted("transfer", "atomic", several=True)
    modelled = np.array([known.ns(s.mode, s.private, s.shared, s.cores) for s in samples])
    return replace(known, error=_error(modelled / _times(samples)))


def _picked(samples: Sequence[Sample], mode: str) -> list[Sample]:
    return [sample for sample in samples if sample.mode == mode]


def _times(samples: Sequence[Sample]) -> np.ndarray:
    return np.array([sample.ns for sample in samples])


def _least_squares(columns: np.ndarray, times: np.ndarray) -> tuple[float, float]:
    """Coefficients of two columns, neither below 0, with the least relative errors."""
    weighted = columns / times[:, None]
    ones = np.ones(len(times))
    both = np.linalg.lstsq(weighted, ones, rcond=None)[0]
    if both.min() >= 0:
        return float(both[0]), float(both[1])
    singles = [max(0.0, float(column @ ones / (column @ column))) if column.any() else 0.0 for column in weighted.T]
    candidates = [(singles[0], 0.0), (0.0, singles[1])]
    return min(candidates, key=lambda pair: float(((weighted @ np.array(pair) - 1) ** 2).sum()))


def _search(model: ServiceModel, name: str, samples: Sequence[Sample]) -> ServiceModel:
    """`model` with the value of `name` that has the least relative errors: golden section, over the logarithm."""

    def wrong(value: float) -> float:
        tried = _with(model, name, value)
        return _error(np.array([tried.ns(s.mode, s.private, s.shared, s.cores) / s.ns for s in samples]))

    best = _golden(lambda exponent: wrong(float(np.exp(exponent))), np.log(1e-3), np.log(1e6))
    value = float(np.exp(best))
    return _with(model, name, value if wrong(value) < wrong(0.0) else 0.0)


def _with(model: ServiceModel, name: str, value: float) -> ServiceModel:
    changes: Any = {name: value}
    return replace(model, **changes)


def _golden(wrong: Callable[[float], float], low: float, high: float) -> float:
    """Where `wrong`, which first falls and then rises, is least."""
    golden = (5**0.5 - 1) / 2
    while high - low > 1e-9:
        left, right = high - golden * (high - low), low + golden * (high - low)
        # Flat on the left where the value is too small to matter: the least is further right.
        if wrong(left) < wrong(right):
            high = right
        else:
            low = left
    return (low + high) / 2


def _error(ratios: np.ndarray) -> float:
    """Of model to measurement. By logarithms: twice as much is as wrong as half as much."""
    return float(np.sqrt(np.square(np.log(ratios)).mean()))
