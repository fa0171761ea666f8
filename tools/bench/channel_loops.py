"""The compiled loops of `scout bench channel`; `baselines/ring.c` has the same in C."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from scout.ring.atomics import compare_exchange, copy, load64, store64
from scout.ring.batch import close_batch, entry_at, open_batch
from scout.ring.jit import Record, entry, inline
from scout.ring.layout import CHANNEL, MEMBER, payload, published, set_length, slot_of
from scout.ring.producer import acquire, publish, release, reserve
from scout.ring.wait import YIELD, wait

__all__ = ["drain", "feed", "stream", "touch"]

_CHANNELS = numba.types.Array(numba.from_dtype(CHANNEL), 1, "C")
_MEMBERS = numba.types.Array(numba.from_dtype(MEMBER), 1, "C")
_PAGE = 4_096


@intrinsic
def _words_at(typingctx, address):  # type: ignore[no-untyped-def]
    """The 8-byte words from `address` on: by a pointer, as LLVM does not see that addresses follow each other."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.int64)(types.int64), codegen


_words: Any = _words_at


@entry(numba.void(numba.int64, numba.int64))
def touch(address: int, size: int) -> None:
    """Have the kernel map the pages of `size` bytes at `address`, writable, without a change to them."""
    for at in range(address, address + size, _PAGE):
        value = load64(at)
        compare_exchange(at, value, value)  # stores what is there, unless another has stored meanwhile


@inline
def _drain(
    channels: np.ndarray, members: np.ndarray, replica: int, requests: int, words: int, read: Callable[..., int]
) -> int:
    """Dequeue `requests`, adding up what `read(address, words)` gives for the payload of each; the sum."""
    channel, member = channels[0], members[replica]
    total = idle = 0
    last = member.head + requests
    while member.head < last:
        count = open_batch(channel, member, replica)
        if count == 0:
            wait(channel, YIELD, member.head, idle)
            idle += 1
            continue
        idle = 0
        for index in range(count):
            total += read(payload(entry_at(channel, member, index)), words)
        close_batch(channel, member, replica)
    return total


@inline
def _first(address: int, words: int) -> int:
    """The word at an address."""
    return load64(address)


@inline
def _sum(address: int, words: int) -> int:
    """The sum of the words from an address on."""
    read, total = _words(address), 0
    for word in range(words):
        total += read[word]
    return total


@entry(numba.int64(_CHANNELS, _MEMBERS, numba.int64, numba.int64))
def _drain_first(channels: np.ndarray, members: np.ndarray, replica: int, requests: int) -> int:
    """Dequeue `requests`, adding up the first word of each; the sum."""
    return _drain(channels, members, replica, requests, 1, _first)


@entry(numba.int64(_CHANNELS, _MEMBERS, numba.int64, numba.int64, numba.int64))
def _drain_whole(channels: np.ndarray, members: np.ndarray, replica: int, requests: int, words: int) -> int:
    """Dequeue `requests`, adding up the first `words` words of each; the sum."""
    return _drain(channels, members, replica, requests, words, _sum)


def drain(channels: np.ndarray, members: np.ndarray, replica: int, requests: int, words: int) -> int:
    """Dequeue `requests`, adding up the first `words` words of each; the sum. A loop of its own for one word."""
    if words == 1:
        return int(_drain_first(channels, members, replica, requests))
    return int(_drain_whole(channels, members, replica, requests, words))


@inline
def stream(
    channel: Record,
    producer: int,
    requests: int,
    burst_of: Callable[..., int],
    fill: Callable[..., None],
    given: tuple[int, ...],
) -> None:
    """Send `requests` as fast as there is room. By turns unless `producer` < 0.

    After `sent` requests of its own, when `tail` are published, it sends up to `burst_of(sent, tail, given)` at a time;
    `fill(slot, number, given)` writes each.
    """
    sent = idle = 0
    while sent < requests:
        if producer >= 0:
            acquire(channel, producer)
        tail = published(channel)
        wanted = min(requests - sent, burst_of(sent, tail, given))
        room = reserve(channel, wanted) if wanted > 0 else 0
        for index in range(room):
            fill(slot_of(channel, tail + index), sent + index, given)
        if room:
            publish(channel, room)
        if producer >= 0:
            release(channel)
        sent += room
        idle = 0 if room else idle + 1
        if room == 0:
            wait(channel, YIELD, tail, idle)


@inline
def _burst(sent: int, tail: int, given: tuple[int, ...]) -> int:
    """The size of every burst."""
    return given[0]


@inline
def _numbered(slot: int, number: int, given: tuple[int, ...]) -> None:
    """Write a request: a copy of the one given, with its number as the first word."""
    _, first, source, length = given
    copy(payload(slot), source, length)
    store64(payload(slot), first + number)
    set_length(slot, length)


@entry(numba.void(_CHANNELS, numba.int64, numba.int64, numba.int64, numba.int64, numba.int64, numba.int64))
def feed(channels: np.ndarray, producer: int, first: int, requests: int, burst: int, source: int, length: int) -> None:
    """Send `requests` of `length` bytes, up to `burst` at a time, their first word numbered from `first`.

    By turns unless `producer` < 0.
    """
    stream(channels[0], producer, requests, _burst, _numbered, (burst, first, source, length))
