"""Real peers for a router under test: the kernel's own ICMP and TCP, through Python sockets."""

import hashlib
import os
import socket
import struct
import time
from multiprocessing import Pipe
from statistics import median
from typing import Any

from scout.io.host.namespace import Namespace
from scout.paths.wire.checksum import checksum

__all__ = ["ping", "tcp_transfer"]

CHUNK = 1 << 20


def ping(namespace: Namespace, address: str, count: int, interval: float = 0.02) -> dict[str, Any]:
    """Send echo requests from a namespace, one after the other; return how many were answered, and the median time."""
    with namespace.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    times = []
    identifier = os.getpid() & 0xFFFF
    with sock:
        sock.connect((address, 0))
        for sequence in range(count):
            body = struct.pack("!HH", identifier, sequence) + bytes(48)
            start = time.perf_counter()
            sock.send(struct.pack("!BBH", 8, 0, checksum(b"\x08\x00\x00\x00" + body)) + body)
            if _answered(sock, body, start + 2.0):
                times.append((time.perf_counter() - start) * 1000)
            time.sleep(interval)
    rtt = round(median(times), 3) if times else None
    return {"sent": count, "received": len(times), "rtt_ms_median": rtt}


def _answered(sock: socket.socket, body: bytes, deadline: float) -> bool:
    while (left := deadline - time.perf_counter()) > 0:
        sock.settimeout(left)
        try:
            packet = sock.recv(2048)
        except (TimeoutError, OSError):
            return False
        message = packet[(packet[0] & 15) * 4 :]
        if message[:2] == b"\0\0" and message[4:] == body:
            return True
    return False


def tcp_transfer(client: Namespace, server: Namespace, address: str, size: int, timeout: float) -> dict[str, Any]:
    """Send `size` bytes over one TCP connection; return whether they arrived intact (by SHA-256), and the goodput.

    Hashing is not timed: the sender hashes before the transfer, the receiver after it.
    """
    with server.entered():
        listener = socket.create_server((address, 5001))
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
    sock.connect((address, 5001))
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
