"""Routes as users give them: prefixes as text, and arrays."""

from collections.abc import Iterable
from ipaddress import IPv4Network
from socket import AF_INET, inet_pton
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scout.paths.protocols.fib.layout import LAST_NEXT_HOP, NO_ROUTE
from scout.paths.protocols.fib.routes import ROUTE
from scout.ring.errors import ScoutError

__all__ = ["Prefix", "network", "ordered", "removals", "routes_of"]

Prefix = str | IPv4Network

_LENGTHS = {"": 32} | {f"/{length}": length for length in range(33)}  # an address alone is a /32


def routes_of(routes: Iterable[tuple[Prefix, int]] | NDArray[Any]) -> NDArray[Any]:
    """Routes as `ROUTE` rows, checked.

    Raises
    ------
    ScoutError
        If a prefix is malformed or has host bits set, or a next hop is out of range.
    """
    if isinstance(routes, np.ndarray):
        rows = routes.astype(ROUTE)
        _check_prefixes(rows)
    else:
        rows = np.array([(*_parsed(prefix), _next_hop(prefix, hop)) for prefix, hop in routes], ROUTE)
    (outside,) = np.nonzero((rows["next_hop"] < 0) | (rows["next_hop"] > LAST_NEXT_HOP))
    if outside.size:
        row = rows[outside[0]]
        raise ScoutError(f"route {network(row)}: next hop {row['next_hop']} is out of range; use 0 to {LAST_NEXT_HOP}")
    return rows


def removals(prefixes: Iterable[Prefix]) -> NDArray[Any]:
    """Prefixes as `ROUTE` rows without next hop.

    Raises
    ------
    ScoutError
        If one is malformed or has host bits set.
    """
    return np.array([(*_parsed(prefix), NO_ROUTE) for prefix in prefixes], ROUTE)


def ordered(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows by network and then length, so that a prefix comes behind those that cover it.

    Raises
    ------
    ScoutError
        If a prefix is there twice.
    """
    rows = rows[np.lexsort((rows["length"], rows["network"]))]
    same = (rows["network"][1:] == rows["network"][:-1]) & (rows["length"][1:] == rows["length"][:-1])
    if same.any():
        first, second = rows[same.argmax() :][:2]
        hops = [f"next hop {row['next_hop']}" if row["next_hop"] >= 0 else "removed" for row in (first, second)]
        raise ScoutError(f"route {network(first)} is given twice, {hops[0]} and {hops[1]}; keep one")
    return rows


def network(row: Any) -> IPv4Network:
    """The prefix of a row."""
    return IPv4Network((int(row["network"]), int(row["length"])))


def _parsed(prefix: Prefix) -> tuple[int, int]:
    """The network and the length of a prefix."""
    # `ipaddress` would take ten times as long: seconds for the Internet's million routes.
    address, slash, length = str(prefix).partition("/")
    try:
        bits, size = int.from_bytes(inet_pton(AF_INET, address)), _LENGTHS[slash + length]
    except (OSError, ValueError, KeyError) as error:
        raise ScoutError(f"route {prefix!r}: not an IPv4 prefix; write it as 192.0.2.0/24") from error
    if bits & (1 << 32 - size) - 1:
        raise _host_bits(bits, size)
    return bits, size


def _next_hop(prefix: Prefix, hop: int) -> int:
    """A next hop that an int64 can hold; its range is checked later."""
    if not -(2**63) <= hop < 2**63:
        raise ScoutError(f"route {prefix}: next hop {hop} is out of range; use 0 to {LAST_NEXT_HOP}")
    return hop


def _check_prefixes(rows: NDArray[Any]) -> None:
    networks, lengths = rows["network"], rows["length"]
    (wrong,) = np.nonzero((lengths < 0) | (lengths > 32) | (networks < 0) | (networks >= 2**32))
    if wrong.size:
        raise ScoutError(
            f"route {wrong[0]}: network {networks[wrong[0]]} and length {lengths[wrong[0]]} are no IPv4 prefix; use 0 "
            "to 2**32 - 1 and 0 to 32"
        )
    (wrong,) = np.nonzero(networks & (1 << 32 - lengths) - 1)
    if wrong.size:
        raise _host_bits(int(networks[wrong[0]]), int(lengths[wrong[0]]))


def _host_bits(bits: int, length: int) -> ScoutError:
    right = IPv4Network((bits, length), strict=False)
    return ScoutError(
        f"route {right.network_address + (bits - int(right.network_address))}/{length}: the address has bits set "
        f"beyond /{length}; write {right}"
    )
