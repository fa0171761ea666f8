"""The demux table as the supervisor sees it: it alone adds patterns and takes them away, while replicas search.

A record is complete before a link leads to it. A record that was taken out of its list keeps its own link, for replicas
that are on it; it is used again only when none can be, which the caller of `unlink` and `free` knows.
"""

from collections.abc import Sequence

import numpy as np
from numba import from_dtype
from numba.core import types

from scout.io.packet import NO_PATH
from scout.paths.demux.find import ALWAYS, ENTRY, KIND, NEVER, PORT, bucket_of, native_bucket_of
from scout.paths.demux.pattern import Pattern
from scout.ring.atomics import load64, store64_release
from scout.ring.errors import ScoutError
from scout.ring.jit import entry
from scout.ring.segment import address, shared

__all__ = ["MOST_KINDS", "Clash", "DemuxTable", "NoRoom"]

MOST_KINDS = 255
"""Kinds of patterns that there may be at a time: each costs a packet of its port some nanoseconds."""

_PATTERNS_A_PATH = 4  # for each path that there may be, room for so many patterns

_Kind = tuple[int, int, tuple[int, int]]
"""The port, the rank and the mask of a kind."""


class Clash(ScoutError):
    """A pattern that another path has already; `path` is the number of that path."""

    def __init__(self, path: int) -> None:
        super().__init__(f"path {path} takes the same packets; leave one of the two out")
        self.path = path


class NoRoom(ScoutError):
    """All room for paths, or for what they consist of, is in use."""


@entry(types.void(types.int64, types.int64))
def _store_link(place: int, number: int) -> None:
    """Have the link at an address lead to a record, which is complete (release; `find` loads it with acquire)."""
    store64_release(place, number)


_WORD = types.int64


@entry(types.void(types.int64[::1], from_dtype(ENTRY)[::1], _WORD, _WORD, _WORD, _WORD, _WORD, _WORD))
def _insert(
    heads: np.ndarray, entries: np.ndarray, number: int, word_0: int, word_1: int, kind: int, path: int, born: int
) -> None:
    """Write a record, and have its bucket's list begin with it (release; `find` loads the link with acquire)."""
    head = heads.ctypes.data + native_bucket_of(kind, word_0, word_1, len(heads)) * 8
    entry = entries[number]
    entry.next = load64(head)
    entry.word_0, entry.word_1 = word_0, word_1
    entry.kind, entry.path = kind, path
    entry.born, entry.died = born, NEVER
    store64_release(head, number)


class _Links:
    """The links of an array: its words, or the first word of each of its records."""

    def __init__(self, array: np.ndarray) -> None:
        self._words = array[array.dtype.names[0]] if array.dtype.names else array
        self._first, self._stride = address(array), array.itemsize

    def __getitem__(self, index: int) -> int:
        return int(self._words[index])

    def __setitem__(self, index: int, number: int) -> None:
        _store_link(self._first + index * self._stride, number)


class _Room:
    """The numbers of records, from 1 on: those that were given back, and those that never were in use."""

    def __init__(self, records: np.ndarray, what: str) -> None:
        self._most, self._what = len(records) - 1, what
        self._used, self._back = 0, list[int]()

    def check(self, count: int) -> None:
        """Raise an error if there are not so many."""
        if count > self._most - self._used + len(self._back):
            raise NoRoom(f"there is room for {self._most} {self._what}; delete some paths first")

    def take(self) -> int:
        if self._back:
            return self._back.pop()
        self._used += 1
        return self._used

    def give_back(self, numbers: Sequence[int]) -> None:
        self._back += numbers


class DemuxTable:
    """The demux table of a run.

    Parameters
    ----------
    ports : int
        How many ports the router has.
    room : int
        How many paths there may be.

    Attributes
    ----------
    ports, kinds, heads, entries : numpy.ndarray
        The shared arrays that `scout.paths.demux.find` searches: `PORT`[ports], `KIND`, int64 for each bucket, and
        `ENTRY`. Memory that is not in use costs nothing.
    """

    def __init__(self, ports: int, room: int) -> None:
        self.ports = shared(ports, PORT)
        self.kinds = shared(MOST_KINDS + 1, KIND)
        self.heads = shared(1 << max(6, (room - 1).bit_length()), np.int64)
        self.entries = shared(max(1024, _PATTERNS_A_PATH * room) + 1, ENTRY)
        self.ports["default"] = NO_PATH
        self._links = [_Links(array) for array in (self.ports, self.kinds, self.heads, self.entries)]
        self._kind_room, self._entry_room = _Room(self.kinds, "kinds of patterns"), _Room(self.entries, "patterns")
        self._kinds: dict[_Kind, int] = {}
        self._known: dict[int, _Kind] = {}
        self._members: dict[int, int] = {}  # how many entries each kind has
        self._entries: dict[int, list[int]] = {}  # of each path
        self._holding: dict[tuple[int, int, int], int] = {}  # by kind and value: the entry that holds from now on
        self._unlinked: dict[int, tuple[list[int], list[int]]] = {}  # by path: its entries and kinds

    def set_default(self, port: int, path: int) -> None:
        """Let a path have the packets of a port that no pattern takes; before the replicas run."""
        self.ports[port]["default"] = path

    def add(self, port: int, path: int, rank: int, patterns: Sequence[Pattern], born: int = ALWAYS) -> None:
        """Let a path have the packets of a port that its patterns take, from an epoch on.

        Raises
        ------
        Clash
            If another path has one of these patterns; then nothing is changed.
        NoRoom
            If there is no room; then nothing is changed either.
        """
        for pattern in patterns:
            kind = self._kinds.get((port, rank, pattern.mask), 0)
            if (holder := self._holding.get((kind, *pattern.value))) is not None:
                raise Clash(int(self.entries[holder]["path"]))
        self._entry_room.check(len(patterns))
        self._kind_room.check(
            len({pattern.mask for pattern in patterns if (port, rank, pattern.mask) not in self._kinds})
        )
        self._entries[path] = []
        for pattern in patterns:
            self._insert(self._kind((port, rank, pattern.mask)), path, pattern.value, born)

    def end(self, path: int, died: int) -> None:
        """Let the patterns of a path hold no more from an epoch on; other paths may have them from then on."""
        for number in self._entries[path]:
            record = self.entries[number]
            record["died"] = died
            del self._holding[int(record["kind"]), int(record["word_0"]), int(record["word_1"])]

    def revive(self, path: int) -> None:
        """Take `end` back: no replica has come to its epoch."""
        for number in self._entries[path]:
            record = self.entries[number]
            record["died"] = NEVER
            self._holding[int(record["kind"]), int(record["word_0"]), int(record["word_1"])] = number

    def bytes_of(self, path: int) -> int:
        """The bytes that the patterns of a path take."""
        return len(self._entries.get(path, ())) * ENTRY.itemsize

    def unlink(self, path: int) -> None:
        """Take the patterns of a path out of all lists; for when each replica is in an epoch after their end."""
        ports, kinds, heads, entries = self._links
        freed, empty = self._entries.pop(path), []
        for number in freed:
            kind = int(self.entries[number]["kind"])
            _take_out(heads, self._bucket(number), entries, number)
            self._members[kind] -= 1
            if self._members[kind] == 0:
                known = self._known.pop(kind)
                del self._kinds[known], self._members[kind]
                _take_out(ports, known[0], kinds, kind)
                self._mask(known[0])
                empty.append(kind)
        self._unlinked[path] = freed, empty

    def free(self, path: int) -> None:
        """Give back the memory of what `unlink` took out; for when each replica has finished the batch of that time."""
        entries, kinds = self._unlinked.pop(path)
        self._entry_room.give_back(entries)
        self._kind_room.give_back(kinds)

    def _kind(self, known: _Kind) -> int:
        """The number of a kind, which is made if it is new."""
        if known not in self._kinds:
            port, rank, mask = known
            ports, kinds, _, _ = self._links
            number = self._kind_room.take()
            links, index = ports, port
            while (following := links[index]) and self._known[following][1] >= rank:
                links, index = kinds, following
            self.kinds[number] = (following, *mask, 0)
            self._kinds[known], self._known[number], self._members[number] = number, known, 0
            self._mask(port)
            links[index] = number
        return self._kinds[known]

    def _mask(self, port: int) -> None:
        """Say which bits of a key the kinds of a port look at."""
        masks = [mask for at, _, mask in self._kinds if at == port]
        self.ports[port]["mask_0"], self.ports[port]["mask_1"] = np.bitwise_or.reduce([(0, 0), *masks])

    def _insert(self, kind: int, path: int, value: tuple[int, int], born: int) -> None:
        number = self._entry_room.take()
        _insert(self.heads, self.entries, number, *value, kind, path, born)
        self._entries[path].append(number)
        self._members[kind] += 1
        self._holding[kind, *value] = number

    def _bucket(self, entry: int) -> int:
        record = self.entries[entry]
        return bucket_of(int(record["kind"]), int(record["word_0"]), int(record["word_1"]), len(self.heads))


def _take_out(heads: _Links, head: int, links: _Links, number: int) -> None:
    """Take a record out of the list that begins at a head; its own link stays."""
    while heads[head] != number:
        heads, head = links, heads[head]
    heads[head] = links[number]
