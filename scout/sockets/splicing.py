"""Splicing of two connections: the stack passes the segments of each on to the other (docs/tcp.md)."""

import errno
import time

from scout.io.endpoints.message import SPLICE
from scout.io.endpoints.stream import SPLICED
from scout.sockets.errors import error_of
from scout.sockets.record_stream import RecordStream
from scout.sockets.stream import StreamSocket

__all__ = ["join", "splice"]

_NAP = 5e-5  # seconds between two looks at the stack's answer

_REFUSED = {
    errno.EOPNOTSUPP: "one of both peers sends timestamps and the other one none; copy between the two sockets instead",
    errno.EPROTO: "a connection whose bytes are in records cannot be spliced; copy between the two sockets instead",
    errno.EPIPE: "one of both sockets was shut down for writing",
    errno.ENOTCONN: "one of both connections has ended",
}


def splice(one: StreamSocket, two: StreamSocket) -> None:
    """Make two connections one: the stack passes the bytes of each on to the other, without the application.

    Bytes that were received on either and not read are delivered first, behind those that the application has sent.
    Both sockets are closed; the connections go on, also when the application ends, until both peers have closed them,
    one has reset them, or a peer does not answer any more.

    Parameters
    ----------
    one, two : StreamSocket
        Connected sockets of the same router. After an error they are as before.

    Raises
    ------
    OSError
        EOPNOTSUPP if one peer sends timestamps (RFC 7323) and the other one none; EPROTO if a connection is
        secured (`StreamSocket.secure`); ENOTCONN if a connection has ended;
        EPIPE if one was shut down for writing; EBUSY if a file of `makefile` is open, which may have read ahead.
    """
    join(one, two)
    one.close()
    two.close()


def join(one: StreamSocket, two: StreamSocket) -> None:
    """As `splice`, but leave the sockets open; nothing can be done with them but to close them."""
    if one is two or one.stack is not two.stack:
        raise error_of(errno.EINVAL)
    pair = (one, two)
    if any(isinstance(each.stream, RecordStream) for each in pair):
        raise OSError(errno.EPROTO, _REFUSED[errno.EPROTO])
    before = [each.stream.errors() for each in pair]
    _ask(one, two)
    _ask(two, one)
    while not all(each.stream.phase()[0] >= SPLICED for each in pair):
        one._check_stack()
        for each, count in zip(pair, before, strict=True):
            error = each.stream.soft_error()
            if each.stream.errors() > count and error in _REFUSED:
                raise OSError(error, _REFUSED[error])
        time.sleep(_NAP)
    one.is_spliced = two.is_spliced = True


def _ask(one: StreamSocket, two: StreamSocket) -> None:
    """Ask the stack to splice a connection with another one, which has to ask too."""
    if one._io_refs:
        raise OSError(errno.EBUSY, "a file of makefile() may have read ahead; close it before the splice")
    with one._receiving, one._sending:
        one._connected()
        while (position := one.stream.read_position()) < 0:  # it takes a replica a moment
            one._check_stack()
        one._tell(SPLICE, two._opened(), position)
