"""The event loop: asyncio's, which opens sockets of a router."""

import asyncio
import errno
import socket as kernel
from asyncio import sslproto
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from scout import sockets
from scout.aio.datagrams import DatagramTransport
from scout.aio.transport import StreamTransport
from scout.endpoints.stack import Stack
from scout.sockets.errors import error_of

__all__ = ["EventLoop"]

Name = tuple[str, int]


class Watcher(Protocol):
    """An object that is told when its router ends."""

    def router_ended(self) -> None:
        """The router has ended. Called once at most."""


class _Seen(asyncio.Event):
    """Set when something has come of a connection that is being opened, or its router has ended."""

    def router_ended(self) -> None:
        self.set()


class _Serving:
    """A server that listens at a router's socket; it is closed when the router ends."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def router_ended(self) -> None:
        forever = self._server._serving_forever_fut
        if forever is not None and not forever.done():
            forever.set_exception(ConnectionResetError(errno.ECONNRESET, "the router has ended"))
        self._server.close()


class EventLoop(asyncio.SelectorEventLoop):
    """An event loop whose endpoints are sockets of the router that this process is attached to.

    A `sock` that is given is served as it is, whether it is the router's or the kernel's.
    """

    def __init__(self) -> None:
        super().__init__()
        self._watchers: dict[Stack, set[Watcher]] = {}
        self._serving: dict[sockets.StreamSocket, _Serving] = {}

    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        local_addr: Name | None = None,
        remote_addr: Name | None = None,
        *,
        sock: Any = None,
        **options: Any,
    ) -> tuple[asyncio.DatagramTransport, Any]:
        """Open a datagram endpoint, as asyncio's loops do."""
        opened = sock or await self.run_in_executor(None, _datagrams, local_addr, remote_addr)
        try:
            return await super().create_datagram_endpoint(protocol_factory, sock=opened, **options)
        except BaseException:
            if sock is None:
                opened.close()
            raise

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: Any = None,
        sock: Any = None,
        local_addr: Name | None = None,
        server_hostname: str | None = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
        **options: Any,
    ) -> tuple[asyncio.Transport, Any]:
        """Open a connection, as asyncio's loops do. Options to choose among addresses of a name change nothing."""
        if sock is None and (host is None or port is None):
            raise ValueError("host and port was not specified and no sock specified")  # as asyncio
        opened: Any = sock or await self._connected((str(host), int(port or 0)), local_addr)
        try:
            return await super().create_connection(
                protocol_factory,
                ssl=ssl,
                sock=opened,
                server_hostname=server_hostname or (host if ssl else None),
                **options,
            )
        except BaseException:
            if sock is None:
                opened.close()
            raise

    async def _connected(self, remote: Name, local: Name | None) -> sockets.StreamSocket:
        """A socket that is connected. The registry's answer takes some milliseconds, the peer's as long as it takes."""
        made = await self.run_in_executor(None, _connecting, remote, local)
        try:
            while made.is_connecting():
                seen = _Seen()
                self.add_reader(made, seen.set)
                self.watch(seen, made.stack)
                try:
                    await seen.wait()
                finally:
                    self.unwatch(seen, made.stack)
                    self.remove_reader(made)
                if made.stack.has_ended:
                    raise ConnectionResetError(errno.ECONNRESET, "the router has ended")
            if error := made.getsockopt(kernel.SOL_SOCKET, kernel.SO_ERROR):
                raise error_of(error)
        except BaseException:
            made.close()
            raise
        return made

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: int | None = None,
        *,
        sock: Any = None,
        family: int = 0,
        flags: int = 0,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        **options: Any,
    ) -> asyncio.Server:
        """Start a server, as asyncio's loops do, on one address, or on all of the router's."""
        if reuse_port:
            raise ValueError("reuse_port is not supported")
        if not (host is None or isinstance(host, str)):
            (host,) = host
        opened = sock or await self.run_in_executor(None, _bound, (host or "", int(port or 0)))
        try:
            server = await super().create_server(protocol_factory, sock=opened, **options)
        except BaseException:
            if sock is None:
                opened.close()
            raise
        if isinstance(opened, sockets.StreamSocket):
            self._serving[opened] = _Serving(server)
            self.watch(self._serving[opened], opened.stack)
        return server

    def _stop_serving(self, sock: Any) -> None:
        """A server closes one of its sockets."""
        if serving := self._serving.pop(sock, None):
            self.unwatch(serving, sock.stack)
        super()._stop_serving(sock)  # type: ignore[misc]

    # Transports: asyncio's loop makes all of them by these methods.

    def _make_datagram_transport(
        self, sock: Any, protocol: Any, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> asyncio.DatagramTransport:
        if not isinstance(sock, sockets.DatagramSocket):
            made: asyncio.DatagramTransport = super()._make_datagram_transport(  # type: ignore[misc]
                sock, protocol, address, waiter, extra
            )
            return made
        transport: asyncio.DatagramTransport = DatagramTransport(self, sock, protocol, address, waiter, extra)
        return transport

    def _make_socket_transport(  # type: ignore[override]
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None, **more: Any
    ) -> asyncio.Transport:
        if not isinstance(sock, sockets.StreamSocket):
            made: asyncio.Transport = super()._make_socket_transport(  # type: ignore[misc]
                sock, protocol, waiter, extra=extra, server=server, **more
            )
            return made
        return StreamTransport(self, sock, protocol, waiter, extra, server)

    def _make_ssl_transport(  # type: ignore[override]
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: Any = None,
        server: Any = None,
        **more: Any,
    ) -> asyncio.Transport:
        if not isinstance(rawsock, sockets.StreamSocket):
            made: asyncio.Transport = super()._make_ssl_transport(  # type: ignore[misc]
                rawsock,
                protocol,
                sslcontext,
                waiter,
                server_side=server_side,
                server_hostname=server_hostname,
                extra=extra,
                server=server,
                **more,
            )
            return made
        more.pop("context", None)
        tls: Any = sslproto.SSLProtocol(self, protocol, sslcontext, waiter, server_side, server_hostname, **more)  # type: ignore[arg-type]
        StreamTransport(self, rawsock, tls, None, extra, server)
        transport: asyncio.Transport = tls._app_transport
        return transport

    # The end of a router.

    def watch(self, watcher: Watcher, stack: Stack) -> None:
        """Tell a watcher when its router ends."""
        if stack not in self._watchers:
            self._watchers[stack] = set()
            self.add_reader(stack.ended, self._end, stack)
        self._watchers[stack].add(watcher)

    def unwatch(self, watcher: Watcher, stack: Stack) -> None:
        """Forget a watcher."""
        watchers = self._watchers.get(stack, set())
        watchers.discard(watcher)
        if not watchers and self._watchers.pop(stack, None) is not None:
            self.remove_reader(stack.ended)

    def _end(self, stack: Stack) -> None:
        for watcher in list(self._watchers.get(stack, ())):
            watcher.router_ended()
        if self._watchers.pop(stack, None) is not None:
            self.remove_reader(stack.ended)


# These calls wait for the router, for some milliseconds; they run in a thread.


@contextmanager
def _closed_on_error(made: Any) -> Iterator[None]:
    try:
        yield
    except BaseException:
        made.close()
        raise


def _datagrams(local: Name | None, remote: Name | None) -> sockets.DatagramSocket:
    made: sockets.DatagramSocket = sockets.socket()
    with _closed_on_error(made):
        if local:
            made.bind(local)
        if remote:
            made.connect(remote)
    return made


def _connecting(remote: Name, local: Name | None) -> sockets.StreamSocket:
    made: sockets.StreamSocket = sockets.socket(type=sockets.SOCK_STREAM)
    with _closed_on_error(made):
        made.setblocking(False)
        if local:
            made.bind(local)
        error = made.connect_ex(remote)
        if error not in (0, errno.EINPROGRESS):
            raise error_of(error)
    return made


def _bound(local: Name) -> sockets.StreamSocket:
    made: sockets.StreamSocket = sockets.socket(type=sockets.SOCK_STREAM)
    with _closed_on_error(made):
        made.bind(local)
    return made
