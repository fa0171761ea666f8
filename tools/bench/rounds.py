"""Interleaved rounds of measurements, and the spread of their figures."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import Progress

__all__ = ["interleaved", "percentiles_row", "rounded", "spread"]

Figure = TypeVar("Figure")


def interleaved(contenders: Sequence[Callable[[], Figure]], rounds: int, what: str) -> list[list[Figure]]:
    """Measure all contenders in turn, `rounds` times: a disturbance of the machine disturbs all of them alike.

    Parameters
    ----------
    contenders : sequence of callable
        Each measures once and returns its figure.
    rounds : int
    what : str
        The label of the progress bar, which is shown on a terminal only.

    Returns
    -------
    list of list
        For each contender its figures, one for each round.
    """
    figures: list[list[Figure]] = [[] for _ in contenders]
    for number in _progress(rounds * len(contenders), what):
        index = number % len(contenders)
        figures[index].append(contenders[index]())
    return figures


def _progress(steps: int, what: str) -> Iterator[int]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from range(steps)
        return
    with Progress(console=console, transient=True) as progress:
        yield from progress.track(range(steps), description=what)


def spread(figures: Sequence[float], unit: str) -> dict[str, float]:
    """The minimum, median and maximum of figures, with the keys `<unit>_min`, `<unit>_median` and `<unit>_max`."""
    return {
        f"{unit}_min": rounded(min(figures)),
        f"{unit}_median": rounded(median(figures)),
        f"{unit}_max": rounded(max(figures)),
    }


def percentiles_row(seconds: Sequence[float]) -> dict[str, float]:
    """The keys of a row about times: `p50_us`, `p99_us` and `max_us`, and `rate`, how many of them a second has."""
    p50, p99 = (float(np.percentile(seconds, part)) * 1e6 for part in (50, 99))
    row = {"p50_us": rounded(p50), "p99_us": rounded(p99), "max_us": rounded(max(seconds) * 1e6)}
    return row | {"rate": rounded(len(seconds) / sum(seconds))}


def rounded(figure: float) -> float:
    """Round to an integer, and small figures to four significant digits: no figure but zero becomes zero."""
    return round(figure) if figure >= 1e4 else float(f"{figure:.4g}")
