"""A stand-in for a router with TCP, in the process of its application: its connections are the kernel's.

It serves the application's side as the registry and the replicas do, from a thread: bytes of the send ring go to a
socket of the kernel, and bytes that come from there to the receive ring.
"""

import contextlib
import ctypes
import errno
import os
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from scout.io.endpoints.memory import ARMED, RINGS, EndpointMemory
from scout.io.endpoints.message import ABORT, ACCEPTED, HEADER, HEADER_STRUCT, OPTION, READ, SHUTDOWN, WRITE
from scout.io.endpoints.stream import ACKNOWLEDGED, AWAITED, CLOSED, ENDED, ESTABLISHED, PHASE, RECEIVED, WORDS
from scout.paths.protocols.tcp.state import FINISHED, REFUSED, RESET
from scout.ring.segment import LINE

__all__ = ["Connection", "StandIn"]


class Connection:
    """A socket of the application, and the kernel's that does its work."""

    def __init__(self, stack: "StandIn", row: int) -> None:
        self.stack, self.row, self.number = stack, row, 1 << 16 | row
        self.kernel: socket.socket | None = None
        self.is_open = self.listens = self.connecting = self.shut = self.ended = False
        self.spares: list[Connection] = []
        self.options: list[tuple[int, int]] = []
        self.written = self.sent = self.received = self.read = self.messages = 0

    def word(self, offset: int, stream: bool = True) -> np.ndarray:
        memory = self.stack.memory
        at = memory.offset_of_socket(self.row) + offset + (memory.sizes.stream_offset if stream else 0)
        return memory.bytes[at : at + 8].view(np.int64)

    def ring(self, index: int, position: int, limit: int) -> memoryview:
        """The bytes of a ring from a position, up to the ring's end or a limit."""
        size, at = self.stack.stream_bytes, self.stack.memory.offset_of_socket(self.row) + self.stack.stream_offset
        first = position & size - 1
        count = min(limit - position, size - first)
        ring = self.stack.memory.bytes.data[at + WORDS + index * size : at + WORDS + (index + 1) * size]
        return ring[first : first + count]

    def wake(self) -> None:
        armed = self.word(ARMED, stream=False)
        if armed[0]:
            armed[0] = 0
            os.eventfd_write(int(self.stack.memory.bells[self.row]), 1)

    def report(self, offset: int, value: int) -> None:
        self.word(offset)[0] = value
        if offset != ACKNOWLEDGED or 0 < self.word(AWAITED)[0] <= value:
            self.wake()

    def message(self, kind: int, remote: tuple[str, int], data: bytes) -> None:
        """Put a message into the ring of replica 0."""
        area = self.stack.memory.offset_of_socket(self.row)
        address = int.from_bytes(socket.inet_aton(remote[0]))
        text = HEADER_STRUCT.pack(kind, 6, 0, self.number, 0x7F000001, address, self.port, remote[1], 0) + data
        place = area + RINGS + self.messages
        self.stack.memory.bytes[place : place + 16].view(np.int64)[:] = len(text), self.messages
        self.stack.memory.bytes[place + 16 : place + 16 + len(text)] = np.frombuffer(text, np.uint8)
        self.messages += 16 + (len(text) + 7 & ~7)
        self.word(24, stream=False)[0] = 1
        self.word(LINE, stream=False)[0] = self.messages
        self.wake()

    @property
    def port(self) -> int:
        return self.kernel.getsockname()[1] if self.kernel else 0

    def wants(self) -> int:
        """The events of the kernel's socket that it waits for."""
        if self.connecting:
            return select.POLLOUT
        if self.listens:
            return select.POLLIN if self.spares else 0
        reads = not self.ended and self.received < self.read + self.stack.stream_bytes
        return (select.POLLIN if reads else 0) | (select.POLLOUT if self.sent < self.written else 0)

    def step(self) -> None:
        """Go on as far as the kernel's socket allows."""
        try:
            if self.connecting:
                self.end_connecting()
            elif self.listens:
                while self.spares:
                    self.accept()
            else:
                self.send()
                self.receive()
        except BlockingIOError:
            pass
        except OSError as error:
            self.end(RESET if error.errno in (errno.ECONNRESET, errno.EPIPE) else REFUSED)

    def end_connecting(self) -> None:
        assert self.kernel
        if error := self.kernel.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.end(REFUSED if error == errno.ECONNREFUSED else RESET)
        else:
            self.connecting, self.is_open = False, True
            self.report(PHASE, ESTABLISHED << 8)

    def accept(self) -> None:
        assert self.kernel
        made, name = self.kernel.accept()
        made.setblocking(False)
        spare = self.spares.pop(0)
        spare.kernel, spare.is_open = made, True
        spare.report(PHASE, ESTABLISHED << 8)
        self.message(ACCEPTED, name, spare.number.to_bytes(4))

    def send(self) -> None:
        assert self.kernel
        while self.sent < self.written:
            self.sent += self.kernel.send(self.ring(1, self.sent, self.written))
            self.report(ACKNOWLEDGED, self.sent)
        if self.shut and self.kernel and self.kernel.fileno() >= 0:
            self.kernel.shutdown(socket.SHUT_WR)
            self.shut = False
            if self.ended:
                self.end(FINISHED)

    def receive(self) -> None:
        while self.kernel and not self.ended and self.received < self.read + self.stack.stream_bytes:
            limit = self.read + self.stack.stream_bytes
            count = self.kernel.recv_into(self.ring(0, self.received, limit))
            self.received += count
            self.ended = count == 0
            self.report(*((RECEIVED, self.received) if count else (ENDED, self.received + 1)))

    def end(self, reason: int) -> None:
        self.report(PHASE, CLOSED << 8 | reason)
        self.drop()

    def drop(self) -> None:
        if self.kernel:
            self.kernel.close()
        self.kernel = None


class StandIn:
    """A stack with TCP sockets alone; the methods and attributes that sockets use are those of `Stack`."""

    def __init__(self, stream_bytes: int, sockets: int = 256) -> None:
        self.sockets = sockets
        self.memory = EndpointMemory("stand-in", sockets, 1, 1 << 17, 1 << 17, stream_bytes)
        sizes = self.memory.sizes
        self.stream_bytes, self.stream_offset, self.congestion = sizes.stream_bytes, sizes.stream_offset, 1
        self.socket_bytes, self.ring_bytes = sizes.socket_bytes, sizes.ring_bytes
        self.connection, self._registry = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ended = select.epoll()
        self.ended.register(self.connection, 0)
        self.connections: dict[int, Connection] = {}
        self._tails = np.zeros((31, sockets), np.int64)
        self._lock, self._stops = threading.Lock(), False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, as a router does."""
        self._stops = True
        self._thread.join()
        self._registry.close()
        for each in self.connections.values():
            each.drop()

    @property
    def has_ended(self) -> bool:
        return bool(self.ended.poll(0))

    def close(self) -> None:
        self.connection.close()
        self.ended.close()
        self.memory.close()

    def mapped(self, offset: int, size: int) -> np.ndarray:
        return self.memory.bytes[offset : offset + size]

    def ask(self, do: str, **parameters: Any) -> tuple[dict[str, Any], list[int]]:
        if self._stops:
            raise ConnectionResetError
        with self._lock:
            return getattr(self, f"_{do}")(**parameters)

    def submit(self, header: int, data: int, size: int) -> bool:
        kind, _, _, number, *_ = HEADER_STRUCT.unpack(ctypes.string_at(header, HEADER))
        words = [int.from_bytes(ctypes.string_at(data + at, 8)) for at in range(0, size, 8)]
        with self._lock, contextlib.suppress(KeyError):
            connection = self.connections[number]
            if kind == WRITE:
                (connection.written,) = words
            elif kind == READ:
                (connection.read,) = words
            elif kind == SHUTDOWN:
                connection.shut = True
            elif kind == OPTION:
                connection.options.append((words[0], words[1]))
            elif kind == ABORT and connection.kernel:
                connection.kernel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return True

    def _open(self, protocol: int) -> tuple[dict[str, Any], list[int]]:
        free = [each for each in range(self.memory.sockets) if 1 << 16 | each not in self.connections]
        if not free:
            raise OSError(errno.ENFILE, "no more sockets")
        row = free[0]
        self.memory.clear_socket(row, self._tails)
        made = Connection(self, row)
        self.connections[made.number] = made
        bell = os.dup(int(self.memory.bells[row]))
        return {"socket": made.number, "offset": self.memory.offset_of_socket(row)}, [bell]

    def _bind(self, socket: int, address: str, port: int) -> tuple[dict[str, Any], list[int]]:
        return self._named(self.connections[socket], (address, port), None)

    def _connect(self, socket: int, address: str, port: int) -> tuple[dict[str, Any], list[int]]:
        connection = self.connections[socket]
        answer = self._named(connection, ("127.0.0.1", 0), (address, port))
        connection.connecting = True
        assert connection.kernel
        connection.kernel.connect_ex((address, port))
        return answer

    def _named(self, connection: Connection, local: Any, remote: Any) -> tuple[dict[str, Any], list[int]]:
        if connection.kernel is None:
            connection.kernel = socket.socket()
            connection.kernel.setblocking(False)
            connection.kernel.bind(local)
        return {"local": connection.kernel.getsockname(), "remote": remote}, []

    def _listen(self, socket: int) -> tuple[dict[str, Any], list[int]]:
        connection = self.connections[socket]
        assert connection.kernel
        connection.kernel.listen()
        connection.listens = True
        return {}, []

    def _spares(self, socket: int, count: int) -> tuple[dict[str, Any], list[int]]:
        left = self.memory.sockets - len(self.connections)
        made = [self._open(6) for _ in range(max(1, min(count, left)))]
        found = [(answer["socket"], answer["offset"]) for answer, _ in made]
        self.connections[socket].spares += [self.connections[number] for number, _ in found]
        return {"sockets": found}, [bells[0] for _, bells in made]

    def _close(self, socket: int) -> tuple[dict[str, Any], list[int]]:
        connection = self.connections.pop(socket)
        if connection.kernel and not connection.listens and not connection.connecting:
            connection.kernel.setblocking(True)
            with contextlib.suppress(OSError):
                connection.send()
        connection.drop()
        return {}, []

    def _run(self) -> None:
        while not self._stops:
            with self._lock:
                poll = select.poll()
                for each in self._with_kernel():
                    poll.register(each.kernel, each.wants())
            poll.poll(1)
            with self._lock:
                for each in self._with_kernel():
                    each.step()

    def _with_kernel(self) -> Iterator[Any]:
        return iter(
            [
                each
                for each in self.connections.values()
                if each.kernel and (each.is_open or each.listens or each.connecting)
            ]
        )
