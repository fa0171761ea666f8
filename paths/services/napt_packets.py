"""The work of a NAPT on a packet: outbound, inbound, both (hairpinning), or undone.

`translate` is the stage; it stands before IP, behind it, and on the way back of packets whose next hop did not answer.
"""

from typing import Any

import numpy as np

from scout.io.access import load8, load16, load32, require
from scout.paths.framework.table import FOREVER
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
    kind, at = kind_of(frame, end, 0)
    if load16(frame, ipv4.FRAGMENT) & ipv4.OFFSET:
        kind = LATER
    if where == RETURNING:
        return undo(frame, end, packet, kind, at, mappings, ports, settings)
    if where == LEAVING:
        if next_hops[np.uint32(packet.next_hop)].port != settings[0].outside:
            return 0
        return outbound(frame, end, packet, kind, at, mappings, ports, created, sessions, fragments, counts, settings)
    if load32(frame, DESTINATION) != settings[0].address:
        return 0
    if packet.port == settings[0].outside:
        return inbound(frame, end, packet, kind, at, mappings, ports, sessions, fragments, counts, settings)
    if not hairpins(frame, packet, kind, at, mappings, ports, fragments):
        return 0
    return hairpin(frame, end, packet, kind, at, mappings, ports, created, sessions, fragments, counts, settings)


def outbound(
    frame: Any,
    end: Any,
    packet: Any,
    kind: int,
    at: int,
    mappings: Any,
    ports: Any,
    created: Any,
    sessions: Any,
    fragments: Any,
    counts: Any,
    settings: Any,
) -> int:
    """Give a packet from a host inside the router's address and a port outside for its source."""
    now, own, address = packet.timestamp, settings[0].address, load32(frame, SOURCE)
    # No host sends by the router's address (Ethernet drops that as own-source): such a packet is the router's answer.
    from_host = settings[0].inside >> packet.port & 1 != 0 and address != own
    if kind == ERROR:
        return outbound_error(frame, end, at, now, mappings, settings, from_host)
    if not from_host:
        return 0
    key, more = key_of(frame)
    if kind == LATER:
        if recall(fragments, key, more, now) < 0:
            return A_FRAGMENT
        rewrite_address(frame, 0, SOURCE, own)
        return 0
    if kind == OTHER or (kind == TCP and not require(frame, end, at + tcp.HEADER)):
        return UNSUPPORTED
    port = load16(frame, offset_of(kind, at, SOURCE))
    row = mapped(mappings, kind, address, port, now)
    if row < 0:
        if kind == REPLY:
            return NO_MAPPING
        external = allocate(mappings, ports, settings, kind, address, port, now)
        if external < 0:
            return EXHAUSTED
        row = create(mappings, ports, created, counts, settings, kind, address, port, external, now)
        if row < 0:
            return TABLE_FULL
    mapping = mappings[row]
    remote = load32(frame, DESTINATION)
    lifetime = settings[0].udp if kind == UDP else settings[0].icmp
    if kind == TCP:
        flags, there = load8(frame, at + tcp.FLAGS), remote << 16 | load16(frame, at + tcp.DESTINATION)
        mapping.established += follow(sessions, counts, settings, mapping, there, flags, True, now)
        lifetime = settings[0].established if mapping.established > 0 else settings[0].transitory
    if mapping.used != FOREVER:
        mapping.used = now + lifetime
    if settings[0].filters:
        admit(sessions, counts, mapping, remote, now, now + lifetime)
    rewrite(frame, end, 0, kind, at, SOURCE, own, mapping.at & 0xFFFF, packet.flags)
    if load16(frame, ipv4.FRAGMENT) & ipv4.MORE_FRAGMENTS:
        remember(fragments, counts, key, more, now, own)
    return 0


def inbound(
    frame: Any,
    end: Any,
    packet: Any,
    kind: int,
    at: int,
    mappings: Any,
    ports: Any,
    sessions: Any,
    fragments: Any,
    counts: Any,
    settings: Any,
) -> int:
    """Give a packet for the router's address outside its destination inside; queries are for the router itself."""
    now = packet.timestamp
    key, more = key_of(frame)
    if kind == LATER:
        known = recall(fragments, key, more, now)
        if known < 0:
            return A_FRAGMENT
        rewrite_address(frame, 0, DESTINATION, fragments[known].value)
        return 0
    if kind == ERROR:
        return inbound_error(frame, end, at, now, mappings, ports, settings)
    if kind in (OTHER, QUERY):
        return 0
    if kind == TCP and not require(frame, end, at + tcp.HEADER):
        return UNSUPPORTED
    row = owner(mappings, ports, place_of(kind, load16(frame, offset_of(kind, at, DESTINATION))), now)
    if row < 0:
        return NO_MAPPING
    mapping = mappings[row]
    remote = load32(frame, SOURCE)
    is_static = mapping.used == FOREVER
    if settings[0].filters and not is_static and not is_admitted(sessions, mapping, remote, now):
        return FILTERED
    if kind == TCP:
        flags, there = load8(frame, at + tcp.FLAGS), remote << 16 | load16(frame, at + tcp.SOURCE)
        change = follow(sessions, counts, settings, mapping, there, flags, False, now)
        mapping.established += change
        if change < 0 and mapping.established <= 0 and not is_static:
            mapping.used = min(mapping.used, now + settings[0].transitory)
    address = address_of(mapping)
    rewrite(frame, end, 0, kind, at, DESTINATION, address, port_of(mapping), packet.flags)
    if load16(frame, ipv4.FRAGMENT) & ipv4.MORE_FRAGMENTS:
        remember(fragments, counts, key, more, now, address)
    return 0


@outline
def hairpin(
    frame: Any,
    end: Any,
    packet: Any,
    kind: int,
    at: int,
    mappings: Any,
    ports: Any,
    created: Any,
    sessions: Any,
    fragments: Any,
    counts: Any,
    settings: Any,
) -> int:
    """Translate a packet from one host inside to another: as it goes out, and as it comes in again."""
    verdict = outbound(frame, end, packet, kind, at, mappings, ports, created, sessions, fragments, counts, settings)
    if verdict != 0:
        return verdict
    return inbound(frame, end, packet, kind, at, mappings, ports, sessions, fragments, counts, settings)


@outline
def hairpins(frame: Any, packet: Any, kind: int, at: int, mappings: Any, ports: Any, fragments: Any) -> bool:
    """True if a packet from inside to the router's address outside is for a host inside (RFC 4787 REQ-9)."""
    if kind == LATER:
        key, more = key_of(frame)
        return recall(fragments, key, more, packet.timestamp) >= 0
    if kind == ERROR:
        return True
    if kind != TCP and kind != UDP:
        return False  # a query is for the router
    external = load16(frame, offset_of(kind, at, DESTINATION))
    return owner(mappings, ports, place_of(kind, external), packet.timestamp) >= 0


@outline
def undo(frame: Any, end: Any, packet: Any, kind: int, at: int, mappings: Any, ports: Any, settings: Any) -> int:
    """Undo what `outbound` did, so that the sender can be told that the packet could not be delivered."""
    if load32(frame, SOURCE) != settings[0].address or kind in (LATER, OTHER, ERROR):
        return 0
    external = load16(frame, offset_of(kind, at, SOURCE))
    row = owner(mappings, ports, place_of(kind, external), packet.timestamp)
    if row >= 0:
        address, port = address_of(mappings[row]), port_of(mappings[row])
        rewrite(frame, end, 0, kind, at, SOURCE, address, port, packet.flags)
    return 0
