"""The routes of an IPv4 router: prefixes, gateways and the rows of their next hops, and how they are changed.

A version of the FIB (`scout.paths.protocols.fib`) leads to rows of next hops. A change makes the next version beside
the one in use, and new rows where it needs them; stages look up in the version that the setting `root` names. When no
packet is led by the old version any more, it is released, and so are the rows that only it led to.

Prefixes and gateways are kept as ints: there may be a million of them.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from socket import AF_INET, inet_pton
from typing import Any

import numpy as np

from scout.paths.changes.routes import AddRoute, DeleteRoute, ReplaceRoute
from scout.paths.model.change import Amendment, Change
from scout.paths.model.router import GraphError
from scout.paths.model.setting import Setting
from scout.paths.model.table import Table
from scout.paths.protocols.fib import ROUTE, Fib
from scout.paths.protocols.links import Addresses, Hop, Links, Prefix, special
from scout.paths.protocols.next_hop import GATEWAY, NEXT_HOP, UNUSED
from scout.ring.segment import shared

__all__ = ["ROOM", "Routing", "parsed", "parsed_routes"]

ROOM = 4096
"""Gateways for which there is room besides those at the beginning; those of old versions count too."""

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


class Routing:
    """The routes of a router.

    Parameters
    ----------
    name : str
        The router's, for errors.
    addresses : Addresses
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
        self, name: str, addresses: Addresses, routes: dict[Prefix, int], ports: Sequence[str], resolver: Any
    ) -> None:
        self._name, self._ports, self._resolver, self._routes = name, ports, resolver, routes
        self._links = Links(name, addresses, ports)
        self._check_fixed(self._links, routes)
        self._slots: dict[
            tuple[int, int], int
        ] = {}  # of the ports and gateways that have rows of the resolver for ever
        by_gateway = Counter(routes.values())
        for gateway in by_gateway:
            port, _ = self._links.require(gateway)
            self._slots[port, gateway] = resolver.reserve(port, gateway)
        to_gateways = {gateway: self._to(gateway, self._links) for gateway in by_gateway}
        self._uses = Counter(self._links.fixed.values())  # prefixes that lead to each next hop
        self._uses.update({to_gateways[gateway]: uses for gateway, uses in by_gateway.items()})
        # The next hops of the special kinds have their kinds as rows.
        self._rows = {hop: row for row, hop in enumerate(dict.fromkeys([*map(special, range(UNUSED)), *self._uses]))}
        leads = [(*prefix, self._rows[hop]) for prefix, hop in self._links.fixed.items()]
        leads += [(*prefix, self._rows[to_gateways[gateway]]) for prefix, gateway in routes.items()]
        self.fib = Fib(np.array(leads, ROUTE))
        self.root = Setting(self.fib.version)
        table = shared(len(self._rows) + ROOM, NEXT_HOP)
        table["kind"] = UNUSED
        self.next_hops = Table(table, "constant")
        self._write(self._rows)
        self._free = deque(range(len(self._rows), len(table)))
        self._undone: list[int] = []  # versions that were made in vain

    def _to(self, gateway: int, links: Links) -> Hop:
        port, own = links.require(gateway)
        return GATEWAY, port, gateway, self._slots.get((port, gateway), -1), own

    def _check_fixed(self, links: Links, routes: Mapping[Prefix, int | None]) -> None:
        """Refuse routes of prefixes that are connected or special."""
        for prefix in links.fixed.keys() & routes.keys():
            if (gateway := routes[prefix]) is not None:
                raise GraphError(
                    f"{self._name}: {_shown(prefix)} is routed to {IPv4Address(gateway)} and is connected or special "
                    "already; leave the route out"
                )

    # Changing.

    def prepare(self, changes: Sequence[Change], addresses: Addresses | None = None) -> Amendment:
        """Prepare changes of routes, and to have other addresses; see `Router.prepare`."""
        links = self._links if addresses is None else Links(self._name, addresses, self._ports)
        wanted: dict[Prefix, int | None] = {}
        for change in changes:
            self._note(change, wanted, links)
        before, after = self._moves(wanted, links)
        uses: Counter[Hop] = Counter()
        uses.update(hop for hop in after.values() if hop)
        uses.subtract(hop for hop in before.values() if hop)
        new = [hop for hop, more in uses.items() if more > 0 and hop not in self._rows]
        gone = [hop for hop, more in uses.items() if more < 0 and self._uses[hop] + more == 0]
        rows, resolved = self._new_rows(new), Amendment()
        try:
            to_new, to_gone = self._to_resolve(new), self._to_resolve(gone)
            resolved = self._resolver.gateways(to_new - to_gone, to_gone - to_new)
            version = self._next_version(after, before, rows)
        except BaseException:
            resolved.undo()
            self._put_back(rows.values())
            raise
        versions, freed = [self.root.value], [self._rows[hop] for hop in gone]

        def commit() -> None:
            resolved.commit()
            for prefix, gateway in wanted.items():
                if gateway is not None:
                    self._routes[prefix] = gateway
                else:
                    self._routes.pop(prefix, None)
            self._links = links
            self._uses.update(uses)
            self._rows |= rows
            for hop in gone:
                del self._rows[hop], self._uses[hop]
            versions.extend(self._undone)
            self._undone.clear()

        def undo() -> None:
            resolved.undo()
            self._next_version(before, after, rows)
            self.fib.release(version)
            self._undone.append(self.fib.version)
            self._put_back(rows.values())

        def release() -> None:
            for each in versions:
                self.fib.release(each)
            self._put_back(freed)

        return Amendment({self.root: version}, resolved.orders, commit, undo, release)

    def differences(self, wanted: Mapping[Prefix, int]) -> tuple[list[Change], list[Change]]:
        """The routes to be deleted, and those to be added and replaced, to have others."""
        deleted: list[Change] = [DeleteRoute(_shown(prefix)) for prefix in self._routes if prefix not in wanted]
        added: list[Change] = []
        for prefix, gateway in wanted.items():
            there = self._routes.get(prefix)
            if there != gateway:
                kind = AddRoute if there is None else ReplaceRoute
                added.append(kind(_shown(prefix), via=str(IPv4Address(gateway))))
        return deleted, added

    def _note(self, change: Change, wanted: dict[Prefix, int | None], links: Links) -> None:
        """Note what a change makes of a prefix, on top of those that were noted before; refuse it if it cannot be."""
        assert isinstance(change, AddRoute | DeleteRoute | ReplaceRoute)
        prefix = _prefix(self._name, change.prefix)
        there = wanted[prefix] if prefix in wanted else self._routes.get(prefix)
        if prefix in links.fixed and there is None:
            raise GraphError(
                f"{self._name}: {_shown(prefix)} is connected or special, and keeps its route; leave it out"
            )
        if isinstance(change, AddRoute) and there is not None:
            via = IPv4Address(there)
            raise GraphError(
                f"{self._name}: {_shown(prefix)} is routed to {via} already; replace that by ReplaceRoute "
                "(scout ctl route replace)"
            )
        if not isinstance(change, AddRoute) and there is None:
            fix = "leave it out" if isinstance(change, DeleteRoute) else "add it by AddRoute"
            raise GraphError(f"{self._name}: {_shown(prefix)} has no route of its own; {fix}")
        if isinstance(change, DeleteRoute):
            wanted[prefix] = None
        else:
            wanted[prefix] = gateway = _address(self._name, change.via)
            links.require(gateway)

    def _moves(
        self, wanted: Mapping[Prefix, int | None], links: Links
    ) -> tuple[dict[Prefix, Hop | None], dict[Prefix, Hop | None]]:
        """The next hops, before and after, of the prefixes that get others."""
        touched = set(wanted)
        if links is not self._links:
            self._check_fixed(links, {**self._routes, **wanted})
            old, new = self._links.fixed, links.fixed
            touched |= {prefix for prefix in old | new if old.get(prefix) != new.get(prefix)}
            gateways = [hop[2] for hop in self._rows if hop[0] == GATEWAY]
            moved = {each for each in gateways if links.find(each) != self._links.find(each)}
            if moved:
                touched |= {prefix for prefix, gateway in self._routes.items() if gateway in moved}

        def hop(prefix: Prefix, gateway: int | None, known: Links) -> Hop | None:
            return known.fixed.get(prefix) or (self._to(gateway, known) if gateway is not None else None)

        there = self._routes
        before = {prefix: hop(prefix, there.get(prefix), self._links) for prefix in touched}
        after = {prefix: hop(prefix, wanted.get(prefix, there.get(prefix)), links) for prefix in touched}
        return before, after

    def _to_resolve(self, hops: Iterable[Hop]) -> set[tuple[int, int]]:
        """The port and the address of each gateway, without those that have a row of the resolver for ever."""
        return {(port, gateway) for kind, port, gateway, slot, _ in hops if kind == GATEWAY and slot < 0}

    def _new_rows(self, hops: Sequence[Hop]) -> dict[Hop, int]:
        """Write rows for new next hops, which no version leads to yet."""
        if len(hops) > len(self._free):
            raise GraphError(
                f"{self._name}: {len(hops)} more gateways, and there is room for {len(self._free)}; use fewer, or "
                "wait until old routes are not in use any more"
            )
        rows = {hop: self._free.popleft() for hop in hops}
        self._write(rows)
        return rows

    def _write(self, rows: Mapping[Hop, int]) -> None:
        for hop, row in rows.items():
            self.next_hops.initial[row] = (*hop, (0, 0, 0))

    def _put_back(self, rows: Iterable[int]) -> None:
        """Make rows free to which no version leads."""
        for row in rows:
            self.next_hops.initial["kind"][row] = UNUSED
            self._free.append(row)

    def _next_version(
        self, wanted: Mapping[Prefix, Hop | None], there: Mapping[Prefix, Hop | None], rows: Mapping[Hop, int]
    ) -> int:
        """Make a version of the FIB in which prefixes have these next hops, in place of those that are there now."""
        add = [
            (*prefix, rows[hop] if hop in rows else self._rows[hop])
            for prefix, hop in wanted.items()
            if hop is not None
        ]
        remove = [IPv4Network(prefix) for prefix, hop in wanted.items() if hop is None and there[prefix] is not None]
        return self.fib.change(np.array(add, ROUTE), remove)
