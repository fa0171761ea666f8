"""A transport of asyncio over a datagram socket of a router: asyncio's own, which ends with the router."""

import errno
from asyncio import selector_events
from typing import TYPE_CHECKING, Any

from scout.sockets.datagram import DatagramSocket

if TYPE_CHECKING:
    from scout.aio.loop import EventLoop

__all__ = ["DatagramTransport"]

_Transport: Any = selector_events._SelectorDatagramTransport  # type: ignore[attr-defined]


class DatagramTransport(_Transport):  # type: ignore[misc]
    """A transport, made by the event loop; the parameters are those of asyncio's."""

    _loop: "EventLoop"

    def __init__(self, loop: "EventLoop", sock: DatagramSocket, *arguments: Any) -> None:
        super().__init__(loop, sock, *arguments)
        self._stack = sock.stack
        loop.watch(self, self._stack)

    def router_ended(self) -> None:
        """End with the router: the protocol is told that the connection is lost."""
        self._force_close(ConnectionResetError(errno.ECONNRESET, "the router has ended"))

    def _call_connection_lost(self, error: BaseException | None) -> None:
        self._loop.unwatch(self, self._stack)
        super()._call_connection_lost(error)
