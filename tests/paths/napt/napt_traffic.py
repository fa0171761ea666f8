"""Random traffic through a router with NAPT, and a record of it."""

import os
import random
from typing import Any

from harness import GATEWAY, HOST, LEFT, RIGHT
from napt_world import HOSTS, OWN, REMOTES, SECOND, World, error, ipv4_bytes, number_of
from scapy.all import ICMP, IP, TCP, UDP, Ether, Raw, raw

STEPS = int(float(os.environ.get("SCOUT_STRESS", "2e5"))) // 400


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


def noted(world: World) -> list[tuple[str, bytes, dict[str, int], Any]]:
    """A list that all packets are noted in from now on: where they come in, as what, and what becomes of them."""
    taken: list[tuple[str, bytes, dict[str, int], Any]] = []
    run = world.run

    def run_and_note(side: str, packet: Any, **fields: int) -> Any:
        data = raw(Ether(dst=LEFT if side == "left" else RIGHT, src=HOST) / packet)
        result = run(side, packet, **fields)
        taken.append((side, data, {"timestamp": world.now} | fields, result))
        return result

    world.run = run_and_note  # type: ignore[method-assign]
    return taken
