"""asyncio over the sockets of a running Scout router (docs/endpoints.md).

An asyncio program runs on the router's UDP by changing one import::

    from scout import aio as asyncio

All names are asyncio's, but `run` and `new_event_loop` use an event loop whose datagram endpoints are `scout.sockets`.
"""

import asyncio
from asyncio import *  # noqa: F403
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from scout import sockets

__all__ = [*asyncio.__all__, "EventLoop"]

_Result = TypeVar("_Result")


class EventLoop(asyncio.SelectorEventLoop):
    """An event loop whose datagram endpoints are sockets of the router that this process is attached to."""

    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        local_addr: tuple[str, int] | None = None,
        remote_addr: tuple[str, int] | None = None,
        *,
        sock: Any = None,
        **options: Any,
    ) -> tuple[asyncio.DatagramTransport, Any]:
        """Open a datagram endpoint, as asyncio's loops do; with `sock` that of a socket of any kind."""
        opened = sock or await self.run_in_executor(None, _opened, local_addr, remote_addr)
        try:
            return await super().create_datagram_endpoint(protocol_factory, sock=opened, **options)
        except BaseException:
            if sock is None:
                opened.close()
            raise


def _opened(local: tuple[str, int] | None, remote: tuple[str, int] | None) -> sockets.DatagramSocket:
    """A socket with these names. The calls wait for the router, for some milliseconds."""
    made = sockets.socket()
    try:
        if local:
            made.bind(local)
        if remote:
            made.connect(remote)
    except BaseException:
        made.close()
        raise
    return made


def new_event_loop() -> EventLoop:  # type: ignore[no-redef]
    """Make an event loop, as `asyncio.new_event_loop`."""
    return EventLoop()


def run(main: Coroutine[Any, Any, _Result], *, debug: bool | None = None) -> _Result:  # type: ignore[no-redef]
    """Run a coroutine, as `asyncio.run`."""
    with asyncio.Runner(debug=debug, loop_factory=EventLoop) as runner:
        return runner.run(main)
