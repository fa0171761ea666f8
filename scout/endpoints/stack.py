"""A running router that an application is attached to: its registry, and the memory that they share."""

import errno
import json
import mmap
import os
import select
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from scout.control_socket.place import folder, sockets
from scout.endpoints.registry import LONGEST, SUFFIX
from scout.io.endpoints.application import submit
from scout.ring.errors import ScoutError
from scout.ring.segment import address

__all__ = ["Stack", "attach", "newest"]

_DESCRIPTORS = 64  # that come with one answer at most

_attached: dict[str, "Stack"] = {}
_attaching = threading.Lock()
os.register_at_fork(after_in_child=_attached.clear)  # a child attaches by itself: one connection is one application's


class Stack:
    """A running router that this process is attached to; `attach` makes it.

    Attributes
    ----------
    pid : int
        The process of the router's supervisor.
    stream_bytes, stream_offset : int
        Bytes of each ring of a stream, and where it is in a socket's area.
    sockets : int
        Sockets that all applications together can have.
    secures : bool
        True if it can secure streams (`StreamSocket.secure`).
    congestion : int
        The congestion control of connections that choose none (`scout.paths.protocols.tcp.settings`).
    ended : select.epoll
        Readable once the router has ended.
    """

    def __init__(self, path: str) -> None:
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self.connection.connect(path)
        except OSError as problem:
            self.connection.close()
            raise ScoutError(_unreachable(path, problem)) from problem
        self.ended = select.epoll()
        self.ended.register(self.connection, 0)  # for its end alone
        self._asking, self._submitting = threading.Lock(), threading.Lock()
        answer, (self._file, self.bell), _ = self._answer()
        self.pid, self.socket_bytes, self.ring_bytes = answer["pid"], answer["socket_bytes"], answer["ring_bytes"]
        self.stream_bytes, self.stream_offset = answer["stream_bytes"], answer["stream_offset"]
        self._request_bytes, self.secures = answer["request_bytes"], answer["secures"]
        self.congestion = answer["congestion"]
        self.sockets = answer["sockets"]
        self._memory = np.frombuffer(mmap.mmap(self._file, 0), np.uint8)  # the whole file
        self._area = self.mapped(answer["offset"], answer["application_bytes"])
        self._here = address(self._area)

    def ask(self, do: str, **parameters: Any) -> tuple[dict[str, Any], list[int]]:
        """Make a request of the registry; its answer, and the descriptors that came with it.

        Raises
        ------
        OSError
            If it is refused, or the router has ended, or this process may not open so many files.
        """
        with self._asking:
            self.connection.send(json.dumps({"do": do, **parameters}).encode())
            answer, descriptors, is_whole = self._answer()
        if not is_whole:
            self._give_back(answer, descriptors)
            raise OSError(errno.EMFILE, "this process may not open that many files; raise ulimit -n")
        return answer, descriptors

    def _give_back(self, answer: dict[str, Any], descriptors: list[int]) -> None:
        """Close the sockets of an answer, of which not all descriptors came."""
        for descriptor in descriptors:
            os.close(descriptor)
        for number, _ in answer.get("sockets") or [(answer["socket"], 0)]:
            self.ask("close", socket=number)

    def _answer(self) -> tuple[dict[str, Any], list[int], bool]:
        """The next answer, the descriptors that came with it, and whether all came that were sent."""
        data, descriptors, flags, _ = socket.recv_fds(self.connection, LONGEST, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "the router has ended")
        answer = json.loads(data)
        if not answer["ok"]:
            raise OSError(answer["errno"], answer["error"])
        return answer, descriptors, not flags & socket.MSG_CTRUNC

    def mapped(self, offset: int, size: int) -> np.ndarray:
        """A part of the shared memory."""
        return self._memory[offset : offset + size]

    def submit(self, header: int, data: int, size: int) -> bool:
        """Make a local request; False if there is no room now."""
        with self._submitting:
            return bool(submit(self._here, self._request_bytes, self.bell, header, data, size))

    @property
    def has_ended(self) -> bool:
        """True if the router has ended, or this process has detached."""
        if self.connection.fileno() < 0:
            return True
        return bool(self.ended.poll(0))

    def close(self) -> None:
        """Detach: the router closes all sockets of this process."""
        if self.connection.fileno() < 0:
            return
        with suppress(OSError):  # the router has ended
            self.connection.shutdown(socket.SHUT_RDWR)  # also if a process that was forked meanwhile has a copy
        self.connection.close()
        self.ended.close()
        for descriptor in (self._file, self.bell):
            os.close(descriptor)


def attach(name: str | None = None) -> Stack:
    """Attach this process to a running router; a second call gives the same `Stack`.

    Parameters
    ----------
    name : str, optional
        The name of the router's `ApplicationPort`, or the path of its registry's socket; by default that of the only
        router that runs.

    Raises
    ------
    ScoutError
        If there is no such router, or several run and none is named.
    """
    with _attaching:
        path = _path(name)
        if path not in _attached or _attached[path].has_ended:
            _attached[path] = Stack(path)
        return _attached[path]


def _path(name: str | None) -> str:
    if name is not None:
        return name if "/" in name else str(folder() / f"{name}{SUFFIX}")
    found = sockets(SUFFIX)
    if not found:
        raise ScoutError(f"no router with an ApplicationPort runs (none in {folder()}); start one by scout run")
    if len(found) > 1:
        raise ScoutError(f"several routers run ({_names(found)}); choose one by attach(NAME)")
    return str(found[0])


def _names(found: Iterable[Path]) -> str:
    return ", ".join(each.stem for each in found)


def _unreachable(path: str, problem: OSError) -> str:
    """The message about a registry that does not take a connection."""
    if isinstance(problem, PermissionError):
        return f"{path}: the router there runs as another user; run this program as that user"
    others = _names(sockets(SUFFIX)) or "none"
    return (
        f"{path}: no router runs there ({problem.strerror}); start it by scout run, or choose one that runs: {others}"
    )


def newest() -> Stack:
    """The router that this process attached to last; it attaches to the only one that runs if there is none."""
    living = [stack for stack in _attached.values() if not stack.has_ended]
    return living[-1] if living else attach()
