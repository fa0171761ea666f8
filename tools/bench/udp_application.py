"""The application of `scout bench udp`: an echo, a sink or a source, on the kernel's sockets or on Scout's.

    python -m scout.tools.bench.udp_application ROLE KIND ADDRESS SECONDS BYTES

It says that it is ready on a line of its own, and a sink and a source at the end say how many datagrams a second they
have received or sent.
"""

import sys
import time
from typing import Any

__all__ = ["PORT"]

PORT = 7
MANY = 64  # datagrams between two looks at the clock


def opened(kind: str, address: str) -> Any:
    """A bound socket: of the kernel, or of the router whose port has the name `kind`."""
    if kind == "kernel":
        import socket

        made: Any = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    else:
        from scout import sockets

        sockets.attach(kind)
        made = sockets.socket()
    made.bind((address, PORT))
    made.setblocking(False)
    try:
        made.recv(1)  # what compiles at the first call is compiled now
    except BlockingIOError:
        made.setblocking(True)
    return made


def echo(sock: Any, seconds: float, data: bytes) -> None:
    """Answer until the process is ended."""
    while True:
        received, name = sock.recvfrom(2048)
        sock.sendto(received, name)


def sink(sock: Any, seconds: float, data: bytes) -> float:
    """Receive; datagrams a second."""
    sock.recv(2048)
    return _rate(lambda: sock.recv(2048), seconds)


def source(sock: Any, seconds: float, data: bytes) -> float:
    """Send to the other end that asks for it; datagrams a second."""
    _, name = sock.recvfrom(2048)
    return _rate(lambda: sock.sendto(data, name), seconds)


def _rate(call: Any, seconds: float) -> float:
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        for _ in range(MANY):
            call()
        count += MANY
    return count / (time.perf_counter() - start)


ROLES = {"echo": echo, "sink": sink, "source": source}


def main() -> None:
    """Play a role."""
    role, kind, address, seconds, size = sys.argv[1:]
    sock = opened(kind, address)
    print("ready", flush=True)
    print(ROLES[role](sock, float(seconds), bytes(int(size))), flush=True)


if __name__ == "__main__":
    main()
