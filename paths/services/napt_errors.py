"""ICMP errors through a NAPT: translated with the packet that they quote (RFC 5508 REQ-3 to REQ-5, REQ-7).

The quoted packet went the other way than the error: an error that goes out quotes a packet that came in. Errors change
no mapping (RFC 5508 REQ-6, RFC 4787 REQ-12, RFC 5382 REQ-10).
"""

from typing import Any

from scout.io.access import load16, load32
from scout.paths.model.verdict import drop
from scout.paths.services.napt_mappings import address_of, mapped, owner, place_of, port_of
from scout.paths.wire import icmp
from scout.paths.wire.icmp import quotes
from scout.paths.wire.ipv4 import DESTINATION, SOURCE
from scout.paths.wire.rewrite import (
    ERROR,
    OTHER,
    is_message_intact,
    kind_of,
    rewrite,
    rewrite_address,
    update_message_checksum,
)
from scout.paths.wire.rewrite import port_of as offset_of
from scout.ring.jit import outline

__all__ = ["BAD_CHECKSUM", "NO_MAPPING", "inbound_error", "outbound_error"]

NO_MAPPING, BAD_CHECKSUM = drop("napt-no-mapping"), drop("napt-bad-checksum")


@outline
def outbound_error(frame: Any, end: Any, at: int, now: int, mappings: Any, settings: Any, from_host: bool) -> int:
    """Translate the ICMP error at `at`, from a host inside or from the router, about a packet to a mapping."""
    lost = NO_MAPPING if from_host else 0  # the router's own errors are also about other packets
    if not quotes(frame, end, at):
        return lost
    quote, own = at + icmp.HEADER, settings[0].address
    kind, inner = kind_of(frame, end, quote)
    if kind in (OTHER, ERROR):
        return lost
    port = load16(frame, offset_of(kind, inner, DESTINATION))
    row = mapped(mappings, kind, load32(frame, quote + DESTINATION), port, now)
    if row < 0:
        return lost
    if not is_message_intact(frame, end, at):
        return BAD_CHECKSUM
    external = mappings[row].at & 0xFFFF
    update_message_checksum(frame, at, rewrite(frame, end, quote, kind, inner, DESTINATION, own, external, 0))
    if from_host:
        rewrite_address(frame, 0, SOURCE, own)
    return 0


@outline
def inbound_error(frame: Any, end: Any, at: int, now: int, mappings: Any, ports: Any, settings: Any) -> int:
    """Translate the ICMP error at `at` about a packet that a mapping has sent."""
    quote = at + icmp.HEADER
    if not quotes(frame, end, at) or load32(frame, quote + SOURCE) != settings[0].address:
        return NO_MAPPING
    kind, inner = kind_of(frame, end, quote)
    if kind in (OTHER, ERROR):
        return NO_MAPPING
    row = owner(mappings, ports, place_of(kind, load16(frame, offset_of(kind, inner, SOURCE))), now)
    if row < 0:
        return NO_MAPPING
    if not is_message_intact(frame, end, at):
        return BAD_CHECKSUM
    address, port = address_of(mappings[row]), port_of(mappings[row])
    update_message_checksum(frame, at, rewrite(frame, end, quote, kind, inner, SOURCE, address, port, 0))
    rewrite_address(frame, 0, DESTINATION, address)
    return 0
