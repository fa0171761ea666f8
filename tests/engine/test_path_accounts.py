"""The accounts of paths, and their budgets: a path that exceeds its budget does not disturb the others."""

import numpy as np
import pytest
from port_router import finished
from queued import BULK, MAIL, VOICE, Queued, numbered, paused

from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.router import GraphError
from scout.ring.errors import ScoutError
from scout.testing import await_until

LEAST = 1e-9
"""A share of which a microsecond of work takes a quarter of an hour to be paid for."""


def test_a_path_is_accounted_for_if_that_is_asked_for():
    router = Queued({VOICE: {"account": True}, BULK: {}, MAIL: {"queue": 64}})
    with router.supervisor(2) as supervisor:
        for number in range(60):
            assert router.left.send(numbered(number, (VOICE, BULK, MAIL)[number % 3], size=4 + number))
        router.end()
        account = finished(supervisor)
        rows = [supervisor.path_figures(path) for path in router.queued]
    assert account["out"] == {"right": 60}
    voice, bulk, mail = rows
    assert [row["packets"] for row in rows] == [20, 20, 20]
    assert voice["bytes"] == sum(len(numbered(0, VOICE, size=4 + number)) for number in range(0, 60, 3))
    assert mail["bytes"] == sum(len(numbered(0, MAIL, size=4 + number)) for number in range(2, 60, 3))
    assert voice["busy_s"] > 0 and mail["busy_s"] > 0
    assert bulk["bytes"] is None and bulk["busy_s"] is None
    assert not any(supervisor.memory.paths.account(router.queued[1]).values())
    assert voice["memory_bytes"] < 4096 < 64 * 65536 < mail["memory_bytes"]


@pytest.mark.parametrize("queue", [0, 64])
def test_a_path_over_its_budget_drops_its_packets_and_others_do_not_notice(queue):
    router = Queued({VOICE: {}, BULK: {"cpu": LEAST, "queue": queue}})
    voice, bulk = router.queued
    with router.supervisor() as supervisor:
        assert router.left.send(numbered(0, BULK))
        await_until(lambda: supervisor.path_figures(bulk)["busy_s"] > 0)
        await_until(lambda: supervisor.account()["out"])  # it has been sent, and its time is charged with what follows
        for number in range(100):
            assert router.left.send(numbered(number, VOICE if number % 2 else BULK))
        router.end()
        account = finished(supervisor)
        figures = supervisor.path_figures(bulk)
        assert supervisor.path_figures(voice)["drops"] == {}
    assert account["out"] == {"right": 51} and account["drops"] == {"over-budget": 50}
    assert figures["drops"] == {"over-budget": 50} and figures["packets"] == 1
    assert [number for port, number in router.sent() if port == VOICE] == list(range(1, 100, 2))


def test_a_path_over_its_budget_lets_its_packets_wait_and_others_do_not_notice():
    router = Queued({VOICE: {"queue": 64}, BULK: {"cpu": LEAST, "queue": 16, "batch": 1, "over_budget": "defer"}})
    _, bulk = router.queued
    with router.supervisor() as supervisor:
        assert router.left.send(numbered(0, BULK))
        await_until(lambda: supervisor.path_figures(bulk)["busy_s"] > 0)
        for number in range(1, 101):
            assert router.left.send(numbered(number, VOICE if number % 2 else BULK), timeout=60)
        await_until(lambda: len(router.right.sent()) == 51)
        assert supervisor.path_figures(bulk)["waiting"] == 16
    account = supervisor.account()
    assert account["drops"] == {"queue-full": 50 - 16, "queued-at-stop": 16}


def test_a_replica_that_leaves_serves_what_was_deferred():
    router = Queued({BULK: {"cpu": LEAST, "queue": 16, "batch": 1, "over_budget": "defer"}})
    with router.supervisor(2) as supervisor:
        for number in range(4):
            assert router.left.send(numbered(number, BULK))
        await_until(lambda: supervisor.queue_figures()[0]["waiting"] + len(router.right.sent()) == 4)
        waiting = supervisor.memory.paths.queues.waiting
        await_until(lambda: len(router.right.sent()) >= 1)
        before = len(router.right.sent()) + waiting([1])
        supervisor.remove_replica(1)
        assert waiting([1]) == 0 and len(router.right.sent()) == before


def test_the_bytes_of_a_queue_are_bounded():
    memory = 64 * 144 + 4 * 1024
    router = Queued({BULK: {"queue": 64, "memory": memory}})
    with router.supervisor() as supervisor:
        with paused(supervisor):
            for number in range(10):
                assert router.left.send(numbered(number, BULK, size=900))
            router.end()
        account = finished(supervisor)
        figures = supervisor.path_figures(router.queued[0])
    assert account["drops"] == {"queue-memory": 6} == figures["drops"]
    assert memory <= figures["memory_bytes"] < memory + 4096


def test_what_exceeds_the_cpu_or_the_memory_that_is_left_is_refused():
    with pytest.raises(ScoutError, match=r"wants cpu=0.6 of each domain's time, and 0.4 is left; give it less"):
        Queued({VOICE: {"cpu": 0.6}, BULK: {"cpu": 0.6}}).supervisor()
    wish = {"queue": 64, "memory": 100_000}
    wanted = r"its queue takes 100,032 bytes of memory in each replica, and 49,968 of 150,000 are left; give it memory="
    with pytest.raises(ScoutError, match=wanted):
        Queued({VOICE: wish, BULK: wish}).supervisor(queue_memory=150_000)
    with pytest.raises(ScoutError, match=r"memory=1,000, but a queue of 64 places takes 11,264 bytes at least"):
        Queued({VOICE: {"queue": 64, "memory": 1_000}}).supervisor()


def test_paths_that_are_created_get_what_is_left_and_give_it_back():
    wish = {"queue": 64, "memory": 100_000, "cpu": 0.4}
    router = Queued({VOICE: {}, BULK: {"cpu": 0.5}})
    voice = router.queued[0]
    one, two = (voice.narrowed(source_port=port, **wish) for port in (1, 2))
    with router.supervisor(most_paths=8, path_schedule="round-robin", queue_memory=150_000) as supervisor:
        for turn in range(5):
            supervisor.create_path(one)
            with pytest.raises(ScoutError, match=r"wants cpu=0.4 of each domain's time, and 0.1 is left"):
                supervisor.create_path(two)
            cheap = voice.narrowed(source_port=2, queue=64, memory=100_000)
            with pytest.raises(ScoutError, match=r"takes 100,032 bytes .*, and 49,968 of 150,000 are left"):
                supervisor.create_path(cheap)
            for number in range(10):
                assert router.left.send(numbered(turn * 20 + number, VOICE))
            await_until(lambda: supervisor.path_figures(one)["packets"] == 10)
            epoch = supervisor.delete_path(one)
            for number in range(10, 20):
                assert router.left.send(numbered(turn * 20 + number, VOICE))
            await_until(lambda: supervisor.reached(epoch))  # noqa: B023
        router.end()
        account = finished(supervisor)
    assert account["drops"] == {} and account["out"] == {"right": 100}


def test_a_queue_of_a_path_that_is_deleted_is_served_first():
    wish = {"queue": 64, "memory": 100_000, "cpu": LEAST, "over_budget": "defer", "batch": 1}
    router = Queued({VOICE: {}})
    voice = router.queued[0]
    path = voice.narrowed(source_port=1, **wish)
    with router.supervisor(most_paths=8, path_schedule="round-robin", queue_memory=150_000) as supervisor:
        supervisor.create_path(path)
        for number in range(10):
            assert router.left.send(numbered(number, VOICE))
        await_until(lambda: supervisor.path_figures(path)["waiting"] == 9)
        supervisor.delete_path(path)
        with pytest.raises(ScoutError, match=r"takes 100,032 bytes .*, and 49,968 of 150,000 are left"):
            supervisor.create_path(path)  # its memory is in use as long as packets wait there
        waiting = supervisor.memory.paths.queues.waiting
        assert waiting() == 9


def count(frame, end, seen):
    seen[0] += 1
    return 0


def test_no_budget_holds_up_what_every_replica_does():
    service = Service("counting", {"seen": np.zeros(1, np.int64)}, [Handler(count)], "ipv4")
    with pytest.raises(GraphError, match=r"cpu=0.5, but counting\.receive may keep state .*give the path queue="):
        Queued({}, service).graph.create_path("left", protocol="udp", cpu=0.5)


def test_wishes_for_a_queue_want_a_queue():
    graph = Queued({}).graph
    with pytest.raises(GraphError, match=r"memory=4096 is for the packets of a queue; give it queue="):
        graph.create_path("left", protocol="udp", memory=4096)
    with pytest.raises(GraphError, match=r"over_budget='defer' is for the packets of a queue"):
        graph.create_path("left", protocol="udp", cpu=0.1, over_budget="defer")
    with pytest.raises(GraphError, match=r"cpu=1.5; give a share of each domain's time, 1e-09 to 1"):
        graph.create_path("left", protocol="udp", cpu=1.5)
