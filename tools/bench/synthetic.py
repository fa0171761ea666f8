"""The paper's synthetic service (section 3.1, Figure 1(b)), in compiled code.

A request makes `shared` updates of a state that every core must see, and `private` updates of a core's own memory,
which any one core can do. An update reads a word; the index of the next word and the value written depend on it. So
neither the compiler nor the core can omit or overlap updates, and all take the same time. The dependency continues
from request to request (by `and` with a zero that the compiler does not know): otherwise a core would work at several
requests at once, and the times of the parts would not add up.

- replicated: every replica makes the shared updates, on its own copy of the state; the primary the private ones.
- locked: the primary makes both, the shared ones under a spin lock.
- atomic: the primary makes both, the shared ones by atomic additions.
- sequential: one loop without a channel, to compare with.
"""

import numba
import numpy as np

from scout.ring.atomics import compare_exchange, fetch_add, load64, load64_acquire, pause, store64, store64_release
from scout.ring.batch import close_batch, entry_at, open_batch
from scout.ring.jit import Record, entry, inline
from scout.ring.layout import CHANNEL, MEMBER, payload

__all__ = ["ATOMIC", "LOCKED", "PRIVATE_WORDS", "REPLICATED", "STATE_WORDS", "WORK", "sequential", "serve"]

STATE_WORDS = 64
"""Words of the shared state: eight cache lines, about the state of one connection."""
PRIVATE_WORDS = 1_024
"""Words of a core's private memory, which stay in its first-level cache."""

REPLICATED, LOCKED, ATOMIC = 0, 1, 2

WORK = np.dtype(
    [
        ("mode", "i8"),
        ("state", "i8"),  # address of the state: the replica's own, or that of all
        ("private", "i8"),  # address of the core's own memory
        ("lock", "i8"),  # address of the lock's word, on a line of its own
        ("shared_updates", "i8"),
        ("private_updates", "i8"),
        ("zero", "i8"),  # 0, which the compiler does not know
        ("primary", "i8"),  # the result: requests that this replica was primary of
    ],
    align=True,
)
"""The work of one replica: one cache line."""

_FACTOR = 6364136223846793005  # Knuth's, of the linear congruential generator MMIX
_PLACE = 33  # a generator's low bits are poor

_CHANNELS = numba.types.Array(numba.from_dtype(CHANNEL), 1, "C")
_MEMBERS = numba.types.Array(numba.from_dtype(MEMBER), 1, "C")
_WORKS = numba.types.Array(numba.from_dtype(WORK), 1, "C")


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
        chain = chain * _FACTOR + fetch_add(at, chain) + 1  # acq_rel; relaxed would do: no other data depends on it
    return chain


@inline
def _start(work: Record, seed: int, chain: int) -> int:
    """The first value of a request's chain, from its seed and the last value of the previous request's chain."""
    return (seed + (chain & work.zero)) * _FACTOR


@inline
def _lock(word: int) -> None:
    # The load before the exchange keeps a waiting core from taking the cache line away from the holder. The exchange is
    # acq_rel and the load acquire: both pair with the release store in _process.
    while load64_acquire(word) or not compare_exchange(word, 0, 1):
        pause()


@inline
def _process(work: Record, chain: int, primary: bool) -> int:
    """Serve a request; return the last value of its chain."""
    state, shared_updates = work.state, work.shared_updates
    if work.mode == REPLICATED:
        chain = _update(state, STATE_WORDS, shared_updates, chain)
    elif work.mode == LOCKED:
        _lock(work.lock)
        chain = _update(state, STATE_WORDS, shared_updates, chain)
        store64_release(work.lock, 0)  # pairs with _lock: the next holder sees the updates
    else:
        chain = _update_atomically(state, STATE_WORDS, shared_updates, chain)
    if primary:
        chain = _update(work.private, PRIVATE_WORDS, work.private_updates, chain)
    return chain


@entry(numba.void(_CHANNELS, _MEMBERS, numba.int64, _WORKS, numba.int64))
def serve(channels: np.ndarray, members: np.ndarray, replica: int, works: np.ndarray, requests: int) -> None:
    """Serve the next `requests` of the channel as `replica`."""
    channel, member, work = channels[0], members[replica], works[replica]
    chain = 0
    last = member.head + requests
    while member.head < last:
        count = open_batch(channel, member, replica)
        if count == 0:
            pause()
            continue
        primary = member.primary != 0
        if primary or work.mode == REPLICATED:  # with a lock or atomics only the primary works
            for index in range(count):
                seed = load64(payload(entry_at(channel, member, index)))
                chain = _process(work, _start(work, seed, chain), primary)
        if primary:
            work.primary += count
        close_batch(channel, member, replica)


@entry(numba.void(_WORKS, numba.int64))
def sequential(works: np.ndarray, requests: int) -> None:
    """Serve requests with the seeds 0, 1, 2 … without a channel."""
    work = works[0]
    chain = 0
    for seed in range(requests):
        chain = _update(work.state, STATE_WORDS, work.shared_updates, _start(work, seed, chain))
        chain = _update(work.private, PRIVATE_WORDS, work.private_updates, chain)
    work.primary += requests
