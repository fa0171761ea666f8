"""Lesson 8: a UDP server on Scout's own stack, and the kernel as its client.

    python examples/08_udp_endpoint.py

It needs no root where the kernel allows user namespaces. The first run compiles for a minute; from then on it takes a
few seconds.

A path may end in an application: a port of a router graph may be the sockets of other processes. An application
sends by a request on a channel, which every replica sees like a packet that comes in. The replicated state is the
table that says which L4 port belongs to which socket; the primary of a datagram alone verifies its checksum and copies
its data to the application.

The server is a process of its own, which uses `scout.sockets` as it would use Python's `socket`. While the client asks,
one replica is killed; then the server is.
"""

import os
import subprocess
import sys

if __name__ == "__main__":
    from scout.io.host.sandbox import enter

    enter()  # before numpy is imported

from scout import AfPacketPort, ApplicationPort, Applications, Arp, Ethernet, Icmp, Ip, RouterGraph, Udp, sockets

SERVER, CLIENT, QUESTIONS = "10.0.0.1", "10.0.0.2", 1000

apps = ApplicationPort(f"lesson-{os.getpid()}")  # of this run: another one may go on at the same time
graph = RouterGraph("endpoint")
graph.add(Ethernet("eth0", AfPacketPort("r0")))
graph.add(Ip("ip", {"eth0": f"{SERVER}/24"}))
graph.add(Arp("arp"))
graph.add(Icmp("icmp"))
graph.add(Udp("udp"))
graph.add(Applications("apps", apps))
graph.connect("icmp", "ip", "eth0")
graph.connect("ip", "arp", "eth0")
graph.connect("apps", "udp", "ip")
graph.connect("udp", "icmp")
paths = [graph.create_path("eth0"), graph.create_path("apps")]


def serve(name):
    """Answer in capitals; the application."""
    sockets.attach(name)
    with sockets.socket() as server:
        server.bind((SERVER, 7777))
        print("ready", flush=True)
        while True:
            question, client = server.recvfrom(2048)
            server.sendto(question.upper(), client)


def ask(client, number):
    """Ask until there is an answer, as any program over UDP has to."""
    question = b"question %d" % number
    while True:
        client.send(question)
        try:
            while client.recv(2048) != question.upper():
                pass  # the answer to a question that was asked twice
            return
        except TimeoutError:
            continue


def run():
    """Run the stack between a client's namespace and a server's process."""
    import socket

    from scout import Lab, Supervisor

    with Lab("lesson") as lab:
        host, router = lab.namespace("host"), lab.namespace("router")
        lab.veth((host, "eth0"), (router, "r0"))
        host.address("eth0", f"{CLIENT}/24")
        supervisor = Supervisor(graph, paths, replicas=2)
        with router.entered():
            supervisor.__enter__()
        server = subprocess.Popen([sys.executable, __file__, "serve", apps.name], stdout=subprocess.PIPE)
        try:
            server.stdout.readline()
            with host.entered():
                client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.settimeout(0.5)
            client.connect((SERVER, 7777))
            for number in range(QUESTIONS):
                if number == QUESTIONS // 2:
                    supervisor.processes[0].kill()
                ask(client, number)
            print(f"answered: {QUESTIONS} of {QUESTIONS}, and a replica was killed meanwhile")
            server.kill()
            while True:  # until the stack has noticed
                try:
                    client.send(b"anybody?")
                    client.recv(2048)
                except ConnectionRefusedError:
                    print("the server was killed: its port is unreachable")
                    break
                except TimeoutError:
                    continue
        finally:
            server.kill()
            server.wait()
            supervisor.stop()


if __name__ == "__main__":
    serve(sys.argv[2]) if sys.argv[1:2] == ["serve"] else run()
