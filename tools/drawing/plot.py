"""Plots in the form of the paper's figures: what was measured as lines, projections dashed and labelled as such.

SVG and PNG, without pyplot, so that settings and windows of whoever calls stay as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scout.ring.errors import ScoutError

__all__ = ["Line", "Panel", "check_plot", "plot"]

# Okabe and Ito's colours, told apart with every kind of colour vision, and markers for print without colour.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"
_SUFFIXES = (".svg", ".png")


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Parameters
    ----------
    label : str
        Its entry in the legend; empty for none.
    x, y : sequence of float
        Its points.
    style : int
        Which colour and marker: lines that belong together have the same.
    projected : bool
        Dashed, as it was not measured.
    thin : bool
        Half as wide and with open markers.
    joined : bool
        False for points that have nothing between them.
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
    """One pair of axes: its title, what the axes are, the ticks of the x axis (logarithmic), the lines, a remark below.

    `base` is that of a logarithmic y axis; 0 for a linear one, from zero on.
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
        If the name ends in something else, or its folder is not there.
    """
    target = Path(path)
    if target.suffix not in _SUFFIXES:
        raise ScoutError(f"--plot {path}: name a .svg or .png; both are written")
    if not target.parent.is_dir():
        raise ScoutError(f"--plot {path}: there is no folder {target.parent}; make it or name another")


def plot(path: str, title: str, panels: Sequence[Panel]) -> list[Path]:
    """Draw the panels, two in a row; the two files written, SVG and PNG.

    Raises
    ------
    ScoutError
        If a file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    check_plot(path)
    rows = -(-len(panels) // 2)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "scout", "font.size": 9})
        figure = Figure(figsize=(10.4, 4.3 * rows), layout="constrained")
        figure.suptitle(title, fontsize=12)
        for axes, panel in zip(figure.subplots(rows, 2).flat, panels, strict=True):
            _draw(axes, panel)
        files = [Path(path).with_suffix(suffix) for suffix in _SUFFIXES]
        for file in files:
            try:
                figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)
            except OSError as error:
                raise ScoutError(f"--plot {file}: {error.strerror}; name a file that can be written") from error
    return files


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
