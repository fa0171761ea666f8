"""Figures that change: intervals between measurements, and short texts for people."""

from collections.abc import Iterator
from time import monotonic, sleep

__all__ = ["short", "ticks"]


def ticks(interval: float, count: int | None) -> Iterator[int]:
    """Wait for the end of each interval, in seconds. Missed intervals are left out, so that the others are on time."""
    start, tick = monotonic(), 0
    while count is None or tick < count:
        elapsed = monotonic() - start
        sleep(interval - elapsed % interval)
        yield tick
        tick += 1


def short(value: float) -> str:
    """1234567.0 as "1.23 M"."""
    for unit in ("", " k", " M", " G"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g} T"
