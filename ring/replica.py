"""The receiving end of a channel, for Python: a request, a batch or an array of records at a time."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from scout.ring.atomics import copy
from scout.ring.batch import close_batch, open_batch
from scout.ring.errors import ScoutError
from scout.ring.jit import entry
from scout.ring.layout import payload, payload_length, slot_of
from scout.ring.membership import CHANNELS, MEMBER_RECORDS, leave, resign
from scout.ring.retirement import may_leave
from scout.ring.segment import address
from scout.ring.wait import wait

if TYPE_CHECKING:
    from scout.ring.channel import Channel

__all__ = ["Batch", "Replica"]


class Batch(NamedTuple):
    """Requests dequeued together, all with one role."""

    number: int  # of the first: how many requests were before it
    requests: list[bytes]
    primary: bool


class Replica:
    """One replica's end of a channel; continues where a predecessor with the same number stopped.

    Requests come in batches. A batch is released when the next one is opened, after all its requests were received. A
    replica that dies before that has released none of them: its successor receives them again, in the same role.
    """

    def __init__(self, channel: "Channel", number: int) -> None:
        self.channel, self.number = channel, number
        if not channel.record["keeps"][0]:  # a predecessor may have died before it raised its floor
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
        """How many requests it has released."""
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
        """The next requests, all with one role; None if there are none yet. Releases those before.

        Raises
        ------
        ScoutError
            If the producer has overtaken this replica.
        """
        self.release()
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

    def release(self) -> None:
        """Release the batch at hand: all that was received of it is done."""
        if self._open:
            _close(self.channel.record, self._member, self.number)
            self._open = False

    def __iter__(self) -> Iterator[tuple[bytes, bool]]:
        """All requests until the channel is closed, or this replica is gone."""
        while not self.gone:
            closed = self.channel.closed  # first: everything that was sent before is received
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
        """Stop taking part. Go on receiving until `gone`: this replica still has to finish some requests."""
        resign(self.channel.record, self.channel.members, self.number)
        self._leaving = True


@entry(numba.int64(CHANNELS, MEMBER_RECORDS, numba.int64, numba.int64, numba.int64[::1]))
def _open(channels: np.ndarray, members: np.ndarray, replica: int, target: int, lengths: np.ndarray) -> int:
    """Open a batch and copy its payloads to address `target`, one after the other; as `open_batch`."""
    channel, member = channels[0], members[0]
    count = open_batch(channel, member, replica)
    for index in range(count):
        slot = slot_of(channel, member.head + index)
        lengths[index] = payload_length(slot)
        copy(target, payload(slot), lengths[index])
        target += lengths[index]
    return count


@entry(numba.void(CHANNELS, MEMBER_RECORDS, numba.int64))
def _close(channels: np.ndarray, members: np.ndarray, replica: int) -> None:
    close_batch(channels[0], members[0], replica)


@entry(numba.boolean(CHANNELS, MEMBER_RECORDS, numba.int64))
def _leave(channels: np.ndarray, members: np.ndarray, replica: int) -> bool:
    if not may_leave(channels[0], members[0], replica):
        return False
    leave(channels[0], replica)
    return True


@entry(numba.void(CHANNELS, numba.int64, numba.int64))
def _wait(channels: np.ndarray, strategy: int, tail: int) -> None:
    wait(channels[0], strategy, tail, 1 << 30)
