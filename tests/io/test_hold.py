"""Held packets: which are kept, in what order they come back, and when."""

import ctypes

import numba
import numpy as np
import pytest
from numba.core import types

from scout.io.batch import new_batch
from scout.io.hold import HOLD, HOLD_TIME, RETRY, has_expired, is_due, keep, new_hold, open_bank, see_clock, see_request
from scout.io.hold import take_back as take
from scout.io.packet import CONTROL_CHANGE, HELD, NOT_HELD, PACKET, RECORD
from scout.ring.jit import entry
from scout.ring.segment import address

HOLDS = types.Array(numba.from_dtype(HOLD), 1, "C")
PACKETS = types.Array(numba.from_dtype(PACKET), 1, "C")


@entry(types.void(HOLDS, PACKETS))
def keep_one(holds, batch):
    keep(holds[0], batch[0], batch.ctypes.data)


@entry(types.int64(HOLDS, PACKETS, types.boolean))
def take_back(holds, batch, opens):
    if opens:
        open_bank(holds[0], 0)
    return take(holds[0], batch)


@entry(types.void(HOLDS, PACKETS, types.int64))
def request(holds, batch, clock):
    see_request(holds[0], batch[0], clock)


@entry(types.boolean(HOLDS, types.int64, types.int64))
def due(holds, clock, changes):
    see_clock(holds[0], clock)
    return is_due(holds[0], changes)


@entry(types.boolean(PACKETS, types.int64))
def expired(batch, now):
    return has_expired(batch[0], now)


class Hold:
    """A hold of a few packets; a packet is its number and what it waits for."""

    def __init__(self, most=4, most_for_one=3):
        self.record = np.zeros(1, HOLD)
        self._memory = new_hold(self.record, most, most_for_one)
        self._batch, self._slots = new_batch(1)
        self._back = np.zeros(256, PACKET)

    def keep(self, number, awaited, timestamp=0):
        packet = self._batch[0]
        ctypes.memmove(int(packet["slot"]), number.to_bytes(8, "little"), 8)
        packet["origin"] = packet["frame"] = packet["slot"]
        packet["end"] = packet["slot"] + 8
        packet["egress"], packet["awaited"], packet["timestamp"] = HELD, awaited, timestamp
        packet["held_since"] = NOT_HELD
        keep_one(self.record, self._batch)

    def take_back(self):
        """The numbers of all packets held, in the order in which they come."""
        found, opens = [], True
        while count := take_back(self.record, self._back, opens):
            opens = False
            found += [ctypes.string_at(int(each["frame"]), 8) for each in self._back[:count]]
        return [int.from_bytes(data, "little") for data in found]


def test_packets_come_back_in_their_order_and_may_be_kept_again_meanwhile():
    hold = Hold(most=1024, most_for_one=1024)
    for number in range(1000):  # more than a batch
        hold.keep(number, 7)
    assert hold.take_back() == list(range(1000))
    for number in range(3):
        hold.keep(number, 7)
    assert hold.take_back() == [0, 1, 2] and hold.take_back() == []


def test_packets_that_are_tried_again_count_as_held():
    hold = Hold()
    for number in range(3):
        hold.keep(number, 7)
    assert take_back(hold.record, hold._back, True) == 3 and hold.record["held"][0] == 3
    hold.keep(1, 7)
    assert hold.record["held"][0] == 3
    assert take_back(hold.record, hold._back, False) == 0 and hold.record["held"][0] == 1


def test_too_many_for_one_neighbour_push_out_their_oldest():
    hold = Hold(most=10, most_for_one=3)
    for number in range(5):
        hold.keep(number, 7)
    assert hold.take_back() == [2, 3, 4]
    assert hold.record["full"][0] == 2


def test_a_full_hold_keeps_the_latest_packet_of_each():
    hold = Hold(most=4)
    for number, awaited in enumerate([1, 1, 2, 3, 4, 5]):
        hold.keep(number, awaited)
    # 0 gave way to 4, as 1 waits for the same; no room was left for 5, the first of its neighbour.
    assert hold.take_back() == [1, 2, 3, 4]
    assert hold.record["full"][0] == 2
    for number, awaited in enumerate([1, 2, 3, 4, 2]):
        hold.keep(number, awaited)
    assert hold.take_back() == [0, 2, 3, 4]  # the latest for 2 replaced the one before


def test_a_packet_that_was_not_held_before_waits_from_its_own_time_on():
    hold = Hold()
    hold.keep(1, 1, timestamp=0)
    take_back(hold.record, hold._back, True)
    assert hold._back["held_since"][0] == 0


@pytest.mark.parametrize("since", [0, 1_700_000_000 * 10**9])
def test_packets_expire_by_their_own_time_and_a_step_back_costs_one_interval(since):
    batch = np.zeros(1, PACKET)
    batch["held_since"] = since + 10 * HOLD_TIME
    late = since + 11 * HOLD_TIME
    assert not expired(batch, late) and expired(batch, late + 1)
    assert not expired(batch, since)  # an hour back, say
    assert batch["held_since"][0] == since
    assert expired(batch, since + HOLD_TIME + 1)


def test_time_is_that_of_the_requests_and_runs_on_with_the_clock():
    hold, batch = Hold().record, np.zeros(1, PACKET)
    clock = np.zeros(1, np.int64)
    batch["timestamp"] = 1000
    request(hold, batch, address(clock))
    clock[0] = RETRY
    due(hold, address(clock), 0)
    assert hold["now"][0] == 1000 + RETRY
    batch["timestamp"] = 500
    request(hold, batch, address(clock))
    assert hold["now"][0] == 500
    clock[0] += 3
    due(hold, address(clock), 0)
    assert hold["now"][0] == 503


def test_a_control_request_sets_time_forward_and_never_back():
    """A change of paths, sent before the first packets of a recording, may be seen after them: in another channel."""
    hold, batch = Hold().record, np.zeros(1, PACKET)
    clock = np.zeros(1, np.int64)
    for control, timestamp, now in ((0, 1000, 1000), (CONTROL_CHANGE, 5, 1000), (CONTROL_CHANGE, 1001, 1001)):
        batch["control"], batch["timestamp"] = control, timestamp
        request(hold, batch, address(clock))
        assert hold["now"][0] == now


def test_packets_are_tried_again_after_a_change_a_while_or_a_step_back():
    hold, clock = Hold().record, np.zeros(1, np.int64)
    hold["tried"] = hold["now"] = 10 * RETRY
    assert not due(hold, address(clock), 0)
    assert due(hold, address(clock), 1)
    hold["now"] = 11 * RETRY + 1
    assert due(hold, address(clock), 0)
    hold["now"] = 10 * RETRY - 1
    assert due(hold, address(clock), 0)


def test_records_keep_their_cache_lines():
    assert RECORD == 128 and HOLD.itemsize == 256
