"""A host with the router `Tcp` for tests without processes: its paths run as plain Python, and Scapy plays the peer.

The harness does what the engine does between the paths: it places data in receive rings, makes requests of messages,
and applies reports.
"""

import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
from harness import HOST, LEFT, NOW, Twin, number
from host_router import OURS, PEER
from leaving import Leaving, Requests
from scapy.all import IP, TCP, Ether, Raw, raw

from scout.io.endpoints import message, stream
from scout.io.endpoints.message import (
    ACCEPTED,
    HEADER,
    HEADER_STRUCT,
    LISTEN,
    NOT_PLACED,
    OFFER,
    OPENED,
    PLACED,
    RECORDS,
    REPORT,
    SEGMENT,
)
from scout.io.ports.applications import ApplicationPort
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.applications import Applications
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.protocols.tcp.router import Tcp
from scout.paths.protocols.tcp.state import STATES
from scout.ring.segment import address as address_of

LISTENER, SPARE, OTHER, CLIENT = 1 << 16 | 3, 2 << 16 | 4, 1 << 16 | 5, 7 << 16 | 6
MSS = [("MSS", 1460)]
MILLISECOND, SECOND = 1_000_000, 1_000_000_000
TCP_PROTOCOL = 6
ROWS, RING = 16, 1 << 16
SOCKET_BYTES = stream.WORDS + stream.RINGS * RING


def address(text: str) -> int:
    return int.from_bytes(bytes(map(int, text.split(".")))) if text else 0


def _number(request: bytes, at: int) -> int:
    return int.from_bytes(request[at : at + 8])


class Port(ApplicationPort):
    """A port with memory of its own, as long as it is not open."""

    def __init__(self) -> None:
        super().__init__("test", sockets=ROWS, stream_bytes=RING)
        self.bytes = np.zeros(ROWS * SOCKET_BYTES, np.uint8)
        self.own = SimpleNamespace(
            record={"areas": [address_of(self.bytes)]},
            sizes=SimpleNamespace(stream_offset=0, socket_bytes=SOCKET_BYTES),
        )

    @property
    def memory(self) -> Any:
        return self._memory or self.own

    def ring(self, row: int, sending: bool) -> np.ndarray:
        first = row * SOCKET_BYTES + stream.WORDS + (RING if sending else 0)
        return self.bytes[first : first + RING]


class TcpHost:
    """The host, one of its applications, and its peer; `native` runs every packet natively too, and compares."""

    layer: Any = IP
    header, ours, peer = HEADER_STRUCT, OURS, PEER

    def __init__(self, native: bool = False, **chosen: int) -> None:
        graph = RouterGraph("host")
        self.tcp: Any = Tcp("tcp", **chosen)
        self.port = Port()
        self._stand(graph)
        for router in graph.routers:
            router.start(graph)
        self.graph = graph
        self.network_path, self.local_path = graph.create_path("eth0"), graph.create_path("apps")
        self.network, self.local = Twin(self.network_path, native=native), Twin(self.local_path, native=native)
        self.begin_emission = self.local_path.nodes["tcp.transmit"]["index"]
        self.now = NOW
        self.sent: list[Any] = []
        self.accepted: list[tuple[int, int, tuple[str, int]]] = []
        self.words: dict[int, list[int]] = {}
        self.works: list[tuple[int, ...]] = []  # on records: the socket, and the words of the message
        self.opened: dict[int, int] = {}
        self._leaving = Leaving()

    def _stand(self, graph: RouterGraph) -> None:
        """Let TCP stand on the routers of the family, and applications on it; configure the graph."""
        graph.add(Ethernet("eth0", SimpleNamespace(mac=number(LEFT), mtu=1500)))  # type: ignore[arg-type]
        graph.add(Ip("ip", {"eth0": f"{OURS}/24"}, {"10.9.0.0/16": PEER}))
        arp: Any = graph.add(Arp("arp"))
        for router in (Icmp("icmp"), self.tcp, Applications("apps", self.port)):
            graph.add(router)
        graph.connect("icmp", "ip", "eth0")
        graph.connect("ip", "arp", "eth0")
        graph.connect("apps", "tcp", "ip")
        graph.connect("tcp", "icmp")
        graph.configure()
        arp.pin(0, PEER, HOST)

    def address(self, text: str) -> Any:
        """An address as `header` has it."""
        return address(text)

    def reset(self) -> None:
        """Begin anew."""
        self.network.reset()
        self.local.reset()
        self.now = NOW
        self.port.bytes[:] = 0
        self.sent.clear()
        self.accepted.clear()
        self.words.clear()
        self.works.clear()
        self.opened.clear()

    # The engine.

    def request(
        self, kind: int, socket: int, local: Any = ("", 0), remote: Any = ("", 0), data: bytes = b"", note: int = 0
    ) -> str:
        """Make a local request; the leaf that it came to."""
        names = self.address(local[0]), self.address(remote[0]), local[1], remote[1]
        return self.serve(self.header.pack(kind, TCP_PROTOCOL, note, socket, *names, 7) + data)

    def serve(self, request: bytes) -> str:
        leaf = self.local.both(request, timestamp=self.now).leaf
        while self.tcp.waiting.initial[0]:
            self._take(self.local.both(bytes(640), timestamp=self.now, at=self.begin_emission))
        return leaf

    def _take(self, made: Any) -> None:
        """Carry out a packet that was made."""
        if made.leaf == "to eth0":
            self.sent.append(self._finished(made))
            return
        assert made.leaf == "to apps", made.leaf
        kind, protocol, _, socket, _, remote, _, remote_port, _ = self.header.unpack_from(made.data)
        data = made.data[HEADER:]
        assert protocol == TCP_PROTOCOL
        if kind == REPORT:
            assert len(data) == 48
            before = self.words.setdefault(socket, [0] * 6)
            self.words[socket] = [max(pair) for pair in zip(before, struct.unpack("!6q", data), strict=True)]
        elif kind == RECORDS:
            self.works.append((socket, *struct.unpack("!14q", data)))
        elif kind == OPENED:
            self.opened[socket] = max(self.opened.get(socket, 0), *struct.unpack("!q", data))
        else:
            assert kind == ACCEPTED and len(data) == 4
            self.accepted.append((socket, *struct.unpack("!I", data), remote, remote_port))  # type: ignore[arg-type]

    def _finished(self, made: Any) -> Any:
        """A frame that leaves, with the checksum that the device completes."""
        packet = Ether(made.data)[self.layer]
        if self.layer is IP:
            assert packet.proto == TCP_PROTOCOL and packet.chksum == IP(raw(packet.copy())).chksum
        partial = packet[TCP].chksum
        del packet[TCP].chksum
        again = self.layer(raw(packet))
        if made.fields["flags"] == 1:
            assert partial != again[TCP].chksum or not bytes(again[TCP].payload)
        else:
            assert partial == again[TCP].chksum
        again.gso, again.checksum = made.fields["gso_type"], partial
        return again

    def deliver(self, frame: bytes, *, placed: bool = True, **fields: int) -> str:
        """Receive a frame, and serve the request that it becomes; the leaf of the first path that dropped it."""
        leaf, request = self.receive(frame, placed=placed, **fields)
        return self.serve(bytes(request)) if request else leaf

    def deliver_together(self, frames: list[bytes]) -> list[int]:
        """Receive frames as one batch, and serve the requests that they become; what each says of its run (`RUN`)."""
        made = Requests(ROWS)
        for frame in frames:
            _, request = self.receive(frame)
            if not request:
                continue
            size, note = _number(request, message.RUN), request[message.NOTE + 1]
            request[message.NOTE + 1] = note or NOT_PLACED
            request[message.SERIAL : message.SERIAL + 8] = self.serial.to_bytes(8)
            self._leaving.leave(made.transmits, bytes(request) + bytes(size), len(request), flushes=False)
        for each in made:
            self.serve(each)
        return [_number(each, message.RUN) for each in made]

    def receive(self, frame: bytes, *, placed: bool = True, **fields: int) -> tuple[str, bytearray]:
        """Receive a frame: the leaf that it came to, and the request that it becomes, if it does."""
        result = self.network.both(frame, timestamp=self.now, **fields)
        if result.leaf == "to eth0":  # of a spliced connection
            self.sent.append(self._finished(result))
        if result.leaf != "to apps":
            return result.leaf, bytearray()
        kind, _, _, socket, *_, extent = self.header.unpack_from(result.data)
        at, size = extent >> 16, extent & 0xFFFF
        request = bytearray(result.data[:at])
        self.serial = _number(request, message.SERIAL)
        place = int.from_bytes(request[message.LOCAL : message.LOCAL + 8], signed=True)
        if kind == SEGMENT and size and place >= 0 and socket != 0xFFFFFFFF and placed:
            ring = self.port.ring(socket & message.ROW, False)
            for index, byte in enumerate(result.data[at : at + size]):
                ring[place + index & RING - 1] = byte
            request[message.NOTE + 1] = PLACED
        if kind == SEGMENT:
            request[message.RUN : message.RUN + 8] = size.to_bytes(8)
        return result.leaf, request

    # The application.

    def write(self, socket: int, position: int, data: bytes) -> str:
        """Write to the send ring from a position on, and tell."""
        ring = self.port.ring(socket & message.ROW, True)
        for index, byte in enumerate(data):
            ring[position + index & RING - 1] = byte
        return self.call(message.WRITE, socket, position + len(data))

    def call(self, kind: int, socket: int, *numbers: int) -> str:
        return self.request(kind, socket, data=b"".join(each.to_bytes(8, signed=True) for each in numbers))

    def readable(self, socket: int, first: int = 0) -> bytes:
        """The bytes that were received, from a position on."""
        ring = self.port.ring(socket & message.ROW, False)
        return bytes(ring[each & RING - 1] for each in range(first, self.words[socket][0]))

    def phase(self, socket: int) -> tuple[int, int]:
        return divmod(self.words[socket][2], 256)

    # The peer.

    def say(self, flags: str, seq: int, ack: int = 0, data: bytes = b"", port: int = 80, sport: int = 1000, **more):
        """Send a segment to the host; the segments that it sends then."""
        self.sent.clear()
        fields = {name: more.pop(name) for name in ("placed",) if name in more}
        self.leaf = self.deliver(self.frame(flags, seq, ack, data, port, sport, **more), **fields)
        return list(self.sent)

    def frame(self, flags: str, seq: int, ack: int, data: bytes = b"", port: int = 80, sport: int = 1000, **more: Any):
        """A frame of the peer."""
        options = more.pop("options", [])
        segment = TCP(
            sport=sport,
            dport=port,
            flags=flags,
            seq=seq & 0xFFFFFFFF,
            ack=ack & 0xFFFFFFFF,
            window=more.pop("window", 65535),
            options=options,
        )
        packet = self.layer(src=more.pop("source", self.peer), dst=self.ours, **more) / segment / Raw(data)
        return raw(Ether(dst=LEFT, src=HOST) / packet)

    def wait(self, time: int) -> list[Any]:
        """Let time pass; what the host sends."""
        self.sent.clear()
        until = self.now + time
        while self.tcp.deadline.initial[0] <= until:
            self.now = max(self.now, int(self.tcp.deadline.initial[0]))
            self.request(message.EXPIRE, 0xFFFFFFFF)
        self.now = until
        return list(self.sent)

    def state(self, socket: int) -> str:
        return STATES[self.tcp.connections.initial[socket & message.ROW]["state"]]


def listen(host: TcpHost, *spares: int) -> None:
    """Have the host listen, with these spare sockets."""
    assert host.request(LISTEN, LISTENER, (host.ours, 80)) == "served"
    for each in spares:
        assert host.request(OFFER, each, data=LISTENER.to_bytes(4)) == "served"


def accept(host: TcpHost, sport: int = 1000) -> int:
    """Open a connection to the listener; the host's first number. The peer's first byte has number 101."""
    (answer,) = host.say("S", 100, options=MSS, sport=sport)
    assert answer[TCP].flags == "SA" and answer[TCP].ack == 101
    assert host.say("A", 101, answer[TCP].seq + 1, sport=sport) == []
    return answer[TCP].seq + 1
