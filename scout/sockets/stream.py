"""Stream sockets of a router: TCP."""

import errno
import socket as kernel
import threading
from collections.abc import Callable
from contextlib import suppress
from socket import IPPROTO_TCP, SHUT_RD, SHUT_RDWR, SHUT_WR, SO_ERROR, SOCK_STREAM, SOL_SOCKET
from typing import Any

from scout.endpoints.stack import Stack
from scout.io.endpoints import message
from scout.io.endpoints.application_stream import CONNECT, READ
from scout.io.endpoints.message import ABORT, HEADER, OPTION, SHUTDOWN, WRITE
from scout.io.endpoints.records import SECURING_WORDS
from scout.io.endpoints.stream import ESTABLISHED, OPENING
from scout.paths.protocols.tcp import state
from scout.paths.protocols.tcp.settings import CONGESTION
from scout.sockets import options
from scout.sockets.base import Name, Socket, opened
from scout.sockets.byte_stream import ByteStream
from scout.sockets.errors import error_of, refuse_flags
from scout.sockets.listener import Listener
from scout.sockets.securing import Securing

__all__ = ["StreamSocket"]

_REASONS = {
    state.FINISHED: 0,
    state.RESET: errno.ECONNRESET,
    state.REFUSED: errno.ECONNREFUSED,
    state.TIMED_OUT: errno.ETIMEDOUT,
    state.BAD_RECORD: errno.EBADMSG,
}
"""The errors of connections that have ended; for any other reason ECONNABORTED."""


class StreamSocket(Securing, Socket):
    """A TCP socket of a router.

    Its descriptor is readable as long as data, the end of the peer's stream, an error or a connection to accept waits;
    likewise if room to write has come after a call found too little, and when `connect` has come to its end.

    Parameters
    ----------
    stack : Stack
    place : tuple of int, optional
        Number, offset of the area and eventfd of a socket that is open already.

    Attributes
    ----------
    aborts : bool
        True if `close` resets the connection, so that bytes not yet sent are lost.

    Raises
    ------
    OSError
        If the router has no such sockets, or no more of them.
    """

    makefile = kernel.socket.makefile
    """As Python's `socket.makefile`."""

    def __init__(self, stack: Stack, place: tuple[int, int, int] | None = None) -> None:
        super().__init__(stack, SOCK_STREAM, IPPROTO_TCP, *(place or opened(stack, IPPROTO_TCP)), 8 * SECURING_WORDS)
        self.stream: ByteStream = ByteStream(self._area, stack.stream_offset, stack.stream_bytes, self._bell)
        self._telling = threading.Lock()
        self._listener: Listener | None = None
        self._from: Listener | None = None  # the one that it was accepted from
        self._connecting = False
        self._shut_read = self._shut_write = self._was_told = False
        self._watches_data, self.aborts = True, False
        self.is_spliced = False  # True if the stack has it (`scout.sockets.splice`): `close` does not end it then
        self._settings: dict[int, int] = {}  # those that were chosen
        self._io_refs, self._closed = 0, False  # as Python's sockets, for `makefile`

    # Opening.

    def connect(self, name: Name) -> None:
        """Open a connection to an address and L4 port, and wait until it is open.

        A socket that does not wait raises BlockingIOError; its descriptor is readable when the connection is open, or
        has failed: then `getsockopt(SOL_SOCKET, SO_ERROR)` says why.
        """
        if self._listener or (self._remote and not self._connecting):
            raise error_of(errno.EISCONN)
        if self._connecting:
            raise error_of(errno.EALREADY)
        deadline = self._deadline()
        self._name("connect", name)
        self._connecting = True
        while self._connecting and self.stream.phase()[0] == OPENING:
            if self._timeout == 0:
                self._settle()
                raise error_of(errno.EINPROGRESS)
            self._settle()
            self._wait(deadline)
        self._end_connecting()
        self._raise_pending()

    def connect_ex(self, name: Name) -> int:
        """As `connect`, but return the number of the error, or 0."""
        try:
            self.connect(name)
        except OSError as error:
            return error.errno or errno.EAGAIN  # that of a time limit has none
        return 0

    def is_connecting(self) -> bool:
        """True as long as a connection that does not wait is neither open nor has failed."""
        self._end_connecting()
        return self._connecting

    def _end_connecting(self) -> None:
        """See whether the connection is open, or has failed, which is noted in `_error`."""
        if not self._connecting:
            return
        self._connecting = self.stream.phase()[0] == OPENING
        self._settle()
        if self._connecting:
            return
        if self.stream.phase()[0] == ESTABLISHED:
            for setting, value in self._settings.items():
                self._tell(OPTION, setting, value)
        else:
            self._see_end()

    def listen(self, backlog: int = 128) -> None:
        """Take connections; so many may wait until they are accepted."""
        if self._local[1] == 0:
            self.bind(("", 0))
        if self._listener is None:
            self.stack.ask("listen", socket=self._opened())
            self._listener = Listener(self.stack, self._number, (self._area, self._bell))
        self._listener.set_backlog(backlog)
        self._listener.refill()

    def accept(self) -> tuple["StreamSocket", Name]:
        """Wait for a connection: its socket, and the name of the other end."""
        if self._listener is None:
            raise error_of(errno.EINVAL)
        deadline = self._deadline()
        with self._receiving:
            while not (found := self._listener.next() if self._opened() else None):
                self._wait(deadline)
        place, local, remote = found
        made = StreamSocket(self.stack, place)
        made._local, made._remote, made._from = local, remote, self._listener
        for setting, value in self._settings.items():
            made._choose(setting, value)
        return made, remote

    # Options.

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        """Choose an option.

        TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT, TCP_CONGESTION (`b"cubic"`, `b"bbr"` or
        `b"reno"`), IP_TOS, SO_KEEPALIVE or SO_LINGER.

        Connections that a listener accepts get what is chosen for it. SO_REUSEADDR changes nothing.
        """
        if (level, option) == options.LINGER:
            self.aborts = options.lingers(value)
        elif chosen := options.setting_of(level, option, value):
            self._choose(*chosen)

    def _choose(self, setting: int, value: int) -> None:
        self._settings[setting] = value
        if self._remote and not self._connecting:
            self._tell(OPTION, setting, value)

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> Any:
        """An option that was chosen, 0 for others; for SO_ERROR the error that is pending, which is cleared.

        TCP_CONGESTION is bytes, as that of Python's sockets: pass `buflen`, such as 16, and get at most so many.
        """
        if (level, option) == (SOL_SOCKET, SO_ERROR):
            self._end_connecting()
            if self._remote and self.stream.closed():
                self._see_end()
            return super().getsockopt(level, option)
        if (level, option) not in options.SETTINGS:
            return super().getsockopt(level, option)
        setting, unit = options.SETTINGS[level, option]
        if setting == CONGESTION:
            return options.control_name(self._settings.get(CONGESTION, self.stack.congestion), buflen)
        return self._settings.get(setting, 0) // unit

    # Reading.

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive at most `size` bytes: those that wait, at least one; none if the peer's stream has ended."""
        refuse_flags(flags)
        with self._receiving:
            count = min(self._await_data(size > 0), size)
            return self._read(count, lambda: self.stream.take(count)) if count else b""

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As `recv`, into a buffer; how many bytes."""
        refuse_flags(flags)
        target = memoryview(buffer).cast("B")
        with self._receiving:
            count = min(self._await_data(len(target) > 0), nbytes or len(target), len(target))
            if count:
                self._read(count, lambda: self.stream.take_into(target, count))
            return count

    def read_view(self) -> memoryview:
        """The bytes that wait, in the memory where they were received: no copy is made. It is empty at the end.

        The view is valid until `consume`. It ends where the ring does, so more bytes may wait than it shows.
        """
        with self._receiving:
            return self.stream.read_view() if self._await_data(True) else memoryview(b"")

    def consume(self, size: int) -> None:
        """Have read the first `size` bytes of `read_view`."""
        with self._receiving:
            if not 0 <= size <= self.stream.readable():
                raise error_of(errno.EINVAL)
            self._read(size, lambda: self.stream.free(size))

    def _await_data(self, wants: bool) -> int:
        """Wait for bytes; how many wait, 0 if there will be none."""
        deadline = self._deadline()
        while wants and not self._shut_read:
            self._connected()
            # First the phase: bytes that came before the end of the connection are seen then.
            is_closed = self.stream.closed()
            if count := self.stream.readable():
                return count
            if self.stream.ended():
                return 0
            is_coming = self._is_coming()
            if is_closed and not (is_coming and self.stream.phase()[1] == state.FINISHED):
                self._raise_end()
                return 0
            self._tell_read()
            self._settle()
            self._wait(deadline)
        return 0

    def _read(self, count: int, copy: Callable[[], Any]) -> Any:
        """Read bytes; tell the stack if it is time, and be readable no longer than bytes wait."""
        data = copy()
        self._tell_read()
        if self.stream.readable() == 0:
            self._settle()
        return data

    def _tell_read(self, least: int = 0) -> None:
        if position := self.stream.owed(least):
            self._tell(message.READ, position)
            self.stream.told(position)

    # Writing.

    def send(self, data: Any, flags: int = 0) -> int:
        """Send bytes, as many as there is room for, and at least one; how many."""
        refuse_flags(flags)
        view = memoryview(data).cast("B")
        with self._sending:
            count = min(self._await_room(len(view) > 0), len(view))
            if count:
                self.stream.put(view[:count])
                self._tell(WRITE, self.stream.written)
                if count < len(view):
                    self._await_part(True)
            return count

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all bytes. After an error it is not known how many were sent."""
        view, at = memoryview(data).cast("B"), 0
        while at < len(view):
            at += self.send(view[at:], flags)

    def write_view(self) -> memoryview:
        """Room for bytes to be sent, in the memory from which they are sent: no copy is made. It has a byte at least.

        It ends where the ring does, so there may be more room than it shows.
        """
        with self._sending:
            self._await_room(True)
            return self.stream.write_view()

    def commit(self, size: int) -> None:
        """Send the first `size` bytes of `write_view`."""
        with self._sending:
            if not 0 <= size <= self.stream.room():
                raise error_of(errno.EINVAL)
            self.stream.commit(size)
            self._tell(WRITE, self.stream.written)

    def _await_room(self, wants: bool) -> int:
        """Wait for room; for how many bytes there is."""
        deadline, again = self._deadline(), False
        while wants:
            self._connected()
            if self._shut_write:
                raise error_of(errno.EPIPE)
            room = self.stream.room()
            if room < 0:
                self._raise_end()
                raise error_of(errno.EPIPE)
            if room:
                if self.stream.awaits_room:
                    self._await_part(False)
                return room
            self._await_part(True)
            self._wait(deadline, again)
            again = True
        return 0

    def _await_part(self, waits: bool) -> None:
        """Let the descriptor be readable when a part of the full send ring is free again, or not any more."""
        self.stream.await_room(waits)
        self._settle()

    # Waiting.

    def watch_data(self, watches: bool) -> None:
        """Let the descriptor be readable as long as data or the end waits, or only for other reasons."""
        self._watches_data = watches
        self._settle()

    def _settle(self) -> None:
        """Let the descriptor be readable as long as something waits."""
        self.stream.settle((READ if self._watches_data else 0) | (CONNECT if self._connecting else 0))

    def _connected(self) -> None:
        """Raise an error if there is no connection."""
        self._opened()
        if self._connecting:
            self._end_connecting()
            self._raise_pending()
        if self._remote is None:
            raise error_of(errno.ENOTCONN)

    def _see_end(self) -> None:
        """Note the error for which the connection has ended, the first time."""
        if not self._was_told:
            self._was_told = True
            reason = self.stream.phase()[1]
            soft = self.stream.soft_error() if reason == state.TIMED_OUT else 0
            self._error = soft or _REASONS.get(reason, errno.ECONNABORTED)

    def _raise_end(self) -> None:
        self._see_end()
        self._raise_pending()

    def _tell(self, kind: int, *words: int) -> None:
        """Make a request about the connection; as soon as there is room, also for a socket that does not wait."""
        with self._telling:  # the reader and the writer may be two threads
            for index, word in enumerate(words):
                self._out[HEADER + 8 * index : HEADER + 8 * index + 8] = word.to_bytes(8)
            self._request(8 * len(words), None, kind, 0, 0, 0)

    # The end.

    def shutdown(self, how: int) -> None:
        """End the connection in one direction or both: SHUT_WR has the peer see the end of the stream."""
        if how not in (SHUT_RD, SHUT_WR, SHUT_RDWR):
            raise error_of(errno.EINVAL)
        self._connected()
        if how != SHUT_WR:
            self._shut_read = True
        if how != SHUT_RD and not self._shut_write:
            with self._sending:
                self._shut_write = True
                self._finish()
                self._tell(SHUTDOWN)

    def close(self) -> None:
        """Close the socket, after what it has sent; when files of `makefile` are closed too."""
        self._closed = True
        if self._io_refs <= 0:
            self._end()

    def _decref_socketios(self) -> None:
        """Count a file of `makefile` less, as Python's sockets do."""
        self._io_refs -= self._io_refs > 0
        if self._closed:
            self.close()

    def _end(self) -> None:
        if self._bell >= 0 and self._remote and not self.is_spliced:
            with suppress(OSError):  # the router has ended
                self._tell_read(1)  # unread bytes would have the peer see a reset
                if self.aborts:
                    self._tell(ABORT)
                elif not self.stream.closed():
                    self._finish()
        listener, self._listener = self._listener, None
        super().close()
        if listener:
            listener.close()
        if self._from:
            self._from.top_up()
