"""The work of a NAPT on a packet: outbound, inbound, both (hairpinning), or undone.

`translate` is the stage; it stands before IP, behind it, and on the way back of packets whose next hop did not answer.
"""

from typing import Any, NamedTuple

import numpy as np

from scout.io.access import load8, load16, load32, require
from scout.paths.framework.flow_table import FOREVER
from scout.paths.model.verdict import drop
from scout.paths.services.fragments import key_of, recall, remember
from scout.paths.services.napt_errors import NO_MAPPING, inbound_error, outbound_error
from scout.paths.services.napt_mappings import address_of, allocate, create, mapped, owner, place_of, port_of
from scout.paths.services.napt_sessions import admit, follow, is_admitted
from scout.paths.wire import ipv4, tcp
from scout.paths.wire.ipv4 import DESTINATION, SOURCE, TCP, UDP
from scout.paths.wire.rewrite import ERROR, OTHER, QUERY, REPLY, kind_of, rewrite, rewrite_address
from scout.paths.wire.rewrite import port_of as offset_of
from scout.ring.jit import outline

__all__ = ["ENTERING", "LEAVING", "RETURNING", "translate"]

FILTERED = drop("napt-filtered")
EXHAUSTED, TABLE_FULL = drop("napt-ports-exhausted"), drop("napt-table-full")
UNSUPPORTED, A_FRAGMENT = drop("napt-unsupported"), drop("napt-fragment")

ENTERING, LEAVING, RETURNING = 0, 1, 2
"""Where a packet is: before IP; behind it; on its way back, because its next hop did not answer."""

LATER = -1
"""The kind of a later fragment, which shows no ports."""


class Tables(NamedTuple):
    """The state of a NAPT; see `Napt`."""

    mappings: Any
    ports: Any
    created: Any
    sessions: Any
    fragments: Any
    counts: Any


def translate(
    frame: Any,
    end: Any,
    packet: Any,
    mappings: Any,
    ports: Any,
    created: Any,
    sessions: Any,
    fragments: Any,
    counts: Any,
    settings: Any,
    next_hops: Any,
    where: int,
) -> int:
    """Translate a packet that goes out or comes in."""
    if not require(frame, end, ipv4.HEADER):
        return 0
    tables = Tables(mappings, ports, created, sessions, fragments, counts)
    kind, at = kind_of(frame, end, 0)
    if load16(frame, ipv4.FRAGMENT) & ipv4.OFFSET:
        kind = LATER
    if where == RETURNING:
        return undo(frame, end, packet, kind, at, tables, settings)
    if where == LEAVING:
        if next_hops[np.uint32(packet.next_hop)].port != settings[0].outside:
            return 0
        return outbound(frame, end, packet, kind, at, tables, settings)
    if load32(frame, DESTINATION) != settings[0].address:
        return 0
    if packet.port == settings[0].outside:
        return inbound(frame, end, packet, kind, at, tables, settings)
    if not hairpins(frame, packet, kind, at, tables):
        return 0
    return hairpin(frame, end, packet, kind, at, tables, settings)


def outbound(frame: Any, end: Any, packet: Any, kind: int, at: int, tables: Any, settings: Any) -> int:
    """Give a packet from a host inside the router's address and a port outside for its source."""
    now, own, address = packet.timestamp, settings[0].address, load32(frame, SOURCE)
    # No host sends by the router's address (Ethernet drops that as own-source): such a packet is the router's answer.
    from_host = settings[0].inside >> packet.port & 1 != 0 and address != own
    if kind == ERROR:
        return outbound_error(frame, end, at, now, tables.mappings, settings, from_host)
    if not from_host:
        return 0
    if kind == LATER:
        return follow_first(frame, SOURCE, now, tables)
    if kind == OTHER or (kind == TCP and not require(frame, end, at + tcp.HEADER)):
        return UNSUPPORTED
    port = load16(frame, offset_of(kind, at, SOURCE))
    row = mapped(tables.mappings, kind, address, port, now)
    if row < 0:
        if kind == REPLY:
            return NO_MAPPING
        external = allocate(tables.mappings, tables.ports, settings, kind, address, port, now)
        if external < 0:
            return EXHAUSTED
        row = create(
            tables.mappings, tables.ports, tables.created, tables.counts, settings, kind, address, port, external, now
        )
        if row < 0:
            return TABLE_FULL
    mapping = tables.mappings[row]
    lifetime = settings[0].udp if kind == UDP else settings[0].icmp
    if kind == TCP:
        follow_segment(frame, at, DESTINATION, mapping, tables, settings, now)
        lifetime = settings[0].established if mapping.established > 0 else settings[0].transitory
    if mapping.used != FOREVER:
        mapping.used = now + lifetime
    if settings[0].filters:
        admit(tables.sessions, tables.counts, mapping, load32(frame, DESTINATION), now, now + lifetime)
    readdress(frame, end, packet, kind, at, SOURCE, own, mapping.at & 0xFFFF, tables)
    return 0


def inbound(frame: Any, end: Any, packet: Any, kind: int, at: int, tables: Any, settings: Any) -> int:
    """Give a packet for the router's address outside its destination inside; queries are for the router itself."""
    now = packet.timestamp
    if kind == LATER:
        return follow_first(frame, DESTINATION, now, tables)
    if kind == ERROR:
        return inbound_error(frame, end, at, now, tables.mappings, tables.ports, settings)
    if kind in (OTHER, QUERY):
        return 0
    if kind == TCP and not require(frame, end, at + tcp.HEADER):
        return UNSUPPORTED
    external = load16(frame, offset_of(kind, at, DESTINATION))
    row = owner(tables.mappings, tables.ports, place_of(kind, external), now)
    if row < 0:
        return NO_MAPPING
    mapping = tables.mappings[row]
    is_static = mapping.used == FOREVER
    remote = load32(frame, SOURCE)
    if settings[0].filters and not is_static and not is_admitted(tables.sessions, mapping, remote, now):
        return FILTERED
    if kind == TCP:
        change = follow_segment(frame, at, SOURCE, mapping, tables, settings, now)
        if change < 0 and mapping.established <= 0 and not is_static:
            mapping.used = min(mapping.used, now + settings[0].transitory)
    readdress(frame, end, packet, kind, at, DESTINATION, address_of(mapping), port_of(mapping), tables)
    return 0


def follow_segment(frame: Any, at: int, remote: int, mapping: Any, tables: Any, settings: Any, now: int) -> int:
    """Follow the TCP connection of a segment; by how much the number of the mapping's established ones has changed.

    `remote` says which of the packet's addresses is that of the host outside: SOURCE or DESTINATION.
    """
    there = load32(frame, remote) << 16 | load16(frame, offset_of(TCP, at, remote))
    flags, outward = load8(frame, at + tcp.FLAGS), remote == DESTINATION
    change = follow(tables.sessions, tables.counts, settings, mapping, there, flags, outward, now)
    mapping.established += change
    return change


def readdress(
    frame: Any, end: Any, packet: Any, kind: int, at: int, which: int, address: int, port: int, tables: Any
) -> None:
    """Write an address and its port, and remember the address for the later fragments of the datagram, if there are."""
    if load16(frame, ipv4.FRAGMENT) & ipv4.MORE_FRAGMENTS:
        key, more = key_of(frame)  # of the addresses as they are before
        remember(tables.fragments, tables.counts, key, more, packet.timestamp, address)
    rewrite(frame, end, 0, kind, at, which, address, port, packet.flags)


@outline
def follow_first(frame: Any, which: int, now: int, tables: Any) -> int:
    """Write the address into a later fragment that was written into the first one of its datagram."""
    key, more = key_of(frame)
    known = recall(tables.fragments, key, more, now)
    if known < 0:
        return A_FRAGMENT
    rewrite_address(frame, 0, which, tables.fragments[known].value)
    return 0


@outline
def hairpin(frame: Any, end: Any, packet: Any, kind: int, at: int, tables: Any, settings: Any) -> int:
    """Translate a packet from one host inside to another: as it goes out, and as it comes in again."""
    verdict = outbound(frame, end, packet, kind, at, tables, settings)
    return verdict if verdict != 0 else inbound(frame, end, packet, kind, at, tables, settings)


@outline
def hairpins(frame: Any, packet: Any, kind: int, at: int, tables: Any) -> bool:
    """True if a packet from inside to the router's address outside is for a host inside (RFC 4787 REQ-9)."""
    if kind == LATER:
        key, more = key_of(frame)
        return recall(tables.fragments, key, more, packet.timestamp) >= 0
    if kind == ERROR:
        return True
    if kind != TCP and kind != UDP:
        return False  # a query is for the router
    external = load16(frame, offset_of(kind, at, DESTINATION))
    return owner(tables.mappings, tables.ports, place_of(kind, external), packet.timestamp) >= 0


@outline
def undo(frame: Any, end: Any, packet: Any, kind: int, at: int, tables: Any, settings: Any) -> int:
    """Undo what `outbound` did, so that the sender can be told that the packet could not be delivered."""
    if load32(frame, SOURCE) != settings[0].address or kind in (LATER, OTHER, ERROR):
        return 0
    external = load16(frame, offset_of(kind, at, SOURCE))
    row = owner(tables.mappings, tables.ports, place_of(kind, external), packet.timestamp)
    if row >= 0:
        mapping = tables.mappings[row]
        rewrite(frame, end, 0, kind, at, SOURCE, address_of(mapping), port_of(mapping), packet.flags)
    return 0
