"""The rules of IPv4: what a path's attributes make of its lookup and of local delivery.

They are made for the stage functions that they look for, which `scout.paths.protocols.ipv4` defines.
"""

from collections.abc import Callable
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from scout.paths.model.rule import Rule
from scout.paths.model.stage import Own, Stage
from scout.paths.protocols.next_hop import CONNECTED, GATEWAY, LOCAL
from scout.paths.protocols.route_facts import NO_KIND, KindsWithin, OneNextHop, kinds_within
from scout.paths.wire import ipv4

if TYPE_CHECKING:
    from scout.paths.model.path import Path

__all__ = ["constant_next_hop", "known_protocol", "possible_routes", "set_next_hop"]

FORWARD, FOR_US, UNREACHABLE = 0, 1, 2
"""Outcomes of the lookup, and the kinds of next hops that lead to each."""
KINDS = {FORWARD: {GATEWAY, CONNECTED}, FOR_US: {LOCAL}, UNREACHABLE: {NO_KIND}}

DELIVER, ANSWER = 0, 1
"""Outcomes of local delivery: to ICMP, and to be answered with an error."""


def set_next_hop(frame: Any, end: Any, packet: Any, next_hop: int) -> int:
    """Take the path's next hop; it stands in place of the lookup."""
    packet.next_hop = next_hop
    return 0


def constant_next_hop(lookup: Callable[..., int]) -> Rule:
    """The rule that replaces the lookup where all destinations of a path have one next hop.

    It is right as long as the fact `OneNextHop` holds: every address that the packets can have is looked up to that
    next hop, so the lookup would set the same and take the same outcome.
    """

    def found(path: "Path", node: str) -> tuple[int, int] | None:
        """The next hop, and the lookup's outcome for it."""
        ip, prefix = _destinations(path, node, lookup)
        hops = ip.fib.next_hops(prefix) if prefix else frozenset()
        if len(hops) != 1 or -1 in hops:
            return None
        (hop,) = hops
        kind = int(ip.next_hops.initial[hop]["kind"])
        outcome = next((each for each, kinds in KINDS.items() if kind in kinds), None)
        return None if outcome is None else (hop, outcome)

    def transform(path: "Path", node: str) -> str:
        hop, outcome = found(path, node) or (-1, -1)
        ip, prefix = _destinations(path, node, lookup)
        assert prefix
        path.replace(node, _known_hop(hop), [outcome])
        path.rely_on(OneNextHop(ip.name, prefix, hop))
        return f"next hop {hop} for all of {prefix}"

    return Rule("constant next hop", found, transform, (_known_hop(0),))


def _known_hop(hop: int) -> Stage:
    return Stage(set_next_hop, bindings={"next_hop": Own(hop)}, note="constant")


def possible_routes(lookup: Callable[..., int]) -> Rule:
    """The rule that rules out the outcomes of a lookup that no destination of a path has.

    Without local delivery, for example, all that the router does with packets for itself vanishes from the path. It is
    right as long as the fact `KindsWithin` holds.
    """

    def impossible(path: "Path", node: str) -> list[int]:
        ip, prefix = _destinations(path, node, lookup)
        if not prefix:
            return []
        kinds = kinds_within(ip, prefix)
        return [each for each in KINDS if not kinds & KINDS[each] and not path.is_ruled_out(node, each)]

    def transform(path: "Path", node: str) -> str:
        ip, prefix = _destinations(path, node, lookup)
        assert prefix
        labels = [path.rule_out(node, outcome) for outcome in impossible(path, node)]
        path.rely_on(KindsWithin(ip.name, prefix, kinds_within(ip, prefix)))
        return f"without: {', '.join(labels)}"

    return Rule("possible routes", impossible, transform)


def known_protocol(local: Callable[..., int]) -> Rule:
    """The rule that rules out one of the outcomes of local delivery, which tells ICMP from all other protocols."""

    def impossible(path: "Path", node: str) -> list[int]:
        protocol = path.attributes.protocol
        if protocol is None or path.nodes[node]["stage"].function is not local or node not in path.intact:
            return []
        outcome = ANSWER if protocol == ipv4.ICMP else DELIVER
        return [] if path.is_ruled_out(node, outcome) else [outcome]

    def transform(path: "Path", node: str) -> str:
        (outcome,) = impossible(path, node)
        return f"without: {path.rule_out(node, outcome)}"

    return Rule("known protocol", impossible, transform)


def _destinations(path: "Path", node: str, lookup: Callable[..., int]) -> tuple[Any, IPv4Network | None]:
    """The `Ip` of a lookup, and the prefix of the addresses that it looks up; None if that is not known."""
    prefix = path.attributes.destination
    if path.nodes[node]["stage"].function is not lookup or not isinstance(prefix, IPv4Network):
        return None, None
    return path.router_graph.router(path.nodes[node]["router"]), prefix if node in path.intact else None
