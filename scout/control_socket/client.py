"""The asking end of the control socket, for commands and for scripts of one's own."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scout.control_socket.place import sockets
from scout.control_socket.protocol import encode
from scout.ring.errors import ScoutError

__all__ = ["ask", "find", "running"]

_TIMEOUT = 30.0  # seconds: a replica that leaves may take 6, and others may be asked to leave before it
_SHORT_TIMEOUT = 5.0  # seconds for a router to say what it is


def ask(
    path: str | Path, do: str, parameters: Mapping[str, Any] | None = None, timeout: float = _TIMEOUT
) -> dict[str, Any]:
    """Make a request of the router whose control socket is at `path`.

    Parameters
    ----------
    path : str or pathlib.Path
    do : str
        The request's name, as "show routes".
    parameters : mapping, optional
        Values that JSON can write.
    timeout : float
        Seconds to wait for the answer.

    Returns
    -------
    dict
        The answer: `time_s`, the router's monotonic clock; `rows`, and `total`, how many rows there are.

    Raises
    ------
    ScoutError
        If nothing answers there, or the router refuses the request.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall(encode({"do": do, **(parameters or {})}))
            with connection.makefile("rb") as lines:
                line = lines.readline()
    except TimeoutError as error:
        raise ScoutError(f"{path}: the router does not answer; is it stopped?") from error
    except OSError as error:
        raise ScoutError(
            f"{path}: no router answers there ({error.strerror or error}); start one by scout run"
        ) from error
    if not line.endswith(b"\n"):
        raise ScoutError(f"{path}: the router ended before it answered")
    answer: dict[str, Any] = json.loads(line)
    if not answer["ok"]:
        raise ScoutError(answer["error"])
    return answer


def running() -> dict[Path, dict[str, Any]]:
    """The routers of this user that answer: their sockets, each with the row of "show router"."""
    found = {}
    for path in sockets():
        try:
            found[path] = ask(path, "show router", timeout=_SHORT_TIMEOUT)["rows"][0]
        except ScoutError:
            continue  # its process has died, or does not answer
    return found


def find(file: str | None = None) -> Path:
    """The control socket of the only router that runs, or of the only one that runs a router file.

    Raises
    ------
    ScoutError
        If none runs, or several do; lists them.
    """
    known = running()
    wanted = str(Path(file).resolve()) if file else None
    matching = [path for path, row in known.items() if wanted in (None, row["file"])]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        which = (
            f"no process runs {file}; start it with scout run {file}"
            if file
            else "no router runs; start one by scout run FILE"
        )
        raise ScoutError(which)
    listed = ", ".join(f"{path} ({known[path]['router']}, {known[path]['file']})" for path in matching)
    raise ScoutError(f"several routers run: {listed}; choose one by --socket PATH")
