"""The serving end of the control socket: a thread of the supervisor's process.

The thread runs an asyncio loop, which checks clients and requests, and keeps to the bounds of
`scout.control_socket.protocol`. Three more threads find the answers: one for requests that read, one for traces, which
wait for packets, and one for requests that change something. So a change that takes seconds (a replica that leaves)
delays no reader, changes happen one after the other, and neither the watcher nor any domain waits for a client.
"""

import asyncio
import os
import socket
import struct
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

from scout.control_socket.changes import Changes
from scout.control_socket.figures import Figures
from scout.control_socket.place import listen, remove
from scout.control_socket.protocol import LINE_TIMEOUT, LONGEST_LINE, MOST_CLIENTS, decode, encode, refusal
from scout.control_socket.requests import Request, checked
from scout.control_socket.state import State
from scout.control_socket.traces import Traces
from scout.reports import Reporter
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor

__all__ = ["ControlSocket"]

_CREDENTIALS = struct.Struct("iII")  # pid, uid and gid of a peer (unix(7), SO_PEERCRED)
_ALWAYS = "show router"  # the request that is answered also while the router compiles
_GRACE = 3.0  # seconds that the end of the socket waits for its thread


class ControlSocket:
    """Lets other processes of the same user see and steer a supervisor; a context manager.

    Parameters
    ----------
    supervisor : Supervisor
        It need not have started yet: until it has, all requests but "show router" are refused.
    file : str
        The router file, or any name: the socket's name begins with its stem.
    path : str, optional
        Where the socket is; by default in the user's runtime directory.
    stop : callable, optional
        Called when a client asks the router to stop; without it such requests are refused.

    Attributes
    ----------
    path : pathlib.Path
        Where the socket is.

    Raises
    ------
    ScoutError
        On entering, if the socket cannot be made.

    Examples
    --------
    ::

        with ControlSocket(supervisor, "router.py"), supervisor:
            supervisor.wait()
    """

    def __init__(
        self,
        supervisor: Supervisor,
        file: str = "router",
        path: str | None = None,
        stop: Callable[[], None] | None = None,
    ) -> None:
        self._supervisor = supervisor
        self._file, self._wanted = file, path
        self._answers = {
            "read": (Figures(supervisor, file), State(supervisor)),
            "trace": (Traces(supervisor),),
            "change": (Changes(supervisor, stop, file),),
        }
        """By the thread that calls them: objects with a method for each request."""
        self._say = Reporter(None)
        self._clients = 0

    def __enter__(self) -> Self:
        self._listener, self.path = listen(Path(self._file).stem, self._wanted)
        self._inode = self.path.stat().st_ino
        # An idle thread of an executor does not keep a program from ending, but one that waits for a replica may.
        self._workers = {name: ThreadPoolExecutor(1, f"scout-control-{name}") for name in self._answers}
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="scout-control", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(_GRACE)
        for worker in self._workers.values():
            worker.shutdown(wait=False, cancel_futures=True)
        self._listener.close()
        remove(self.path, self._inode)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_unix_server(self._attend, sock=self._listener, limit=LONGEST_LINE)
        await self._closing.wait()
        server.close()  # the runner then cancels the tasks of clients

    # Clients.

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it goes, or breaks a rule."""
        peer: socket.socket = writer.get_extra_info("socket")
        self._clients += 1
        try:
            if refused := self._unwelcome(peer):
                await _write(writer, refusal(refused))
                return
            while line := await self._line(reader, writer):
                await _write(writer, await self._answer(line))
        except (OSError, TimeoutError):  # it went, or does not take its answer
            pass
        except asyncio.CancelledError:  # the router ends; asyncio of Python 3.11 would write of a cancelled task
            pass
        finally:
            self._clients -= 1
            with suppress(OSError):
                peer.shutdown(socket.SHUT_WR)  # also if a process that was forked meanwhile has a copy
            writer.close()

    def _unwelcome(self, peer: socket.socket) -> str:
        """Why a client is not served; empty if it is."""
        _, user, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if user not in (0, os.geteuid()):
            return f"this router belongs to user {os.geteuid()}, and serves neither user {user} nor anybody else"
        if self._clients > MOST_CLIENTS:
            return f"{MOST_CLIENTS} clients are being served; try again when one has gone"
        return ""

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """The next whole line; empty if there is none, of which the client has been told."""
        try:
            line = await asyncio.wait_for(reader.readline(), LINE_TIMEOUT)
        except TimeoutError:
            await _write(writer, refusal(f"no whole request came within {LINE_TIMEOUT:g} seconds; connect again"))
            return b""
        except ValueError:
            await _write(writer, refusal(f"a request is longer than {LONGEST_LINE:,} bytes; make it shorter"))
            return b""
        if line and not line.endswith(b"\n"):
            await _write(writer, refusal("the request has no newline at its end; nothing was done"))
            return b""
        return line

    # Answers.

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request, values = checked(decode(line))
            if request.name != _ALWAYS and not self._supervisor.taking_part:
                raise ScoutError("the router is still compiling; ask again when scout run says that it is ready")
            worker, method = self._found(request)
            return await self._loop.run_in_executor(worker, partial(method, **values))
        except ScoutError as error:
            return refusal(error)
        except Exception as error:
            self._say.once(f"the control socket goes on after an error: {traceback.format_exc().rstrip()}")
            return refusal(f"the router failed in this request: {type(error).__name__}: {error}")

    def _found(self, request: Request) -> tuple[ThreadPoolExecutor, Callable[..., dict[str, Any]]]:
        """The method that answers a request, and the thread that calls it."""
        return next(
            (self._workers[name], getattr(each, request.method))
            for name, answers in self._answers.items()
            for each in answers
            if hasattr(each, request.method)
        )


async def _write(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(encode(answer))
    await asyncio.wait_for(writer.drain(), LINE_TIMEOUT)
