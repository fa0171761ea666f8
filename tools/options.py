"""Options that several commands share. Their values are checked while the command line is read, before any work."""

from typing import Annotated

import typer

from scout.ring.errors import ScoutError
from scout.tools.files import check_writable

__all__ = [
    "MOST_REPLICAS",
    "Capture",
    "DemoReplicas",
    "File",
    "Folder",
    "FrameBytes",
    "Json",
    "Output",
    "Picture",
    "Plot",
    "Replicas",
    "Rounds",
    "Socket",
]


MOST_REPLICAS = 31
"""The number in `scout.ring.membership`, which is not imported here because it imports numba."""


def _check_replicas(number: int | None) -> int | None:
    if number is not None and not 1 <= number <= MOST_REPLICAS:
        raise ScoutError(f"--replicas {number}: give 1 to {MOST_REPLICAS}")
    return number


def _check_json(path: str | None) -> str | None:
    if path is not None and path != "-":
        check_writable(path, "--json")
    return path


def _check_capture(path: str | None) -> str | None:
    if path is not None:
        check_writable(path, "--pcapng")
    return path


def _check_picture(path: str) -> str:
    from scout.tools.drawing.draw import check_picture

    check_picture(path)
    return path


def _check_plot(path: str | None) -> str | None:
    from scout.tools.drawing.plot import check_plot

    if path is not None:
        check_plot(path)
    return path


def _check_sizes(sizes: list[str] | None) -> list[str] | None:
    for size in sizes or []:
        if size != "imix" and not (size.isdecimal() and 60 <= int(size) <= 1514):
            raise ScoutError(f"--frame-bytes {size}: give 60 to 1514, or imix")
    return sizes


Capture = Annotated[
    str | None,
    typer.Option(
        "--pcapng", metavar="PATH", help="Write the packets there, as seen behind each stage.", callback=_check_capture
    ),
]
File = Annotated[
    str, typer.Argument(help="A Python file that defines a RouterGraph; or a lesson of Scout's, as 01_router.py.")
]
Folder = Annotated[
    str, typer.Option("--report", metavar="FOLDER", help="Where to write the page; made if it is not there.")
]
FrameBytes = Annotated[
    list[str] | None,
    typer.Option(help="Sizes of frames without the check sequence, 60 to 1514, or imix.", callback=_check_sizes),
]
Json = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="PATH", help="Write the figures there; - for standard output.", callback=_check_json
    ),
]
Output = Annotated[
    str,
    typer.Option("--output", "-o", help="Picture to write: .svg, .png, .dot or .mmd.", callback=_check_picture),
]
Picture = Annotated[
    str, typer.Option(help="Where to draw the path: .svg, .png, .dot or .mmd.", callback=_check_picture)
]
Plot = Annotated[
    str | None,
    typer.Option(help="Where to plot: a .svg or .png; both are written. By default nowhere.", callback=_check_plot),
]
Replicas = Annotated[
    int | None, typer.Option(help="How many domains; one per core by default.", callback=_check_replicas)
]
Socket = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="A running router's control socket; by default that of the only one."),
]
DemoReplicas = Annotated[
    int | None,
    typer.Option(
        help="How many domains; by default one per core, less one core for the traffic.", callback=_check_replicas
    ),
]
Rounds = Annotated[int, typer.Option(help="How often each contender is measured.", min=1)]
