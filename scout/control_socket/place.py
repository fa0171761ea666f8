"""Where control sockets are: their folder, their names, and the removal of those that dead processes left."""

import fcntl
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scout.ring.errors import ScoutError

__all__ = ["CONTROL", "folder", "listen", "remove", "sockets"]

CONTROL = ".sock"
"""The end of the names of control sockets."""

_LONGEST_NAME = 40  # characters of the router file's name that the socket's name has
_LONGEST_PATH = 107  # bytes of a socket's path, without the zero at its end (unix(7))
_BACKLOG = 128  # connections that wait to be accepted


def folder() -> Path:
    """The folder of the user's control sockets: in the user's runtime directory, or in the one for temporary files."""
    user = _user()
    for runtime in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{user}"):
        if runtime and os.path.isdir(runtime) and os.stat(runtime).st_uid == os.geteuid():
            return Path(runtime) / "scout"
    return Path(tempfile.gettempdir()) / f"scout-{user}"


def sockets(suffix: str = CONTROL) -> list[Path]:
    """The sockets of a kind in the user's folder, also those that dead processes left."""
    return sorted(path for path in folder().glob(f"*{suffix}") if path.is_socket())


def listen(
    name: str, path: str | None = None, suffix: str = CONTROL, kind: int = socket.SOCK_STREAM
) -> tuple[socket.socket, Path]:
    """Make a control socket, or another one, that only this user can connect to, and listen.

    Parameters
    ----------
    name : str
        The router's name; the socket gets the first name of `name.sock`, `name-2.sock` … that no running router has.
    path : str, optional
        The socket's path instead.
    suffix : str
        The end of the names of such sockets.
    kind : int
        The type of the socket.

    Returns
    -------
    tuple of socket.socket and pathlib.Path

    Raises
    ------
    ScoutError
        If it cannot be made, or a running process listens at `path`.
    """
    while True:
        parent = Path(path).resolve().parent if path else _made(folder())
        try:
            with _locked(parent) as is_there:
                if not path and not is_there:
                    continue  # the last router that ran has removed it: make it again
                if path is None:
                    for found in sockets(suffix):
                        _remove_if_stale(found)
                chosen = Path(path) if path else _free(parent, name[:_LONGEST_NAME], suffix)
                if path and not _remove_if_stale(chosen):
                    raise ScoutError(f"--control {path}: a running process listens there; give another path")
                return _bound(chosen, kind), chosen.absolute()
        except OSError as error:
            raise ScoutError(
                f"control socket in {parent}: {error.strerror or error}; give --control PATH in a folder of yours, or "
                "--no-control"
            ) from error


def remove(path: Path, inode: int) -> None:
    """Remove a control socket of this process, known by its inode, and the user's folder if it is empty then."""
    with suppress(OSError), _locked(path.parent):
        if path.stat().st_ino == inode:  # else it is somebody else's by now
            path.unlink()
        if path.parent == folder().absolute():
            path.parent.rmdir()


def _user() -> int:
    """The user's number outside of a user namespace that this process may be in, so that both sides find one folder."""
    own = os.geteuid()
    with open("/proc/self/uid_map") as ranges:
        for line in ranges:
            inside, outside, count = map(int, line.split())
            if inside <= own < inside + count:
                return outside + own - inside
    return own


def _made(place: Path) -> Path:
    """Make the folder; refuse one that others can change, for in /tmp anybody could have made it."""
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        found = place.lstat()
    except OSError as error:
        raise ScoutError(f"folder {place}: {error.strerror}; give --control PATH, or --no-control") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ScoutError(f"folder {place}: others may use it; remove it, or give --control PATH")
    return place


@contextmanager
def _locked(place: Path) -> Iterator[bool]:
    """Hold the lock of a folder: between bind and listen a socket looks as if a dead process had left it.

    False if the folder is not there any more.
    """
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield place.exists() and os.path.samestat(os.fstat(descriptor), place.stat())
    finally:
        os.close(descriptor)


def _remove_if_stale(path: Path) -> bool:
    """Remove a socket at which nobody listens; True if nothing is there now.

    Raises
    ------
    ScoutError
        If something else than a socket is there.
    """
    if not path.is_socket():
        if os.path.lexists(path):
            raise ScoutError(f"--control {path}: this is no socket; give another path")
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a listener whose backlog is full would keep the caller waiting
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return True
        except OSError:
            return False  # somebody listens, but is busy or belongs to another user
    return False


def _free(parent: Path, name: str, suffix: str) -> Path:
    number, path = 1, parent / f"{name}{suffix}"
    while os.path.lexists(path):
        number += 1
        path = parent / f"{name}-{number}{suffix}"
    return path


def _bound(path: Path, kind: int) -> socket.socket:
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ScoutError(
            f"control socket {path}: longer than {_LONGEST_PATH} bytes; give --control PATH with a shorter path"
        )
    made = socket.socket(socket.AF_UNIX, kind)
    try:
        os.fchmod(made.fileno(), 0o600)  # Linux gives the file the mode that the socket has when it is bound
        made.bind(str(path))
        made.listen(_BACKLOG)
    except BaseException:
        made.close()
        raise
    return made
