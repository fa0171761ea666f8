"""A running router's counters for other processes: `scout draw --live` reads what `scout run` publishes.

The counters are in an anonymous memory file, which readers find among the descriptors of the running process in /proc.
So nothing has to be cleaned up, whatever ends that process.
"""

import json
import os
import struct
import time
from pathlib import Path as FilePath
from typing import Any, BinaryIO

from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor

__all__ = ["Published", "read"]

_NAME = "scout-counters"
_HEADER = struct.Struct("<QQ")  # a version, which is odd while the text is being written; the text's length in bytes


class Published:
    """The writing end: the router file's name and the packets along every edge of every path, as JSON.

    Parameters
    ----------
    file : str
        The router file. Until the first `update`, readers learn that it is being compiled.
    """

    def __init__(self, file: str) -> None:
        self._file = str(FilePath(file).resolve())
        self._descriptor = os.memfd_create(_NAME)
        self._version = 0
        self._write(None)

    def update(self, supervisor: Supervisor) -> None:
        """Publish the counters as they are now."""
        self._write(
            {
                path.source: [[*edge, count] for edge, count in supervisor.flows(path).items()]
                for path in supervisor.paths
            }
        )

    def _write(self, flows: dict[str, list[list[Any]]] | None) -> None:
        text = json.dumps({"file": self._file, "time": time.monotonic(), "flows": flows}).encode()
        os.pwrite(self._descriptor, _HEADER.pack(self._version + 1, len(text)), 0)
        os.pwrite(self._descriptor, text, _HEADER.size)
        self._version += 2
        os.pwrite(self._descriptor, _HEADER.pack(self._version, len(text)), 0)


def read(file: str) -> dict[str, Any]:
    """The counters that the process which runs a router file publishes now.

    Parameters
    ----------
    file : str
        The router file.

    Returns
    -------
    dict
        `file`; `time`, in seconds of the monotonic clock; `flows`: for each path's source a list of [tail, head,
        packets].

    Raises
    ------
    ScoutError
        If no process runs the file, or the process is still compiling.
    """
    wanted = str(FilePath(file).resolve())
    for link in FilePath("/proc").glob("[0-9]*/fd/*"):
        try:
            if not os.readlink(link).startswith(f"/memfd:{_NAME}"):
                continue
            with open(link, "rb", buffering=0) as memory:
                found = _consistent(memory)
        except OSError:
            continue  # the process has ended, or belongs to another user
        if found["file"] == wanted:
            if found["flows"] is None:
                raise ScoutError(
                    f"--live: scout run {file} is still compiling; try again when it says that it is ready"
                )
            return found
    raise ScoutError(f"--live: no process runs {file}; start it with scout run {file}")


def _consistent(memory: BinaryIO) -> dict[str, Any]:
    """Read the text when no update is under way: the version is even, and the same before and after."""
    while True:
        memory.seek(0)
        version, size = _HEADER.unpack(memory.read(_HEADER.size))
        text = memory.read(size)
        memory.seek(0)
        if version % 2 == 0 and _HEADER.unpack(memory.read(_HEADER.size))[0] == version:
            found: dict[str, Any] = json.loads(text)
            return found
        time.sleep(0.001)
