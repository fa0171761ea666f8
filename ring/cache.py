"""The folder that holds generated source and compiled code.

Numba compares only the file that an entry point stands in with what it compiled; a callee that changed in another file
would leave stale code. The folder is therefore named after a hash of all of Scout's sources and of the versions of the
compiler: other sources use another folder. Cached code is executed, so a folder that another user could write to is not
used.
"""

import atexit
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from scout.ring.errors import ScoutError

__all__ = ["cache_folder", "locked", "write"]

KEPT = 8
"""Folders of other sources that are kept, the last used ones."""

IN_USE = 3600
"""Seconds since its last use in which a folder is never deleted: a process may still be running its code."""


@cache
def cache_folder() -> Path:
    """The folder for code that was generated and compiled from exactly these sources.

    It lies in `$SCOUT_CACHE`; by default in `scout` in `$XDG_CACHE_HOME` or `~/.cache`, else in a folder of this user's
    in the temporary folder. If none of these can be used, a temporary folder serves until the process ends.

    Raises
    ------
    ScoutError
        If `$SCOUT_CACHE` is set and cannot be used.
    """
    chosen = os.environ.get("SCOUT_CACHE")
    roots = [Path(chosen).absolute()] if chosen else _default_roots()
    for root in roots:
        try:
            return _prepared(root)
        except (OSError, ScoutError) as error:
            if chosen:
                reason = error.strerror if isinstance(error, OSError) else error
                raise ScoutError(f"SCOUT_CACHE={chosen}: {reason}; give a folder of your own, or unset it") from error
    return _temporary()


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Let no other process compile the function of this name for the time of a `with` block.

    Processes that start at the same time would all compile the same: those that wait find it in the cache.
    """
    folder = cache_folder() / "locks"
    folder.mkdir(mode=0o700, exist_ok=True)
    with open(folder / hashlib.sha256(name.encode()).hexdigest()[:_DIGITS], "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)  # the process's own; the kernel releases it when the process closes the file
        with _writing():
            yield


def write(file: Path, content: bytes) -> None:
    """Write a file of the cache: aside, and renamed when it is whole, since another process may be reading."""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    with _writing():
        descriptor, aside = tempfile.mkstemp(prefix=f"{file.name}{_ASIDE}", dir=file.parent)
        try:
            with open(descriptor, "wb") as opened:
                opened.write(content)
            os.replace(aside, file)
        except BaseException:
            os.unlink(aside)
            raise


def _default_roots() -> list[Path]:
    """The folders to try, in this order."""
    chosen, home = os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~")
    roots = [Path(tempfile.gettempdir()) / f"scout-{os.getuid()}"]
    if os.path.isabs(chosen):
        return [Path(chosen) / "scout", *roots]
    # An unknown user's home stays "~", and an empty one becomes the root of the file system: no home of anybody.
    return [Path(home) / ".cache" / "scout", *roots] if os.environ.get("HOME") != "" and os.path.isdir(home) else roots


def _prepared(root: Path) -> Path:
    """Make and check the folder of these sources in `root`, and delete those that were not used for long."""
    if not root.is_symlink():
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)  # not by `parents`: those get the mode of the umask
    folder = root / _fingerprint()
    _check(root)
    is_new = not folder.exists()
    folder.mkdir(mode=0o700, exist_ok=True)
    _check(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ScoutError(f"{folder} cannot be written to")
    if is_new:
        _prune(root, folder)
    else:
        _delete_partial(folder)
    os.utime(folder)
    return folder


def _check(folder: Path) -> None:
    """Refuse a folder that another user could put code into."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise ScoutError(f"{folder} is no folder itself but a link or a file")
    if status.st_uid != os.getuid():
        raise ScoutError(f"{folder} belongs to user {status.st_uid}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ScoutError(f"other users can write to {folder}: chmod 700 {folder}")


def _prune(root: Path, current: Path) -> None:
    """Delete the folders of other sources but for the `KEPT` last used ones."""
    last_use = {}
    for folder in root.iterdir():
        with suppress(OSError):  # another process may delete it meanwhile
            if folder != current and _is_fingerprint(folder.name) and not folder.is_symlink():
                last_use[folder] = folder.stat().st_mtime
    oldest_first = sorted(last_use, key=lambda folder: last_use[folder])
    for folder in oldest_first[: max(len(oldest_first) - KEPT, 0)]:
        if time.time() - last_use[folder] > IN_USE:
            shutil.rmtree(folder, ignore_errors=True)


_ASIDE = ".tmp."
"""In the name of a file that is being written: in numba's as in Scout's own."""


@contextmanager
def _writing() -> Iterator[None]:
    """Have no other process delete files that are not whole yet for the time of a `with` block."""
    with open(cache_folder() / "writing", "w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # the counterpart is in `_delete_partial`
        yield


def _delete_partial(folder: Path) -> None:
    """Delete what processes were writing when they were killed, unless a process is writing now."""
    with open(folder / "writing", "w") as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for partial in folder.rglob(f"*{_ASIDE}*"):
            partial.unlink(missing_ok=True)


def _temporary() -> Path:
    """Make a folder that serves until this process ends, and delete those of processes that were killed."""
    prefix = f"scout-{os.getuid()}-"
    for found in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):  # another user's, or one in use
            os.close(_held(found))
            shutil.rmtree(found, ignore_errors=True)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        with suppress(OSError):  # another process that starts now may take it for a dead one's
            _held(folder)
            if folder.exists():
                atexit.register(_remove, folder, os.getpid())
                return folder


def _held(folder: Path) -> int:
    """Take the lock of a temporary folder: a descriptor that keeps it as long as this process and its children live.

    Raises
    ------
    OSError
        If a process holds it, or it is no folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove(folder: Path, owner: int) -> None:
    """Delete a temporary folder when the process that made it ends; its forked children leave it alone."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


_DIGITS = 16


def _is_fingerprint(name: str) -> bool:
    return len(name) == _DIGITS and set(name) <= set("0123456789abcdef")


def _fingerprint() -> str:
    """A hash of all of Scout's sources, and of the versions of what compiles them."""
    package = Path(__file__).absolute().parent.parent  # not resolved: the parts are links in a checkout
    top = package if package.name == "scout" else package / "scout"
    digest = hashlib.sha256(f"{version('numba')} {version('llvmlite')} {version('numpy')}".encode())
    for folder in [top, *(top / part for part in ("io", "paths", "ring", "tools"))]:
        for source in sorted(folder.rglob("*.py")):
            digest.update(str(source.relative_to(top)).encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:_DIGITS]
