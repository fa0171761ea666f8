"""Snapshots: copies of a replica's state in shared memory, from which a successor or a lagging replica continues.

A replica saves its own state at every multiple of the channel's interval, into the older of two buffers of its own,
and then makes that the newest: whenever it dies, one of the two is whole. Its floor is the position of the newest
snapshot: the channel keeps the requests from there on, and a successor replays only those.

A replica that continues from *another's* snapshot copies it while the owner may save the next one. It reads the
buffer's version before and after the copy (a sequence lock), and takes the copy only if the version has not changed.

Of a large table whose rows count their changes only the rows are copied and hashed whose count is not that of the copy
in the buffer. Behind such a table a buffer has a hash of each row, and one of all of them.

Each save also notes a hash of the state, with the number of requests that led to it. In a sequenced channel replicas
with the same number have the same hash, which can be checked from outside at any time.
"""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np

from scout.ring.arithmetic import multiply
from scout.ring.atomics import copy, fence, load64, load64_acquire, store64, store64_release
from scout.ring.errors import ScoutError
from scout.ring.jit import Record, entry, inline
from scout.ring.segment import LINE, address, private, shared

__all__ = ["PART", "Snapshots", "adopt", "hashed", "note", "save"]

PART = np.dtype(
    [
        ("address", "i8"),
        ("bytes", "i8"),
        ("row_bytes", "i8"),  # of each row, whole words, if rows count their changes; else 0
        ("count", "i8"),  # offset of that count in a row
    ]
)
"""A piece of a replica's state."""

# The words of a buffer, before its data: how often it was written, twice (odd: being written), its place, and the hash
# of all parts but the last.
_VERSION, _PLACE, _HASH, _HEADER = 0, 8, 16, LINE

NOTES = 64
"""Hashes that a replica notes before the first is overwritten."""

NOTE = np.dtype([("place", "i8"), ("hash", "i8")])

_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)  # Fibonacci hashing; as a signed number


@inline
def hashed(place: int, size: int) -> int:
    """A hash of `size` bytes (whole words) at address `place`."""
    # Four sums side by side: one alone would wait for each multiplication.
    one, two, three, four = size, 1, 2, 3
    end = place + size
    for at in range(place, end - 31, 32):
        one = multiply(one ^ load64(at), _MULTIPLIER)
        two = multiply(two ^ load64(at + 8), _MULTIPLIER)
        three = multiply(three ^ load64(at + 16), _MULTIPLIER)
        four = multiply(four ^ load64(at + 24), _MULTIPLIER)
    for at in range(end - size % 32, end, 8):
        one = multiply(one ^ load64(at), _MULTIPLIER)
    return _mixed(_mixed(_mixed(one, two), three), four)


@inline
def _mixed(one: int, other: int) -> int:
    value = multiply(one ^ other, _MULTIPLIER)
    return value ^ value >> 29


@inline
def note(notes: np.ndarray, place: int, interval: int, value: int) -> None:
    """Note that the state after `place` requests has the hash `value`. For observers; written by the owner alone."""
    index = place // interval % NOTES
    notes[index].place = 0  # an observer that looks in between sees nothing
    notes[index].hash = value
    notes[index].place = place


@inline
def _stored(part: Record) -> int:
    """Bytes that a part takes in a buffer."""
    padded = (part.bytes + 7) & ~7  # the padding is always zero
    return padded + 8 * (1 + part.bytes // part.row_bytes) if part.row_bytes else padded


@inline
def _save_rows(part: Record, target: int, whole: bool) -> int:
    """Save the rows of a part that have changed since they were saved at address `target`, or all; their hash."""
    source, hashes, row = part.address, target + part.bytes, part.row_bytes
    total = 0 if whole else load64(hashes)
    for each in range(hashes + 8, hashes + 8 * (1 + part.bytes // row), 8):
        if whole or load64(source + part.count) != load64(target + part.count):
            copy(target, source, row)
            value = _mixed(hashed(target, row), each - hashes)  # rows that change places change the hash
            total ^= value if whole else value ^ load64(each)
            store64(each, value)
        source, target = source + row, target + row
    store64(hashes, total)
    return total


@entry(
    numba.int64(
        numba.types.Array(numba.from_dtype(PART), 1, "C"),
        numba.int64,
        numba.int64,
        numba.int64,
        numba.boolean,
        numba.boolean,
    )
)
def save(parts: np.ndarray, buffers: int, size: int, place: int, changed: bool, whole: bool) -> int:
    """Save the state in `parts` as it is after `place` requests; its hash.

    `buffers` is the address of the replica's two, of `size` bytes each, header and all. With `changed` false only the
    last part is copied: this process has saved twice since another part has changed. `whole` is true the first two
    times that a process saves: it does not know what the buffers have.
    """
    older = buffers
    other_is_torn = load64(buffers + size + _VERSION) & 1  # by a predecessor that died while it saved
    if load64(buffers + _VERSION) & 1 == 0 and (
        other_is_torn or load64(buffers + size + _PLACE) < load64(buffers + _PLACE)
    ):
        older = buffers + size
    version = load64(older + _VERSION)
    store64(older + _VERSION, version | 1)
    fence()  # no byte is written before a reader can see that: pairs with adopt
    value, target = 0, older + _HEADER
    last = len(parts) - 1
    for index in range(last):
        part = parts[index]
        if changed and part.row_bytes:
            value = _mixed(value, _save_rows(part, target, whole))
        elif changed:
            copy(target, part.address, part.bytes)
            value = _mixed(value, hashed(target, _stored(part)))
        target += _stored(part)
    if changed:
        store64(older + _HASH, value)
    copy(target, parts[last].address, parts[last].bytes)
    value = _mixed(load64(older + _HASH), hashed(target, (parts[last].bytes + 7) & ~7))
    store64(older + _PLACE, place)
    store64_release(older + _VERSION, (version | 1) + 1)  # pairs with adopt
    return value


@entry(numba.int64(numba.types.Array(numba.from_dtype(PART), 1, "C"), numba.int64, numba.int64, numba.int64))
def adopt(parts: np.ndarray, buffers: int, size: int, most: int) -> int:
    """Take the state from the newer buffer whose place is at most `most`; its place, -1 if there is none now."""
    best, newest = 0, -1
    for index in range(2):
        place = load64_acquire(buffers + index * size + _PLACE)
        if place > newest and place <= most and load64_acquire(buffers + index * size + _VERSION) & 1 == 0:
            best, newest = buffers + index * size, place
    if newest < 0:
        return -1
    version = load64_acquire(best + _VERSION)  # pairs with save
    source = best + _HEADER
    for part in parts:
        copy(part.address, source, part.bytes)
        source += _stored(part)
    fence()  # all bytes are read before the second look: pairs with save
    if version & 1 or load64(best + _VERSION) != version or load64(best + _PLACE) != newest:
        return -1
    return newest


@entry(numba.int64(numba.types.Array(numba.from_dtype(PART), 1, "C"), numba.int64))
def _stored_bytes(parts: np.ndarray, index: int) -> int:
    return _stored(parts[index])


class Snapshots:
    """Room for the snapshots of all replicas, and for the hashes that they note.

    Attributes
    ----------
    parts : dict of int to numpy.ndarray
        For each replica its `PART`s.
    notes : dict of int to numpy.ndarray
        For each replica the `NOTES` newest hashes, that of place p at index `p // interval % NOTES`.
    size : int
        Bytes of a buffer.
    """

    def __init__(self) -> None:
        self.parts: dict[int, np.ndarray] = {}
        self.notes: dict[int, np.ndarray] = {}
        self.size = 0
        self._buffers: dict[int, np.ndarray] = {}
        self._states: list[Any] = []

    def enlist(self, replica: int, state: Sequence[np.ndarray], counts: Sequence[str] = ()) -> None:
        """Make room for one more replica, whose state is in these arrays.

        They are contiguous, in shared memory, and of the same shapes for all replicas. `counts` has for the first of
        them the field by which rows count their changes, or "".
        """
        parts = private(max(1, len(state)), PART)
        for part, array in zip(parts, state, strict=True):
            part["address"], part["bytes"] = address(array), array.nbytes
        for part, array, count in zip(parts, state, counts, strict=False):
            if count:
                fields: Any = array.dtype.fields
                part["row_bytes"], part["count"] = array.itemsize, fields[count][1]
        size = _HEADER + -(-sum(int(_stored_bytes(parts, index)) for index in range(len(state))) // LINE) * LINE
        if self.size not in (0, size):
            raise ScoutError(f"state of {size} bytes, where other replicas have {self.size}; give each the same arrays")
        self.size = size
        self._states.append(state)  # the memory that parts refer to
        self.parts[replica], self.notes[replica] = parts, shared(NOTES, NOTE)
        self._buffers[replica] = shared(2 * size, np.uint8)
        self.forget(replica)

    def forget(self, replica: int) -> None:
        """Forget the snapshots of a replica's number, which no replica has now; an earlier one may have saved them."""
        for start in (0, self.size):
            self._buffers[replica][start : start + _HEADER] = 0
            self._buffers[replica][start + _PLACE : start + _PLACE + 8] = 0xFF  # place -1: nothing saved yet

    def buffers(self, replica: int) -> int:
        """Address of a replica's two buffers, for `save` and `adopt`."""
        return address(self._buffers[replica])

    def save(self, replica: int, place: int) -> int:
        """Save a replica's state as it is after `place` requests; its hash."""
        return int(save(self.parts[replica], self.buffers(replica), self.size, place, True, True))

    def adopt(self, replica: int, owner: int, most: int = 1 << 62) -> int:
        """Give `replica` the state of `owner`'s newest snapshot of at most `most` requests; its place, or -1."""
        return int(adopt(self.parts[replica], self.buffers(owner), self.size, most))

    def newest(self) -> dict[int, int]:
        """For each replica the place of its newest snapshot, -1 if it has none."""
        starts = (_PLACE, self.size + _PLACE)
        return {
            replica: max(int(buffers[start : start + 8].view(np.int64)[0]) for start in starts)
            for replica, buffers in self._buffers.items()
        }

    def diverged(self) -> list[int]:
        """The places for which two replicas noted different hashes, smallest first."""
        found: dict[int, set[int]] = {}
        for notes in self.notes.values():
            for place, value in notes.copy().tolist():
                if place:
                    found.setdefault(place, set()).add(value)
        return sorted(place for place, values in found.items() if len(values) > 1)
