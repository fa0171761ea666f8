"""Every channel that brings packets keeps the contract of channels (`scout.io.channels.contract`).

A replica that dies is one that does not release the batch at hand.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from channel_bench import CONTROL, KINDS, Bench, Got, numbers, opened, primaries

from scout.io.channels.kernel_ring_protocol import MOST_CONTROLS
from scout.io.ports.applications import ApplicationPort
from scout.io.ports.pcap import PcapPort
from scout.io.ports.tap_device import TapPort
from scout.ring.turn import STOP


@pytest.fixture(
    params=[pytest.param(kind, marks=[pytest.mark.needs_namespaces] * (kind in ("interface", "tap"))) for kind in KINDS]
)
def make(request: Any, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Make a bench of each kind of channel, for a number of replicas."""
    with ExitStack() as stack:

        def made(replicas: int = 2, keeps: bool = False) -> Bench:
            return opened(request.param, tmp_path, stack, replicas, keeps)

        yield made


def test_every_replica_receives_all_packets_in_order_and_each_has_one_primary(make: Any) -> None:
    bench = make()
    got: list[list[Got]] = [[], []]
    for _ in range(10):
        bench.bring(20)
        got[0] += bench.all(0)
        got[1] += bench.all(1)
        bench.bring(20)
        got[1] += bench.all(1)
        got[0] += bench.all(0)
    assert numbers(got[0]) == numbers(got[1]) == list(range(400))
    mine, others = primaries(got[0]), primaries(got[1])
    assert sorted(mine + others) == list(range(400)) and mine and others
    assert bench.channel.counters()["received"] == 400
    assert [bench.channel.lag(replica) for replica in range(2)] == [0, 0]


def test_the_other_replicas_pass_over_a_batch_that_is_marked_as_plain(make: Any) -> None:
    bench = make()
    bench.bring(5)
    first = bench.take(0)
    assert first and first.primary
    bench.mark_plain(0)
    bench.release(0)
    rest = bench.all(0)
    got = bench.all(1)
    assert got[0] == Got([], False) and numbers(got) == numbers(rest)
    assert bench.channel.position(0) == bench.channel.position(1) == 5
    bench.bring(3)  # the mark is of that batch alone
    assert numbers(bench.all(0)) == numbers(bench.all(1)) == [5, 6, 7]


def test_a_successor_is_again_primary_of_what_its_predecessor_had_marked_as_plain(make: Any) -> None:
    bench = make()
    bench.bring(5)
    dead = bench.take(0)
    bench.mark_plain(0)
    bench.channel.resume(0, bench.channel.position(0), bench.channel.controls_done(0))
    assert bench.take(0) == dead and dead and dead.primary


def test_a_control_request_has_one_position_and_needs_no_packet(make: Any) -> None:
    bench = make()
    assert bench.control()
    assert [bench.all(replica) for replica in range(2)] == [[Got([CONTROL], True)], [Got([CONTROL], False)]]
    bench.bring(3)
    assert bench.control()
    first, second = bench.all(1), bench.all(0)
    assert numbers(first) == numbers(second) and sorted(numbers(first)) == [CONTROL, 0, 1, 2]
    assert bench.channel.position(0) == bench.channel.position(1) == 5


def test_a_control_request_is_a_batch_of_its_own(make: Any) -> None:
    bench = make()
    for _ in range(4):
        bench.bring(3)
        assert bench.control() and bench.control()
    got = [bench.all(replica) for replica in range(2)]
    assert got[0] == [Got(batch.numbers, not batch.primary) for batch in got[1]]
    assert [batch.numbers for batch in got[0] if CONTROL in batch.numbers] == [[CONTROL]] * 8


def test_a_control_request_has_passed_when_no_replica_can_receive_it_again(make: Any) -> None:
    bench = make()
    first = bench.control()
    bench.bring(3)
    second = bench.control()
    assert 0 < first < second
    bench.all(0)
    assert not bench.channel.passed(first)
    bench.channel.resume(0, bench.channel.position(0), bench.channel.controls_done(0))
    bench.all(1)
    assert bench.channel.passed(first) and bench.channel.passed(second)
    third = bench.control()
    bench.all(0)
    bench.channel.retire(1, ordered=False)
    assert bench.channel.passed(third)


def test_a_control_request_that_may_be_replayed_has_not_passed(make: Any) -> None:
    bench = make(keeps=True)
    number = bench.control()
    for replica in range(2):
        assert numbers(bench.all(replica)) == [CONTROL]
    assert not bench.channel.passed(number)
    bench.save(0)
    assert not bench.channel.passed(number)
    bench.save(1)
    assert bench.channel.passed(number)


def test_control_requests_alone_do_not_fill_a_channel_that_keeps_requests_for_a_replay(make: Any) -> None:
    bench = make(keeps=True)
    for _ in range(3 * MOST_CONTROLS):
        assert bench.control()
        for replica in range(2):
            assert numbers(bench.all(replica)) == [CONTROL]
            if bench.snapshot_due(replica):
                bench.save(replica)
                assert not bench.snapshot_due(replica)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_control_request_is_received_only_when_a_replica_has_taken_it(make: Any, shards: int) -> None:
    """Nothing has arrived in vain if the run ends before that."""
    bench = make()
    bench.channel.divide(shards)
    assert bench.control()
    bench.bring(3)
    assert bench.channel.counters()["received"] == 3
    bench.all(0, shards=shards - 1 and shards)
    assert bench.channel.counters()["received"] == 4
    bench.all(1, shards=shards - 1 and shards)
    assert bench.channel.counters()["received"] == 3 + shards
    assert bench.control()
    assert bench.channel.counters()["received"] == 3 + shards


def test_a_successor_receives_what_its_predecessor_had_not_released(make: Any) -> None:
    bench = make()
    bench.bring(30)
    dead = bench.take(0)
    assert dead and dead.primary and bench.channel.unfinished(0) == len(dead.numbers)
    living = bench.all(1)
    assert living[0] == Got(dead.numbers, False)
    bench.channel.resume(0, bench.channel.position(0), bench.channel.controls_done(0))
    again = bench.all(0)
    assert again[0] == dead
    assert sorted(primaries(living) + primaries(again)) == numbers(again) == list(range(30))


def test_a_successor_replays_from_the_snapshot_and_is_primary_of_nothing_before(make: Any) -> None:
    bench = make(keeps=True)
    bench.bring(10)
    done = bench.take(0)
    bench.release(0)
    bench.bring(10)
    dead = bench.take(0)
    assert done and dead and done.primary and dead.primary
    bench.all(1)
    bench.channel.resume(0, 0, 0)
    bench.channel.resume(0, 0, 0)  # it died again at once
    replayed, left = [], len(done.numbers)
    while left > 0:
        got = bench.take(0)
        assert got and not got.primary
        bench.release(0)
        replayed += got.numbers
        left -= len(got.numbers)
    assert replayed == done.numbers
    assert bench.take(0) == dead


def test_of_a_retired_replica_only_the_batch_at_hand_is_lost(make: Any) -> None:
    bench = make()
    bench.bring(20)
    dead = bench.take(0)
    assert dead and dead.primary
    assert bench.channel.retire(0, ordered=False) == len(dead.numbers)
    assert not bench.channel.is_member(0) and bench.channel.is_member(1)
    living = bench.all(1)
    assert primaries(living) == [number for number in range(20) if number not in dead.numbers]
    for _ in range(4 * bench.capacity // 20):  # no room is kept for it
        bench.bring(20)
        assert numbers(bench.all(1)) == list(range(bench.brought - 20, bench.brought))


def test_a_replica_that_has_released_everything_leaves_without_loss(make: Any) -> None:
    bench = make()
    bench.bring(20)
    assert numbers(bench.all(0)) == list(range(20))
    assert bench.channel.unfinished(0) == 0
    assert bench.channel.retire(0, ordered=False) == 0
    assert not bench.channel.is_member(0)
    assert numbers(bench.all(1)) == list(range(20))


def test_a_replica_joins_at_the_foremost_and_not_where_requests_are_gone(make: Any) -> None:
    bench = make(replicas=1)
    for _ in range(2 * bench.capacity // 16 + 1):
        bench.bring(16)
        bench.all(0)
    assert not bench.channel.join(1, 0, 0) and not bench.channel.is_member(1)
    assert bench.channel.join(1, *bench.channel.foremost()) and bench.channel.is_member(1)
    before = bench.brought
    bench.bring(16)
    both = [bench.all(1), bench.all(0)]
    assert numbers(both[0]) == numbers(both[1]) == list(range(before, before + 16))
    assert sorted(primaries(both[0]) + primaries(both[1])) == list(range(before, before + 16))


def test_packets_that_find_the_ring_full_are_counted_and_the_others_arrive(make: Any) -> None:
    bench = make()
    if isinstance(bench.port, PcapPort | ApplicationPort | TapPort):
        pytest.skip("they wait for room outside")
    bench.bring(3 * bench.capacity)
    counted = bench.channel.counters()
    assert counted["received"] == bench.capacity and counted["ring-full"] == 2 * bench.capacity
    got = [bench.all(0), bench.all(1)]
    assert numbers(got[0]) == numbers(got[1]) == list(range(bench.capacity))
    assert sorted(primaries(got[0]) + primaries(got[1])) == list(range(bench.capacity))
    bench.bring(5)
    assert numbers(bench.all(0)) == list(range(bench.brought - 5, bench.brought))


def test_one_replica_that_lags_makes_the_ring_full_for_all(make: Any) -> None:
    bench = make()
    if isinstance(bench.port, PcapPort | ApplicationPort | TapPort):
        pytest.skip("they wait for room outside")
    bench.bring(bench.capacity)
    assert numbers(bench.all(0)) == list(range(bench.capacity))
    bench.bring(1)
    assert bench.channel.counters()["ring-full"] == 1 and bench.take(0) is None
    assert numbers(bench.all(1)) == list(range(bench.capacity))


def test_requests_that_find_no_room_wait_for_it(make: Any) -> None:
    bench = make()
    if not isinstance(bench.port, ApplicationPort | TapPort):
        pytest.skip("others lose them, and count them")
    bench.bring(3 * bench.capacity)
    got: list[list[Got]] = [[], []]
    while len(numbers(got[1])) < bench.brought:
        for replica in range(2):
            got[replica] += bench.all(replica)
    assert numbers(got[0]) == numbers(got[1]) == list(range(bench.brought))
    assert bench.channel.counters() == {"received": bench.brought, "ring-full": 0, "too-long": 0}


def test_sharded_flows_go_to_one_replica_and_control_requests_to_all(make: Any) -> None:
    bench = make()
    bench.channel.divide(2)
    bench.bring(40)
    assert bench.control()
    first = bench.take(0, shards=2)
    assert first and first.primary
    bench.channel.resume(0, bench.channel.position(0), bench.channel.controls_done(0))  # it died
    got = [bench.all(replica, shards=2) for replica in range(2)]
    assert got[0][0] == first  # the successor has the same batch
    for replica in range(2):
        assert sorted(numbers(got[replica])) == [CONTROL, *range(replica, 40, 2)]
        assert all(batch.primary for batch in got[replica] if batch.numbers)


def test_packets_leave_in_channel_order_also_when_replicas_are_told_to_stop(make: Any) -> None:
    bench = make()
    bench.bring(10)
    first = bench.take(0)
    bench.bring(10)
    assert first and bench.take(1) == Got(first.numbers, False)
    bench.release(1, ordered=True)
    second = bench.take(1)
    assert first.primary and second and second.primary
    bench.stop[0] = STOP
    assert not bench.may_send(1)  # the first batch has not left
    bench.release(1, ordered=True)
    assert bench.channel.cursors["open"][1]  # nor is it released
    assert bench.may_send(0)
    bench.release(0, ordered=True)
    assert bench.may_send(1)
