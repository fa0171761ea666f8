"""Compiled loops of the stress tests: producers whose requests say what they are, replicas that check all of it.

A request is `source | checks`, eight bytes each: which request of which producer it is, and words that follow from
that. So an entry that is read while it is written, or that is not the one in turn, shows.
"""

import numba
import numpy as np

from scout.ring.atomics import load64, store64
from scout.ring.batch import close_batch, open_batch
from scout.ring.jit import entry, inline
from scout.ring.layout import CHANNEL, MEMBER, payload, published, set_length, slot_of
from scout.ring.membership import leave
from scout.ring.retirement import may_leave
from scout.ring.wait import YIELD, wait
from scout.tools.bench.channel_loops import stream
from stress.pace import allowed

__all__ = ["BYTES", "FINDINGS", "UNKNOWN", "produce", "replicate", "serve_and_leave"]

CHECKS = 5
BYTES = 8 + 8 * CHECKS
UNKNOWN = -1
"""The next request of a producer of which a replica has seen none."""

_PRODUCER = 48  # bits of `source` below the producer's number
_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)

FINDINGS = np.dtype(
    [
        ("seen", "i8"),  # requests received
        ("claimed", "i8"),  # that it was primary of
        ("digest", "i8"),  # of all, in the order received
        ("torn", "i8"),  # whose checks do not follow from their source
        ("misplaced", "i8"),  # that were not the next of their producer
        ("disputed", "i8"),  # that another replica had finished as their primary
        ("lapped", "i8"),
        ("spare", "i8"),
    ]
)
"""The findings of a replica; written by it alone, a cache line."""

_CHANNELS = numba.types.Array(numba.from_dtype(CHANNEL), 1, "C")
_MEMBERS = numba.types.Array(numba.from_dtype(MEMBER), 1, "C")
_FINDINGS = numba.types.Array(numba.from_dtype(FINDINGS), 1, "C")
_REPLICA = (_CHANNELS, _MEMBERS, numba.int64, _FINDINGS, numba.uint8[::1], numba.int64[::1], numba.int64)
"""The types of `channels, members, replica, findings, primaries, following, last`."""


@inline
def mix(value: int) -> int:
    """Another number for every number."""
    value = (value ^ value >> 29) * _MULTIPLIER
    return value ^ value >> 32


@inline
def _varying(sent: int, tail: int, given: tuple[int, ...]) -> int:
    """The size of a burst, which differs from burst to burst, as `Pace` allows."""
    burst, _, limits, count = given
    return min(1 + (mix(sent) & 0xFFFF) % burst, allowed(limits, count) - tail)


@inline
def _checked(slot: int, number: int, given: tuple[int, ...]) -> None:
    """Write a request whose checks follow from what it is."""
    word = given[1] | number
    store64(payload(slot), word)
    for check in range(CHECKS):
        store64(payload(slot) + 8 + 8 * check, mix(word + check))
    set_length(slot, BYTES)


@entry(numba.void(_CHANNELS, numba.int64, numba.int64, numba.int64, numba.int64, numba.int64))
def produce(channels: np.ndarray, producer: int, requests: int, burst: int, limits: int, count: int) -> None:
    """Send `requests` as `Pace` allows, 1 to `burst` at a time. By turns unless `producer` < 0."""
    given = burst, max(producer, 0) << _PRODUCER, limits, count
    stream(channels[0], producer, requests, _varying, _checked, given)


@inline
def _check(channel, member, replica, findings, primaries, following):  # type: ignore[no-untyped-def]
    """Look at every request of the batch at hand; for their primary, note who it was."""
    for index in range(member.count):
        number = member.head + index
        slot = slot_of(channel, number)
        source = load64(payload(slot))
        for check in range(CHECKS):
            findings.torn += load64(payload(slot) + 8 + 8 * check) != mix(source + check)
        producer = source >> _PRODUCER & 0xFF
        sent = source & ((1 << _PRODUCER) - 1)
        findings.misplaced += following[producer] != UNKNOWN and sent != following[producer]
        following[producer] = sent + 1
        findings.digest = mix(findings.digest ^ source)
        if member.primary:
            findings.disputed += primaries[number] != 0 and primaries[number] != replica + 1
            primaries[number] = replica + 1
            findings.claimed += 1
    findings.seen += member.count


@entry(numba.int64(*_REPLICA, numba.int64))
def replicate(channels, members, replica, findings, primaries, following, last, rests):  # type: ignore[no-untyped-def]
    """Dequeue until `last` requests are let go of; 0, or -1 if the producer has overtaken this replica.

    After some `rests` batches (0: never) it rests until it is overtaken, if the channel laps.
    """
    channel, member, found = channels[0], members[replica], findings[replica]
    idle = batches = 0
    while member.head < last:
        count = open_batch(channel, member, replica)
        if count < 0:
            found.lapped += 1
            return -1
        if count == 0:
            wait(channel, YIELD, member.head, idle)
            idle += 1
            continue
        idle = 0
        _check(channel, member, replica, found, primaries, following)
        close_batch(channel, member, replica)
        batches += 1
        if rests and batches >= rests and member.head & (channel.group - 1) == 0:  # else it is still at work
            batches = 0
            behind = published(channel) + 2 * channel.entries
            while published(channel) < min(behind, last):
                wait(channel, YIELD, 0, idle)
                idle += 1
    return 0


@entry(numba.boolean(*_REPLICA))
def serve_and_leave(channels, members, replica, findings, primaries, following, last):  # type: ignore[no-untyped-def]
    """Serve on, after `resign`, until there is nothing left to do, and leave; False if `last` came before that."""
    channel, member = channels[0], members[replica]
    idle = 0
    while not may_leave(channel, member, replica):
        if member.head == last:
            return False
        if open_batch(channel, member, replica) <= 0:
            wait(channel, YIELD, member.head, idle)
            idle += 1
            continue
        _check(channel, member, replica, findings[replica], primaries, following)
        close_batch(channel, member, replica)
    leave(channel, replica)
    return True
