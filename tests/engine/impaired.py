"""Transfers between applications of a router's TCP and the kernel's, over links that are bad in many ways.

    python tests/engine/impaired.py --bytes 1000000000 [CASE ...]

It prints for each case and direction how long it took, and how many packets passed. Blocks say where they belong, and
are compared byte by byte. With `--tap` the host's port is a TAP device, whose interface is the link's end. With
`--kernel` this end is the kernel too, to compare.
"""

import argparse
import multiprocessing
import socket
import struct
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

if __name__ == "__main__":
    from pathlib import Path

    from scout.io.host.sandbox import enter

    enter()
    sys.path[:0] = [str(Path(__file__).parents[1])]

import numpy as np
from host_router import OURS, PEER, Host, running_host

from scout import AfPacketPort, Arp, Ethernet, Filter, Icmp, Impair, Ip, Lab, Supervisor, Tcp, drop, load16, sockets
from scout.io.host.namespace import Namespace
from scout.paths.model.graph import RouterGraph
from scout.paths.wire import ipv4

__all__ = ["CASES", "Bad", "Case", "Link", "impaired_host", "transfer"]

BLOCK = 1 << 18
PATTERN = np.random.default_rng(1).integers(0, 256, 2 * BLOCK, np.uint8)
STEP = 4099  # bytes by which a block of the pattern begins behind the one before
PORT = 7301
HEARTBEAT = 600  # seconds until a transfer that does not go on is given up


@dataclass(frozen=True)
class Case:
    """A kind of link: what `Impair` does, and how it is made."""

    impairments: dict[str, float] = field(default_factory=dict)
    mtu: int | None = None
    stream_bytes: int = 1 << 20  # rings of this end's connection
    buffer: int = 0  # bytes of the kernel's receive buffer; 0 is the kernel's choice
    super_frames: bool = False  # both ends leave it to devices to cut segments
    congestion: str = "cubic"  # of this end's connection
    largest: int = 0  # bytes of a packet; longer ones are dropped in silence. 0: all pass


JITTER = {"delay": 0.01, "jitter": 0.005}
# A burst ends with packets, and not with time: in a long one the sender would double its time-out again and again.
CASES = {
    "clean": Case(super_frames=True),
    "segments": Case(),
    "loss": Case({"loss": 0.01}),
    "bursts": Case({"burst_begin": 0.001, "burst_end": 0.5}),
    "reordering": Case({"reorder": 0.05, "late": 0.001}),
    "duplication": Case({"duplicate": 0.01}),
    "corruption": Case({"corrupt": 0.001}),
    "jitter": Case(JITTER),
    "small MTU": Case(mtu=576),
    "black hole": Case(largest=1200),
    "BBR, loss": Case({"loss": 0.01}, congestion="bbr"),
    "bottleneck": Case({"rate": 50e6, "delay": 0.01, "limit": 150_000}),
    "BBR, bottleneck": Case({"rate": 50e6, "delay": 0.01, "limit": 150_000}, congestion="bbr"),
    "bottleneck, loss": Case({"rate": 50e6, "delay": 0.01, "limit": 150_000, "loss": 0.01}),
    "BBR, bottleneck, loss": Case({"rate": 50e6, "delay": 0.01, "limit": 150_000, "loss": 0.01}, congestion="bbr"),
    "tiny windows": Case(stream_bytes=1 << 12, buffer=4096),
    "all": Case(
        {
            "loss": 0.01,
            "burst_begin": 0.001,
            "burst_end": 0.5,
            "reorder": 0.05,
            "duplicate": 0.01,
            "corrupt": 0.001,
            "delay": 0.001,
            "jitter": 0.0005,
            "late": 0.001,
        },
        mtu=576,
        stream_bytes=1 << 15,
        buffer=1 << 15,
    ),
}


class Bad(AssertionError):
    """Bytes that are not the ones that were sent."""


def block(number: int) -> np.ndarray:
    """The bytes of a block of the stream; its number is in front."""
    made = PATTERN[number * STEP % BLOCK :][:BLOCK].copy()
    made[:8] = np.frombuffer(struct.pack("!Q", number), np.uint8)
    return made


def send_all(sock: Any, size: int) -> None:
    for number in range(-(-size // BLOCK)):
        sock.sendall(block(number)[: size - number * BLOCK].data)
    sock.shutdown(socket.SHUT_WR)


def receive_all(sock: Any, size: int) -> None:
    """Receive and compare all blocks, and the end."""
    space = np.empty(BLOCK, np.uint8)
    for number in range(-(-size // BLOCK)):
        wanted, at = min(BLOCK, size - number * BLOCK), 0
        while at < wanted:
            got = sock.recv_into(space[at:wanted].data)
            if not got:
                raise Bad(f"the stream ends at {number * BLOCK + at} of {size}")
            at += got
        if not np.array_equal(space[:wanted], block(number)[:wanted]):
            raise Bad(f"block {number} is another one")
    if sock.recv(1):
        raise Bad(f"there is more than {size}")


def converse(sock: Any, sends: bool, size: int) -> None:
    """Do one end's part, to the end of both streams."""
    with sock:
        sock.settimeout(HEARTBEAT)
        if sends:
            send_all(sock, size)
            if sock.recv(1):
                raise Bad("the receiver has sent something")
        else:
            receive_all(sock, size)


def _application(name: str, sends: bool, size: int, orders: Connection) -> None:
    """A process with this end of the transfer: it listens, and the kernel's end connects."""
    sockets.attach(name)
    with sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM) as listener:
        listener.bind((OURS, PORT))
        listener.listen(1)
        orders.send("listens")
        listener.settimeout(HEARTBEAT)
        ours, _ = listener.accept()
    converse(ours, sends, size)
    orders.send("intact")


def transfer(host: Host, case: Case, sends: bool, size: int) -> float:
    """Let this end send, or receive, so many bytes; how many seconds it took.

    Raises
    ------
    Bad
        If they are not the bytes that were sent.
    """
    here, there = multiprocessing.Pipe()
    application = multiprocessing.get_context("spawn").Process(
        target=_application, args=(host.name, sends, size, there), daemon=True
    )
    application.start()
    there.close()
    assert here.recv() == "listens"
    theirs = host.their_stream()
    if case.buffer:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, case.buffer)
    theirs.connect((OURS, PORT))
    began = time.monotonic()
    converse(theirs, not sends, size)
    took = time.monotonic() - began
    try:
        assert here.recv() == "intact"
    except EOFError:
        raise Bad("the application has not received it all") from None
    application.join()
    return took


TOO_LONG = drop("too-long")


def black_hole(frame: Any, end: Any, packet: Any, largest: int) -> int:
    """Drop packets of IP that are too long, and tell nobody."""
    size = load16(frame, ipv4.TOTAL_LENGTH)
    if packet.gso_size:
        size = min(size, packet.header_bytes + packet.gso_size)
    return TOO_LONG if size > largest else 0


def link_graph(
    largest: int = 0, left: str = f"{PEER}/24", routes: dict[str, str] | None = None
) -> tuple[RouterGraph, list[Impair]]:
    """The router between host and peer: what comes by either interface is impaired.

    `largest`: bytes of the longest packets of the host's that are not dropped; 0 drops none. `left`: its address on the
    host's side; `routes`: those beside its networks.
    """
    graph = RouterGraph("link")
    graph.add(Ethernet("left", AfPacketPort("r0")))
    graph.add(Ethernet("right", AfPacketPort("r1")))
    graph.add(Ip("ip", {"left": left, "right": "10.9.0.1/24"}, routes or {}))
    graph.add(Arp("arp"))
    graph.add(Icmp("icmp"))
    links = [graph.add(Impair(name, seed=seed)) for seed, name in enumerate(("out", "in"))]
    for port, link in zip(graph.ports, links, strict=True):
        if largest and port == "left":
            graph.add(Filter("hole", black_hole, largest=largest))
            graph.connect("icmp", "ip", "hole", link.name, port)
        else:
            graph.connect("icmp", "ip", link.name, port)
        graph.connect("ip", "arp", port)
    return graph, links


@dataclass
class Link:
    """The link between the host and its peer."""

    supervisor: Supervisor
    links: list[Impair]

    def become(self, case: Case) -> None:
        """Be as bad as this, in both directions."""
        values = dict.fromkeys(_ALL, 0) | {"burst_end": 0.5} | case.impairments
        self.supervisor.change(*(each for link in self.links for each in link.becoming(**values)))

    def packets(self) -> tuple[int, int]:
        """Packets of the host, and of its peer, so far."""
        out, back = (int(self.supervisor.table(f"{each.name}.state")[0]["packets"]) for each in self.links)
        return out, back


@contextmanager
def linked(case: Case, lab: Lab, ours: Namespace, tap: bool = False) -> Iterator[tuple[Namespace, Link]]:
    """The peer's namespace, and the link to it: a router in between.

    With `tap`, r0 is the interface of the host's TAP device, and the router is in its namespace, which has no address.
    """
    peer, between = lab.namespace("peer"), ours if tap else lab.namespace("between")
    if not tap:
        lab.veth((ours, "r0"), (between, "r0"), mtu=case.mtu)
    elif case.mtu:
        with ours.netlink("set the MTU of r0") as ip:
            ip.link("set", index=ip.link_lookup(ifname="r0")[0], mtu=case.mtu)
    lab.veth((peer, "eth0"), (between, "r1"), mtu=case.mtu)
    peer.address("eth0", "10.9.0.2/24")
    peer.route("default", via="10.9.0.1")
    if not case.super_frames:
        peer.offload("eth0", tx_tcp_segmentation=False)
    graph, links = link_graph(case.largest)
    supervisor = Supervisor(graph, [graph.create_path(port, order="channel") for port in graph.ports], replicas=1)
    with between.entered():
        supervisor.__enter__()
    try:
        yield peer, Link(supervisor, links)
    finally:
        supervisor.stop()


@contextmanager
def impaired_host(case: Case, replicas: int = 2, tap: bool = False) -> Iterator[tuple[Host, Link]]:
    """A host, whose port may be a TAP device, and the link to its peer."""
    made: list[Link] = []

    @contextmanager
    def network(lab: Lab, ours: Namespace) -> Iterator[Namespace]:
        with linked(case, lab, ours, tap) as (peer, link):
            made.append(link)
            yield peer

    sizes = {} if case.super_frames else {"LARGEST_SEND": 0}
    tcp = Tcp("tcp", congestion=case.congestion, **sizes)
    with running_host(replicas, tap, tcp, network, stream_bytes=case.stream_bytes) as host:
        yield host, made[0]


_ALL = sorted({each for case in CASES.values() for each in case.impairments})


@contextmanager
def impaired_kernels(case: Case) -> Iterator[tuple["Kernels", Link]]:
    """Two kernels, and the link between them."""
    with Lab("kernels") as lab:
        ours = lab.namespace("ours")
        with linked(case, lab, ours) as (peer, link):
            ours.address("r0", f"{OURS}/24")
            ours.route("10.9.0.0/16", via=PEER)
            if not case.super_frames:
                ours.offload("r0", tx_tcp_segmentation=False)
            yield Kernels(ours, peer), link


@dataclass
class Kernels:
    """Two kernels, in place of a host and its peer."""

    ours: Namespace
    peer: Namespace

    def socket(self, namespace: Namespace, case: Case) -> socket.socket:
        with namespace.entered():
            made = socket.socket()
        if case.buffer:  # both ends have the rings of our connection: what is set is doubled
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                made.setsockopt(socket.SOL_SOCKET, option, case.stream_bytes // 2)
        return made

    def transfer(self, case: Case, sends: bool, size: int) -> float:
        """As the function of this name."""
        with self.socket(self.ours, case) as listener, ThreadPoolExecutor(1) as thread:
            listener.bind((OURS, PORT))
            listener.listen(1)
            theirs = self.socket(self.peer, case)
            theirs.connect((OURS, PORT))
            ours, _ = listener.accept()
            began = time.monotonic()
            working = thread.submit(converse, ours, sends, size)
            converse(theirs, not sends, size)
            working.result()
            return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of: {', '.join(CASES)}; all by default")
    parser.add_argument("--bytes", type=int, default=10_000_000)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--direction", choices=("sent", "received"))
    parser.add_argument("--kernel", action="store_true")
    parser.add_argument("--tap", action="store_true")
    chosen = parser.parse_args()
    if unknown := set(chosen.cases) - set(CASES):
        parser.error(f"no case {', '.join(unknown)}; use some of: {', '.join(CASES)}")
    for name in chosen.cases or CASES:
        case, ends = CASES[name], ExitStack()
        with ends:
            if chosen.kernel:
                kernels, link = ends.enter_context(impaired_kernels(case))
                move: Any = kernels.transfer
            else:
                host, link = ends.enter_context(impaired_host(case, chosen.replicas, chosen.tap))
                move = partial(transfer, host)
            link.become(case)
            for sends in _directions(chosen.direction):
                before = link.packets()
                took = move(case, sends, chosen.bytes)
                ours, theirs = (after - first for first, after in zip(before, link.packets(), strict=True))
                _show(name, sends, chosen.bytes, took, f", {ours} packets of ours, {theirs} of theirs")
            print(f"    link: {link.supervisor.account()['drops']}")
            if not chosen.kernel:
                print(f"    host: {host.supervisor.account()['drops']} {host.reports}", flush=True)


def _directions(wanted: str | None) -> list[bool]:
    """Whether this end sends, for each direction."""
    return [sends for sends in (False, True) if wanted in (None, "sent" if sends else "received")]


def _show(name: str, sends: bool, size: int, took: float, more: str = "") -> None:
    print(f"{name}, {'sent' if sends else 'received'}: {took:.1f} s, {size * 8e-6 / took:.0f} Mbit/s{more}", flush=True)


if __name__ == "__main__":
    main()
