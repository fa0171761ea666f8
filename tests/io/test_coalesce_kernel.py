"""Runs of packets leave as one super-frame, which the kernel cuts at the router's outgoing veth."""

import socket
import time
from contextlib import contextmanager

import pytest
from scapy.all import IP, TCP, UDP, Ether, raw
from super_frames import (
    ETH_P_IP,
    LEFT,
    MACS,
    NOBODY,
    PACKET_VNET_HDR,
    PLAIN,
    RIGHT,
    RUNS,
    SOL_PACKET,
    VNET,
    WRONG,
    by_flow,
    completed,
    datagram,
    datagrams,
    partial,
)

from scout.io.host.lab import Lab
from scout.io.mac import mac_number
from scout.io.ports.afpacket import AfPacketPort
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.supervisor import Supervisor
from scout.tools.traffic.flood import Flood
from scout.tools.traffic.peers import tcp_transfer

pytestmark = pytest.mark.needs_namespaces


@contextmanager
def routed(coalesce=True, **offload):
    """A router between two hosts, whose kernel cuts super-frames at r1; the two, its namespace, and the router."""
    graph = RouterGraph("test")
    graph.add(Ethernet("left", AfPacketPort("r0", mac=MACS[1], coalesce=coalesce)))
    graph.add(Ethernet("right", AfPacketPort("r1", mac=MACS[2], coalesce=coalesce)))
    graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
    arp = Arp("arp")
    arp.pin(1, *NOBODY)
    arp.pin(1, RIGHT, MACS[3])
    graph.add(arp)
    graph.add(Icmp("icmp"))
    for port in ("left", "right"):
        graph.connect("icmp", "ip", port)
        graph.connect("ip", "arp", port)
    paths = [graph.create_path(port, order="channel") for port in ("left", "right")]
    with Lab("coalesce") as lab:
        left, router, right = (lab.namespace(name) for name in ("left", "router", "right"))
        lab.veth((left, "eth0"), (router, "r0"), mac=(MACS[0], MACS[1]))
        lab.veth((router, "r1"), (right, "eth0"), mac=(MACS[2], MACS[3]))
        for host, address, gateway in ((left, LEFT, "10.0.0.1"), (right, RIGHT, "10.0.1.1")):
            host.address("eth0", f"{address}/24")
            host.route("default", via=gateway)
        router.offload("r1", **{"tx_udp_segmentation": False, "tx_tcp_segmentation": False} | offload)
        with router.entered():
            supervisor = Supervisor(graph, paths, 1, report=print)
            supervisor.__enter__()
        try:
            yield left, router, right, supervisor
        finally:
            supervisor.stop()


def packet_socket(namespace, interface, protocol=0):
    with namespace.entered():
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        made.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        made.bind((interface, protocol))
        made.settimeout(600)
    return made


def through(sent, coalesce, **offload):
    """The frames that arrive at the far host when `sent` are sent, with virtio-net headers."""
    with routed(coalesce, **offload) as (left, _, right, supervisor):
        with packet_socket(left, "eth0") as sender, packet_socket(right, "eth0", ETH_P_IP) as receiver:
            for offloads, frame in sent:
                sender.send(offloads + frame)
            try:
                arrived = [receiver.recv(1 << 17) for _ in sent]
            except TimeoutError:
                raise AssertionError(f"not all arrived: {supervisor.account()}") from None
        supervisor.stop()
        account = supervisor.account()
        assert account["out"] == {"right": len(sent)} and account["received"] == len(sent) and not account["drops"]
    return [(message[:10], message[10:]) for message in arrived]


# The router drops what has a wrong header checksum, its kernel what is too long; options go aside, so leave later;
# of a wrong UDP length Scapy makes another checksum; what is no IPv4 is for no router.
ODD = {
    "no IPv4 between",
    "a wrong header checksum",
    "too long for the device",
    "the sender's super-frames",
    "options",
    "a wrong UDP length",
}
MIXED = [frame for name, (run, _) in RUNS.items() if name not in ODD for frame in run]


@pytest.mark.parametrize("checksums", [True, False], ids=["left to the peer", "completed at the device"])
def test_what_arrives_is_the_same_with_and_without(checksums):
    offload = {"tx_checksum_ip_generic": checksums}
    with_it, without = through(MIXED, True, **offload), through(MIXED, False, **offload)
    assert by_flow(completed(with_it)) == by_flow(completed(without))
    for (offloads, frame), (left_undone, before) in zip(without, MIXED, strict=True):
        packet, given = Ether(frame), Ether(before)[IP]
        assert (packet.src, packet.dst, packet[IP].ttl + 1, packet[IP].id) == (MACS[2], NOBODY[1], given.ttl, given.id)
        del packet[IP].chksum
        if not checksums and left_undone != PLAIN and before[40:42] != WRONG:
            assert offloads == PLAIN
            for layer in {UDP, TCP} & set(packet.layers()):  # a fragment has none
                del packet[layer].chksum
        assert raw(packet) == frame


def test_one_flow_really_leaves_as_super_frames_and_a_socket_gets_the_datagrams():
    """The device takes them whole from when the router already runs: they can be seen."""
    with routed() as (left, router, right, supervisor):
        left.offload("eth0", tx_udp_segmentation=False)
        _, frame = partial(datagram(0, 2000, ip={"dst": RIGHT}))  # 20 datagrams, cut at the sender's device
        with right.entered():
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sink.bind((RIGHT, 2000))
        sink.settimeout(600)
        router.offload("r1", tx_udp_segmentation=True)
        with sink, packet_socket(left, "eth0") as sender, packet_socket(right, "eth0", ETH_P_IP) as receiver:
            sender.send(VNET.pack(1, 5, 42, 100, 34, 6) + frame)
            assert [sink.recv(2000) for _ in range(20)] == [frame[at : at + 100] for at in range(42, 2042, 100)]
            # The ring's block may have been handed over in the middle of them.
            kinds = [receiver.recv(1 << 17)[1]]
            while kinds[-1] == 0:
                kinds.append(receiver.recv(1 << 17)[1])
            assert kinds[-1] == 5  # VIRTIO_NET_HDR_GSO_UDP_L4
        assert supervisor.account()["out"]["right"] == 20


def received_by(joins):
    """20 datagrams that arrive at the far host, and how many packets the router sent on for them."""
    with routed() as (left, router, right, supervisor):
        left.offload("eth0", tx_udp_segmentation=False)  # one super-frame, which the sender's device cuts
        router.offload("r0", rx_gro=joins, rx_udp_gro_forwarding=joins)
        _, frame = partial(datagram(0, 2000))
        with packet_socket(left, "eth0") as sender, packet_socket(right, "eth0", ETH_P_IP) as receiver:
            sender.send(VNET.pack(1, 5, 42, 100, 34, 6) + frame)
            messages = [receiver.recv(1 << 17) for _ in range(20)]
        supervisor.stop()
        assert not supervisor.account()["drops"]
        passed = supervisor.flows(supervisor.paths[0])["right.out", "to right"]  # ARP's frames are none of them
    return [(message[:10], message[10:]) for message in messages], int(passed)


def test_frames_that_the_kernel_joins_before_the_router_arrive_as_they_were_sent():
    joined, packets = received_by(True)
    apart, frames = received_by(False)
    assert completed(joined) == completed(apart)
    assert packets < frames == 20


def test_a_device_that_takes_super_frames_gets_none():
    sent = datagrams(0, 50, 100)
    arrived = through(sent, True, tx_udp_segmentation=True)
    assert [frame[42:] for _, frame in arrived] == [frame[42:] for _, frame in sent]


def test_a_flood_is_counted_by_the_frame():
    with routed() as (left, _, right, supervisor):
        left.offload("eth0", tx_udp_segmentation=False)
        flood = Flood(60, LEFT, RIGHT, mac_number(MACS[0]), mac_number(MACS[1]))
        with right.entered():
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sink:
            sink.bind((RIGHT, 4001))
            before = right.link_stats("eth0").rx_packets
            left.run(flood.run, "eth0", 0.5, 50_000.0).join()

            def moved():
                account = supervisor.account()
                return account["out"].get("right", 0), account["drops"].get("ring-full", 0)

            end = time.monotonic() + 600
            while sum(moved()) < flood.sent and time.monotonic() < end:
                time.sleep(0.01)
            out, full = moved()  # the ring may overrun: that is counted too
            assert out + full == flood.sent and out == right.link_stats("eth0").rx_packets - before


def test_tcp_from_a_sender_without_segmentation_arrives_intact():
    with routed() as (left, _, right, supervisor):
        left.offload("eth0", tx_tcp_segmentation=False)
        result = tcp_transfer(left, right, RIGHT, 16 << 20, 60.0)
        assert result["intact"] and result["bytes"] == 16 << 20
        supervisor.stop()
        account = supervisor.account()
        assert account["received"] == sum(sum(account[part].values()) for part in ("out", "ended", "drops"))
        assert not {name for name in account["drops"] if name.startswith("tx-")}
