"""asyncio over the sockets of a running Scout router (docs/endpoints.md).

An asyncio program runs on the router's TCP and UDP by changing one import::

    from scout import aio as asyncio

All names are asyncio's, but `run` and `new_event_loop` use an event loop whose connections, servers and datagram
endpoints are `scout.sockets`. `open_connection`, `start_server` and all else that uses the running loop follow.
`splice` makes two connections one.
"""

import asyncio
from asyncio import *  # noqa: F403
from collections.abc import Coroutine
from typing import Any, TypeVar

from scout.aio.loop import EventLoop
from scout.aio.splicing import splice

__all__ = [*asyncio.__all__, "EventLoop", "splice"]

_Result = TypeVar("_Result")


def new_event_loop() -> EventLoop:  # type: ignore[no-redef]
    """Make an event loop, as `asyncio.new_event_loop`."""
    return EventLoop()


def run(main: Coroutine[Any, Any, _Result], *, debug: bool | None = None) -> _Result:  # type: ignore[no-redef]
    """Run a coroutine, as `asyncio.run`."""
    with asyncio.Runner(debug=debug, loop_factory=EventLoop) as runner:
        return runner.run(main)
