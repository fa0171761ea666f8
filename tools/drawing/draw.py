"""Pictures of router graphs and paths, in four formats."""

from pathlib import Path

import networkx as nx

from scout.ring.errors import ScoutError
from scout.tools.drawing.graphviz import dot
from scout.tools.drawing.mermaid import mermaid
from scout.tools.drawing.paint import picture
from scout.tools.files import check_writable, write_file

__all__ = ["check_picture", "draw"]


SUFFIXES = (".svg", ".png", ".dot", ".mmd")


def check_picture(path: str | Path) -> None:
    """Refuse a file that cannot be drawn to, before any work is done.

    Raises
    ------
    ScoutError
        If the suffix is unknown, or the file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise ScoutError(f"{path}: cannot draw {suffix or 'a file without suffix'}; use .svg, .png, .dot or .mmd")
    check_writable(str(path))


def draw(graph: nx.DiGraph, path: str | Path, title: str = "") -> None:
    """Draw `graph` to a file, in the format that its suffix names: .svg, .png, .dot or .mmd.

    The same graph gives the same bytes, so that a committed picture changes only when the graph does.

    Parameters
    ----------
    graph : networkx.DiGraph
        A router graph or a path; `scout.tools.drawing.scene` lists the attributes that are drawn.
    path : str or pathlib.Path
        The file to write.
    title : str
        A line above the picture; none by default.

    Raises
    ------
    ScoutError
        If the suffix is another one, the graph cannot be drawn, or the file cannot be written.
    """
    check_picture(path)
    suffix = Path(path).suffix
    if suffix in (".svg", ".png"):
        content = picture(graph, suffix[1:], title)
    else:
        content = (dot if suffix == ".dot" else mermaid)(graph, title).encode()
    write_file(str(path), content)
