"""Ports on interfaces that change while the router runs, and on interfaces that others use too."""

import fcntl
import os
import signal
import socket
import struct
from collections.abc import Iterator

import pytest
from lab_router import RIGHT, running
from pyroute2 import IPRoute

from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.io.host.process import Child
from scout.io.ports.afpacket import AfPacketPort
from scout.io.ports.contract import PortError
from scout.io.ports.interface import DOWN, Interface
from scout.testing import await_until
from scout.tools.traffic.peers import ping

pytestmark = pytest.mark.needs_namespaces

IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3  # linux/in.h


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A namespace with one end of a veth pair, `left`."""
    with Lab("afpacket") as lab:
        made = lab.namespace("router")
        lab.veth((made, "left"), (lab.namespace("host"), "eth0"))
        yield made


def test_a_renamed_interface_is_the_same_one() -> None:
    with running() as run:
        assert ping(run.left, RIGHT, 1)["received"] == 1
        with run.router.entered(), IPRoute() as route:
            route.link("set", index=route.link_lookup(ifname="r0")[0], ifname="wan0")
        await_until(lambda: run.supervisor.port("left").interface == "wan0")
        assert ping(run.left, RIGHT, 1)["received"] == 1
        joined = run.supervisor.add_replica()  # its socket is bound by the present name
        run.supervisor.remove_replica(1 - joined)
        assert ping(run.left, RIGHT, 1)["received"] == 1
        assert run.reports == []


@pytest.mark.parametrize("asked", [0x8913, 0x8921])  # SIOCGIFFLAGS, SIOCGIFMTU
def test_a_rename_while_the_kernel_is_asked_is_no_fault(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    names = iter(["wan0", "wan1"])
    real = fcntl.ioctl

    def renaming(asker: socket.socket, request: int, value: bytes) -> bytes:
        if request == asked and (name := next(names, "")):
            route.link("set", index=found.number, ifname=name)
        return real(asker, request, value)

    with namespace.entered(), IPRoute() as route, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        found = Interface(asker, "left")
        monkeypatch.setattr("scout.io.ports.interface.fcntl.ioctl", renaming)
        assert found.refresh() and not found.fault()
        assert found.name == "wan1"
        route.link("del", index=found.number)
        assert not found.refresh() and found.fault() == DOWN


def test_a_refresh_asks_for_the_name_once_and_an_endless_row_of_renames_ends(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = fcntl.ioctl, list[int]()

    def noting(asker: socket.socket, request: int, value: bytes) -> bytes:
        asked.append(request)
        if renames and request == 0x8921:  # SIOCGIFMTU
            route.link("set", index=found.number, ifname=f"wan{len(asked)}")
        return real(asker, request, value)

    with namespace.entered(), IPRoute() as route, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        found, renames = Interface(asker, "left"), False
        monkeypatch.setattr("scout.io.ports.interface.fcntl.ioctl", noting)
        assert found.refresh() and asked == [0x8921, 0x8910]  # and SIOCGIFNAME
        renames = True
        assert not found.refresh() and len(asked) < 30
        renames = False
        assert found.refresh() and found.name.startswith("wan")


def test_a_new_mtu_holds_from_then_on() -> None:
    with running() as run:
        assert ping(run.left, RIGHT, 1)["received"] == 1
        with run.router.entered(), IPRoute() as route:
            route.link("set", index=route.link_lookup(ifname="r1")[0], mtu=1300)
        await_until(lambda: run.reports == ["port right: the MTU of interface r1 is 1300 now"])
        with run.left.entered():
            errors = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with errors, sender:
            errors.settimeout(600)
            sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
            sender.sendto(bytes(1400), (RIGHT, 9))
            message = errors.recv(2048)[20:]
        assert struct.unpack("!BB4xH", message[:8]) == (3, 4, 1300)  # RFC 1191 section 4


def test_two_processes_cannot_route_on_one_interface(namespace: Namespace) -> None:
    with namespace.entered():
        first, second = AfPacketPort("left"), AfPacketPort("left")
        other = AfPacketPort("left", mac="02:00:00:00:00:77")  # answers to another address
        try:
            first.open(0)
            with pytest.raises(PortError, match=f"left: process {os.getpid()} runs a router there already"):
                second.open(0)
            second.close()
            other.open(0)
            first.close()
            second.open(0)
        finally:
            for port in (first, second, other):
                port.close()


def test_an_interface_is_free_again_when_its_router_was_killed(namespace: Namespace) -> None:
    port = AfPacketPort("left")
    reader, writer = os.pipe()

    def route() -> None:
        port.open(0)
        os.write(writer, b"open")
        signal.pause()

    try:
        with namespace.entered():
            child = Child(route)
            os.read(reader, 4)
            with pytest.raises(PortError, match=f"process {child.pid} "):
                port.open(0)
            child.kill()
            assert child.join(600)
            port.close()
            port.open(0)
    finally:
        port.close()
        os.close(reader)
        os.close(writer)


def test_what_the_kernel_does_there_too_is_said(namespace: Namespace) -> None:
    port, own = AfPacketPort("left"), AfPacketPort("left", mac="02:00:00:00:00:77")
    with namespace.entered(), IPRoute() as route:
        port.open(0)
        own.open(1)
        try:
            assert port.warnings() == []
            namespace.sysctl("net.ipv4.conf.left.forwarding", 1)
            route.addr("add", index=port.number, address="10.0.0.1", prefixlen=24)
            address, forwarding = port.warnings()
            assert "10.0.0.1" in address and "ip address flush dev left" in address
            assert "sysctl -w net.ipv4.conf.left.forwarding=0" in forwarding
            assert own.warnings() == []  # the kernel takes packets to that address for another host's
        finally:
            port.close()
            own.close()


def test_a_frame_that_is_longer_than_the_ring_has_room_for_is_dropped_and_counted() -> None:
    """The ring's slots are of another size: shorter frames pass through it for more than a lap, in blocks of 64."""
    with running(longest=200) as run, run.left.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sent, long = 3000, 5
        for number in range(sent):
            sender.sendto(bytes(100), (RIGHT, 9))
            if number % 600 == 0:
                sender.sendto(bytes(400), (RIGHT, 9))
            if number % 100 == 0:
                run.settle()  # fewer than the ring holds
        await_until(lambda: run.supervisor.account()["drops"].get("too-long-for-slot") == long)
        assert "too-short" not in run.supervisor.account()["drops"]
        assert ping(run.left, RIGHT, 1)["received"] == 1
