"""The neighbours that keep their rows in the table of adjacencies: gateways, and those that were set by hand."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address

import numpy as np

from scout.io.mac import mac_number, mac_text
from scout.paths.changes.neighbours import DeleteNeighbour, ForgetNeighbours, SetNeighbour
from scout.paths.model.change import Amendment, Change, Order
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.paths.protocols.adjacencies import (
    FLUSH,
    FOREVER,
    FORGET,
    FREE,
    PROBES,
    RESERVE,
    RESERVED,
    SET,
    STATIC,
    amend,
    place,
)
from scout.paths.wire.flow import mix
from scout.ring.errors import ScoutError

__all__ = ["Neighbours", "key_of"]


def key_of(port: int, address: int) -> int:
    """The key of an address at the port of an index."""
    return (port + 1) << 32 | address


GATEWAY, BY_HAND = 1, 2
"""Reasons why a row keeps its key: it is a gateway's; its neighbour was set by hand."""


class Kept:
    """The keys that keep their rows, as the supervisor knows them. Each of them has a row in every replica.

    A replica finds a row for a new one whatever it has learnt, as long as fewer others than `PROBES` keep rows that are
    among those where it may stand.

    Parameters
    ----------
    name : str
        The router's, for errors.
    capacity : int
        Rows of the table.
    """

    def __init__(self, name: str, capacity: int) -> None:
        self._name = name
        self._reasons: dict[int, int] = {}
        self._starts = np.zeros(capacity, np.int64)  # how many of them may stand in each row and the next ones

    def reasons(self, key: int) -> int:
        """Why a key keeps its row; 0 if it does not."""
        return self._reasons.get(key, 0)

    def gateways(self) -> list[int]:
        """The keys of gateways."""
        return [key for key, reasons in self._reasons.items() if reasons & GATEWAY]

    def require(self, key: int, reasons: int) -> None:
        """Let a key keep its row for these reasons, as `put`.

        Raises
        ------
        GraphError
            If a replica may have no row for it.
        """
        if reasons and not self.reasons(key) and len(self._reasons) >= PROBES:
            near = np.arange(1 - PROBES, PROBES) + mix(key) & len(self._starts) - 1
            if self._starts[np.unique(near)].sum() >= PROBES:
                raise GraphError(
                    f"{self._name}: {len(self._reasons)} gateways and static neighbours leave no row for another one; "
                    f"give more capacity than {len(self._starts)}"
                )
        self.put(key, reasons)

    def put(self, key: int, reasons: int) -> None:
        """Let a key keep its row for these reasons; for none if they are 0."""
        self._starts[mix(key) & len(self._starts) - 1] += bool(reasons) - bool(self.reasons(key))
        self._reasons[key] = reasons
        if not reasons:
            del self._reasons[key]


class Neighbours:
    """The neighbours of a router that keep their rows, and the changes of them.

    Parameters
    ----------
    name : str
        The router's, for errors and orders.
    adjacencies : Table
        Its `initial` has these neighbours, for plain runs and for the next start.

    Attributes
    ----------
    ports : list of str
        The names of all ports, once the graph is complete.
    macs : dict of int to int
        The MAC addresses of the neighbours that were set by hand, by key.
    """

    def __init__(self, name: str, adjacencies: Table) -> None:
        self._name, self._adjacencies = name, adjacencies
        self._kept = Kept(name, len(adjacencies.initial))
        self.ports: list[str] = []
        self.macs: dict[int, int] = {}

    def reserve(self, key: int, reason: int = GATEWAY) -> int:
        """Give a key a row for ever; the row's index."""
        adjacencies = self._adjacencies.initial
        # Compiled functions work on records; a view as records gives those, where a plain array gives copies.
        index = place(adjacencies.view(np.recarray), key, 0)
        if index < 0:
            raise GraphError(f"{self._name}: no room for gateways among {len(adjacencies)} adjacencies; give capacity=")
        adjacencies[index]["state"] = max(adjacencies[index]["state"], RESERVED)
        self._kept.put(key, self._kept.reasons(key) | reason)
        return index

    def reserve_gateways(self) -> None:
        """Give rows to the gateways of changes that were made since the last start."""
        for key in self._kept.gateways():
            self.reserve(key)

    def pin(self, port: int, address: object, mac: str) -> None:
        """Set a neighbour by hand, before paths run."""
        number, mac_address = self.parsed(address, mac)
        key = key_of(port, number)
        index = self.reserve(key, BY_HAND)
        self.macs[key] = mac_address
        row = self._adjacencies.initial[index : index + 1]
        row["mac"], row["expires"], row["state"] = mac_address, FOREVER, STATIC

    def index(self, port: str, address: object) -> int:
        """The index of the port where a neighbour is."""
        if port not in self.ports:
            raise GraphError(f"{self._name}: neighbour {address} on {port!r}, which is no port: {self.ports}")
        return self.ports.index(port)

    def parsed(self, address: object, mac: str = "02:00:00:00:00:00") -> tuple[int, int]:
        """The numbers of a neighbour's addresses."""
        try:
            return int(IPv4Address(str(address))), mac_number(mac)
        except (AddressValueError, ScoutError) as error:
            raise GraphError(f"{self._name}: neighbour {address} at {mac}: {error}") from error

    # Changing.

    def differences(self, wanted: "Neighbours") -> list[Change]:
        """The changes that make the neighbours set by hand like those of another router."""
        if len(self._adjacencies.initial) != len(wanted._adjacencies.initial):
            raise GraphError(f"{self._name}: the capacity differs; that needs a new start")
        changes: list[Change] = [DeleteNeighbour(*self.place_of(key)) for key in self.macs if key not in wanted.macs]
        for key, mac in wanted.macs.items():
            if self.macs.get(key) != mac:
                changes.append(SetNeighbour(*self.place_of(key), mac_text(mac)))
        return changes

    def clearing(self, port: str) -> list[Change]:
        """The changes after which no neighbour at a port is known."""
        there = [self.place_of(key) for key in self.macs]
        return [*(DeleteNeighbour(*place) for place in there if place[0] == port), ForgetNeighbours(port)]

    def place_of(self, key: int) -> tuple[str, str]:
        """The port and the address of a key."""
        return self.ports[(key >> 32) - 1], str(IPv4Address(key & 0xFFFFFFFF))

    def prepare(self, changes: Sequence[Change]) -> Amendment:
        """Prepare changes of neighbours; see `Router.prepare`."""
        prepared = self._prepared(map(self._step, changes))

        def commit() -> None:
            for order in prepared.orders:
                if order.operation == SET:
                    self.macs[order.one] = order.two
                else:
                    self.macs.pop(order.one, None)
                # For plain runs, and the next start.
                amend(order, 0, self._adjacencies.initial.view(np.recarray), np.zeros(1, np.int64))

        return replace(prepared, commit=commit)

    def gateways(self, new: Iterable[tuple[int, int]], gone: Iterable[tuple[int, int]]) -> Amendment:
        """Prepare to keep the rows of new gateways, and not to keep those of others; by port and address."""
        steps = [(FREE, key_of(*gateway), 0) for gateway in gone]
        return self._prepared([*steps, *((RESERVE, key_of(*gateway), 0) for gateway in new)])

    def _step(self, change: Change) -> tuple[int, int, int]:
        """The operation and the two numbers of an order."""
        assert isinstance(change, DeleteNeighbour | ForgetNeighbours | SetNeighbour)
        if isinstance(change, ForgetNeighbours):
            return FLUSH, self.index(change.port, "any") + 1, 0
        port = self.index(change.port, change.address)
        if isinstance(change, SetNeighbour):
            address, mac = self.parsed(change.address, change.mac)
            return SET, key_of(port, address), mac
        key = key_of(port, self.parsed(change.address)[0])
        if not self._kept.reasons(key) & BY_HAND:
            raise GraphError(f"{self._name}: {change.address} on {change.port!r} was not set by hand; leave it out")
        return FORGET, key, int(self._kept.reasons(key) & GATEWAY > 0)

    def _prepared(self, steps: Iterable[tuple[int, int, int]]) -> Amendment:
        """Note the steps in `Kept`, each before the next is looked at."""
        orders: list[Order] = []
        before: list[tuple[int, int]] = []

        def undo() -> None:
            for key, reasons in reversed(before):
                self._kept.put(key, reasons)

        try:
            for operation, key, two in steps:
                orders.append(Order(self._name, operation, key, two))
                if operation == FLUSH:  # no row is for another key by that
                    continue
                known = self._kept.reasons(key)
                before.append((key, known))
                reason = BY_HAND if operation in (SET, FORGET) else GATEWAY
                self._kept.require(key, known | reason if operation in (SET, RESERVE) else known & ~reason)
        except BaseException:
            undo()
            raise
        return Amendment(orders=orders, undo=undo)
