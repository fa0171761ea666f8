"""FlowPaths: each flow gets a path of its own, which is created for its first packet.

Usage: FlowPaths(name, by, most, when_full, **wishes)
Requires and provides: ipv4.
Drops: nothing.

A packet whose path is not its flow's own asks for one, and goes on in the path that it is in. The supervisor creates
the path; so the first packets of a flow are in the wide path, and all others in the flow's own. A path of its own has
counters, and if it is wished an account, a budget and a queue; with idle=... it ends when the flow does. A TCP segment
with RST ends its path at once.

Example
    FlowPaths("flows", most=10_000, idle=30.0, account=True)
"""

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from scout.io.access import load8, require
from scout.io.packet import SECOND
from scout.paths.framework.path_requests import CREATE, DELETE, PathRequests, request_path
from scout.paths.limit import once
from scout.paths.model.attributes import WISHES, Attributes, GivenAttributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError, Router
from scout.paths.model.stage import Outcome, Own, Stage, Via
from scout.paths.model.table import Table
from scout.paths.protocols.ipv4_demux import CLASSIFIER, classify
from scout.paths.wire import ipv4, tcp
from scout.paths.wire.flow import mix
from scout.paths.wire.ipv4 import header_length

__all__ = ["FIVE_TUPLE", "FlowPaths", "ask"]

FIVE_TUPLE = ("source", "destination", "protocol", "source_port", "destination_port")

_AGAIN = SECOND // 10  # nanoseconds of packet time until a flow asks again


def ask(
    frame: Any,
    end: Any,
    packet: Any,
    requests: Any,
    progress: Any,
    asked: Any,
    asks: int,
    mask_0: int,
    mask_1: int,
    shown: int,
    again: int,
) -> int:
    """Ask for a path of the packet's flow, or where it has one (`asks` is 0), for its end if the flow was reset."""
    if asks != 0 or load8(frame, ipv4.PROTOCOL) == ipv4.TCP:
        way, word_0, word_1 = classify(frame, end)
        if way >= 0 and word_1 & shown == shown:
            if asks != 0:
                if once(asked, mix(mix(word_0 & mask_0) ^ word_1 & mask_1) | 1, packet.timestamp, again):
                    request_path(requests, progress, CREATE, packet.path, word_0, word_1)
            elif is_reset(frame, end):
                request_path(requests, progress, DELETE, packet.path, word_0, word_1)
    return 0


def is_reset(frame: Any, end: Any) -> bool:
    """True if a TCP segment, which is no fragment, has RST."""
    header = header_length(frame, 0)
    if not require(frame, end, header + tcp.HEADER):
        return False
    return load8(frame, header + tcp.FLAGS) & tcp.RST != 0


class FlowPaths(Router):
    """Gives each flow a path of its own; connect it under IP, as `graph.connect("ip", "flows", "left")`.

    Parameters
    ----------
    name : str
    by : sequence of str
        The attributes that make a flow: by default addresses, protocol and L4 ports. By `("destination",)` each
        destination address gets a path. Packets that do not show one of them, as fragments do not show L4 ports, stay
        in the path that they are in.
    most : int
        Paths of flows that there may be at a time; the supervisor makes room for them.
    when_full : {"refuse", "evict"}
        The fate of further flows. "refuse": they stay in the wide path. "evict": each gets a path, and the one that
        was idle longest is deleted; its flow goes on in the wide path, and asks again. Both are counted
        (`supervisor.path_requests()`, `scout ctl show path-requests`).
    **wishes
        Attributes of these paths that are none of their traffic, as `idle`, `account`, `cpu` and `queue`; see
        `RouterGraph.create_path`.

    Raises
    ------
    GraphError
        If there is no such attribute or policy, or a number makes no sense.

    Examples
    --------
    >>> flows = FlowPaths("flows", most=10_000, idle=30.0, account=True)
    """

    provides = {"up": "ipv4"}
    requires = {"down": "ipv4"}
    through = {"up": "down", "down": "up"}

    def __init__(
        self,
        name: str,
        by: Sequence[str] = FIVE_TUPLE,
        most: int = 1024,
        when_full: str = "refuse",
        **wishes: Unpack[GivenAttributes],
    ) -> None:
        super().__init__(name)
        for each in wishes:
            if each not in WISHES:
                raise GraphError(f"{name}: {each}=... is no wish for a path; give {', '.join(WISHES)}")
        Attributes.checked(name, protocol="tcp").narrowed(**wishes)
        self.path_requests: PathRequests = PathRequests(name, by, most, wishes, {"asks": 0}, when_full)
        capacity = 1 << (2 * most - 1).bit_length()
        self.asked = Table(np.zeros(2 * max(capacity, 64), np.int64), "shared")

    def arrive(self, service: str, below: bool) -> str | Via:
        return "ask" if service == "down" else Via("down")

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        mask_0, mask_1, shown = self.path_requests.mask(CLASSIFIER.fields)
        masks: dict[str, Any] = {"mask_0": mask_0, "mask_1": mask_1, "shown": shown, "again": _AGAIN}
        bindings = self.path_requests.bindings | masks | {"asked": self.asked, "asks": Own(1)}
        return Stage(ask, (Outcome("passed", Via("up")),), bindings)
