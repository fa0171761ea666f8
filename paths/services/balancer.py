"""Load balancer: one address and port stand for several backends, chosen by consistent hashing.

Usage: LoadBalancer(name, virtual, backends, protocol, timeout, capacity, full, mode, sequenced)
Requires and provides: ipv4.
Drops: balancer-no-backend, balancer-table-full, balancer-fragment.

A connection's backend is looked up in the table of Maglev (Eisenbud et al., NSDI 2016, section 3.4) by a hash of the
client's address and port, and kept in a table of connections while packets come, also when the backends change.
What is for the virtual address gets the backend's address and port for its destination, what comes back the virtual
ones for its source, and so do packets that ICMP errors quote. It stands below IP at the ports of both sides.

Every replica keeps the connections; the primary alone rewrites the packet. A backend serves while its handler is
bound, so that `Supervisor.bind(balancer, *balancer.serving(...))` changes the backends at one place among the packets
everywhere; each replica then fills the lookup table anew. A connection goes on with its backend, unless it begins
anew (with a SYN) and that does not serve any more.

Fragments are dropped: not all have ports. Its ports share one channel (`sequenced`), so that no replica sees an answer
before the packet that it answers. With sequenced=False each has its own, without an order between them: an answer may
come first in a replica, and passes unchanged.
"""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address
from typing import Any

import numpy as np

from scout.io.access import load8, load16, load32, require
from scout.paths.framework.events import Event, Handler, raise_event
from scout.paths.framework.service import Service
from scout.paths.framework.table import EVICT, REFUSE, find, new_table, place, rows
from scout.paths.model.graph import GraphError
from scout.paths.model.stage import Table, drop
from scout.paths.wire.flow import FRAGMENT, FRAGMENTED, HEADER, PROTOCOL, TCP, UDP, mix
from scout.paths.wire.rewrite import (
    DESTINATION,
    ERROR,
    MESSAGE,
    SOURCE,
    kind_of,
    mend_message,
    quotes,
    rewrite,
    rewrite_address,
)

__all__ = ["LoadBalancer", "balance", "begin", "populate", "send_on"]

NO_BACKEND, TABLE_FULL, A_FRAGMENT = drop("balancer-no-backend"), drop("balancer-table-full"), drop("balancer-fragment")

SEND_ON = Event("balancer-send-on")
"""The packet is to be rewritten; the argument says how: see `change`."""

LOOKUPS = 4093  # rows of the lookup table: a prime, more than 100 for each backend (section 3.4)
MOST_BACKENDS = 32
TCP_FLAGS, SYN, ACK = 13, 2, 16
CONNECTION, WORD = 1 << 40, 1 << 48  # in the words of keys, so that neither is 0
SECOND = 1_000_000_000

BACKEND = np.dtype([("address", "i8"), ("port", "i8"), ("offset", "i8"), ("skip", "i8")])
"""A backend, and its permutation of the lookup table's rows: (offset + j skip) mod `LOOKUPS`."""


def begin(frame: Any, end: Any, serving: Any) -> int:
    """No backend serves that does not say so."""
    serving[0].mask = 0
    return 0


def offer(number: int) -> Callable[..., int]:
    """The handler that says that a backend serves."""

    def serves(frame: Any, end: Any, serving: Any) -> int:
        serving[0].mask |= 1 << number
        return 0

    return serves


def populate(lookup: Any, turns: Any, backends: Any, mask: int) -> None:
    """Fill the lookup table: the backends take rows in turn, each the first of its permutation that is free."""
    size = len(lookup)
    for index in range(size):
        lookup[index].backend = -1
    for number in range(len(backends)):
        turns[number].taken = 0
    filled = 0
    while mask and filled < size:
        for number in range(len(backends)):
            if mask >> number & 1 and filled < size:
                backend = backends[number]
                index = (backend.offset + turns[number].taken * backend.skip) % size
                while lookup[index].backend >= 0:
                    turns[number].taken += 1
                    index = (backend.offset + turns[number].taken * backend.skip) % size
                lookup[index].backend = number
                turns[number].taken += 1
                filled += 1


def change(which: int, address: int, port: int) -> int:
    """How to rewrite a packet, as the argument of an event."""
    return which << 48 | address << 16 | port


def balance(
    frame: Any,
    end: Any,
    packet: Any,
    connections: Any,
    lookup: Any,
    turns: Any,
    serving: Any,
    counts: Any,
    events: Any,
    backends: Any,
    protocol: int,
    virtual: int,
    virtual_port: int,
    lifetime: int,
    policy: int,
) -> int:
    """Find the backend of what comes for the virtual address, and the connection of what goes back."""
    if serving[0].mask != serving[0].filled:
        populate(lookup, turns, backends, serving[0].mask)
        serving[0].filled = serving[0].mask
    if not require(frame, end, HEADER) or load8(frame, 0) >> 4 != 4:
        return 0
    source, destination = load32(frame, SOURCE), load32(frame, DESTINATION)
    fragment = load16(frame, FRAGMENT) & FRAGMENTED
    if fragment and destination == virtual and load8(frame, PROTOCOL) == protocol:
        return A_FRAGMENT
    kind, at = kind_of(frame, end, 0)
    now = packet.timestamp
    if kind == ERROR and not fragment and quotes(frame, end, at):
        return about(frame, end, at, now, connections, events, backends, protocol, virtual, virtual_port, lifetime)
    if kind != protocol:
        return 0
    sport, dport = load16(frame, at), load16(frame, at + 2)
    if destination == virtual and dport == virtual_port:
        key, more = CONNECTION | sport, WORD | source
        row = find(connections, key, more, now, lifetime)
        anew = kind == TCP and require(frame, end, at + TCP_FLAGS + 1)
        anew = anew and load8(frame, at + TCP_FLAGS) & (SYN | ACK) == SYN
        if row < 0 or (anew and serving[0].mask >> connections[row].backend & 1 == 0):
            number = lookup[mix(source << 16 | sport) % len(lookup)].backend
            if number < 0:
                return NO_BACKEND
            row = place(connections, counts, key, more, now, lifetime, policy)
            if row < 0:
                return TABLE_FULL
            connections[row].backend = number
        connections[row].used = now
        backend = backends[connections[row].backend]
        raise_event(events, SEND_ON, change(DESTINATION, backend.address, backend.port))
        return 0
    row = find(connections, CONNECTION | dport, WORD | destination, now, lifetime)
    if row < 0:
        return 0
    backend = backends[connections[row].backend]
    if backend.address != source or backend.port != sport:
        return 0
    if fragment:
        return A_FRAGMENT
    connections[row].used = now
    raise_event(events, SEND_ON, change(SOURCE, virtual, virtual_port))
    return 0


def about(
    frame: Any,
    end: Any,
    at: int,
    now: int,
    connections: Any,
    events: Any,
    backends: Any,
    protocol: int,
    virtual: int,
    virtual_port: int,
    lifetime: int,
) -> int:
    """Find the connection that an ICMP error is about; it keeps none alive."""
    quote = at + MESSAGE
    kind, inner = kind_of(frame, end, quote)
    if kind != protocol:
        return 0
    source, destination = load32(frame, quote + SOURCE), load32(frame, quote + DESTINATION)
    sport, dport = load16(frame, inner), load16(frame, inner + 2)
    if source == virtual and sport == virtual_port:
        # About an answer: to the backend, which knows it by its own address.
        row = find(connections, CONNECTION | dport, WORD | destination, now, lifetime)
        if row >= 0 and load32(frame, DESTINATION) == virtual:
            backend = backends[connections[row].backend]
            raise_event(events, SEND_ON, change(DESTINATION, backend.address, backend.port))
        return 0
    row = find(connections, CONNECTION | sport, WORD | source, now, lifetime)
    if row >= 0:
        backend = backends[connections[row].backend]
        if backend.address == destination and backend.port == dport:
            raise_event(events, SEND_ON, change(SOURCE, virtual, virtual_port))
    return 0


def send_on(frame: Any, end: Any, packet: Any, argument: int) -> int:
    """Rewrite the packet, or what an ICMP error quotes, as its event says."""
    which, address, port = argument >> 48, argument >> 16 & 0xFFFFFFFF, argument & 0xFFFF
    kind, at = kind_of(frame, end, 0)
    if kind != ERROR:
        rewrite(frame, end, 0, kind, at, which, address, port, packet.flags)
        return 0
    # The quote went the other way: its source is what the packet's destination is.
    quote = at + MESSAGE
    inner, begins = kind_of(frame, end, quote)
    other = SOURCE if which == DESTINATION else DESTINATION
    before = load32(frame, quote + other)
    mend_message(frame, at, rewrite(frame, end, quote, inner, begins, other, address, port, 0))
    if which == DESTINATION or load32(frame, SOURCE) == before:
        rewrite_address(frame, 0, which, address)
    return 0


class LoadBalancer(Service):
    """Spreads connections over backends.

    Parameters
    ----------
    name : str
    virtual : str
        The address and port that clients use, as "10.0.0.1:80"; an address of the router, or one that is routed to it.
    backends : sequence of str
        Addresses and ports, as "10.0.1.2:8080": 1 to 32. The answers have to come by the router.
    protocol : {"tcp", "udp"}
    timeout : float
        Seconds that a connection is kept without a packet.
    capacity : int
        Connections at most, about; a power of two.
    full : {"evict", "refuse"}
        What becomes of a new connection when the table is full: it takes the place of the one that has been silent for
        longest (counted as `evicted`), or is dropped as `balancer-table-full`.
    mode : str
        "replicated" or "locked". Not "sharded": packets and their answers are different flows.
    sequenced : bool
        True: replicas see the packets of all ports in one order (see `Service`).

    Examples
    --------
    ::

        graph.add(LoadBalancer("balancer", "10.0.0.1:80", ["10.0.1.2:8080", "10.0.1.3:8080"]))
        for port in ("left", "right"):
            graph.connect("ip", "balancer", port)
    """

    def __init__(
        self,
        name: str,
        virtual: str,
        backends: Sequence[str],
        protocol: str = "tcp",
        timeout: float = 3600.0,
        capacity: int = 1 << 14,
        full: str = "evict",
        mode: str = "replicated",
        sequenced: bool = True,
    ) -> None:
        address, port = _endpoint(name, virtual)
        found = [_endpoint(name, each) for each in backends]
        if not 1 <= len(set(found)) == len(found) <= MOST_BACKENDS or (address, port) in found:
            raise GraphError(
                f"{name}: backends {list(backends)}; give 1 to {MOST_BACKENDS} that differ, also from {virtual}"
            )
        if protocol not in ("tcp", "udp"):
            raise GraphError(f"{name}: protocol {protocol!r}; use tcp or udp")
        if not 1 <= timeout <= 86400 * 365:
            raise GraphError(f"{name}: timeout of {timeout} seconds; give 1 or more")
        if full not in ("evict", "refuse"):
            raise GraphError(f"{name}: full={full!r}; use evict or refuse")
        if mode == "sharded":
            raise GraphError(f"{name}: mode 'sharded' would part packets from their answers; use replicated or locked")
        self.backends = dict(zip(backends, range(len(found)), strict=True))
        table = np.zeros(len(found), BACKEND)
        for row, each in zip(table, found, strict=True):
            word = each[0] << 16 | each[1]
            row["address"], row["port"] = each
            row["offset"], row["skip"] = mix(word) % LOOKUPS, mix(mix(word)) % (LOOKUPS - 1) + 1
        super().__init__(
            name,
            {
                "connections": new_table(capacity, [("backend", "i8")]),
                "lookup": np.full(LOOKUPS, -1, [("backend", "i4")]),
                "turns": np.zeros(len(found), [("taken", "i8")]),
                "serving": np.zeros(1, [("mask", "i8"), ("filled", "i8")]),
            },
            [
                Handler(begin),
                *(Handler(offer(number)) for number in range(len(found))),
                Handler(balance),
                Handler(send_on, SEND_ON, run="primary"),
            ],
            "ipv4",
            mode,
            sequenced=sequenced,
            backends=Table(table, "constant"),
            protocol=TCP if protocol == "tcp" else UDP,
            virtual=address,
            virtual_port=port,
            lifetime=int(timeout * SECOND),
            policy=EVICT if full == "evict" else REFUSE,
        )

    def serving(self, backends: Iterable[str]) -> tuple[str, ...]:
        """The handlers to bind so that just these backends get new connections."""
        wanted = list(backends)
        for each in wanted:
            if each not in self.backends:
                raise GraphError(f"{self.name}: no backend {each!r}; there are {', '.join(self.backends)}")
        return ("begin", *(_handler(self.backends[each]) for each in wanted), "balance", "send_on")

    def read(self, connections: np.ndarray | None = None) -> dict[tuple[str, int], str]:
        """The backend of each client's address and port: in a replica's copy of the table, or in plain runs."""
        found = rows(self.tables["connections"].initial if connections is None else connections)
        names = list(self.backends)
        return {
            (str(IPv4Address(int(row["more"]) ^ WORD)), int(row["key"]) ^ CONNECTION): names[int(row["backend"])]
            for row in found
        }


def _handler(number: int) -> str:
    """The name of a backend's handler, as `Service.mask` has it."""
    return "serves" if number == 0 else f"serves_{number + 1}"


def _endpoint(name: str, text: str) -> tuple[int, int]:
    address, _, port = text.rpartition(":")
    try:
        found = int(IPv4Address(address)), int(port)
    except ValueError as error:
        raise GraphError(f"{name}: {text!r} is no address and port; write 10.0.0.1:80") from error
    if not 0 < found[1] < 65536:
        raise GraphError(f"{name}: {text!r} has no port of 1 to 65535; write 10.0.0.1:80")
    return found
