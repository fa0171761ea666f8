"""Draw the pictures of docs/replicated-work.md: python docs/pictures/draw.py [svg | png]."""

import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from scout.tools.bench.projection import ideal_speedup

FIRST, SECOND, BOTH, PALE, INK = "#0072B2", "#D55E00", "#555555", "#DDDDDD", "#222222"


def empty(width: float, height: float, x: tuple[float, float], y: tuple[float, float]) -> tuple[Figure, Any]:
    """A figure with nothing but what is drawn in it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=x, ylim=y)
    axes.axis("off")
    return figure, axes


def block(axes: Any, x: float, y: float, width: float, height: float, colour: str, text: str = "") -> None:
    """A filled box with a word in it."""
    axes.add_patch(matplotlib.patches.Rectangle((x, y), width, height, facecolor=colour, edgecolor="white", lw=1.2))
    if text:
        ink = "white" if colour in (FIRST, SECOND) else INK
        axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", color=ink, fontsize=8.5)


def arrow(axes: Any, x: float, start: float, end: float, colour: str, text: str, **where: Any) -> None:
    """An arrow up or down to a place in the ring, with a word at its start."""
    style = {"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0, "lw": 1.4}
    axes.annotate("", (x, end), (x, start), arrowprops=style)
    given = {"ha": "center", "va": "bottom" if start > end else "top"} | where
    axes.text(x, start, text, color=colour, fontsize=8.5, **given)


def claims() -> Figure:
    """Entries, claims and heads, and what each replica does."""
    figure, axes = empty(9, 3.9, (-2.6, 16.2), (-5.4, 2.8))
    chain = ((40, 4, FIRST), (44, 3, SECOND), (47, 3, FIRST))
    axes.text(-0.3, 0.5, "the channel", ha="right", va="center", fontsize=9.5, color=INK)
    for number in range(40, 56):
        owner = next((colour for first, count, colour in chain if first <= number < first + count), PALE)
        block(axes, number - 40, 0, 1, 1, owner if number < 52 else "#F5F5F5", str(number) if number < 52 else "free")
    for first, count, colour in chain:
        axes.plot([first - 39.9, first - 40.1 + count], [1.18, 1.18], color=colour, lw=2)
        name = "replica 0" if colour == FIRST else "replica 1"
        axes.text(first - 40 + count / 2, 1.3, f"claim of {name}", ha="center", va="bottom", fontsize=8, color=colour)
    arrow(axes, 12, 2.25, 1.08, INK, "TAIL: the producer adds here")
    arrow(axes, 0, 2.25, 1.08, INK, "floor: kept from here on, to replay", ha="left")
    axes.text(11, -0.12, "not claimed yet", ha="center", va="top", fontsize=8, color=BOTH)
    for row, (name, own, head) in enumerate((("replica 0", FIRST, 47), ("replica 1", SECOND, 50))):
        y = -2.6 - 1.9 * row
        axes.text(-0.3, y + 0.5, name, ha="right", va="center", fontsize=9.5, color=own)
        for number in range(40, head):
            owner = next(colour for first, count, colour in chain if first <= number < first + count)
            axes.add_patch(
                matplotlib.patches.Rectangle((number - 39.95, y), 0.9, 0.25, facecolor=BOTH, edgecolor="none")
            )
            if owner == own:
                block(axes, number - 39.95, y + 0.27, 0.9, 0.85, own)
        if row == 0:
            block(axes, 7.05, y, 0.9, 0.25, "#B0B0B0")
            block(axes, 7.05, y + 0.27, 0.9, 0.85, "#9CC7E2")
            axes.text(8.1, y + 0.72, "at work on its claim", va="center", fontsize=8, color=own)
        axes.plot([head - 40] * 2, [y - 0.15, y + 1.25], color=own, lw=1.4)
        axes.text(head - 40, y - 0.2, f"head {head}", ha="center", va="top", fontsize=8.5, color=own)
    block(axes, 11.3, -3.0, 0.35, 0.6, FIRST)
    block(axes, 11.65, -3.0, 0.35, 0.6, SECOND)
    axes.text(12.2, -2.7, "high: work of the primary,\ndone once", va="center", fontsize=8.5, color=INK)
    axes.add_patch(matplotlib.patches.Rectangle((11.3, -4.3), 0.7, 0.22, facecolor=BOTH))
    axes.text(12.2, -4.2, "flat: replicated work,\ndone by all", va="center", fontsize=8.5, color=INK)
    return figure


def death() -> Figure:
    """A death and a successor, on a time line."""
    figure, axes = empty(9, 3.3, (-2.3, 20), (-4.0, 3.4))
    rows = {"replica 0": (1.0, FIRST), "replica 1": (-1.6, SECOND)}
    for name, (y, colour) in rows.items():
        axes.text(-0.2, y + 0.5, name, ha="right", va="center", fontsize=9.5, color=colour)

    def serve(row: str, x: float, width: float, text: str, primary: bool) -> None:
        y, colour = rows[row]
        block(axes, x, y if primary else y + 0.25, width, 1 if primary else 0.5, colour if primary else PALE, text)

    serve("replica 0", 0, 1.9, "92–95", True)
    serve("replica 0", 2.2, 1.5, "96–99", False)
    serve("replica 0", 3.7, 1.5, "100–103", False)
    serve("replica 0", 5.2, 1.3, "104–", True)
    arrow(axes, 2.05, 2.45, 1.9, INK, "snapshot at 96")
    axes.plot([2.05, 2.05], [0.9, 1.9], color=INK, lw=1.4)
    axes.plot(6.5, 1.5, "X", color=INK, markersize=11)
    axes.text(6.5, 2.2, "killed; it had\nclaimed 104–107", ha="center", va="bottom", fontsize=8.5, color=INK)
    style = {"arrowstyle": "-|>", "color": BOTH, "linestyle": ":", "lw": 1.2}
    axes.annotate("", (8.6, 1.5), (6.85, 1.5), arrowprops=style)
    axes.text(7.7, 1.3, "seen at once", ha="center", va="top", fontsize=8, color=BOTH)
    block(axes, 8.6, 1.0, 1.5, 1, "white", "loads 96")
    axes.add_patch(matplotlib.patches.Rectangle((8.6, 1.0), 1.5, 1, fill=False, edgecolor=FIRST, lw=1.2))
    serve("replica 0", 10.12, 1.6, "96–103", False)
    serve("replica 0", 11.7, 1.9, "104–107", True)
    serve("replica 0", 13.6, 2.3, "108–127", False)
    serve("replica 0", 15.9, 2.0, "128–131", True)
    serve("replica 0", 17.9, 1.5, "132–135", False)
    axes.text(8.6, 2.2, "its successor, in its place", ha="left", va="bottom", fontsize=8.5, color=FIRST)
    for x, what in ((10.9, "replays"), (12.65, "does again"), (14.75, "catches up")):
        axes.text(x, 0.85, what, ha="center", va="top", fontsize=8.5, color=INK)

    serve("replica 1", 0, 1.5, "92–95", False)
    serve("replica 1", 1.5, 1.9, "96–99", True)
    serve("replica 1", 3.4, 1.9, "100–103", True)
    serve("replica 1", 5.3, 1.5, "104–107", False)
    for index in range(5):
        serve("replica 1", 6.8 + 1.9 * index, 1.9, f"{108 + 4 * index}–{111 + 4 * index}", True)
    serve("replica 1", 16.3, 1.5, "128–131", False)
    serve("replica 1", 17.8, 1.9, "132–135", True)
    goes_on = "goes on, and is primary of more meanwhile"
    axes.text(6.8, -1.85, goes_on, ha="left", va="top", fontsize=8.5, color=SECOND)
    axes.annotate("", (19.8, -2.95), (0, -2.95), arrowprops={"arrowstyle": "-|>", "color": BOTH, "lw": 1.0})
    axes.text(19.8, -3.1, "time", ha="right", va="top", fontsize=8.5, color=BOTH)
    axes.text(0, -3.15, "high: primary; flat: one of the others", ha="left", va="top", fontsize=8.5, color=BOTH)
    return figure


def speedup() -> Figure:
    """The highest gain of replicated work, by the ratio of primary to replicated work."""
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    ratios = [2 ** (exponent / 8) for exponent in range(-8, 57)]
    for cores, colour in ((8, "#009E73"), (4, SECOND), (2, FIRST)):
        gains = [ideal_speedup(ratio, cores) for ratio in ratios]
        axes.plot(ratios, gains, color=colour, lw=1.8)
        axes.text(ratios[-1] * 1.06, gains[-1], f"{cores} cores", color=colour, va="center", fontsize=9)
    axes.axhline(1, color=BOTH, lw=1.0, ls="--")
    axes.text(ratios[-1], 1.08, "one core; one flow sharded, on any number", color=BOTH, ha="right", fontsize=8.5)
    axes.set_xscale("log", base=2)
    ticks = [0.5, 1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, [f"{tick:g}:1" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="primary work P : replicated work R", ylabel="speed-up, (R + P) / (R + P / N)", ylim=(0.8, 8.2))
    axes.grid(True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(suffix: str) -> None:
    """Draw all of them beside this file."""
    matplotlib.rcdefaults()
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "scout", "font.size": 9})
    for drawing in (claims, death, speedup):
        file = Path(__file__).with_name(f"{drawing.__name__}.{suffix}")
        drawing().savefig(file, dpi=110, metadata={"Date": None} if suffix == "svg" else None)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "svg")
