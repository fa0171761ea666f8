"""A running router's counters for other processes: `scout draw --live` reads what `scout run` publishes.

They are in an anonymous memory file that readers find among the runner's descriptors in /proc. So
nothing has to be cleaned up, whatever ends the runner.
"""

import json
import mmap
import os
import struct
import time
from pathlib import Path as FilePath
from typing import Any

from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor

__all__ = ["Published", "publish", "read"]

_NAME = "scout-counters"
_SIZE = 1 << 20
_HEADER = struct.Struct("<QQ")  # a number that is odd while the text is being written; the text's length


class Published:
    """The writing end: the file's name and the packets along every edge of every path, as JSON."""

    def __init__(self, file: str, supervisor: Supervisor) -> None:
        self._file, self._supervisor = str(FilePath(file).resolve()), supervisor
        self._descriptor = os.memfd_create(_NAME)
        os.ftruncate(self._descriptor, _SIZE)
        self._memory = mmap.mmap(self._descriptor, _SIZE)
        self._version = 0
        self.update()

    def update(self) -> None:
        """Write the counters as they are now."""
        flows = {
            path.source: [[*edge, count] for edge, count in self._supervisor.flows(path).items()]
            for path in self._supervisor.paths
        }
        text = json.dumps({"file": self._file, "time": time.monotonic(), "flows": flows}).encode()
        self._memory[: _HEADER.size] = _HEADER.pack(self._version + 1, len(text))
        self._memory[_HEADER.size : _HEADER.size + len(text)] = text
        self._version += 2
        self._memory[: _HEADER.size] = _HEADER.pack(self._version, len(text))


def publish(file: str, supervisor: Supervisor) -> Published:
    """Make a supervisor's counters readable for other processes of this user."""
    return Published(file, supervisor)


def read(file: str) -> dict[str, Any]:
    """What the process that runs router file `file` publishes now.

    Raises
    ------
    ScoutError
        If no process runs it.
    """
    wanted = str(FilePath(file).resolve())
    for link in FilePath("/proc").glob("[0-9]*/fd/*"):
        try:
            if not os.readlink(link).startswith(f"/memfd:{_NAME}"):
                continue
            with open(link, "rb") as memory:
                found = _consistent(memory)
        except OSError:
            continue  # gone, or another user's
        if found["file"] == wanted:
            return found
    raise ScoutError(f"--live: no process runs {file}; start it with scout run {file}")


def _consistent(memory: Any) -> dict[str, Any]:
    while True:
        memory.seek(0)
        version, size = _HEADER.unpack(memory.read(_HEADER.size))
        text = memory.read(size)
        memory.seek(0)
        if version % 2 == 0 and _HEADER.unpack(memory.read(_HEADER.size))[0] == version:
            return json.loads(text)
        time.sleep(0.001)
