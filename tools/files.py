"""Files that commands write where the user told them to."""

import os
from pathlib import Path

from scout.ring.errors import ScoutError

__all__ = ["OutputError", "check_writable", "write_file"]


class OutputError(ScoutError):
    """Output could not be written, for a reason that was not there when the command began: the work failed."""


def check_writable(path: str, option: str = "") -> None:
    """Refuse a file that cannot be written, before the work starts.

    Parameters
    ----------
    path : str
    option : str
        The command-line option that named the file, for the message.

    Raises
    ------
    ScoutError
        If the folder is missing, the path is a folder, or permission lacks.
    """
    target, place = Path(path), f"{option} {path}".strip()
    if target.is_dir():
        raise ScoutError(f"{place}: this is a folder; name a file in it")
    if not target.parent.is_dir():
        raise ScoutError(f"{place}: there is no folder {target.parent}; make it, or name another file")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise ScoutError(f"{place}: permission denied; name a file that can be written")


def write_file(path: str, content: bytes) -> None:
    """Write a whole file.

    Raises
    ------
    OutputError
        If that fails, for example because the disk is full.
    """
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}") from error
