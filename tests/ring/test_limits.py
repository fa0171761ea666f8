"""The channel where its words are near their limits, and where processes die at a bad moment."""

import os
import signal
import time

import numba
import numpy as np
import pytest

from scout.io.host.process import Child
from scout.io.rest import NEVER, WAITER, rest
from scout.ring.channel import Channel
from scout.ring.jit import entry
from scout.ring.layout import CHANNEL, LIMIT, REFUSED, SLEEPERS, TAIL, TURN
from scout.ring.membership import resume
from scout.ring.schedule import HEAD, weighted
from scout.ring.segment import address, shared
from scout.ring.snapshot import PART, Snapshots, save
from scout.ring.turn import STOP, await_turn, pass_turn
from scout.ring.wait import YIELD

_CHANNELS = numba.types.Array(numba.from_dtype(CHANNEL), 1, "C")


@entry(numba.void(_CHANNELS, numba.int64))
def let_leave(channels, here):
    pass_turn(channels[0], here)


@entry(numba.boolean(_CHANNELS, numba.int64, numba.int64))
def may_send(channels, here, stop):
    return await_turn(channels[0], here, stop)


def begun_at(first, **options):
    """A channel of which the `first` requests are past."""
    channel = Channel(256, 8, 2, batch=32, **options)
    channel._words[TAIL, 0] = channel._words[LIMIT, 0] = channel._words[LIMIT, 1] = first
    for field in ("head", "floor", "tail"):
        channel.members[field][:2] = first
    return channel


@pytest.mark.parametrize("policy", ["claim", "refcount", "modulo"])
@pytest.mark.parametrize("first", [(1 << 43) - 64, (1 << 51) - 64, (1 << 62) - 64])
def test_each_request_has_one_primary_however_many_were_before(first, policy):
    channel = begun_at(first, policy=policy)
    for number in range(128):
        assert channel.send(bytes([number]))
    primaries = []
    replicas = [channel.replica(number) for number in range(2)]
    for _ in range(10):
        for replica in replicas:
            if batch := replica.batch():
                primaries += [request[0] for request in batch.requests if batch.primary]
    assert sorted(primaries) == list(range(128))
    assert channel.heads() == {0: first + 128, 1: first + 128}


def test_the_turn_passes_a_replica_that_dies_while_it_replays_and_gets_no_successor():
    channel = Channel(64, 8, 2, batch=4, interval=16, keeps=True)
    for _ in range(12):
        assert channel.send(bytes(8))
    dying, living = channel.replica(0), channel.replica(1)
    assert dying.batch().primary
    let_leave(channel.record, 4)
    assert dying.batch().number == 4  # claimed, and not released when it dies
    assert [living.batch().number for _ in range(3)] == [0, 4, 8]
    resume(channel.record, channel.members, 0, 0, 0)  # its successor replays from 0, and dies at once
    assert channel.unfinished(0) == 4
    assert channel.retire(0, ordered=True) == 4
    assert channel.taking_part == [1]
    assert channel._words[TURN, 0] == 8  # those of the living replica


def test_a_replica_that_is_told_to_stop_does_not_send_before_its_turn():
    channel = Channel(64, 8, 1)
    stop = shared(8, np.int64)
    assert may_send(channel.record, 0, address(stop))
    stop[0] = STOP
    assert not may_send(channel.record, 4, address(stop))
    let_leave(channel.record, 4)
    assert may_send(channel.record, 4, address(stop))
    assert not may_send(channel.record, 0, address(stop))  # that has left


def test_refused_requests_are_counted_by_all_producers_at_once():
    channel = Channel(4, 8, 1, full="drop", producers=2)
    channel.send_records(np.zeros(4, "i8"), producer=0)
    tries = 5_000

    def produce(producer):
        for _ in range(tries):
            assert not channel.send(b"x", producer=producer)

    children = [Child(produce, producer) for producer in range(2)]
    for child in children:
        assert child.join(600) and child.exitcode == 0
    assert channel._words[REFUSED, 0] == channel.refused == 2 * tries


def test_a_killed_sleeper_costs_one_wake_and_not_one_for_each_request():
    channel = Channel(16, 8, 1, wait="block")

    def sleep():
        while channel.replica(0).batch() is None:
            pass

    child = Child(sleep)
    while not channel._words[SLEEPERS, 0]:
        time.sleep(0.001)
    os.kill(child.pid, signal.SIGKILL)
    assert child.join(600)
    assert channel.send(b"x")
    assert channel._words[SLEEPERS, 0] == 0


_WAITERS = numba.types.Array(numba.from_dtype(WAITER), 1, "C")


@entry(numba.void(_WAITERS, numba.int64))
def idle(waiters, looks):
    for look in range(looks):
        rest(waiters, look, NEVER, False)


def test_a_replica_that_yields_naps_when_nothing_comes():
    waiters = np.zeros(1, WAITER)
    waiters["strategy"] = YIELD
    idle(waiters, 1)
    wall, cpu = time.monotonic(), time.thread_time()
    idle(waiters, 3_000)
    wall, cpu = time.monotonic() - wall, time.thread_time() - cpu
    assert cpu < 0.8 * wall


def test_a_weighted_schedule_has_no_limit_of_requests():
    heads = np.zeros(2, HEAD)
    heads["ready"], heads["weight"], heads["served"] = 1, (3, 1), 1 << 60
    heads["counted"] = heads["served"]
    schedule, picked = numba.njit(weighted), []
    for _ in range(400):
        picked.append(schedule(heads))
        heads["served"][picked[-1]] += 1
    assert picked.count(0) == 300
    assert heads["memory"].max() < 1 << 30


def test_the_hash_of_a_state_wraps_modulo_2_to_the_64():
    state = np.frombuffer(np.random.default_rng(1).bytes(8 * 9), np.int64).copy()
    parts = np.zeros(1, PART)
    parts["address"], parts["bytes"] = address(state), state.nbytes
    buffers = shared(2 * 192, np.uint8)
    found = int(save(parts, address(buffers), 192, 0, True, True))
    assert found == mixed(0, reference_hash(state))


def test_of_a_state_that_has_not_changed_only_the_last_part_is_copied():
    snapshots, table, position = Snapshots(), shared(9, np.int64), shared(1, np.int64)
    snapshots.enlist(0, [table, position])
    table[:], position[:] = 5, 1
    assert snapshots.save(0, 1) == snapshots.save(0, 1)
    parts, size = snapshots.parts[0], snapshots.size
    position[:] = 2
    cheap = int(save(parts, snapshots.buffers(0), size, 2, False, False))
    assert snapshots.newest() == {0: 2} and cheap == snapshots.save(0, 2)
    table[:], position[:] = 6, 3
    save(parts, snapshots.buffers(0), size, 3, False, False)  # the table has changed, but this was not said
    assert snapshots.adopt(0, 0) == 3 and table.tolist() == [5] * 9 and position.tolist() == [3]


def test_of_rows_that_count_their_changes_only_the_changed_ones_are_copied():
    snapshots, position = Snapshots(), shared(1, np.int64)
    rows = shared(5, np.dtype([("value", "i8"), ("changes", "i8"), ("rest", "i8", 3)]))
    snapshots.enlist(0, [rows, position], ["changes"])
    parts, buffers, size = snapshots.parts[0], snapshots.buffers(0), snapshots.size

    def saved(place, whole=False):
        return int(save(parts, buffers, size, place, True, whole))

    rows["value"] = range(5)
    assert saved(1, True) == saved(2, True) == saved(3)
    for place in (4, 5):  # both buffers get what has changed since they were written
        rows[place - 2] = (100, place, [place] * 3)
        found = saved(place)
    assert found == saved(6) == snapshots.save(0, 7)
    rows[4]["value"] = 7  # this was not counted
    assert saved(8) == found
    kept = rows.copy()
    rows["value"], rows["changes"] = 9, 9
    assert snapshots.adopt(0, 0) == 8
    assert rows[:4].tobytes() == kept[:4].tobytes() and rows[4]["value"] == 4
    other = rows.copy()
    rows[:2] = other[1::-1]
    assert snapshots.save(0, 9) != found


def signed(value):
    value %= 1 << 64
    return value - (1 << 64) if value >> 63 else value


def mixed(one, other):
    value = signed(signed(one ^ other) * 0x9E3779B97F4A7C15)
    return value ^ value >> 29


def reference_hash(words):
    """As `scout.ring.snapshot.hashed`, with Python's integers."""
    sums = [8 * len(words), 1, 2, 3]
    for number, word in enumerate(words.tolist()):
        lane = number % 4 if number < len(words) // 4 * 4 else 0
        sums[lane] = signed((sums[lane] ^ word) * 0x9E3779B97F4A7C15)
    result = sums[0]
    for other in sums[1:]:
        result = mixed(result, other)
    return result
