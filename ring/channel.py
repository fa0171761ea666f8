"""The replicated channel: a ring in shared memory, from which every replica dequeues every request.

The first replica to dequeue a request is its primary, by one of three policies (`scout.ring.election`); replicas join
and leave while requests flow (`scout.ring.membership`); a full channel blocks its producer, refuses requests, or lets
the producer overtake a replica that lags. This module is the channel for Python, a request or a batch at a time
(`scout.ring.replica` is its receiving end). Compiled loops use the functions of the modules beside it, on
`Channel.record` and `Channel.members`.
"""

import time
from typing import Any

import numba
import numpy as np

from scout.ring.atomics import copy, fetch_add
from scout.ring.claims import LONGEST_BATCH
from scout.ring.errors import ScoutError
from scout.ring.floors import LAPPED
from scout.ring.jit import entry
from scout.ring.layout import (
    CHANNEL,
    CLAIM,
    CLOSED,
    GATING,
    HEADER,
    LOCK,
    MARK,
    MEMBER,
    MEMBERS,
    MODULO,
    PATIENCE,
    REFCOUNT,
    REFUSED,
    TAIL,
    WORDS,
    payload,
    published,
    set_length,
    slot_of,
    word,
)
from scout.ring.membership import CHANNELS, MOST_REPLICAS, join
from scout.ring.producer import acquire_soon, publish, release, reserve
from scout.ring.replica import Replica
from scout.ring.retirement import retire, unfinished
from scout.ring.segment import LINE, address, shared
from scout.ring.wait import BLOCK, STRATEGIES

__all__ = [
    "POLICIES",
    "Channel",
]

POLICIES = {"claim": CLAIM, "refcount": REFCOUNT, "modulo": MODULO}
FULL = ("block", "drop", "lap")

_NAP = 50e-6  # seconds between looks at a channel that is full


class Channel:
    """A replicated channel between this process and those forked from it.

    Parameters
    ----------
    entries : int
        Requests it holds; a power of two.
    entry_bytes : int
        The longest payload.
    replicas : int
        How many take part from the start, 1 to 31; others can join.
    policy : {"claim", "refcount", "modulo"}
        How primaries are elected: see `scout.ring.election`.
    batch : int
        The most requests that are dequeued together; a power of two.
    full : {"block", "drop", "lap"}
        How a producer treats a full channel: wait; refuse the request and count it; or overtake replicas
        that are between two batches, except the foremost. An overtaken replica has to join again, with the state of
        another's snapshot. Not with "modulo".
    producers : int
        How many processes send. They take turns, so all replicas see the same order.
    wait : {"spin", "yield", "block"}
        How replicas wait for requests: see `scout.ring.wait`.
    interval : int, optional
        No batch crosses a multiple of this power of two; a quarter of the entries by default.
    keeps : bool
        True if requests are kept back to each replica's newest snapshot.

    Raises
    ------
    ScoutError
        If an argument is out of its range.

    Attributes
    ----------
    record, members : numpy.ndarray
        For compiled loops: one `CHANNEL`, and a `MEMBER` for each of 31 replicas.

    Examples
    --------
    >>> channel = Channel(entries=8, entry_bytes=40, replicas=2)
    >>> channel.send(b"hello")
    True
    >>> channel.replica(1).receive(), channel.replica(0).receive()
    ((b'hello', True), (b'hello', False))
    """

    def __init__(
        self,
        entries: int,
        entry_bytes: int,
        replicas: int,
        policy: str = "claim",
        batch: int = 32,
        full: str = "block",
        producers: int = 1,
        wait: str = "yield",
        interval: int | None = None,
        keeps: bool = False,
    ) -> None:
        interval = max(1, entries // 4) if interval is None else interval
        batch = min(batch, interval)
        _check_power("entries", entries, 1 << 40)
        _check_power("interval", interval, entries)
        _check_power("batch", batch, LONGEST_BATCH)
        _check_choice("policy", policy, POLICIES)
        _check_choice("full", full, FULL)
        _check_choice("wait", wait, STRATEGIES)
        if not 0 <= replicas <= MOST_REPLICAS:
            raise ScoutError(f"channel for {replicas} replicas: give 0 to {MOST_REPLICAS}")
        if full == "lap" and policy == "modulo":
            raise ScoutError(
                "channel that laps with policy modulo: nobody would do the share of a replica that is lapped; use claim"
            )
        self.entry_bytes, self.producers, self.full = entry_bytes, producers, full
        self.strategy = STRATEGIES[wait]
        stride = -(-(HEADER + entry_bytes) // LINE) * LINE
        self._ring = shared(entries * stride, np.uint8)
        self._words = shared((WORDS, LINE // 8), np.int64)
        self._words[PATIENCE] = (0, 10_000_000, *[0] * (LINE // 8 - 2))
        self.members = shared(MOST_REPLICAS, MEMBER)
        self.record = shared(1, CHANNEL)
        values = {
            "ring": address(self._ring),
            "entries": entries,
            "stride": stride,
            "words": address(self._words),
            "members": address(self.members),
            "marks": address(self._ring) + MARK,
            "mark_count": entries,
            "mark_stride": stride,
            "lap_bits": entries.bit_length() - 1,
            "policy": POLICIES[policy],
            "batch": batch,
            "group": 1 if policy == "claim" else batch,
            "interval": interval,
            "keeps": keeps,
            "laps": full == "lap",
            "wakes": self.strategy == BLOCK,
            "bell": 0,
        }
        for name, value in values.items():
            self.record[name] = value
        self._words[MEMBERS, 0] = self._words[GATING, 0] = (1 << replicas) - 1

    @property
    def sent(self) -> int:
        """Requests published so far."""
        return int(self._words[TAIL, 0])

    @property
    def refused(self) -> int:
        """Requests that found the channel full."""
        return int(self._words[REFUSED, 0])

    @property
    def closed(self) -> bool:
        """True if nothing more will be sent."""
        return bool(self._words[CLOSED, 0])

    def close(self) -> None:
        """Say that nothing more will be sent: replicas end when they have dequeued everything."""
        self._words[CLOSED, 0] = 1

    @property
    def taking_part(self) -> list[int]:
        """The replicas that take part, also dead ones until they are retired."""
        mask = int(self._words[GATING, 0])
        return [replica for replica in range(MOST_REPLICAS) if mask >> replica & 1]

    def is_member(self, replica: int) -> bool:
        """True if a replica takes part, or is dead and not retired."""
        return bool(int(self._words[GATING, 0]) >> replica & 1)

    def heads(self) -> dict[int, int]:
        """Requests that each replica has released. Its lag is `sent` less that."""
        return {replica: int(self.members["head"][replica]) for replica in self.taking_part}

    # Sending.

    def send(self, request: bytes, timeout: float = 1.0, producer: int = 0) -> bool:
        """Broadcast a request; False if it was refused: there was no room for `timeout` seconds, or now (drop).

        It is also refused if another producer keeps its turn for so long: it may be dead (`free_lock`).

        Raises
        ------
        ScoutError
            If the request is longer than an entry, or there is no such producer.
        """
        if len(request) > self.entry_bytes:
            raise ScoutError(f"payload of {len(request)} bytes: the channel was made for {self.entry_bytes}")
        data = np.frombuffer(request, np.uint8) if request else np.zeros(1, np.uint8)
        return self._send(data, len(request), 1, timeout, producer) == 1

    def send_records(self, records: np.ndarray, timeout: float = 1.0, producer: int = 0) -> int:
        """Broadcast each record of an array as a request; how many, until there was no room for `timeout` seconds.

        Raises
        ------
        ScoutError
            If a record is longer than an entry, or there is no such producer.
        """
        if records.dtype.itemsize > self.entry_bytes:
            raise ScoutError(f"records of {records.dtype.itemsize} bytes: the channel was made for {self.entry_bytes}")
        return self._send(np.ascontiguousarray(records), records.dtype.itemsize, len(records), timeout, producer)

    def _send(self, data: np.ndarray, size: int, count: int, timeout: float, producer: int) -> int:
        if not 0 <= producer < self.producers:
            raise ScoutError(f"producer {producer}: the channel has {self.producers}, counted from 0")
        turn = producer if self.producers > 1 else -1
        sent = 0
        deadline = time.monotonic() + timeout
        while True:
            taken = int(_send(self.record, address(data) + sent * size, size, count - sent, turn))
            sent += taken
            if sent == count:
                return sent
            if taken:
                deadline = time.monotonic() + timeout
            if self.full == "drop" or time.monotonic() > deadline:
                _refuse(self.record, count - sent)
                return sent
            time.sleep(_NAP)

    def retire(self, number: int, ordered: bool = False) -> int:
        """Take out a replica that does not run and gets no successor; how many requests it was primary of are lost.

        If requests leave in channel order, call it again until `taking_part` lacks the number: its turn has to come.
        """
        return int(retire(self.record, self.members, number, ordered))

    def unfinished(self, number: int) -> int:
        """How many requests a replica that does not run is primary of and has not released."""
        return int(unfinished(self.record, self.members, number))

    def free_lock(self, producer: int) -> bool:
        """Take the turn from a `producer` that died with it; False if it had none.

        Only for a process that has ended.
        """
        held = self.holds_lock(producer)
        if held:
            self._words[LOCK, 0] = 0
        return held

    def holds_lock(self, producer: int) -> bool:
        """True if it is a producer's turn: it is sending, or died when it was."""
        return int(self._words[LOCK, 0]) == producer + 1

    # Members.

    def replica(self, number: int) -> "Replica":
        """The receiving end of replica `number`, which takes part; for one process only."""
        if number not in self.taking_part:
            raise ScoutError(f"replica {number} does not take part; those that do: {self.taking_part}; or join()")
        return Replica(self, number)

    def join(self, number: int | None = None, place: int | None = None) -> "Replica":
        """Have one more replica take part, while requests flow.

        Parameters
        ----------
        number : int, optional
            Its number; the first free one by default.
        place : int, optional
            How many requests are before its first: another's head, or the place of a snapshot. By default it begins
            with the request that the foremost replica dequeues next.

        Raises
        ------
        ScoutError
            If the number is taken, or the requests from `place` on are no longer in the channel.
        """
        taken = self.taking_part
        number = next(n for n in range(MOST_REPLICAS + 1) if n not in taken) if number is None else number
        if number in taken and self.members["state"][number] == LAPPED:
            taken.remove(number)  # the producer has overtaken this replica, and its owner joins again
        if number in taken or not 0 <= number < MOST_REPLICAS:
            raise ScoutError(f"replica {number}: give a number from 0 to {MOST_REPLICAS - 1} that is not in {taken}")
        while not join(self.record, self.members, number, self.foremost() if place is None else place, 0):
            if place is not None:
                raise ScoutError(f"joining at request {place}: it is no longer in the channel; use a newer snapshot")
        return Replica(self, number)

    def foremost(self) -> int:
        """How many requests the foremost replica has released.

        Up to `until` it, or a predecessor, has released them.
        """
        return int(np.maximum(self.members["head"], self.members["until"]).max())


@entry(numba.int64(CHANNELS, numba.int64, numba.int64, numba.int64, numba.int64))
def _send(channels: np.ndarray, source: int, size: int, count: int, producer: int) -> int:
    """Send up to `count` requests of `size` bytes each, by turns unless `producer` < 0.

    How many there was room for; 0 if another producer keeps its turn.
    """
    channel = channels[0]
    # The caller may be the thread that frees the locks of dead producers once it sees their deaths: no long wait.
    if producer >= 0 and not acquire_soon(channel, producer):
        return 0
    sent = 0
    while sent < count:
        room = reserve(channel, min(count - sent, channel.batch))
        if room == 0:
            break
        tail = published(channel)
        for index in range(room):
            slot = slot_of(channel, tail + index)
            copy(payload(slot), source + (sent + index) * size, size)
            set_length(slot, size)
        publish(channel, room)
        sent += room
    if producer >= 0:
        release(channel)
    return sent


@entry(numba.void(CHANNELS, numba.int64))
def _refuse(channels: np.ndarray, count: int) -> None:
    """Count requests that found no room. Atomic: producers may count at the same time."""
    fetch_add(word(channels[0], REFUSED), count)


def _check_power(what: str, value: int, most: int) -> None:
    if not 1 <= value <= most or value & (value - 1):
        raise ScoutError(f"channel with {what}={value}: give a power of two from 1 to {most}")


def _check_choice(what: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise ScoutError(f"channel with {what}={value!r}: use one of {', '.join(choices)}")
