"""Plots in the form of the paper's figures: measurements as lines, projections dashed and labelled as such.

They are written as SVG and PNG, without pyplot: the caller's matplotlib settings and windows stay as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from scout.ring.errors import ScoutError
from scout.tools.drawing.canvas import figure_settings
from scout.tools.drawing.palette import INK, PALETTE
from scout.tools.files import check_writable, write_file

__all__ = ["Line", "Panel", "check_plot", "plot"]

# The last colour is ink: a line in pale yellow is hard to see. The markers are for print without colour.
_COLOURS = (*PALETTE[:6], INK)
_MARKERS = "osD^vPX"
_SUFFIXES = (".svg", ".png")


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Parameters
    ----------
    label : str
        The entry in the legend; empty for none.
    x, y : sequence of float
        The points.
    style : int
        Selects the colour and the marker: lines that belong together have the same style.
    projected : bool
        True for a projection, which is dashed.
    thin : bool
        True for half the width and open markers.
    joined : bool
        False for points without a line between them.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: int
    projected: bool = False
    thin: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Parameters
    ----------
    title, x, y : str
        The title, and the labels of the axes.
    ticks : sequence of (float, str)
        The ticks of the x axis, which is logarithmic.
    lines : sequence of Line
    note : str
        A remark below the x axis.
    base : int
        The base of a logarithmic y axis; 0 for a linear one that starts at zero.
    """

    title: str
    x: str
    y: str
    ticks: Sequence[tuple[float, str]]
    lines: Sequence[Line]
    note: str = ""
    base: int = 0


def check_plot(path: str) -> None:
    """Refuse a name that cannot be plotted to, before anything is measured.

    Raises
    ------
    ScoutError
        If the name has another suffix, or one of the two files cannot be written.
    """
    if Path(path).suffix not in _SUFFIXES:
        raise ScoutError(f"--plot {path}: name a .svg or .png; both are written")
    for file in _files(path):
        check_writable(str(file), "--plot")


def plot(path: str, title: str, panels: Sequence[Panel]) -> list[Path]:
    """Draw the panels, two in a row.

    Parameters
    ----------
    path : str
        One of the two files to write; the other has the suffix .png or .svg in its place.
    title : str
    panels : sequence of Panel

    Returns
    -------
    list of pathlib.Path
        The two files written: SVG and PNG.

    Raises
    ------
    ScoutError
        If a file cannot be written.
    """
    check_plot(path)
    rows = -(-len(panels) // 2)
    with figure_settings(**{"font.size": 9}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10.4, 4.3 * rows), layout="constrained")
        figure.suptitle(title, fontsize=12)
        axes = list(figure.subplots(rows, 2, squeeze=False).flat)
        for place, panel in zip(axes, panels, strict=False):
            _draw(place, panel)
        for spare in axes[len(panels) :]:
            spare.remove()
        for file in _files(path):
            content = BytesIO()
            metadata = {"Date": None} if file.suffix == ".svg" else None
            figure.savefig(content, format=file.suffix[1:], dpi=150, metadata=metadata)
            write_file(str(file), content.getvalue())
    return _files(path)


def _files(path: str) -> list[Path]:
    return [Path(path).with_suffix(suffix) for suffix in _SUFFIXES]


def _draw(axes, panel):  # type: ignore[no-untyped-def]
    for line in panel.lines:
        colour, marker = (choice[line.style % len(choice)] for choice in (_COLOURS, _MARKERS))
        axes.plot(
            line.x,
            line.y,
            label=line.label or None,
            color=colour,
            marker=marker,
            markersize=4 if line.joined else 7,
            markerfacecolor="none" if line.thin or line.projected else colour,
            linestyle="none" if not line.joined else "--" if line.projected else "-",
            linewidth=0.9 if line.thin or line.projected else 1.8,
        )
    axes.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
    axes.set_xscale("log", base=2)
    axes.set_xticks([at for at, _ in panel.ticks], [name for _, name in panel.ticks])
    if panel.base:
        axes.set_yscale("log", base=panel.base)
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.set_ylim(bottom=0)
    axes.minorticks_off()
    axes.grid(True, alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    if panel.note:
        axes.set_xlabel(f"{panel.x}\n{panel.note}")
