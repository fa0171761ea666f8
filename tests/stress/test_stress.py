"""Channels under real contention: every entry is looked at, every order checked, every primary counted.

The protocols are explored in `tests/model`; here the compiled code runs, on this machine's memory. `SCOUT_STRESS`
says how many requests each test sends: the suite is content with 40,000, a night's run wants 100000000.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from scout.io.host.process import Child, wait_for_any
from scout.ring.channel import Channel
from scout.ring.floors import LAPPED
from scout.ring.membership import join, resign, resume
from scout.ring.segment import shared
from scout.ring.snapshot import Snapshots
from stress.loops import BYTES, FINDINGS, UNKNOWN, produce, replicate, serve_and_leave
from stress.pace import Events, Pace

REQUESTS = int(float(os.environ.get("SCOUT_STRESS", "4e4")))
EVENTS = min(1000, REQUESTS // 20_000)  # kills, or times that a replica joins and leaves
PATIENCE = 60 + REQUESTS / 100_000  # seconds: a tenth of what a busy machine does
REPLICAS, ENTRIES, BATCH, BURST = 2, 256, 16, 24
LONGEST = (
    REQUESTS // EVENTS // 3
)  # requests between a replica's joining and leaving, and from there to its next joining
POLICIES = ["claim", *(pytest.param(policy, marks=pytest.mark.long) for policy in ("refcount", "modulo"))]
CORES = sorted(os.sched_getaffinity(0))


class Bench:
    """A channel, its processes, and what they found."""

    def __init__(self, requests: int = REQUESTS, **options: Any) -> None:
        self.requests = requests
        self.channel = Channel(ENTRIES, BYTES, options.pop("replicas", REPLICAS), batch=BATCH, **options)
        self.findings = shared(REPLICAS + 1, FINDINGS)
        self.primaries = shared(requests, np.uint8)
        self.following = shared((REPLICAS + 1, 8), np.int64)
        self.pace = Pace(requests, limits=2)
        self.children: list[Child] = []

    def start(self, function: Any, *arguments: Any) -> Child:
        child = Child(function, *arguments)
        self.children.append(child)
        return child

    def produce(self, producer: int = -1, requests: int | None = None) -> None:
        requests = self.requests if requests is None else requests
        produce(self.channel.record, producer, requests, BURST, *self.pace.words)

    def replicate(self, replica: int, last: int | None = None, rests: int = 0) -> int:
        """In a process of its own, on a core of its own."""
        os.sched_setaffinity(0, [CORES[replica % len(CORES)]])
        arguments = (self.findings, self.primaries, self.following[replica])
        last = self.requests if last is None else last
        return int(replicate(self.channel.record, self.channel.members, replica, *arguments, last, rests))

    def finish(self) -> None:
        """Wait for all, and see that nothing is wrong with what each saw."""
        deadline = time.monotonic() + PATIENCE
        for child in self.children:
            if child.exitcode is None:
                assert child.join(max(0.0, deadline - time.monotonic())), "it hangs"
            assert child.exitcode in (0, -signal.SIGKILL)
        for trouble in ("torn", "misplaced", "disputed"):
            assert not self.findings[trouble].any(), trouble
        assert self.channel.sent == self.requests
        assert self.primaries.all(), f"{np.count_nonzero(self.primaries == 0)} requests had no primary"

    def each_had_one_primary(self) -> None:
        """All had one, and together the replicas were primary as often as there were requests."""
        assert self.findings["claimed"].sum() == self.requests
        counted = np.bincount(self.primaries, minlength=REPLICAS + 2)[1 : REPLICAS + 2]
        assert list(counted) == list(self.findings["claimed"])

    def all_saw_the_same(self) -> None:
        assert (self.findings["seen"][:REPLICAS] == self.requests).all()
        assert len(set(self.findings["digest"][:REPLICAS].tolist())) == 1


@pytest.fixture
def bench() -> Iterator[Any]:
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(**options))
        return made[-1]

    yield make
    for each in made:
        for child in each.children:
            child.kill()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("producers", [1, 2])
def test_all_replicas_see_all_in_one_order_and_each_request_has_one_primary(
    bench: Any, policy: str, producers: int
) -> None:
    run = bench(requests=REQUESTS // producers * producers, policy=policy, producers=producers)
    for replica in range(REPLICAS):
        run.start(run.replicate, replica)
    for producer in range(producers):
        run.start(run.produce, producer if producers > 1 else -1, run.requests // producers)
    run.finish()
    run.each_had_one_primary()
    run.all_saw_the_same()


@pytest.mark.parametrize("policy", POLICIES[:2])
@pytest.mark.parametrize("producers", [1, 2])
def test_a_replica_that_is_overtaken_loses_nobodys_request(bench: Any, policy: str, producers: int) -> None:
    run = bench(requests=REQUESTS // producers * producers, policy=policy, producers=producers, full="lap")

    def lag(replica: int) -> None:
        while run.replicate(replica, rests=50 * replica) < 0:
            run.channel.join(replica)  # there is no state here that it would need: it skips what it missed
            run.following[replica] = UNKNOWN

    for replica in range(REPLICAS):
        run.start(lag, replica)
    for producer in range(producers):
        run.start(run.produce, producer if producers > 1 else -1, run.requests // producers)
    run.finish()
    run.each_had_one_primary()
    assert run.findings["lapped"][1] > 0


@pytest.mark.parametrize("policy", POLICIES)
def test_replicas_that_join_and_leave_all_the_time_take_their_part(bench: Any, policy: str) -> None:
    run = bench(policy=policy)
    channel, last = run.channel, run.requests

    def come_and_go(replica: int) -> None:
        arguments = (run.findings, run.primaries, run.following[replica])
        generator = random.Random(replica)
        for _ in range(EVENTS):
            place = channel.foremost()
            while not join(channel.record, channel.members, replica, place, 0):
                place = channel.foremost()
            run.pace.limit(last, replica - 1)  # the producer waits for a member
            run.following[replica] = place
            assert run.replicate(replica, place + generator.randrange(1, LONGEST)) == 0
            resign(channel.record, channel.members, replica)
            # Without it the producer may go on so far, until it joins again.
            run.pace.limit(int(channel.members["head"][replica]) + LONGEST, replica - 1)
            assert serve_and_leave(channel.record, channel.members, replica, *arguments, last)
        run.pace.limit(last, replica - 1)

    for owner in range(2):
        run.pace.limit(LONGEST, owner)
    run.start(run.replicate, 0)
    run.start(come_and_go, 1)
    run.start(come_and_go, 2)
    run.start(run.produce)
    run.finish()
    run.each_had_one_primary()
    assert run.findings["seen"][0] == run.requests


@pytest.mark.parametrize(
    ("policy", "full"),
    [
        ("claim", "block"),
        ("claim", "lap"),
        *(
            pytest.param(*each, marks=pytest.mark.long)
            for each in (("refcount", "block"), ("refcount", "lap"), ("modulo", "block"))
        ),
    ],
)
def test_what_killed_replicas_had_begun_their_successors_finish(bench: Any, policy: str, full: str) -> None:
    run = bench(policy=policy, full=full)
    kills = Events(run.pace, EVENTS)
    living = [run.start(run.replicate, replica) for replica in range(REPLICAS)]
    producer = run.start(run.produce)
    heads, targets = run.channel.members["head"], [kills.soon(0)] * REPLICAS
    while producer.is_alive() or any(child.is_alive() for child in living) or min(heads[:REPLICAS]) < run.requests:
        wait_for_any([child for child in living if child.is_alive()], 0.0005)
        for replica in range(REPLICAS):
            if living[replica].is_alive():
                if kills.over or heads[replica] < targets[replica]:
                    continue
                living[replica].kill()
                assert living[replica].join(PATIENCE)
                kills.happen()
            if heads[replica] < run.requests:  # killed, or overtaken
                _succeed(run, living, replica)
                targets[replica] = kills.soon(int(heads[replica]))
    run.finish()
    assert np.isin(run.primaries, [1, 2]).all()


def _succeed(run: Bench, living: list[Child], replica: int) -> None:
    """A successor; if the dead one had been overtaken, it joins where the foremost is."""
    members = run.channel.members
    place = int(members["head"][replica])
    resume(run.channel.record, members, replica, place, 0)
    if members["state"][replica] == LAPPED:
        place = int(run.channel.join(replica).head)
    run.following[replica] = place
    living[replica] = run.start(run.replicate, replica)


def test_snapshots_are_never_torn() -> None:
    state, taken = shared(64, np.int64), shared(64, np.int64)
    snapshots = Snapshots()
    snapshots.enlist(0, [state])
    snapshots.enlist(1, [taken])
    saves = max(2_000, REQUESTS // 100)
    snapshots.save(0, 0)

    def owner() -> None:
        for place in range(1, saves):
            state[:] = place
            snapshots.save(0, place)

    child = Child(owner)
    took, newest = 0, -1
    while child.is_alive() or newest < saves - 1:
        place = snapshots.adopt(1, 0)
        if place >= 0:
            assert (taken == place).all() and place >= newest
            newest, took = place, took + 1
    assert child.exitcode == 0 and took > 0
