"""Connection tracking by the figures of RFC 9293, between ends that behave as TCP does, and between two kernels."""

import random
import socket
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest
import traces
from harness import NOW, Replicas, in_modes, one_port
from lab_router import LEFT, RIGHT, caught_up, router_graph, two_hosts
from tcp_ends import Segment, converse
from tcp_figures import ANSWERS, FIGURES, REBOOTS
from tcp_talks import TALKS

from scout.io.host.lab import Lab
from scout.paths.model.router import GraphError
from scout.paths.services.conntrack import TIMEOUTS, ConnectionTracking
from scout.paths.services.endpoint import Endpoint
from scout.paths.services.tcp_states import STATES
from scout.supervisor import Supervisor
from scout.tools.traffic.peers import tcp_transfer

SECOND = 1_000_000_000
FIN, SYN, RST, ACK = traces.FIN, traces.SYN, traces.RST, traces.ACK


A, B = Endpoint(IPv4Address("10.0.0.2"), 5000), Endpoint(IPv4Address("10.9.0.1"), 80)
WAY = {"A": (0x0A000002, 0x0A090001, 6, 5000, 80), "B": (0x0A090001, 0x0A000002, 6, 80, 5000)}
FLAGS = {"F": FIN, "S": SYN, "R": RST, "A": ACK}


def segment(end: str, flags: str, sequence: int, ack: int = 0, size: int = 0) -> bytes:
    """A segment of A or B; flags by their letters."""
    return traces.frame(WAY[end], bytes(size), sum(FLAGS[flag] for flag in flags), sequence, ack)


OPEN = [("A", "S", 100, 0), ("B", "SA", 300, 101), ("A", "A", 101, 301)]


@pytest.mark.parametrize("modulus", [0, (1 << 32) - 250])
@pytest.mark.parametrize("name", [*FIGURES, *REBOOTS, *ANSWERS])
def test_the_figures_of_the_rfc_pass(made: SimpleNamespace, name: str, modulus: int) -> None:
    """Also with numbers that wrap."""
    made.twin.reset()
    for step, (text, state) in enumerate((FIGURES | REBOOTS | ANSWERS)[name]):
        end, flags, *numbers = text.split()
        sequence, ack, size = (*map(int, numbers), 0, 0)[:3]
        sequence, ack = (sequence + modulus) % (1 << 32), (ack + modulus) % (1 << 32) if ack else 0
        now = NOW + step * SECOND // 10
        assert made.twin.both(segment(end, flags, sequence, ack, size), timestamp=now).leaf == "end", text
        assert [each.state for each in made.service.read(now)] == [state], text


OUT = {
    "data far ahead of the window": ("A A 1200000000 301 10", "tcp-out-of-window"),
    "an acknowledgement of what was never sent": ("A A 101 400", "tcp-out-of-window"),
    "no flags": ("A  101 301", "tcp-bad-flags"),
    "SYN and FIN": ("A SF 101 301", "tcp-bad-flags"),
    "SYN and RST": ("A SR 101 301", "tcp-bad-flags"),
    "FIN and RST": ("A FR 101 301", "tcp-bad-flags"),
}


@pytest.mark.parametrize("name", OUT)
def test_segments_that_belong_to_no_connection_are_dropped_and_change_nothing(made: SimpleNamespace, name: str) -> None:
    made.twin.reset()
    for text, _ in FIGURES["6, basic handshake"]:
        end, flags, *numbers = text.split()
        made.twin.both(segment(end, flags, *map(int, numbers)), timestamp=NOW)
    sides = made.service.tables["sides"].initial.copy()
    (end, flags, *numbers), reason = OUT[name][0].split(" "), OUT[name][1]
    leaf = made.twin.both(segment(end, flags, *map(int, numbers)), timestamp=NOW + SECOND).leaf
    assert leaf == f"tracking.receive drops {reason}"
    assert made.service.misfits() == dict.fromkeys(made.service.misfits(), 0) | {reason: 1}
    assert (made.service.tables["sides"].initial == sides).all()
    (connection,) = made.service.read(NOW + SECOND)
    assert connection == ("ESTABLISHED", A, B, NOW)


def test_an_answer_to_a_syn_that_has_not_come_by_is_dropped(made: SimpleNamespace) -> None:
    made.twin.reset()
    assert made.twin.both(segment("A", "S", 100_000), timestamp=NOW).leaf == "end"
    for acknowledged in (50_000, 100_000, 100_002, 150_000):
        leaf = made.twin.both(segment("B", "SA", 7_000, acknowledged), timestamp=NOW + SECOND).leaf
        assert leaf == "tracking.receive drops tcp-out-of-window"
        assert made.service.read(NOW + SECOND) == [("SYN_SENT", A, B, NOW)]
    # The end that has answered another SYN challenges this one, and the opener resets it.
    for step in [("A", "S", 100_000), ("B", "A", 7_001, 50_000), ("A", "R", 50_000), ("A", "S", 100_000)]:
        assert made.twin.both(segment(*step), timestamp=NOW + 2 * SECOND).leaf == "end"
    for step in [("B", "SA", 8_000, 100_001), ("A", "A", 100_001, 8_001)]:
        assert made.twin.both(segment(*step), timestamp=NOW + 2 * SECOND).leaf == "end"
    assert [each.state for each in made.service.read(NOW + 2 * SECOND)] == ["ESTABLISHED"]


@pytest.mark.parametrize(
    ("before", "reset", "state"),
    [
        (OPEN, ("A", "R", 101), "CLOSED"),
        (OPEN, ("B", "R", 301), "CLOSED"),
        (OPEN, ("B", "R", 300), "ESTABLISHED"),  # a challenge follows: RFC 5961
        (OPEN, ("B", "RA", 0, 101), "ESTABLISHED"),
        (OPEN[:1], ("B", "RA", 0, 101), "CLOSED"),  # refused
        (OPEN[:1], ("B", "RA", 0, 100), "SYN_SENT"),
        (OPEN[:1], ("B", "R", 0), "SYN_SENT"),
        (OPEN[:2], ("B", "R", 301), "CLOSED"),
    ],
)
def test_a_reset_passes_and_counts_if_its_number_is_exact(
    made: SimpleNamespace, before: list[Any], reset: Any, state: str
) -> None:
    made.twin.reset()
    for each in (*before, reset):
        assert made.twin.both(segment(*each), timestamp=NOW).leaf == "end"
    assert [each.state for each in made.service.read(NOW)] == [state]


@pytest.mark.parametrize("state", TIMEOUTS)
def test_a_connection_is_forgotten_after_its_states_time(made: SimpleNamespace, state: str) -> None:
    made.twin.reset()
    figure = next(steps for steps in FIGURES.values() if state in dict(steps).values())
    for text, now_in in figure:
        end, flags, *numbers = text.split()
        made.twin.both(segment(end, flags, *map(int, numbers)), timestamp=NOW)
        if now_in == state:
            break
    until = NOW + int(TIMEOUTS[state] * SECOND)
    assert [each.state for each in made.service.read(until - 1)] == [state]
    assert made.twin.both(segment("B", "A", 1, 1), timestamp=until).leaf == "tracking.receive drops tcp-no-connection"


def test_a_gso_packet_that_belongs_to_no_connection_counts_as_its_segments(made: SimpleNamespace) -> None:
    made.twin.reset()
    made.twin.both(segment("A", "A", 1, 1, 2500), timestamp=NOW, gso_type=1, gso_size=1000)
    assert made.service.misfits()["tcp-no-connection"] == 3


def test_connections_expire_although_the_clock_was_set_back(made: SimpleNamespace) -> None:
    made.twin.reset()
    hour = 3600 * SECOND
    made.twin.both(segment("A", "S", 100), timestamp=NOW)
    made.twin.both(segment("B", "A", 1, 1), timestamp=NOW - hour)
    made.twin.both(segment("B", "A", 1, 1), timestamp=NOW - hour + 239 * SECOND)
    assert made.service.misfits()["tcp-no-connection"] == 0
    made.twin.both(segment("B", "A", 1, 1), timestamp=NOW - hour + 240 * SECOND)
    assert made.service.misfits()["tcp-no-connection"] == 1


made = in_modes(
    lambda mode: ConnectionTracking("tracking", capacity=1024, mode=mode), "replicated", "sharded", "locked"
)


@pytest.mark.parametrize("name", ["talking", *(pytest.param(name, marks=pytest.mark.long) for name in [*TALKS][1:])])
def test_random_segments_do_no_harm_and_are_the_same_natively(made: SimpleNamespace, name: str) -> None:
    made.twin.reset()
    leaves, states = set(), set()
    for data, time in TALKS[name]:
        leaves.add(made.twin.both(data, timestamp=time).leaf.split(" drops ")[-1])
        states |= {each.state for each in made.service.read(time)}
    if name == "talking":
        assert states == set(STATES[1:])
        assert leaves >= {"end", *made.service.misfits()} - {"tcp-table-full"}


@pytest.mark.parametrize("made", ["replicated"], indirect=True)
def test_replicas_have_equal_tables(made: SimpleNamespace) -> None:
    made.twin.reset()
    replicas = Replicas(made.twin.path)
    replicas.serve_all(TALKS["one talks most"])
    for name in ("connections", "sides", "misfits"):
        table = made.service.tables[name]
        assert replicas.agree_in(table)
    assert replicas.table(made.service.tables["misfits"], 0)["packets"][0] > 0


def call(port: int, flags: int = SYN) -> bytes:
    return traces.frame((0x0A000002, 0x0A090007, 6, port, 80), b"", flags, 7)


def test_not_strict_counts_and_drops_nothing() -> None:
    service = ConnectionTracking("tracking", strict=False, capacity=16)
    path = one_port(service).create_path("left")
    for port in range(1, 18):
        assert path.run(call(port), timestamp=NOW)[0] == "end"
    short = bytearray(call(1))
    short[46] = 4 << 4  # a header of 16 bytes
    for data in (call(99, ACK), call(99, SYN | FIN), call(1, 0), bytes(short)):
        assert path.run(data, timestamp=NOW)[0] == "end"
    assert path.run(traces.frame((1, 2, 6, 3, 4), fragment=1), timestamp=NOW)[0] == "end"
    assert service.misfits() == {
        "tcp-no-connection": 1,
        "tcp-bad-flags": 2,
        "tcp-bad-header": 1,
        "tcp-fragment": 1,
        "tcp-out-of-window": 0,
        "tcp-table-full": 1,
    }


@pytest.mark.parametrize(("full", "key"), [("evict", "evicted"), ("refuse", "table-full")])
def test_a_full_table_evicts_or_refuses_and_counts_it(full: str, key: str) -> None:
    service = ConnectionTracking("tracking", capacity=16, full=full, timeouts={"SYN_SENT": 5.0})
    path = one_port(service).create_path("left")
    for port in range(1, 17):
        assert path.run(call(port), timestamp=NOW + port)[0] == "end"
    leaf = path.run(call(17), timestamp=NOW + 20)[0]
    assert leaf == ("end" if full == "evict" else "tracking.receive drops tcp-table-full")
    assert service.account()[key] == 1
    assert {each.opener.port for each in service.read(NOW + 30)} == set(
        range(2, 18) if full == "evict" else range(1, 17)
    )
    assert path.run(call(18), timestamp=NOW + 5 * SECOND + 20)[0] == "end"
    assert [each.opener.port for each in service.read(NOW + 5 * SECOND + 21)] == [18]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"timeouts": {"SYN_SENT": 0.0}}, "tracking: timeout SYN_SENT=0.0; give more than 0 seconds for SYN_SENT, "),
        ({"timeouts": {"OPEN": 1.0}}, "tracking: timeout OPEN=1.0; give"),
        ({"full": "wait"}, "tracking: full='wait'; use evict or refuse"),
        ({"mode": "atomic"}, "tracking: its handlers are not written for mode 'atomic'"),
    ],
)
def test_bad_tracking_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        ConnectionTracking("tracking", **given)


@pytest.mark.needs_namespaces
@pytest.mark.long
@pytest.mark.parametrize(("replicas", "mode"), [(2, "replicated"), (2, "locked")])
def test_two_kernels_talk_through_it_and_nothing_is_dropped(replicas: int, mode: str) -> None:
    graph = router_graph()
    service = graph.add(ConnectionTracking("tracking", mode=mode))
    for port in ("left", "right"):
        graph.connect("ip", "tracking", port)
    with Lab("tracking") as lab:
        left, router, right = two_hosts(lab)
        paths = [graph.create_path(port, order="channel") for port in ("left", "right")]  # as TCP likes it
        supervisor = Supervisor(graph, paths, replicas)
        with router.entered(), supervisor:
            assert tcp_transfer(left, right, RIGHT, 8 << 20, 600.0)["intact"]
            assert tcp_transfer(right, left, LEFT, 8 << 20, 600.0)["intact"]
            with left.entered():
                caller = socket.socket()
            with caller, pytest.raises(ConnectionRefusedError):
                caller.connect((RIGHT, 9))
            caught_up(supervisor)
            supervisor.stop()
            assert not [reason for reason in supervisor.account()["drops"] if reason.startswith("tcp-")]
            assert not any(service.misfits(supervisor.table(service.tables["misfits"], 0)).values())
            connections = supervisor.table(service.tables["connections"], 0)
            states = [STATES[row["state"]] for row in connections if row["key"] > 0]
            assert sorted(states) == ["CLOSED", "TIME_WAIT", "TIME_WAIT"]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_dropped_of_ends_that_behave_as_tcp(seed: int) -> None:
    """Whatever is lost, repeated or reordered; and the state follows them to the end."""
    service, now = ConnectionTracking("tracking", capacity=16), NOW
    path = one_port(service).create_path("left")

    def passes(end: str, each: Segment) -> bool:
        nonlocal now
        now += SECOND // 100
        data = segment(end, each.flags, each.sequence, each.ack, each.size)
        return path.run(data, timestamp=now)[0] == "end"

    converse(random.Random(seed), passes)
    assert [each.state for each in service.read(now)] == ["TIME_WAIT"]
