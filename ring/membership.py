"""Membership: replicas join and leave while requests flow, and successors take the places of dead ones.

These are the steps in shared memory; `scout.membership` starts and ends the processes that serve as replicas.

GATING has a bit for each replica whose floor counts (`scout.ring.floors`), MEMBERS for each that is elected.
"""

import numba
import numpy as np

from scout.ring.atomics import exchange, fetch_and, fetch_or, load64_acquire, load64_seq, store64_release
from scout.ring.floors import IDLE
from scout.ring.jit import Record, entry, inline
from scout.ring.layout import (
    CHANNEL,
    GATING,
    LIMIT,
    MEMBER,
    MEMBERS,
    controls_floor_of,
    floor_of,
    position,
    published,
    state_of,
    word,
)

__all__ = ["CHANNELS", "MEMBER_RECORDS", "MOST_REPLICAS", "join", "leave", "passed", "resign", "resume"]

MOST_REPLICAS = 31

CHANNELS = numba.types.Array(numba.from_dtype(CHANNEL), 1, "C")
MEMBER_RECORDS = numba.types.Array(numba.from_dtype(MEMBER), 1, "C")
_NUMBER = numba.int64


@inline
def _place(member: Record, place: int, controls: int) -> None:
    """Have a replica begin at a position, with no batch at hand."""
    member.head = member.floor = member.tail = place - controls
    member.controls = member.controls_floor = controls
    member.open = member.count = member.primary = member.role = member.end = 0


@entry(numba.boolean(CHANNELS, MEMBER_RECORDS, _NUMBER, _NUMBER, _NUMBER))
def join(channels: np.ndarray, members: np.ndarray, replica: int, place: int, controls: int) -> bool:
    """Let `replica` take part from position `place` on; False if entries from there on may be overwritten already.

    `place` is a boundary of batches: another replica's position, or that of a snapshot. `controls` of the requests
    before it are control requests that are not entries. After False the replica takes no part, and a newer position is
    to be tried.
    """
    channel, member = channels[0], members[replica]
    # An earlier holder of this number may have been the primary of requests before `until`. They are only replayed.
    member.until = max(place, position(member), member.until)
    _place(member, place, controls)
    bit = 1 << replica
    # A replica that was overtaken still has its bits: only the replica itself changes them.
    fetch_and(word(channel, MEMBERS), ~bit)
    fetch_and(word(channel, GATING), ~bit)
    store64_release(state_of(channel, replica), IDLE)  # pairs with the loads in `lowest_floor`
    fetch_or(word(channel, GATING), bit)  # seq_cst: after the floor, before the load; pairs with `refresh_limit`
    if load64_seq(word(channel, LIMIT)) > member.floor + channel.entries:
        fetch_and(word(channel, GATING), ~bit)
        return False
    fetch_or(word(channel, MEMBERS), bit)
    return True


@entry(numba.void(CHANNELS, MEMBER_RECORDS, _NUMBER, _NUMBER, _NUMBER))
def resume(channels: np.ndarray, members: np.ndarray, replica: int, place: int, controls: int) -> None:
    """Let the successor of a dead `replica` begin at `place`: that of its newest snapshot, or where the dead one stood.

    It replays the requests up to where the dead one stood. A busy replica of a channel that laps stays busy: the
    producer may not overtake it before the claim of the dead one is done.
    """
    channel, member = channels[0], members[replica]
    # If the dead one was itself replaying for a predecessor, `until` is that one's.
    member.until = max(member.until, position(member))
    if place != position(member):
        member.role = member.end = 0
        member.head, member.controls = place - controls, controls
    member.open = 0
    # The dead replica may have died before it raised its floors. Release, pairs with `add_control`; seq_cst, as in
    # `advance_floor` of `scout.io.channels.kernel_ring_protocol`.
    store64_release(controls_floor_of(channel, replica), controls)
    exchange(floor_of(channel, replica), member.head)


@entry(numba.boolean(CHANNELS, _NUMBER, numba.boolean))
def passed(channels: np.ndarray, number: int, controls: bool) -> bool:
    """True if no replica will read the first `number` entries again; with `controls`, of those beside the entries."""
    channel, replica = channels[0], 0
    gating = load64_seq(word(channel, GATING))  # pairs with `join`
    while gating >> replica:
        if gating >> replica & 1:
            floor = controls_floor_of(channel, replica) if controls else floor_of(channel, replica)
            # Acquire, pairs with the store of the floor: what the replica did before is seen.
            if load64_acquire(floor) < number:
                return False
        replica += 1
    return True


@entry(numba.void(CHANNELS, MEMBER_RECORDS, _NUMBER))
def resign(channels: np.ndarray, members: np.ndarray, replica: int) -> None:
    """Have `replica` no longer elected for requests that are published from now on; it serves until it can `leave`."""
    fetch_and(word(channels[0], MEMBERS), ~(1 << replica))
    members[replica].last_granted = published(channels[0])


@inline
def leave(channel: Record, replica: int) -> None:
    """Let the floor of `replica`, which has resigned and has nothing left to do, no longer count."""
    fetch_and(word(channel, GATING), ~(1 << replica))  # seq_cst, before LOCK is looked at in a kernel's ring
