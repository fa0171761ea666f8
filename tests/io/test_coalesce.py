"""Runs of packets that leave as one super-frame: what arrives is what would arrive without, byte for byte.

First with an oracle in Python that cuts super-frames as the kernel does, then with the kernel, which cuts them
at the router's outgoing veth.
"""

import random
import socket
import struct
import threading
import time
from contextlib import contextmanager

import hypothesis
import numba
import numpy as np
import pytest
from hypothesis import strategies as st
from scapy.all import IP, TCP, UDP, Ether, IPOption, Raw, raw

from scout.io.batch import new_batch
from scout.io.host.lab import Lab
from scout.io.packet import PACKET, REACH, RECORD
from scout.io.ports.afpacket import AfPacketPort
from scout.io.ports.contract import mac_number
from scout.io.transmit.queue import TRANSMIT, enqueue, flush, new_line
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.ring.jit import entry
from scout.supervisor import Supervisor
from scout.tools.traffic.flood import Flood
from scout.tools.traffic.peers import tcp_transfer

MACS = [f"02:00:00:00:00:{number:02x}" for number in range(1, 5)]  # left, r0, r1, right
LEFT, RIGHT = "10.0.0.2", "10.0.1.2"
NOBODY = "10.0.1.3", "02:00:00:00:00:ff"  # what is sent on to this one, the far kernel does not answer
VNET = struct.Struct("<BBHHHH")
WRONG = b"\x12\x34"
PLAIN = VNET.pack(0, 0, 0, 0, 0, 0)
SOL_PACKET, PACKET_VNET_HDR, ETH_P_IP = 263, 15, 0x0800


def summed(data):
    data += bytes(len(data) & 1)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo(ip, size):
    return summed(ip[12:20] + struct.pack("!HH", ip[9], size))


def partial(packet):
    """A Scapy packet as a Linux sender leaves it to the device: its virtio-net header and its bytes."""
    frame = bytearray(raw(packet))
    start = 14 + (frame[14] & 15) * 4
    offset = 6 if frame[23] == 17 else 16
    frame[start + offset : start + offset + 2] = struct.pack("!H", pseudo(frame[14:34], len(frame) - start))
    return VNET.pack(1, 0, 0, 0, start, offset), bytes(frame)


def datagram(number, size=18, sport=1000, ip=None, **fields):
    header = IP(**{"src": LEFT, "dst": NOBODY[0], "id": number & 0xFFFF, "flags": "DF"} | (ip or {}))
    payload = random.Random(number).randbytes(size)
    return Ether(src=MACS[0], dst=MACS[1]) / header / UDP(sport=sport, dport=2000, **fields) / Raw(payload)


def segment(number, at, size=100, ip=None, **fields):
    fields = {
        "flags": "A",
        "ack": 77,
        "window": 500,
        "options": [("NOP", 0), ("NOP", 0), ("Timestamp", (5, 6))],
    } | fields
    header = IP(**{"src": LEFT, "dst": NOBODY[0], "id": number & 0xFFFF, "flags": "DF"} | (ip or {}))
    tcp = TCP(sport=1000, dport=2000, seq=at & 0xFFFFFFFF, **fields)
    return Ether(src=MACS[0], dst=MACS[1]) / header / tcp / Raw(random.Random(at).randbytes(size))


def datagrams(first, count, size=18, **fields):
    return [partial(datagram(first + index, size, **fields)) for index in range(count)]


def segments(first, count, size=100, at=0xFFFFFF00, **fields):
    return [partial(segment(first + index, at + index * size, size, **fields)) for index in range(count)]


def changed(sent, offset, data):
    offload, frame = sent
    return offload, frame[:offset] + data + frame[offset + len(data) :]


# Messages, with an oracle for the kernel.


@entry(
    numba.void(
        numba.types.Array(numba.from_dtype(PACKET), 1, "C"),
        numba.int64,
        numba.types.Array(numba.from_dtype(TRANSMIT), 1, "C"),
    )
)
def send_all(batch, count, transmits):
    for index in range(count):
        enqueue(transmits[0], batch[index], batch.ctypes.data + index * RECORD)
    flush(transmits[0])


class Line:
    """A sending end on a socket of the local domain, which shows the messages that it is given."""

    def __init__(self, coalesce=3, mtu=1500, send_buffer=None):
        self.sender, self.receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if send_buffer:
            self.sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.transmit = np.zeros(1, TRANSMIT)
        self.memory = new_line(self.transmit)
        self.transmit["socket"], self.transmit["coalesce"] = self.sender.fileno(), coalesce
        self.transmit["longest"] = mtu + 14

    def send(self, sent):
        """Send frames with their virtio-net headers; the messages that came of it."""
        messages = []

        def collect():
            while message := self.receiver.recv(1 << 17):
                messages.append(message)

        reader = threading.Thread(target=collect)
        reader.start()
        self._send(sent)
        self.sender.send(b"")
        reader.join()
        return messages

    def _send(self, sent):
        batch, slots = new_batch()
        tails = []
        for packet, (offload, frame) in zip(batch, sent, strict=False):
            start = packet["slot"] - slots.ctypes.data
            linear = frame[:REACH]
            slots[start : start + len(linear)] = np.frombuffer(linear, np.uint8)
            tail = np.frombuffer(frame[REACH:] + b"\0", np.uint8)
            tails.append(tail)
            packet["end"], packet["tail"] = packet["slot"] + len(linear), tail.ctypes.data
            packet["tail_bytes"] = len(frame) - len(linear)
            names = ("flags", "gso_type", "header_bytes", "gso_size", "checksum_start", "checksum_offset")
            for name, value in zip(names, VNET.unpack(offload), strict=True):
                packet[name] = value
        send_all(batch, len(sent), self.transmit)

    def close(self):
        self.sender.close()
        self.receiver.close()


@pytest.fixture
def line():
    made = Line()
    yield made
    made.close()


def cut(message):
    """The frames, with their virtio-net headers, that the kernel makes of a message (inet_gso_segment)."""
    flags, gso_type, header_bytes, size, start, offset = VNET.unpack(message[:10])
    if gso_type == 0:
        return [(message[:10], message[10:])]
    assert flags == 1 and start == 34 and len(message) > 10 + header_bytes + size, "the kernel would refuse it"
    assert (gso_type, offset) in ((5, 6), (1, 16))
    headers, payload = message[10 : 10 + header_bytes], message[10 + header_bytes :]
    assert summed(headers[14:34]) == 0xFFFF
    length = int.from_bytes(headers[16:18], "big")
    assert length == len(message) - 24 <= 0xFFFF
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    assert len(pieces) <= 64
    frames = []
    for index, piece in enumerate(pieces):
        frame = bytearray(headers + piece)
        frame[16:18] = struct.pack("!H", len(frame) - 14)
        frame[18:20] = struct.pack("!H", (int.from_bytes(headers[18:20], "big") + index) & 0xFFFF)
        frame[24:26] = bytes(2)
        frame[24:26] = struct.pack("!H", summed(frame[14:34]) ^ 0xFFFF)
        before, after = length - 20, len(frame) - 34
        check = int.from_bytes(headers[34 + offset : 36 + offset], "big") + (before ^ 0xFFFF) + after
        while check >> 16:
            check = (check & 0xFFFF) + (check >> 16)
        if gso_type == 5:
            assert headers[38:40] == struct.pack("!H", before)
            frame[38:40] = struct.pack("!H", after)
        else:
            sequence = int.from_bytes(headers[38:42], "big") + index * size
            frame[38:42] = struct.pack("!I", sequence & 0xFFFFFFFF)
            if index < len(pieces) - 1:
                frame[47] &= ~0x09  # FIN and PSH
            if index:
                frame[47] &= ~0x80  # CWR
        frame[34 + offset : 36 + offset] = struct.pack("!H", check)
        frames.append((VNET.pack(1, 0, 0, 0, 34, offset), bytes(frame)))
    return frames


def delivered(messages):
    return [frame for message in messages for frame in cut(message)]


def counts(messages):
    return [len(cut(message)) for message in messages]


RUNS = {
    "equal": (datagrams(0, 10), [10]),
    "a shorter one is the last": (datagrams(0, 5) + datagrams(5, 1, 7) + datagrams(6, 3), [6, 3]),
    "a longer one begins another": (datagrams(0, 2, 18) + datagrams(2, 3, 19), [2, 3]),
    "64 at most": (datagrams(0, 70), [64, 6]),
    "65,535 bytes at most": (datagrams(0, 50, 1472), [44, 6]),
    "with tails": (datagrams(0, 4, 700) + datagrams(4, 1, 3), [5]),
    "identifications go round": (datagrams(0xFFFE, 4), [4]),
    "odd sizes": (datagrams(7, 3, 1) + datagrams(10, 3, 33), [3, 3]),
    "nothing in them": (datagrams(0, 3, 0), [1, 1, 1]),
    "identifications stay": ([partial(datagram(0)) for _ in range(3)], [1, 1, 1]),
    "identifications jump": (datagrams(0, 2) + datagrams(3, 2), [2, 2]),
    "two flows": ([partial(datagram(index // 2, sport=index % 2)) for index in range(6)], [1] * 6),
    "one flow behind the other": (datagrams(0, 3) + datagrams(3, 3, sport=9), [3, 3]),
    "time to live": (datagrams(0, 2) + datagrams(2, 2, ip={"ttl": 9}), [2, 2]),
    "congestion experienced": (datagrams(0, 2) + datagrams(2, 2, ip={"tos": 3}), [2, 2]),
    "may be fragmented": (datagrams(0, 3, ip={"flags": 0}), [3]),
    "don't fragment": (datagrams(0, 2, ip={"flags": 0}) + datagrams(2, 2), [2, 2]),
    "options": (datagrams(0, 3, ip={"options": IPOption(b"\x01\x01\x01\x00")}), [1, 1, 1]),
    "fragments": ([partial(datagram(index, ip={"frag": 1})) for index in range(3)], [1, 1, 1]),
    "complete checksums": ([(PLAIN, raw(datagram(index))) for index in range(3)], [1, 1, 1]),
    "no checksums": ([(PLAIN, raw(datagram(index, chksum=0))) for index in range(3)], [1, 1, 1]),
    "one complete checksum": ([*datagrams(0, 2), (PLAIN, raw(datagram(2))), *datagrams(3, 2)], [2, 1, 2]),
    "a wrong partial checksum": ([*datagrams(0, 2), changed(*datagrams(2, 1), 40, WRONG), *datagrams(3, 2)], [2, 1, 2]),
    "a wrong header checksum": ([*datagrams(0, 2), changed(*datagrams(2, 1), 24, WRONG), *datagrams(3, 2)], [2, 1, 2]),
    "padding": ([(offload, frame + bytes(4)) for offload, frame in datagrams(0, 3)], [1, 1, 1]),
    "a wrong UDP length": ([changed(each, 38, b"\0\x19") for each in datagrams(0, 3)], [1, 1, 1]),
    "too long for the device": (datagrams(0, 3, 1473), [1, 1, 1]),
    "the sender's super-frames": ([(VNET.pack(1, 5, 42, 18, 34, 6), each[1]) for each in datagrams(0, 2, 36)], [2, 2]),
    "TCP": (segments(5, 4) + segments(9, 1, 30, at=0xFFFFFF00 + 400), [5]),
    "TCP, PSH on the last": (segments(5, 3, at=0) + segments(8, 1, at=300, flags="PA") + segments(9, 2), [4, 2]),
    "TCP, FIN": (segments(5, 2) + segments(7, 1, at=0xFFFFFF00 + 200, flags="FA"), [2, 1]),
    "TCP, acknowledging more": (segments(5, 2) + segments(7, 2, at=0xFFFFFF00 + 200, ack=78), [2, 2]),
    "TCP, another window": (segments(5, 2) + segments(7, 2, at=0xFFFFFF00 + 200, window=501), [2, 2]),
    "TCP, other options": (
        segments(5, 2) + segments(7, 2, at=0xFFFFFF00 + 200, options=[("NOP", 0), ("NOP", 0), ("Timestamp", (5, 7))]),
        [2, 2],
    ),
    "TCP, a gap": (segments(5, 2) + segments(7, 2, at=500), [2, 2]),
    "TCP, an urgent pointer": (segments(5, 2) + segments(7, 2, at=0xFFFFFF00 + 200, urgptr=1), [2, 2]),
    "TCP, no payload": (segments(5, 3, 0), [1, 1, 1]),
    "TCP behind UDP": (datagrams(0, 2) + segments(2, 2), [2, 2]),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_runs_leave_as_one_message_that_is_cut_into_the_same_frames(line, name):
    sent, expected = RUNS[name]
    messages = line.send(sent)
    if name != "the sender's super-frames":
        assert delivered(messages) == sent
    else:
        assert messages == [offload + frame for offload, frame in sent]
    assert counts(messages) == expected
    assert line.transmit["sent"] == len(sent) and line.transmit["count"] == 0


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(st.data())
def test_whatever_differs_every_frame_arrives_as_it_was(data):
    """A run of which some packets have some bits of their headers flipped."""
    udp = data.draw(st.booleans())
    size = data.draw(st.sampled_from([1, 18, 700]))
    sent = datagrams(0xFFF0, 30, size) if udp else segments(0xFFF0, 30, size)
    flips = st.tuples(st.integers(0, 29), st.integers(0, 70), st.integers(1, 255))
    for index, place, value in data.draw(st.lists(flips)):
        offload, frame = sent[index]
        place = min(place, len(frame) - 1)
        sent[index] = changed((offload, frame), place, bytes([frame[place] ^ value]))
    line = Line()
    try:
        assert delivered(line.send(sent)) == sent
    finally:
        line.close()


def test_what_is_not_asked_for_is_left_alone():
    for coalesce, expected in ((0, [1] * 6), (1, [3, 1, 1, 1]), (2, [1, 1, 1, 3])):
        line = Line(coalesce)
        assert counts(line.send(datagrams(0, 3) + segments(3, 3))) == expected
        line.close()


def test_a_refused_super_frame_goes_out_in_pieces_and_none_is_tried_again():
    sent = datagrams(0, 40, 400)
    line = Line(send_buffer=1)  # the least there is: a few thousand bytes
    messages = line.send(sent)
    assert delivered(messages) == sent and counts(messages) == [1] * 40
    assert line.transmit["coalesce"] == 0 and line.transmit["sent"] == 40
    assert sum(int(line.transmit[reason][0]) for reason in ("full", "too_big", "down", "refused")) == 0
    assert counts(line.send(datagrams(0, 2))) == [1, 1]
    line.close()


def test_packets_for_which_there_is_no_room_are_counted_each():
    line = Line()
    line.sender.setblocking(False)
    for _ in range(50):  # nobody takes any
        line._send(datagrams(0, 64, 400))
    assert line.transmit["full"] > 64 and line.transmit["coalesce"] == 3
    assert line.transmit["sent"] + line.transmit["full"] == 50 * 64
    line.close()


# The kernel.

needs_namespaces = pytest.mark.needs_namespaces


@contextmanager
def routed(coalesce=True, **offload):
    """A router between two hosts, whose kernel cuts super-frames at r1; the two, its namespace, and the router."""
    graph = RouterGraph("coalesce")
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
        made.settimeout(10.0)
    return made


def through(sent, coalesce, **offload):
    """What arrives at the far host of the frames in `sent`, with virtio-net headers."""
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
# of a wrong UDP length Scapy makes another checksum.
ODD = {
    "a wrong header checksum",
    "too long for the device",
    "the sender's super-frames",
    "options",
    "a wrong UDP length",
}
MIXED = [frame for name, (run, _) in RUNS.items() if name not in ODD for frame in run]


@needs_namespaces
@pytest.mark.parametrize("checksums", [True, False], ids=["left to the peer", "completed at the device"])
def test_what_arrives_is_the_same_with_and_without(checksums):
    offload = {"tx_checksum_ip_generic": checksums}
    with_it, without = through(MIXED, True, **offload), through(MIXED, False, **offload)
    assert with_it == without
    for (offloads, frame), (left_undone, before) in zip(with_it, MIXED, strict=True):
        packet, given = Ether(frame), Ether(before)[IP]
        assert (packet.src, packet.dst, packet[IP].ttl + 1, packet[IP].id) == (MACS[2], NOBODY[1], given.ttl, given.id)
        del packet[IP].chksum
        if not checksums and left_undone != PLAIN and before[40:42] != WRONG:
            assert offloads == PLAIN
            for layer in {UDP, TCP} & set(packet.layers()):  # a fragment has none
                del packet[layer].chksum
        assert raw(packet) == frame


@needs_namespaces
def test_one_flow_really_leaves_as_super_frames_and_a_socket_gets_the_datagrams():
    """The device takes them whole from when the router already runs: they can be seen."""
    with routed() as (left, router, right, supervisor):
        left.offload("eth0", tx_udp_segmentation=False)
        _, frame = partial(datagram(0, 2000, ip={"dst": RIGHT}))  # 20 datagrams, cut at the sender's device
        with right.entered():
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sink.bind((RIGHT, 2000))
        sink.settimeout(10.0)
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


@needs_namespaces
def test_a_device_that_takes_super_frames_gets_none():
    sent = datagrams(0, 50, 100)
    arrived = through(sent, True, tx_udp_segmentation=True)
    assert [frame[42:] for _, frame in arrived] == [frame[42:] for _, frame in sent]


@needs_namespaces
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
            end = time.monotonic() + 10
            while supervisor.account()["out"].get("right", 0) < flood.sent and time.monotonic() < end:
                time.sleep(0.01)
            assert supervisor.account()["out"]["right"] == flood.sent == right.link_stats("eth0").rx_packets - before


@needs_namespaces
def test_tcp_from_a_sender_without_segmentation_arrives_intact():
    with routed() as (left, _, right, supervisor):
        left.offload("eth0", tx_tcp_segmentation=False)
        result = tcp_transfer(left, right, RIGHT, 16 << 20, 60.0)
        assert result["intact"] and result["bytes"] == 16 << 20
        supervisor.stop()
        account = supervisor.account()
        assert account["received"] == sum(sum(account[part].values()) for part in ("out", "ended", "drops"))
        assert not {name for name in account["drops"] if name.startswith("tx-")}
