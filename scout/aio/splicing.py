"""Splicing of two connections of asyncio (`scout.sockets.splice`)."""

import asyncio
from asyncio import StreamReader, StreamWriter

from scout.aio.transport import StreamTransport
from scout.sockets.splicing import join

__all__ = ["splice"]


async def splice(one: tuple[StreamReader, StreamWriter], two: tuple[StreamReader, StreamWriter]) -> None:
    """Make two connections one, as `scout.sockets.splice` does.

    The bytes that the readers have and those that the writers were given are delivered first. Both connections are
    closed for the program.

    Parameters
    ----------
    one, two : tuple of StreamReader and StreamWriter
        The streams of both connections, without TLS.

    Raises
    ------
    OSError
        As of `scout.sockets.splice`. The streams can be used as before.
    TypeError
        If a stream has TLS, or is one of the kernel's.
    """
    transports = [writer.transport for _, writer in (one, two)]
    for each in transports:
        if not isinstance(each, StreamTransport):
            raise TypeError(f"{each!r} is no connection of the router's own; only these are spliced, without TLS")
    first, second = (each for each in transports if isinstance(each, StreamTransport))
    first.pause_reading()
    second.pause_reading()
    try:
        for (reader, _), (_, writer) in ((one, two), (two, one)):
            if buffered := bytes(reader._buffer):  # type: ignore[attr-defined]
                reader._buffer.clear()  # type: ignore[attr-defined]
                writer.write(buffered)
        for _, writer in (one, two):
            writer.transport.set_write_buffer_limits(0)
            await writer.drain()
        await asyncio.get_running_loop().run_in_executor(None, join, first._sock, second._sock)
    except BaseException:
        for each in (first, second):
            each.set_write_buffer_limits()
            each.resume_reading()
        raise
    first.abort()
    second.abort()
