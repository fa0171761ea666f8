"""The router's own addresses change while packets flow, at one sequence number in every replica."""

import os
import random
import signal
import socket
import struct
from contextlib import suppress

import pytest
from lab_router import LEFT, RIGHT, caught_up, running
from port_router import ADDRESSES, HOST
from port_router import LEFT as LEFT_MAC
from port_router import RIGHT as RIGHT_MAC
from scapy.all import ICMP, IP, Ether, Raw, raw

from scout.io.ports.memory import MemoryPort
from scout.paths.changes.addresses import AddAddress, DeleteAddress
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.testing import await_until
from scout.tools.traffic.peers import ping

NEW = "10.0.5.1/24"
_IP_RECVERR, _OFFENDER = 11, 16 + 4  # the offender's address stands in a sockaddr_in behind the error


def echo_request(number):
    packet = (
        Ether(dst=LEFT_MAC, src=HOST) / IP(src="10.0.0.2", dst="10.0.5.1") / ICMP() / Raw(struct.pack("!I", number))
    )
    return raw(packet / Raw(bytes(14)))


def numbers(sent):
    return {struct.unpack_from("!I", frame, 42)[0] for frame in sent}


def test_random_changes_and_deaths_deliver_every_packet_by_its_sequence_number():
    """An echo request is answered while the address is the router's, and goes to the gateway while it is not."""
    chance, count = random.Random(5), 0
    left, right = MemoryPort(LEFT_MAC, entries=256, frames=None), MemoryPort(RIGHT_MAC, frames=[])
    graph = RouterGraph("test")
    for name, port in (("left", left), ("right", right)):
        graph.add(Ethernet(name, port))
    graph.add(Ip("ip", ADDRESSES, {"0.0.0.0/0": "10.0.1.2"}))
    arp = graph.add(Arp("arp"))
    for port, address in ((0, "10.0.0.2"), (1, "10.0.1.2")):
        arp.pin(port, address, HOST)
    graph.add(Icmp("icmp"))
    for name in ("left", "right"):
        graph.connect("icmp", "ip", name)
        graph.connect("ip", "arp", name)
    paths = [graph.create_path(name) for name in ("left", "right")]
    wanted = {True: set(), False: set()}  # the numbers of the requests, by whether the address was the router's
    with Supervisor(graph, paths, 2, report=[].append, restarts=1000) as supervisor:
        ours = False
        for turn in range(40):
            for _ in range(chance.randrange(60)):
                assert left.send(echo_request(count), timeout=60)
                wanted[ours].add(count)
                count += 1

            def made(change):
                with suppress(ScoutError):  # a dead replica has no successor yet
                    return supervisor.change(change)

            change = (DeleteAddress if ours else AddAddress)("left", NEW)
            await_until(lambda change=change: made(change))
            ours = not ours
            if turn % 8 == 3:
                dies = chance.choice(supervisor.taking_part)
                await_until(lambda dies=dies: supervisor.processes[dies].is_alive())
                os.kill(supervisor.processes[dies].pid, signal.SIGKILL)
        left.end()
        assert supervisor.wait(600)
        assert supervisor.diverged() == []
    assert numbers(left.sent()) == wanted[True]
    assert numbers(right.sent()) == wanted[False]


def offender(sock):
    """The address that reported the error which a socket has got."""
    _, ancillary, _, _ = sock.recvmsg(1500, 1500, socket.MSG_ERRQUEUE)
    (data,) = (data for level, kind, data in ancillary if (level, kind) == (socket.IPPROTO_IP, _IP_RECVERR))
    return socket.inet_ntoa(data[_OFFENDER : _OFFENDER + 4])


@pytest.mark.long
@pytest.mark.needs_namespaces
def test_a_kernel_pings_a_new_address_until_it_is_deleted():
    with running(2) as run:
        supervisor = run.supervisor
        run.left.address("eth0", "10.0.5.2/24")
        epoch = supervisor.change(AddAddress("left", NEW))
        await_until(lambda: supervisor.reached(epoch))
        assert ping(run.left, "10.0.5.1", 3)["received"] == 3
        assert ping(run.right, "10.0.5.2", 3)["received"] == 3  # the network is connected
        with run.left.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            sock.bind(("10.0.5.2", 0))
            sock.connect((RIGHT, 9))
            sock.send(b"x")
            await_until(lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            assert offender(sock) == "10.0.5.1"
        os.kill(supervisor.processes[0].pid, signal.SIGKILL)
        caught_up(supervisor)
        assert ping(run.left, "10.0.5.1", 3)["received"] == 3
        epoch = supervisor.change(DeleteAddress("left", NEW))
        await_until(lambda: supervisor.reached(epoch))
        assert ping(run.left, "10.0.5.1", 2)["received"] == 0
        assert ping(run.left, RIGHT, 2)["received"] == ping(run.right, LEFT, 2)["received"] == 2
