"""The lessons that come with Scout (`examples/` in the repository), wherever it is installed."""

from pathlib import Path

import scout

__all__ = ["LESSONS", "router_file"]

LESSONS = Path(scout.__file__).parent / "examples"


def router_file(name: str) -> str:
    """The path of the router file `name`: the file itself if it exists, else the lesson of that name.

    Only `01_router.py` and `examples/01_router.py` name the first lesson outside of a checkout. A file that is missing
    from any other folder stays missing.
    """
    path = Path(name)
    lesson = LESSONS / path.name
    names_lesson = path in (Path(path.name), Path("examples", path.name))
    return str(lesson) if names_lesson and not path.exists() and lesson.is_file() else name
