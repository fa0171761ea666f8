"""The replicated channel: a ring in shared memory, from which every replica dequeues every request.

The first replica to dequeue a request is its primary, by one of three policies (`election`); replicas join and leave
while requests flow (`membership`); a full channel blocks its producer, refuses, or lets it overtake a replica that
lags. This module is the channel for Python, a request or a batch at a time; compiled loops use the functions of the
modules beside it, on `Channel.record` and `Channel.members`.
"""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numba
import numpy as np

from scout.ring.atomics import copy, fetch_and
from scout.ring.election import LAPPED, LONGEST_BATCH, close_batch, close_round, open_batch, unfinished
from scout.ring.errors import ScoutError
from scout.ring.jit import entry
from scout.ring.layout import (
    CHANNEL,
    CLAIM,
    CLOSED,
    GATING,
    HEADER,
    LOCK,
    MEMBER,
    MEMBERS,
    MODULO,
    PATIENCE,
    REFCOUNT,
    REFUSED,
    TAIL,
    WORDS,
    payload,
    payload_length,
    published,
    set_length,
    slot_of,
    word,
)
from scout.ring.membership import MOST_REPLICAS, join, leave, resign
from scout.ring.producer import acquire, give_back, publish, reserve
from scout.ring.segment import LINE, address, shared
from scout.ring.turn import has_left, is_turn, pass_turn
from scout.ring.wait import BLOCK, STRATEGIES, wait

__all__ = ["POLICIES", "Batch", "Channel", "Replica"]

POLICIES = {"claim": CLAIM, "refcount": REFCOUNT, "modulo": MODULO}
FULL = ("block", "drop", "lap")

_CHANNELS = numba.types.Array(numba.from_dtype(CHANNEL), 1, "C")
_MEMBERS = numba.types.Array(numba.from_dtype(MEMBER), 1, "C")
_NAP = 50e-6  # seconds between looks at a channel that is full


class Batch(NamedTuple):
    """Requests dequeued together, all with one role."""

    number: int  # of the first: how many requests were before it
    requests: list[bytes]
    primary: bool


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
        Requests that are dequeued together at most; a power of two.
    full : {"block", "drop", "lap"}
        What a producer does that finds the channel full: wait; refuse and count; or overtake replicas that are not at
        work, but for the foremost, so that they have to go on from a snapshot of another (not with "modulo").
    producers : int
        How many processes send. More than one take turns: all replicas see the same order.
    wait : {"spin", "yield", "block"}
        How replicas wait for requests: see `scout.ring.wait`.
    interval : int, optional
        No batch crosses a multiple of this power of two; a quarter of the entries by default.
    keeps : bool
        True if requests are kept back to each replica's newest snapshot.

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
                "channel that laps with policy modulo: nobody would do the share of who is lapped; use claim"
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
            "policy": POLICIES[policy],
            "batch": batch,
            "group": 1 if policy == "claim" else batch,
            "interval": interval,
            "keeps": keeps,
            "laps": full == "lap",
            "wakes": self.strategy == BLOCK,
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
        """Requests that found the channel full and were left out."""
        return int(self._words[REFUSED, 0])

    @property
    def closed(self) -> bool:
        """True if nothing more will be sent."""
        return bool(self._words[CLOSED, 0])

    def close(self) -> None:
        """Say that nothing more will be sent: replicas end when they have dequeued all."""
        self._words[CLOSED, 0] = 1

    @property
    def taking_part(self) -> list[int]:
        """The replicas that the producer minds."""
        mask = int(self._words[GATING, 0])
        return [replica for replica in range(MOST_REPLICAS) if mask >> replica & 1]

    def heads(self) -> dict[int, int]:
        """Requests that each replica has let go of. Its lag is `sent` less that."""
        return {replica: int(self.members["head"][replica]) for replica in self.taking_part}

    # Sending.

    def send(self, request: bytes, timeout: float = 1.0, producer: int = 0) -> bool:
        """Broadcast a request; False if it was left out, as there was no room: for `timeout` seconds, or now (drop)."""
        if len(request) > self.entry_bytes:
            raise ScoutError(f"payload of {len(request)} bytes: the channel was made for {self.entry_bytes}")
        data = np.frombuffer(request, np.uint8) if request else np.zeros(1, np.uint8)
        return self._send(data, len(request), 1, timeout, producer) == 1

    def send_records(self, records: np.ndarray, timeout: float = 1.0, producer: int = 0) -> int:
        """Broadcast each record of an array as a request; how many, until there was no room for `timeout` seconds."""
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
            went = int(_send(self.record, address(data) + sent * size, size, count - sent, turn))
            sent += went
            if sent == count:
                return sent
            if went:
                deadline = time.monotonic() + timeout
            if self.full == "drop" or time.monotonic() > deadline:
                self._words[REFUSED, 0] += count - sent
                return sent
            time.sleep(_NAP)

    def retire(self, number: int, ordered: bool = False) -> int:
        """Take out a replica that runs no more and gets no successor; how many requests it was primary of are lost.

        If requests leave in channel order, call it again until `taking_part` lacks the number: its turn has to come.
        """
        return int(_retire(self.record, self.members, number, ordered))

    def unfinished(self, number: int) -> int:
        """How many requests a replica that does not run is primary of and has not let go of."""
        return int(_unfinished(self.record, self.members, number))

    def free_lock(self, producer: int) -> bool:
        """Take the turn from a `producer` that died with it; False if it had not. Only once it surely runs no more."""
        if int(self._words[LOCK, 0]) != producer + 1:
            return False
        self._words[LOCK, 0] = 0
        return True

    # Taking part.

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
            How many requests are before its first: another's head, or the place of a snapshot. By default what the
            foremost replica dequeues next.

        Raises
        ------
        ScoutError
            If the number is taken, or the requests from `place` on are no longer in the channel.
        """
        taken = self.taking_part
        number = next(n for n in range(MOST_REPLICAS + 1) if n not in taken) if number is None else number
        if number in taken and self.members["state"][number] == LAPPED:
            taken.remove(number)  # its owner, whom the producer has overtaken, joins anew
        if number in taken or not 0 <= number < MOST_REPLICAS:
            raise ScoutError(f"replica {number}: give a number from 0 to {MOST_REPLICAS - 1} that is not in {taken}")
        while not join(self.record, self.members, number, self.foremost() if place is None else place):
            if place is not None:
                raise ScoutError(f"joining at request {place}: it is no longer in the channel; use a newer snapshot")
        return Replica(self, number)

    def foremost(self) -> int:
        """How many requests the foremost replica has let go of. One that replays may stand within a batch: not that."""
        return int(np.maximum(self.members["head"], self.members["until"]).max())


class Replica:
    """One domain's end of a channel; goes on where its predecessor in the same place stopped.

    Requests come in batches; the next batch is opened, and this one let go of, when all have been received. A replica
    that dies in between has let go of none: its successor receives them again, in the same role.
    """

    def __init__(self, channel: Channel, number: int) -> None:
        self.channel, self.number = channel, number
        if not channel.record["keeps"][0]:  # a predecessor may have died before it had said so
            channel.members["floor"][number] = channel.members["head"][number]
        self._member = channel.members[number : number + 1]
        self._buffer = np.zeros(int(channel.record["batch"][0]) * max(1, channel.entry_bytes), np.uint8)
        self._lengths = np.zeros(int(channel.record["batch"][0]), np.int64)
        self._pending: list[bytes] = []
        self._open = self._leaving = False
        self.gone = False
        """True if it takes part no more, after `leave`."""

    @property
    def head(self) -> int:
        """How many requests it has let go of."""
        return int(self._member["head"][0])

    def receive(self) -> tuple[bytes, bool] | None:
        """The next request and whether this replica is its primary; None if there is none yet."""
        if not self._pending:
            batch = self.batch()
            if batch is None:
                return None
            self._pending = batch.requests[::-1]
        return self._pending.pop(), bool(self._member["primary"][0])

    def batch(self) -> Batch | None:
        """The next requests that this replica has one role for; None if there are none yet. Lets go of those before.

        Raises
        ------
        ScoutError
            If the producer has overtaken this replica.
        """
        self.let_go()
        if self._leaving and bool(_leave(self.channel.record, self._member, self.number)):
            self.gone = True
        if self.gone:
            return None
        count = int(_open(self.channel.record, self._member, self.number, address(self._buffer), self._lengths))
        if count < 0:
            raise ScoutError(f"replica {self.number} was overtaken: it lagged by the whole channel; join() anew")
        if count == 0:
            _wait(self.channel.record, self.channel.strategy, self.head)
            return None
        self._open = True
        requests, at = [], 0
        for size in self._lengths[:count].tolist():
            requests.append(self._buffer[at : at + size].tobytes())
            at += size
        return Batch(self.head, requests, bool(self._member["primary"][0]))

    def let_go(self) -> None:
        """Let go of the batch at hand: what was received of it is dealt with."""
        if self._open:
            _close(self.channel.record, self._member, self.number)
            self._open = False

    def __iter__(self) -> Iterator[tuple[bytes, bool]]:
        """All requests until the channel is closed, or this replica is gone."""
        while not self.gone:
            closed = self.channel.closed  # first: what was sent before is received
            request = self.receive()
            if request is not None:
                yield request
            elif closed:
                return

    def records(self, dtype: Any) -> Iterator[tuple[np.ndarray, bool]]:
        """The same, a batch at a time, as an array of records (a copy)."""
        while not self.gone:
            closed = self.channel.closed
            batch = self.batch()
            if batch is not None:
                yield np.frombuffer(b"".join(batch.requests), dtype), batch.primary
            elif closed:
                return

    def leave(self) -> None:
        """Stop taking part. Go on receiving until `gone`: some requests are still this replica's to deal with."""
        resign(self.channel.record, self.channel.members, self.number)
        self._leaving = True


@entry(numba.int64(_CHANNELS, numba.int64, numba.int64, numba.int64, numba.int64))
def _send(channels: np.ndarray, source: int, size: int, count: int, producer: int) -> int:
    """Send up to `count` requests of `size` bytes each; how many there was room for. By turns unless `producer` < 0."""
    channel = channels[0]
    if producer >= 0:
        acquire(channel, producer)
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
        give_back(channel)
    return sent


@entry(numba.int64(_CHANNELS, _MEMBERS, numba.int64, numba.int64, numba.int64[::1]))
def _open(channels: np.ndarray, members: np.ndarray, replica: int, target: int, lengths: np.ndarray) -> int:
    """Open a batch and copy its payloads to `target`, one behind the other; how many, as `open_batch`."""
    channel, member = channels[0], members[0]
    count = open_batch(channel, member, replica)
    for index in range(count):
        slot = slot_of(channel, member.head + index)
        lengths[index] = payload_length(slot)
        copy(target, payload(slot), lengths[index])
        target += lengths[index]
    return count


@entry(numba.void(_CHANNELS, _MEMBERS, numba.int64))
def _close(channels: np.ndarray, members: np.ndarray, replica: int) -> None:
    close_batch(channels[0], members[0], replica)


@entry(numba.boolean(_CHANNELS, _MEMBERS, numba.int64))
def _leave(channels: np.ndarray, members: np.ndarray, replica: int) -> bool:
    if not close_round(channels[0], members[0], replica):
        return False
    leave(channels[0], replica)
    return True


@entry(numba.int64(_CHANNELS, _MEMBERS, numba.int64))
def _unfinished(channels: np.ndarray, members: np.ndarray, replica: int) -> int:
    return unfinished(channels[0], members[replica], replica)


@entry(numba.int64(_CHANNELS, _MEMBERS, numba.int64, numba.boolean))
def _retire(channels: np.ndarray, members: np.ndarray, replica: int, ordered: bool) -> int:
    channel, member = channels[0], members[replica]
    fetch_and(word(channel, MEMBERS), ~(1 << replica))
    lost = unfinished(channel, member, replica)
    if lost and ordered and not has_left(channel, member.head):
        if not is_turn(channel, member.head):
            return 0
        pass_turn(channel, member.head + lost)
    leave(channel, replica)
    return lost


@entry(numba.void(_CHANNELS, numba.int64, numba.int64))
def _wait(channels: np.ndarray, strategy: int, tail: int) -> None:
    wait(channels[0], strategy, tail, 1 << 30)


def _check_power(what: str, value: int, most: int) -> None:
    if not 1 <= value <= most or value & (value - 1):
        raise ScoutError(f"channel with {what}={value}: give a power of two from 1 to {most}")


def _check_choice(what: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise ScoutError(f"channel with {what}={value!r}: use one of {', '.join(choices)}")
