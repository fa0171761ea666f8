"""Real peers for a router under test: the kernel's own ICMP and TCP, through Python sockets or iperf3."""

import hashlib
import json
import os
import shutil
import socket
import struct
import time
from multiprocessing import Pipe
from statistics import median
from typing import Any

from scout.io.host.namespace import Namespace
from scout.paths.wire.checksum import checksum
from scout.ring.errors import ScoutError

__all__ = ["ANSWER_SECONDS", "CONTROL", "TCP_PEERS", "ping", "round_trips", "tcp_goodput", "tcp_transfer"]

CHUNK = 1 << 20
PORT = 5001
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; the control message has the same number
TIMESPEC = struct.Struct("qq")
ANSWER_SECONDS = 2.0
"""Time after which an echo request counts as lost."""

CONTROL = "cubic"
"""The congestion control of the kernel's sockets that send: the kernel's own default, which the host may have changed.

BBR paces what it sends by the rate of its last round trips, which are shorter here than one of its pauses.
"""

TCP_PEERS = "iperf3" if shutil.which("iperf3") else "python"
"""The program whose processes are the ends of the connections of `tcp_goodput`."""


def ping(namespace: Namespace, address: str, count: int, interval: float = 0.02) -> dict[str, Any]:
    """Send echo requests from a namespace, one after the other; return how many were answered, and the median time."""
    times = round_trips(namespace, address, count, interval)
    rtt = round(median(times) / 1000, 3) if times else None
    return {"sent": count, "received": len(times), "rtt_ms_median": rtt}


def round_trips(namespace: Namespace, address: str, count: int, interval: float) -> list[float]:
    """Send echo requests from a namespace, one after the other; the times until the answers, in microseconds.

    As ping(8) does, a time ends when the kernel receives the answer, not when this process wakes up for it.
    """
    with namespace.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    times = []
    identifier = os.getpid() & 0xFFFF
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.connect((address, 0))
        for sequence in range(count):
            body = struct.pack("!HH", identifier, sequence & 0xFFFF) + bytes(48)
            message = struct.pack("!BBH", 8, 0, checksum(b"\x08\x00\x00\x00" + body)) + body
            start = time.time_ns()  # the clock of the kernel's timestamps
            sock.send(message)
            answered = _answered(sock, body, time.monotonic() + ANSWER_SECONDS)
            if answered:
                times.append((answered - start) / 1000)
            time.sleep(interval)
    return times


def _answered(sock: socket.socket, body: bytes, deadline: float) -> int:
    """When the kernel received the answer, nanoseconds since 1970; 0 if there was none."""
    while (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            packet, controls, _, _ = sock.recvmsg(2048, 64)
        except OSError:  # also a time-out
            return 0
        message = packet[(packet[0] & 15) * 4 :]
        if message[:2] == b"\0\0" and message[4:] == body:
            seconds, nanoseconds = TIMESPEC.unpack(controls[0][2])
            return int(seconds * 1_000_000_000 + nanoseconds)
    return 0


def tcp_transfer(client: Namespace, server: Namespace, address: str, size: int, timeout: float) -> dict[str, Any]:
    """Send `size` bytes over one TCP connection; return whether they arrived intact (by SHA-256), and the goodput.

    Hashing is not timed: the sender hashes before the transfer, the receiver after it.
    """
    with server.entered():
        listener = socket.create_server((address, PORT))
    with client.entered():
        sender = socket.socket()
    ours, theirs = Pipe()
    with listener, sender:
        processes = [server.run(_receive, listener, size, theirs, timeout)]
        processes.append(client.run(_send, sender, address, size, theirs, timeout))
        results: dict[str, Any] = {}
        while len(results) < 2 and ours.poll(timeout):
            kind, *values = ours.recv()
            results[kind] = values
        for process in processes:
            process.join(1.0)
    sent, received = results.get("sent", [""]), results.get("received", ["", 0, 0.0])
    seconds = received[2]
    return {
        "bytes": received[1],
        "intact": received[1] == size and sent[0] == received[0],
        "gbps": round(received[1] * 8 / seconds / 1e9, 3) if seconds else 0.0,
    }


def _pattern() -> bytes:
    return hashlib.shake_128(b"scout").digest(CHUNK)


def _send(sock: socket.socket, address: str, size: int, results: Any, timeout: float) -> None:
    pattern, digest = _pattern(), hashlib.sha256()
    parts = [memoryview(pattern)[: min(CHUNK, size - start)] for start in range(0, size, CHUNK)]
    for part in parts:
        digest.update(part)
    sock.settimeout(timeout)
    sock.connect((address, PORT))
    for part in parts:
        sock.sendall(part)
    sock.shutdown(socket.SHUT_WR)
    results.send(("sent", digest.hexdigest()))
    sock.recv(1)  # until the far end has closed


def _receive(listener: socket.socket, size: int, results: Any, timeout: float) -> None:
    data = memoryview(bytearray(size))
    listener.settimeout(timeout)
    connection, _ = listener.accept()
    connection.settimeout(timeout)
    have = 0
    start = time.perf_counter()
    while have < size and (more := connection.recv_into(data[have:], size - have)):
        have += more
    seconds = time.perf_counter() - start
    have += len(connection.recv(1))  # nothing: the far end closes first, so that both do in order
    connection.close()
    results.send(("received", hashlib.sha256(data[:have]).hexdigest(), have, seconds))


def tcp_goodput(
    client: Namespace, server: Namespace, address: str, connections: int, seconds: float, peers: str = TCP_PEERS
) -> float:
    """Send over some TCP connections at once for a while; the goodput of all together, in Gbit/s.

    The ends do nothing with the data: they are iperf3, or Python processes that send and receive one buffer again and
    again, two for each connection.

    Raises
    ------
    ScoutError
        If no connection comes about.
    """
    measure = _iperf3 if peers == "iperf3" else _python
    return measure(client, server, address, connections, seconds)


def _iperf3(client: Namespace, server: Namespace, address: str, connections: int, seconds: float) -> float:
    listening, written = os.pipe()
    command = ["iperf3", "--server", "--one-off", "--forceflush", "--bind", address]
    serving = server.run(_execute, command, written)
    os.close(written)
    answer, answered = os.pipe()
    try:
        with open(listening) as lines, open(answer) as output:
            while (line := lines.readline()) and "listening" not in line:
                pass
            time_and_number = ["--time", str(max(1, round(seconds))), "--parallel", str(connections)]
            command = ["iperf3", "--client", address, "--json", "--congestion", CONTROL, *time_and_number]
            sending = client.run(_execute, command, answered)
            os.close(answered)
            result = json.loads(output.read() or "{}")
        sending.join()
        serving.join(ANSWER_SECONDS)  # it ends after one test
    finally:
        serving.terminate()
        serving.join()
    if "error" in result or "end" not in result:
        raise ScoutError(f"iperf3 to {address}: {result.get('error', 'no result')}; does the router forward?")
    return float(result["end"]["sum_received"]["bits_per_second"]) / 1e9


def _execute(command: list[str], output: int) -> None:
    os.dup2(output, 1)
    os.execvp(command[0], command)


def _python(client: Namespace, server: Namespace, address: str, connections: int, seconds: float) -> float:
    ours, theirs = Pipe()
    with server.entered():
        listener = socket.create_server((address, PORT), backlog=connections)
    with listener:
        processes = [server.run(_swallow, listener, theirs) for _ in range(connections)]
        processes += [client.run(_pour, address, seconds) for _ in range(connections)]
        rates: list[float] = []
        while len(rates) < connections and ours.poll(seconds + ANSWER_SECONDS):
            rates.append(ours.recv())
        for process in processes:
            process.terminate()
            process.join()
    if len(rates) < connections:
        raise ScoutError(f"TCP to {address}: {connections - len(rates)} of {connections} connections did not end")
    return sum(rates)


def _pour(address: str, seconds: float) -> None:
    pattern = _pattern()
    with socket.create_connection((address, PORT)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONTROL.encode())
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            sock.sendall(pattern)


def _swallow(listener: socket.socket, results: Any) -> None:
    connection, _ = listener.accept()
    buffer, have, start = bytearray(CHUNK), 0, time.perf_counter()
    while more := connection.recv_into(buffer):
        have += more
    results.send(have * 8 / (time.perf_counter() - start) / 1e9)
