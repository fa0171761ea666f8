"""The lessons that come with Scout (`examples/` in the repository), wherever it is installed."""

from pathlib import Path

import scout

__all__ = ["LESSONS", "router_file"]

LESSONS = Path(scout.__file__).parent / "examples"


def router_file(name: str) -> str:
    """The router file of this name: a file, else the lesson that is called so.

    So `examples/01_router.py` and `01_router.py` name the first lesson also outside of a checkout.
    """
    lesson = LESSONS / Path(name).name
    return str(lesson) if not Path(name).exists() and lesson.is_file() else name
