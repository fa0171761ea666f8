"""Reports: a replica tells an application the words of the stack in a stream (`scout.io.endpoints.stream`)."""

from scout.io.byte_order import swapped64
from scout.io.endpoints.stream import ACKNOWLEDGED, AWAITED, ENDED, PHASE, RECEIVED, REPORTED
from scout.ring.atomics import compare_exchange, fence, load64, load64_acquire
from scout.ring.jit import inline

__all__ = ["REPORT_BYTES", "raise_word", "report"]

REPORT_BYTES = 8 * len(REPORTED)
"""Bytes of the data of a report."""

WAKING = (RECEIVED, PHASE, ENDED)
"""Words that an application waits for; nobody waits for an error that does not end the connection."""


@inline
def report(stream: int, words: int) -> bool:
    """Raise the words of a stream to those at address `words`; True if the application has to be woken."""
    wakes = acknowledged = False
    for index in range(len(REPORTED)):
        grown = raise_word(stream + REPORTED[index], swapped64(load64(words + 8 * index)))
        if REPORTED[index] == ACKNOWLEDGED:
            acknowledged = grown
        elif REPORTED[index] in WAKING:
            wakes = wakes or grown
    if acknowledged and not wakes:
        fence()  # between the store of ACKNOWLEDGED and the load of AWAITED; the application has them the other way
        awaited = load64_acquire(stream + AWAITED)
        wakes = 0 < awaited <= load64_acquire(stream + ACKNOWLEDGED)  # our own store, or a greater one
    return wakes


@inline
def raise_word(word: int, value: int) -> bool:
    """Store a value unless a greater one is there, or the same."""
    while True:
        found = load64_acquire(word)
        if found >= value:
            return False
        # acq_rel, pairs with the application's loads: it sees the bytes, and the words before this one.
        if compare_exchange(word, found, value):
            return True
