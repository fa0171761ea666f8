"""The load balancer: that clients keep their backends, that packets sum up for Scapy, and between kernels."""

import random
import socket
import time
from collections import Counter
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest
from harness import GATEWAY, HOST, LEFT, NOW, RIGHT, Replicas, Twin, two_ports
from lab_router import router_graph, two_hosts
from scapy.all import ICMP, IP, TCP, UDP, Ether, Raw, fragment, raw

from scout.io.host.lab import Lab
from scout.io.packet import CONTROL_BIND
from scout.paths.model.router import GraphError
from scout.paths.services.balancer import LoadBalancer
from scout.paths.services.endpoint import Endpoint
from scout.paths.services.maglev import LOOKUPS
from scout.supervisor import Supervisor

SECOND = 1_000_000_000
VIRTUAL, TIMEOUT = ("10.0.0.1", 80), 60
BACKENDS = [("10.9.0.1", 8080), ("10.9.0.1", 8081), ("10.9.0.2", 80), ("10.9.0.3", 80), ("10.9.1.4", 9999)]
CLIENTS = {f"10.0.0.{number}": f"02:00:00:00:01:{number:02x}" for number in range(2, 8)} | {"10.0.0.2": HOST}


def text(endpoint: tuple[str, int]) -> str:
    return f"{endpoint[0]}:{endpoint[1]}"


def made_of(**options: Any) -> SimpleNamespace:
    given: dict[str, Any] = {"timeout": TIMEOUT, "capacity": 1024} | options
    service = LoadBalancer("balancer", text(VIRTUAL), [text(each) for each in BACKENDS], **given)
    made = two_ports((service, ("ip", "balancer", "left"), ("ip", "balancer", "right")))
    for address, mac in CLIENTS.items():
        if address != "10.0.0.2":
            made.arp.pin(0, address, mac)
    made.service = service
    made.left, made.right = made.graph.create_path("left"), made.graph.create_path("right")
    return made


class Clients:
    """The backends of clients, as their packets have shown them."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int], tuple[tuple[str, int], int]] = {}
        self.serving = BACKENDS

    def of(self, client: tuple[str, int], now: int) -> tuple[str, int] | None:
        backend, used = self.known.get(client, (None, 0))
        return backend if now - used < TIMEOUT * SECOND else None


def ipv4(packet: Any) -> Any:
    """A packet with its checksums computed anew."""
    packet = packet.copy()
    del packet.chksum
    for layer in (TCP, UDP, ICMP):
        if layer in packet:
            del packet[layer].chksum
    return IP(raw(packet))


def changed(packet: Any, **fields: Any) -> Any:
    packet = packet.copy()
    for name, value in fields.items():
        setattr(packet if name in ("src", "dst", "ttl") else packet.payload, name, value)
    return ipv4(packet)


def segment(
    source: tuple[str, int], destination: tuple[str, int], flags: str = "A", body: bytes = b"", ttl: int = 64
) -> Any:
    ip = IP(src=source[0], dst=destination[0], ttl=ttl)
    return ipv4(ip / TCP(sport=source[1], dport=destination[1], flags=flags, seq=5, ack=6) / Raw(body))


class World:
    """A router with a balancer, run both ways, beside the reference."""

    def __init__(self, made: SimpleNamespace, twins: dict[str, Twin]) -> None:
        self.made, self.twins, self.clients, self.now = made, twins, Clients(), NOW
        for twin in twins.values():
            twin.reset()

    def run(self, side: str, packet: Any) -> Any:
        mac = LEFT if side == "left" else RIGHT
        return self.twins[side].both(raw(Ether(dst=mac, src=HOST) / packet), timestamp=self.now)

    def serve(self, backends: list[tuple[str, int]]) -> None:
        """Change the backends, on the way of a control request."""
        self.clients.serving = [each for each in BACKENDS if each in backends]
        mask = self.made.service.mask(self.made.service.serving(text(each) for each in backends))
        at = list(self.made.left.stages).index("balancer.receive")
        assert self.twins["left"].both(b"", at=at, control=CONTROL_BIND, argument=mask).leaf == "control"

    def check(self, result: Any, leaf: str, packet: Any, mac: str) -> None:
        assert result.leaf == leaf
        expected = changed(packet, ttl=packet.ttl - 1) if ICMP not in packet else passed(packet)
        own = LEFT if leaf == "to left" else RIGHT
        assert result.data.hex() == raw(Ether(dst=mac, src=own, type=0x800) / expected).hex()

    def out(self, client: tuple[str, int], flags: str = "A", body: bytes = b"") -> tuple[str, int] | None:
        """A packet of a client: it goes to the client's backend, or that of a new one to one that serves."""
        packet = segment(client, VIRTUAL, flags, body)
        backend = self.clients.of(client, self.now)
        result = self.run("left", packet)
        if backend is None or (flags == "S" and backend not in self.clients.serving):
            if not self.clients.serving:
                assert result.leaf == "balancer.receive drops balancer-no-backend"
                return None
            got = Ether(result.data)[IP]
            backend = got.dst, got[TCP].dport
            assert backend in self.clients.serving
        self.check(result, "to right", changed(packet, dst=backend[0], dport=backend[1]), GATEWAY)
        self.clients.known[client] = backend, self.now
        return backend

    def back(self, backend: tuple[str, int], client: tuple[str, int]) -> None:
        packet = segment(backend, client, "A", b"answer")
        expected = packet
        if self.clients.of(client, self.now) == backend:
            self.clients.known[client] = backend, self.now
            expected = changed(packet, src=VIRTUAL[0], sport=VIRTUAL[1])
        self.check(self.run("right", packet), "to left", expected, CLIENTS[client[0]])


def passed(packet: Any) -> Any:
    """An ICMP message that a router has passed on."""
    packet = packet.copy()
    packet.ttl -= 1
    del packet.chksum
    return IP(raw(packet))


@pytest.fixture(scope="module", params=["plain", pytest.param("native", marks=pytest.mark.long)])
def run_both(request: pytest.FixtureRequest) -> tuple[SimpleNamespace, dict[str, Twin]]:
    """The paths from both ports; compiling both takes long."""
    made, native = made_of(), request.param == "native"
    return made, {"left": Twin(made.left, native=native), "right": Twin(made.right, native=native)}


@pytest.fixture
def world(run_both: Any) -> World:
    return World(*run_both)


@pytest.mark.parametrize(
    ("share", "steps"),
    [(0.0, 300), *(pytest.param(share, 3000, marks=pytest.mark.long) for share in (0.0, 0.9))],
)
def test_each_client_keeps_its_backend_and_each_packet_sums_up(world: World, share: float, steps: int) -> None:
    chance = random.Random(61)
    clients = [(chance.choice(list(CLIENTS)), chance.randrange(1, 65536)) for _ in range(40)]
    for step in range(steps):
        world.now += chance.choice((1000, SECOND // 2)) if chance.random() < 0.99 else TIMEOUT * SECOND
        client = clients[0] if chance.random() < share else chance.choice(clients)
        if step % 100 == 99:
            world.serve(chance.sample(BACKENDS, chance.choice((0, 1, 2, 4, 5))))
        if chance.random() < 0.6:
            world.out(client, chance.choice(("S", "A", "A", "PA", "FA")), chance.randbytes(chance.randrange(30)))
        else:
            known = world.clients.of(client, world.now)
            world.back(known if known and chance.random() < 0.9 else chance.choice(BACKENDS), client)
    assert world.made.service.account() == {"events-lost": 0, "table-full": 0, "evicted": 0}
    found = {(str(client.address), client.port): name for client, name in world.made.service.read().items()}
    known = {client: text(backend) for client, (backend, _) in world.clients.known.items()}
    assert found.items() <= known.items()
    # The row of a client that has been silent for too long may have gone to another.
    assert {client for client in known if world.clients.of(client, world.now)} <= set(found)


def test_all_backends_get_their_share_and_few_clients_move(world: World) -> None:
    """Of the lookup table's rows; section 3.4 of the paper has the figures for a table of that size."""
    lookup = world.made.service.tables["lookup"].initial["backend"]
    world.out(("10.0.0.2", 1))
    before, share = lookup.copy(), Counter(lookup.tolist())
    assert sorted(share) == list(range(len(BACKENDS))) and max(share.values()) - min(share.values()) <= 1
    world.serve(BACKENDS[:-1])
    world.out(("10.0.0.2", 2))
    moved = (before != lookup) & (before != len(BACKENDS) - 1)
    assert sorted(Counter(lookup.tolist())) == list(range(len(BACKENDS) - 1))
    assert moved.sum() < 0.1 * LOOKUPS
    world.serve(BACKENDS)
    world.out(("10.0.0.2", 3))
    assert (lookup == before).all()


def test_connections_keep_their_backend_when_backends_change(world: World) -> None:
    clients = [("10.0.0.3", port) for port in range(1000, 1030)]
    first = {client: world.out(client, "S") for client in clients}
    assert len(set(first.values())) > 3
    gone = first[clients[0]]
    world.serve([each for each in BACKENDS if each != gone])
    assert {client: world.out(client) for client in clients} == first
    world.back(gone, clients[0])
    assert world.out(clients[0], "S") != gone  # a client that begins anew gets another
    world.serve([])
    assert world.out(("10.0.0.3", 999)) is None
    world.serve(BACKENDS)
    assert world.out(("10.0.0.3", 999)) is not None


def error(source: str, about: Any, destination: str) -> Any:
    return IP(raw(IP(src=source, dst=destination) / ICMP(type=3, code=4, nexthopmtu=1400) / Raw(raw(about)[:60])))


def test_errors_are_translated_with_what_they_quote(world: World) -> None:
    client = ("10.0.0.3", 1000)
    backend = world.out(client, "S", bytes(40))
    asked = segment(client, VIRTUAL, "A", bytes(40))
    there = changed(asked, dst=backend[0], dport=backend[1])
    for source, seen in ((backend[0], VIRTUAL[0]), ("10.9.7.7", "10.9.7.7")):
        result = world.run("right", error(source, there, client[0]))
        world.check(result, "to left", error(seen, asked, client[0]), CLIENTS[client[0]])
    answer = segment(backend, client, "A", bytes(40))
    here = changed(answer, src=VIRTUAL[0], sport=VIRTUAL[1])
    result = world.run("left", error(client[0], here, VIRTUAL[0]))
    world.check(result, "to right", error(client[0], answer, backend[0]), GATEWAY)
    other = error("10.9.7.7", segment(client, ("10.9.0.9", 5)), client[0])
    world.check(world.run("right", other), "to left", other, CLIENTS[client[0]])


def test_other_packets_pass(world: World) -> None:
    client = ("10.0.0.3", 1000)
    world.out(client, "S")
    direct = segment(client, ("10.9.0.1", 22))
    world.check(world.run("left", direct), "to right", direct, GATEWAY)
    past = ipv4(IP(src=client[0], dst="10.9.0.1") / UDP(sport=1000, dport=80))
    world.check(world.run("left", past), "to right", past, GATEWAY)
    whole = raw(Ether(dst=LEFT, src=HOST) / segment(client, VIRTUAL))
    for size in range(14, len(whole)):
        assert "drops" in world.twins["left"].both(whole[:size]).leaf


def parts(packet: Any, size: int = 400) -> list[Any]:
    """A packet in fragments, with new checksums."""
    return [IP(raw(each)) for each in fragment(ipv4(packet), size)]


def datagram(source: tuple[str, int], destination: tuple[str, int], number: int) -> Any:
    ip = IP(src=source[0], dst=destination[0], id=number)
    return ip / TCP(sport=source[1], dport=destination[1], flags="A", seq=5, ack=6) / Raw(bytes(range(250)) * 4)


def test_of_a_datagram_in_fragments_all_are_translated_or_none(world: World) -> None:
    client = ("10.0.0.3", 1000)
    backend = world.out(client, "S")
    assert backend is not None
    asked, answer = datagram(client, VIRTUAL, 7), datagram(backend, client, 8)
    cases = [
        ("left", asked, changed(asked, dst=backend[0], dport=backend[1]), "to right", GATEWAY),
        ("right", answer, changed(answer, src=VIRTUAL[0], sport=VIRTUAL[1]), "to left", CLIENTS[client[0]]),
    ]
    for side, packet, expected, leaf, mac in cases:
        first, *later = parts(packet)
        for part in later:  # before the first
            assert world.run(side, part).leaf == "balancer.receive drops balancer-fragment"
        for part, each in zip([first, *later], parts(expected), strict=True):
            result = world.run(side, part)
            assert result.leaf == leaf
            own = LEFT if leaf == "to left" else RIGHT
            assert result.data.hex() == raw(Ether(dst=mac, src=own, type=0x800) / passed(each)).hex()
    world.now += 30 * SECOND
    for side, packet, *_ in cases:
        assert world.run(side, parts(packet)[1]).leaf == "balancer.receive drops balancer-fragment"


def test_fragments_of_other_traffic_pass(world: World) -> None:
    """Also of a backend's own, behind their first; and of other protocols."""
    client = ("10.0.0.3", 1000)
    backend = world.out(client, "S")
    assert backend is not None
    own = datagram((backend[0], 22), client, 9)
    other = IP(src=backend[0], dst=client[0], id=10) / UDP(sport=backend[1], dport=1000) / Raw(bytes(1000))
    for packet in (own, other):
        for part in parts(packet):
            result = world.run("right", part)
            assert result.leaf == "to left"
            assert Ether(result.data)[IP].src == backend[0]


def test_a_datagram_that_no_backend_takes_is_dropped_with_all_fragments(world: World) -> None:
    world.serve([])
    leaves = [world.run("left", part).leaf for part in parts(datagram(("10.0.0.3", 999), VIRTUAL, 11))]
    assert leaves[0] == "balancer.receive drops balancer-no-backend"
    assert set(leaves[1:]) == {"balancer.receive drops balancer-fragment"}


@pytest.mark.long
def test_replicas_have_equal_tables_and_the_primary_alone_rewrites() -> None:
    made = made_of()
    assert not made.left.stages["balancer.receive"].writes
    replicas, chance, out = Replicas(made.left), random.Random(62), 0
    for number in range(300):
        client = ("10.0.0.2", 7) if chance.random() < 0.9 else ("10.0.0.3", chance.randrange(1, 50))
        data = raw(Ether(dst=LEFT, src=HOST) / segment(client, VIRTUAL, chance.choice(("S", "A"))))
        replicas.serve(data, number // 3 % 2, timestamp=NOW + number * SECOND)
        out += 1
    assert replicas.leaves()["out"] == {"right": out}
    for name in ("connections", "lookup", "serving"):
        assert replicas.agree_in(made.service.tables[name])


@pytest.mark.parametrize(("full", "key"), [("evict", "evicted"), ("refuse", "table-full")])
def test_a_full_table_evicts_or_refuses_and_counts_it(full: str, key: str) -> None:
    made = made_of(capacity=16, full=full)
    leaves = []
    for port in range(1, 18):
        data = raw(Ether(dst=LEFT, src=HOST) / segment(("10.0.0.2", port), VIRTUAL, "S"))
        leaves.append(made.left.run(data, timestamp=NOW + port)[0])
    assert leaves[:16] == ["to right"] * 16
    assert leaves[16] == ("to right" if full == "evict" else "balancer.receive drops balancer-table-full")
    assert made.service.account()[key] == 1
    assert {port for _, port in made.service.read()} == set(range(2, 18) if full == "evict" else range(1, 17))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"virtual": "10.0.0.1"}, "balancer: '10.0.0.1' is no address and port; write 10.0.0.1:80"),
        ({"virtual": "10.0.0.1:0"}, "balancer: '10.0.0.1:0' has no port of 1 to 65535"),
        ({"backends": []}, r"balancer: backends \[\]; give 1 to 32 that differ"),
        ({"backends": ["10.0.0.2:1", "10.0.0.2:1"]}, "balancer: backends .* give 1 to 32 that differ"),
        ({"protocol": "icmp"}, "balancer: protocol 'icmp'; use tcp or udp"),
        ({"timeout": 0.0}, "balancer: timeout of 0.0 seconds"),
        ({"full": "wait"}, "balancer: full='wait'; use evict or refuse"),
        ({"mode": "sharded"}, "balancer: mode 'sharded' would separate packets from their answers"),
    ],
)
def test_a_bad_balancer_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        LoadBalancer("balancer", **{"virtual": "10.0.0.1:80", "backends": ["10.0.0.2:80"]} | given)


def test_a_backend_that_is_not_there_is_refused() -> None:
    service = LoadBalancer("balancer", "10.0.0.1:80", ["10.0.0.2:80"])
    with pytest.raises(GraphError, match=r"balancer: no backend '10\.0\.0\.3:80'; there are 10\.0\.0\.2:80"):
        service.serving(["10.0.0.3:80"])


@pytest.mark.needs_namespaces
@pytest.mark.long
@pytest.mark.parametrize(("replicas", "mode"), [(2, "replicated"), (2, "locked")])
def test_kernels_talk_through_it(replicas: int, mode: str) -> None:
    """With default offloads: a client of the router's own address, and two servers behind it."""
    graph = router_graph()
    backends = [f"10.0.1.2:{port}" for port in (5001, 8081)]
    service = graph.add(LoadBalancer("balancer", "10.0.0.1:5001", backends, mode=mode))
    for port in ("left", "right"):
        graph.connect("ip", "balancer", port)
    with Lab("balancer") as lab:
        left, router, right = two_hosts(lab)
        supervisor = Supervisor(graph, [graph.create_path(port) for port in ("left", "right")], replicas)
        with router.entered(), supervisor:
            with right.entered():
                servers = [socket.create_server(("10.0.1.2", port), backlog=64) for port in (5001, 8081)]
            asked: Counter[int] = Counter()

            def chosen(client: Endpoint) -> str:
                """The backend, also if replica 0 lags a little."""
                end = time.monotonic() + 600
                while time.monotonic() < end:
                    found = service.read(supervisor.table(service.tables["connections"], 0))
                    if client in found:
                        return found[client]
                    time.sleep(0.01)
                raise AssertionError(f"{client} is not known to replica 0")

            for _ in range(20):
                with left.entered():
                    caller = socket.socket()
                with caller:
                    caller.settimeout(600)
                    caller.connect(("10.0.0.1", 5001))
                    client = caller.getsockname()
                    number = list(service.backends).index(chosen(Endpoint(IPv4Address(client[0]), client[1])))
                    accepted, peer = servers[number].accept()
                    with accepted:
                        assert peer == client
                        caller.sendall(b"question")
                        assert accepted.recv(100) == b"question"
                        accepted.sendall(bytes(100_000))
                        accepted.shutdown(socket.SHUT_WR)
                        got = 0
                        while more := caller.recv(65536):
                            got += len(more)
                        assert got == 100_000
                    asked[number] += 1
            for server in servers:
                server.close()
            assert len(asked) == 2
            supervisor.stop()
            assert not [reason for reason in supervisor.account()["drops"] if reason.startswith("balancer-")]
