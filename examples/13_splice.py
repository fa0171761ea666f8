"""Lesson 13: a proxy that splices connections: it reads the first line, and leaves the rest to the stack.

    python examples/13_splice.py

It needs no root where the kernel allows user namespaces. The first run compiles for some minutes; from then on it takes
a few seconds.

A client, a proxy and a server are in three networks. The client says whom it wants to talk to, in a line as HTTP has it
("CONNECT 10.0.1.2:9000"). The proxy reads this line, connects to the server, answers, and splices both connections:
from then on the stack rewrites the headers of each segment (addresses, L4 ports, numbers, timestamps, checksum) and
passes it on. The data are copied nowhere, and the proxy has nothing more to do: it is killed in the middle of the
transfer, and so is a replica.
"""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

if __name__ == "__main__":
    from scout.io.host.sandbox import enter

    enter()  # before numpy is imported

from scout import AfPacketPort, ApplicationPort, Applications, Arp, Ethernet, Icmp, Ip, RouterGraph, Tcp, sockets

CLIENT, PROXY, OTHER_SIDE, SERVER = "10.0.0.2", "10.0.0.1", "10.0.1.1", "10.0.1.2"
PORT, SIZE = 3128, 200_000_000

graph = RouterGraph("proxy")
graph.add(Ethernet("left", AfPacketPort("r0")))
graph.add(Ethernet("right", AfPacketPort("r1")))
graph.add(Ip("ip", {"left": f"{PROXY}/24", "right": f"{OTHER_SIDE}/24"}))
graph.add(Arp("arp"))
graph.add(Icmp("icmp"))
graph.add(Tcp("tcp"))
graph.add(Applications("apps", ApplicationPort("proxy")))
for name in ("left", "right"):
    graph.connect("icmp", "ip", name)
    graph.connect("ip", "arp", name)
graph.connect("apps", "tcp", "ip")
graph.connect("tcp", "icmp")
paths = [graph.create_path(name, order="channel") for name in ("left", "right")] + [graph.create_path("apps")]


# The application.


def copy(source, target):
    """Pass on what one connection receives, as a proxy without splicing does."""
    while view := source.read_view():
        target.sendall(view)
        source.consume(len(view))
    target.shutdown(socket.SHUT_WR)


def serve(client):
    """Serve one client: approve, connect, and leave the rest to the stack."""
    line = b""
    while not line.endswith(b"\r\n"):
        line += client.recv(1)
    how, name = line.decode().split()
    address, port = name.split(":")
    if int(port) < 1024:
        client.sendall(b"403\r\n")
        client.close()
        return
    server = sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM)
    server.connect((address, int(port)))
    client.sendall(b"200\r\n")
    if how == "CONNECT":
        sockets.splice(client, server)
        return
    threads = [threading.Thread(target=copy, args=pair) for pair in ((client, server), (server, client))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    server.close()


def proxy():
    """Run the proxy."""
    sockets.attach("proxy")
    with sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM) as listener:
        listener.bind((PROXY, PORT))
        listener.listen()
        print("ready", flush=True)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()


# The client and the server: the kernel's.


def connected(namespace, how, port):
    """A client's connection by the proxy, and its answer."""
    with namespace.entered():
        client = socket.create_connection((PROXY, PORT))
    client.sendall(f"{how} {SERVER}:{port}\r\n".encode())
    return client, client.recv(5)


def download(client, server, data, at_half=lambda: None):
    """Have the server send the data, to the end; the hash of what arrived, and the seconds that it took."""
    half = threading.Event()

    def send():
        server.sendall(data[: SIZE // 2])
        half.wait()
        server.sendall(data[SIZE // 2 :])
        server.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    start = time.monotonic()
    thread.start()
    found, size = hashlib.sha256(), 0
    while chunk := client.recv(1 << 20):
        found.update(chunk)
        size += len(chunk)
        if size >= SIZE // 2 and not half.is_set():
            at_half()
            half.set()
    thread.join()
    return found.hexdigest(), time.monotonic() - start


def run():
    """Run the stack between both networks."""
    from scout import Lab, Supervisor

    with Lab("splice") as lab:
        left, right, router = (lab.namespace(name) for name in ("left", "right", "router"))
        lab.veth((left, "eth0"), (router, "r0"))
        lab.veth((right, "eth0"), (router, "r1"))
        left.address("eth0", f"{CLIENT}/24")
        right.address("eth0", f"{SERVER}/24")
        with right.entered():
            listener = socket.create_server((SERVER, 9000))
        supervisor = Supervisor(graph, paths, replicas=2)
        with router.entered():
            supervisor.__enter__()
        application = subprocess.Popen([sys.executable, __file__, "proxy"], stdout=subprocess.PIPE)
        try:
            application.stdout.readline()
            _, answer = connected(left, "CONNECT", 22)
            print(f"port 22: {answer.decode().strip()}")
            data = os.urandom(SIZE)
            digest = hashlib.sha256(data).hexdigest()

            def kill():
                application.kill()
                os.kill(supervisor.processes[0].pid, signal.SIGKILL)

            for how, at_half in (("COPY", lambda: None), ("CONNECT", kill)):
                client, _ = connected(left, how, 9000)
                server, _ = listener.accept()
                with client, server:
                    found, seconds = download(client, server, data, at_half)
                print(f"{how}: {SIZE} bytes, intact: {found == digest}; {SIZE * 8e-9 / seconds:.2f} Gbit/s")
            print(f"the proxy was killed meanwhile: {application.wait() == -signal.SIGKILL}")
        finally:
            application.kill()
            application.wait()
            supervisor.stop()


if __name__ == "__main__":
    proxy() if sys.argv[1:2] == ["proxy"] else run()
