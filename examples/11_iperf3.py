"""Lesson 11: iperf3's protocol, as server and as client, over Scout's own TCP; stock iperf3 is the other end.

    python examples/11_iperf3.py

It needs no root where the kernel allows user namespaces. The first run compiles for some minutes; from then on it takes
some ten seconds. Without iperf3 on the machine the other end is this program itself, over the kernel's sockets: it uses
what `scout.sockets` and Python's `socket` have in common.

iperf3 has a connection for control, on which both ends say by single bytes where the test is, and exchange what they
are to measure and have measured as JSON; and one or more connections for the data.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress

if __name__ == "__main__":
    from scout.io.host.sandbox import enter

    enter()  # before numpy is imported

from scout import AfPacketPort, ApplicationPort, Applications, Arp, Ethernet, Icmp, Ip, RouterGraph, Tcp

SERVER, CLIENT, PORT, SECONDS = "10.0.0.1", "10.0.0.2", 5201, 2

apps = ApplicationPort(f"lesson-{os.getpid()}")  # of this run: another one may go on at the same time
graph = RouterGraph("iperf")
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
paths = [graph.create_path("eth0", order="channel"), graph.create_path("apps")]


# The protocol.

TEST_START, TEST_RUNNING, TEST_END, PARAM_EXCHANGE, CREATE_STREAMS = 1, 2, 4, 9, 10
EXCHANGE_RESULTS, DISPLAY_RESULTS, DONE = 13, 14, 16
COOKIE = 37  # bytes by which the connections of a test are known
BLOCK = 1 << 17  # bytes that are sent or received by one call


def receive(sock, size):
    """So many bytes."""
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise ConnectionError("the other end has closed the connection")
        data += more
    return data


def send_state(control, state):
    control.sendall(bytes([state]))


def await_state(control, *states):
    """The next state, which is one of these."""
    (state,) = receive(control, 1)
    if state not in states:
        raise ConnectionError(f"the other end is in state {state}")
    return state


def send_json(control, value):
    text = json.dumps(value).encode()
    control.sendall(len(text).to_bytes(4) + text)


def receive_json(control):
    return json.loads(receive(control, int.from_bytes(receive(control, 4))))


class Streams:
    """The data connections of a test; each has a thread, which sends or receives until `stop`."""

    def __init__(self, connections, sends):
        self.connections, self.counts, self.stopped = connections, [0] * len(connections), False
        for each in connections:
            each.settimeout(0.2)  # so that a thread that waits sees the end
        work = self.send if sends else self.receive
        self.threads = [threading.Thread(target=work, args=each) for each in enumerate(connections)]
        self.start = time.monotonic()
        for thread in self.threads:
            thread.start()

    def send(self, index, connection):
        block = memoryview(bytes(BLOCK))
        while not self.stopped:
            try:
                self.counts[index] += connection.send(block)
            except TimeoutError:
                pass
            except OSError:
                return

    def receive(self, index, connection):
        room = bytearray(BLOCK)
        while not self.stopped:
            try:
                if (count := connection.recv_into(room)) == 0:
                    return
                self.counts[index] += count
            except TimeoutError:
                pass
            except OSError:
                return

    def stop(self):
        """End the test; what it has found, as iperf3 tells it."""
        seconds = time.monotonic() - self.start
        self.stopped = True
        for thread in self.threads:
            thread.join()
        self.gbps = sum(self.counts) * 8e-9 / seconds
        numbers = [1, *range(3, len(self.counts) + 2)]  # so iperf3 counts its streams
        empty = {"retransmits": -1, "jitter": 0, "errors": 0, "packets": 0, "start_time": 0, "end_time": seconds}
        streams = [{"id": number, "bytes": count, **empty} for number, count in zip(numbers, self.counts, strict=True)]
        unknown = {f"cpu_util_{name}": 0 for name in ("total", "user", "system")} | {"sender_has_retransmits": -1}
        return {**unknown, "streams": streams}


def serve(module):
    """Serve one test after the other; print what was received or sent."""
    with module.socket(module.AF_INET, module.SOCK_STREAM) as listener:
        listener.setsockopt(module.SOL_SOCKET, module.SO_REUSEADDR, 1)
        listener.bind((SERVER if module.__name__ == "scout.sockets" else CLIENT, PORT))
        listener.listen()
        print("ready", flush=True)
        while True:
            control, _ = listener.accept()
            with control, suppress(ConnectionError):  # a client may go at any time
                serve_test(listener, control)


def serve_test(listener, control):
    """Serve a test: the client says what is to be done, and when it is at its end."""
    cookie = receive(control, COOKIE)
    send_state(control, PARAM_EXCHANGE)
    asked = receive_json(control)
    send_state(control, CREATE_STREAMS)
    connections = []
    while len(connections) < asked.get("parallel", 1):
        connection, _ = listener.accept()
        if receive(connection, COOKIE) == cookie:
            connections.append(connection)
    send_state(control, TEST_START)
    send_state(control, TEST_RUNNING)
    streams = Streams(connections, sends=asked.get("reverse", False))
    await_state(control, TEST_END)
    found = streams.stop()
    for connection in connections:
        connection.close()  # a client that is still reading sees the end
    send_state(control, EXCHANGE_RESULTS)
    receive_json(control)
    send_json(control, found)
    send_state(control, DISPLAY_RESULTS)
    await_state(control, DONE)


def measure(module, server, parallel, reverse):
    """Have a server serve a test; print how much arrived."""

    def connected():
        made = module.socket(module.AF_INET, module.SOCK_STREAM)
        made.connect((server, PORT))
        made.sendall(cookie)
        return made

    cookie = os.urandom(COOKIE // 2).hex().encode() + b"\0"
    control = connected()
    await_state(control, PARAM_EXCHANGE)
    asked = {"tcp": True, "omit": 0, "time": SECONDS, "parallel": parallel, "len": BLOCK, "client_version": "3.12"}
    send_json(control, asked | ({"reverse": True} if reverse else {}))
    await_state(control, CREATE_STREAMS)
    connections = [connected() for _ in range(parallel)]
    while await_state(control, TEST_START, TEST_RUNNING) != TEST_RUNNING:
        pass
    streams = Streams(connections, sends=not reverse)
    time.sleep(SECONDS)
    send_state(control, TEST_END)
    found = streams.stop()
    await_state(control, EXCHANGE_RESULTS)
    send_json(control, found)
    theirs = receive_json(control)
    await_state(control, DISPLAY_RESULTS)
    send_state(control, DONE)
    arrived = streams.gbps if reverse else sum(each["bytes"] for each in theirs["streams"]) * 8e-9 / SECONDS
    print(f"{arrived:.2f} Gbit/s")
    for connection in (control, *connections):
        connection.close()


# The lesson.


def run():
    """Run the stack between a namespace with stock iperf3 and processes with ours."""
    from scout import Lab, Supervisor

    stock = shutil.which("iperf3")
    this = [sys.executable, __file__]
    with Lab("lesson") as lab:
        host, router = lab.namespace("host"), lab.namespace("router")
        lab.veth((host, "eth0"), (router, "r0"))
        host.address("eth0", f"{CLIENT}/24")
        supervisor = Supervisor(graph, paths, replicas=2)
        with router.entered():
            supervisor.__enter__()
        processes = []

        def started(command):
            with host.entered():
                processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            processes[-1].stdout.readline()

        def text(command):
            with host.entered():
                return subprocess.run(command, capture_output=True, check=True, text=True).stdout

        def ask(parallel, reverse):
            """Have the client in the namespace ask our server; what arrived."""
            if not stock:
                return text([*this, "client", "kernel", SERVER, str(parallel), "-R" * reverse])
            flags = ["-P", str(parallel), *["-R"] * reverse]
            found = json.loads(text([stock, "-c", SERVER, "-t", str(SECONDS), "-J", *flags]))
            return f"{found['end']['sum_received']['bits_per_second'] / 1e9:.2f} Gbit/s\n"

        try:
            started([*this, "server", apps.name])
            print(f"the other end: {stock or 'this program, over the sockets of the kernel'}")
            for parallel, reverse in ((1, False), (1, True), (4, False), (4, True)):
                way = "our server sends" if reverse else "our server receives"
                print(f"{way}, connections: {parallel}: {ask(parallel, reverse)}", end="")
            started([stock, "-s", "--forceflush"] if stock else [*this, "server", "kernel"])
            for reverse in (False, True):
                way = "our client receives" if reverse else "our client sends"
                print(f"{way}: {text([*this, 'client', apps.name, CLIENT, '1', '-R' * reverse])}", end="")
        finally:
            for process in processes:
                process.kill()
                process.wait()
            supervisor.stop()


def main(role, kind, *arguments):
    """Be the server or the client, over the sockets of the kernel or of the router of that name."""
    if kind == "kernel":
        import socket as module
    else:
        from scout import sockets as module

        module.attach(kind)
    if role == "server":
        serve(module)
    else:
        server, parallel, reverse = arguments
        measure(module, server, int(parallel), bool(reverse))


if __name__ == "__main__":
    main(*sys.argv[1:]) if sys.argv[1:] else run()
