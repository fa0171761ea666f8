"""NAPT: hosts inside share the router's one address outside, by ports (RFC 2663 section 4.1.2).

Usage: Napt(name, inside, outside, filtering, ports, ...)
Requires and provides: ipv4 (what comes in) and adjacency (what goes out): it stands on both sides of IP.
Drops: napt-no-mapping, napt-filtered, napt-ports-exhausted, napt-table-full, napt-unsupported, napt-fragment,
napt-bad-checksum.

What IP sends from an inside port to the outside one gets the router's address there, and a port, for its source;
what comes for that address gets it undone before IP looks for a route. So routes, TTL and MTU see the hosts' own
addresses, and errors of the router's own quote them. Every replica keeps the mappings and does the rewriting,
because the route depends on it. By the requirements of RFC 4787 (UDP), 5382 (TCP) and 5508 (ICMP):

- a mapping is for an endpoint inside, whatever it talks to (4787 REQ-1, 5382 REQ-1), and no two share a port
  (REQ-3, REQ-7);
- its port is the endpoint's own if that is free, else one of the same parity, and below 1024 or not, as the endpoint's
  (REQ-3a, REQ-4): the first free one of 64, from a place on that depends on the endpoint alone. If all of those are
  taken the packet is dropped (`napt-ports-exhausted`), as if the table is full (`napt-table-full`);
- packets to a mapping pass from anywhere, or from addresses only that it has sent to (REQ-8, REQ-3);
- mappings last 5 minutes for UDP, at the least 2 (REQ-5), for ICMP queries 60 seconds (5508 REQ-2), for TCP 4 minutes,
  or 2 hours and 4 minutes while a connection of it is established (5382 REQ-5), since they last sent (REQ-6);
- ICMP errors about a mapping's packets are translated in both directions, with what they quote (5508 REQ-4,
  REQ-5), and change no mapping (REQ-6; 4787 REQ-12, 5382 REQ-10); their checksum is looked at first (REQ-3);
- hosts inside reach each other by their mappings, also with errors (4787 REQ-9, 5382 REQ-8, 5508 REQ-7);
- unsolicited SYNs get no answer (5382 REQ-4).

Fragments are translated as they come: later ones after their first. One that comes before its first is dropped
(4787 REQ-14 would have it wait). Other protocols from inside are dropped; there are no ALGs. The sender of a packet
without a mapping is told nothing (5508 REQ-8 would have it told).

Its ports share one channel (`sequenced`), so that no replica sees the answer to a packet before the packet. With
sequenced=False each has its own, without an order between them: an answer may come first in a replica, and is dropped.
"""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, NamedTuple

import numpy as np

from scout.io.access import load8, load16, load32, require
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.framework.table import EVICT, REFUSE, find, new_table, place, rows
from scout.paths.model.graph import GraphError, RouterGraph
from scout.paths.model.stage import Outcome, Stage, Table, Via, drop
from scout.paths.protocols.ipv4 import NEXT_HOP, Ip
from scout.paths.services.mappings import (
    MAPPING_FIELDS,
    POOLS,
    SETTINGS,
    WORD,
    admit,
    admitted,
    allocate,
    create,
    follow,
    mapped,
    owner,
    place_of,
)
from scout.paths.wire.flow import FRAGMENT, HEADER, PROTOCOL, TCP, UDP
from scout.paths.wire.rewrite import (
    DESTINATION,
    ERROR,
    MESSAGE,
    OTHER,
    QUERY,
    REPLY,
    SOURCE,
    kind_of,
    mend_message,
    port_of,
    quotes,
    rewrite,
    rewrite_address,
    well_formed,
)
from scout.ring.jit import outline

__all__ = ["Mapping", "Napt", "translate"]

NO_MAPPING, FILTERED = drop("napt-no-mapping"), drop("napt-filtered")
EXHAUSTED, TABLE_FULL = drop("napt-ports-exhausted"), drop("napt-table-full")
UNSUPPORTED, A_FRAGMENT, BAD_SUM = drop("napt-unsupported"), drop("napt-fragment"), drop("napt-bad-checksum")

ENTERING, LEAVING, RETURNING = 0, 1, 2
"""Where a packet is: before IP; behind it; or on its way back, because nobody could be asked to take it."""

LATER, MORE = 0x1FFF, 0x2000  # of the word of flags and offset: not the first fragment; not the last
TCP_FLAGS, TCP_HEADER = 13, 20

PART = 1 << 60  # in the keys of fragments
FRAGMENTS = 1024  # datagrams in fragments that are known at a time
FRAGMENT_TIME = 30_000_000_000
SECOND = 1_000_000_000


class Mapping(NamedTuple):
    """An endpoint inside, and the port outside that stands for it."""

    protocol: int
    address: str
    port: int
    external: int


@outline
def outbound(
    frame: Any,
    end: Any,
    packet: Any,
    mappings: Any,
    ports: Any,
    sessions: Any,
    fragments: Any,
    counts: Any,
    settings: Any,
) -> int:
    """Give a packet from inside its source outside."""
    now, own = packet.timestamp, settings[0].address
    address = load32(frame, SOURCE)
    ours = settings[0].inside >> packet.port & 1 != 0 and address != own
    word = load16(frame, FRAGMENT)
    key, more = part_key(frame)
    if word & LATER:
        if not ours:
            return 0
        if find(fragments, key, more, now, 0) < 0:
            return A_FRAGMENT
        rewrite_address(frame, 0, SOURCE, own)
        return 0
    kind, at = kind_of(frame, end, 0)
    if kind == ERROR:
        return outbound_error(frame, end, at, now, mappings, settings, ours)
    if not ours:
        return 0
    if kind == OTHER or (kind == TCP and not require(frame, end, at + TCP_HEADER)):
        return UNSUPPORTED
    port = load16(frame, port_of(kind, at, SOURCE))
    row = mapped(mappings, kind, address, port, now)
    if row < 0:
        if kind == REPLY:
            return NO_MAPPING
        external = allocate(mappings, ports, settings, kind, address, port, now)
        if external < 0:
            return EXHAUSTED
        row = create(mappings, ports, counts, settings, kind, address, port, external, now)
        if row < 0:
            return TABLE_FULL
    mapping = mappings[row]
    remote = load32(frame, DESTINATION)
    lifetime = settings[0].udp if kind == UDP else settings[0].icmp
    if kind == TCP:
        flags = load8(frame, at + TCP_FLAGS)
        there = remote << 16 | load16(frame, at + 2)
        mapping.established += follow(sessions, counts, settings, mapping.at, there, flags, True, now)
        lifetime = settings[0].established if mapping.established > 0 else settings[0].transitory
    mapping.used = now + lifetime
    if settings[0].filters:
        admit(sessions, counts, mapping.at, remote, now, mapping.used)
    rewrite(frame, end, 0, kind, at, SOURCE, own, mapping.external, packet.flags)
    if word & MORE:
        part = place(fragments, counts, key, more, now, 0, EVICT)
        fragments[part].used = now + FRAGMENT_TIME
    return 0


@outline
def inbound(
    frame: Any,
    end: Any,
    packet: Any,
    mappings: Any,
    ports: Any,
    sessions: Any,
    fragments: Any,
    counts: Any,
    settings: Any,
) -> int:
    """Give a packet for the router's address outside its destination inside; what is for none is the router's."""
    now = packet.timestamp
    word = load16(frame, FRAGMENT)
    key, more = part_key(frame)
    if word & LATER:
        row = find(fragments, key, more, now, 0)
        if row < 0:
            return A_FRAGMENT
        rewrite_address(frame, 0, DESTINATION, fragments[row].address)
        return 0
    kind, at = kind_of(frame, end, 0)
    if kind == ERROR:
        return inbound_error(frame, end, at, now, mappings, ports, settings)
    if kind in (OTHER, QUERY):
        return 0
    if kind == TCP and not require(frame, end, at + TCP_HEADER):
        return UNSUPPORTED
    row = owner(mappings, ports, place_of(settings, kind, load16(frame, port_of(kind, at, DESTINATION))), now)
    if row < 0:
        return NO_MAPPING
    mapping = mappings[row]
    remote = load32(frame, SOURCE)
    if settings[0].filters and not admitted(sessions, mapping.at, remote, now):
        return FILTERED
    if kind == TCP:
        change = follow(
            sessions,
            counts,
            settings,
            mapping.at,
            remote << 16 | load16(frame, at),
            load8(frame, at + TCP_FLAGS),
            False,
            now,
        )
        mapping.established += change
        if change < 0 and mapping.established <= 0:
            mapping.used = min(mapping.used, now + settings[0].transitory)
    address = mapping.more ^ WORD
    rewrite(frame, end, 0, kind, at, DESTINATION, address, mapping.key & 0xFFFF, packet.flags)
    if word & MORE:
        part = place(fragments, counts, key, more, now, 0, EVICT)
        fragments[part].address = address
        fragments[part].used = now + FRAGMENT_TIME
    return 0


def part_key(frame: Any) -> tuple[int, int]:
    """What the fragments of a datagram have in common (RFC 791 section 3.2), as a key."""
    protocol, identification = load8(frame, PROTOCOL), load16(frame, FRAGMENT - 2)
    return PART | protocol << 48 | identification << 32 | load32(frame, DESTINATION), WORD | load32(frame, SOURCE)


@outline
def outbound_error(frame: Any, end: Any, at: int, now: int, mappings: Any, settings: Any, ours: bool) -> int:
    """Translate an ICMP error about a packet to a mapping, whoever inside, or the router, found it."""
    lost = NO_MAPPING if ours else 0  # the router's own errors are also about other packets
    if not quotes(frame, end, at):
        return lost
    quote, own = at + MESSAGE, settings[0].address
    kind, inner = kind_of(frame, end, quote)
    if kind in (OTHER, ERROR):
        return lost
    place = port_of(kind, inner, DESTINATION)
    row = mapped(mappings, kind, load32(frame, quote + DESTINATION), load16(frame, place), now)
    if row < 0:
        return lost
    if not well_formed(frame, end, at):
        return BAD_SUM
    more = rewrite(frame, end, quote, kind, inner, DESTINATION, own, mappings[row].external, 0)
    mend_message(frame, at, more)
    if ours:
        rewrite_address(frame, 0, SOURCE, own)
    return 0


@outline
def inbound_error(frame: Any, end: Any, at: int, now: int, mappings: Any, ports: Any, settings: Any) -> int:
    """Translate an ICMP error about a packet that a mapping has sent."""
    quote = at + MESSAGE
    if not quotes(frame, end, at) or load32(frame, quote + SOURCE) != settings[0].address:
        return NO_MAPPING
    kind, inner = kind_of(frame, end, quote)
    if kind in (OTHER, ERROR):
        return NO_MAPPING
    row = owner(mappings, ports, place_of(settings, kind, load16(frame, port_of(kind, inner, SOURCE))), now)
    if row < 0:
        return NO_MAPPING
    if not well_formed(frame, end, at):
        return BAD_SUM
    address = mappings[row].more ^ WORD
    more = rewrite(frame, end, quote, kind, inner, SOURCE, address, mappings[row].key & 0xFFFF, 0)
    mend_message(frame, at, more)
    rewrite_address(frame, 0, DESTINATION, address)
    return 0


def hairpins(frame: Any, end: Any, packet: Any, mappings: Any, ports: Any, fragments: Any, settings: Any) -> bool:
    """True if a packet from inside to the router's address outside is for another host inside, or itself."""
    if load16(frame, FRAGMENT) & LATER:
        key, more = part_key(frame)
        return find(fragments, key, more, packet.timestamp, 0) >= 0
    kind, at = kind_of(frame, end, 0)
    if kind == ERROR:
        return True
    if kind != TCP and kind != UDP:
        return False  # a query is for the router
    return owner(mappings, ports, place_of(settings, kind, load16(frame, at + 2)), packet.timestamp) >= 0


def give_back(frame: Any, end: Any, packet: Any, mappings: Any, ports: Any, settings: Any) -> int:
    """Undo what `outbound` did, so that the sender can be told that the packet went nowhere."""
    kind, at = kind_of(frame, end, 0)
    if load32(frame, SOURCE) != settings[0].address or load16(frame, FRAGMENT) & LATER or kind in (OTHER, ERROR):
        return 0
    external = load16(frame, port_of(kind, at, SOURCE))
    row = owner(mappings, ports, place_of(settings, kind, external), packet.timestamp)
    if row >= 0:
        address, port = mappings[row].more ^ WORD, mappings[row].key & 0xFFFF
        rewrite(frame, end, 0, kind, at, SOURCE, address, port, packet.flags)
    return 0


def translate(
    frame: Any,
    end: Any,
    packet: Any,
    mappings: Any,
    ports: Any,
    sessions: Any,
    fragments: Any,
    counts: Any,
    settings: Any,
    next_hops: Any,
    leaving: int,
) -> int:
    """Translate what goes out and what comes in."""
    if not require(frame, end, HEADER) or load8(frame, 0) >> 4 != 4:
        return 0  # IP drops it
    if leaving == RETURNING:
        return give_back(frame, end, packet, mappings, ports, settings)
    verdict = 0
    if leaving == LEAVING:
        goes = next_hops[np.uint32(packet.next_hop)].port == settings[0].outside
        comes = False
    else:
        comes = load32(frame, DESTINATION) == settings[0].address
        goes = False
        if comes and packet.port != settings[0].outside:
            goes = hairpins(frame, end, packet, mappings, ports, fragments, settings)
            comes = goes
    if goes:
        verdict = outbound(frame, end, packet, mappings, ports, sessions, fragments, counts, settings)
    if comes and verdict == 0:
        verdict = inbound(frame, end, packet, mappings, ports, sessions, fragments, counts, settings)
    return verdict


class Napt(Service):
    """Translates between the hosts at some ports and the router's address at another.

    Connect it between IP and each of these ports, and between IP and who resolves.

    Parameters
    ----------
    name : str
    inside : str or sequence of str
        The ports (names of Ethernets) whose hosts share the address.
    outside : str
        The port whose address they share.
    filtering : {"endpoint-independent", "address-dependent"}
        Who may send to a mapping: all, or those that it has sent to.
    ports : tuple of int
        The first and the last of the ports, and identifiers of queries, that mappings may have.
    udp, icmp, transitory, established : float
        Seconds that a mapping lasts: see above. At least 120, 60, 240 and 7440.
    capacity : int
        Mappings at most, about; a power of two. There is room for twice as many connections of TCP, and hosts that
        mappings have sent to; when it is full those that would expire first are forgotten, and counted as `evicted`.
    full : {"refuse", "evict"}
        What becomes of a new endpoint when the table is full: its packets are dropped as `napt-table-full`, or it takes
        the place of the mapping that would expire first (counted as `evicted`).
    mode : str
        "replicated" or "locked". Not "sharded": packets and their answers are different flows.
    sequenced : bool
        True: replicas see the packets of all ports in one order (see `Service`).

    Examples
    --------
    ::

        graph.add(Napt("napt", inside="left", outside="right"))
        graph.connect("ip", "napt", "left")
        graph.connect("ip", "napt", "right")
        graph.connect("napt", "arp")
    """

    through = {"up": "down", "down": "up", "hop": "out", "out": "hop"}

    def __init__(
        self,
        name: str,
        inside: str | Sequence[str],
        outside: str,
        filtering: str = "endpoint-independent",
        ports: tuple[int, int] = (1, 65535),
        udp: float = 300.0,
        icmp: float = 60.0,
        transitory: float = 240.0,
        established: float = 7440.0,
        capacity: int = 1 << 14,
        full: str = "refuse",
        mode: str = "replicated",
        sequenced: bool = True,
    ) -> None:
        self.inside = [inside] if isinstance(inside, str) else list(inside)
        self.outside = outside
        if not self.inside or outside in self.inside:
            raise GraphError(f"{name}: inside {self.inside}, outside {outside!r}; name other ports inside than outside")
        if filtering not in ("endpoint-independent", "address-dependent"):
            raise GraphError(f"{name}: filtering={filtering!r}; use endpoint-independent or address-dependent")
        low, high = ports
        if not 0 < low <= high < 65536:
            raise GraphError(f"{name}: ports {low} to {high}; give a first and a last of 1 to 65535")
        times = {
            "udp": (udp, 120),
            "icmp": (icmp, 60),
            "transitory": (transitory, 240),
            "established": (established, 7440),
        }
        for key, (seconds, least) in times.items():
            if not least <= seconds <= 86400 * 365:
                raise GraphError(f"{name}: {key}={seconds} seconds; give {least} or more, as the RFC has it")
        if full not in ("evict", "refuse"):
            raise GraphError(f"{name}: full={full!r}; use evict or refuse")
        if mode == "sharded":
            raise GraphError(f"{name}: mode 'sharded' would part packets from their answers; use replicated or locked")
        settings = np.zeros(1, SETTINGS)
        for key, (seconds, _) in times.items():
            settings[key] = int(seconds * SECOND)
        settings["low"], settings["high"] = low, high
        settings["filters"] = filtering == "address-dependent"
        settings["policy"] = EVICT if full == "evict" else REFUSE
        self.settings = Table(settings, "constant")
        super().__init__(
            name,
            {
                "mappings": new_table(capacity, MAPPING_FIELDS),
                "ports": np.zeros(len(POOLS) * (high - low + 1), [("mapping", "i4")]),
                "sessions": new_table(2 * capacity, [("flags", "i8")]),
                "fragments": new_table(FRAGMENTS, [("address", "i8")]),
            },
            [Handler(translate)],
            "ipv4",
            mode,
            sequenced=sequenced,
            settings=self.settings,
            next_hops=Table(np.zeros(1, NEXT_HOP), "constant"),
            leaving=ENTERING,
        )
        self.provides = {"up": "ipv4", "hop": "adjacency"}
        self.requires = {"down": "ipv4", "out": "adjacency"}

    def configure(self, graph: RouterGraph) -> None:
        super().configure(graph)
        ip, settings = self._ip(graph), self.settings.initial
        below = [name for name, _ in graph.reached(self.name, "down")]
        for port in (*self.inside, self.outside):
            if port not in below:
                raise GraphError(
                    f"{self.name} does not stand on {port!r}; connect({ip.name!r}, {self.name!r}, {port!r})"
                )
        if self.outside not in ip.addresses:
            raise GraphError(
                f"{self.name}: {ip.name} has no address on {self.outside!r} that could be shared; give one"
            )
        settings["address"] = int(ip.addresses[self.outside].ip)
        settings["outside"] = graph.ports.index(self.outside)
        settings["inside"] = sum(1 << graph.ports.index(port) for port in self.inside)

    def _ip(self, graph: RouterGraph) -> Ip:
        above = {name for service in ("up", "hop") for name, _ in graph.reached(self.name, service)}
        found = [graph.router(name) for name in above]
        if len(found) == 1 and isinstance(found[0], Ip) and graph.reached(self.name, "hop"):
            return found[0]
        raise GraphError(
            f"{self.name} stands under {', '.join(sorted(above)) or 'nothing'}; connect it to one Ip above, and to who "
            "resolves below"
        )

    def arrive(self, service: str, below: bool) -> str | Via:
        keys = {"down": "receive", "hop": "send", "out": "returned"}
        return keys[service] if service in keys else Via(self.through[service])

    def stage(self, key: str, graph: RouterGraph, source: str) -> Stage:
        stage = super().stage(key, graph, source)
        where, onward = {"receive": (ENTERING, "up"), "send": (LEAVING, "out"), "returned": (RETURNING, "hop")}[key]
        bindings = self.bindings | {"next_hops": self._ip(graph).next_hops, "leaving": where}
        outcomes = (Outcome("passed", Via(onward)), *stage.outcomes[1:])
        # What is returned was held by its primary alone, and changes no state.
        replicated = stage.replicated and key != "returned"
        return replace(stage, outcomes=outcomes, bindings=bindings, replicated=replicated)

    def read(self, now: int, mappings: np.ndarray | None = None) -> set[Mapping]:
        """The mappings at time `now`: in a replica's copy of the table, or in plain runs."""
        found = rows(self.tables["mappings"].initial if mappings is None else mappings)
        return {
            Mapping(
                POOLS[int(row["key"]) >> 16 & 0xFF],
                str(IPv4Address(int(row["more"]) ^ WORD)),
                int(row["key"]) & 0xFFFF,
                int(row["external"]),
            )
            for row in found
            if now < row["used"]
        }
