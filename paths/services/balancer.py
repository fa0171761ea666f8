"""Load balancer: one address and port stand for several backends, chosen by consistent hashing.

Usage: LoadBalancer(name, virtual, backends, protocol, timeout, capacity, full, mode, sequenced)
Requires and provides: ipv4.

A new connection gets its backend from the lookup table of Maglev (`scout.paths.services.maglev`) by a hash of the
client's address and port. It keeps that backend while packets come, also when the backends change. Packets for the
virtual address get the backend's address and port for their destination; answers get the virtual ones for their source;
so do the packets that ICMP errors quote. The balancer stands below IP at the ports of clients and of backends.

`Supervisor.bind(balancer, *balancer.serving(...))` changes the backends that get new connections, in all replicas from
one packet on. A connection stays with its backend, unless it begins anew (with a SYN) and that backend gets no new
connections.

Of a datagram in fragments all are translated, the later ones after the first, or none: a later fragment from a backend
or for the virtual address is dropped if its first one has not come.

Its ports share one channel (`sequenced`), so that no replica sees an answer before the packet that it answers. With
sequenced=False each port has a channel of its own: an answer that a replica sees first passes unchanged.

State
    `connections`, a row for each client's address and port. `lookup`, Maglev's table, and `serving`, the backends that
    it was filled for. `fragments`, a row for each datagram in fragments.
Events and handlers
    arrival: `balance`, on every replica: finds the connection.
    `SEND_ON`: `send_on`, on the primary: translates the packet.
    `serves`, for each backend, runs at no event: a backend gets new connections while its handler is bound.
Drops
    balancer-no-backend: a new connection, and no backend serves.
    balancer-table-full: a new connection finds the table full, and `full` is "refuse".
    balancer-fragment: a later fragment whose first one has not come.
Modes
    replicated, locked.
Example
    LoadBalancer("balancer", "10.0.0.1:80", ["10.0.1.2:8080", "10.0.1.3:8080"])
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from typing import Any

import numpy as np

from scout.io.access import load8, load16, load32, require
from scout.io.packet import SECOND
from scout.paths.framework.check import refuse_sharded
from scout.paths.framework.events import Event, Handler, raise_event
from scout.paths.framework.flow_table import find, new_table, place, policy_of
from scout.paths.framework.service import Service
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.services.endpoint import Endpoint
from scout.paths.services.fragments import key_of, new_fragments, recall, remember
from scout.paths.services.maglev import PERMUTATION, empty_tables, permutation, populate
from scout.paths.wire import icmp, ipv4, tcp
from scout.paths.wire.flow import mix
from scout.paths.wire.icmp import quotes
from scout.paths.wire.ipv4 import DESTINATION, SOURCE
from scout.paths.wire.rewrite import ERROR, kind_of, rewrite, rewrite_address, update_message_checksum
from scout.ring.jit import outline

__all__ = ["LoadBalancer", "balance", "send_on"]

NO_BACKEND, TABLE_FULL, A_FRAGMENT = drop("balancer-no-backend"), drop("balancer-table-full"), drop("balancer-fragment")

SEND_ON = Event("balancer-send-on")
"""The packet is to be translated; the argument says how: see `change`."""

FIRST_BACKEND = 2  # the place of the first backend's handler among the handlers
MOST_BACKENDS = 32
CONNECTION, WORD = 1 << 40, 1 << 48  # bits of keys, so that no word is 0

BACKEND = np.dtype([("address", "i8"), ("port", "i8"), *PERMUTATION])

SETTINGS = np.dtype(
    [
        ("protocol", "i8"),
        ("address", "i8"),  # the virtual one
        ("port", "i8"),
        ("lifetime", "i8"),  # how long a connection is kept without a packet, nanoseconds
        ("policy", "i8"),
    ]
)
"""The settings, which do not change while packets flow. Addresses are in host order."""


def change(which: int, address: int, port: int) -> int:
    """How to translate a packet, as one number: the address and port to write, and where (`which`)."""
    return which << 48 | address << 16 | port


def balance(
    frame: Any,
    end: Any,
    packet: Any,
    mask: int,
    connections: Any,
    fragments: Any,
    lookup: Any,
    turns: Any,
    serving: Any,
    counts: Any,
    events: Any,
    backends: Any,
    settings: Any,
) -> int:
    """Find the connection of a packet for the virtual address, or from a backend, and have it translated."""
    if serving[0].mask != mask >> FIRST_BACKEND:
        serving[0].mask = mask >> FIRST_BACKEND
        populate(lookup, turns, backends, serving[0].mask)
    if not require(frame, end, ipv4.HEADER):
        return 0
    now, word = packet.timestamp, load16(frame, ipv4.FRAGMENT)
    if word & ipv4.OFFSET:
        return later_fragment(frame, now, fragments, events, backends, settings)
    kind, at = kind_of(frame, end, 0)
    if kind == ERROR:
        if quotes(frame, end, at):
            translate_error(frame, end, at, now, connections, events, backends, settings)
        return 0
    if kind != settings[0].protocol:
        return 0
    how = translation(frame, end, at, now, connections, lookup, serving, counts, backends, settings)
    if how < 0:
        return how
    if word & ipv4.MORE_FRAGMENTS:
        key, more = key_of(frame)
        remember(fragments, counts, key, more, now, how)
    if how > 0:
        raise_event(events, SEND_ON, how)
    return 0


def translation(
    frame: Any,
    end: Any,
    at: int,
    now: int,
    connections: Any,
    lookup: Any,
    serving: Any,
    counts: Any,
    backends: Any,
    settings: Any,
) -> int:
    """How to translate a packet with ports at `at` (see `change`); 0 if it is no one's, or why it is dropped."""
    virtual = settings[0]
    source, destination = load32(frame, SOURCE), load32(frame, DESTINATION)
    sport, dport = load16(frame, at + tcp.SOURCE), load16(frame, at + tcp.DESTINATION)
    if destination == virtual.address and dport == virtual.port:
        key, more = CONNECTION | sport, WORD | source
        row = find(connections, key, more, now, virtual.lifetime)
        begins = virtual.protocol == ipv4.TCP and require(frame, end, at + tcp.FLAGS + 1)
        begins = begins and load8(frame, at + tcp.FLAGS) & (tcp.SYN | tcp.ACK) == tcp.SYN
        if row < 0 or (begins and serving[0].mask >> connections[row].backend & 1 == 0):
            number = lookup[mix(source << 16 | sport) % len(lookup)].backend
            if number < 0:
                return NO_BACKEND
            row = place(connections, counts, key, more, now, virtual.lifetime, virtual.policy)
            if row < 0:
                return TABLE_FULL
            connections[row].backend = number
        connections[row].used = now
        backend = backends[connections[row].backend]
        return change(DESTINATION, backend.address, backend.port)
    row = find(connections, CONNECTION | dport, WORD | destination, now, virtual.lifetime)
    if row < 0:
        return 0
    backend = backends[connections[row].backend]
    if backend.address != source or backend.port != sport:
        return 0
    connections[row].used = now
    return change(SOURCE, virtual.address, virtual.port)


@outline
def later_fragment(frame: Any, now: int, fragments: Any, events: Any, backends: Any, settings: Any) -> int:
    """Do to a later fragment as to the first one of its datagram."""
    key, more = key_of(frame)
    row = recall(fragments, key, more, now)
    if row >= 0:
        if fragments[row].value:
            raise_event(events, SEND_ON, fragments[row].value)
        return 0
    if load8(frame, ipv4.PROTOCOL) != settings[0].protocol:
        return 0
    if load32(frame, DESTINATION) == settings[0].address:
        return A_FRAGMENT
    source = load32(frame, SOURCE)
    for number in range(len(backends)):
        if backends[number].address == source:
            return A_FRAGMENT
    return 0


@outline
def translate_error(
    frame: Any, end: Any, at: int, now: int, connections: Any, events: Any, backends: Any, settings: Any
) -> None:
    """Find the connection that the ICMP error at `at` is about, and have it translated; it keeps none alive."""
    quote, virtual = at + icmp.HEADER, settings[0]
    kind, inner = kind_of(frame, end, quote)
    if kind != virtual.protocol:
        return
    source, destination = load32(frame, quote + SOURCE), load32(frame, quote + DESTINATION)
    sport, dport = load16(frame, inner + tcp.SOURCE), load16(frame, inner + tcp.DESTINATION)
    if source == virtual.address and sport == virtual.port:
        # About an answer. It is for the backend, which knows that packet by its own address.
        row = find(connections, CONNECTION | dport, WORD | destination, now, virtual.lifetime)
        if row >= 0 and load32(frame, DESTINATION) == virtual.address:
            backend = backends[connections[row].backend]
            raise_event(events, SEND_ON, change(DESTINATION, backend.address, backend.port))
        return
    row = find(connections, CONNECTION | sport, WORD | source, now, virtual.lifetime)
    if row >= 0:
        backend = backends[connections[row].backend]
        if backend.address == destination and backend.port == dport:
            raise_event(events, SEND_ON, change(SOURCE, virtual.address, virtual.port))


def send_on(frame: Any, end: Any, packet: Any, argument: int) -> int:
    """Translate the packet, or what an ICMP error quotes, as its event says."""
    which, address, port = argument >> 48, argument >> 16 & 0xFFFFFFFF, argument & 0xFFFF
    if load16(frame, ipv4.FRAGMENT) & ipv4.OFFSET:
        rewrite_address(frame, 0, which, address)
        return 0
    kind, at = kind_of(frame, end, 0)
    if kind != ERROR:
        rewrite(frame, end, 0, kind, at, which, address, port, packet.flags)
        return 0
    # The quoted packet went the other way: its source is the destination of the error.
    quote = at + icmp.HEADER
    inner, inner_at = kind_of(frame, end, quote)
    other = SOURCE if which == DESTINATION else DESTINATION
    before = load32(frame, quote + other)
    grown = rewrite(frame, end, quote, inner, inner_at, other, address, port, 0)
    update_message_checksum(frame, at, grown)
    if which == DESTINATION or load32(frame, SOURCE) == before:
        rewrite_address(frame, 0, which, address)
    return 0


def serves(frame: Any, end: Any) -> int:
    """Say, by being bound, that a backend gets new connections; never runs."""
    return 0


class LoadBalancer(Service):
    """Spreads connections over backends.

    Parameters
    ----------
    name : str
    virtual : str
        The address and port that clients use, as "10.0.0.1:80": an address of the router, or one that is routed to it.
    backends : sequence of str
        Addresses and ports, as "10.0.1.2:8080": 1 to 32. The answers have to come through the router.
    protocol : {"tcp", "udp"}
    timeout : float
        Seconds that a connection is kept without a packet.
    capacity : int
        About how many connections are kept; a power of two.
    full : {"evict", "refuse"}
        The treatment of a new connection when the table is full. "evict": it takes the place of the connection that has
        been silent for longest (counted as `evicted`). "refuse": it is dropped as `balancer-table-full`.
    mode : str
        "replicated" or "locked". Not "sharded": packets and their answers are different flows.
    sequenced : bool
        True: replicas see the packets of all ports in one order (see `Service`).

    Raises
    ------
    GraphError
        If an address, a port or another parameter makes no sense.

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
        shown = Endpoint.parse(name, virtual)
        found = [Endpoint.parse(name, each) for each in backends]
        if not 1 <= len(set(found)) == len(found) <= MOST_BACKENDS or shown in found:
            raise GraphError(
                f"{name}: backends {list(backends)}; give 1 to {MOST_BACKENDS} that differ, also from {virtual}"
            )
        if protocol not in ("tcp", "udp"):
            raise GraphError(f"{name}: protocol {protocol!r}; use tcp or udp")
        if not 1 <= timeout <= 86400 * 365:
            raise GraphError(f"{name}: timeout of {timeout} seconds; give 1 or more")
        refuse_sharded(name, mode, "packets from their answers")
        self.backends = dict(zip(backends, range(len(found)), strict=True))
        table = np.zeros(len(found), BACKEND)
        for row, each in zip(table, found, strict=True):
            row["address"], row["port"] = int(each.address), each.port
            row["offset"], row["skip"] = permutation(int(each.address) << 16 | each.port)
        settings = np.zeros(1, SETTINGS)
        settings["protocol"] = ipv4.TCP if protocol == "tcp" else ipv4.UDP
        settings["address"], settings["port"] = int(shown.address), shown.port
        settings["lifetime"], settings["policy"] = int(timeout * SECOND), policy_of(name, full)
        super().__init__(
            name,
            {
                "connections": new_table(capacity, [("backend", "i8")]),
                "fragments": new_fragments(),
                "serving": np.zeros(1, [("mask", "i8")]),
                **empty_tables(len(found)),
            },
            [
                Handler(balance),
                Handler(send_on, SEND_ON, run="primary"),
                *(Handler(serves, event=None) for _ in found),
            ],
            "ipv4",
            mode,
            sequenced=sequenced,
            backends=Table(table, "constant"),
            settings=Table(settings, "constant"),
        )

    def serving(self, backends: Iterable[str]) -> tuple[str, ...]:
        """The handlers to bind so that just these backends get new connections."""
        wanted = list(backends)
        for each in wanted:
            if each not in self.backends:
                raise GraphError(f"{self.name}: no backend {each!r}; there are {', '.join(self.backends)}")
        numbers = [self.backends[each] for each in wanted]
        return ("balance", "send_on", *("serves" if number == 0 else f"serves_{number + 1}" for number in numbers))

    def read(self, connections: np.ndarray | None = None) -> dict[Endpoint, str]:
        """The backend of each client: in a replica's copy of the table, or in plain runs."""
        found = self.rows("connections", connections)
        names = list(self.backends)
        return {
            Endpoint(IPv4Address(int(row["more"]) ^ WORD), int(row["key"]) ^ CONNECTION): names[int(row["backend"])]
            for row in found
        }
