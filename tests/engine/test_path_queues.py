"""Paths with queues in running domains: who is served next, what is dropped, and that every packet is accounted for."""

import numpy as np
import pytest
from harness import one_port
from port_router import finished, kill, reply
from queued import BULK, MAIL, NUMBER, START, VOICE, Queued, numbered, paused
from several import count_one

from scout.paths.compiler.plan import CompileError
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.router import GraphError
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.testing import await_until


def served(wishes, given, **options):
    """The L4 ports of the frames in the order in which they left; `given` are L4 ports and times, in microseconds."""
    router = Queued(wishes)
    with router.supervisor(**options) as supervisor:
        with paused(supervisor):
            for number, (port, time) in enumerate(given):
                assert router.left.send(numbered(number, port), timestamp=START + time * 1000)
            router.end()
        account = finished(supervisor)
    assert account["out"] == {"right": len(given)}
    for port in wishes:  # in a path the order stays
        numbers = [number for each, number in router.sent() if each == port]
        assert numbers == sorted(numbers)
    return [port for port, _ in router.sent()]


TWO = {VOICE: {"queue": 64, "batch": 1}, BULK: {"queue": 64, "batch": 1}}
MIXED = [(BULK, number) for number in range(20)] + [(VOICE, 20 + number) for number in range(20)]


def test_paths_take_turns_by_default():
    assert served(TWO, MIXED) == [BULK, VOICE] * 20


def test_a_batch_leaves_a_queue_at_a_time():
    wishes = {VOICE: {"queue": 64, "batch": 5}, BULK: {"queue": 64, "batch": 10}}
    assert served(wishes, MIXED) == ([BULK] * 10 + [VOICE] * 5) * 2 + [VOICE] * 10


@pytest.mark.long
def test_the_heaviest_path_is_served_first():
    wishes = {VOICE: {"queue": 64, "weight": 9}, BULK: {"queue": 64}}
    assert served(wishes, MIXED, path_schedule="priority") == [VOICE] * 20 + [BULK] * 20


@pytest.mark.long
def test_paths_are_served_by_their_shares():
    wishes = {VOICE: {"queue": 64, "batch": 1, "weight": 3}, BULK: {"queue": 64, "batch": 1}}
    first = served(wishes, MIXED, path_schedule="weighted")[:24]
    assert (first.count(VOICE), first.count(BULK)) == (18, 6)


@pytest.mark.long
def test_the_earliest_deadline_is_served_first():
    wishes = {VOICE: {"queue": 64, "batch": 1, "deadline": 30.5e-6}, BULK: {"queue": 64, "batch": 1, "deadline": 45e-6}}
    wanted = sorted(MIXED, key=lambda each: each[1] + (30.5 if each[0] == VOICE else 45))
    assert served(wishes, MIXED, path_schedule="deadline") == [port for port, _ in wanted]


@pytest.mark.long
def test_the_queue_that_will_be_full_first_is_served_first():
    wishes = {BULK: {"queue": 64}, VOICE: {"queue": 32}}
    assert served(wishes, MIXED, path_schedule="bottleneck") == [VOICE] * 20 + [BULK] * 20


def mail_last(heads):
    """The queues in the order of their paths, the first one last."""
    for index in range(1, len(heads)):
        if heads[index].ready:
            return index
    return 0 if heads[0].ready else -1


@pytest.mark.long
def test_a_function_of_the_users_chooses():
    wishes = {MAIL: {"queue": 64}, VOICE: {"queue": 64}}
    given = [(MAIL, number) for number in range(10)] + [(VOICE, number) for number in range(10)]
    assert served(wishes, given, path_schedule=mail_last) == [VOICE] * 10 + [MAIL] * 10


def test_packets_without_a_queue_do_not_wait():
    given = [(VOICE, number) for number in range(10)] + [(9, number) for number in range(10)]
    assert served({VOICE: {"queue": 64}}, given) == [9] * 10 + [VOICE] * 10


def test_a_full_queue_drops_the_latest_and_other_paths_do_not_notice():
    router = Queued({VOICE: {"queue": 64}, BULK: {"queue": 8}})
    with router.supervisor() as supervisor:
        with paused(supervisor):
            for number in range(100):
                assert router.left.send(numbered(number, VOICE if number % 2 else BULK))
            router.end()
        account = finished(supervisor)
        rows = {row["path"]: row for row in supervisor.queue_figures()}
    assert account["drops"] == {"queue-full": 42} and account["out"] == {"right": 58}
    assert [number for port, number in router.sent() if port == BULK] == list(range(0, 16, 2))
    voice, bulk = (rows[path.name] for path in router.queued)
    assert (voice["served"], voice["full"], bulk["served"], bulk["full"]) == (50, 0, 8, 42)
    assert voice["bytes"] == 50 * len(numbered(0, VOICE)) and voice["waiting"] == bulk["waiting"] == 0


def test_long_packets_are_queued_whole():
    router = Queued({BULK: {"queue": 16}})
    given = [numbered(number, BULK, size) for number, size in enumerate((4, 600, 640, 1000, 1472))]
    with router.supervisor() as supervisor:
        for each in given:
            assert router.left.send(each)
        router.end()
        finished(supervisor)
    assert [each[NUMBER:] for each in router.right.sent()] == [each[NUMBER:] for each in given]


def never(heads):
    return -1


def wild(heads):
    return len(heads) if heads[0].ready % 2 else -7


@pytest.mark.long
@pytest.mark.parametrize("schedule", [never, wild])
def test_what_waits_at_the_end_is_accounted_for(schedule):
    router = Queued({VOICE: {"queue": 64}})
    with router.supervisor(path_schedule=schedule) as supervisor:
        for number in range(21):
            assert router.left.send(numbered(number, VOICE))
        await_until(lambda: supervisor.queue_figures()[0]["waiting"] == 21)
        router.end()
        assert not supervisor.wait(0.1)  # it is not at its end while packets wait
    account = supervisor.account()
    assert account["drops"] == {"queued-at-stop": 21} and account["received"] == 21


def test_packets_from_a_queue_are_held_and_come_back():
    router = Queued({VOICE: {"queue": 64}}, known=False)
    with router.supervisor() as supervisor:
        for number in range(5):
            assert router.left.send(numbered(number, VOICE))
        await_until(lambda: supervisor.memory.holds["held"].sum() == 5)
        router.right.send(reply("10.0.1.2"))
        await_until(lambda: len(router.right.sent()) == 6)  # with the question for the address
        router.end()
        account = finished(supervisor)
    assert account["out"]["right"] == 5


def test_a_replica_that_leaves_serves_its_queues_first():
    router = Queued({VOICE: {"queue": 256, "batch": 1}})
    with router.supervisor(2) as supervisor:
        for turn in range(4):
            for number in range(100):
                assert router.left.send(numbered(turn * 100 + number, VOICE), timeout=600)
            if turn == 1:
                supervisor.remove_replica(1)
        router.end()
        account = finished(supervisor)
    assert account["out"] == {"right": 400} and account["drops"] == {}


@pytest.mark.long
def test_replicas_that_die_lose_only_what_they_had_queued():
    """And what replicas must agree on is done at once, on a path without a queue."""
    router = Queued({}, counting())
    rest = router.paths[0]
    voice = without_service(router.graph.draft_path("left", protocol="udp", destination_port=VOICE, queue=64))
    with Supervisor(router.graph, [voice, rest, router.paths[1]], 2, report=[].append) as supervisor:
        for turn in range(6):
            kill(supervisor, turn % 2)
            for number in range(1000):
                assert router.left.send(numbered(number, VOICE if number % 2 else BULK), timeout=600)
        router.end()
        account = finished(supervisor)
        seen = [int(supervisor.table("counting.seen", replica)[0]) for replica in (0, 1)]
        assert supervisor.failures == []
    assert seen == [3000, 3000]
    assert set(account["drops"]) <= {"replica-died", "done-again", "queue-full"}


def without_service(draft):
    """The path of a draft in which packets pass by the service `counting`."""
    node = "counting.receive"
    (behind,) = [head for _, head, data in draft.out_edges(node, data=True) if data["verdict"] == 0]
    for tail, _, key, data in list(draft.in_edges(node, keys=True, data=True)):
        draft.add_edge(tail, behind, key, **data)
    draft.remove_node(node)
    return draft.establish()


def counting():
    """As in the other tests of several paths, so that it is compiled once."""
    return Service("counting", {"seen": np.zeros(1, np.int64)}, [Handler(count_one)], "ipv4")


@pytest.mark.long
def test_every_replica_does_its_work_at_the_packets_position_and_the_rest_waits():
    """The second queue never has its turn, the first one has room for eight packets."""
    router = Queued({VOICE: {"queue": 8}, BULK: {"queue": 64}}, counting())
    with router.supervisor(2, path_schedule=first_alone) as supervisor:
        with paused(supervisor, 0), paused(supervisor, 1):
            for number in range(40):
                assert router.left.send(numbered(number, VOICE if number % 2 else BULK))
        await_until(lambda: supervisor.queue_figures()[1]["waiting"] == 20)
        voice, bulk = (supervisor.path_figures(path) for path in router.queued)
        counts = [supervisor.table("counting.seen", replica) for replica in (0, 1)]
        await_until(lambda: [int(seen[0]) for seen in counts] == [40, 40])  # also for packets that are dropped, or wait
        router.end()
        await_until(lambda: len(router.right.sent()) + voice["drops"].get("queue-full", 0) == 20)
    account = supervisor.account()
    assert voice["bytes"] == bulk["bytes"] == 20 * len(numbered(0, VOICE))
    full = account["drops"].get("queue-full", 0)
    assert account["drops"] == {"queued-at-stop": 20} | ({"queue-full": full} if full else {})
    assert account["out"] == {"right": 20 - full}


def first_alone(heads):
    return 0 if heads[0].ready else -1


@pytest.mark.long
def test_replicas_that_die_with_queues_behind_replicated_work_have_equal_states():
    """Whatever becomes of the packets that wait: one queue is never served."""
    router = Queued({VOICE: {"queue": 64}, BULK: {"queue": 64}}, counting())
    with router.supervisor(2, path_schedule=first_alone) as supervisor:
        for turn in range(6):
            kill(supervisor, turn % 2)
            for number in range(1000):
                assert router.left.send(numbered(number, VOICE if number % 2 else BULK), timeout=600)
        await_until(lambda: all(supervisor.table("counting.seen", replica)[0] == 6000 for replica in (0, 1)))
        router.end()
        supervisor.stop()
        assert supervisor.failures == [] and supervisor.diverged() == []
    assert set(supervisor.account()["drops"]) <= {"replica-died", "done-again", "queue-full", "queued-at-stop"}


def test_a_path_for_all_packets_can_have_a_queue():
    """What ARP learns is learnt at once."""
    router = Queued({}, known=False)
    paths = [router.graph.create_path("left", queue=64), router.paths[1]]
    with Supervisor(router.graph, paths, 2, most_paths=16, report=[].append) as supervisor:
        assert router.left.send(numbered(7, VOICE))
        await_until(lambda: len(router.right.sent()) == 1)  # the question for the address
        router.right.send(reply("10.0.1.2"))
        await_until(lambda: len(router.right.sent()) == 2)
        router.end()
        account = finished(supervisor)
    assert account["out"]["right"] == 1
    assert set(account["drops"]) == set()


def test_a_queue_with_nothing_behind_it_is_refused():
    graph = one_port(counting())
    draft = graph.draft_path("left", queue=64)
    node = "counting.receive"
    ((behind, data),) = [(head, data) for _, head, data in draft.out_edges(node, data=True) if data["verdict"] == 0]
    (end,) = draft.successors(behind)
    draft.add_edge(node, end, 0, **data)
    draft.remove_node(behind)
    with pytest.raises(GraphError, match=r"queue=64, but nothing is left to do behind .*leave queue= out"):
        draft.establish()


def test_a_path_scheduler_without_queues_is_refused():
    with pytest.raises(ScoutError, match="path_schedule='deadline': no path has a queue; give one of them queue=256"):
        Queued({}).supervisor(path_schedule="deadline", most_paths=None)


def wishes(heads, no_such_table):
    return -1


def test_a_path_scheduler_that_wants_what_is_not_there_is_named_with_the_place():
    supervisor = Queued({VOICE: {"queue": 64}}).supervisor(path_schedule=wishes)
    with pytest.raises(CompileError, match=r"test_path_queues.py:\d+: scheduler wishes wants 'no_such_table'"):
        supervisor.__enter__()
