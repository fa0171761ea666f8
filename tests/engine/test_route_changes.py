"""Routes that change while packets flow: every packet goes where its route led at its sequence number."""

import itertools
import os
import random
import signal
import socket
import struct
import threading
import time
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType

import numpy as np
import pytest
from lab_router import caught_up, running
from port_router import ADDRESSES, HOST, LEFT, RIGHT, UDP_PAYLOAD, kill, numbers
from scapy.all import IP, UDP, Ether, Raw, raw

from scout.io.packet import SECOND
from scout.io.ports.memory import MemoryPort
from scout.paths.changes.neighbours import SetNeighbour
from scout.paths.changes.paths import DeletePath
from scout.paths.changes.routes import AddRoute, DeleteRoute, ReplaceRoute
from scout.paths.framework.events import Handler
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols import routing
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.testing import await_until
from scout.tools.bench.prefixes import NEXT_HOPS, internet
from scout.tools.traffic.two_hosts import MACS

MOST = 1 << 14
L4_PORT, GATE_PORT = 14 + 22, 3  # offset of the destination port; the one that opens a gate for others
CELL = np.dtype([("value", "i8")])
PREFIXES = [IPv4Network(text) for text in ("11.0.0.0/8", "11.1.0.0/16", "11.1.2.0/24", "11.1.2.64/26", "12.0.0.0/8")]
GATEWAYS = [f"10.0.1.{last}" for last in range(10, 22)]
DEFAULT = "10.0.1.2"


def note(frame, end, packet, notes, total):
    """Replicated work behind the lookup: note the next hop of each packet."""
    notes[np.uintp(total[0].value)].value = packet.next_hop
    total[0].value += 1
    return 0


def mac_of(gateway):
    return bytes.fromhex("0200000001") + bytes([int(gateway.rpartition(".")[2])])


def frame_to(destination):
    headers = IP(src="10.0.0.2", dst=destination) / UDP(sport=1, dport=2, chksum=0)
    return raw(Ether(dst=LEFT, src=HOST) / headers / Raw(bytes(18)))


class Led:
    """A router between two ports in memory, and the same routes in a slow table."""

    def __init__(self, routes=MappingProxyType({"0.0.0.0/0": DEFAULT}), entries=256, noting=True):
        self.left, self.right = MemoryPort(LEFT, entries=entries), MemoryPort(RIGHT, frames=[])
        self.ip, self.arp = Ip("ip", ADDRESSES, routes), Arp("arp")
        for gateway in set(routes.values()):
            self.arp.pin("right", gateway, mac_of(gateway).hex(":"))
        state = {"notes": np.zeros(MOST, CELL), "total": np.zeros(1, CELL)}
        graph = RouterGraph("led")
        for name, port in (("left", self.left), ("right", self.right)):
            graph.add(Ethernet(name, port))
        for router in (self.ip, self.arp, Icmp("icmp")):
            graph.add(router)
        for name in ("left", "right"):
            graph.connect("icmp", "ip", name)
            graph.connect("ip", "arp", name)
        if noting:
            graph.add(Service("noting", state, [Handler(note)], "adjacency"))
            graph.connect("ip", "noting", "arp")
        self.graph, self.paths = graph, [graph.create_path("left")]
        self.routes = {IPv4Network("0.0.0.0/0"): DEFAULT}
        self.known = {DEFAULT}
        self.gateways, self.hops = [], []  # of each packet sent

    def send(self, chance, count):
        """Send numbered packets, and note where each is to be led."""
        for _ in range(count):
            prefix = chance.choice(PREFIXES)
            address = prefix[chance.randrange(prefix.num_addresses)]
            best = max((each for each in self.routes if address in each), key=lambda each: each.prefixlen)
            self.send_one(address, self.routes[best])

    def send_one(self, address, gateway, port=2):
        """Send a numbered packet, which is to be led to a gateway."""
        frame = bytearray(FRAMES.setdefault(address, frame_to(str(address))))
        struct.pack_into("!H", frame, L4_PORT, port)
        frame[UDP_PAYLOAD : UDP_PAYLOAD + 4] = struct.pack("!I", len(self.gateways))
        self.gateways.append(gateway)
        self.hops.append(self.ip.fib.lookup(str(address)))
        assert self.left.send(bytes(frame), timeout=600)

    def end(self, supervisor):
        """End the input, and compare the notes of all replicas with where the packets were to be led."""
        self.left.end()
        assert supervisor.wait(600)
        for replica in supervisor.taking_part:
            assert supervisor.table("noting.total", replica)["value"].tolist() == [len(self.hops)]
            assert supervisor.table("noting.notes", replica)["value"][: len(self.hops)].tolist() == self.hops
        assert supervisor.diverged() == []

    def check_sent(self):
        """Every packet left, and to its gateway."""
        sent = self.right.sent()
        assert sorted(set(numbers(sent))) == list(range(len(self.gateways)))  # none is lost
        for frame, number in zip(sent, numbers(sent), strict=True):
            assert frame[:6] == mac_of(self.gateways[number])

    def change(self, chance, supervisor):
        """Change some routes; a new gateway's MAC address is set by the same change."""
        wanted, changes = dict(self.routes), []
        for prefix in chance.sample(PREFIXES, chance.randint(1, 3)):
            gateway = chance.choice(GATEWAYS)
            if prefix not in wanted:
                changes.append(AddRoute(prefix, gateway))
            elif chance.random() < 0.3:
                changes.append(DeleteRoute(prefix))
                gateway = wanted.pop(prefix)
            else:
                changes.append(ReplaceRoute(prefix, gateway))
            if not isinstance(changes[-1], DeleteRoute):
                wanted[prefix] = gateway
            if gateway not in self.known:
                changes.append(SetNeighbour("right", gateway, mac_of(gateway).hex(":")))
                self.known.add(gateway)

        make(supervisor, changes)
        self.routes = wanted


def make(supervisor, changes):
    """Make changes, as soon as they can be made."""

    def made():
        with suppress(ScoutError):  # a dead replica has no successor yet
            return supervisor.change(*changes)

    await_until(made)


FRAMES = {}


@pytest.mark.parametrize("turns", [15, pytest.param(300, marks=pytest.mark.long)])
def test_random_changes_deaths_and_joins_lead_every_packet_by_its_sequence_number(turns):
    chance = random.Random(4)
    led = Led()
    with Supervisor(led.graph, led.paths, 2, report=[].append, restarts=1000) as supervisor:
        for turn in range(turns):
            led.send(chance, chance.randrange(60))
            led.change(chance, supervisor)
            if turn % 8 == 3:
                kill(supervisor, chance.choice(supervisor.taking_part))
            if turn % 15 == 5:
                supervisor.add_replica()
            if turn % 15 == 12:
                supervisor.remove_replica(supervisor.taking_part[-1])
        led.end(supervisor)
    led.check_sent()


def test_what_changes_replaced_is_freed_although_the_time_of_the_packets_was_set_back():
    """Some packet is always held, none for long; it would take 31 years until the old time is reached."""
    led = Led()
    with Supervisor(led.graph, led.paths, 1) as supervisor:
        supervisor.change(AddRoute(PREFIXES[4], "10.0.1.77"))  # which nobody has
        now = itertools.count(time.time_ns(), SECOND)

        def hold():
            return led.left.send(frame_to(str(PREFIXES[4][1])), timestamp=next(now), timeout=60)

        def is_freed():
            return len(led.ip.fib._versions) == 1

        await_until(is_freed)
        hold()
        await_until(lambda: supervisor.memory.holds["held"][0] == 1)
        supervisor.change(AddRoute(PREFIXES[0], DEFAULT))
        await_until(lambda: supervisor._running.changes._served)
        now = itertools.count(next(now) - 10**9 * SECOND, SECOND)
        await_until(lambda: hold() and is_freed())
        led.left.end()
        assert supervisor.wait(600)


def behind_a_gate(heads):
    """The first path's turn, once a packet of the second one waits."""
    return 0 if heads[0].ready and heads[1].ready else -1


@pytest.mark.long
@pytest.mark.parametrize("deleted", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_next_hop_of_packets_that_wait_in_a_queue_is_not_given_to_another_gateway(deleted, monkeypatch):
    """They were looked up before they were queued, for a service; or their path, deleted, knows the next hop."""
    monkeypatch.setattr(routing, "ROOM", 2)
    old, *new = GATEWAYS[:4]
    led = Led({"0.0.0.0/0": DEFAULT, "11.0.0.0/8": old}, noting=not deleted)
    wish = {"destination": "11.0.0.0/8"} if deleted else {"protocol": "udp", "destination_port": 2}
    path = led.graph.create_path("left", queue=64, **wish)
    gate = led.graph.create_path("left", protocol="udp", destination_port=GATE_PORT, queue=64)
    options = {"most_paths": 16, "path_schedule": behind_a_gate}
    with Supervisor(led.graph, [path, gate, *led.paths], 1, report=[].append, **options) as supervisor:
        for address in (PREFIXES[0][1], PREFIXES[0][2]):
            led.send_one(address, old)
        await_until(lambda: supervisor.path_figures(path)["waiting"] == 2)
        supervisor.change(*[DeletePath(path)] * deleted, ReplaceRoute("11.0.0.0/8", via=new[0]))
        epoch = supervisor.change(AddRoute("12.0.0.0/8", via=new[1]))
        await_until(lambda: supervisor.reached(epoch))
        for _ in range(20):  # the watcher frees what it may every 20 ms
            with pytest.raises(ScoutError, match="there is room for 0"):
                supervisor.change(AddRoute("13.0.0.0/8", via=new[2]))
            time.sleep(0.02)
        led.send_one(PREFIXES[0][1], DEFAULT, GATE_PORT)
        make(supervisor, [AddRoute("13.0.0.0/8", via=new[2])])
    assert numbers(led.right.sent()) == [0, 1]
    assert {frame[:6] for frame in led.right.sent()} == {mac_of(old)}


INTERNET = 1_000_000
BLOCKS, CHANGES, PACKETS = 120, 100, 100
"""Blocks of changes; routes in each; packets between two."""


@pytest.mark.long
def test_blocks_of_changes_of_a_million_routes_lead_every_packet_by_its_sequence_number():
    """Every block gives its routes other gateways than before; packets go to the routes of the last blocks."""
    routes, changing = internet_routes()
    led, seconds = Led(routes, entries=4096), 0.0
    with Supervisor(led.graph, led.paths, 2, report=[].append) as supervisor:
        for block in range(BLOCKS):
            chosen = [changing[(block * CHANGES // 2 + each) % len(changing)] for each in range(CHANGES)]
            routes.update((str(prefix), other_gateway(routes[str(prefix)])) for prefix in chosen)
            begin = time.perf_counter()
            make(supervisor, [ReplaceRoute(prefix, routes[str(prefix)]) for prefix in chosen])
            seconds += time.perf_counter() - begin
            for number in range(PACKETS):
                prefix = chosen[number % CHANGES]
                led.send_one(prefix[1 + number % 200], routes[str(prefix)])
            if block == BLOCKS // 3:
                os.kill(supervisor.processes[0].pid, signal.SIGKILL)
            if block == 2 * BLOCKS // 3:
                supervisor.add_replica()
        led.end(supervisor)
    led.check_sent()
    print(f"{BLOCKS * CHANGES / seconds:,.0f} route changes a second among {len(routes):,} routes")


def internet_routes():
    """A million routes as text, with gateways on the right; and those of them that change: no other is within them."""
    rows = internet(INTERNET, 1)
    routes = {
        f"{IPv4Address(int(row['network']))}/{row['length']}": f"10.0.1.{10 + row['next_hop']}"
        for row in rows
        if row["network"] >> 24 not in (10, 127)
    }
    longer = set((rows["network"][rows["length"] > 24] >> 8).tolist())
    slash_24 = rows["network"][(rows["length"] == 24) & (rows["network"] >> 24 == 20)]
    return routes, [IPv4Network((network, 24)) for network in slash_24.tolist() if network >> 8 not in longer]


def other_gateway(gateway):
    return f"10.0.1.{10 + (int(gateway.rpartition('.')[2]) - 9) % NEXT_HOPS}"


def numbered_frame(number):
    """A packet to 10.9.0.1, in a flow of its own, so that it is joined with no other."""
    headers = IP(src="10.0.0.2", dst="10.9.0.1") / UDP(sport=1024 + number, dport=2, chksum=0)
    return raw(Ether(dst=MACS[1], src=MACS[0]) / headers / Raw(struct.pack("!I", number) + bytes(14)))


class Receiver(threading.Thread):
    """Receives the numbered frames on the right, each with the MAC address that it was sent to."""

    def __init__(self, space, count):
        super().__init__(daemon=True)
        self.count, self.got = count, {}
        with space.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
            self.socket.bind(("eth0", 0x0800))
        self.socket.settimeout(600)

    def run(self):
        with self.socket, suppress(TimeoutError):
            while len(self.got) < self.count:
                frame = self.socket.recv(2048)
                if frame[30:34] == bytes([10, 9, 0, 1]):
                    (number,) = struct.unpack_from("!I", frame, UDP_PAYLOAD)
                    self.got.setdefault(number, set()).add(frame[:6])


@pytest.mark.needs_namespaces
@pytest.mark.long
@pytest.mark.parametrize("order", ["channel", "completed"])
def test_between_kernels_every_change_is_one_switch_and_no_packet_is_lost(order):
    """Each change leads to a new gateway, so that the gateways of the packets tell the changes before them."""
    count, gateways = 3000, [f"10.0.1.{last}" for last in range(10, 160)]
    frames = [numbered_frame(number) for number in range(count)]
    with running(2, order) as run:
        supervisor, receiver = run.supervisor, Receiver(run.right, count)
        with supervisor.changes() as changes:
            changes += [SetNeighbour("right", gateway, mac_of(gateway).hex(":")) for gateway in gateways]
            changes.append(ReplaceRoute("10.9.0.0/16", via=gateways[0]))
        await_until(lambda: supervisor.reached(1))
        receiver.start()
        with run.left.entered():
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            sender.bind(("eth0", 0))
        with sender:
            for number, frame in enumerate(frames):
                sender.send(frame)
                if number % 20 == 10:
                    await_until(
                        lambda sent=number: len(receiver.got) > sent - 100
                    )  # fewer than a socket's buffer holds
                    supervisor.change(ReplaceRoute("10.9.0.0/16", via=gateways[number // 20]))
                if number % 500 == 499:
                    caught_up(supervisor)  # else the ring is full where one replica has no core for a while
                if number == count // 3:
                    os.kill(supervisor.processes[0].pid, signal.SIGKILL)
                if number == 2 * count // 3:
                    supervisor.add_replica()
        receiver.join(600)
        assert sorted(receiver.got) == list(range(count))
    places = {mac_of(gateway): place for place, gateway in enumerate(gateways)}
    led = [places[mac] for number in range(count) for mac in receiver.got[number]]
    assert len(led) == count  # a packet that a successor sent again went the same way
    assert led == sorted(led)
    assert led[-1] == len(gateways) - 1


@pytest.mark.long
def test_a_change_that_would_end_what_the_code_of_a_path_relies_on_is_refused():
    """The path looks nothing up, as all its destinations have one next hop."""
    led = Led()
    narrow = led.graph.create_path("left", destination="11.0.0.0/9")
    assert "ip.lookup" in narrow and narrow.relies_on
    with Supervisor(led.graph, [*led.paths, narrow], 1, report=[].append) as supervisor:
        supervisor.change(AddRoute("12.0.0.0/8", via=GATEWAYS[0]))
        for change in (AddRoute("11.1.0.0/16", via=GATEWAYS[0]), ReplaceRoute("0.0.0.0/0", via=GATEWAYS[0])):
            with pytest.raises(
                ScoutError, match=r"relies on a fact that the change would end: ip: all of 11\.0\.0\.0/9"
            ):
                supervisor.change(change, AddRoute("13.0.0.0/8", via=GATEWAYS[0]))
        assert IPv4Network("13.0.0.0/8") not in led.ip.routes
        supervisor.delete_path(narrow)
        supervisor.change(AddRoute("11.1.0.0/16", via=GATEWAYS[0]))
