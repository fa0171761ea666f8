"""The routes of an IPv4 router: prefixes, gateways and the rows of their next hops, and how they are changed.

A version of the FIB (`scout.paths.protocols.fib`) leads to rows of next hops. A change makes the next version beside
the one in use, and new rows where it needs them; stages look up in the version that the setting `root` names. When no
packet is led by the old version any more, it is released, and so are the rows that only it led to.

Prefixes and gateways are kept as ints: there may be a million of them.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from socket import AF_INET, inet_pton
from typing import Any

import numpy as np

from scout.paths.changes.routes import AddRoute, DeleteRoute, ReplaceRoute
from scout.paths.model.change import Amendment, Change
from scout.paths.model.router import GraphError
from scout.paths.model.setting import Setting
from scout.paths.model.table import Table
from scout.paths.protocols.fib import ROUTE, Fib
from scout.paths.protocols.ipv4_check import broadcasts
from scout.paths.protocols.next_hop import BROADCAST, CONNECTED, GATEWAY, LOCAL, MARTIAN, MULTICAST, NEXT_HOP, UNUSED
from scout.ring.segment import shared

__all__ = ["ROOM", "Prefix", "Routing", "parsed", "parsed_routes"]

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

Prefix = tuple[int, int]
"""The network's address, and the length."""

_Gateways = Mapping[Prefix, int | None]
"""The gateways of prefixes; None for one that has no route of its own."""

_LENGTHS = {"": 32} | {f"/{length}": length for length in range(33)}


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


def parsed_routes(name: str, routes: Mapping[str, str]) -> dict[Prefix, int]:
    """Routes from text: the gateway of each prefix; errors as of `parsed`."""
    gateways = {text: _address(name, text) for text in set(routes.values())}
    return {_prefix(name, text): gateways[via] for text, via in routes.items()}


def _address(name: str, text: object) -> int:
    try:
        return int.from_bytes(inet_pton(AF_INET, str(text)))
    except OSError:
        return int(parsed(name, IPv4Address, text))  # knows what is wrong


def _prefix(name: str, text: object) -> Prefix:
    # `ipaddress` would take ten times as long.
    address, slash, length = str(text).partition("/")
    try:
        network, bits = int.from_bytes(inet_pton(AF_INET, address)), _LENGTHS[slash + length]
        if network & (1 << 32 - bits) - 1 == 0:
            return network, bits
    except (OSError, KeyError):
        pass
    found: IPv4Network = parsed(name, IPv4Network, text)  # knows what is wrong, or reads it
    return int(found.network_address), found.prefixlen


def _shown(prefix: Prefix) -> str:
    return f"{IPv4Address(prefix[0])}/{prefix[1]}"


def _number(network: IPv4Network) -> Prefix:
    return int(network.network_address), network.prefixlen


class Routing:
    """The routes of a router.

    Parameters
    ----------
    name : str
        The router's, for errors.
    addresses : mapping of str to IPv4Interface
        By port.
    routes : dict of Prefix to int
        The gateway of each prefix. Changes are noted in it.
    ports : sequence of str
        The names of all ports, in the order of their indices.
    resolver : Router
        Finds the MAC addresses of gateways.

    Attributes
    ----------
    fib : Fib
    next_hops : Table
        `NEXT_HOP` rows, constant. Unused rows are of the kind `UNUSED`.
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
        routes: dict[Prefix, int],
        ports: Sequence[str],
        resolver: Any,
    ) -> None:
        self._name, self._resolver, self._routes = name, resolver, routes
        self._networks = [
            (int(each.network.network_address), int(each.network.netmask), int(each), ports.index(port))
            for port, each in addresses.items()
        ]
        hops: list[tuple[int, ...]] = [(kind, -1, 0, -1, 0) for kind in range(BROADCAST + 1)]
        leads = {_number(IPv4Network(prefix)): kind for prefix, kind in _SPECIAL.items()}
        for interface, (_, _, own, port) in zip(addresses.values(), self._networks, strict=True):
            leads[_number(interface.network)] = len(hops)
            hops.append((CONNECTED, port, 0, -1, own))
            leads |= {(int(broadcast), 32): BROADCAST for broadcast in broadcasts(interface.network)}
        self._rows: dict[int, int] = {}  # of gateways
        self._slots: dict[int, int] = {}  # of those that have a place in the resolver for ever
        for prefix in leads.keys() & routes.keys():
            via = IPv4Address(routes[prefix])
            raise GraphError(f"{name}: {_shown(prefix)} is routed to {via} and is connected or special already")
        self._uses = Counter(routes.values())  # routes that lead to each gateway
        for gateway in self._uses:
            self._slots[gateway] = resolver.reserve(self._link(gateway)[1], gateway)
            self._rows[gateway] = len(hops)
            hops.append(self._hop(gateway))
        leads |= {(own, 32): LOCAL for _, _, own, _ in self._networks}
        self._fixed = frozenset(leads)
        to_gateways = ((*prefix, self._rows[gateway]) for prefix, gateway in routes.items() if prefix not in leads)
        self.fib = Fib(np.array([*((*prefix, row) for prefix, row in leads.items()), *to_gateways], ROUTE))
        self.root = Setting(self.fib.version)
        table = shared(len(hops) + ROOM, NEXT_HOP)
        table["kind"] = UNUSED
        for row, hop in enumerate(hops):
            table[row] = (*hop, (0, 0, 0))
        self.next_hops = Table(table, "constant")
        self._free = deque(range(len(hops), len(table)))
        self._undone: list[int] = []  # versions that were made in vain

    def _hop(self, gateway: int) -> tuple[int, ...]:
        own, port = self._link(gateway)
        return GATEWAY, port, gateway, self._slots.get(gateway, -1), own

    def _link(self, gateway: int) -> tuple[int, int]:
        """The router's own address and the port on the network of a gateway."""
        for network, mask, own, port in self._networks:
            if gateway & mask == network and gateway != own:
                return own, port
        raise GraphError(
            f"{self._name}: gateway {IPv4Address(gateway)} is on no connected network; give an address next to it"
        )

    # Changing.

    def prepare(self, changes: Sequence[Change]) -> Amendment:
        """Prepare changes of routes; see `Router.prepare`."""
        wanted: dict[Prefix, int | None] = {}
        for change in changes:
            self._note(change, wanted)
        before = {prefix: self._routes.get(prefix) for prefix in wanted}
        uses: Counter[int] = Counter()
        uses.update(gateway for gateway in wanted.values() if gateway is not None)
        uses.subtract(gateway for gateway in before.values() if gateway is not None)
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
                if gateway is not None:
                    self._routes[prefix] = gateway
                else:
                    self._routes.pop(prefix, None)
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

    def differences(self, wanted: Mapping[Prefix, int]) -> list[Change]:
        """The changes that make these routes of those that there are."""
        changes: list[Change] = [DeleteRoute(_shown(prefix)) for prefix in self._routes if prefix not in wanted]
        for prefix, gateway in wanted.items():
            there = self._routes.get(prefix)
            if there != gateway:
                kind = AddRoute if there is None else ReplaceRoute
                changes.append(kind(_shown(prefix), via=str(IPv4Address(gateway))))
        return changes

    def _note(self, change: Change, wanted: dict[Prefix, int | None]) -> None:
        """Note what a change makes of a prefix, on top of those that were noted before; refuse it if it cannot be."""
        assert isinstance(change, AddRoute | DeleteRoute | ReplaceRoute)
        prefix = _prefix(self._name, change.prefix)
        if prefix in self._fixed:
            raise GraphError(
                f"{self._name}: {_shown(prefix)} is connected or special, and keeps its route; leave it out"
            )
        there = wanted[prefix] if prefix in wanted else self._routes.get(prefix)
        if isinstance(change, AddRoute) and there is not None:
            via = IPv4Address(there)
            raise GraphError(f"{self._name}: {_shown(prefix)} is routed to {via} already; replace that by ReplaceRoute")
        if not isinstance(change, AddRoute) and there is None:
            fix = "leave it out" if isinstance(change, DeleteRoute) else "add it by AddRoute"
            raise GraphError(f"{self._name}: {_shown(prefix)} has no route of its own; {fix}")
        if isinstance(change, DeleteRoute):
            wanted[prefix] = None
        else:
            wanted[prefix] = gateway = _address(self._name, change.via)
            self._link(gateway)

    def _to_resolve(self, gateways: Iterable[int]) -> list[tuple[int, int]]:
        """The port and the address of each gateway, without those that have a place in the resolver for ever."""
        return [(self._link(gateway)[1], gateway) for gateway in gateways if gateway not in self._slots]

    def _new_rows(self, gateways: Sequence[int]) -> dict[int, int]:
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

    def _next_version(self, routes: _Gateways, there: _Gateways, rows: Mapping[int, int]) -> int:
        """Make a version of the FIB with these routes, in place of those that are there now."""
        add = [
            (*prefix, rows[gateway] if gateway in rows else self._rows[gateway])
            for prefix, gateway in routes.items()
            if gateway is not None
        ]
        remove = [
            IPv4Network(prefix) for prefix, gateway in routes.items() if gateway is None and there[prefix] is not None
        ]
        return self.fib.change(np.array(add, ROUTE), remove)
