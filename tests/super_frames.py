"""Runs of packets of one flow, as a Linux sender leaves them to a device, and how many leave together."""

import random
import struct

from scapy.all import IP, TCP, UDP, Ether, IPOption, Raw, raw

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


def in_turn(*flows):
    """One packet of each flow, and so on."""
    return [packet for packets in zip(*flows, strict=True) for packet in packets]


def by_flow(sent):
    """Packets of each flow in their order, by addresses and ports; those that have none are one flow."""
    flows = {}
    for offload, frame in sent:
        has_ports = frame[12:15] == b"\x08\x00\x45" and not frame[20] & 0x3F and not frame[21] and frame[23] in (6, 17)
        flows.setdefault(frame[26:38] if has_ports else b"", []).append((offload, frame))
    return flows


def completed(sent):
    """Packets with the checksums that were left to a device."""
    return [
        (PLAIN, _with_checksum(frame, *VNET.unpack(offload)[4:])) if offload[0] & 1 else (offload, frame)
        for offload, frame in sent
    ]


def _with_checksum(frame, start, offset):
    checksum = struct.pack("!H", ~summed(frame[start:]) & 0xFFFF or 0xFFFF)
    return frame[: start + offset] + checksum + frame[start + offset + 2 :]


def changed(sent, offset, data):
    offload, frame = sent
    return offload, frame[:offset] + data + frame[offset + len(data) :]


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
    "two flows in turn": (in_turn(datagrams(0, 3, sport=1), datagrams(7, 3, sport=2)), [3, 3]),
    "16 flows in turn": (in_turn(*(datagrams(flow, 4, sport=flow) for flow in range(16))), [4] * 16),
    "UDP and TCP in turn": (in_turn(datagrams(0, 3), segments(0, 3)), [1] * 6),
    "one of two flows stops": (
        in_turn(datagrams(0, 2, sport=1), datagrams(5, 2, sport=2)) + datagrams(7, 3, sport=2), [2, 5],
    ),
    "a packet that does not fit goes before those behind it": (
        [*datagrams(0, 2), *datagrams(9, 1), *datagrams(2, 2), *datagrams(4, 1, sport=9)], [2, 1, 2, 1],
    ),
    "a fragment of perhaps the same flow": (
        [*datagrams(0, 2), *datagrams(2, 1, ip={"flags": "MF"}), *datagrams(2, 2)], [2, 1, 2],
    ),
    "a complete checksum of another flow": (
        [*datagrams(0, 2), (PLAIN, raw(datagram(0, sport=9))), *datagrams(2, 2)], [4, 1],
    ),
    "no IPv4 between": (
        [*datagrams(0, 2), (PLAIN, bytes.fromhex(12 * "02" + "88b5") + bytes(46)), *datagrams(2, 2)], [4, 1],
    ),
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
