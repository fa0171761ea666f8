"""NAPT by the requirements of its RFCs, with packets that sum up for Scapy, and between kernels.

Over 400 lines because all sections share one router, which is compiled once, and the reference it is compared with.
"""

import os
import random
import signal
import socket
import struct
from ipaddress import IPv4Address
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from harness import GATEWAY, HOST, LEFT, MTU, NOW, RIGHT, Replicas, Twin, two_ports
from lab_router import awaited_error, router_graph, two_hosts
from scapy.all import ICMP, IP, TCP, UDP, Ether, Raw, fragment, raw

from scout.io.host.lab import Lab
from scout.io.packet import NEEDS_CHECKSUM
from scout.io.ports.memory import MemoryPort
from scout.paths.model.router import GraphError
from scout.paths.services.endpoint import Endpoint
from scout.paths.services.napt import Mapping, Napt
from scout.supervisor import Supervisor
from scout.tools.traffic.peers import ping, tcp_transfer

SECOND = 1_000_000_000
OWN = "10.0.1.1"
HOSTS = {f"10.0.0.{number}": f"02:00:00:00:01:{number:02x}" for number in range(2, 10)} | {"10.0.0.2": HOST}
REMOTES = [f"10.9.0.{number}" for number in range(1, 6)]
POOL = (1, 4095)
STEPS = int(float(os.environ.get("SCOUT_STRESS", "3e5"))) // 400  # of random traffic


def made_of(
    burst: int = 50, on: dict[str, MemoryPort] | None = None, order: str = "completed", **options: Any
) -> SimpleNamespace:
    """A router with NAPT: its graph, and its paths from both sides; `on` these ports for a supervisor."""
    service = Napt("napt", "left", "right", **{"ports": POOL, "capacity": 256} | options)
    connections = (("ip", "napt", "left"), ("ip", "napt", "right"), ("napt", "arp"))
    made = two_ports((service, *connections), ports=on, burst=burst)
    for address, mac in HOSTS.items():
        if address != "10.0.0.2":
            made.arp.pin(0, address, mac)
    made.service = service
    made.left, made.right = (made.graph.create_path(port, order=order) for port in ("left", "right"))
    return made


# The reference.


def ipv4_bytes(packet: Any, keep: tuple[str, ...] = ()) -> bytes:
    """A packet with all checksums computed anew, but those of UDP that says it has none."""
    packet = packet.copy()
    del packet[IP].chksum
    for layer in (TCP, UDP, ICMP):
        if layer in packet and "transport" not in keep and not (layer is UDP and packet[UDP].chksum == 0):
            del packet[layer].chksum
    return raw(packet)


class Reference:
    """The mappings that packets have shown, and for how long the RFCs let them last; one packet after the other.

    A mapping of TCP lasts as long as one with an established connection: the random traffic meets a NAPT with no other
    time, and the tests of connections say by themselves how long theirs last.
    """

    times = {TCP: 7440, UDP: 300, ICMP: 60}

    def __init__(self, filters: bool = False, pool: tuple[int, int] = POOL) -> None:
        self.filters, self.pool = filters, pool
        self.mappings: dict[tuple, SimpleNamespace] = {}  # (layer, address, port)
        self.peers: dict[tuple, int] = {}  # (layer, address, port, remote address): until when

    def live(self, now: int) -> dict[tuple, SimpleNamespace]:
        return {key: each for key, each in self.mappings.items() if now < each.until}

    def owner(self, layer: Any, external: int, now: int) -> tuple | None:
        found = [key for key, each in self.live(now).items() if (key[0], each.external) == (layer, external)]
        assert len(found) < 2, "two endpoints share a port"
        return found[0] if found else None

    def out(self, packet: Any, layer: Any, port: int, external: int, now: int) -> None:
        """A packet from inside has left with this port outside: that of its mapping, or a good one for a new one."""
        key = (layer, packet.src, port)
        mapping = self.live(now).get(key)
        if mapping is None:
            low, high = self.pool
            assert self.owner(layer, external, now) is None
            assert low <= external <= high
            if low <= port <= high and self.owner(layer, port, now) is None:
                assert external == port
            assert external % 2 == port % 2
            assert (external < 1024) == (port < 1024)
            self.peers = {each: until for each, until in self.peers.items() if each[:3] != key}
            mapping = self.mappings[key] = SimpleNamespace(external=external)
        assert external == mapping.external
        mapping.until = self.peers[(*key, packet.dst)] = now + self.times[layer] * SECOND

    def into(self, packet: Any, layer: Any, external: int, now: int) -> tuple | str:
        """The endpoint inside that a packet from outside is for, or why it is dropped."""
        key = self.owner(layer, external, now)
        if key is None:
            return "napt-no-mapping"
        if self.filters and now >= self.peers.get((*key, packet.src), 0):
            return "napt-filtered"
        return key


def layer_of(packet: Any) -> Any:
    return next((layer for layer in (TCP, UDP, ICMP) if layer in packet), None)


def number_of(packet: Any, layer: Any, name: str) -> int:
    return packet[ICMP].id if layer is ICMP else getattr(packet[layer], name)


def renumbered(packet: Any, layer: Any, name: str, address: str, number: int) -> Any:
    """A copy of a packet with another source or destination, checksums computed anew."""
    packet = packet.copy()
    setattr(packet, "src" if name == "sport" else "dst", address)
    if layer is ICMP:
        packet[ICMP].id = number
    else:
        setattr(packet[layer], name, number)
    return IP(ipv4_bytes(packet))


def forwarded(packet: Any, hops: int = 1) -> bytes:
    """The bytes of a packet that a router has passed on."""
    packet = packet.copy()
    packet.ttl -= hops
    return ipv4_bytes(packet, keep=("transport",))


class World:
    """A router with NAPT, run both ways, beside the reference."""

    def __init__(self, made: SimpleNamespace, twins: tuple[Twin, Twin], filters: bool = False) -> None:
        self.made, self.reference = made, Reference(filters)
        self.twins = dict(zip(("left", "right"), twins, strict=True))
        for twin in twins:
            twin.reset()
        self.now = NOW
        self.seen: dict[str, int] = {}
        self.sent: list[tuple[Any, Any, Any]] = []  # as sent by whom, as received by whom, and the layer
        self.received: list[tuple[Any, Any, Any]] = []

    def run(self, side: str, packet: Any, **fields: int) -> Any:
        data = raw(Ether(dst=LEFT if side == "left" else RIGHT, src=HOST) / packet)
        result = self.twins[side].both(data, timestamp=self.now, **fields)
        self.seen[result.leaf] = self.seen.get(result.leaf, 0) + 1
        return result

    def check(self, result: Any, leaf: str, packet: Any = None, mac: str = "") -> None:
        assert result.leaf == leaf
        if packet is not None:
            source = LEFT if leaf == "to left" else RIGHT
            expected = raw(Ether(dst=mac, src=source))[:12] + b"\x08\0" + forwarded(packet)
            assert result.data.hex() == expected.hex()

    def out(self, packet: Any, partial: bool = False) -> Any:
        """A packet of a host inside to one outside."""
        packet = IP(ipv4_bytes(packet))
        layer = layer_of(packet)
        if layer is None:
            return self.check(self.run("left", packet), "napt.send drops napt-unsupported")
        port, now = number_of(packet, layer, "sport"), self.now
        fields, given = {}, packet
        if partial:
            given, fields = partially(packet), {"flags": NEEDS_CHECKSUM}
        result = self.run("left", given, **fields)
        if layer is ICMP and packet[ICMP].type in (0, 14) and (layer, packet.src, port) not in self.reference.live(now):
            return self.check(result, "napt.send drops napt-no-mapping")
        assert result.leaf == "to right"
        external = number_of(IP(result.data[14:]), layer, "sport")
        self.reference.out(packet, layer, port, external, now)
        expected = renumbered(packet, layer, "sport", OWN, external)
        self.check(result, "to right", partially(expected) if partial else expected, GATEWAY)
        self.sent.append((packet, IP(forwarded(expected)), layer))
        return expected

    def into(self, packet: Any, partial: bool = False) -> Any:
        """A packet of a host outside to the router's address."""
        packet = IP(ipv4_bytes(packet))
        layer = layer_of(packet)
        endpoint = self.reference.into(packet, layer, number_of(packet, layer, "dport"), self.now)
        fields, given = {}, packet
        if partial:
            given, fields = partially(packet), {"flags": NEEDS_CHECKSUM}
        result = self.run("right", given, **fields)
        if isinstance(endpoint, str):
            return self.check(result, f"napt.receive drops {endpoint}")
        _, address, port = endpoint
        expected = renumbered(packet, layer, "dport", address, port)
        self.check(result, "to left", partially(expected) if partial else expected, HOSTS[address])
        self.received.append((packet, IP(forwarded(expected)), layer))
        return expected

    def hairpin(self, packet: Any) -> Any:
        """A packet of a host inside to the router's address outside."""
        packet = IP(ipv4_bytes(packet))
        layer = layer_of(packet)
        if self.reference.owner(layer, packet[layer].dport, self.now) is None:
            return self.check(self.run("left", packet), "to left")  # the router's own answer: unreachable
        result = self.run("left", packet)
        sport = packet[layer].sport
        (external,) = (  # it is mapped also if it is then dropped on the way in
            each.external
            for each in self.made.service.read(self.now)
            if each[:2] == (packet.proto, (IPv4Address(packet.src), sport))
        )
        self.reference.out(packet, layer, sport, external, self.now)
        between = renumbered(packet, layer, "sport", OWN, external)
        endpoint = self.reference.into(between, layer, packet[layer].dport, self.now)
        if isinstance(endpoint, str):
            return self.check(result, f"napt.receive drops {endpoint}")
        expected = renumbered(between, layer, "dport", endpoint[1], endpoint[2])
        return self.check(result, "to left", expected, HOSTS[endpoint[1]])


def partially(packet: Any) -> Any:
    """A copy with its transport checksum left to the device: the pseudo-header's sum alone."""
    packet = packet.copy()
    data = raw(packet[layer_of(packet)])
    words = struct.unpack(
        "!6H",
        IPv4Address(packet.src).packed + IPv4Address(packet.dst).packed + struct.pack("!HH", packet.proto, len(data)),
    )
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    packet[layer_of(packet)].chksum = total
    return packet


def error(source: str, about: Any, size: int, kind: int, code: int, destination: str) -> Any:
    """An ICMP error that quotes the first `size` bytes of a packet's payload."""
    quote = raw(about)[: 4 * about.ihl + size]
    return IP(raw(IP(src=source, dst=destination) / ICMP(type=kind, code=code) / Raw(quote)))


# The router, compiled once.


@pytest.fixture(scope="module")
def open_() -> tuple[SimpleNamespace, tuple[Twin, Twin]]:
    made = made_of()
    return made, (Twin(made.left), Twin(made.right))


@pytest.fixture(scope="module")
def one_time(open_: Any) -> tuple[SimpleNamespace, tuple[Twin, Twin]]:
    made = made_of(transitory=7440)
    return made, (Twin(made.left), Twin(made.right))


@pytest.fixture(scope="module")
def filtering(open_: Any) -> tuple[SimpleNamespace, tuple[Twin, Twin]]:
    made = made_of(filtering="address-dependent", transitory=7440)
    return made, (Twin(made.left), Twin(made.right))


@pytest.fixture
def world(open_: Any) -> World:
    return World(*open_)


def udp(source: str, sport: int, destination: str, dport: int, body: bytes = b"x" * 20, **more: Any) -> Any:
    return IP(src=source, dst=destination, **more) / UDP(sport=sport, dport=dport) / Raw(body)


def tcp(source: str, sport: int, destination: str, dport: int, flags: str = "A", body: bytes = b"", **more: Any) -> Any:
    return (
        IP(src=source, dst=destination, **more) / TCP(sport=sport, dport=dport, flags=flags, seq=7, ack=9) / Raw(body)
    )


def echo(source: str, number: int, destination: str, kind: int = 8) -> Any:
    return IP(src=source, dst=destination) / ICMP(type=kind, id=number, seq=3) / Raw(b"ping")


# Random traffic.


class Traffic:
    """Packets of all kinds, most of them of connections that exist."""

    def __init__(self, world: World, seed: int, share: float = 0.0) -> None:
        self.world, self.chance, self.share = world, random.Random(seed), share
        # Few ports, so that hosts want the same; some that the pool does not have.
        self.bodies = (0, 1, 20, 700)
        self.ports = [53, 1000, 1023, 1024, 2000, 2001, 3000, 4095, 5000, 60001]

    def remote(self) -> tuple[str, int]:
        return self.chance.choice(REMOTES), self.chance.choice((53, 80, 443))

    def endpoint(self) -> tuple[str, int]:
        if self.chance.random() < self.share:
            return "10.0.0.2", 2000
        return self.chance.choice(list(HOSTS)), self.chance.choice(self.ports)

    def packet(self, layer: Any, source: str, sport: int, destination: str, dport: int) -> Any:
        chance = self.chance
        body = chance.randbytes(chance.choice(self.bodies))
        options = {"options": b"\x01\x01\x01\x00"} if chance.random() < 0.05 else {}
        ip = IP(src=source, dst=destination, id=chance.getrandbits(16), ttl=chance.randrange(3, 255))
        if options:
            ip.options = options["options"]
        if layer is TCP:
            flags = chance.choice(("S", "SA", "A", "A", "A", "PA", "FA", "R"))
            return ip / TCP(sport=sport, dport=dport, flags=flags, seq=chance.getrandbits(32)) / Raw(body)
        if layer is UDP:
            return ip / UDP(sport=sport, dport=dport, chksum=0 if chance.random() < 0.1 else None) / Raw(body)
        return ip / ICMP(type=chance.choice((8, 13)), id=sport, seq=chance.getrandbits(16)) / Raw(body)

    def step(self) -> None:
        chance, world = self.chance, self.world
        world.now += chance.choice((1000, SECOND, 5 * SECOND))
        if chance.random() < 0.01:
            world.now += chance.choice((70, 250, 310, 7500)) * SECOND
        layer = chance.choice((TCP, TCP, UDP, UDP, ICMP))
        kind = chance.random()
        partial = layer is not ICMP and chance.random() < 0.2
        if kind < 0.5:
            packet = self.packet(layer, *self.endpoint(), *self.remote())
            world.out(packet, partial and (layer is TCP or packet[UDP].chksum != 0))
        elif kind < 0.85:
            self.answer(layer, partial)
        elif kind < 0.9:
            layer = chance.choice((TCP, UDP))
            live = [each.external for key, each in world.reference.live(world.now).items() if key[0] is layer]
            external = chance.choice(live) if live and chance.random() < 0.8 else chance.randrange(1, 65536)
            world.hairpin(self.packet(layer, *self.endpoint(), OWN, external))
        elif kind < 0.92:
            world.out(IP(src=self.endpoint()[0], dst=self.remote()[0], proto=47) / Raw(b"tunnel"))
        else:
            self.error()

    def answer(self, layer: Any, partial: bool) -> None:
        chance, world = self.chance, self.world
        live = [(key, each) for key, each in world.reference.live(world.now).items() if key[0] is layer]
        source, sport = self.remote()
        external = chance.choice(live)[1].external if live and chance.random() < 0.9 else chance.randrange(1, 65536)
        packet = self.packet(layer, source, sport, OWN, external)
        if layer is ICMP:
            packet[ICMP].type = packet[ICMP].type - 8 if packet[ICMP].type == 8 else 14
            packet[ICMP].id = external
        world.into(packet, partial and (layer is TCP or packet[UDP].chksum != 0))

    def error(self) -> None:
        """An error about a packet of before, from either side: its quote must come out as its sender sent it."""
        chance, world = self.chance, self.world
        outward = chance.random() < 0.4
        past = world.received if outward else world.sent
        if not past:
            return
        before, after, layer = chance.choice(past[-20:])
        size = chance.choice((8, 18, 20, 500))
        kind, code = chance.choice(((3, 3), (3, 4), (11, 0), (12, 0)))
        good = chance.random() < 0.9
        before = before.copy()
        before.ttl = after.ttl
        before = IP(ipv4_bytes(before, keep=("transport",)))
        if outward:
            # Somebody inside could not take what came from outside.
            packet = error(after.dst, after, size, kind, code, after.src)
            expected = error(OWN, before, size, kind, code, before.src)
            mapping = world.reference.live(world.now).get((layer, after.dst, number_of(after, layer, "dport")))
            if mapping is not None and mapping.external != number_of(before, layer, "dport"):
                return  # the endpoint has another port by now
            known = mapping is not None
            leaf, mac = "to right", GATEWAY
        else:
            packet = error(chance.choice(REMOTES), after, size, kind, code, OWN)
            expected = error(packet.src, before, size, kind, code, before.src)
            owner = world.reference.owner(layer, number_of(after, layer, "sport"), world.now)
            known, leaf, mac = owner is not None, "to left", HOSTS[before.src]
            if owner is not None and owner[1:] != (before.src, number_of(before, layer, "sport")):
                return  # the port has another owner by now
        if not good:
            packet[ICMP].chksum ^= 0x5555
        stage = "send" if outward else "receive"
        result = world.run("left" if outward else "right", packet)
        if known and good:
            world.check(result, leaf, expected, mac)
        else:
            world.check(result, f"napt.{stage} drops napt-{'bad-checksum' if known else 'no-mapping'}")


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_random_traffic_is_translated_by_mappings(one_time: Any, share: float) -> None:
    world = World(*one_time)
    traffic = Traffic(world, 53, share)
    for _ in range(STEPS):
        traffic.step()
    expected = {
        Mapping({TCP: 6, UDP: 17, ICMP: 1}[layer], Endpoint(IPv4Address(address), port), each.external)
        for (layer, address, port), each in world.reference.live(world.now).items()
    }
    assert world.made.service.read(world.now) == expected
    assert min(world.seen["to left"], world.seen["to right"]) > STEPS // 5
    for leaf in ("receive drops napt-no-mapping", "send drops napt-unsupported", "receive drops napt-bad-checksum"):
        assert world.seen[f"napt.{leaf}"] > 0
    assert world.made.service.account() == {"events-lost": 0, "table-full": 0, "evicted": 0}


def test_random_traffic_is_filtered(filtering: Any) -> None:
    world = World(*filtering, filters=True)
    traffic = Traffic(world, 52)
    for _ in range(STEPS):
        traffic.step()
    assert min(world.seen["napt.receive drops napt-filtered"], world.seen["to left"]) > STEPS // 10


# The requirements, one by one.


def test_a_mapping_is_the_endpoints_whatever_it_talks_to(world: World) -> None:
    ports = {world.out(udp("10.0.0.3", 2000, remote, 53))[UDP].sport for remote in REMOTES}
    assert ports == {2000}
    assert world.out(udp("10.0.0.4", 2000, REMOTES[0], 53))[UDP].sport != 2000
    for number in range(40):
        world.out(udp(list(HOSTS)[number % 8], 700 + number // 8, REMOTES[0], 53))
    for each in world.made.service.read(NOW):
        assert each.external % 2 == each.inside.port % 2 and (each.external < 1024) == (each.inside.port < 1024)


def test_all_may_send_to_a_mapping_or_those_it_has_sent_to(world: World, filtering: Any) -> None:
    strict = World(*filtering, filters=True)
    for each, leaf in ((world, "to left"), (strict, "napt.receive drops napt-filtered")):
        external = each.out(udp("10.0.0.3", 2000, REMOTES[0], 53))[UDP].sport
        each.into(udp(REMOTES[0], 99, OWN, external))
        each.into(udp(REMOTES[1], 53, OWN, external))
        assert list(each.seen)[-1] == leaf


def test_only_what_goes_out_keeps_a_mapping(world: World) -> None:
    external = world.out(udp("10.0.0.3", 2000, REMOTES[0], 53))[UDP].sport
    world.now += 299 * SECOND
    assert world.into(udp(REMOTES[0], 53, OWN, external)) is not None
    world.now += SECOND
    assert world.into(udp(REMOTES[0], 53, OWN, external)) is None
    world.out(echo("10.0.0.3", 77, REMOTES[0]))
    world.now += 59 * SECOND
    assert world.into(echo(REMOTES[0], 77, OWN, 0)) is not None
    world.now += SECOND
    assert world.into(echo(REMOTES[0], 77, OWN, 0)) is None


def test_connections_of_tcp_last_as_they_are_established(world: World) -> None:
    def shake(sport: int, remote: str) -> None:
        world.out(tcp("10.0.0.3", sport, remote, 80, "S"))
        world.into(tcp(remote, 80, OWN, sport, "SA"))
        world.out(tcp("10.0.0.3", sport, remote, 80, "A"))

    def alive(sport: int) -> bool:
        return any(each.inside.port == sport for each in world.made.service.read(world.now))

    world.out(tcp("10.0.0.3", 2000, REMOTES[0], 80, "S"))
    shake(2001, REMOTES[0])
    shake(2002, REMOTES[0])
    world.into(tcp(REMOTES[0], 80, OWN, 2002, "R"))
    shake(2003, REMOTES[0])
    world.out(tcp("10.0.0.3", 2003, REMOTES[0], 80, "FA"))
    world.into(tcp(REMOTES[0], 80, OWN, 2003, "FA"))
    # One of its two connections goes on.
    shake(2004, REMOTES[0])
    shake(2004, REMOTES[1])
    world.into(tcp(REMOTES[0], 80, OWN, 2004, "R"))
    world.now += 240 * SECOND - 1
    assert [alive(sport) for sport in range(2000, 2005)] == [True] * 5
    world.now += 1
    assert [alive(sport) for sport in range(2000, 2005)] == [False, True, False, False, True]
    # A reset that was none: who goes on is established again.
    world.into(tcp(REMOTES[0], 80, OWN, 2001, "R"))
    world.out(tcp("10.0.0.3", 2001, REMOTES[0], 80, "A"))
    world.now += 7439 * SECOND
    assert alive(2001) and not alive(2004)
    world.now += SECOND
    assert not alive(2001)


def test_a_connection_may_be_opened_from_outside(world: World) -> None:
    """To a mapping that is there, and also by both ends at once (RFC 5382 REQ-2)."""
    world.out(tcp("10.0.0.3", 2000, REMOTES[0], 80, "S"))
    for flags in ("S", "A"):
        assert world.into(tcp(REMOTES[1], 999, OWN, 2000, flags)) is not None
        world.out(tcp("10.0.0.3", 2000, REMOTES[1], 999, "SA"))
    assert world.into(tcp(REMOTES[0], 80, OWN, 2000, "S")) is not None
    assert world.into(tcp(REMOTES[0], 80, OWN, 2010, "S")) is None


def ran(path: Any, packet: Any, time: int = NOW) -> tuple[str, Any]:
    """Where a packet goes in a plain run, and as what."""
    mac = LEFT if path.source == "left" else RIGHT
    leaf, data = path.run(raw(Ether(dst=mac, src=HOST) / IP(ipv4_bytes(packet))), timestamp=time)
    return leaf, IP(data[14:]) if leaf.startswith("to ") else None


@pytest.mark.parametrize("filtering", ["endpoint-independent", "address-dependent"])
def test_ports_are_forwarded_to_hosts_inside(filtering: str) -> None:
    """Also years later, out of the pool, and with filtering; the answers come from the router's address."""
    made = made_of(filtering=filtering, forward={("tcp", 8080): "10.0.0.3:80", ("udp", 8080): "10.0.0.4:53"})
    for now in (NOW, NOW + 10**17):
        asked = tcp(REMOTES[0], 999, OWN, 8080, "S")
        leaf, got = ran(made.right, asked, now)
        assert (leaf, got.src, got[TCP].sport, got.dst, got[TCP].dport) == ("to left", REMOTES[0], 999, "10.0.0.3", 80)
        assert raw(got) == forwarded(renumbered(IP(ipv4_bytes(asked)), TCP, "dport", "10.0.0.3", 80))
        leaf, got = ran(made.left, tcp("10.0.0.3", 80, REMOTES[0], 999, "SA"), now)
        assert (leaf, got.src, got[TCP].sport, got.dst, got[TCP].dport) == ("to right", OWN, 8080, REMOTES[0], 999)
        leaf, got = ran(made.right, tcp(REMOTES[0], 999, OWN, 8080, "R"), now)
        assert leaf == "to left"
    leaf, got = ran(made.right, udp(REMOTES[0], 999, OWN, 8080))
    assert (leaf, got.dst, got[UDP].dport) == ("to left", "10.0.0.4", 53)
    assert ran(made.right, udp(REMOTES[0], 999, OWN, 8081))[0] == "napt.receive drops napt-no-mapping"
    # From inside, by the address outside; the sender gets another port than the one forwarded.
    leaf, got = ran(made.left, tcp("10.0.0.5", 8080, OWN, 8080, "S"))
    assert (leaf, got.src, got.dst, got[TCP].dport) == ("to left", OWN, "10.0.0.3", 80)
    assert got[TCP].sport != 8080 and got[TCP].sport % 2 == 0


def test_forwarded_ports_are_never_evicted() -> None:
    made = made_of(capacity=16, full="evict", forward={("tcp", 80): "10.0.0.3:80"})
    for number in range(40):
        ran(made.left, udp("10.0.0.3", 2000 + number, REMOTES[0], 53), NOW + number)
    assert made.service.account()["evicted"] == 25
    assert ran(made.right, tcp(REMOTES[0], 999, OWN, 80, "S"), NOW + 50)[0] == "to left"


@pytest.mark.parametrize(("forward", "words"), [
    ({("icmp", 1): "10.0.0.3:80"}, "napt: forward .'icmp', 1.; write"),
    ({("tcp", 0): "10.0.0.3:80"}, "napt: forward .'tcp', 0.; write"),
    ({("tcp", 80): "10.0.0.3"}, "napt: '10.0.0.3' is no address and port"),
    ({("tcp", 80): "10.0.0.3:80", ("tcp", 81): "10.0.0.3:80"}, "napt: two tcp ports are forwarded to 10.0.0.3:80"),
])  # fmt: skip
def test_bad_forwarding_is_refused(forward: Any, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        made_of(forward=forward)


def test_a_mapping_does_not_inherit_the_connections_of_the_one_before() -> None:
    """The port goes to another endpoint, whose connection to the same host is established by itself."""
    made = made_of()
    hour = 3600 * SECOND

    def shake(host: str, time: int) -> None:
        ran(made.left, tcp(host, 2000, REMOTES[0], 80, "S"), time)
        ran(made.right, tcp(REMOTES[0], 80, OWN, 2000, "SA"), time)
        ran(made.left, tcp(host, 2000, REMOTES[0], 80, "A"), time)

    shake("10.0.0.3", NOW)
    ran(made.right, tcp(REMOTES[0], 80, OWN, 2000, "A"), NOW + 2 * hour)  # keeps the connection, and not the mapping
    later = NOW + 7440 * SECOND
    shake("10.0.0.4", later)
    assert {str(each.inside.address) for each in made.service.read(later + 2 * hour)} == {"10.0.0.4"}


def test_a_mapping_does_not_inherit_the_peers_of_the_one_before() -> None:
    made = made_of(filtering="address-dependent")
    for flags in ("S", "A"):
        ran(made.left, tcp("10.0.0.3", 2000, REMOTES[0], 80, flags))
        ran(made.right, tcp(REMOTES[0], 80, OWN, 2000, "A"))
    ran(made.right, tcp(REMOTES[0], 80, OWN, 2000, "R"))
    later = NOW + 240 * SECOND
    assert ran(made.left, tcp("10.0.0.4", 2000, REMOTES[1], 80, "S"), later)[1][TCP].sport == 2000
    assert ran(made.right, tcp(REMOTES[1], 80, OWN, 2000, "SA"), later)[0] == "to left"
    assert ran(made.right, tcp(REMOTES[0], 80, OWN, 2000, "A"), later)[0] == "napt.receive drops napt-filtered"


def test_no_host_sends_by_the_routers_own_address() -> None:
    made = made_of()
    for packet in (udp(OWN, 2000, REMOTES[0], 53), tcp(OWN, 2000, REMOTES[0], 80), echo(OWN, 7, REMOTES[0])):
        assert ran(made.left, packet)[0] == "left.ipv4 drops own-source"
    assert not made.service.read(NOW)


def test_mappings_expire_although_the_clock_was_set_back() -> None:
    made = made_of()
    hour = 3600 * SECOND
    ran(made.left, udp("10.0.0.3", 2000, REMOTES[0], 53), NOW)
    leaves = [ran(made.right, udp(REMOTES[0], 53, OWN, 2000), NOW - hour + s * SECOND)[0] for s in (0, 299, 300)]
    assert leaves == ["to left", "to left", "napt.receive drops napt-no-mapping"]


def test_an_echo_of_zeros_has_the_checksum_of_ones() -> None:
    """RFC 1071: the sum of nothing but zeros is 0, and its complement 0xFFFF."""
    made = made_of()
    external = ran(made.left, IP(src="10.0.0.2", dst=REMOTES[0]) / ICMP())[1][ICMP].id
    leaf, got = ran(made.right, IP(src=REMOTES[0], dst=OWN) / ICMP(type=0, id=external, seq=0))
    assert (leaf, raw(got)[20:28].hex()) == ("to left", "0000ffff00000000")


def test_ports_that_are_all_taken_are_counted() -> None:
    made = made_of(ports=(2000, 2003))
    for number, host in enumerate(list(HOSTS)[:3]):
        leaf = made.left.run(raw(Ether(dst=LEFT, src=HOST) / udp(host, 2000, REMOTES[0], 53)), timestamp=NOW)[0]
        assert leaf == ("to right" if number < 2 else "napt.send drops napt-ports-exhausted")
    assert {each.external for each in made.service.read(NOW)} == {2000, 2002}
    for layer in (tcp("10.0.0.4", 2000, REMOTES[0], 53), udp("10.0.0.4", 2001, REMOTES[0], 53)):
        assert made.left.run(raw(Ether(dst=LEFT, src=HOST) / layer), timestamp=NOW)[0] == "to right"
    later = NOW + 300 * SECOND
    assert (
        made.left.run(raw(Ether(dst=LEFT, src=HOST) / udp("10.0.0.4", 2000, REMOTES[0], 53)), timestamp=later)[0]
        == "to right"
    )


@pytest.mark.parametrize(("full", "key"), [("evict", "evicted"), ("refuse", "table-full")])
def test_a_full_table_evicts_or_refuses_and_counts_it(full: str, key: str) -> None:
    made = made_of(capacity=16, full=full)
    leaves = []
    for number in range(17):
        data = raw(Ether(dst=LEFT, src=HOST) / udp("10.0.0.3", 2000 + number, REMOTES[0], 53))
        leaves.append(made.left.run(data, timestamp=NOW + number)[0])
    assert leaves == ["to right"] * 16 + ["to right" if full == "evict" else "napt.send drops napt-table-full"]
    assert made.service.account()[key] == 1
    ports = {each.external for each in made.service.read(NOW + 20)}
    assert ports == set(range(2001, 2017) if full == "evict" else range(2000, 2016))
    back = raw(Ether(dst=RIGHT, src=GATEWAY) / udp(REMOTES[0], 53, OWN, 2000))
    assert made.right.run(back, timestamp=NOW + 20)[0] == (
        "napt.receive drops napt-no-mapping" if full == "evict" else "to left"
    )


def parts(packet: Any, size: int = 400) -> list[Any]:
    """A packet in fragments; of one that a router has passed on, as they are then."""
    return [IP(raw(each)) for each in fragment(IP(ipv4_bytes(packet)), size)]


@pytest.mark.parametrize("packet", [
    udp("10.0.0.3", 2000, REMOTES[0], 53, bytes(range(256)) * 4, id=77),
    tcp("10.0.0.3", 2000, REMOTES[0], 80, "PA", bytes(range(256)) * 4, id=78),
    echo("10.0.0.3", 2000, REMOTES[0]) / Raw(bytes(1000)),
])  # fmt: skip
def test_fragments_are_translated_behind_their_first(world: World, packet: Any) -> None:
    layer = layer_of(packet)
    world.out(udp("10.0.0.4", 2000, REMOTES[0], 53))  # the port is taken: it has to change
    world.out(tcp("10.0.0.4", 2000, REMOTES[0], 53))
    world.out(echo("10.0.0.4", 2000, REMOTES[0]))
    first, *later = parts(packet)
    for part in later:
        world.check(world.run("left", part), "napt.send drops napt-fragment")
    whole = IP(ipv4_bytes(packet))
    results = [world.run("left", part) for part in (first, *later)]
    external = number_of(IP(results[0].data[14:]), layer, "sport")
    world.reference.out(whole, layer, 2000, external, world.now)
    assert external != 2000
    there = renumbered(whole, layer, "sport", OWN, external)
    for result, expected in zip(results, parts(there), strict=True):
        world.check(result, "to right", expected, GATEWAY)
    # And an answer.
    answer = packet.copy()
    answer.src, answer.dst = REMOTES[0], OWN
    if layer is ICMP:
        answer[ICMP].type, answer[ICMP].id = 0, external
    else:
        answer[layer].sport, answer[layer].dport = packet[layer].dport, external
    here = renumbered(IP(ipv4_bytes(answer)), layer, "dport", "10.0.0.3", 2000)
    for part, expected in zip(parts(answer), parts(here), strict=True):
        world.check(world.run("right", part), "to left", expected, HOSTS["10.0.0.3"])
    world.now += 30 * SECOND
    world.check(world.run("right", parts(answer)[1]), "napt.receive drops napt-fragment")


def test_hosts_inside_reach_each_other_and_hear_of_errors(world: World) -> None:
    one = world.out(udp("10.0.0.3", 2000, REMOTES[0], 53))[UDP].sport
    other = world.out(udp("10.0.0.4", 3000, REMOTES[0], 53))[UDP].sport
    sent = udp("10.0.0.3", 2000, OWN, other, bytes(30))
    world.hairpin(sent)
    got = IP(
        forwarded(renumbered(renumbered(IP(ipv4_bytes(sent)), UDP, "sport", OWN, one), UDP, "dport", "10.0.0.4", 3000))
    )
    refusal = error("10.0.0.4", got, 38, 3, 3, OWN)
    sent.ttl = got.ttl
    expected = error(OWN, IP(ipv4_bytes(sent)), 38, 3, 3, "10.0.0.3")
    world.check(world.run("left", refusal), "to left", expected, HOSTS["10.0.0.3"])
    # A packet for no mapping is for the router itself, which answers that the port is unreachable.
    assert Ether(world.run("left", udp("10.0.0.3", 2000, OWN, 4000)).data)[ICMP].code == 3


def test_the_routers_own_errors_quote_what_their_reader_sent(world: World) -> None:
    sent = IP(ipv4_bytes(udp("10.0.0.3", 2000, REMOTES[0], 53, ttl=1)))
    answer = Ether(world.run("left", sent).data)[IP]
    assert (answer.src, answer.dst, answer[ICMP].type) == ("10.0.0.1", "10.0.0.3", 11)
    assert raw(answer[ICMP].payload) == raw(sent)
    assert not world.made.service.read(world.now)
    external = world.out(udp("10.0.0.3", 3001, REMOTES[0], 53))[UDP].sport
    back = IP(ipv4_bytes(udp(REMOTES[0], 53, OWN, external, ttl=1)))
    result = world.run("right", back)
    answer = Ether(result.data)[IP]
    assert result.leaf == "to right"
    assert (answer.src, answer.dst, answer[ICMP].type) == (OWN, REMOTES[0], 11)
    assert raw(answer[ICMP].payload) == raw(back)
    assert ipv4_bytes(answer) == raw(answer)


def test_the_sender_hears_that_nobody_could_be_asked(world: World) -> None:
    """A packet held until its next hop is known comes back translated: the error must not quote that."""
    sent = IP(ipv4_bytes(udp("10.0.0.3", 2000, "10.0.1.99", 53)))
    world.out(udp("10.0.0.4", 2000, REMOTES[0], 53))
    result = world.run("left", sent)
    assert result.leaf == "arp.resolve holds"
    held = IP(result.data)
    assert held.src == OWN and held[UDP].sport != 2000
    at = list(world.made.left.stages).index("napt.returned")
    result = world.twins["left"].both(raw(held), timestamp=world.now, at=at, error=3 << 24 | 1 << 16)
    answer = Ether(result.data)[IP]
    assert result.leaf == "to left"
    assert (answer.src, answer.dst, answer[ICMP].type, answer[ICMP].code) == ("10.0.0.1", "10.0.0.3", 3, 1)
    assert raw(answer[ICMP].payload) == forwarded(sent)


def test_the_router_answers_for_its_own_address(world: World) -> None:
    answer = Ether(world.run("right", IP(ipv4_bytes(echo(REMOTES[0], 5, OWN)))).data)[IP]
    assert (answer.src, answer[ICMP].type, answer[ICMP].id) == (OWN, 0, 5)
    answer = Ether(world.run("left", IP(ipv4_bytes(echo("10.0.0.3", 5, OWN)))).data)[IP]
    assert (answer.src, answer.dst, answer[ICMP].type) == (OWN, "10.0.0.3", 0)
    assert not world.made.service.read(world.now)


def test_what_only_passes_is_left_alone(world: World) -> None:
    inside = IP(ipv4_bytes(udp("10.0.0.3", 2000, "10.0.0.2", 53)))
    world.check(world.run("left", inside), "to left", inside, HOST)
    outside = IP(ipv4_bytes(udp("10.0.1.2", 2000, REMOTES[0], 53)))
    world.check(world.run("right", outside), "to right", outside, GATEWAY)
    past = IP(ipv4_bytes(udp(REMOTES[0], 53, "10.0.0.3", 53)))
    world.check(world.run("right", past), "to left", past, HOSTS["10.0.0.3"])


def test_short_and_broken_packets_do_no_harm(world: World) -> None:
    whole = raw(Ether(dst=LEFT, src=HOST) / tcp("10.0.0.3", 2000, REMOTES[0], 80, "S"))
    for size in range(14, len(whole)):
        assert "drops" in world.twins["left"].both(whole[:size]).leaf
    chance = random.Random(53)
    for side, packet in (
        ("left", whole),
        ("right", raw(Ether(dst=RIGHT, src=HOST) / error(REMOTES[0], IP(whole[14:]), 20, 3, 3, OWN))),
    ):
        for _ in range(150):
            data = bytearray(packet)
            for _ in range(3):
                data[chance.randrange(14, len(data))] = chance.getrandbits(8)
            world.twins[side].both(bytes(data[: chance.randrange(30, len(data) + 1)]))


def test_replicas_have_equal_tables_and_each_packet_leaves_once(one_time: Any) -> None:
    world = World(*one_time)
    taken = noted(world)
    traffic = Traffic(world, 54, 0.9)
    traffic.bodies = (0, 1, 20, 300)
    for _ in range(400):
        traffic.step()
    tables = {name: world.made.service.tables[name] for name in STATE}
    expected = {name: table.initial.copy() for name, table in tables.items()}
    for twin in world.twins.values():
        twin.reset()
    left, right = sides(world.made)
    for number, (side, data, fields, _) in enumerate(taken):
        (left if side == "left" else right).serve(data, number // 3 % 2, port=int(side == "right"), **fields)
    for name, table in tables.items():
        assert (left.table(table, 0) == expected[name]).all() and (left.table(table, 1) == expected[name]).all()
    sent = sum(sum(each.leaves()["out"].values()) for each in (left, right))
    assert sent == sum(count for leaf, count in world.seen.items() if leaf.startswith("to "))


STATE = ("mappings", "ports", "created", "sessions", "fragments")


def noted(world: World) -> list[tuple[str, bytes, dict[str, int], Any]]:
    """A list that all packets are noted in from now on: where they come in, as what, and what becomes of them."""
    taken: list[tuple[str, bytes, dict[str, int], Any]] = []
    run = world.run

    def run_and_note(side: str, packet: Any, **fields: int) -> Any:
        data = raw(Ether(dst=LEFT if side == "left" else RIGHT, src=HOST) / packet)
        result = run(side, packet, **fields)
        taken.append((side, data, {"timestamp": world.now} | fields, result._replace(tables=[])))
        return result

    world.run = run_and_note  # type: ignore[method-assign]
    return taken


def test_two_ports_that_share_a_channel_translate_as_the_plain_run(one_time: Any) -> None:
    """Two replicas, packets of both directions interleaved: each packet is the plain run's, and so is the state."""
    world = World(*one_time)
    taken = noted(world)
    out, into = world.out, world.into
    world.out = lambda packet, partial=False: out(packet)  # type: ignore[method-assign]
    world.into = lambda packet, partial=False: into(packet)  # type: ignore[method-assign]
    traffic = Traffic(world, 55, 0.3)
    for _ in range(STEPS):
        traffic.step()
    assert sum(one[0] != next_one[0] for one, next_one in pairwise(taken)) > STEPS // 3
    expected = {name: world.made.service.tables[name].initial.copy() for name in STATE}
    ports = {name: MemoryPort(mac, MTU[name], entries=256) for name, mac in (("left", LEFT), ("right", RIGHT))}
    made = made_of(on=ports, order="channel", transitory=7440)
    reports: list[str] = []
    killed = {len(taken) // 3: 0, len(taken) * 2 // 3: 1}
    with Supervisor(made.graph, [made.left, made.right], 2, report=reports.append) as supervisor:
        assert len(supervisor.channels) == 1
        for number, (side, data, fields, _) in enumerate(taken):
            assert ports[side].send(data, timestamp=fields["timestamp"], timeout=20)
            if number in killed:
                os.kill(supervisor.processes[killed[number]].pid, signal.SIGKILL)
        for port in ports.values():
            port.end()
        assert supervisor.wait(60)
        assert supervisor.diverged() == []
    assert len(reports) == 2
    for name, port in ports.items():
        assert port.sent() == [result.data for _, _, _, result in taken if result.leaf == f"to {name}"]
    for replica in range(2):
        for name in STATE:
            assert (supervisor.table(made.service.tables[name], replica) == expected[name]).all()
    drops = {leaf.split(" drops ")[1] for leaf in world.seen if " drops " in leaf}
    assert set(supervisor.account()["drops"]) == drops


def sides(made: SimpleNamespace) -> tuple[Replicas, Replicas]:
    """Two replicas of both paths, which have their tables in common."""
    left, right = Replicas(made.left), Replicas(made.right)
    right._tables |= {key: left._tables[key] for key in right._tables if key in left._tables}
    return left, right


def test_replicas_do_not_take_from_the_rate_of_errors() -> None:
    made = made_of(burst=1)
    left, _ = sides(made)
    data = raw(Ether(dst=LEFT, src=HOST) / udp("10.0.0.3", 2000, REMOTES[0], 53, ttl=1))
    left.serve(data, 1)
    assert left.leaves()["out"] == {"left": 1}
    left.serve(data, 1)
    assert left.leaves()["drops"] == {"icmp-rate-limited": 1}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"inside": "right"}, "napt: inside .'right'., outside 'right'; name other ports"),
        ({"filtering": "none"}, "napt: filtering='none'; use endpoint-independent or address-dependent"),
        ({"ports": (0, 5)}, "napt: ports 0 to 5; give a first and a last of 1 to 65535"),
        ({"udp": 119.0}, "napt: udp=119.0 seconds; give 120 or more"),
        ({"established": 7000.0}, "napt: established=7000.0 seconds; give 7440 or more"),
        ({"full": "wait"}, "napt: full='wait'; use evict or refuse"),
        ({"mode": "sharded"}, "napt: mode 'sharded' would separate packets from their answers"),
        ({"mode": "atomic"}, "napt: its handlers are not written for mode 'atomic'"),
    ],
)
def test_bad_napt_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        Napt("napt", **{"inside": "left", "outside": "right"} | given)


@pytest.mark.parametrize(
    ("connections", "words"),
    [
        ([("ip", "napt", "left"), ("napt", "arp")], "napt does not stand on 'right'; connect.'ip', 'napt', 'right'."),
        ([("ip", "napt", "right"), ("napt", "arp")], "napt does not stand on 'left'"),
        ([("ip", "napt", "left"), ("ip", "napt", "right")], "napt requires service 'out' .* nothing is connected"),
    ],
)
def test_napt_in_the_wrong_place_is_refused(connections: list[Any], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        two_ports((Napt("napt", "left", "right"), *connections))


# Between kernels.


@pytest.mark.needs_namespaces
@pytest.mark.parametrize(("replicas", "mode"), [(2, "replicated"), pytest.param(2, "locked", marks=pytest.mark.slow)])
def test_two_kernels_talk_through_it(replicas: int, mode: str) -> None:
    """With default offloads: checksums are left to devices, and frames are longer than the MTU."""
    graph = router_graph()
    service = graph.add(Napt("napt", "left", "right", forward={("tcp", 8080): "10.0.0.2:80"}, mode=mode))
    for names in (("ip", "napt", "left"), ("ip", "napt", "right"), ("napt", "arp")):
        graph.connect(*names)
    with Lab("napt") as lab:
        left, router, right = two_hosts(lab)
        supervisor = Supervisor(graph, [graph.create_path(port) for port in ("left", "right")], replicas)
        with router.entered(), supervisor:
            assert ping(left, "10.0.1.2", 5)["received"] == 5
            assert ping(left, OWN, 2)["received"] == ping(right, OWN, 2)["received"] == 2
            assert tcp_transfer(left, right, "10.0.1.2", 16 << 20, 30.0)["intact"]
            with right.entered():
                server, datagrams = (
                    socket.create_server(("10.0.1.2", 80)),
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
                )
            with left.entered():
                callers = [socket.socket() for _ in range(3)]
                sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with server, datagrams, sender:
                datagrams.bind(("10.0.1.2", 53))
                server.settimeout(5.0)
                for each in (datagrams, sender):
                    each.settimeout(5.0)
                for caller in callers:
                    with caller:
                        caller.settimeout(5.0)
                        caller.connect(("10.0.1.2", 80))
                        accepted, peer = server.accept()
                        with accepted:
                            assert peer == (OWN, caller.getsockname()[1])
                            caller.sendall(b"question")
                            assert accepted.recv(100) == b"question"
                            accepted.sendall(b"answer")
                            assert caller.recv(100) == b"answer"
                with left.entered():
                    inside = socket.create_server(("10.0.0.2", 80))
                with right.entered():
                    caller = socket.socket()
                with inside, caller:
                    for each in (inside, caller):
                        each.settimeout(5.0)
                    caller.connect((OWN, 8080))
                    accepted, peer = inside.accept()
                    with accepted:
                        assert peer == caller.getsockname()
                        accepted.sendall(b"forwarded")
                        assert caller.recv(100) == b"forwarded"
                sender.connect(("10.0.1.2", 53))
                for body in (b"x", bytes(1400), bytes(range(250)) * 20):  # the last in fragments
                    sender.send(body)
                    got, peer = datagrams.recvfrom(65535)
                    assert got == body and peer == (OWN, sender.getsockname()[1])
                    datagrams.sendto(body, peer)
                    assert sender.recv(65535) == body
                # Errors: from the far kernel, and from the router.
                sender.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
                for address, port, ttl, expected in (
                    ("10.0.1.2", 9, 64, 111),
                    ("10.0.1.2", 53, 1, 113),
                ):
                    sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
                    sender.connect((address, port))
                    sender.send(b"x")
                    assert awaited_error(sender) == expected, (address, port, ttl)
            supervisor.stop()
            drops = supervisor.account()["drops"]
            assert not [reason for reason in drops if reason.startswith("napt-")], drops
            found = service.read(0, supervisor.table(service.tables["mappings"], 0))
            assert {str(each.inside.address) for each in found} == {"10.0.0.2"}
            assert all(each.external == (8080 if each.inside.port == 80 else each.inside.port) for each in found)
