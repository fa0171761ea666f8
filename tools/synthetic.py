"""The paper's synthetic service (section 3.1, Figure 1(b)), in compiled code.

A request makes `shared` updates of a state that everybody must see, and `private` updates of a core's own memory
that any one core can do. An update reads a word, and both the next address and what is written depend on it; so it
can be neither left out nor overlapped, by the compiler or the core, and all updates take the same time. The chain
goes on from request to request (`and` with a zero that the compiler does not know), or a core would work at several
requests at once and the parts would not add up.

- replicated: every replica makes the shared updates, on its own copy of the state; the primary the private ones.
- locked: the primary makes both, the shared ones under a spin lock.
- atomic: the primary makes both, the shared ones by atomic additions.
- sequential: one loop without a channel, for comparison.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from scout.ring.channel import CHANNEL, MEMBER, close_batch, open_batch, payload, slot_of
from scout.ring.jit import Record, entry, inline
from scout.ring.memory import compare_exchange, fetch_add, load64, load64_acquire, pause, store64, store64_release
from scout.ring.shared import LINE

__all__ = ["MODES", "PRIVATE_WORDS", "STATE_WORDS", "WORK", "sequential"]

STATE_WORDS = 64
"""Words that the shared updates fall on: eight cache lines, what one connection's state takes."""
PRIVATE_WORDS = 1_024
"""Words that the private updates fall on; they stay in a core's first cache."""

WORK = np.dtype(
    [
        ("state", "i8"),  # address of the state: a replica's own, or the one of all
        ("private", "i8"),  # address of the core's own memory
        ("lock", "i8"),  # address of the lock's word, on a line of its own
        ("shared_updates", "i8"),
        ("private_updates", "i8"),
        ("requests", "i8"),
        ("zero", "i8"),  # 0, which the compiler does not know
        ("primary", "i8"),  # result: requests that this replica was primary of
        ("spare", "i8", LINE // 8 - 8),
    ],
    align=True,
)
"""What one replica is to do."""

_FACTOR = 6364136223846793005  # Knuth's, of the linear congruential generator MMIX
_PLACE = 33  # the generator's lower bits are poor

_CHANNELS = numba.types.Array(numba.from_dtype(CHANNEL), 1, "C")
_MEMBERS = numba.types.Array(numba.from_dtype(MEMBER), 1, "C")
_WORKS = numba.types.Array(numba.from_dtype(WORK), 1, "C")
_SIGNATURE = numba.void(_CHANNELS, _MEMBERS, numba.int64, _WORKS)


@inline
def _update(memory: int, words: int, updates: int, chain: int) -> int:
    for _ in range(updates):
        at = memory + (chain >> _PLACE & (words - 1)) * 8
        chain = chain * _FACTOR + load64(at) + 1
        store64(at, chain)
    return chain


@inline
def _update_atomically(memory: int, words: int, updates: int, chain: int) -> int:
    for _ in range(updates):
        at = memory + (chain >> _PLACE & (words - 1)) * 8
        chain = chain * _FACTOR + fetch_add(at, chain) + 1  # of a number that pairs with nothing
    return chain


@inline
def _lock(word: int) -> None:
    # Looks first, so that waiting costs the holder nothing. acq_rel, pairs with _unlock.
    while load64_acquire(word) or not compare_exchange(word, 0, 1):
        pause()


@inline
def _unlock(word: int) -> None:
    store64_release(word, 0)  # pairs with _lock: the state's updates are seen by the next holder


@inline
def _replicated(work: Record, seed: int, primary: bool) -> int:
    chain = _update(work.state, STATE_WORDS, work.shared_updates, seed)
    if primary:
        chain = _update(work.private, PRIVATE_WORDS, work.private_updates, chain)
    return chain


@inline
def _locked(work: Record, seed: int, primary: bool) -> int:
    if not primary:
        return seed
    _lock(work.lock)
    chain = _update(work.state, STATE_WORDS, work.shared_updates, seed)
    _unlock(work.lock)
    return _update(work.private, PRIVATE_WORDS, work.private_updates, chain)


@inline
def _atomic(work: Record, seed: int, primary: bool) -> int:
    if not primary:
        return seed
    chain = _update_atomically(work.state, STATE_WORDS, work.shared_updates, seed)
    return _update(work.private, PRIVATE_WORDS, work.private_updates, chain)


def _serving(process: Any) -> Callable[..., None]:
    """The loop of a replica, with `process` for each request."""

    def serve(channels: np.ndarray, members: np.ndarray, replica: int, works: np.ndarray) -> None:
        channel, member, work = channels[0], members[replica], works[replica]
        chain = work.primary = 0
        last = member.head + work.requests
        while member.head < last:
            count = open_batch(channel, member, replica)
            if count == 0:
                pause()
                continue
            primary = member.primary != 0
            for index in range(count):
                seed = load64(payload(slot_of(channel, member.head + index)))
                chain = process(work, seed + (chain & work.zero), primary)
            if primary:
                work.primary += count
            close_batch(channel, member, replica)

    return serve
