"""The routes of an IPv4 router: prefixes, gateways and the rows of their next hops, and how they are changed.

A version of the FIB (`scout.paths.protocols.fib`) leads to rows of next hops. A change makes the next version beside
the one in use, and new rows where it needs them; stages look up in the version that the setting `root` names. When no
packet is led by the old version any more, it is released, and so are the rows that only it led to.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from scout.paths.changes.routes import AddRoute, DeleteRoute, ReplaceRoute
from scout.paths.model.change import Amendment, Change
from scout.paths.model.router import GraphError
from scout.paths.model.setting import Setting
from scout.paths.model.table import Table
from scout.paths.protocols.fib import Fib
from scout.paths.protocols.ipv4_check import broadcasts
from scout.paths.protocols.next_hop import BROADCAST, CONNECTED, GATEWAY, LOCAL, MARTIAN, MULTICAST, NEXT_HOP, UNUSED
from scout.ring.segment import shared

__all__ = ["ROOM", "Routing", "parsed"]

ROOM = 4096
"""Gateways for which there is room besides those at the beginning; those of old versions count too."""

_SPECIAL = {
    "0.0.0.0/8": MARTIAN,
    "127.0.0.0/8": MARTIAN,
    "169.254.0.0/16": MARTIAN,
    "224.0.0.0/4": MULTICAST,
    "240.0.0.0/4": MARTIAN,
    "255.255.255.255/32": BROADCAST,
}


_Gateways = dict[IPv4Network, IPv4Address | None]
"""The gateways of prefixes; None for one that has no route of its own."""


def parsed(name: str, kind: Any, text: object) -> Any:
    """An address or prefix of `kind`, from text; `name` is the router's, for the error.

    Raises
    ------
    GraphError
        If the text is malformed.
    """
    try:
        return kind(str(text))
    except ValueError as error:
        raise GraphError(
            f"{name}: {str(text)!r}: {error}; write addresses as 10.0.0.1/24, prefixes as 10.0.0.0/24"
        ) from error


class Routing:
    """The routes of a router.

    Parameters
    ----------
    name : str
        The router's, for errors.
    addresses : mapping of str to IPv4Interface
        By port.
    routes : dict of IPv4Network to IPv4Address
        The gateway of each prefix. Changes are noted in it.
    ports : sequence of str
        The names of all ports, in the order of their indices.
    resolver : Router
        Finds the MAC addresses of gateways.

    Attributes
    ----------
    fib : Fib
    next_hops : Table
        `NEXT_HOP` rows, constant. Those that are not in use are of the kind `UNUSED`.
    root : Setting
        The version of the FIB.

    Raises
    ------
    GraphError
        If a gateway is on no connected network, or a prefix is connected or special.
    """

    def __init__(
        self,
        name: str,
        addresses: Mapping[str, IPv4Interface],
        routes: dict[IPv4Network, IPv4Address],
        ports: Sequence[str],
        resolver: Any,
    ) -> None:
        self._name, self._addresses, self._ports, self._resolver = name, addresses, list(ports), resolver
        self.routes = routes
        hops: list[tuple[int, ...]] = [(kind, -1, 0, -1, 0) for kind in range(BROADCAST + 1)]
        leads: dict[IPv4Network, int] = {IPv4Network(prefix): kind for prefix, kind in _SPECIAL.items()}
        for name_of_port, interface in addresses.items():
            leads[interface.network] = len(hops)
            hops.append((CONNECTED, self._ports.index(name_of_port), 0, -1, int(interface)))
            leads |= {IPv4Network(broadcast): BROADCAST for broadcast in broadcasts(interface.network)}
        self._fixed = {*leads}
        self._rows: dict[IPv4Address, int] = {}
        self._slots: dict[IPv4Address, int] = {}  # of the gateways that have a place in the resolver for ever
        for prefix, gateway in routes.items():
            if prefix in self._fixed:
                raise GraphError(f"{name}: {prefix} is routed to {gateway} and is connected or special already")
            if gateway not in self._rows:
                port = self._ports.index(self._port_of(gateway))
                self._slots[gateway] = resolver.reserve(port, int(gateway))
                self._rows[gateway] = len(hops)
                hops.append(self._hop(gateway))
            leads[prefix] = self._rows[gateway]
        local = {IPv4Network(interface.ip): LOCAL for interface in addresses.values()}
        self._fixed |= {*local}
        self._uses = Counter(routes.values())  # routes that lead to each gateway
        self.fib = Fib((leads | local).items())
        self.root = Setting(self.fib.version)
        table = shared(len(hops) + ROOM, NEXT_HOP)
        table["kind"] = UNUSED
        for row, hop in enumerate(hops):
            table[row] = (*hop, (0, 0, 0))
        self.next_hops = Table(table, "constant")
        self._free = deque(range(len(hops), len(table)))
        self._undone: list[int] = []  # versions that were made in vain

    def _hop(self, gateway: IPv4Address) -> tuple[int, ...]:
        port = self._port_of(gateway)
        slot = self._slots.get(gateway, -1)
        return GATEWAY, self._ports.index(port), int(gateway), slot, int(self._addresses[port])

    def _port_of(self, gateway: IPv4Address) -> str:
        for port, interface in self._addresses.items():
            if gateway in interface.network and gateway != interface.ip:
                return port
        raise GraphError(f"{self._name}: gateway {gateway} is on no connected network; give an address next to it")

    # Changing.

    def prepare(self, changes: Sequence[Change]) -> Amendment:
        """Prepare changes of routes; see `Router.prepare`."""
        wanted: _Gateways = {}
        for change in changes:
            self._note(change, wanted)
        before: _Gateways = {prefix: self.routes.get(prefix) for prefix in wanted}
        uses: Counter[IPv4Address] = Counter()
        uses.update(gateway for gateway in wanted.values() if gateway)
        uses.subtract(gateway for gateway in before.values() if gateway)
        new = [gateway for gateway, more in uses.items() if more > 0 and gateway not in self._rows]
        gone = [gateway for gateway, more in uses.items() if more < 0 and self._uses[gateway] + more == 0]
        rows, resolved = self._new_rows(new), Amendment()
        try:
            resolved = self._resolver.gateways(self._to_resolve(new), self._to_resolve(gone))
            version = self._next_version(wanted, before, rows)
        except BaseException:
            resolved.undo()
            self._put_back(rows.values())
            raise
        versions, freed = [self.root.value], [self._rows[gateway] for gateway in gone]

        def commit() -> None:
            resolved.commit()
            for prefix, gateway in wanted.items():
                if gateway:
                    self.routes[prefix] = gateway
                else:
                    self.routes.pop(prefix, None)
            self._uses.update(uses)
            self._rows |= rows
            for gateway in gone:
                del self._rows[gateway]
            versions.extend(self._undone)
            self._undone.clear()

        def undo() -> None:
            resolved.undo()
            self._next_version(before, wanted, rows)
            self.fib.release(version)
            self._undone.append(self.fib.version)
            self._put_back(rows.values())

        def release() -> None:
            for each in versions:
                self.fib.release(each)
            self._put_back(freed)

        return Amendment({self.root: version}, resolved.orders, commit, undo, release)

    def _note(self, change: Change, wanted: _Gateways) -> None:
        """Note what a change makes of a prefix, on top of those that were noted before; refuse it if it cannot be."""
        assert isinstance(change, AddRoute | DeleteRoute | ReplaceRoute)
        prefix = parsed(self._name, IPv4Network, change.prefix)
        if prefix in self._fixed:
            raise GraphError(f"{self._name}: {prefix} is connected or special, and keeps its route; leave it out")
        there = wanted[prefix] if prefix in wanted else self.routes.get(prefix)
        if isinstance(change, AddRoute) and there:
            raise GraphError(f"{self._name}: {prefix} is routed to {there} already; replace that by ReplaceRoute")
        if not isinstance(change, AddRoute) and not there:
            fix = "leave it out" if isinstance(change, DeleteRoute) else "add it by AddRoute"
            raise GraphError(f"{self._name}: {prefix} has no route of its own; {fix}")
        if isinstance(change, DeleteRoute):
            wanted[prefix] = None
        else:
            wanted[prefix] = gateway = parsed(self._name, IPv4Address, change.via)
            self._port_of(gateway)

    def _to_resolve(self, gateways: Iterable[IPv4Address]) -> list[tuple[int, int]]:
        """The port and the address of each gateway, without those that have a place in the resolver for ever."""
        return [
            (self._ports.index(self._port_of(gateway)), int(gateway))
            for gateway in gateways
            if gateway not in self._slots
        ]

    def _new_rows(self, gateways: Sequence[IPv4Address]) -> dict[IPv4Address, int]:
        """Write rows for new gateways, which no version leads to yet."""
        if len(gateways) > len(self._free):
            raise GraphError(
                f"{self._name}: {len(gateways)} more gateways, and there is room for {len(self._free)}; use fewer, or "
                "wait until old routes are not in use any more"
            )
        rows = {gateway: self._free.popleft() for gateway in gateways}
        for gateway, row in rows.items():
            self.next_hops.initial[row] = (*self._hop(gateway), (0, 0, 0))
        return rows

    def _put_back(self, rows: Iterable[int]) -> None:
        """Make rows free to which no version leads."""
        for row in rows:
            self.next_hops.initial["kind"][row] = UNUSED
            self._free.append(row)

    def _next_version(self, routes: _Gateways, there: _Gateways, rows: Mapping[IPv4Address, int]) -> int:
        """Make a version of the FIB with these routes, in place of those that are there now."""
        add = [
            (prefix, rows[gateway] if gateway in rows else self._rows[gateway])
            for prefix, gateway in routes.items()
            if gateway
        ]
        remove = [prefix for prefix, gateway in routes.items() if not gateway and there[prefix]]
        return self.fib.change(add, remove)
