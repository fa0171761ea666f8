"""Packets that wait until a time: the order in which they go on, when, and what there is no room for."""

import ctypes

import numba
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import types

from scout.io.batch import LONGEST, new_batch
from scout.io.delay import MOST_DELAY, delay, first_of_others, forget_delayed, free_delayed, new_delays, take_due
from scout.io.hold import HOLD
from scout.io.packet import NOT_HELD, PACKET, SECOND
from scout.io.rest import NEVER
from scout.ring.jit import entry
from scout.ring.membership import MOST_REPLICAS

HOLDS = types.Array(numba.from_dtype(HOLD), 1, "C")
PACKETS = types.Array(numba.from_dtype(PACKET), 1, "C")


@entry(types.void(HOLDS))
def forget(holds):
    forget_delayed(holds[0], holds.ctypes.data)


@entry(types.void(HOLDS, PACKETS))
def put(holds, batch):
    delay(holds[0], batch[0], batch.ctypes.data, holds.ctypes.data)


@entry(types.int64(HOLDS, PACKETS, types.int64))
def take(holds, batch, now):
    first, received = first_of_others(holds[0], holds.ctypes.data)
    return take_due(holds[0], batch, now, first, received)


@entry(types.void(HOLDS, types.int64))
def free(holds, count):
    free_delayed(holds[0], count, holds.ctypes.data)


class Delays:
    """Room for a few packets of one replica; a packet is its number."""

    def __init__(self, most=4, records=None, replica=0):
        self._records = np.zeros(MOST_REPLICAS, HOLD) if records is None else records
        self.record = self._records[replica : replica + 1]
        self._memory = new_delays(self._records, replica, most)
        self._batch, self._slots = new_batch(1)
        self.taken = np.zeros(256, PACKET)
        forget(self.record)

    def put(self, number, due, timestamp=0, size=8):
        packet = self._batch[0]
        ctypes.memmove(int(packet["slot"]), number.to_bytes(8, "little"), 8)
        packet["frame"] = packet["origin"] = packet["slot"]
        packet["end"], packet["tail_bytes"] = packet["slot"] + 8, size - 8
        packet["tail"] = packet["slot"]
        packet["timestamp"], packet["due"] = timestamp, due
        put(self.record, self._batch)

    def begin(self, now):
        """Take packets for which it is time; their numbers."""
        count = take(self.record, self.taken, now)
        return [int.from_bytes(ctypes.string_at(int(each["frame"]), 8), "little") for each in self.taken[:count]]

    def take(self, now):
        numbers = self.begin(now)
        free(self.record, len(numbers))
        return numbers

    def __getattr__(self, name):
        return int(self.record[name][0])


def test_packets_go_on_at_their_times_and_those_of_one_time_in_the_order_in_which_they_came():
    delays = Delays(8)
    for number, due in enumerate((30, 10, 20, 10, 30, 10)):
        delays.put(number, due)
    assert (delays.delayed, delays.due) == (6, 10)
    assert delays.take(9) == []
    assert delays.take(19) == [1, 3, 5]
    assert delays.due == 20
    assert delays.take(1000) == [2, 0, 4]
    assert (delays.delayed, delays.pending, delays.due) == (0, 0, NEVER)


def test_packets_of_one_time_in_two_replicas_go_on_in_the_order_in_which_they_came():
    records = np.zeros(MOST_REPLICAS, HOLD)
    one, other = (Delays(records=records, replica=replica) for replica in range(2))
    for delays, number, timestamp in ((one, 0, 5), (other, 1, 6), (one, 2, 7), (other, 3, 8), (one, 4, 8)):
        delays.put(number, 30, timestamp)
    assert other.take(100) == []
    assert one.take(100) == [0]
    assert one.take(100) == []
    assert other.take(100) == [1]
    assert one.take(100) == [2, 4]  # of packets that came at one time those of the first replica
    assert other.take(100) == [3]


def test_a_packet_waits_for_one_of_another_replica_that_is_due_long_before_it_came():
    records = np.zeros(MOST_REPLICAS, HOLD)
    one, other = (Delays(records=records, replica=replica) for replica in range(2))
    one.put(0, 20)
    other.put(1, 10 * SECOND + 5, timestamp=10 * SECOND)
    assert other.take(11 * SECOND) == []
    assert one.take(11 * SECOND) == [0]
    assert other.take(11 * SECOND) == [1]


def test_a_packet_that_goes_on_has_its_time_and_was_never_held():
    delays = Delays()
    delays.put(7, 50, timestamp=20)
    assert delays.take(60) == [7]
    assert (delays.taken["timestamp"][0], delays.taken["held_since"][0]) == (50, NOT_HELD)


def test_what_there_is_no_room_for_is_counted():
    delays = Delays(2)
    for number in range(3):
        delays.put(number, 10)
    assert delays.full == 1
    assert delays.begin(10) == [0, 1]
    delays.put(3, 10)  # the packets are on their way, and are still there
    assert delays.full == 2
    free(delays.record, 2)
    delays.put(4, 10)
    assert (delays.full, delays.take(10)) == (2, [4])
    delays.put(5, 10, size=LONGEST + 1)
    assert (delays.full, delays.delayed) == (3, 0)


def test_a_packet_does_not_wait_for_ever():
    delays = Delays()
    delays.put(1, NEVER, timestamp=5)
    assert delays.due == 5 + MOST_DELAY
    assert delays.take(10) == []
    assert delays.take(-(1 << 40)) == [1]  # the clock was set back


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=60))
def test_any_mix_of_times_is_served_as_a_sorted_list_has_it(steps):
    delays, expected, now = Delays(16), [], 0
    for number, (wait, passed) in enumerate(steps):
        delays.put(number, now + wait, timestamp=now)
        if len(expected) < 16:
            expected.append((now + wait, number))
        now += passed
        due = sorted(each for each in expected if each[0] <= now)
        expected = [each for each in expected if each not in due]
        assert delays.take(now) == [number for _, number in due]
        assert delays.delayed == len(expected)
