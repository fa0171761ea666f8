"""The role of a replica for a packet in mode "sharded", where each flow belongs to one replica.

A replica is the primary of its own flows' packets, and skips those of other replicas. Every replica receives packets
that belong to no flow, and replica 0 is their primary. Every replica is primary of every control request. During a
replay a replica is primary of nothing: its flows' state has those packets already.
"""

from scout.io.packet import EVERYONES
from scout.ring.jit import Record, inline

__all__ = ["SKIPPED", "role_for", "set_role"]

SKIPPED = -1
"""The role of a replica for the packets of other replicas' flows, and the one of a batch of which it takes none."""


@inline
def role_for(owner: int, replica: int, replays: bool) -> int:
    """The role of `replica` for a packet of a flow of replica `owner`: 1 primary, 0 not, or `SKIPPED`."""
    if owner == EVERYONES:
        return 1 if replica == 0 and not replays else 0
    return 1 if owner == replica and not replays else SKIPPED


@inline
def set_role(cursor: Record, role: int, concerned: int) -> None:
    """Give the batch at hand, of which `concerned` packets are for this replica, its role."""
    cursor.primary = 1 if role == 1 else 0
    if cursor.primary:
        cursor.claimed -= cursor.count - concerned  # `finish` counts the whole batch as claimed
