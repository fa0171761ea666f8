"""The state that a NAPT keeps of the outside hosts of its mappings: TCP connections, and addresses they have sent to.

`sessions` is a table by mapping and host outside; `used` is when a row expires. A mapping is named by its serial
number, so that it never meets the sessions of another one that had its port, or its row, before.
"""

from typing import Any

from scout.paths.framework.flow_table import EVICT, find, place
from scout.paths.wire.tcp import ACK, FIN, RST, SYN
from scout.ring.jit import outline

__all__ = ["SESSION", "admit", "follow", "is_admitted"]

SESSION = (("flags", "i8"),)
"""Fields of a row of `sessions`."""

# Bits of a TCP connection's flags: which sides have sent something, and a FIN; whether it is established now.
SENT_OUT, SENT_IN, FIN_OUT, FIN_IN, OPENED, RESET, ESTABLISHED = 1, 2, 4, 8, 16, 32, 64

CONNECTION, PEER, WORD = 1 << 60, 1 << 61, 1 << 48  # bits of keys, so that no word is 0


def admit(sessions: Any, counts: Any, mapping: Any, address: int, now: int, until: int) -> None:
    """Let a host outside send to a mapping until that time."""
    row = place(sessions, counts, PEER | mapping.serial, WORD | address, now, 0, EVICT)
    sessions[row].used = until


def is_admitted(sessions: Any, mapping: Any, address: int, now: int) -> bool:
    """True if a host outside may send to a mapping that filters."""
    return find(sessions, PEER | mapping.serial, WORD | address, now, 0) >= 0


@outline
def begin(sessions: Any, counts: Any, key: int, more: int, now: int) -> int:
    """The row of a TCP connection that begins."""
    return place(sessions, counts, key, more, now, 0, EVICT)


def follow(
    sessions: Any, counts: Any, settings: Any, mapping: Any, remote: int, flags: int, outward: bool, now: int
) -> int:
    """Follow a TCP connection of a mapping; by how much the number of the mapping's established ones has changed.

    Parameters
    ----------
    sessions, counts, settings
    mapping
        The mapping's row.
    remote : int
        Address << 16 | port of the host outside.
    flags : int
        Of the segment.
    outward : bool
        True if it goes out.
    now : int

    Returns
    -------
    int
        -1, 0 or 1. The mapping keeps counting a connection as established if its row was evicted or has expired.
    """
    key, more = CONNECTION | mapping.serial, WORD | remote
    row = find(sessions, key, more, now, 0)
    if row < 0:
        if flags & RST:
            return 0
        row = begin(sessions, counts, key, more, now)
    session = sessions[row]
    known = session.flags
    before = 1 if known & ESTABLISHED else 0
    if flags & RST:
        known |= RESET
    else:
        if flags & (SYN | ACK) == SYN and (known & RESET or (known & FIN_OUT and known & FIN_IN)):
            known = 0  # a new one between the same ports
        known &= ~RESET  # the end that goes on has not taken the reset
        known |= SENT_OUT if outward else SENT_IN
        if flags & FIN:
            known |= FIN_OUT if outward else FIN_IN
        if flags & (SYN | ACK) == ACK and known & SENT_OUT and known & SENT_IN:
            known |= OPENED
    now_established = known & OPENED and not known & RESET and not (known & FIN_OUT and known & FIN_IN)
    known = known | ESTABLISHED if now_established else known & ~ESTABLISHED
    session.flags = known
    session.used = now + (settings[0].established if now_established else settings[0].transitory)
    return (1 if now_established else 0) - before
