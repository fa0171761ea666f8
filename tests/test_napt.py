"""NAPT against a sequential reference that Scapy sums up for, by the RFCs' requirements, and between kernels."""

import random
import struct
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest
from harness import GATEWAY, HOST, LEFT, NOW, RIGHT, Twin, two_ports
from scapy.all import ICMP, IP, TCP, UDP, Ether, Raw, raw

from scout.io.packet import NEEDS_CHECKSUM
from scout.paths.napt import Mapping, Napt

SECOND = 1_000_000_000
OWN = "10.0.1.1"
HOSTS = {f"10.0.0.{number}": f"02:00:00:00:01:{number:02x}" for number in range(2, 10)} | {"10.0.0.2": HOST}
REMOTES = [f"10.9.0.{number}" for number in range(1, 6)]
POOL = (1, 4095)


def made_of(**options: Any) -> SimpleNamespace:
    """A router with NAPT: its graph, and its paths from both sides."""
    service = Napt("napt", "left", "right", **{"ports": POOL, "capacity": 256} | options)
    made = two_ports((service, ("ip", "napt", "left"), ("ip", "napt", "right"), ("napt", "arp")))
    for address, mac in HOSTS.items():
        if address != "10.0.0.2":
            made.arp.pin(0, address, mac)
    made.service = service
    made.left, made.right = made.graph.create_path("left"), made.graph.create_path("right")
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


def mix(value: int) -> int:
    """Fibonacci hashing, folded to 63 bits."""
    product = (value ^ value >> 32) * 0x9E3779B97F4A7C15 % (1 << 63)
    return product ^ product >> 31


class Reference:
    """What a NAPT of these rules does, with dicts, one packet after the other."""

    times = {UDP: 300, ICMP: 60}

    def __init__(self, filters: bool = False, pool: tuple[int, int] = POOL) -> None:
        self.filters, self.pool = filters, pool
        self.mappings: dict[tuple, SimpleNamespace] = {}  # (layer, address, port)
        self.talks: dict[tuple, SimpleNamespace] = {}  # (layer, external, remote address, remote port)
        self.peers: dict[tuple, int] = {}  # (layer, external, remote address): until when

    def live(self, now: int) -> dict[tuple, SimpleNamespace]:
        return {key: each for key, each in self.mappings.items() if now < each.until}

    def owner(self, layer: Any, external: int, now: int) -> tuple | None:
        found = [key for key, each in self.live(now).items() if (key[0], each.external) == (layer, external)]
        assert len(found) < 2, "two endpoints share a port"
        return found[0] if found else None

    def allocate(self, layer: Any, address: str, port: int, now: int) -> int | None:
        low, high = self.pool
        taken = {each.external for key, each in self.live(now).items() if key[0] is layer}
        if low <= port <= high and port not in taken:
            return port
        both = low < 1024 <= high
        choices = [
            each
            for each in range(low, high + 1)
            if each % 2 == port % 2 and (not both or (each < 1024) == (port < 1024))
        ]
        if choices:
            start = mix(int(IPv4Address(address)) << 16 | port)
            for turn in range(min(64, len(choices))):
                if (each := choices[(start + turn) % len(choices)]) not in taken:
                    return each
        return None

    def talk(self, layer: Any, mapping: Any, remote: tuple, flags: str, outward: bool, now: int) -> None:
        """Follow a TCP connection."""
        key = (layer, mapping.external, *remote)
        talk = self.talks.get(key)
        if talk is None or now >= talk.until:
            if "R" in flags:
                return
            talk = self.talks[key] = SimpleNamespace(sent=set(), fins=set(), opened=False, reset=False, up=False)
        side = "out" if outward else "in"
        if "R" in flags:
            talk.reset = True
        else:
            if "S" in flags and "A" not in flags and (talk.reset or len(talk.fins) == 2):
                talk.sent, talk.fins, talk.opened = set(), set(), False
            talk.reset = False
            talk.sent.add(side)
            if "F" in flags:
                talk.fins.add(side)
            talk.opened |= "A" in flags and "S" not in flags and len(talk.sent) == 2
        before, talk.up = talk.up, talk.opened and not talk.reset and len(talk.fins) < 2
        talk.until = now + (7440 if talk.up else 240) * SECOND
        mapping.up += talk.up - before
        if before and not talk.up and mapping.up <= 0 and not outward:
            mapping.until = min(mapping.until, now + 240 * SECOND)

    def out(self, packet: Any, layer: Any, port: int, now: int) -> str | int:
        """The port outside for a packet from inside, or why it is dropped."""
        key = (layer, packet.src, port)
        mapping = self.live(now).get(key)
        if mapping is None:
            if layer is ICMP and packet[ICMP].type in (0, 14):
                return "napt-no-mapping"
            external = self.allocate(layer, packet.src, port, now)
            if external is None:
                return "napt-ports-exhausted"
            mapping = self.mappings[key] = SimpleNamespace(external=external, up=0, until=0)
        if layer is TCP:
            remote = (packet.dst, packet[TCP].dport)
            self.talk(layer, mapping, remote, str(packet[TCP].flags), True, now)
            mapping.until = now + (7440 if mapping.up > 0 else 240) * SECOND
        else:
            mapping.until = now + self.times[layer] * SECOND
        self.peers[layer, mapping.external, packet.dst] = mapping.until
        return mapping.external

    def into(self, packet: Any, layer: Any, external: int, now: int) -> tuple | str:
        """The endpoint inside that a packet from outside is for, or why it is dropped."""
        key = self.owner(layer, external, now)
        if key is None:
            return "napt-no-mapping"
        if self.filters and now >= self.peers.get((layer, external, packet.src), 0):
            return "napt-filtered"
        if layer is TCP:
            remote = (packet.src, packet[TCP].sport)
            self.talk(layer, self.mappings[key], remote, str(packet[TCP].flags), False, now)
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
        external = self.reference.out(packet, layer, number_of(packet, layer, "sport"), self.now)
        fields, given = {}, packet
        if partial:
            given, fields = partially(packet), {"flags": NEEDS_CHECKSUM}
        result = self.run("left", given, **fields)
        if isinstance(external, str):
            return self.check(result, f"napt.send drops {external}")
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
        external = self.reference.out(packet, layer, packet[layer].sport, self.now)
        result = self.run("left", packet)
        if isinstance(external, str):
            return self.check(result, f"napt.receive drops {external}")
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
def filtering(open_: Any) -> tuple[SimpleNamespace, tuple[Twin, Twin]]:
    made = made_of(filtering="address-dependent")
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
        self.ports = [53, 1000, 1023, 1024, 2000, 2001, 3000, 4095, 5000, 60001]

    def remote(self) -> tuple[str, int]:
        return self.chance.choice(REMOTES), self.chance.choice((53, 80, 443))

    def endpoint(self) -> tuple[str, int]:
        if self.chance.random() < self.share:
            return "10.0.0.2", 2000
        return self.chance.choice(list(HOSTS)), self.chance.choice(self.ports)

    def packet(self, layer: Any, source: str, sport: int, destination: str, dport: int) -> Any:
        chance = self.chance
        body = chance.randbytes(chance.choice((0, 1, 20, 700)))
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
def test_random_traffic_is_as_the_reference_has_it(open_: Any, share: float) -> None:
    world = World(*open_)
    traffic = Traffic(world, 51, share)
    for _ in range(1500):
        traffic.step()
    expected = {
        Mapping({TCP: 6, UDP: 17, ICMP: 1}[layer], address, port, each.external)
        for (layer, address, port), each in world.reference.live(world.now).items()
    }
    assert world.made.service.read(world.now) == expected
    assert world.seen["to left"] > 300 and world.seen["to right"] > 300
    for leaf in ("receive drops napt-no-mapping", "send drops napt-unsupported", "receive drops napt-bad-checksum"):
        assert world.seen[f"napt.{leaf}"] > 0
    assert world.made.service.account() == {"events-lost": 0, "table-full": 0, "evicted": 0}


def test_random_traffic_is_filtered_as_the_reference_has_it(filtering: Any) -> None:
    world = World(*filtering, filters=True)
    traffic = Traffic(world, 52)
    for _ in range(1000):
        traffic.step()
    assert world.seen["napt.receive drops napt-filtered"] > 10 and world.seen["to left"] > 100
