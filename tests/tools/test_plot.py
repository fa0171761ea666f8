"""Plots: any number of panels, only where they are wanted, and silent for a user without a home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scout.ring.errors import ScoutError
from scout.tools.drawing.plot import Line, Panel, check_plot, plot

PANEL = Panel("a title", "x", "y", [(1, "one"), (2, "two")], [Line("a line", [1, 2], [3, 4], 0)])


@pytest.mark.parametrize("number", [1, 4, *(pytest.param(each, marks=pytest.mark.long) for each in (2, 3, 5))])
def test_any_number_of_panels_can_be_plotted(number: int, tmp_path: Path) -> None:
    files = plot(str(tmp_path / "plot.png"), "All", [PANEL] * number)
    assert files == [tmp_path / "plot.svg", tmp_path / "plot.png"]
    assert files[0].read_text().count("a title") == number
    assert files[1].read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_plotted_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoutError, match=r"--plot .*gif: name a \.svg or \.png"):
        check_plot(str(tmp_path / "plot.gif"))
    with pytest.raises(ScoutError, match=r"--plot .*there is no folder"):
        check_plot(str(tmp_path / "nowhere" / "plot.svg"))
    (tmp_path / "plot.png").mkdir()
    with pytest.raises(ScoutError, match=r"--plot .*plot\.png: this is a folder"):
        check_plot(str(tmp_path / "plot.svg"))


@pytest.mark.parametrize(
    "home", ["/proc/nowhere/home", *(pytest.param(each, marks=pytest.mark.long) for each in ("/proc", ""))]
)
def test_without_a_home_nothing_is_printed(home: str, tmp_path: Path) -> None:
    program = (
        "from test_plot import *; from scout.tools.drawing.draw import draw; import networkx as nx;"
        f"plot({str(tmp_path / 'plot.svg')!r}, 'All', [PANEL]);"
        f"graph = nx.DiGraph(); graph.add_node('a', router='a'); draw(graph, {str(tmp_path / 'a.svg')!r})"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    environment |= {"HOME": home, "SCOUT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
