"""The lessons that come with Scout (`examples/` in the repository), wherever it is installed."""

import re
from pathlib import Path

import scout
from scout.ring.errors import ScoutError

__all__ = ["LESSONS", "router_file"]

LESSONS = Path(scout.__file__).parent / "examples"


def router_file(name: str) -> str:
    """The path of the router file `name`: the file itself if it exists, else the lesson of that name.

    Only `01_router.py` and `examples/01_router.py` name the first lesson outside of a checkout. A file that is missing
    from any other folder stays missing.

    Raises
    ------
    ScoutError
        If the name looks like one of a lesson, and there is neither a lesson nor a file of this name.
    """
    path = Path(name)
    lesson = LESSONS / path.name
    names_lesson = path in (Path(path.name), Path("examples", path.name))
    if not names_lesson or path.exists():
        return name
    if lesson.is_file():
        return str(lesson)
    if re.match(r"\d+_", path.name):
        lessons = ", ".join(sorted(each.name for each in LESSONS.glob("[0-9]*.py")))
        raise ScoutError(f"{name}: no such file, and no such lesson; the lessons are {lessons}")
    return name
