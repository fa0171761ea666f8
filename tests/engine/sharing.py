"""Connections of a router's TCP share a bottleneck with those of a kernel that sends from beside them.

    python tests/engine/sharing.py --congestion cubic --seconds 20 --rounds 3

It prints the share of each connection in what the peer receives, the kernel's last, and Jain's fairness index
(RFC 5166 section 2.3.1): 1 if all have the same, 1 / n if one of n has it all.
"""

import argparse
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

if __name__ == "__main__":
    from pathlib import Path

    from scout.io.host.sandbox import enter

    enter()
    sys.path[:0] = [str(Path(__file__).parents[1])]

from host_router import OURS, PEER, Host, running_host
from impaired import CASES, link_graph

from scout import Lab, Supervisor, Tcp
from scout.io.host.namespace import Namespace

__all__ = ["fairness", "shares", "sharing_host"]

BEHIND, BETWEEN, SENDER, PORT = "10.9.0.2", "10.8.0.1", "10.8.0.2", 7401
START = 4.0  # seconds that connections have to find their rates


def fairness(values: Sequence[float]) -> float:
    """Jain's index of what each one has."""
    return sum(values) ** 2 / (len(values) * sum(each * each for each in values))


@contextmanager
def _network(made: list[Namespace], lab: Lab, ours: Namespace) -> Iterator[Namespace]:
    """The namespace of a peer behind a bottleneck; the host comes there through that of the sender."""
    sender, between, peer = (lab.namespace(name) for name in ("sender", "between", "peer"))
    lab.veth((ours, "r0"), (sender, "eth0"))
    lab.veth((sender, "eth1"), (between, "r0"))
    lab.veth((peer, "eth0"), (between, "r1"))
    sender.address("eth0", f"{PEER}/24")
    sender.address("eth1", f"{SENDER}/24")
    sender.route("10.9.0.0/16", via=BETWEEN)
    sender.sysctl("net.ipv4.ip_forward", 1)
    sender.offload("eth1", tx_tcp_segmentation=False)
    peer.address("eth0", f"{BEHIND}/24")
    peer.route("default", via="10.9.0.1")
    peer.offload("eth0", tx_tcp_segmentation=False)
    graph, links = link_graph(left=f"{BETWEEN}/24", routes={"10.0.0.0/24": SENDER})
    paths = [graph.create_path(port, order="channel") for port in graph.ports]
    supervisor = Supervisor(graph, paths, replicas=1)
    with between.entered():
        supervisor.__enter__()
    try:
        supervisor.change(*(each for link in links for each in link.becoming(**CASES["bottleneck"].impairments)))
        made.append(sender)
        yield peer
    finally:
        supervisor.stop()


@contextmanager
def sharing_host(replicas: int, congestion: str) -> Iterator[tuple[Host, Namespace]]:
    """A host, and the namespace beside it whose kernel sends over the same bottleneck of 50 Mbit/s to the same peer."""
    made: list[Namespace] = []
    tcp = Tcp("tcp", congestion=congestion, LARGEST_SEND=0)
    with running_host(replicas, transport=tcp, network=partial(_network, made)) as host:
        yield host, made[0]


def shares(host: Host, sender: Namespace, ours: int, kernels: Sequence[str], seconds: float) -> list[int]:
    """Bytes that the peer receives in so many seconds from each of our connections, and from each of the kernel's.

    `kernels`: the congestion control of each of these.
    """
    received = [0] * (ours + len(kernels))
    is_over = threading.Event()

    def send(sock: Any) -> None:
        data = bytes(1 << 16)
        with suppress(OSError):  # the receiver has closed
            while not is_over.is_set():
                sock.sendall(data)

    def receive(number: int, sock: socket.socket) -> None:
        while got := len(sock.recv(1 << 16)):  # 0 when the main thread has shut it down
            received[number] += got

    with ExitStack() as stack:
        with host.peer.entered():
            listener = stack.enter_context(socket.create_server((BEHIND, PORT)))
        threads, receivers = [], []
        for number in range(len(received)):
            if number < ours:
                end: Any = host.our_stream()
            else:
                with sender.entered():
                    end = socket.socket()
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, kernels[number - ours].encode())
            stack.enter_context(end).connect((BEHIND, PORT))
            theirs, (address, _) = listener.accept()
            assert address == (OURS if number < ours else SENDER)
            receivers.append(stack.enter_context(theirs))
            threads += [
                threading.Thread(target=send, args=(end,)),
                threading.Thread(target=receive, args=(number, theirs)),
            ]
        for thread in threads:
            thread.start()
        time.sleep(START)
        before = list(received)
        time.sleep(seconds)
        after = list(received)
        is_over.set()
        for receiver in receivers:
            receiver.shutdown(socket.SHUT_RD)
        for thread in threads[1::2]:
            thread.join()
    for thread in threads:
        thread.join()
    return [new - old for new, old in zip(after, before, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--congestion", choices=("cubic", "bbr"), default="cubic", help="of our connections")
    parser.add_argument("--kernel", nargs="+", default=["cubic"], help="congestion control of each of the kernel's")
    parser.add_argument("--ours", type=int, default=2, help="connections of ours")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with sharing_host(chosen.replicas, chosen.congestion) as (host, sender):
        for _ in range(chosen.rounds):
            got = shares(host, sender, chosen.ours, chosen.kernel, chosen.seconds)
            parts = " ".join(f"{each / sum(got):.3f}" for each in got)
            rate = sum(got) * 8 / chosen.seconds / 1e6
            print(f"{parts}: index {fairness(got):.3f}, {rate:.1f} Mbit/s of data", flush=True)


if __name__ == "__main__":
    main()
