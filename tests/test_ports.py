"""Memory and pcap ports, through a router with replicas: no root, no namespaces."""

import os
import signal
import struct
import time

import pytest
from scapy.all import IP, UDP, Ether, Raw, raw, rdpcap, wrpcap

from scout.io.memory import MemoryPort
from scout.io.pcap import PcapPort, read_pcap
from scout.io.port import PortError
from scout.paths.arp import Arp
from scout.paths.ethernet import Ethernet
from scout.paths.graph import RouterGraph
from scout.paths.icmp import Icmp
from scout.paths.ipv4 import Ip
from scout.supervisor import Supervisor

LEFT, RIGHT, HOST = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:0b"


def frame(number, size=18):
    payload = struct.pack("!I", number) + bytes(size - 4)
    return raw(Ether(dst=LEFT, src=HOST) / IP(src="10.0.0.2", dst="10.0.1.2") / UDP(sport=1, dport=2) / Raw(payload))


def router(left, right, order="completed"):
    graph = RouterGraph("ports")
    graph.add(Ethernet("left", left))
    graph.add(Ethernet("right", right))
    graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
    arp = Arp("arp")
    arp.pin(1, "10.0.1.2", HOST)
    graph.add(arp)
    graph.add(Icmp("icmp"))
    for port in ("left", "right"):
        graph.connect("icmp", "ip", port)
        graph.connect("ip", "arp", port)
    return graph, [graph.create_path(port, order=order) for port in ("left", "right")]


def run(left, right, replicas, order="completed"):
    graph, paths = router(left, right, order)
    reports = []
    with Supervisor(graph, paths, replicas, report=reports.append) as supervisor:
        assert supervisor.wait(60.0)
    account = supervisor.account()
    assert account["received"] == sum(sum(account[part].values()) for part in ("out", "ended", "drops"))
    return supervisor, account


@pytest.mark.parametrize("replicas", [1, 2])
def test_every_frame_is_forwarded_by_one_primary_and_seen_by_all(replicas):
    count = 5_000
    left = MemoryPort(LEFT, frames=[(frame(n), n) for n in range(count)])
    right = MemoryPort(RIGHT, frames=[])
    supervisor, account = run(left, right, replicas)
    assert account["out"] == {"right": count}
    figures = supervisor.replica_figures()
    assert sum(row["primary"] for row in figures) == count
    assert {row["seen"] for row in figures} == {count}
    packets = [Ether(data) for data in right.sent()]
    assert [struct.unpack("!I", bytes(p[Raw])[:4])[0] for p in packets] == list(range(count))
    for packet in packets[:: count // 10]:
        assert (packet.dst, packet.src, packet[IP].ttl) == (HOST, RIGHT, 63)
        expected = packet.copy()
        del expected[IP].chksum
        assert raw(expected) == raw(packet)


@pytest.mark.parametrize("replicas", [1, 2])
def test_channel_order_keeps_the_order_and_pcap_files_carry_it(tmp_path, replicas):
    count = 10_000
    wrpcap(str(tmp_path / "in.pcap"), [Ether(frame(n, 18 + n % 900)) for n in range(count)])
    left = PcapPort(read=str(tmp_path / "in.pcap"), mac=LEFT)
    right = PcapPort(write=str(tmp_path / "out.pcap"), mac=RIGHT)
    _, account = run(left, right, replicas, "channel")
    assert account["out"] == {"right": count}
    got = rdpcap(str(tmp_path / "out.pcap"))
    assert [struct.unpack("!I", bytes(p[Raw])[:4])[0] for p in got] == list(range(count))
    assert [len(p) for p in got[:50]] == [42 + 18 + n % 900 for n in range(50)]
    assert len(list(read_pcap(str(tmp_path / "out.pcap")))) == count


def test_a_partial_checksum_is_completed():
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    graph, paths = router(left, right)
    good = Ether(frame(7, 33))
    partial = bytearray(raw(good))
    # What a kernel leaves in the field: the pseudo-header's sum, not complemented.
    pseudo = sum(struct.unpack("!6H", partial[26:34] + struct.pack("!HH", 17, len(partial) - 34)))
    partial[40:42] = struct.pack("!H", (pseudo & 0xFFFF) + (pseudo >> 16))
    with Supervisor(graph, paths, 1) as supervisor:
        left._opened.send(bytes(partial), 1, struct.pack("<BBHHHH", 1, 0, 0, 0, 34, 6))
        end = time.monotonic() + 10
        while not right.sent() and time.monotonic() < end:
            time.sleep(0.01)
        supervisor.stop()
    assert Ether(right.sent()[0])[UDP].chksum == good[UDP].chksum


@pytest.mark.parametrize("order", ["completed", "channel"])
def test_a_killed_replica_does_not_stop_the_others(order):
    count = 30_000
    known = [frame(n) for n in range(100)]
    left = MemoryPort(LEFT, frames=((known[n % 100], n) for n in range(count)))
    right = MemoryPort(RIGHT, frames=[])
    graph, paths = router(left, right, order)
    reports = []
    with Supervisor(graph, paths, 2, report=reports.append) as supervisor:
        while supervisor.replica_figures()[0]["seen"] < 1000:
            time.sleep(0.001)
        os.kill(supervisor.processes[0].pid, signal.SIGKILL)
        assert supervisor.wait(60.0)
    account = supervisor.account()
    assert "SIGKILL" in reports[0]
    assert account["received"] == count
    assert account["out"]["right"] + account["drops"].get("replica-died", 0) == count
    assert account["drops"].get("replica-died", 0) <= 512


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello world, this is not a capture", "no pcap file"),
        (struct.pack("<I", 0x0A0D0D0A) + bytes(40), "pcapng"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + struct.pack("<4I", 0, 0, 99, 99), "offset 24"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 113), "link type 113"),
    ],
)
def test_a_bad_capture_is_named_with_the_place(tmp_path, data, words):
    file = tmp_path / "bad.pcap"
    file.write_bytes(data)
    with pytest.raises(PortError, match=words):
        list(read_pcap(str(file)))


def test_both_byte_orders_and_resolutions(tmp_path):
    for order in "<>":
        for magic, scale in ((0xA1B2C3D4, 1000), (0xA1B23C4D, 1)):
            file = tmp_path / "x.pcap"
            head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
            file.write_bytes(head + struct.pack(f"{order}4I", 5, 7, 3, 3) + b"abc")
            assert list(read_pcap(str(file))) == [(5 * 10**9 + 7 * scale, b"abc")]
