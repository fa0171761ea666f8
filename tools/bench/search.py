"""Searches for the highest rate that passes a trial, in the way of RFC 2544 section 26.1."""

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["LOSS", "Trial", "highest_passing", "loss_free_rate"]

LOSS = 0.001
"""The part of the frames that may be lost: a virtual machine loses a few at any rate when it is interrupted."""
OFFERED = 0.97  # the part of the wanted rate that the generator must have reached
STEPS = 8  # halvings: the result is within half a percent of the first upper bound


class Trial(NamedTuple):
    """The result of one trial: frames sent and lost, and the rate that was really offered, frames a second."""

    sent: int
    lost: int
    pps: float


def loss_free_rate(trial: Callable[[float], Trial], highest: float) -> float:
    """Find the highest rate at which at most `LOSS` of the frames are lost, by halving.

    Parameters
    ----------
    trial : callable
        Takes a rate in frames a second and tries it.
    highest : float
        A rate that is certainly too high, or the most that is of interest.

    Returns
    -------
    float
        The highest offered rate of a trial that passed; 0 if none did.

    Examples
    --------
    >>> device = lambda rate: Trial(int(rate), max(0, int(rate) - 600_000), rate)
    >>> 590_000 < loss_free_rate(device, 1_000_000) <= 600_600
    True
    """
    low, high = 0.0, highest
    best = 0.0
    for _ in range(STEPS):
        rate = (low + high) / 2
        result = trial(rate)
        if result.lost <= LOSS * result.sent and result.pps >= OFFERED * rate:
            low, best = rate, max(best, result.pps)
        else:
            high = rate
    return best


def highest_passing(passes: Callable[[float], bool], first: float, up: float, down: float, halvings: int) -> float:
    """Find the highest rate that passes, where no upper bound is known.

    Parameters
    ----------
    passes : callable
        Takes a rate and tries it.
    first : float
        The rate to begin with.
    up, down : float
        The rate is multiplied by `up` until a trial fails, or by `down` until one passes.
    halvings : int
        Trials after that, each of the middle between the highest that passed and the lowest that failed.

    Examples
    --------
    >>> 580 < highest_passing(lambda rate: rate < 600, 100, 2, 0.5, 6) < 600
    True
    """
    low, high, rate = 0.0, 0.0, first
    steps = 0
    while steps < halvings:
        if passes(rate):
            low = max(low, rate)
        else:
            high = rate
        if low and high:
            rate, steps = (low + high) / 2, steps + 1
        else:
            rate *= up if low else down
    return low
