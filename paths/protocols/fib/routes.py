"""The table of routes: what a FIB was given, by prefix. Only the writer has it.

The FIB itself does not keep a route whose addresses all belong to longer prefixes, and a removed route has to be
replaced by the longest shorter one. It is a hash table with open addressing and linear probing (Knuth, The Art of
Computer Programming, volume 3, section 6.4, algorithms L and R).
"""

from typing import Any, NamedTuple

import numpy as np

from scout.ring.arithmetic import multiply
from scout.ring.segment import private

__all__ = ["ROUTE", "Routes", "covering", "first_missing", "listed", "new_routes", "put", "refill"]

ROUTE = np.dtype([("network", np.int64), ("length", np.int64), ("next_hop", np.int64)])
"""A route: the network's address in host order, the length of the prefix, and the next hop."""

_LENGTH_BITS = 6
_EMPTY = 0
_MULTIPLIER = -7046029254386353131  # 2**64 divided by the golden ratio, as an int64


class Routes(NamedTuple):
    """The arrays of a table, for compiled code.

    Attributes
    ----------
    keys : int64[2**k]
        The network << _LENGTH_BITS | the length, plus 1; 0 is an empty place.
    leaves : int32[2**k]
        The leaf of the next hop in the FIB (`pieces`).
    """

    keys: Any
    leaves: Any


def new_routes(most: int) -> Routes:
    """An empty table with room for `most` routes; places that were never used cost no memory."""
    places = 1 << max(4, (3 * most // 2).bit_length())
    return Routes(private(places, np.int64), private(places, np.int32))


def room(routes: Routes) -> int:
    """Routes that the table may have: more would make it slow."""
    return len(routes.keys) * 2 // 3


def listed(routes: Routes) -> np.ndarray:
    """The routes as `ROUTE` rows with leaves in place of next hops, by length and then by network."""
    (places,) = np.nonzero(routes.keys)
    found = np.zeros(len(places), ROUTE)
    keys = routes.keys[places] - 1
    found["network"], found["length"] = keys >> _LENGTH_BITS, keys & (1 << _LENGTH_BITS) - 1
    found["next_hop"] = routes.leaves[places]
    return found[np.lexsort((found["network"], found["length"]))]


def place_of(routes: Routes, key: int) -> int:
    """The place of a key, or the empty place where it belongs."""
    places = len(routes.keys)
    place = home(key, places)
    while routes.keys[place] != key and routes.keys[place] != _EMPTY:
        place = place + 1 & places - 1
    return place


def home(key: int, places: int) -> int:
    """The place at which the search for a key begins."""
    return multiply(key, _MULTIPLIER) >> 32 & places - 1


def put(routes: Routes, network: int, length: int, leaf: int) -> int:
    """Give a prefix a leaf, or remove it if that is -1; the leaf that it had, or -1."""
    keys, leaves = routes.keys, routes.leaves
    key = (network << _LENGTH_BITS | length) + 1
    place = place_of(routes, key)
    before = leaves[place] if keys[place] == key else -1
    if leaf >= 0:
        keys[place], leaves[place] = key, leaf
        return before
    places = len(keys)
    free = place
    while before >= 0:  # close the gap: a search must not end at it
        place = place + 1 & places - 1
        if keys[place] == _EMPTY:
            keys[free] = _EMPTY
            break
        if place - home(keys[place], places) & places - 1 >= place - free & places - 1:
            keys[free], leaves[free] = keys[place], leaves[place]
            free = place
    return before


def refill(routes: Routes, smaller: Routes) -> int:
    """Enter the routes of a smaller table; 0."""
    for index in range(len(smaller.keys)):
        if smaller.keys[index] != _EMPTY:
            place = place_of(routes, smaller.keys[index])
            routes.keys[place], routes.leaves[place] = smaller.keys[index], smaller.leaves[index]
    return 0


def first_missing(routes: Routes, changes: Any) -> int:
    """The first of `changes` that removes a route which is not there, or -1."""
    for index in range(len(changes)):
        each = changes[index]
        key = (each.network << _LENGTH_BITS | each.length) + 1
        if each.next_hop < 0 and routes.keys[place_of(routes, key)] != key:
            return index
    return -1


def covering(routes: Routes, network: int, length: int) -> tuple[int, int]:
    """The leaf, and its length, of the longest shorter prefix of a prefix; 0 and 0 if only the default route is."""
    for shorter in range(length - 1, 0, -1):
        key = (network >> 32 - shorter << 32 - shorter + _LENGTH_BITS | shorter) + 1
        place = place_of(routes, key)
        if routes.keys[place] == key:
            return routes.leaves[place], shorter
    return 0, 0
