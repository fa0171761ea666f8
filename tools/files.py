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
        If the folder is missing, the path is a folder, or the file cannot be written or created.
    """
    target, place = Path(path), f"{option} {path}".strip()
    if target.is_dir():
        raise ScoutError(f"{place}: this is a folder; name a file in it")
    if not target.parent.is_dir():
        raise ScoutError(f"{place}: there is no folder {target.parent}; make it, or name another file")
    if target.is_fifo():
        return  # it cannot be opened before it has a reader
    # Root has permission for any file and folder, but a file system such as /proc still refuses to write files, or to
    # make new ones. So write nothing to the file, or make it and remove it.
    is_new = not target.exists()
    created = os.path.realpath(target)
    try:
        descriptor = os.open(created, os.O_WRONLY | (os.O_CREAT | os.O_EXCL if is_new else 0))
        try:
            os.write(descriptor, b"")
        finally:
            os.close(descriptor)
        if is_new:
            os.unlink(created)
    except OSError as error:
        raise ScoutError(f"{place}: {error.strerror}; name a file that can be written") from error


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
        raise OutputError(f"{path}: {error.strerror}; make room, or name another file") from error
