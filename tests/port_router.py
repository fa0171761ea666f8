"""A small router between two ports in memory or on files, and packets for it."""

import os
import signal
import struct

from scapy.all import ARP, IP, UDP, Ether, Raw, raw

from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.supervisor import Supervisor
from scout.testing import await_until

LEFT, RIGHT, HOST = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:0b"
PEER = "02:00:00:00:00:0c"
ADDRESSES = {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}
UDP_PAYLOAD = 42  # offset of the payload in a frame


def packet(number=0, size=18, transport=None):
    payload = struct.pack("!I", number) + bytes(number + index & 0xFF for index in range(size - 4))
    headers = IP(src="10.0.0.2", dst="10.0.1.2") / (transport or UDP(sport=1, dport=2))
    return Ether(dst=LEFT, src=HOST) / headers / Raw(payload)


def frames(count):
    """Frames that carry their numbers."""
    first = bytearray(raw(packet()))
    first[40:42] = bytes(2)  # no UDP checksum
    for number in range(count):
        first[UDP_PAYLOAD : UDP_PAYLOAD + 4] = struct.pack("!I", number)
        yield bytes(first)


def numbers(sent):
    return [struct.unpack_from("!I", frame, UDP_PAYLOAD)[0] for frame in sent]


def missing(data):
    """The word that makes the ones' complement sum of `data` 0xFFFF."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def supervised(left, right, replicas, order="completed", reports=None, known=True, service=None, below=None, **options):
    """A router between two ports; 10.0.1.2, on the right, is known. It compiles to what `harness.two_ports` does.

    `service` stands on the left, and `below` between it and the port.
    """
    graph = RouterGraph("test")
    graph.add(Ethernet("left", left))
    graph.add(Ethernet("right", right))
    graph.add(Ip("ip", ADDRESSES))
    arp = Arp("arp")
    if known:
        arp.pin(1, "10.0.1.2", HOST)
    graph.add(arp)
    graph.add(Icmp("icmp"))
    for port in ("left", "right"):
        graph.connect("icmp", "ip", port)
        graph.connect("ip", "arp", port)
    if services := [graph.add(each).name for each in (service, below) if each]:
        graph.connect("ip", *services, "left")
    paths = [graph.create_path(port, order=order) for port in ("left", "right")]
    return Supervisor(graph, paths, replicas, report=(reports if reports is not None else []).append, **options)


def finished(supervisor):
    """The accounts of a run that has come to its end by itself; the sums add up."""
    assert supervisor.wait(600), supervisor.account()
    supervisor.stop()
    account = supervisor.account()
    total = sum(sum(account[part].values()) for part in ("out", "ended", "drops"))
    assert account["received"] + account.get("made", 0) == total
    return account


def kill(supervisor, replica):
    """Kill a replica, once it lives: it may have been killed before, and have no successor yet."""
    await_until(lambda: supervisor.processes[replica].is_alive())
    os.kill(supervisor.processes[replica].pid, signal.SIGKILL)


def reply(address, mac=HOST):
    """An ARP reply of a host on the right."""
    return raw(Ether(dst=RIGHT, src=mac) / ARP(op=2, hwsrc=mac, psrc=address, pdst="10.0.1.1"))
