"""The load balancer against a sequential reference that Scapy sums up for, and between kernels."""

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
from scout.paths.model.graph import GraphError
from scout.paths.services.balancer import LOOKUPS, LoadBalancer
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


# The reference.


def mix(value: int) -> int:
    """Fibonacci hashing, folded to 63 bits."""
    product = (value ^ value >> 32) * 0x9E3779B97F4A7C15 % (1 << 63)
    return product ^ product >> 31


def word(endpoint: tuple[str, int]) -> int:
    return int(IPv4Address(endpoint[0])) << 16 | endpoint[1]


def maglev(serving: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The lookup table as the paper's pseudo code fills it."""
    preferences = []
    for backend in serving:
        offset, skip = mix(word(backend)) % LOOKUPS, mix(mix(word(backend))) % (LOOKUPS - 1) + 1
        preferences.append(iter([(offset + j * skip) % LOOKUPS for j in range(LOOKUPS)]))
    entry: dict[int, tuple[str, int]] = {}
    while len(entry) < LOOKUPS:
        for backend, preference in zip(serving, preferences, strict=True):
            if len(entry) < LOOKUPS:
                entry[next(row for row in preference if row not in entry)] = backend
    return [entry[row] for row in range(LOOKUPS)]


class Reference:
    """The backends of clients, one packet after the other."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int], tuple[tuple[str, int], int]] = {}
        self.serve(BACKENDS)

    def serve(self, backends: list[tuple[str, int]]) -> None:
        self.serving = [each for each in BACKENDS if each in backends]
        self.table = maglev(self.serving) if self.serving else []

    def of(self, client: tuple[str, int], now: int) -> tuple[str, int] | None:
        backend, used = self.known.get(client, (None, 0))
        return backend if now - used < TIMEOUT * SECOND else None

    def out(self, client: tuple[str, int], anew: bool, now: int) -> tuple[str, int] | None:
        backend = self.of(client, now)
        if backend is None or (anew and backend not in self.serving):
            if not self.table:
                return None
            backend = self.table[mix(word(client)) % LOOKUPS]
        self.known[client] = backend, now
        return backend


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
        self.made, self.twins, self.reference, self.now = made, twins, Reference(), NOW
        for twin in twins.values():
            twin.reset()

    def run(self, side: str, packet: Any) -> Any:
        mac = LEFT if side == "left" else RIGHT
        return self.twins[side].both(raw(Ether(dst=mac, src=HOST) / packet), timestamp=self.now)

    def serve(self, backends: list[tuple[str, int]]) -> None:
        """Change the backends, on the way of a control request."""
        self.reference.serve(backends)
        mask = self.made.service.mask(self.made.service.serving(text(each) for each in backends))
        at = list(self.made.left.stages).index("balancer.receive")
        assert self.twins["left"].both(b"", at=at, control=CONTROL_BIND, argument=mask).leaf == "control"

    def check(self, result: Any, leaf: str, packet: Any, mac: str) -> None:
        assert result.leaf == leaf
        expected = changed(packet, ttl=packet.ttl - 1) if ICMP not in packet else passed(packet)
        own = LEFT if leaf == "to left" else RIGHT
        assert result.data.hex() == raw(Ether(dst=mac, src=own, type=0x800) / expected).hex()

    def out(self, client: tuple[str, int], flags: str = "A", body: bytes = b"") -> tuple[str, int] | None:
        packet = segment(client, VIRTUAL, flags, body)
        backend = self.reference.out(client, flags == "S", self.now)
        result = self.run("left", packet)
        if backend is None:
            assert result.leaf == "balancer.receive drops balancer-no-backend"
        else:
            self.check(result, "to right", changed(packet, dst=backend[0], dport=backend[1]), GATEWAY)
        return backend

    def back(self, backend: tuple[str, int], client: tuple[str, int]) -> None:
        packet = segment(backend, client, "A", b"answer")
        expected = packet
        if self.reference.of(client, self.now) == backend:
            self.reference.known[client] = backend, self.now
            expected = changed(packet, src=VIRTUAL[0], sport=VIRTUAL[1])
        self.check(self.run("right", packet), "to left", expected, CLIENTS[client[0]])


def passed(packet: Any) -> Any:
    """An ICMP message that a router has passed on."""
    packet = packet.copy()
    packet.ttl -= 1
    del packet.chksum
    return IP(raw(packet))


@pytest.fixture(scope="module")
def compiled() -> tuple[SimpleNamespace, dict[str, Twin]]:
    made = made_of()
    return made, {"left": Twin(made.left), "right": Twin(made.right)}


@pytest.fixture
def world(compiled: Any) -> World:
    return World(*compiled)


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_it_sends_on_as_the_reference_packet_for_packet(world: World, share: float) -> None:
    chance = random.Random(61)
    clients = [(chance.choice(list(CLIENTS)), chance.randrange(1, 65536)) for _ in range(40)]
    for step in range(1000):
        world.now += chance.choice((1000, SECOND // 2)) if chance.random() < 0.99 else TIMEOUT * SECOND
        client = clients[0] if chance.random() < share else chance.choice(clients)
        if step % 200 == 199:
            world.serve(chance.sample(BACKENDS, chance.choice((0, 1, 2, 4, 5))))
        if chance.random() < 0.6:
            world.out(client, chance.choice(("S", "A", "A", "PA", "FA")), chance.randbytes(chance.randrange(30)))
        else:
            known = world.reference.of(client, world.now)
            world.back(known if known and chance.random() < 0.9 else chance.choice(BACKENDS), client)
    assert world.made.service.account() == {"events-lost": 0, "table-full": 0, "evicted": 0}
    kept = {client: text(backend) for client, (backend, _) in world.reference.known.items()}
    assert world.made.service.read() == kept


def test_all_backends_get_their_share_and_few_clients_move(world: World) -> None:
    before = maglev(BACKENDS)
    world.out(("10.0.0.2", 1))
    names = list(world.made.service.backends)
    assert [names[row["backend"]] for row in world.made.service.tables["lookup"].initial] == [
        text(each) for each in before
    ]
    assert max(Counter(before).values()) - min(Counter(before).values()) <= 1
    after = maglev(BACKENDS[:-1])
    moved = sum(one != other and one != BACKENDS[-1] for one, other in zip(before, after, strict=True))
    assert moved < 0.1 * LOOKUPS


def test_connections_keep_their_backend_when_backends_change(world: World) -> None:
    clients = [("10.0.0.3", port) for port in range(1000, 1030)]
    first = {client: world.out(client, "S") for client in clients}
    assert len(set(first.values())) > 3
    gone = first[clients[0]]
    world.serve([each for each in BACKENDS if each != gone])
    assert {client: world.out(client) for client in clients} == first
    world.back(gone, clients[0])
    assert world.out(clients[0], "S") != gone  # who begins anew gets another
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


def test_other_packets_pass_and_fragments_are_dropped(world: World) -> None:
    client = ("10.0.0.3", 1000)
    backend = world.out(client, "S")
    direct = segment(client, ("10.9.0.1", 22))
    world.check(world.run("left", direct), "to right", direct, GATEWAY)
    past = ipv4(IP(src=client[0], dst="10.9.0.1") / UDP(sport=1000, dport=80))
    world.check(world.run("left", past), "to right", past, GATEWAY)
    for part in fragment(segment(client, VIRTUAL, "A", bytes(900)), 400):
        assert world.run("left", part).leaf == "balancer.receive drops balancer-fragment"
    first, *_ = fragment(segment(backend, client, "A", bytes(900)), 400)
    assert world.run("right", first).leaf == "balancer.receive drops balancer-fragment"
    whole = raw(Ether(dst=LEFT, src=HOST) / segment(client, VIRTUAL))
    for size in range(14, len(whole)):
        assert "drops" in world.twins["left"].both(whole[:size]).leaf


def test_replicas_have_equal_tables_and_the_primary_alone_rewrites(compiled: Any) -> None:
    made = compiled[0]
    assert not made.left.stages["balancer.receive"].writes
    for twin in compiled[1].values():
        twin.reset()
    replicas, chance, out = Replicas(made.left), random.Random(62), 0
    for number in range(300):
        client = ("10.0.0.2", 7) if chance.random() < 0.9 else ("10.0.0.3", chance.randrange(1, 50))
        data = raw(Ether(dst=LEFT, src=HOST) / segment(client, VIRTUAL, chance.choice(("S", "A"))))
        replicas.serve(data, number // 3 % 2, timestamp=NOW + number * SECOND)
        out += 1
    assert replicas.leaves()["out"] == {"right": out}
    for name in ("connections", "lookup", "serving"):
        table = made.service.tables[name]
        assert (replicas.table(table, 0) == replicas.table(table, 1)).all()
    reference = Reference()
    for client, backend in made.service.read(replicas.table(made.service.tables["connections"], 0)).items():
        assert backend == text(reference.table[mix(word(client)) % LOOKUPS])


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
        ({"mode": "sharded"}, "balancer: mode 'sharded' would part packets from their answers"),
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
@pytest.mark.parametrize(("replicas", "mode"), [(2, "replicated"), pytest.param(2, "locked", marks=pytest.mark.slow)])
def test_kernels_talk_through_it(replicas: int, mode: str) -> None:
    """With default offloads: a client of the router's own address, and two servers behind it."""
    graph = router_graph("lab_balancer")
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

            def chosen(client: tuple[str, int]) -> str:
                """The backend, also if replica 0 lags a little."""
                end = time.monotonic() + 5
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
                    caller.settimeout(5.0)
                    caller.connect(("10.0.0.1", 5001))
                    client = caller.getsockname()
                    number = list(service.backends).index(chosen(client))
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
