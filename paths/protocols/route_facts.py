"""The next hops of a whole prefix, and the facts about them that paths rely on."""

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from scout.paths.changes.addresses import AddAddress, DeleteAddress
from scout.paths.changes.routes import AddRoute, DeleteRoute, ReplaceRoute
from scout.paths.model.change import Change
from scout.paths.model.rule import Fact
from scout.paths.protocols.next_hop import BROADCAST, CONNECTED, GATEWAY, LOCAL, MARTIAN, MULTICAST

if TYPE_CHECKING:
    from scout.paths.model.path import Path

__all__ = ["GOOD_SOURCES", "NO_KIND", "KindsWithin", "OneNextHop", "can_be_sources", "kinds_within"]

NO_KIND = -1
"""In place of a next hop's kind, where there is no route."""

GOOD_SOURCES = frozenset({GATEWAY, CONNECTED, NO_KIND})
"""The kinds of next hops of addresses that may be a source."""

_NEVER_SOURCES = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")))
"""The prefixes that `scout.paths.protocols.ipv4_check.check` refuses as sources, or looks at more closely."""

_WORDS = {
    GATEWAY: "reached by a gateway",
    CONNECTED: "on a connected network",
    LOCAL: "the router's own",
    MARTIAN: "a martian",
    MULTICAST: "a multicast group",
    BROADCAST: "a broadcast address",
    NO_KIND: "without a route",
}


def kinds_within(ip: Any, prefix: IPv4Network) -> frozenset[int]:
    """The kinds of the next hops that addresses of a prefix have at an `Ip`, with `NO_KIND` if some have none."""
    kinds = ip.next_hops.initial["kind"]
    hops = ip.fib.next_hops(prefix)
    return frozenset(int(kinds[hop]) if hop >= 0 else NO_KIND for hop in hops)


def can_be_sources(ip: Any, prefix: IPv4Network) -> bool:
    """True if every address of a prefix may be a packet's source (RFC 1812 section 5.3.7), at an `Ip`."""
    return kinds_within(ip, prefix) <= GOOD_SOURCES and not any(map(prefix.overlaps, _NEVER_SOURCES))


@dataclass(frozen=True)
class OneNextHop(Fact):
    """All addresses of a prefix have one next hop at an `Ip`."""

    router: str
    prefix: IPv4Network
    next_hop: int

    def concerns(self, change: Change) -> bool:
        return _overlaps(change, self.prefix)

    def holds(self, path: "Path") -> bool:
        ip: Any = path.router_graph.router(self.router)
        return ip.fib.next_hops(self.prefix) == {self.next_hop}

    def __str__(self) -> str:
        return f"{self.router}: all of {self.prefix} has next hop {self.next_hop}"


@dataclass(frozen=True)
class KindsWithin(Fact):
    """The next hops of the addresses of a prefix, at an `Ip`, are of no other than some kinds."""

    router: str
    prefix: IPv4Network
    kinds: frozenset[int]

    def concerns(self, change: Change) -> bool:
        return _overlaps(change, self.prefix)

    def holds(self, path: "Path") -> bool:
        return kinds_within(path.router_graph.router(self.router), self.prefix) <= self.kinds

    def __str__(self) -> str:
        words = " or ".join(_WORDS[kind] for kind in sorted(self.kinds))
        return f"{self.router}: every address of {self.prefix} is {words}"


def _overlaps(change: Change, prefix: IPv4Network) -> bool:
    """True if a change is of a route to addresses of a prefix, or may move gateways, whatever routes lead to them."""
    if isinstance(change, AddAddress | DeleteAddress):
        return True
    if not isinstance(change, AddRoute | DeleteRoute | ReplaceRoute):
        return False
    return IPv4Network(str(change.prefix)).overlaps(prefix)
