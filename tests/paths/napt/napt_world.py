"""A router with NAPT for tests, run both ways, beside a reference that knows what the RFCs ask for."""

import struct
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

from harness import GATEWAY, HOST, LEFT, NOW, RIGHT, Twin, two_ports
from scapy.all import ICMP, IP, TCP, UDP, Ether, Raw, raw

from scout.io.packet import NEEDS_CHECKSUM
from scout.io.ports.memory import MemoryPort
from scout.paths.services.napt import Napt

SECOND = 1_000_000_000
OWN = "10.0.1.1"
HOSTS = {f"10.0.0.{number}": f"02:00:00:00:01:{number:02x}" for number in range(2, 10)} | {"10.0.0.2": HOST}
REMOTES = [f"10.9.0.{number}" for number in range(1, 6)]
POOL = (1, 4095)


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


def ran(path: Any, packet: Any, time: int = NOW) -> tuple[str, Any]:
    """Where a packet goes in a plain run, and as what."""
    mac = LEFT if path.source == "left" else RIGHT
    leaf, data = path.run(raw(Ether(dst=mac, src=HOST) / IP(ipv4_bytes(packet))), timestamp=time)
    return leaf, IP(data[14:]) if leaf.startswith("to ") else None


def udp(source: str, sport: int, destination: str, dport: int, body: bytes = b"x" * 20, **more: Any) -> Any:
    return IP(src=source, dst=destination, **more) / UDP(sport=sport, dport=dport) / Raw(body)


def tcp(source: str, sport: int, destination: str, dport: int, flags: str = "A", body: bytes = b"", **more: Any) -> Any:
    return (
        IP(src=source, dst=destination, **more) / TCP(sport=sport, dport=dport, flags=flags, seq=7, ack=9) / Raw(body)
    )


def echo(source: str, number: int, destination: str, kind: int = 8) -> Any:
    return IP(src=source, dst=destination) / ICMP(type=kind, id=number, seq=3) / Raw(b"ping")


def error(source: str, about: Any, size: int, kind: int, code: int, destination: str) -> Any:
    """An ICMP error that quotes the first `size` bytes of a packet's payload."""
    quote = raw(about)[: 4 * about.ihl + size]
    return IP(raw(IP(src=source, dst=destination) / ICMP(type=kind, code=code) / Raw(quote)))


def ipv4_bytes(packet: Any, keep: tuple[str, ...] = ()) -> bytes:
    """A packet with all checksums computed anew, but those of UDP that says it has none."""
    packet = packet.copy()
    del packet[IP].chksum
    for layer in (TCP, UDP, ICMP):
        if layer in packet and "transport" not in keep and not (layer is UDP and packet[UDP].chksum == 0):
            del packet[layer].chksum
    return raw(packet)


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
