"""How Scout uses matplotlib: without messages, and with the same result for every user and at every run."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["figure_settings", "prepare_matplotlib"]


def prepare_matplotlib() -> None:
    """Call this before matplotlib is imported.

    Where matplotlib cannot write its own cache (a user without a home), it would print a warning and look for all fonts
    at every start: there it uses Scout's cache.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    home = Path(os.path.expanduser("~"))
    bases = {"XDG_CONFIG_HOME": home / ".config", "XDG_CACHE_HOME": home / ".cache"}  # as matplotlib looks for them
    if "MPLCONFIGDIR" not in os.environ and not all(
        _can_write(Path(os.environ.get(name) or base) / "matplotlib") for name, base in bases.items()
    ):
        from scout.ring.cache import cache_folder

        os.environ["MPLCONFIGDIR"] = str(cache_folder() / "matplotlib")


def _can_write(folder: Path) -> bool:
    """Whether this process can write to the folder, or make it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_absolute() and os.access(folder, os.W_OK)


@contextmanager
def figure_settings(**settings: Any) -> Iterator[None]:
    """Have matplotlib forget the user's settings for the time of a `with` block, and keep text as text in SVG."""
    prepare_matplotlib()
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        chosen: Any = {"svg.fonttype": "none", "svg.hashsalt": "scout", **settings}
        matplotlib.rcParams.update(chosen)
        yield
