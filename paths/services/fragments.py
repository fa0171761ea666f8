"""Fragments of translated packets: the first one has the L4 ports; the later ones follow what was decided for it.

A table remembers for each datagram in fragments a value that its service chooses. The fragments of a datagram have
their identification, protocol and addresses in common (RFC 791 section 3.2). `used` is when a row expires.

A later fragment that comes before its first one is not known; its service drops it (RFC 4787 REQ-14 would have it
wait), and the receiver's reassembly then fails as a whole.
"""

from typing import Any

import numpy as np

from scout.io.access import load8, load16, load32
from scout.paths.framework.flow_table import EVICT, find, new_table, place
from scout.paths.wire import ipv4
from scout.ring.jit import outline

__all__ = ["new_fragments", "recall", "remember"]

DATAGRAMS = 1024  # about how many datagrams in fragments are known at a time
LIFETIME = 30_000_000_000  # nanoseconds; Linux waits as long for the rest of a datagram

PART, WORD = 1 << 60, 1 << 48  # bits of keys, so that no word is 0


def new_fragments() -> np.ndarray:
    """An empty table; its rows have `value`."""
    return new_table(DATAGRAMS, [("value", "i8")])


def key_of(frame: Any) -> tuple[int, int]:
    """The key of the datagram that a fragment belongs to."""
    protocol, identification = load8(frame, ipv4.PROTOCOL), load16(frame, ipv4.IDENTIFICATION)
    key = PART | protocol << 48 | identification << 32 | load32(frame, ipv4.DESTINATION)
    return key, WORD | load32(frame, ipv4.SOURCE)


@outline
def remember(fragments: Any, counts: Any, key: int, more: int, now: int, value: int) -> None:
    """Note the value of a datagram whose first fragment has come."""
    row = place(fragments, counts, key, more, now, 0, EVICT)
    fragments[row].value = value
    fragments[row].used = now + LIFETIME


@outline
def recall(fragments: Any, key: int, more: int, now: int) -> int:
    """The row of the datagram that a fragment belongs to; -1 if its first fragment has not come."""
    return find(fragments, key, more, now, 0)
