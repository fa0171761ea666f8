"""Draw the picture of docs/architecture.md's section on shapes: python docs/pictures/shapes.py [svg | png]."""

import sys
from pathlib import Path
from typing import Any

import matplotlib
from draw import BOTH, FIRST, INK, PALE, SECOND, block, empty
from matplotlib.figure import Figure


def word(axes: Any, x: float, y: float, text: str, **style: Any) -> None:
    """A word, by default in small ink to the right of its place."""
    axes.text(x, y, text, **({"color": INK, "fontsize": 8.5, "va": "center"} | style))


def lead(axes: Any, start: tuple[float, float], end: tuple[float, float], colour: str = BOTH, bend: float = 0) -> None:
    """An arrow from one place to another."""
    style = {"arrowstyle": "-|>", "color": colour, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style | {"connectionstyle": f"arc3,rad={bend}"})


def shapes() -> Figure:
    """From a packet to code: demux, the paths by number, their shapes, the tiers of a new one, and when it changes."""
    figure, axes = empty(9.6, 5.1, (0, 24), (-5.9, 7.2))
    for x, text in ((1.4, "packet"), (5.2, "demux"), (10.3, "path, by number"), (16, "shape"), (21.2, "code")):
        word(axes, x, 6.8, text, ha="center", fontsize=9.5, color=BOTH)

    block(axes, 0.1, 3.4, 2.6, 1, PALE, "key")
    word(axes, 1.4, 3.1, "addresses, protocol,\nports, DSCP", ha="center", va="top", fontsize=8, color=BOTH)
    lead(axes, (2.8, 3.9), (3.5, 3.9))
    for row, text in enumerate(("exact: a hash", "masks: a hash each", "default path")):
        block(axes, 3.6, 4.6 - 1.15 * row, 3.3, 1, PALE, text)
    word(axes, 5.25, 2.1, "patterns hold from one\nepoch to another", ha="center", va="top", fontsize=8, color=BOTH)

    paths = ((2, FIRST), (7, FIRST), (8, SECOND), (9, SECOND))
    for row, (number, colour) in enumerate(paths):
        y = 5.15 - 1.05 * row
        block(axes, 8.3, y, 0.8, 0.9, colour, str(number))
        block(axes, 9.1, y, 1.6, 0.9, PALE, "record")
        block(axes, 10.7, y, 1.7, 0.9, PALE, "counters")
        if row < 3:
            lead(axes, (7.0, 5.1 - 1.15 * row), (8.2, y + 0.45))
        lead(axes, (12.5, y + 0.45), (14.2, 5.0 if colour == FIRST else 2.4), colour)
    word(
        axes,
        10.3,
        1.75,
        "a new path of a known shape\nis one of these rows",
        ha="center",
        va="top",
        fontsize=8,
        color=BOTH,
    )

    block(axes, 14.3, 4.55, 3.4, 0.9, FIRST, "of the start")
    block(axes, 14.3, 1.95, 3.4, 0.9, SECOND, "new: a slot")
    block(axes, 14.3, 1.0, 3.4, 0.85, PALE, "tier: a setting")
    lead(axes, (17.8, 5.0), (19.1, 5.0), FIRST)
    block(axes, 19.2, 4.5, 4.3, 1, FIRST, "fused before the start")
    lead(axes, (17.8, 1.6), (19.1, 2.6), SECOND)
    lead(axes, (17.8, 1.3), (19.1, 0.6), SECOND)
    for index in range(4):
        block(axes, 19.2 + 1.08 * index, 2.2, 0.98, 0.9, SECOND, "stage")
    word(axes, 21.3, 3.35, "linked: each by its address", ha="center", fontsize=8, color=SECOND)
    block(axes, 19.2, 0.1, 4.3, 0.9, SECOND, "fused, by its address")
    word(
        axes,
        21.3,
        -0.2,
        "made by the builder process, in\nmemory that all replicas execute",
        ha="center",
        va="top",
        fontsize=8,
        color=BOTH,
    )

    word(axes, 0.1, -2.2, "in every replica, from the same request on:", fontsize=8.5)
    x = 0.1
    for width, colour, text in (
        (4.6, PALE, "packets: on an older path"),
        (1.5, INK, "create"),
        (6.0, SECOND, "linked"),
        (1.3, INK, "swap"),
        (6.0, SECOND, "fused"),
        (1.5, INK, "delete"),
        (2.6, PALE, "older path"),
    ):
        block(axes, x, -3.8, width, 1.1, colour, "" if colour == INK else text)
        if colour == INK:
            word(axes, x + width / 2, -3.25, text, ha="center", color="white")
        x += width
    word(
        axes,
        0.1,
        -4.3,
        "requests of the channel, in order; the dark ones are changes, each with its epoch",
        fontsize=8,
        color=BOTH,
    )
    lead(axes, (5.5, -4.8), (12.6, -4.8), BOTH)
    word(axes, 9.0, -5.15, "the builder compiles meanwhile", ha="center", va="top", fontsize=8, color=BOTH)
    return figure


if __name__ == "__main__":
    suffix = sys.argv[1] if len(sys.argv) > 1 else "svg"
    matplotlib.rcdefaults()
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "scout", "font.size": 9})
    file = Path(__file__).with_suffix(f".{suffix}")
    shapes().savefig(file, dpi=110, metadata={"Date": None} if suffix == "svg" else None)
