"""What benchmarks share: interleaved rounds, and the table of what they gave."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, TypeVar

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

__all__ = ["interleaved", "show", "spread"]

Figure = TypeVar("Figure")


def interleaved(contenders: Sequence[Callable[[], Figure]], rounds: int, what: str) -> list[list[Figure]]:
    """Measure all contenders in turn, `rounds` times: what disturbs the machine disturbs all alike."""
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


def spread(figures: Sequence[float], unit: str, digits: int = 0) -> dict[str, float]:
    """Least, median and greatest, as `unit_min` and so on."""

    def rounded(value: float) -> float:
        return round(value, digits) if digits else round(value)

    values = {"min": min(figures), "median": median(figures), "max": max(figures)}
    return {f"{unit}_{name}": rounded(value) for name, value in values.items()}


def show(rows: list[dict[str, Any]], stderr: bool) -> None:
    """Print rows that have the same keys as a table."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for key in rows[0]:
        shown.add_column(key, justify="left" if key == "name" else "right", no_wrap=True)
    for row in rows:
        shown.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = 200  # a pipe has no width of its own
    console.print(shown)
