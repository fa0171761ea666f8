"""NAPT: hosts inside share the router's one address outside, by L4 ports (RFC 2663 section 4.1.2).

Usage: Napt(name, inside, outside, filtering, ports, forward, udp, icmp, transitory, established, ...)
Requires and provides: ipv4 (what comes in) and adjacency (what goes out): it stands on both sides of IP.

A packet that IP sends from an inside port to the outside one gets the router's address there, and a port, for its
source. A packet for that address gets this undone before IP looks for a route. So routes, TTL and MTU see the hosts'
own addresses, and the router's own errors quote them. By the requirements of RFC 4787 (UDP), 5382 (TCP) and 5508
(ICMP):

- a mapping belongs to one endpoint inside, and serves all its destinations (4787 REQ-1, 5382 REQ-1). No two mappings
  have the same port outside (REQ-3, REQ-7);
- the port outside is the endpoint's own port if that is free. Otherwise it has the same parity, and is below 1024
  exactly if the endpoint's port is (REQ-3a, REQ-4): of 64 such ports, which begin at one that a hash of the endpoint
  selects, the first free one is taken;
- packets to a mapping pass from anywhere, or only from addresses that it has sent to (REQ-8, REQ-3);
- a mapping lasts 5 minutes for UDP, at the least 2 (REQ-5), 60 seconds for ICMP queries (5508 REQ-2), and for TCP
  4 minutes, or 2 hours and 4 minutes while a connection of it is established (5382 REQ-5), since it last sent (REQ-6);
- a port outside may be forwarded to an endpoint inside: a static mapping, which never expires and does not filter;
- ICMP errors about a mapping's packets are translated in both directions, with what they quote (5508 REQ-4, REQ-5), and
  change no mapping (REQ-6; 4787 REQ-12, 5382 REQ-10); their checksum is verified first (REQ-3);
- hosts inside reach each other by their mappings, also with errors (4787 REQ-9, 5382 REQ-8, 5508 REQ-7);
- unsolicited SYNs get no answer (5382 REQ-4).

It differs from the RFCs in these points: a later fragment that arrives before the first fragment is dropped (4787
REQ-14 asks that it waits). Packets of other protocols from inside are dropped. There are no application level gateways.
The sender of a packet without a mapping gets no ICMP error (5508 REQ-8).

Its ports share one channel (`sequenced`), so that no replica sees the answer to a packet before the packet. With
sequenced=False each port has a channel of its own: an answer that a replica sees first is dropped.

State
    `mappings`, a row for each endpoint inside; `ports`, which mapping has which port outside; `created`, how many there
    ever were. `sessions`, a row for each TCP connection of a mapping, and for each address that it has sent to.
    `fragments`, a row for each datagram in fragments.
Events and handlers
    arrival: `translate`, on every replica, because the route depends on it.
Drops
    napt-no-mapping: a packet or an ICMP error from outside that is for no mapping, or a reply from inside to no query.
    napt-filtered: its sender is no address that the mapping has sent to.
    napt-ports-exhausted: a new endpoint inside, and none of the ports looked at is free.
    napt-table-full: a new endpoint inside finds the table full, and `full` is "refuse".
    napt-unsupported: from inside, and neither TCP, UDP nor an ICMP query; or a TCP header that is not whole.
    napt-fragment: a later fragment whose first one has not come.
    napt-bad-checksum: an ICMP error with a bad checksum.
Modes
    replicated, locked.
Example
    Napt("napt", inside="left", outside="right", forward={("tcp", 8080): "10.0.0.2:80"})
"""

from collections.abc import Mapping as Mappings
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from typing import NamedTuple

import numpy as np

from scout.io.packet import SECOND
from scout.paths.framework.check import refuse_sharded
from scout.paths.framework.events import Handler
from scout.paths.framework.flow_table import new_table, policy_of
from scout.paths.framework.service import Service
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError
from scout.paths.model.stage import Outcome, Stage, Via
from scout.paths.model.table import Table
from scout.paths.protocols.ipv4 import Ip
from scout.paths.protocols.next_hop import NEXT_HOP
from scout.paths.services.endpoint import Endpoint
from scout.paths.services.fragments import new_fragments
from scout.paths.services.napt_mappings import MAPPING, POOLS, PORTS, SETTINGS, WORD, add_static
from scout.paths.services.napt_packets import ENTERING, LEAVING, RETURNING, translate
from scout.paths.services.napt_sessions import SESSION
from scout.paths.wire import ipv4

__all__ = ["Mapping", "Napt"]

PROTOCOLS = {"tcp": ipv4.TCP, "udp": ipv4.UDP}


class Mapping(NamedTuple):
    """An endpoint inside, and the L4 port outside that stands for it; of ICMP the ports are identifiers."""

    protocol: int
    inside: Endpoint
    external: int


class Napt(Service):
    """Translates between the hosts at some ports and the router's address at another.

    Connect it between IP and each of these ports, and between IP and the router that resolves next hops.

    Parameters
    ----------
    name : str
    inside : str or sequence of str
        The ports (names of Ethernets) whose hosts share the address.
    outside : str
        The port whose address they share.
    filtering : {"endpoint-independent", "address-dependent"}
        The hosts that may send to a mapping: any host, or only addresses that the mapping has sent to.
    ports : tuple of int
        The first and the last of the L4 ports outside (of ICMP: identifiers) that mappings may get.
    forward : mapping of (str, int) to str, optional
        Port forwarding: protocol ("tcp" or "udp") and L4 port outside to the address and port inside, as
        {("tcp", 8080): "10.0.0.2:80"}. The ports need not be in `ports`.
    udp, icmp, transitory, established : float
        Seconds that a mapping lasts: see above. At least 120, 60, 240 and 7440.
    capacity : int
        About how many mappings there may be; a power of two. There is room for twice as many TCP connections, and
        addresses that mappings have sent to; when that is full those that would expire first are forgotten, and counted
        as `evicted`.
    full : {"refuse", "evict"}
        Treatment of a new endpoint when the table is full. "refuse": its packets are dropped as `napt-table-full`.
        "evict": it takes the place of the mapping that would expire first (counted as `evicted`).
    mode : str
        "replicated" or "locked". Not "sharded": packets and their answers are different flows.
    sequenced : bool
        True: replicas see the packets of all ports in one order (see `Service`).

    Raises
    ------
    GraphError
        If a parameter makes no sense, or it stands in the wrong place of the graph.

    Examples
    --------
    ::

        graph.add(Napt("napt", inside="left", outside="right", forward={("tcp", 8080): "10.0.0.2:80"}))
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
        forward: Mappings[tuple[str, int], str] | None = None,
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
        refuse_sharded(name, mode, "packets from their answers")
        settings = np.zeros(1, SETTINGS)
        times = {"udp": (udp, 120), "icmp": (icmp, 60), "transitory": (transitory, 240)}
        for key, (seconds, least) in (times | {"established": (established, 7440)}).items():
            if not least <= seconds <= 86400 * 365:
                raise GraphError(f"{name}: {key}={seconds} seconds; give {least} or more, as the RFC has it")
            settings[key] = int(seconds * SECOND)
        settings["low"], settings["high"] = low, high
        settings["filters"] = filtering == "address-dependent"
        settings["policy"] = policy_of(name, full)
        self.settings = Table(settings, "constant")
        mappings = new_table(capacity, MAPPING)
        owners, created = np.zeros(PORTS, [("mapping", "i4")]), np.zeros(1, [("mappings", "i8")])
        taken = set()
        for (protocol, external), inner in (forward or {}).items():
            if protocol not in PROTOCOLS or not 0 < external < 65536:
                raise GraphError(f'{name}: forward {(protocol, external)}; write ("tcp", 8080) or ("udp", 53)')
            if (protocol, inner) in taken:
                raise GraphError(f"{name}: two {protocol} ports are forwarded to {inner}; leave one out")
            taken.add((protocol, inner))
            address, port = Endpoint.parse(name, inner)
            add_static((mappings, owners, created), PROTOCOLS[protocol], int(address), port, external)
        super().__init__(
            name,
            {
                "mappings": mappings,
                "ports": owners,
                "created": created,
                "sessions": new_table(2 * capacity, SESSION),
                "fragments": new_fragments(),
            },
            [Handler(translate)],
            "ipv4",
            mode,
            sequenced=sequenced,
            settings=self.settings,
            next_hops=Table(np.zeros(1, NEXT_HOP), "constant"),
            where=ENTERING,
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
        address = ip.addresses[self.outside][0]
        ip.own.keep(address, self.name)
        settings["address"] = int(address)
        settings["outside"] = graph.ports.index(self.outside)
        settings["inside"] = sum(1 << graph.ports.index(port) for port in self.inside)

    def _ip(self, graph: RouterGraph) -> Ip:
        above = {name for service in ("up", "hop") for name, _ in graph.reached(self.name, service)}
        found = [graph.router(name) for name in above]
        if len(found) == 1 and isinstance(found[0], Ip) and graph.reached(self.name, "hop"):
            return found[0]
        raise GraphError(
            f"{self.name} stands under {', '.join(sorted(above)) or 'nothing'}; connect it to one Ip above, and to the "
            "router that resolves next hops below"
        )

    def arrive(self, service: str, below: bool) -> str | Via:
        keys = {"down": "receive", "hop": "send", "out": "returned"}
        return keys[service] if service in keys else Via(self.through[service])

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        stage = super().stage(key, graph, attributes)
        where, onward = {"receive": (ENTERING, "up"), "send": (LEAVING, "out"), "returned": (RETURNING, "hop")}[key]
        bindings = self.bindings | {"next_hops": self._ip(graph).next_hops, "where": where}
        outcomes = (Outcome("passed", Via(onward)), *stage.outcomes[1:])
        # The primary alone held the packet that returns, and the packet changes no state.
        replicated = stage.replicated and key != "returned"
        return replace(stage, outcomes=outcomes, bindings=bindings, replicated=replicated)

    def read(self, now: int, mappings: np.ndarray | None = None) -> set[Mapping]:
        """The mappings at time `now` (the service's, in nanoseconds).

        `mappings` is a replica's copy of the table; by default that of plain runs.
        """
        found = self.rows("mappings", mappings)
        return {
            Mapping(
                POOLS[int(row["key"]) >> 16 & 0xFF],
                Endpoint(IPv4Address(int(row["more"]) ^ WORD), int(row["key"]) & 0xFFFF),
                int(row["at"]) & 0xFFFF,
            )
            for row in found
            if now < row["used"]
        }
