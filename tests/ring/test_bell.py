"""The bell: whom it wakes, and what it costs."""

import itertools
import os
import select
from types import SimpleNamespace

import numba
import numpy as np
import pytest

from scout.io.host.process import Child
from scout.io.packet import GSO_NONE, GSO_UDP_L4, PACKET
from scout.io.rest import (
    DENSE,
    GATHERING,
    NEVER,
    POLL,
    WAITER,
    are_many,
    expects_short_wait,
    gathers_now,
    remember_wait,
    rest,
    see_many,
)
from scout.ring.bell import Bell, announce_sleep, arm, disarm, may_sleep, must_wake_others
from scout.ring.channel import Channel
from scout.ring.jit import entry
from scout.ring.layout import CHANNEL, MEMBER
from scout.ring.wait import BLOCK, SPINS
from scout.testing import await_until

_WAITERS, _CHANNELS, _MEMBERS, _BATCHES = (
    numba.types.Array(numba.from_dtype(each), 1, "C") for each in (WAITER, CHANNEL, MEMBER, PACKET)
)
GSO_TCPV4 = 1  # linux/virtio_net.h
LONG = 60.0  # seconds; nothing waits for so long unless the test fails


@entry(numba.void(numba.int64))
def announce(bell):
    announce_sleep(bell)


@entry(numba.void(numba.int64))
def arms(bell):
    arm(bell)


@entry(numba.void(numba.int64))
def quiet(bell):
    disarm(bell)


@entry(numba.boolean(numba.int64))
def sleeps(bell):
    return may_sleep(bell)


@entry(numba.int64(_WAITERS, numba.int64))
def rest_after(waiters, looks):
    return rest(waiters, looks, NEVER, False)


@entry(numba.void(_WAITERS))
def take_many(waiters):
    see_many(waiters, 1, True)


@entry(numba.void(_WAITERS, numba.int64))
def take_few(waiters, channel):
    see_many(waiters, channel, False)


@entry(numba.boolean(_BATCHES, numba.int64))
def is_dense(batch, count):
    return are_many(batch, count)


@entry(numba.boolean(_WAITERS, numba.int64))
def gathers(waiters, channel):
    return gathers_now(waiters, channel)


@entry(numba.boolean(_CHANNELS, _MEMBERS, numba.int64))
def wakes(channels, members, replica):
    return must_wake_others(channels[0], members[replica])


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def bell(pipe):
    """The bell of a run with one channel, of which packets come by a pipe."""
    made = Bell([pipe[0]])
    yield made
    made.close()


def test_a_ring_after_the_end_writes_to_no_other_file(bell):
    announce(bell.address)
    bell.close()
    others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]  # they get the numbers of the bell's descriptors
    bell.ring()
    for other in others:
        with pytest.raises(BlockingIOError):
            os.eventfd_read(other)
        os.close(other)


def test_the_bell_wakes_every_sleeper_and_is_rung_once_for_a_sleep(bell):
    with bell.listen() as own, bell.listen() as other:
        announce(bell.address)
        bell.ring()
        assert own.poll(LONG) and other.poll(LONG)
        assert not sleeps(bell.address)
        bell.ring()  # nobody has announced a sleep since
        assert not own.poll(0) and not other.poll(0)
        announce(bell.address)
        bell.ring()  # though nobody has read the eventfd
        assert own.poll(LONG) and other.poll(LONG)


def test_a_ring_between_the_announcement_and_the_sleep_is_not_lost(bell):
    with bell.listen() as own:
        announce(bell.address)
        bell.ring()
        assert own.poll(LONG)


def test_a_packet_wakes_the_lookout_alone_though_earlier_ones_are_still_there(bell, pipe):
    watch = os.dup(bell.watch)
    with bell.listen() as own, type(own).fromfd(watch) as watching:
        for _ in range(2):
            os.write(pipe[1], b"x")
            assert watching.poll(LONG)
            assert not watching.poll(0)  # the pipe is still readable
        assert not own.poll(0)


def test_a_channel_that_could_not_be_registered_is_registered_before_the_next_sleep(bell, pipe):
    watch, kept = os.dup(bell.watch), os.dup(pipe[0])
    with type(bell.listen()).fromfd(watch) as watching:
        quiet(bell.address)
        os.close(pipe[0])  # the kernel refuses it, as it does a good one for which it has no memory
        arms(bell.address)
        os.dup2(kept, pipe[0])
        os.write(pipe[1], b"x")
        assert not watching.poll(0)
        arms(bell.address)
        assert watching.poll(LONG)
        arms(bell.address)  # once is enough
        assert not watching.poll(0)
    os.close(kept)


def test_a_channel_that_a_dead_lookout_had_registered_counts_as_registered(bell, pipe):
    with bell.listen() as own, type(own).fromfd(os.dup(bell.watch)) as watching:
        quiet(bell.address)
        watching.register(pipe[0], select.EPOLLIN | select.EPOLLET)
        arms(bell.address)
        quiet(bell.address)  # takes it away, as it counts as registered
        os.write(pipe[1], b"x")
        assert not watching.poll(0)


def test_a_new_lookout_is_woken_though_nobody_has_announced_a_sleep(bell):
    with bell.listen() as own:
        bell.replace(1, 2)
        assert bell.lookout == 0 and not own.poll(0)
        bell.replace(0, 2)
        assert bell.lookout == 2 and own.poll(LONG)


def test_a_forked_process_sleeps_and_is_woken(bell):
    def sleep():
        with bell.listen() as own:
            announce(bell.address)
            raise SystemExit(0 if own.poll(LONG) else 1)

    child = Child(sleep)
    while not sleeps(bell.address):
        pass
    bell.ring()
    assert child.join(LONG) and child.exitcode == 0


def test_a_replica_announces_its_sleep_and_looks_once_more_before_it(bell):
    waiters = np.zeros(1, WAITER)
    waiters["strategy"], waiters["bell"], waiters["watch"] = BLOCK, bell.address, bell.watch
    rest_after(waiters, SPINS - 1)
    assert not sleeps(bell.address)
    rest_after(waiters, SPINS)
    assert sleeps(bell.address)
    rest_after(waiters, SPINS + 1)  # it is the lookout; no sleep is longer than some milliseconds
    bell.ring()
    rest_after(waiters, SPINS + 2)
    assert sleeps(bell.address)  # announced again before each sleep


def test_a_request_of_a_software_channel_rings_the_bell(bell):
    channel = Channel(16, 8, 1)
    channel.record["bell"] = bell.address
    with bell.listen() as own:
        announce(bell.address)
        assert channel.send(b"x")
        assert own.poll(LONG)


@pytest.mark.parametrize(
    ("head", "count", "other", "needed"),
    [
        (0, 7, 0, False),  # no multiple of 8 is crossed
        (0, 8, 0, True),
        (6, 2, 1, False),  # behind by less than an eighth
        (14, 4, 10, True),
        (6, 60, 6, True),  # a batch as long as the ring
    ],
)
def test_a_replica_that_is_behind_is_woken_before_the_ring_is_full(head, count, other, needed):
    channel = Channel(64, 8, 2)
    channel.members["head"][:2] = head, other
    channel.members["count"][0] = count
    assert wakes(channel.record, channel.members, 0) == needed


def test_a_replica_polls_where_packets_come_soon_after_its_work(bell):
    with bell.listen() as own:
        waiters = np.zeros(1, WAITER)
        waiters["strategy"], waiters["bell"], waiters["own"] = BLOCK, bell.address, own.fileno()
        waiters["watch"] = bell.watch
        for slept, is_short in ((POLL - 1, 1), (POLL, 0), (-1, 1)):  # -1: it found work without a sleep
            waiters["since"], waiters["woken"], waiters["waits"] = 1, 1 + slept, 0
            assert rest_after(waiters, 1) == 1  # the first round in vain after work that ended a wait
            assert waiters[["waits", "short", "since"]][0].tolist() == (is_short, is_short, 0)
        waiters["waits"] = 1  # after a short wait it has not seen one yet
        assert rest_after(waiters, SPINS) == SPINS and sleeps(bell.address)  # it announces its sleep at once
        bell.ring()
        waiters["waits"], waiters["since"] = 0, 0
        assert rest_after(waiters, SPINS) == SPINS - 1 and not sleeps(bell.address)
        waiters["since"] = 1  # long ago: it was in vain
        assert rest_after(waiters, SPINS) == SPINS and sleeps(bell.address)


def expected(waits):
    """The predictions before each of these waits, a character each: S, short, or L, long."""
    record, found = SimpleNamespace(waits=0, short=0), []
    for wait in waits:
        found.append("S" if expects_short_wait.py_func(record) else "L")
        remember_wait.py_func(record, wait == "S")
    return "".join(found)


@pytest.mark.parametrize("pattern", ["L", "S", "LS", "LSS", "LLS", "LSSS", "LLSS"])
def test_waits_that_come_in_a_pattern_are_expected_once_it_was_seen(pattern):
    waits = pattern * 40
    assert expected(waits)[12:] == waits[12:]


def test_a_replica_without_short_waits_never_expects_one():
    assert "S" not in expected("L" * 100)


def test_expected_waits_follow_a_change_of_the_pattern():
    for before, after in itertools.permutations(["L", "S", "LS", "LSS"], 2):
        waits = before * 20 + after * 20
        end = len(before) * 20 + 12
        assert expected(waits)[end:] == waits[end:], (before, after)


def waiter_of(bell):
    waiter = np.zeros(1, WAITER)
    waiter["strategy"], waiter["bell"], waiter["watch"] = BLOCK, bell.address, bell.watch
    return waiter


def test_packets_that_come_fast_wake_nobody_until_the_lookout_announces_a_sleep(bell, pipe):
    waiter = waiter_of(bell)
    watch = select.epoll.fromfd(bell.watch)
    os.write(pipe[1], b"1")
    assert [found[0] for found in watch.poll(0)] == [pipe[0]]
    take_many(waiter)
    os.write(pipe[1], b"2")
    assert watch.poll(0) == []
    rest_after(waiter, SPINS)  # announces a sleep
    assert [found[0] for found in watch.poll(0)] == [0]  # what came meanwhile counts
    os.write(pipe[1], b"3")
    assert len(watch.poll(0)) == 1


def test_a_replica_that_is_not_the_lookout_leaves_the_channels_registered(bell, pipe):
    waiter = waiter_of(bell)
    waiter["replica"] = 1
    take_many(waiter)
    os.write(pipe[1], b"1")
    assert len(select.epoll.fromfd(bell.watch).poll(0)) == 1


def test_a_lookout_registers_channels_that_a_dead_one_had_registered_again(bell, pipe):
    waiter = waiter_of(bell)
    take_many(waiter)
    watch = select.epoll.fromfd(bell.watch)
    watch.register(pipe[0], select.EPOLLIN | select.EPOLLET)  # it died before it could say so
    rest_after(waiter, SPINS)
    os.write(pipe[1], b"1")
    assert len(watch.poll(0)) == 1


@pytest.mark.parametrize(
    ("kind", "segments", "frames", "expected"),
    [
        (GSO_NONE, 1, DENSE - 1, False),
        (GSO_NONE, 1, DENSE, True),
        (GSO_UDP_L4, 4, DENSE // 4 - 1, False),
        (GSO_UDP_L4, 4, DENSE // 4, True),
        (GSO_UDP_L4, DENSE, 1, True),
        (GSO_TCPV4, DENSE, DENSE, False),
    ],
)
def test_the_packets_of_super_frames_of_udp_count(kind, segments, frames, expected):
    batch = np.zeros(DENSE, PACKET)
    size = 1_000
    batch["gso_type"], batch["gso_size"] = kind, size if segments > 1 else 0
    batch["end"], batch["tail_bytes"] = 100, 42 + segments * size - 100
    assert is_dense(batch, frames) == expected


def test_more_packets_of_a_channel_are_awaited_for_a_moment_only(bell):
    waiter = waiter_of(bell)
    assert not gathers(waiter, 1)
    take_many(waiter)
    waiter["many"] += 10**12  # the clock was set back
    assert not gathers(waiter, 1)
    take_many(waiter)
    waiter["many"] -= GATHERING
    assert not gathers(waiter, 1)


def test_the_channel_that_had_many_packets_is_awaited_and_no_other(bell):
    waiter = waiter_of(bell)

    def awaited(channel):
        take_many(waiter)
        return gathers(waiter, channel)

    await_until(lambda: awaited(1))  # unless this process stood still between the two
    assert not awaited(0) and not awaited(2)


def test_behind_few_packets_of_the_channel_that_had_many_no_more_are_awaited(bell):
    waiter = waiter_of(bell)
    take_many(waiter)
    seen = int(waiter["many"][0])
    take_few(waiter, 2)
    assert waiter["many"][0] == seen
    take_few(waiter, 1)
    assert waiter["many"][0] == 0
