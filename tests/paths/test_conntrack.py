"""Connection tracking against a sequential reference, in its modes, and between two kernels."""

import random
import socket
from types import SimpleNamespace
from typing import Any

import pytest
import traces
from harness import NOW, Replicas, Twin, one_port
from lab_router import LEFT, RIGHT, caught_up, router_graph, two_hosts
from scapy.all import IP, TCP, Ether

from scout.io.host.lab import Lab
from scout.paths.model.graph import GraphError
from scout.paths.services.conntrack import STATES, TIMEOUTS, ConnectionTracking
from scout.supervisor import Supervisor
from scout.tools.traffic.peers import tcp_transfer

SECOND = 1_000_000_000
FIN, SYN, RST, ACK = traces.FIN, traces.SYN, traces.RST, traces.ACK


class End:
    """What one end of a connection has sent."""

    def __init__(self) -> None:
        self.isn: int | None = None
        self.next = self.fin = self.ack = None
        self.syn_acked = self.fin_acked = False


def ahead(one: int, other: int) -> int:
    """How far `one` is ahead of `other`, from -2^31 on."""
    return (one - other + (1 << 31)) % (1 << 32) - (1 << 31)


class Reference:
    """Connections by their two endpoints."""

    def __init__(self) -> None:
        self.known: dict[frozenset, Any] = {}

    def state(self, connection: Any) -> str:
        ends = list(connection.ends.values())
        if connection.reset:
            return "CLOSED"
        fins, acked = sum(e.fin is not None for e in ends), sum(e.fin_acked for e in ends)
        if acked == 2:
            return "TIME_WAIT"
        if fins:
            return "LAST_ACK" if fins == 2 else "CLOSE_WAIT" if acked else "FIN_WAIT"
        if all(e.syn_acked for e in ends):
            return "ESTABLISHED"
        return "SYN_RECEIVED" if all(e.isn is not None for e in ends) else "SYN_SENT"

    def why(self, data: bytes, now: int) -> str:
        """Why a packet fits no connection, or "" if it does."""
        if len(data) < 34 or data[23] != 6:
            return ""
        ip = Ether(data)[IP]
        if ip.flags.MF or ip.frag:
            return "tcp-fragment"
        tcp = ip.getlayer(TCP)
        if tcp is None or tcp.dataofs < 5 or ip.len < 20 + 4 * tcp.dataofs or len(data) < 54:
            return "tcp-bad-header"
        flags = set(str(tcp.flags)) & set("FSRA")
        if flags not in ({"S"}, {"S", "A"}, {"R"}, {"R", "A"}, {"A"}, {"F", "A"}):
            return "tcp-bad-flags"
        me, peer = (ip.src, tcp.sport), (ip.dst, tcp.dport)
        key = frozenset((me, peer))
        connection = self.known.get(key)
        if connection and now >= connection.until:
            connection = None
        if flags == {"S"} and (connection is None or self.state(connection) in ("TIME_WAIT", "CLOSED")):
            connection = SimpleNamespace(ends={me: End(), peer: End()}, reset=False, until=now, opener=me)
            self.known[key] = connection
        if connection is None:
            return "tcp-no-connection"
        changed = self.segment(connection, connection.ends[me], connection.ends[peer], flags, tcp, ip)
        if changed is None:
            return "tcp-out-of-window"
        if changed:
            connection.until, connection.seen = now + int(TIMEOUTS[self.state(connection)] * SECOND), now
        return ""

    def segment(self, connection: Any, me: End, peer: End, flags: set[str], tcp: Any, ip: Any) -> bool | None:
        state = self.state(connection)
        if state == "CLOSED":
            return False
        refused = state == "SYN_SENT" and me.isn is None
        if "R" in flags:
            exact = tcp.seq in (peer.ack, me.next) or (refused and "A" in flags and tcp.ack == peer.next)
            connection.reset = exact
            return exact
        if "S" in flags:
            anew = me.isn is None or (state == "SYN_SENT" and "A" not in flags)
            if not anew and (tcp.seq != me.isn or state not in ("SYN_SENT", "SYN_RECEIVED")):
                return False
        elif refused:
            return False
        if peer.ack is not None and not -(1 << 30) <= ahead(tcp.seq, peer.ack) <= 1 << 30:
            return None
        if "A" in flags:
            if peer.isn is None or not 0 <= ahead(peer.next, tcp.ack) <= 1 << 30:
                return None
            peer.syn_acked |= ahead(tcp.ack, peer.isn + 1) >= 0
            peer.fin_acked |= peer.fin is not None and ahead(tcp.ack, peer.fin) >= 0
            if me.ack is None or ahead(tcp.ack, me.ack) >= 0:
                me.ack = tcp.ack
        size = ip.len - 20 - 4 * tcp.dataofs
        last = (tcp.seq + size + len(flags & set("SF"))) % (1 << 32)
        if "S" in flags:
            me.isn, me.next = tcp.seq, last
        elif ahead(last, me.next) >= 0:
            me.next = last
        if "F" in flags:
            me.fin = last
        return True


class Talk:
    """A connection that both ends talk on: mostly as TCP does, now and then not."""

    def __init__(self, chance: random.Random, calm: float = 0.85) -> None:
        self.chance, self.calm = chance, calm
        flow = traces.random_flow(chance, (6,))
        self.flows = [flow, (flow[1], flow[0], 6, flow[4], flow[3])]
        self.restart()

    def restart(self) -> None:
        # One in three begins close to where sequence numbers wrap.
        self.next = [self.chance.choice((self.chance.getrandbits(32), 0xFFFFFF00, 0xFFFFFFFF)) for _ in range(2)]
        self.step, self.closed = 0, [False, False]

    def send(self, side: int, flags: int, size: int = 0) -> bytes:
        sequence, ack = self.next[side], self.next[1 - side] if flags & ACK else 0
        data = traces.frame(self.flows[side], bytes(size), flags, sequence, ack)
        self.next[side] = (sequence + size + bool(flags & SYN) + bool(flags & FIN)) % (1 << 32)
        return data

    def frame(self) -> bytes:
        if self.chance.random() > self.calm:
            return self.odd()
        self.step += 1
        if self.step <= 3:
            return self.send(self.step == 2, (SYN, SYN | ACK, ACK)[self.step - 1])
        side = self.chance.randrange(2)
        if all(self.closed) and self.chance.random() < 0.5:
            self.restart()
        elif self.chance.random() < 0.12 and not self.closed[side]:
            self.closed[side] = True
            return self.send(side, FIN | ACK)
        size = 0 if self.closed[side] else self.chance.randrange(300)
        return self.send(side, ACK, size)

    def odd(self) -> bytes:
        chance, side = self.chance, self.chance.randrange(2)
        flow = self.flows[side]
        kind = chance.randrange(10)
        if kind == 0:  # any flags, right numbers
            return traces.frame(flow, b"", chance.randrange(32), self.next[side], self.next[1 - side])
        if kind == 1:  # any numbers, plausible flags
            flags = chance.choice((ACK, SYN, SYN | ACK, RST, RST | ACK, FIN | ACK))
            return traces.frame(flow, b"x", flags, chance.getrandbits(32), chance.getrandbits(32))
        if kind == 2:
            return traces.frame(flow, b"", RST, self.next[side])
        if kind == 3:
            return traces.frame(flow, b"", RST | ACK, 0, self.next[1 - side])
        if kind == 4:
            return traces.frame(flow, bytes(40), fragment=chance.choice((0x2000, 3)))
        if kind == 5:  # sent again, or a little early
            back = chance.randrange(-3000, 3000)
            return traces.frame(flow, bytes(100), ACK, (self.next[side] - back) % (1 << 32), self.next[1 - side])
        if kind == 6:  # both call at once, or one calls again
            return traces.frame(flow, b"", SYN, (self.next[side] - chance.randrange(2)) % (1 << 32))
        if kind == 7:
            data = bytearray(traces.frame(flow, bytes(20)))
            data[46] = chance.randrange(16) << 4
            return bytes(data)
        if kind == 8:
            return traces.frame(flow)[: chance.randrange(14, 54)]
        self.restart()
        return self.frame()


def talking(seed: int, talks: int, count: int = 2500, share: float = 0.0) -> traces.Trace:
    """Several connections; with `share`, one has that part of all packets. Sometimes nothing comes for minutes."""
    chance, now, trace = random.Random(seed), NOW, []
    known = [Talk(chance) for _ in range(talks)]
    for _ in range(count):
        now += chance.choice((1000, 1_000_000, SECOND)) if chance.random() < 0.98 else 150 * SECOND
        trace.append(((known[0] if chance.random() < share else chance.choice(known)).frame(), now))
    return trace


TRACES = {
    "talking": talking(41, 12),
    "one talks most": talking(42, 12, share=0.9),
    "random": traces.random_trace(43, longest=60),
    "skewed": traces.skewed_trace(44, longest=60),
}


@pytest.fixture(scope="module", params=["replicated", "sharded", "locked"])
def made(request: pytest.FixtureRequest) -> SimpleNamespace:
    service = ConnectionTracking("tracking", capacity=1024, mode=request.param)
    return SimpleNamespace(service=service, twin=Twin(one_port(service).create_path("left")))


@pytest.mark.parametrize("name", TRACES)
def test_it_drops_as_the_reference_packet_for_packet(made: SimpleNamespace, name: str) -> None:
    made.twin.reset()
    reference = Reference()
    seen: dict[str, int] = {}
    states = set()
    for data, time in TRACES[name]:
        why = reference.why(data, time)
        result = made.twin.both(data, timestamp=time)
        assert result.leaf == (f"tracking.receive drops {why}" if why else "end")
        seen[why] = seen.get(why, 0) + 1
        states |= {reference.state(each) for each in reference.known.values()}
    assert made.service.misfits() == {name: seen.get(name, 0) for name in made.service.misfits()}
    if name == "talking":
        assert states == set(STATES[1:])
        assert {*made.service.misfits(), ""} == {*seen, "tcp-table-full"}
    last = TRACES[name][-1][1]
    expected = {
        (*each.opener, reference.state(each), each.seen) for each in reference.known.values() if last < each.until
    }
    assert {(*each.opener, each.state, each.seen) for each in made.service.read(last)} == expected
    assert expected


@pytest.mark.parametrize("made", ["replicated"], indirect=True)
def test_replicas_have_equal_tables(made: SimpleNamespace) -> None:
    made.twin.reset()
    replicas = Replicas(made.twin.path)
    for number, (data, time) in enumerate(TRACES["one talks most"]):
        replicas.serve(data, number // 3 % 2, timestamp=time)
    for name in ("connections", "sides", "misfits"):
        table = made.service.tables[name]
        assert (replicas.table(table, 0) == replicas.table(table, 1)).all()
    assert replicas.table(made.service.tables["misfits"], 0)["no_connection"] > 0


def call(port: int, flags: int = SYN) -> bytes:
    return traces.frame((0x0A000002, 0x0A090007, 6, port, 80), b"", flags, 7)


def test_not_strict_counts_and_drops_nothing() -> None:
    service = ConnectionTracking("tracking", strict=False, capacity=16)
    path = one_port(service).create_path("left")
    for port in range(1, 18):
        assert path.run(call(port), timestamp=NOW)[0] == "end"
    for data in (call(99, ACK), call(99, SYN | FIN), call(1, 0), call(1)[:40]):
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
    assert {each.opener[1] for each in service.read(NOW + 30)} == set(range(2, 18) if full == "evict" else range(1, 17))
    assert path.run(call(18), timestamp=NOW + 5 * SECOND + 20)[0] == "end"
    assert [each.opener[1] for each in service.read(NOW + 5 * SECOND + 21)] == [18]


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
@pytest.mark.parametrize(("replicas", "mode"), [(2, "replicated"), pytest.param(2, "locked", marks=pytest.mark.slow)])
def test_two_kernels_talk_through_it_and_nothing_is_dropped(replicas: int, mode: str) -> None:
    graph = router_graph("lab_tracking")
    service = graph.add(ConnectionTracking("tracking", mode=mode))
    for port in ("left", "right"):
        graph.connect("ip", "tracking", port)
    with Lab("tracking") as lab:
        left, router, right = two_hosts(lab)
        paths = [graph.create_path(port, order="channel") for port in ("left", "right")]  # as TCP likes it
        supervisor = Supervisor(graph, paths, replicas)
        with router.entered(), supervisor:
            assert tcp_transfer(left, right, RIGHT, 8 << 20, 30.0)["intact"]
            assert tcp_transfer(right, left, LEFT, 8 << 20, 30.0)["intact"]
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
