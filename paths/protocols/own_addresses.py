"""The router's own addresses: what is known of them outside the FIB, and how they are changed.

ARP answers for them (`own`, in versions), and `scout.paths.protocols.ipv4_check` refuses them as sources (`suspects`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Interface
from itertools import combinations
from typing import Any

import numpy as np

from scout.paths.changes.addresses import AddAddress, DeleteAddress
from scout.paths.model.change import Amendment, Change, together
from scout.paths.model.router import GraphError
from scout.paths.model.table import Table
from scout.paths.protocols.ipv4_check import NEVER_SOURCES, SUSPECTS, suspect_places
from scout.paths.protocols.links import Addresses
from scout.paths.protocols.routing import parsed
from scout.paths.protocols.versions import Versions
from scout.ring.segment import shared

__all__ = ["MOST", "OWN", "OwnAddresses"]

MOST = 64
"""Addresses that a router has at most."""

OWN = np.dtype([("port", "i8"), ("address", "i8"), ("network", "i8"), ("mask", "i8")])
"""An address of the router: the index of its port, or -1 behind the last one; the network's address, and its mask."""

_END = (-1, 0, 0, 0)


class OwnAddresses:
    """The addresses of a router.

    Parameters
    ----------
    name : str
        The router's, for errors.
    given : mapping of str to str or sequence of str
        The addresses of each port, as "10.0.0.1/24".

    Attributes
    ----------
    suspects : Table
        The sources that are looked at more closely; see `scout.paths.protocols.ipv4_check.suspect_places`.

    Raises
    ------
    GraphError
        If an address is malformed or is no host's, is given twice, or networks overlap.
    """

    def __init__(self, name: str, given: Mapping[str, str | Sequence[str]]) -> None:
        self._name = name
        self._begin = {
            port: tuple(self._parsed(port, each) for each in _listed(texts)) for port, texts in given.items()
        }
        self._ports: list[str] = []
        self._keepers: dict[IPv4Interface, str] = {}
        self._check(self._begin)
        # In shared memory: written while replicas run.
        self.suspects = Table(shared(SUSPECTS, np.uint8), "constant")
        self.suspects.initial[NEVER_SOURCES] = 1
        self._uses: Counter[int] = Counter()  # addresses for which a place of `suspects` is not 0
        self._suspect(_all(self._begin))

    def configure(self, ports: Sequence[str]) -> None:
        """Take the names of all ports, and make the rows that stages read."""
        self._ports = list(ports)
        for port in self._begin:
            self._index(port)
        self._versions = Versions(f"{self._name}: addresses", MOST + 1, OWN, self._begin, self._write)
        self.table, self.first = self._versions.table, self._versions.first

    @property
    def current(self) -> dict[str, tuple[IPv4Interface, ...]]:
        """The addresses of each port that has some, after the newest change."""
        return self._versions.current if self._ports else self._begin

    def keep(self, address: IPv4Interface, keeper: str) -> None:
        """Have an address never deleted, as the router `keeper` uses it."""
        self._keepers[address] = keeper

    def _write(self, rows: np.ndarray, addresses: Addresses) -> None:
        found = [(self._index(port), each) for port, given in addresses.items() for each in given]
        for row, (port, each) in enumerate(found):
            rows[row] = (port, int(each), int(each.network.network_address), int(each.netmask))
        rows[len(found)] = _END

    def _index(self, port: str) -> int:
        if port not in self._ports:
            raise GraphError(f"{self._name} has an address on {port!r}, which is no port of the graph: {self._ports}")
        return self._ports.index(port)

    # Checking.

    def _parsed(self, port: str, text: object) -> IPv4Interface:
        """An interface's address, which must have a prefix and be a host's."""
        interface: IPv4Interface = parsed(self._name, IPv4Interface, text)
        if "/" not in str(text):
            raise GraphError(f"{self._name}: address {text} of {port!r} has no prefix length; write it as {text}/24")
        network = interface.network
        if network.prefixlen < 31 and interface.ip in (network.network_address, network.broadcast_address):
            raise GraphError(f"{self._name}: {text} of {port!r} is a broadcast address of its network; give a host's")
        return interface

    def _check(self, addresses: Addresses) -> None:
        found = [(port, each) for port, given in addresses.items() for each in given]
        if len(found) > MOST:
            raise GraphError(f"{self._name}: {len(found)} addresses; give {MOST} at most")
        for (one, first), (other, second) in combinations(found, 2):
            if first.network.overlaps(second.network) and (one != other or first.network != second.network):
                raise GraphError(
                    f"{self._name}: the networks of {one!r}, {first}, and of {other!r}, {second}, overlap; "
                    "give each interface networks of its own"
                )
            if first.ip == second.ip:
                raise GraphError(f"{self._name}: {one!r} has the address {first} already; give it once")

    # Changing.

    def after(self, changes: Sequence[Change]) -> dict[str, tuple[IPv4Interface, ...]]:
        """The addresses after some changes, which are only looked at.

        Raises
        ------
        GraphError
            If they cannot be made.
        """
        wanted = dict(self.current)
        for change in changes:
            assert isinstance(change, AddAddress | DeleteAddress)
            self._index(change.port)
            address, there = self._parsed(change.port, change.address), wanted.get(change.port, ())
            if isinstance(change, AddAddress):
                wanted[change.port] = (*there, address)
                continue
            if address not in there:
                known = ", ".join(map(str, there)) or "none"
                raise GraphError(f"{self._name}: {change.port!r} has no address {address}; it has {known}")
            if address in self._keepers:
                raise GraphError(f"{self._name}: {self._keepers[address]} uses {address} of {change.port!r}; it stays")
            wanted[change.port] = tuple(each for each in there if each != address)
        wanted = {port: given for port, given in wanted.items() if given}
        self._check(wanted)
        return wanted

    def prepare(self, wanted: dict[str, tuple[IPv4Interface, ...]]) -> Amendment:
        """Prepare to have these addresses; see `Router.prepare`."""
        before, after = _all(self.current), _all(wanted)

        def watch() -> Amendment:
            self._suspect(after - before)
            undo, release = after - before, before - after
            return Amendment(undo=lambda: self._suspect(undo, -1), release=lambda: self._suspect(release, -1))

        return together([lambda: self._versions.prepare(wanted, self._write), watch])

    def _suspect(self, addresses: Iterable[IPv4Interface], more: int = 1) -> None:
        """Look more closely at sources that may be one of these addresses, or, with -1, no more because of them."""
        for place in (each for address in addresses for each in suspect_places(address)):
            self._uses[place] += more
            self.suspects.initial[place] = self._uses[place] > 0

    def differences(self, wanted: "OwnAddresses") -> tuple[list[Change], list[Change]]:
        """The addresses to be deleted, and those to be added, to have those of another router in their order."""
        deleted: list[Change] = []
        added: list[Change] = []
        for port in self.current | wanted.current:
            there, other = self.current.get(port, ()), wanted.current.get(port, ())
            same = next(
                (i for i, (a, b) in enumerate(zip(there, other, strict=False)) if a != b), len(there[: len(other)])
            )
            deleted += [DeleteAddress(port, str(each)) for each in there[same:]]
            added += [AddAddress(port, str(each)) for each in other[same:]]
        return deleted, added


def _listed(texts: Any) -> Sequence[Any]:
    return texts if isinstance(texts, list | tuple) else (texts,)


def _all(addresses: Addresses) -> set[IPv4Interface]:
    return {each for given in addresses.values() for each in given}
