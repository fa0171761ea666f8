"""Match: the stage that tells the packets of a pattern from all others.

A pattern is attributes that describe packets, as in `{"protocol": "tcp", "destination_port": 23}`. Where a path's own
attributes decide it, the stage vanishes: the rule `decided` removes it.
"""

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from scout.io.access import load8, load16, load32
from scout.paths.model.attributes import TRAFFIC, Attributes
from scout.paths.model.router import GraphError
from scout.paths.model.rule import Rule
from scout.paths.wire import ipv4
from scout.paths.wire.flow import ports_at

if TYPE_CHECKING:
    from scout.paths.model.path import Path

__all__ = ["MATCHING", "OTHER", "decided", "match", "pattern_bindings", "pattern_of"]

MATCHING, OTHER = 0, 1
"""Outcomes."""

_ANY = -1


def match(
    frame: Any,
    end: Any,
    destination: int,
    destination_mask: int,
    source: int,
    source_mask: int,
    protocol: int,
    dscp: int,
    destination_low: int,
    destination_high: int,
    source_low: int,
    source_high: int,
) -> int:
    """Tell whether an IPv4 packet has a pattern; one that asks for L4 ports matches no packet that shows none."""
    if load32(frame, ipv4.DESTINATION) & destination_mask != destination:
        return OTHER
    if load32(frame, ipv4.SOURCE) & source_mask != source:
        return OTHER
    if protocol != _ANY and load8(frame, ipv4.PROTOCOL) != protocol:
        return OTHER
    if dscp != _ANY and load8(frame, ipv4.TOS) >> 2 != dscp:
        return OTHER
    if destination_low == _ANY and source_low == _ANY:
        return MATCHING
    at = ports_at(frame, end)
    if at == 0:
        return OTHER
    if not destination_low <= load16(frame, at + 2) < destination_high:
        return OTHER
    return MATCHING if source_low <= load16(frame, at) < source_high else OTHER


def pattern_of(place: str, only: Mapping[str, Any]) -> Attributes:
    """The pattern that is given as `only`.

    Raises
    ------
    GraphError
        If it describes no packets, or packets that are not IPv4.
    """
    if wrong := [name for name in only if name not in TRAFFIC]:
        raise GraphError(f"{place}: only={dict(only)!r}: {wrong[0]!r} describes no packets; use {', '.join(TRAFFIC)}")
    try:
        pattern = Attributes.checked("", **only)  # type: ignore[misc]
    except GraphError as error:
        raise GraphError(f"{place}: only: {str(error).partition(': ')[2]}") from error
    if not pattern.traffic:
        raise GraphError(f"{place}: only={dict(only)!r} describes no packets; give some of {', '.join(TRAFFIC)}")
    if pattern.family == 6:
        raise GraphError(f"{place}: only={dict(only)!r}: the packets here are IPv4; give IPv4 prefixes")
    return pattern


def pattern_bindings(pattern: Attributes) -> dict[str, int]:
    """The parameters of `match` for a pattern."""
    found = {
        "protocol": _ANY if pattern.protocol is None else pattern.protocol,
        "dscp": _ANY if pattern.dscp is None else pattern.dscp,
    }
    for name, prefix in (("destination", pattern.destination), ("source", pattern.source)):
        prefix = prefix or IPv4Network("0.0.0.0/0")
        found |= {name: int(prefix.network_address), f"{name}_mask": int(prefix.netmask)}
    for name, ports in (("destination", pattern.destination_port), ("source", pattern.source_port)):
        low, high = (ports.start, ports.stop) if ports else (_ANY, 1 << 16)
        found |= {f"{name}_low": low, f"{name}_high": high}
    return found


def _outcome(path: "Path", node: str) -> int | None:
    """The outcome that every packet of a path takes at a `match`, None if that is not known."""
    if path.nodes[node]["stage"].function is not match or node not in path.intact:
        return None
    router: Any = path.router_graph.router(path.nodes[node]["router"])
    has = path.attributes.has(router.pattern)
    return None if has is None else MATCHING if has else OTHER


def _remove(path: "Path", node: str) -> str:
    outcome = _outcome(path, node)
    path.remove(node, MATCHING if outcome is None else outcome)
    return f"{'all' if outcome == MATCHING else 'no'} packets have its pattern"


decided = Rule("decided pattern", lambda path, node: _outcome(path, node) is not None, _remove)
"""The rule that removes a `match` of which all packets of a path take one outcome; it is right because the path's
attributes hold there."""
