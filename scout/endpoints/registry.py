"""The registry: applications attach here, and open, bind, connect, let listen and close their sockets.

It listens on an AF_UNIX socket and has a thread for each application. A request is one JSON object in one packet, and
so is its answer; the memory and the eventfds come with the answers (SCM_RIGHTS). When the connection of an application
ends its sockets are closed, whatever ended it.
"""

import errno
import json
import os
import socket
import threading
from contextlib import suppress
from typing import Any

from scout.control_socket.place import listen, remove
from scout.endpoints.sockets import Refused, SocketTable
from scout.io.endpoints.ciphers import library
from scout.io.ports.applications import ApplicationPort
from scout.paths.model.graph import RouterGraph
from scout.paths.wire import ipv4
from scout.ring.errors import ScoutError

__all__ = ["LONGEST", "SUFFIX", "Registry", "registries"]

SUFFIX = ".apps"
"""The end of the names of registries' sockets."""

LONGEST = 4096
"""Bytes of the longest request and answer."""


class Registry:
    """The registry of one application port.

    Parameters
    ----------
    graph : RouterGraph
    name : str
        The router that has the port.

    Attributes
    ----------
    path : pathlib.Path
        Where it listens, once started.
    """

    def __init__(self, graph: RouterGraph, name: str) -> None:
        router: Any = graph.router(name)
        self._port: ApplicationPort = router.port
        transports = router.transports(graph)
        self._congestion = getattr(transports.get(ipv4.TCP), "congestion", 0)
        self._table = SocketTable(self._port, transports)
        self._lock = threading.Lock()
        self._free = list(range(self._port.applications, 0, -1))
        self._clients: set[socket.socket] = set()

    def start(self) -> None:
        """Listen.

        Raises
        ------
        ScoutError
            If the socket cannot be made.
        """
        self._listener, self.path = listen(self._port.name, None, SUFFIX, socket.SOCK_SEQPACKET)
        self._inode = self.path.stat().st_ino
        threading.Thread(target=self._accept, name="scout-registry", daemon=True).start()

    def stop(self) -> None:
        """End all connections: applications find that the stack is gone, and then peers are told by resets."""
        self._table.stop()
        # `shutdown` also where a process that was forked meanwhile has a copy.
        for each in (self._listener, *self._clients):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._table.reset()
        self._listener.close()
        remove(self.path, self._inode)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._attend, args=(client,), name="scout-registry", daemon=True).start()

    def _attend(self, client: socket.socket) -> None:
        """Serve one application until it goes."""
        with client:
            with self._lock:
                self._clients.add(client)
                application = self._free.pop() if self._free else 0
            try:
                if not application:
                    refused = f"{self._port.applications} applications are attached; end one, or raise applications=..."
                    _send(client, {"ok": False, "errno": errno.EUSERS, "error": refused})
                    return
                self._welcome(client, application)
                while data := client.recv(LONGEST):
                    _send(client, *self._answer(application, data))
            except OSError:  # it went
                pass
            finally:
                if application:
                    self._table.close_all(application)
                with self._lock:
                    self._clients.discard(client)
                    if application:
                        self._free.append(application)

    def _welcome(self, client: socket.socket, application: int) -> None:
        memory = self._port.memory
        memory.clear_application(application)
        memory.attach(application)
        answer = {"ok": True, "pid": os.getpid(), "application": application} | memory.sizes._asdict()
        answer["sockets"], answer["secures"] = self._port.sockets, library() is not None
        answer["congestion"] = self._congestion
        answer["offset"] = memory.offset_of_application(application)
        _send(client, answer, memory.file, memory.bell)

    def _answer(self, application: int, data: bytes) -> tuple[Any, ...]:
        """The answer to a request, and the descriptors that go with it."""
        try:
            request = json.loads(data, parse_float=int, parse_constant=int)  # so these are malformed
            do = request.pop("do")
            if do == "open":
                number, bell = self._table.open(application, **request)
                return {"ok": True, "socket": number, "offset": self._table.offset(number)}, bell
            if do == "spares":
                made = self._table.spares(application, **request)
                places = [(number, self._table.offset(number)) for number, _ in made]
                return {"ok": True, "sockets": places}, *(bell for _, bell in made)
            if do not in ("bind", "connect", "listen", "close"):
                raise Refused(errno.EINVAL, f"no request {do!r}")
            local, remote = getattr(self._table, do)(application, **request)
            return ({"ok": True, "local": local, "remote": remote},)
        except Refused as refused:
            return ({"ok": False, "errno": refused.number, "error": str(refused)},)
        except ScoutError as error:  # of a port that is closed
            return ({"ok": False, "errno": errno.ENETDOWN, "error": str(error)},)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            return ({"ok": False, "errno": errno.EINVAL, "error": f"malformed request: {error}"},)


def _send(client: socket.socket, answer: dict[str, Any], *descriptors: int) -> None:
    socket.send_fds(client, [json.dumps(answer).encode()], list(descriptors))


def registries(graph: RouterGraph) -> list[Registry]:
    """The registries of a graph's application ports."""
    return [Registry(graph, name) for name in graph.ports if isinstance(graph.router(name).port, ApplicationPort)]
