"""The address family as a parameter of transports: it is a part of the types of their tables.

A transport has the family of the router that it stands on (`Ip.family`). Keys of bindings and next hops are wider for
IPv6, so the types of these tables differ. Where a function depends on the family, its code is chosen by that type
when it is compiled: a transport over IPv4 has no instruction for IPv6, and the text of both is the same.
"""

from typing import Any

import numpy as np
from numba import types

from scout.io.access import lowering
from scout.paths.compiler.inlining import native_helper
from scout.paths.protocols.fib import NO_ROUTE, lookup
from scout.paths.wire.address import ADDRESS, IPV4, IPV6, Words

__all__ = ["PREFIX_6", "family_of", "hop_of", "key_of", "source_at"]

PREFIX_6 = np.dtype([("address", ADDRESS), ("mask", ADDRESS), ("next_hop", "i8")])
"""A route of IPv6: packets whose destination has this address under the mask."""

_MARKS = ("more", "source")
"""Fields that take several words in rows of IPv6: of a key in bindings, and of a next hop."""

_WORD = 1 << 62  # in each word of a key that has to differ from 0


def family_of(table: Any) -> int:
    """The family of a table of bindings, or of next hops; in compiled code a constant."""
    fields = _dtype_of(table).fields
    return IPV6 if any(name in fields and fields[name][0] != np.int64 for name in _MARKS) else IPV4


def _dtype_of(table: Any) -> Any:
    """The type of the rows of a table in the plain run."""
    return getattr(table, "_array", table).dtype


@lowering(family_of)
def _native_family_of(table):  # type: ignore[no-untyped-def]
    if _is_wide(table.dtype):
        return lambda table: IPV6
    return lambda table: IPV4


family_of.assigns = ()  # type: ignore[attr-defined]


def _is_wide(record: Any) -> bool:
    """True if rows of a numba type are those of IPv6."""
    return any(not isinstance(record.fields[name].type, types.Integer) for name in _MARKS if name in record.fields)


def key_of(bindings: Any, local: Words, local_port: int, remote: Words, remote_port: int) -> tuple[int, Any]:
    """The key of a binding to both ends (`scout.paths.framework.flow_table`); an address and an L4 port of 0 are any.

    Of IPv4 each end is a word. Of IPv6 the ports are one word, and the addresses four.
    """
    if family_of(bindings) == IPV6:
        return _WORD | local_port << 16 | remote_port, (local[0], local[1], remote[0], remote[1])
    return _WORD | local[1] << 16 | local_port, _WORD | remote[1] << 16 | remote_port


@lowering(key_of)
def _native_key_of(bindings, local, local_port, remote, remote_port):  # type: ignore[no-untyped-def]
    if _is_wide(bindings.dtype):
        return lambda bindings, local, local_port, remote, remote_port: (
            _WORD | local_port << 16 | remote_port,
            (local[0], local[1], remote[0], remote[1]),
        )
    return lambda bindings, local, local_port, remote, remote_port: (
        _WORD | local[1] << 16 | local_port,
        _WORD | remote[1] << 16 | remote_port,
    )


key_of.assigns = ()  # type: ignore[attr-defined]


def source_at(hop: Any) -> Words:
    """The router's own address at a next hop."""
    return (0, hop.source) if isinstance(hop.source, int) else (hop.source.high, hop.source.low)


@lowering(source_at)
def _native_source_at(hop):  # type: ignore[no-untyped-def]
    if _is_wide(hop):
        return lambda hop: (hop.source.high, hop.source.low)
    return lambda hop: (0, hop.source)


def first_prefix(routes: Any, address: Words) -> int:
    """The next hop of the first route of a list that an address matches: the longest prefixes have to stand first."""
    for index in range(len(routes)):
        route = routes[index]
        high, low = address[0] & route.mask.high, address[1] & route.mask.low
        if high == route.address.high and low == route.address.low:
            return int(route.next_hop)
    return NO_ROUTE


_native_lookup, _native_first_prefix = native_helper(lookup), native_helper(first_prefix)


def hop_of(entries: Any, vectors: Any, leaves: Any, root: int, address: Words) -> int:
    """The index of the next hop of an address; -1 if there is no route.

    Of IPv4 the first four are a FIB (`scout.paths.protocols.fib`). There is no such FIB of IPv6 yet: `entries` is a
    list of routes (`PREFIX_6`) then, and the next three mean nothing.
    """
    if _dtype_of(entries) == PREFIX_6:
        return first_prefix(entries, address)
    return lookup(entries, vectors, leaves, root, address[1])


@lowering(hop_of)
def _native_hop_of(entries, vectors, leaves, root, address):  # type: ignore[no-untyped-def]
    if isinstance(entries.dtype, types.Record):
        return lambda entries, vectors, leaves, root, address: _native_first_prefix(entries, address)
    return lambda entries, vectors, leaves, root, address: _native_lookup(entries, vectors, leaves, root, address[1])


hop_of.assigns = ()  # type: ignore[attr-defined]
