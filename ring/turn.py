"""Channel order: what leaves a channel's primaries leaves in the order of the requests, and once.

There is a turn: how many requests have left. A primary waits for its own and passes it on. One whose turn is past
does again what a dead predecessor had done already: it drops it.
"""

from scout.ring.atomics import load64_acquire, store64_release
from scout.ring.jit import Record, inline
from scout.ring.layout import TURN, word
from scout.ring.wait import relax

__all__ = ["STOP", "await_turn", "has_left", "is_turn", "pass_turn"]

STOP = 1
"""What the word says by which a replica is told to stop."""


@inline
def await_turn(channel: Record, head: int, stop: int) -> bool:
    """Wait until the `head` first requests have left, or the word at address `stop` says STOP.

    False if the request at hand has left too: a predecessor had sent it.
    """
    looks = 0
    # Both acquire: the turn pairs with pass_turn, stop with who sets it.
    while load64_acquire(word(channel, TURN)) < head and load64_acquire(stop) != STOP:
        relax(looks)
        looks += 1
    return load64_acquire(word(channel, TURN)) <= head


@inline
def has_left(channel: Record, number: int) -> bool:
    """True if the request after `number` others has left. Acquire, pairs with pass_turn."""
    return load64_acquire(word(channel, TURN)) > number


@inline
def is_turn(channel: Record, head: int) -> bool:
    """True if it is the turn of the request after `head` others. Acquire, pairs with pass_turn."""
    return load64_acquire(word(channel, TURN)) == head


@inline
def pass_turn(channel: Record, head: int) -> None:
    """The `head` first requests have left. For the primary of the last of them, after its `await_turn`."""
    store64_release(word(channel, TURN), head)  # pairs with await_turn
