"""Channel order: packets leave in the order of their requests, and each once.

TURN is the position up to which everything has left. A primary waits until it is its turn, and passes it on. A
successor whose turn is past would do again what its predecessor had done: it drops its packets.
"""

from scout.ring.atomics import load64_acquire, pause, store64_release
from scout.ring.jit import Record, inline
from scout.ring.layout import TURN, word
from scout.ring.wait import relax

__all__ = ["STOP", "await_turn", "has_come", "has_left", "is_turn", "leave_in_turn", "pass_turn"]

STOP = 1
"""The value of a replica's order that tells it to stop."""

_SPINS = 4096
"""Looks before the core is yielded: some 100 µs, in which another replica sends a batch. A replica that yields its core
to a busy process gets it back milliseconds later, and all the others wait for its turn meanwhile: with a traffic
generator on one of two cores that cost nine tenths of the rate."""


@inline
def await_turn(channel: Record, here: int, stop: int) -> bool:
    """Wait until it is the turn of the request at position `here`, or the word at address `stop` is STOP.

    False if its packets must not leave: they have left (a predecessor had sent them), or the replica was told to stop
    while packets before them had not left.
    """
    looks = 0
    # Both acquire: the turn pairs with pass_turn, stop with the supervisor's store.
    while load64_acquire(word(channel, TURN)) < here and load64_acquire(stop) != STOP:
        if looks < _SPINS:
            pause()
        else:
            relax(looks)
        looks += 1
    return is_turn(channel, here)


@inline
def has_come(channel: Record, here: int) -> bool:
    """True if everything before position `here` has left. Acquire, pairs with pass_turn."""
    return load64_acquire(word(channel, TURN)) >= here


@inline
def has_left(channel: Record, here: int) -> bool:
    """True if the request at position `here` has left. Acquire, pairs with pass_turn."""
    return load64_acquire(word(channel, TURN)) > here


@inline
def is_turn(channel: Record, here: int) -> bool:
    """True if it is the turn of the request at position `here`. Acquire, pairs with pass_turn."""
    return load64_acquire(word(channel, TURN)) == here


@inline
def pass_turn(channel: Record, here: int) -> None:
    """Say that everything before position `here` has left. For the primary whose turn it is."""
    store64_release(word(channel, TURN), here)  # pairs with await_turn


@inline
def leave_in_turn(channel: Record, here: int, count: int) -> bool:
    """Say that the `count` requests from position `here` on have left, unless it was said before; for their primary.

    False if they have not left: the replica was told to stop before its turn.
    """
    if is_turn(channel, here):
        pass_turn(channel, here + count)
        return True
    return has_left(channel, here)
