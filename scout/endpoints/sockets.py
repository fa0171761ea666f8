"""The registry's table of sockets: which rows are open, by whom, and which addresses and L4 ports they have.

Its decisions take effect by local requests (`BIND`, `LISTEN`, `CONNECT`, `OFFER`, `CLOSE`), at one position in every
replica. The row of a stream socket that was closed stays taken until its connection has come to its end.
"""

import errno
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any

from scout.io.endpoints.message import BIND, CLOSE, CONNECT, HEADER_STRUCT, LISTEN, OFFER, ROW
from scout.io.ports.applications import ApplicationPort
from scout.paths.protocols.next_hop import CONNECTED, LOCAL
from scout.paths.protocols.tcp.serving_sockets import GRACEFUL, NOW, TIME_WAIT_ONLY
from scout.paths.wire import ipv4
from scout.ring.errors import ScoutError

__all__ = ["Refused", "SocketTable"]

Name = tuple[str, int]
"""An address and an L4 port, as sockets have them."""

_FIRST_PORT, _LAST_PORT = 49152, 65535  # dynamic ports, RFC 6335 section 6
_PATIENCE = 5.0  # seconds until every replica must have come to a request
_DRAIN = 1.0  # seconds for the requests that an application has made before it closes a socket
_NAP = 2e-4  # seconds between two looks whether it has
_MOST_SPARES = 64  # that one request opens
_RESETTING = 2.0  # seconds for the resets of all connections when the router stops
_STREAMS = (ipv4.TCP,)  # protocols whose sockets have connections


class Refused(ScoutError):
    """A request that is refused; `number` is the reason (errno)."""

    def __init__(self, number: int, text: str = "") -> None:
        super().__init__(text or os.strerror(number))
        self.number = number


@dataclass
class _Socket:
    number: int
    application: int
    protocol: int
    local: int = 0
    local_port: int = 0
    remote: int = 0
    remote_port: int = 0
    listens: bool = False

    @property
    def is_stream(self) -> bool:
        """True if it may have a connection."""
        return self.protocol in _STREAMS

    @property
    def names(self) -> tuple[Name, Name | None]:
        """Its own name, and that of the other end."""
        remote = (str(IPv4Address(self.remote)), self.remote_port) if self.remote_port else None
        return (str(IPv4Address(self.local)), self.local_port), remote


class SocketTable:
    """The sockets of a port.

    Parameters
    ----------
    port : ApplicationPort
        An open one.
    transports : mapping of int to Router
        By protocol.
    """

    def __init__(self, port: ApplicationPort, transports: Mapping[int, Any]) -> None:
        self._port, self._transports = port, transports
        self._lock = threading.Lock()
        # Rows, and the end of the requests that replicas may still have to do for the last socket of each.
        self._free = deque((row, 0) for row in range(port.sockets))
        self._generations = [0] * port.sockets
        self._sockets: dict[int, _Socket] = {}
        self._leaving: dict[int, _Socket] = {}  # closed, but their connections had not come to their ends
        self._many = _MOST_SPARES  # of those: then it is time to see which have
        self._ports: Counter[tuple[int, int]] = Counter()  # sockets of each protocol and L4 port, closed ones included
        self._next_port = _FIRST_PORT
        self._closed = False

    def open(self, application: int, protocol: int) -> tuple[int, int]:
        """Open a socket; its number, and its eventfd."""
        with self._changing():
            return self._open(application, protocol)

    def _open(self, application: int, protocol: int) -> tuple[int, int]:
        if protocol not in self._transports:
            raise Refused(errno.EPROTONOSUPPORT)
        if not self._free:
            self._make_room()
        if not self._free:
            raise Refused(errno.ENFILE, f"all {self._port.sockets} sockets are open; raise sockets=...")
        row, position = self._free[0]
        feed = self._port.feed
        # Until then a replica could send what the next socket writes as data of the last one.
        self._await(lambda: feed is None or feed.reached(position))
        self._free.popleft()
        self._generations[row] = self._generations[row] + 1 & 0xFFFF
        number = self._generations[row] << 16 | row
        memory = self._port.memory
        memory.clear_socket(row, self._port.tails)
        memory.owners[row] = application
        memory.numbers[row] = number  # last: from now on replicas take requests and messages for it
        self._sockets[number] = _Socket(number, application, protocol)
        return number, int(memory.bells[row])

    def offset(self, number: int) -> int:
        """Where the area of a socket is in the memory file."""
        return self._port.memory.offset_of_socket(number & ROW)

    def bind(self, application: int, socket: int, address: str, port: int) -> tuple[Name, Name | None]:
        """Give a socket an address and an L4 port of its own; 0 is any. Its names."""
        with self._changing():
            found = self._found(application, socket)
            if found.local_port:
                raise Refused(errno.EINVAL, "the socket has a name already")
            local = _address(address)
            if local and self._hop(found, local)[0] != LOCAL:
                raise Refused(errno.EADDRNOTAVAIL)
            self._give_port(found, local, port)
            found.local = local
            return self._tell(found)

    def connect(self, application: int, socket: int, address: str, port: int) -> tuple[Name, Name | None]:
        """Give a socket the other end that it talks with, and its own name if it has none. Its names."""
        with self._changing():
            found, remote = self._found(application, socket), _address(address)
            if found.is_stream and (found.listens or found.remote_port):
                raise Refused(errno.EISCONN)
            kind, source, mtu = self._hop(found, remote)
            if not 0 <= kind <= CONNECTED:
                raise Refused(errno.ENETUNREACH)
            if not 0 < port <= _LAST_PORT:
                raise Refused(errno.EINVAL, f"no L4 port {port}")
            if not found.local_port:
                self._give_port(found, found.local or source, 0)
            found.local = found.local or source
            found.remote, found.remote_port = remote, port
            if found.is_stream:  # the application waits until it is open
                self._request(CONNECT, found, min(mtu, 0xFFFF), waits=False)
                return found.names
            return self._tell(found)

    def listen(self, application: int, socket: int) -> tuple[Name, Name | None]:
        """Let a stream socket take connections, for which it needs spare ones. Its names."""
        with self._changing():
            found = self._found(application, socket)
            if not found.is_stream:
                raise Refused(errno.EOPNOTSUPP)
            if found.listens or found.remote_port:
                raise Refused(errno.EINVAL, "the socket listens, or has a connection")
            if not found.local_port:
                self._give_port(found, found.local, 0)
            self._request(LISTEN, found)
            found.listens = True
            return found.names

    def spares(self, application: int, socket: int, count: int) -> list[tuple[int, int]]:
        """Open sockets which the next connections of a listener get; the number and the eventfd of each."""
        with self._changing():
            found = self._found(application, socket)
            if not found.listens:
                raise Refused(errno.EINVAL, "the socket does not listen")
            if not 0 < count <= _MOST_SPARES:
                raise Refused(errno.EINVAL, f"{count} spare sockets; ask for 1 to {_MOST_SPARES}")
            made: list[tuple[int, int]] = []
            while len(made) < count:
                try:
                    made.append(self._open(application, found.protocol))
                except Refused:
                    if made:  # those that there are
                        break
                    raise
            for number, _ in made:
                self._request(OFFER, self._sockets[number], data=socket.to_bytes(4), waits=False)
            return made

    def close(self, application: int, socket: int) -> tuple[None, None]:
        """Close a socket, when the requests that the application has made before are in the channel."""
        self._drain(application)
        with self._changing():
            self._end(self._found(application, socket), GRACEFUL)
        return None, None

    def close_all(self, application: int) -> None:
        """Close all sockets of an application, which has gone."""
        self._drain(application)
        while left := self._sockets_of(application):
            for each in left:
                try:
                    with self._changing():
                        self._end(each, NOW)
                except Refused as refused:
                    if refused.number == errno.ENETDOWN:
                        return
                    time.sleep(_NAP)  # the channel is full, or replicas are stopped: try again
                except ScoutError:  # the port is closed
                    return

    def _sockets_of(self, application: int) -> list[_Socket]:
        with self._lock:
            return [each for each in self._sockets.values() if each.application == application]

    def stop(self) -> None:
        """Refuse everything from now on."""
        self._closed = True

    def reset(self) -> None:
        """Reset all connections, as the router stops, after `stop` (RFC 9293 section 3.10.5).

        It returns when the resets have left, or the replicas have not come to them in time. Spliced connections are not
        reset: Scout does not follow their sequence numbers.
        """
        deadline = time.monotonic() + _RESETTING
        with self._lock, suppress(ScoutError):  # the port is closed
            streams = [each for each in (*self._sockets.values(), *self._leaving.values()) if each.is_stream]
            for each in streams:
                if not self._reset(each, deadline):
                    return
            while streams and self._port.feed and not self._port.feed.reached(self._port.feed.sent):
                if time.monotonic() > deadline:
                    return
                time.sleep(_NAP)

    def _reset(self, socket: _Socket, deadline: float) -> bool:
        """Have a connection reset; False if there was no room in the channel until the deadline."""
        while time.monotonic() < deadline:
            with suppress(Refused):  # the channel is full: the replicas are late, or do not run
                self._request(CLOSE, socket, NOW, waits=False)
                return True
            time.sleep(_NAP)
        return False

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise Refused(errno.ENETDOWN)
            yield

    def _found(self, application: int, number: int) -> _Socket:
        found = self._sockets.get(number)
        if found is None or found.application != application:
            raise Refused(errno.EBADF)
        return found

    def _drain(self, application: int) -> None:
        """Wait until the requests of an application are in the channel; others do not wait meanwhile."""
        memory = self._port.memory
        memory.ring(application)  # it may have died between a request and its doorbell
        with suppress(Refused):  # it may have written nonsense there
            self._await(lambda: not memory.pending(application), _DRAIN)

    def _end(self, socket: _Socket, note: int) -> None:
        self._request(CLOSE, socket, note, waits=not socket.is_stream)  # if that is refused the socket stays open
        del self._sockets[socket.number]
        if socket.is_stream:  # its row is free when the connection has ended, not before
            self._port.memory.owners[socket.number & ROW] = -1
            self._leaving[socket.number] = socket
            if len(self._leaving) >= self._many:  # not at each, which would take long if many wait
                self._reap()
                self._many = 2 * len(self._leaving) + _MOST_SPARES
        else:
            self._release(socket)

    def _release(self, socket: _Socket) -> None:
        row, feed, port = socket.number & ROW, self._port.feed, (socket.protocol, socket.local_port)
        self._ports[port] -= 1
        if self._ports[port] <= 0:
            del self._ports[port]
        self._port.memory.numbers[row] = -1
        self._free.append((row, feed.sent if feed else 0))

    def _reap(self) -> None:
        """Free the rows of closed sockets whose connections have come to their ends."""
        for number in [each for each in self._leaving if self._port.memory.has_ended(each)]:
            self._release(self._leaving.pop(number))

    def _make_room(self) -> None:
        """End connections in TIME-WAIT, the oldest first, until a row is free."""
        self._reap()
        oldest = list(self._leaving.values())
        while oldest and not self._free:
            some, oldest = oldest[:_MOST_SPARES], oldest[_MOST_SPARES:]
            for each in some:
                self._request(CLOSE, each, TIME_WAIT_ONLY, waits=each is some[-1])
            self._reap()

    def _give_port(self, socket: _Socket, local: int, port: int) -> None:
        """Give a socket the L4 port that it wants, or a free one if that is 0."""
        socket.local_port = self._checked(socket, local, port) if port else self._free_port(socket.protocol)
        self._ports[socket.protocol, socket.local_port] += 1

    def _checked(self, socket: _Socket, local: int, port: int) -> int:
        """An L4 port that no open socket has at this address."""
        if not 0 < port <= _LAST_PORT:
            raise Refused(errno.EINVAL, f"no L4 port {port}")
        for each in self._sockets.values() if (socket.protocol, port) in self._ports else ():
            is_same = each.protocol == socket.protocol and each.local_port == port
            if is_same and (not each.local or not local or each.local == local):
                raise Refused(errno.EADDRINUSE)
        return port

    def _free_port(self, protocol: int) -> int:
        """A dynamic L4 port that no socket has, nor a connection that has not come to its end."""
        for _ in range(2):
            for _ in range(_FIRST_PORT, _LAST_PORT + 1):
                chosen, self._next_port = self._next_port, self._next_port + 1
                if self._next_port > _LAST_PORT:
                    self._next_port = _FIRST_PORT
                if (protocol, chosen) not in self._ports:
                    return chosen
            self._reap()
        raise Refused(errno.EADDRINUSE)

    def _hop(self, socket: _Socket, address: int) -> tuple[int, int, int]:
        """The kind of the next hop of an address, -1 if there is none; the router's own address, and the MTU, there."""
        ip = self._transports[socket.protocol].ip
        (row,) = ip.fib.next_hops(IPv4Network((address, 32)))
        hop = ip.next_hops.initial[row]
        return (int(hop["kind"]), int(hop["source"]), ip.mtu_of(int(hop["port"]))) if row >= 0 else (-1, 0, 0)

    # Local requests.

    def _tell(self, socket: _Socket) -> tuple[Name, Name | None]:
        if not socket.is_stream:  # the name of a stream socket is told with what comes of it
            self._request(BIND, socket)
        return socket.names

    def _request(self, kind: int, socket: _Socket, note: int = 0, data: bytes = b"", waits: bool = True) -> None:
        """Have every replica change its socket table, and wait until all have."""
        header = HEADER_STRUCT.pack(
            kind,
            socket.protocol,
            note,
            socket.number,
            socket.local,
            socket.remote,
            socket.local_port,
            socket.remote_port,
            0,
        )
        feed = self._port.feed
        position = self._port.request(header + data, time.time_ns())
        if not position or feed is None:
            raise Refused(errno.ENOBUFS)
        if waits:
            self._await(lambda: feed.reached(position))

    def _await(self, condition: Callable[[], bool], patience: float | None = None) -> None:
        deadline = time.monotonic() + (_PATIENCE if patience is None else patience)
        while not condition() and not self._closed:
            if time.monotonic() > deadline:
                raise Refused(errno.ETIMEDOUT, "the replicas do not come to the request; are they stopped?")
            time.sleep(_NAP)


def _address(text: str) -> int:
    try:
        return int(IPv4Address(text or "0.0.0.0"))
    except AddressValueError as error:
        raise Refused(errno.EINVAL, str(error)) from error
