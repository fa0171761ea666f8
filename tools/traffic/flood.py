"""UDP frames of many flows, each with its flow's number and its sequence number in the payload.

The payload of a frame begins with `magic | flow | sequence`, of 4, 4 and 8 bytes in this machine's byte order; a sink
(`scout.tools.traffic.sink`) finds lost, reordered and duplicate frames by them. Flows differ in their source port and,
if the destination is a prefix, in their destination. Their frames alternate: after one of each flow comes the next of
the first. The IP identification counts up within a flow, and the UDP checksum is left to the device, as by a connected
socket of Linux on a veth.

One flow alone, and bursts of several, leave as super-frames of many segments, with a virtio-net header that says so
(VIRTIO_NET_HDR_GSO_UDP_L4). The kernel cuts them into frames at a device that does not take super-frames itself
(`Namespace.offload(..., tx_udp_segmentation=False)`), several times as fast as it takes single frames.
"""

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Address, IPv4Network

import numba
import numpy as np

from scout.io.packet import GSO_UDP_L4, NEEDS_CHECKSUM
from scout.io.system import MESSAGE, MESSAGE_VECTOR, MESSAGE_VECTORS, VECTOR, VNET_HEADER
from scout.io.transmit.xdp_socket import CHUNK, RING, SLOTS, START, XdpSocket, chunk_header, flush, room, submit
from scout.ring.atomics import load32, store32, store64
from scout.ring.errors import ScoutError
from scout.ring.jit import Record, entry, inline
from scout.ring.segment import address, private
from scout.tools.traffic.generator import BATCH, SENT, Generator, packet_socket, transmit

__all__ = ["FLOW", "HEADERS", "IMIX", "LABEL", "MAGIC", "MOST_FLOWS", "SEQUENCE", "Flood"]

ETHERNET, IP, UDP, CHECKSUM = 14, 20, 8, 6  # bytes of headers, offset of the checksum in UDP's
HEADERS = ETHERNET + IP + UDP
"""Bytes of a frame before its UDP payload."""

MAGIC, FLOW, SEQUENCE = 0x74756F53, 4, 8
"""The first four bytes of the payload ("Sout"), and the offsets in it of the flow and of the sequence number."""
LABEL = 16
"""Bytes of the payload that they fill."""

DRAIN_SECONDS = 0.5  # for frames that are still in the ring when the time is over

SHORTEST, LONGEST = 60, 1514
"""Bytes of a frame, without the check sequence."""

IMIX = (60, 590, 60, 60, 590, 60, 1514, 60, 590, 60, 590, 60)
"""The simple Internet mix: 7 short, 4 middle and 1 long frames of 12 (IP packets of up to 46, 576 and 1500 bytes)."""

MOST_FLOWS = 60_000
FIRST_PORT, PORT = 1024, 4001  # source port of the first flow, destination port of all
SEGMENTS = 64  # of a super-frame: the most that older kernels take
LONGEST_PACKET = 65_000  # bytes of an IP packet, a little less than the maximum

_STREAM = np.dtype(
    [
        ("messages", "i8"),  # address of the struct mmsghdrs,
        ("vectors", "i8"),  # and of their struct iovecs
        ("frames", "i8"),  # address of the memory for the first message's frame,
        ("stride", "i8"),  # and the bytes from there to the next one's
        ("sizes", "i8"),  # address of the sizes of frames, each an int64, that follow each other
        ("size_count", "i8"),
        ("size", "i8"),  # index of the next size
        ("flows", "i8"),
        ("flow", "i8"),  # the next one
        ("round", "i8"),  # messages that each flow has sent before
        ("segments", "i8"),  # frames of a message
        ("destination", "i8"),  # address of the first destination host,
        ("hosts", "i8"),  # and how many there are
        ("constant", "i8"),  # sum of the IP header's words that are equal in all frames
        ("addresses", "i8"),  # sum of the source address' words
        ("ttl", "i8"),
    ]
)


class Flood(Generator):
    """Sends UDP frames of one or many flows.

    Parameters
    ----------
    frame_bytes : int or sequence of int
        The size of each frame, without the check sequence: 60 to 1514; or sizes that follow each other, as `IMIX`.
    source : str
        IPv4 address.
    destination : str
        IPv4 address, or a prefix as 10.2.0.0/24: flows then go to its hosts in turn.
    source_mac, next_hop_mac : int
        The frames' MAC addresses.
    ttl : int
    flows : int
        Up to 60,000.
    burst : int, optional
        How many frames of a flow follow each other, where all frames have one size; by default as many as a super-frame
        holds if there is one flow, else 1.

    Raises
    ------
    ScoutError
        If a size, the number of flows, or an address is none.
    """

    def __init__(
        self,
        frame_bytes: int | Sequence[int],
        source: str,
        destination: str,
        source_mac: int,
        next_hop_mac: int,
        ttl: int = 64,
        flows: int = 1,
        burst: int | None = None,
    ) -> None:
        super().__init__()
        sizes = [frame_bytes] if isinstance(frame_bytes, int) else list(frame_bytes)
        for size in sizes:
            if not SHORTEST <= size <= LONGEST:
                raise ScoutError(f"frames of {size} bytes: give {SHORTEST} to {LONGEST}")
        if not 1 <= flows <= MOST_FLOWS:
            raise ScoutError(f"{flows} flows: give 1 to {MOST_FLOWS}")
        self._segments = 1
        if len(sizes) == 1:
            most = min(SEGMENTS, (LONGEST_PACKET - IP - UDP) // (sizes[0] - HEADERS))
            self._segments = min(most, burst or (most if flows == 1 else 1))
        self._sizes = np.array(sizes, np.int64)
        self._fill(sizes[0] - HEADERS, next_hop_mac.to_bytes(6, "big") + source_mac.to_bytes(6, "big"), _packed(source))
        self._ring, self._descriptor = np.zeros(1, RING), -1
        self._stream = self._new_stream(flows, _packed(source), destination, ttl)
        _ = _send.native, _send_frames.native  # compiled before a process is forked that runs them

    @property
    def frames_per_message(self) -> int:
        return self._segments

    def _fill(self, payload: int, macs: bytes, source: bytes) -> None:
        """Make the memory of messages, with all that is the same in every frame."""
        longest = START + HEADERS + (payload * self._segments if self._segments > 1 else LONGEST - HEADERS)
        self._stride = -(-longest // CHUNK) * CHUNK
        self._memory = private(SLOTS * CHUNK if self._segments == 1 else BATCH * self._stride, np.uint8)
        gso = (GSO_UDP_L4, HEADERS, payload) if self._segments > 1 else (0, 0, 0)
        offload = struct.pack("<BBHHHH", NEEDS_CHECKSUM, *gso, ETHERNET + IP, CHECKSUM)
        head = chunk_header(ETHERNET + IP, CHECKSUM)[:-VNET_HEADER] + offload
        head += macs + b"\x08\x00" + bytes(12) + source
        for start in range(0, len(self._memory), self._stride):
            self._memory[start : start + len(head)] = np.frombuffer(head, np.uint8)
        self._vectors = private((BATCH, VECTOR // 8), np.int64)
        self._vectors[:, 0] = address(self._memory) + np.arange(BATCH) * self._stride + START - VNET_HEADER
        self._messages = private((BATCH, MESSAGE // 8), np.int64)
        self._messages[:, MESSAGE_VECTOR // 8] = address(self._vectors) + np.arange(BATCH) * VECTOR
        self._messages[:, MESSAGE_VECTORS // 8] = 1

    def _new_stream(self, flows: int, source: bytes, destination: str, ttl: int) -> np.ndarray:
        first, hosts = _hosts(destination)
        addresses = sum(struct.unpack("!HH", source))
        values = {
            "messages": address(self._messages),
            "vectors": address(self._vectors),
            "frames": address(self._memory) + START,
            "stride": self._stride,
            "sizes": address(self._sizes),
            "size_count": len(self._sizes),
            "flows": flows,
            "segments": self._segments,
            "destination": first,
            "hosts": hosts,
            "constant": addresses + 0x4500 + 0x4000 + (ttl << 8 | socket.IPPROTO_UDP),
            "addresses": addresses + socket.IPPROTO_UDP,
            "ttl": ttl,
        }
        stream = np.zeros(1, _STREAM)
        for name, value in values.items():
            stream[name] = value
        return stream

    @contextmanager
    def attached(self, interface: str) -> Iterator[None]:
        """Open a socket: AF_XDP for single frames, if the interface takes it, else AF_PACKET."""
        with packet_socket(interface) as sender, ExitStack() as stack:
            self._descriptor = sender.fileno()
            if self._segments == 1:
                with suppress(OSError):
                    self._ring = stack.enter_context(XdpSocket(socket.if_nametoindex(interface), self._memory)).ring
            yield
            until = time.monotonic() + DRAIN_SECONDS
            while self._ring["descriptor"] and self._pending() and time.monotonic() < until:
                self.send(0)

    def send(self, messages: int) -> int:
        """Send the next messages."""
        if self._ring["descriptor"]:
            return int(_send_frames(self._stream, self._ring, self.words, messages))
        return int(_send(self._stream, self._descriptor, self.words, messages))

    def _pending(self) -> bool:
        return int(self._ring["count"][0]) != self.sent


def _packed(address: str) -> bytes:
    try:
        return IPv4Address(address).packed
    except ValueError as error:
        raise ScoutError(f"{address} is no IPv4 address: {error}") from error


def _hosts(destination: str) -> tuple[int, int]:
    """The first host of an address or a prefix, and how many hosts it has."""
    try:
        network = IPv4Network(destination)
    except ValueError as error:
        raise ScoutError(f"{destination} is no IPv4 address or prefix, as 10.2.0.0/24: {error}") from error
    if network.num_addresses <= 2:
        return int(network.network_address), network.num_addresses
    # The network's address and the broadcast address are no hosts.
    return int(network.network_address) + 1, network.num_addresses - 2


@inline
def _swapped(value: int) -> int:
    """16 bits in the other byte order."""
    return (value & 0xFF) << 8 | value >> 8 & 0xFF


@inline
def _folded(total: int) -> int:
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


@inline
def _write(stream: Record, index: int) -> int:
    """Write the next message's frame, or super-frame, to place `index` of the memory; its bytes."""
    size = load32(stream.sizes + stream.size * 8)
    stream.size = stream.size + 1 if stream.size + 1 < stream.size_count else 0
    flow, sequence = stream.flow, stream.round * stream.segments
    frame = stream.frames + index * stream.stride
    payload = size - HEADERS
    data = payload * stream.segments
    total, identification = IP + UDP + data, sequence & 0xFFFF
    host = stream.destination + flow % stream.hosts
    words = (host >> 16) + (host & 0xFFFF)
    check = ~_folded(stream.constant + words + total + identification) & 0xFFFF
    store32(frame + 14, 0x45 | _swapped(total) << 16)
    store32(frame + 18, _swapped(identification) | 0x40 << 16)  # do not fragment
    store32(frame + 22, stream.ttl | 17 << 8 | _swapped(check) << 16)
    store32(frame + 30, _swapped(host >> 16) | _swapped(host & 0xFFFF) << 16)
    store32(frame + 34, _swapped(FIRST_PORT + flow) | _swapped(PORT) << 16)
    # The field of a checksum that is left to the device holds the pseudo-header's sum.
    pseudo = _folded(stream.addresses + words + UDP + data)
    store32(frame + 38, _swapped(UDP + data) | _swapped(pseudo) << 16)
    for segment in range(stream.segments):
        label = frame + HEADERS + segment * payload
        store32(label, MAGIC)
        store32(label + FLOW, flow)
        store64(label + SEQUENCE, sequence + segment)
    stream.flow = flow + 1
    if stream.flow == stream.flows:
        stream.flow = 0
        stream.round += 1
    return HEADERS + data


_STREAMS, _RINGS = (numba.types.Array(numba.from_dtype(dtype), 1, "C") for dtype in (_STREAM, RING))
_INT = numba.int64


@entry(_INT(_STREAMS, _INT, _INT[::1], _INT))
def _send(streams: np.ndarray, descriptor: int, words: np.ndarray, messages: int) -> int:
    """Send the next messages of a stream by an AF_PACKET socket."""
    stream = streams[0]
    left = messages
    while left > 0:
        count = min(left, BATCH)
        for index in range(count):
            size = _write(stream, index)
            store64(stream.vectors + index * VECTOR + 8, VNET_HEADER + size)
        transmit(descriptor, stream.messages, count, stream.segments, words)
        left -= count
    return messages


@entry(_INT(_STREAMS, _RINGS, _INT[::1], _INT))
def _send_frames(streams: np.ndarray, rings: np.ndarray, words: np.ndarray, frames: int) -> int:
    """Send the next frames of a stream by an AF_XDP socket, as many as there is room for."""
    stream, ring = streams[0], rings[0]
    left = frames
    while True:
        count = min(left, room(ring), BATCH)
        for _ in range(count):
            submit(ring, _write(stream, ring.count % SLOTS))
        words[SENT] += flush(ring)
        left -= count
        if left == 0 or count == 0:
            return frames - left
