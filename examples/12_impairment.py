"""Lesson 12: a bad link between two hosts, and what the kernel's TCP makes of it.

    python examples/12_impairment.py                   transfers over links that are worse each time
    scout run examples/12_impairment.py                the same router on interfaces r0 and r1 of this machine
    scout ctl set out.loss_ppm 100000                  meanwhile, in another terminal: one packet in ten is lost

It needs no root where the kernel allows user namespaces.

An `Impair` stands below IP, where a filter would stand. The packets that it loses are those that its seed chooses, the
same in every run. A packet that it delays waits in the router for its time, and packets keep their order. Here the way
from left to right is impaired by one, and the way back by another.

Loss is by packet. So the hosts' interfaces are told to send packets of TCP as they are on the wire, and no super-frames
of many segments, of which one would be lost as a whole.
"""

if __name__ == "__main__":
    from scout.io.host.sandbox import enter

    enter()  # before numpy is imported

from scout import AfPacketPort, Arp, Ethernet, Icmp, Impair, Ip, RouterGraph

DELAY, LOSS, BYTES = 0.01, 0.02, 2_000_000  # seconds each way; a share of all packets

graph = RouterGraph("impaired")
graph.add(Ethernet("left", AfPacketPort("r0")))
graph.add(Ethernet("right", AfPacketPort("r1")))
graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
graph.add(Arp("arp"))
graph.add(Icmp("icmp"))
out, back = graph.add(Impair("out", seed=12)), graph.add(Impair("back", seed=13))
for port, link in (("left", out), ("right", back)):
    graph.connect("icmp", "ip", link.name, port)
    graph.connect("ip", "arp", port)
paths = [graph.create_path(port, order="channel") for port in ("left", "right")]


def transfer(left, right):
    """Send bytes by the kernel's TCP; the seconds of the handshake and of all, and whether they came intact."""
    import hashlib
    import os
    import socket
    import threading
    import time

    data, received = os.urandom(BYTES), hashlib.sha256()
    with right.entered():
        server = socket.create_server(("10.0.1.2", 0))

    def receive():
        connection, _ = server.accept()
        with connection:
            while part := connection.recv(1 << 16):
                received.update(part)
            connection.sendall(b"done")

    receiver = threading.Thread(target=receive)
    receiver.start()
    with left.entered():
        client = socket.socket()
    with server, client:
        began = time.monotonic()
        client.connect(server.getsockname())
        connected = time.monotonic() - began
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        client.recv(4)
        took = time.monotonic() - began
    receiver.join()
    return connected, took, received.digest() == hashlib.sha256(data).digest()


def run():
    """Put the router between two hosts, and transfer bytes over links that are worse each time."""
    from scout import Lab, Supervisor

    with Lab("lesson") as lab:
        left, router, right = (lab.namespace(name) for name in ("left", "router", "right"))
        for number, (host, port) in enumerate(((left, "r0"), (right, "r1"))):
            lab.veth((host, "eth0"), (router, port))
            host.address("eth0", f"10.0.{number}.2/24")
            host.route("default", via=f"10.0.{number}.1")
            host.offload("eth0", tx_tcp_segmentation=False)
        supervisor = Supervisor(graph, paths, replicas=1)
        with router.entered():
            supervisor.__enter__()
        try:
            for name, impairments in (
                ("a good link", {}),
                ("a long one", {"delay": DELAY}),
                ("and with losses", {"delay": DELAY, "loss": LOSS}),
                ("a bottleneck of 20 Mbit/s", {"delay": DELAY, "loss": 0, "rate": 20_000_000}),
            ):
                changes = [*out.becoming(**impairments), *back.becoming(delay=impairments.get("delay", 0))]
                supervisor.change(*changes)
                before = supervisor.table("out.state").copy()[0]
                connected, took, intact = transfer(left, right)
                state = supervisor.table("out.state")[0]
                lost, full = (int(state[field] - before[field]) for field in ("lost", "overflowed"))
                print(
                    f"{name}: intact {intact}, at least {2 * impairments.get('delay', 0) * 1000:.0f} ms there and back "
                    f"{connected >= 2 * impairments.get('delay', 0)}, lost {lost > 0}, queue full {full > 0}; "
                    f"handshake {connected * 1000:.1f} ms, {BYTES * 8 / took / 1e6:.0f} Mbit/s, "
                    f"{lost + full} packets dropped"
                )
        finally:
            supervisor.stop()


if __name__ == "__main__":
    run()
