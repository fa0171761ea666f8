"""Local delivery to transports: the way of packets to the router's own addresses if transports stand on `Ip`.

Fragments are put together first (`scout.paths.protocols.reassembly`). Packets for no transport go the way that they
would go without any: to ICMP, or to be answered with an error.
"""

from typing import Any

from scout.io.access import load8, load16
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import Router
from scout.paths.model.stage import Exit, Outcome, Stage, To, Via
from scout.paths.model.verdict import drop
from scout.paths.protocols.reassembly import WAITS, Reassembly, reassemble
from scout.paths.wire import ipv4
from scout.paths.wire.ipv4 import header_length, is_source_routed

__all__ = ["Delivery", "deliver", "put_together", "transports_of"]

SOURCE_ROUTED = drop("source-route")

FIRST, OTHERS, FRAGMENTS, SECOND = range(4)
"""Outcomes: the first transport; no transport; a fragment, or one that waits for the others; the second transport."""


def deliver(frame: Any, end: Any, first: int, second: int) -> int:
    """Tell packets to the router itself by their protocol."""
    if header_length(frame, 0) > ipv4.HEADER and is_source_routed(frame, end):
        return SOURCE_ROUTED  # RFC 1812 section 5.2.4.1 lets a router refuse to go on by the route
    if load16(frame, ipv4.FRAGMENT) & ipv4.FRAGMENTED:
        return FRAGMENTS
    return by_protocol(frame, first, second)


def by_protocol(frame: Any, first: int, second: int) -> int:
    """The outcome for a whole packet."""
    protocol = load8(frame, ipv4.PROTOCOL)
    if protocol == first:
        return FIRST
    return SECOND if protocol == second else OTHERS


def put_together(
    frame: Any,
    end: Any,
    packet: Any,
    datagrams: Any,
    units: Any,
    pieces: Any,
    lock: Any,
    number: Any,
    whole: Any,
    whole_index: int,
    first: int,
    second: int,
) -> int:
    """Keep a fragment, or go on with the packet that it makes whole."""
    way = by_protocol(frame, first, second)  # before the packet is put elsewhere
    verdict = reassemble(frame, end, packet, datagrams, units, pieces, lock, number, whole, whole_index)
    if verdict == WAITS:
        return FRAGMENTS
    return verdict if verdict < 0 else way


def transports_of(graph: RouterGraph, name: str) -> list[Any]:
    """The transports that stand on a router's service "transports"; there may be two."""
    return [graph.router(each) for each, _ in graph.joined(name, "transports")]


class Delivery:
    """The stages of local delivery to transports.

    Parameters
    ----------
    router : Router
        The `Ip` that they are stages of.

    Attributes
    ----------
    reassembly : Reassembly
    """

    def __init__(self, router: Router) -> None:
        self._name = router.name
        self.reassembly = Reassembly()

    def outcome(self, graph: RouterGraph) -> Outcome:
        """The outcome of the lookup for packets to the router itself."""
        key = "deliver" if transports_of(graph, self._name) else "local"
        return Outcome("for us", To(key), common=key == "deliver")

    def stage(self, key: str, graph: RouterGraph) -> Stage:
        """Stage "deliver" or "reassemble"."""
        transports = transports_of(graph, self._name)
        ways = [Outcome(each.name, Via("transports", each.name), common=True) for each in transports]
        fragments = To("reassemble") if key == "deliver" else Exit()
        outcomes = (
            ways[0],
            Outcome("others", To("local")),
            Outcome("fragment" if key == "deliver" else "fragment kept", fragments),
            *ways[1:],
        )
        protocols = {"first": transports[0].protocol, "second": transports[1].protocol if len(transports) > 1 else -1}
        if key == "deliver":
            return Stage(deliver, outcomes, protocols, keeps_flow=True)
        return Stage(put_together, outcomes, protocols | self.reassembly.bindings, payload=True, resizes=True)
