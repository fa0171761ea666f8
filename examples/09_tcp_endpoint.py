"""Lesson 9: an echo and a file server over Scout's own TCP, and the kernel as their client.

    python examples/09_tcp_endpoint.py

It needs no root where the kernel allows user namespaces. The first run compiles for some minutes; from then on it takes
a few seconds.

One connection is served by all replicas. Its state, one record in a table, is replicated: segments, the calls of the
application and timers are requests on one channel, and every replica computes the next state from the headers alone.
The work on the bytes is not: the primary of a segment verifies its checksum and copies its data to the application's
memory, or makes a segment of bytes that lie there. So the replicas share the bytes of one connection, and when one
of them dies the others know all that it knew.

The servers are a process of its own, which uses `scout.sockets` as it would use Python's `socket`. A file goes both
ways, and each time a replica is killed meanwhile.
"""

import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

if __name__ == "__main__":
    from scout.io.host.sandbox import enter

    enter()  # before numpy is imported

from scout import AfPacketPort, ApplicationPort, Applications, Arp, Ethernet, Icmp, Ip, RouterGraph, Tcp, sockets

SERVER, CLIENT, ECHO, FILES, SIZE = "10.0.0.1", "10.0.0.2", 7777, 7778, 100_000_000

apps = ApplicationPort(f"lesson-{os.getpid()}")  # of this run: another one may go on at the same time
graph = RouterGraph("tcp")
graph.add(Ethernet("eth0", AfPacketPort("r0")))
graph.add(Ip("ip", {"eth0": f"{SERVER}/24"}))
graph.add(Arp("arp"))
graph.add(Icmp("icmp"))
graph.add(Tcp("tcp"))
graph.add(Applications("apps", apps))
graph.connect("icmp", "ip", "eth0")
graph.connect("ip", "arp", "eth0")
graph.connect("apps", "tcp", "ip")
graph.connect("tcp", "icmp")
# The segments of a connection become requests in the order in which they came.
paths = [graph.create_path("eth0", order="channel"), graph.create_path("apps")]


# The application.


def listener(port):
    made = sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM)
    made.bind((SERVER, port))
    made.listen()
    return made


def echo(server):
    """Answer in capitals."""
    while True:
        client, _ = server.accept()
        with client:
            while data := client.recv(65536):
                client.sendall(data.upper())


def serve_files(server, name):
    """Give the file to a client that says "get", or take one and answer with its hash."""
    while True:
        client, _ = server.accept()
        with client:
            if client.recv(3) == b"get":
                with open(name, "rb", buffering=0) as file:
                    while count := file.readinto(client.write_view()):  # where its segments are sent from
                        client.commit(count)
            else:
                found = hashlib.sha256()
                while view := client.read_view():  # where its segments were received
                    found.update(view)
                    client.consume(len(view))
                client.sendall(found.hexdigest().encode())


def serve(router, name):
    """Run both servers."""
    sockets.attach(router)
    files = listener(FILES)
    threading.Thread(target=echo, args=(listener(ECHO),), daemon=True).start()
    print("ready", flush=True)
    serve_files(files, name)


# The client.


def get(connection, at_half):
    """Take the file; its hash."""
    connection.sendall(b"get")
    found, size = hashlib.sha256(), 0
    while data := connection.recv(1 << 20):
        found.update(data)
        if size < SIZE // 2 <= size + len(data):
            at_half()
        size += len(data)
    return found.hexdigest()


def put(connection, data, at_half):
    """Give the file; the hash of what arrived."""
    connection.sendall(b"put" + data[: SIZE // 2])
    at_half()
    connection.sendall(data[SIZE // 2 :])
    connection.shutdown(socket.SHUT_WR)
    return connection.recv(64, socket.MSG_WAITALL).decode()


def run():
    """Run the stack between a client's namespace and the servers' process."""
    from scout import Lab, Supervisor

    with Lab("lesson") as lab, tempfile.NamedTemporaryFile() as file:
        host, router = lab.namespace("host"), lab.namespace("router")
        lab.veth((host, "eth0"), (router, "r0"))
        host.address("eth0", f"{CLIENT}/24")
        supervisor = Supervisor(graph, paths, replicas=2)
        with router.entered():
            supervisor.__enter__()
        file.write(data := os.urandom(SIZE))
        file.flush()
        server = subprocess.Popen([sys.executable, __file__, "serve", apps.name, file.name], stdout=subprocess.PIPE)

        def connected(port):
            with host.entered():
                return socket.create_connection((SERVER, port))

        def kill():
            supervisor.processes[0].kill()

        try:
            server.stdout.readline()
            with connected(ECHO) as client:
                client.sendall(b"hello")
                print(f"echo: {client.recv(100).decode()}")
            digest = hashlib.sha256(data).hexdigest()
            for name, work in (
                ("from the server", lambda client: get(client, kill)),
                ("to the server", lambda client: put(client, data, kill)),
            ):
                start = time.monotonic()
                with connected(FILES) as client:
                    same = work(client) == digest
                rate = SIZE * 8e-9 / (time.monotonic() - start)
                print(f"{name}: {SIZE} bytes, intact: {same}; a replica was killed meanwhile; {rate:.2f} Gbit/s")
            with connected(ECHO) as client:
                client.sendall(b"hello")
                client.recv(100)
                server.kill()
                try:
                    client.recv(100)
                except ConnectionResetError:
                    print("the server was killed: its connection is reset")
        finally:
            server.kill()
            server.wait()
            supervisor.stop()


if __name__ == "__main__":
    serve(*sys.argv[2:]) if sys.argv[1:2] == ["serve"] else run()
