"""Path queues: what waits in them, in what order it leaves, and what they count."""

import ctypes

import numba
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import types

from scout.io.account import ACCOUNT, SAVED
from scout.io.batch import BATCH_SIZE, LONGEST, new_batch
from scout.io.packet import HEADROOM, PACKET, QUEUED, REACH, RECORD
from scout.io.path_queue import QUEUE, bytes_of, finish, lay_out, put, take
from scout.ring.jit import entry
from scout.ring.schedule import HEAD
from scout.ring.segment import address, private

QUEUES = types.Array(numba.from_dtype(QUEUE), 1, "C")
HEADS = types.Array(numba.from_dtype(HEAD), 1, "C")
ACCOUNTS = types.Array(numba.from_dtype(ACCOUNT), 1, "C")
PACKETS = types.Array(numba.from_dtype(PACKET), 1, "C")


@entry(types.void(QUEUES, HEADS, PACKETS, types.int64))
def put_one(queues, heads, batch, now):
    put(queues[0], heads[0], batch[0], batch.ctypes.data, now)


@entry(types.int64(QUEUES, HEADS, PACKETS))
def take_some(queues, heads, batch):
    return take(queues[0], heads[0], batch)


@entry(types.void(QUEUES, HEADS, ACCOUNTS, types.int64, types.int64, types.int64))
def finish_some(queues, heads, accounts, count, began, now):
    finish(queues[0], heads[0], accounts[0], count, began, now, now)


class Queue:
    """A queue of a few packets; a packet is its bytes and the time at which it was received."""

    def __init__(self, places=4, batch=2, deadline=0, memory=0):
        self.record, self.head, self.account = np.zeros(1, QUEUE), np.zeros(1, HEAD), np.zeros(1, ACCOUNT)
        size, room = bytes_of(places, memory)
        self._memory = private(size, np.uint8)
        lay_out(self.record, address(self._memory), places, room)
        self.record["batch"], self.head["deadline"] = batch, deadline
        self._batch, self._slots = new_batch(1)
        self._tail = private(2 * LONGEST, np.uint8)
        self.taken = np.zeros(BATCH_SIZE, PACKET)

    def put(self, data, timestamp=0, now=0, pulled=0):
        """Put a packet as it came from a channel: its first bytes in a slot, the rest elsewhere."""
        packet, linear = self._batch[0], min(len(data), REACH)
        ctypes.memmove(int(packet["slot"]), data, linear)
        self._tail[: len(data) - linear] = np.frombuffer(data[linear:], np.uint8)
        packet["origin"], packet["frame"] = packet["slot"], packet["slot"] + pulled
        packet["end"] = packet["slot"] + linear
        packet["tail"], packet["tail_bytes"] = address(self._tail), len(data) - linear
        packet["timestamp"], packet["egress"] = timestamp, 0
        put_one(self.record, self.head, self._batch, now)
        assert packet["egress"] == QUEUED

    def take(self):
        """The first packets, each as one piece."""
        count = take_some(self.record, self.head, self.taken)
        return [ctypes.string_at(int(each["origin"]), int(each["end"] - each["origin"])) for each in self.taken[:count]]

    def finish(self, count, began=0, now=0):
        finish_some(self.record, self.head, self.account, count, began, now)

    def serve(self):
        found = self.take()
        self.finish(len(found))
        return found


def test_packets_leave_in_their_order_a_batch_at_a_time():
    queue = Queue(places=8, batch=3)
    for number in range(8):
        queue.put(bytes([number]), timestamp=100 + number)
    assert (queue.head["ready"][0], queue.head["since"][0]) == (8, 100)
    assert queue.serve() == [b"\0", b"\1", b"\2"]
    assert (queue.head["ready"][0], queue.head["since"][0], queue.head["served"][0]) == (5, 103, 3)
    assert queue.serve() == [b"\3", b"\4", b"\5"] and queue.serve() == [b"\6", b"\7"] and queue.serve() == []


def test_a_full_queue_refuses_the_latest():
    queue = Queue(places=4, batch=1)
    for number in range(6):
        queue.put(bytes([number]))
    assert (queue.head["ready"][0], queue.record["full"][0]) == (4, 2)
    assert queue.take() == [b"\0"]
    queue.put(b"\6")  # the packet that is being served still has its place
    assert queue.record["full"][0] == 3
    queue.finish(1)
    queue.put(b"\7")
    assert [queue.serve()[0] for _ in range(4)] == [b"\1", b"\2", b"\3", b"\7"]


def test_a_packet_waits_in_one_piece_with_the_headers_that_were_pulled():
    data = bytes(number & 0xFF for number in range(9000))
    queue = Queue()
    queue.put(data, pulled=14)
    assert queue.take() == [data]
    packet = queue.taken[0]
    assert packet["frame"] == packet["origin"] + 14 and packet["tail_bytes"] == 0


def test_there_is_room_before_each_packet_for_headers():
    queue = Queue()
    queue.put(b"a" * LONGEST)
    queue.put(b"b" * LONGEST)
    assert queue.take() == [b"a" * LONGEST, b"b" * LONGEST]
    for each in queue.taken[:2]:
        ctypes.memset(int(each["frame"]) - HEADROOM, 0, HEADROOM)
    assert queue.take() == [b"a" * LONGEST, b"b" * LONGEST]


def test_a_packet_that_no_place_can_hold_is_refused():
    queue = Queue()
    queue.put(bytes(LONGEST + 1))
    assert queue.record["full"][0] == 1 and queue.take() == []


def test_work_and_lateness_are_counted():
    queue = Queue(batch=4, deadline=50)
    for now in (0, 10, 20):
        queue.put(b"", now=now)
    queue.take()
    queue.finish(3, began=30, now=65)  # 65, 55 and 45 after they were put there
    assert (queue.record["late"][0], queue.account["busy"][0]) == (2, 35)


def test_work_is_paid_for_by_the_share_of_the_budget():
    queue = Queue(batch=4)
    queue.account["price"] = 1 / 0.25
    queue.put(b"")
    queue.take()
    queue.finish(1, began=SAVED, now=SAVED + 1000)
    assert queue.account["due"][0] == 1000 + 4000  # what was not used before is saved, up to a bound
    queue.put(b"")
    queue.take()
    queue.finish(1, began=5000, now=SAVED + 5000)
    assert queue.account["due"][0] == 5000 + 4 * SAVED


def test_packets_take_the_room_that_they_need():
    memory = 4 * (RECORD + 16) + 4 * 1024
    queue = Queue(places=4, batch=1, memory=memory)
    for size in (960, 960, 1984):  # with the headroom: all of it
        queue.put(bytes([size & 0xFF]) * size)
    queue.put(b"")
    assert (queue.record["crowded"][0], queue.record["full"][0]) == (1, 0)
    assert queue.serve() == [bytes([960 & 0xFF]) * 960]
    queue.put(b"a" * 961)  # behind the end of the room lies its beginning
    queue.put(b"b" * 960)
    assert queue.record["crowded"][0] == 2
    assert [queue.serve()[0][:1] for _ in range(3)] == [bytes([960 & 0xFF]), bytes([1984 & 0xFF]), b"b"]


@settings(deadline=None)  # the machine may stop the process for a while
@given(st.lists(st.one_of(st.binary(max_size=3), st.integers(0, 3)), max_size=60))
def test_it_is_a_bounded_queue(steps):
    """Bytes are put; a number takes, and finishes so many of what was taken."""
    queue, model, full = Queue(places=8, batch=3), [], 0
    for step in steps:
        if isinstance(step, bytes):
            full += len(model) == 8
            model += [step] if len(model) < 8 else []
            queue.put(step)
        else:
            assert queue.take() == model[:3]
            done = min(step, len(model))
            queue.finish(done)
            del model[:done]
    assert queue.head["ready"][0] == len(model) and queue.record["full"][0] == full


@settings(deadline=None)  # the machine may stop the process for a while
@given(st.lists(st.one_of(st.integers(64, 3000), st.none()), max_size=60))
def test_packets_in_little_room_stay_whole(sizes):
    """A number puts a packet of so many bytes, None serves one; a packet may be refused, and no other is changed."""
    queue, model = Queue(places=8, batch=1, memory=8 * (RECORD + 16) + 4096), []
    for number, size in enumerate(sizes):
        if size is None:
            assert queue.serve() == model[:1]
            del model[:1]
        else:
            refused = int(queue.record["full"][0] + queue.record["crowded"][0])
            queue.put(bytes([number]) * size)
            if queue.record["full"][0] + queue.record["crowded"][0] == refused:
                model.append(bytes([number]) * size)
            else:
                assert model  # an empty queue takes any packet that is no longer than its room
            assert sum(len(each) for each in model) <= 4096
    assert [queue.serve()[0] for _ in list(model)] == model
