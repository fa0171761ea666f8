"""A transport of asyncio over a stream socket of a router.

The socket's descriptor tells of everything: data, room to write, the end. So the loop watches it for reading alone, as
long as the transport lives.
"""

import asyncio
import inspect
import socket as kernel
from asyncio import constants, transports, trsock
from collections import deque
from typing import TYPE_CHECKING, Any

from scout.sockets.stream import StreamSocket

if TYPE_CHECKING:
    from scout.aio.loop import EventLoop

__all__ = ["StreamTransport"]

_CHUNK = 1 << 18  # bytes that are read at a time
_ATTACHES_BY_TRANSPORT = len(inspect.signature(asyncio.Server._attach).parameters) > 1  # type: ignore[attr-defined]
"""True where a server wants to know its transports, since Python 3.13."""


_FlowControl: Any = transports._FlowControlMixin  # type: ignore[attr-defined]
"""The limits of the buffer, as all of asyncio's transports have them; its `sendfile` asks for this class."""


class StreamTransport(_FlowControl, asyncio.Transport):  # type: ignore[misc]
    """A transport, made by the event loop.

    Parameters
    ----------
    loop : EventLoop
    sock : StreamSocket
        A connected one, which does not wait.
    protocol : asyncio.BaseProtocol
    waiter : asyncio.Future, optional
        It gets its result when the protocol was told of the connection.
    extra : dict, optional
        For `get_extra_info`.
    server : asyncio.Server, optional
        The one that has accepted the connection.
    """

    _loop: "EventLoop"
    _sendfile_compatible = constants._SendfileMode.FALLBACK  # type: ignore[attr-defined]
    _start_tls_compatible = True

    def __init__(
        self, loop: "EventLoop", sock: StreamSocket, protocol: Any, waiter: Any, extra: Any, server: Any
    ) -> None:
        names = {"socket": trsock.TransportSocket(sock), "sockname": sock.getsockname(), "peername": sock.getpeername()}  # type: ignore[arg-type]
        _FlowControl.__init__(self, {**(extra or {}), **names}, loop)
        self._sock, self._server = sock, server
        self._protocol = protocol
        self._buffer: deque[memoryview] = deque()
        self._buffered = 0
        self._reads, self._ended = True, False
        self._eof_written = self._closing = self._lost = False
        if server:
            server._attach(*([self] if _ATTACHES_BY_TRANSPORT else []))
        loop.watch(self, sock.stack)
        loop.call_soon(self._protocol.connection_made, self)
        loop.call_soon(self._begin)
        if waiter:
            loop.call_soon(lambda: waiter.done() or waiter.set_result(None))

    def __repr__(self) -> str:
        state = "closed" if self._lost else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {state} {self._sock!r}>"

    def _begin(self) -> None:
        if not self._lost:
            self._loop.add_reader(self._sock, self._ready)
            self._sock.watch_data(self._watches_data())

    def _ready(self) -> None:
        """See what waits."""
        if self._buffer:
            self._flush()
        if self._watches_data():
            self._read()
        elif not self._lost:
            self._sock.watch_data(False)  # the descriptor told of something that waits for another call

    # Reading.

    def _watches_data(self) -> bool:
        return self._reads and not (self._ended or self._closing)

    def pause_reading(self) -> None:
        """Give the protocol no data until `resume_reading`."""
        self._read_again(False)

    def resume_reading(self) -> None:
        """Give the protocol data again."""
        self._read_again(True)

    def _read_again(self, reads: bool) -> None:
        self._reads = reads
        if not self._lost:
            self._sock.watch_data(self._watches_data())

    def is_reading(self) -> bool:
        """True if the protocol gets data."""
        return self._watches_data()

    def _read(self) -> None:
        try:
            if isinstance(self._protocol, asyncio.BufferedProtocol):
                count = self._sock.recv_into(self._protocol.get_buffer(-1))
                if count:
                    self._protocol.buffer_updated(count)
            else:
                data = self._sock.recv(_CHUNK)
                count = len(data)
                if count:
                    self._protocol.data_received(data)
            if count == 0:
                self._see_end()
        except BlockingIOError:
            pass
        except OSError as error:
            self._force_close(error)
        except Exception as error:
            self._report(error, "the protocol failed on data")
            self._force_close(error)

    def _see_end(self) -> None:
        self._ended = True
        self._sock.watch_data(False)
        if not self._protocol.eof_received():
            self.close()

    # Writing.

    def write(self, data: Any) -> None:
        """Send bytes, at once or when there is room."""
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")  # as asyncio
        view = memoryview(data).cast("B")
        if self._closing or not len(view):
            return
        self._buffer.append(view)
        self._buffered += len(view)
        if len(self._buffer) == 1:
            self._flush()
        if self._buffer and not isinstance(data, bytes):  # the caller may change it
            self._buffer[-1] = memoryview(bytes(self._buffer[-1]))
        self._maybe_pause_protocol()

    def _flush(self) -> None:
        """Send bytes of the buffer, until it is empty or the call has found no room, so that its return is told."""
        while self._buffer:
            first = self._buffer[0]
            try:
                count = self._sock.send(first)
            except BlockingIOError:
                break
            except OSError as error:
                self._force_close(error)
                return
            self._buffered -= count
            if count < len(first):
                self._buffer[0] = first[count:]
            else:
                self._buffer.popleft()
        self._maybe_resume_protocol()
        if not self._buffer and self._closing:
            self._lose(None)
        elif not self._buffer and self._eof_written:
            self._shut()

    def write_eof(self) -> None:
        """End this end's stream, after what was written."""
        if self._eof_written or self._closing:
            return
        self._eof_written = True
        if not self._buffer:
            self._shut()

    def _shut(self) -> None:
        try:
            self._sock.shutdown(kernel.SHUT_WR)
        except OSError as error:
            self._force_close(error)

    def can_write_eof(self) -> bool:
        """True: a connection can be closed in one direction."""
        return True

    def get_write_buffer_size(self) -> int:
        """Bytes of the buffer."""
        return self._buffered

    # The end.

    def is_closing(self) -> bool:
        """True if it is closed, or will be when everything is sent."""
        return self._closing

    def close(self) -> None:
        """Close it, after what was written."""
        if self._closing:
            return
        self._closing = True
        self._sock.watch_data(False)
        if not self._buffer:
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """Close it at once; what is still in the buffer is lost."""
        self._force_close(None)

    def router_ended(self) -> None:
        """End with the router."""
        self._force_close(ConnectionResetError("the router has ended"))

    def _force_close(self, error: BaseException | None) -> None:
        """End at once. The name is asyncio's: its TLS calls it."""
        if self._lost:
            return
        self._closing, self._buffered = True, 0
        self._buffer.clear()
        self._loop.remove_reader(self._sock)
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: BaseException | None) -> None:
        """Tell the protocol, and close the socket: in a thread, as that waits for the router."""
        if self._lost:
            return
        self._lost = True
        self._loop.remove_reader(self._sock)
        self._loop.unwatch(self, self._sock.stack)
        try:
            self._protocol.connection_lost(error)
        finally:
            try:
                self._loop.run_in_executor(None, self._sock.close)
            except RuntimeError:  # the loop is at its end
                self._sock.close()
            if self._server:
                self._server._detach(*([self] if _ATTACHES_BY_TRANSPORT else []))

    def _report(self, error: BaseException, text: str) -> None:
        context = {"message": text, "exception": error, "transport": self, "protocol": self._protocol}
        self._loop.call_exception_handler(context)

    # The protocol.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the transport another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol."""
        return self._protocol  # type: ignore[no-any-return]
