"""Lesson 14: ports that come and go while packets flow.

    python examples/14_live_ports.py                   a guest's interface is added and taken away, three times
    scout run examples/14_live_ports.py                the same router on interfaces r0 and r1 of this machine
    scout ctl port add guest r2                        meanwhile, in another terminal, and
    scout ctl address add guest 10.0.2.1/24            the router's address there; `scout ctl port delete guest` ends it

It needs no root where the kernel allows user namespaces. The first run compiles for a minute; from then on it takes a
few seconds.

A port without an interface is a place for one: it stands in the router graph, has its path and its receive ring, and
nothing comes by it. `AddPort` gives it an interface, and `DeletePort` takes it away with the router's addresses there.
Nothing is compiled, and the replicas stay the same processes. So packets between the other ports do not notice:
datagrams from left to right are numbered here, and each has to arrive before the next one is sent.
"""

if __name__ == "__main__":
    from scout.io.host.sandbox import enter

    enter()  # before numpy is imported

from scout import AddAddress, AddPort, AfPacketPort, Arp, DeletePort, Ethernet, Icmp, Ip, RouterGraph

RIGHT, GUEST, ECHO = "10.0.1.2", "10.0.2.2", 7  # addresses of hosts, and an L4 port

graph = RouterGraph("visited")
graph.add(Ethernet("left", AfPacketPort("r0")))
graph.add(Ethernet("right", AfPacketPort("r1")))
graph.add(Ethernet("guest", AfPacketPort()))
graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
graph.add(Arp("arp"))
graph.add(Icmp("icmp"))
for port in graph.ports:
    graph.connect("icmp", "ip", port)
    graph.connect("ip", "arp", port)
paths = [graph.create_path(port, order="channel") for port in graph.ports]


def udp(host, address=""):
    """A UDP socket of a host's kernel."""
    import socket

    with host.entered():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(300)
    if address:
        made.bind((address, ECHO))
    return made


def run():
    """Let a guest come and go three times, while datagrams pass from left to right."""
    import threading

    from scout import Lab, Supervisor

    with Lab("lesson") as lab:
        left, router, right, guest = (lab.namespace(name) for name in ("left", "router", "right", "guest"))
        for number, host in enumerate((left, right, guest)):
            lab.veth((host, "eth0"), (router, f"r{number}"))
            host.address("eth0", f"10.0.{number}.2/24")
            host.route("default", via=f"10.0.{number}.1")
        supervisor = Supervisor(graph, paths, replicas=2)
        with router.entered():
            supervisor.__enter__()
        passed, all_came, over = 0, True, threading.Event()

        def stream():
            nonlocal passed, all_came
            with udp(left) as sender, udp(right, RIGHT) as receiver:
                # Not faster, else the ring is full where one replica has no core for a while.
                while not over.wait(0.002) and all_came:
                    all_came = False  # also if `recv` gives up
                    sender.sendto(str(passed).encode(), (RIGHT, ECHO))
                    all_came = receiver.recv(100) == str(passed).encode()
                    passed += 1

        streaming = threading.Thread(target=stream)
        streaming.start()
        try:
            replicas = [supervisor.processes[each].pid for each in supervisor.taking_part]
            with udp(left) as caller, udp(guest, GUEST) as called:
                for visit in range(1, 4):
                    supervisor.change(AddPort("guest", "r2"), AddAddress("guest", "10.0.2.1/24"))
                    caller.sendto(b"welcome", (GUEST, ECHO))
                    print(f"visit {visit}: {called.recv(100).decode()}")
                    supervisor.change(DeletePort("guest"))
            same = replicas == [supervisor.processes[each].pid for each in supervisor.taking_part]
        finally:
            over.set()
            streaming.join()
            supervisor.stop()
        print(f"the same replicas: {same}")
        print(f"left to right: {passed > 0 and all_came}; {passed} datagrams meanwhile, all in their order")


if __name__ == "__main__":
    run()
