"""DIR-24-8 (Gupta, Lin, McKeown, "Routing Lookups in Hardware at Memory Access Speeds", INFOCOM '98).

One entry for each /24, and for each /24 that holds longer prefixes a group of 256 entries, one for each address. So a
lookup is one memory access, or two below /24. Scout used it before it had versions of a FIB.

An entry is an int32: 0 is no route, k > 0 is next hop k - 1, k < 0 is group ~k (in the table of /24s alone).
"""

import mmap
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scout.ring.ranges import fetch

__all__ = ["build", "fetch_entry", "lookup"]

_TABLE_BITS = 24


def lookup(table: Any, groups: Any, address: int) -> int:
    """The next hop of an address, -1 if there is none."""
    entry = int(table[np.uint32(address >> 8)])
    if entry < 0:
        entry = int(groups[np.uint32(~entry << 8 | address & 255)])
    return entry - 1


def fetch_entry(table: Any, address: int) -> int:
    """Ask for the line of an address's /24, to be looked up soon; the address."""
    fetch(table, address >> 8)
    return address


def build(routes: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The table of /24s, int32[2**24], and the groups, int32[n * 256], for `ROUTE` rows."""
    routes = routes[np.argsort(routes["length"], kind="stable")]  # longer prefixes overwrite shorter ones
    table = _empty_table()
    of_length = np.searchsorted(routes["length"], np.arange(34))
    positions, entries = routes["network"] >> 8, (routes["next_hop"] + 1).astype(np.int32)
    for length in range(_TABLE_BITS + 1):
        these = slice(*of_length[length : length + 2])
        _fill(table, 1 << _TABLE_BITS - length, positions[these], entries[these])
    # A group starts as 256 copies of what its /24 had, and then takes the /24's place.
    grouped = np.unique(positions[of_length[_TABLE_BITS + 1] :])
    groups = np.repeat(table[grouped], 256)
    table[grouped] = ~np.arange(len(grouped))
    positions = np.searchsorted(grouped, positions) << 8 | routes["network"] & 255
    for length in range(_TABLE_BITS + 1, 33):
        these = slice(*of_length[length : length + 2])
        _fill(groups, 1 << 32 - length, positions[these], entries[these])
    return table, groups


def _empty_table() -> NDArray[np.int32]:
    """A table of zeros in huge pages, which save most TLB misses."""
    memory = mmap.mmap(-1, 4 << _TABLE_BITS, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without huge pages; they only make it faster
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.int32)


def _fill(array: NDArray[np.int32], width: int, positions: NDArray[np.int64], entries: NDArray[np.int32]) -> None:
    """Write `entries` to prefixes of one length: `width` entries of `array` each, from `positions` on."""
    # Prefixes are aligned to their size, so seen in rows of that size each is exactly one row.
    array.reshape(-1, width)[positions // width] = entries[:, np.newaxis]
