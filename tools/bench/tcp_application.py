"""The application of `scout bench tcp`: a server on the kernel's sockets or on Scout's.

    python -m scout.tools.bench.tcp_application KIND ADDRESS

It says that it is ready on a line of its own, and then serves one connection after the other until its standard input
ends. The first byte of a connection is what the client wants: `ECHO`, all it sends sent back; `SINK`, all it sends
received, and a byte at its end; `SOURCE`, data until the client goes.
"""

import socket as kernel
import sys
import threading
from contextlib import suppress
from typing import Any

from scout.tools.traffic.peers import CONTROL

__all__ = ["CHUNK", "ECHO", "PORT", "SINK", "SOURCE"]

PORT = 7
ECHO, SINK, SOURCE = b"e", b"r", b"s"
CHUNK = 1 << 18
"""Bytes of one call."""


def listening(kind: str, address: str) -> Any:
    """A listener: of the kernel, or of the router whose port has the name `kind`."""
    if kind == "kernel":
        made: Any = kernel.socket()
    else:
        from scout import sockets

        sockets.attach(kind)
        made = sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM)
    made.setsockopt(kernel.SOL_SOCKET, kernel.SO_REUSEADDR, 1)
    made.setsockopt(
        kernel.IPPROTO_TCP, kernel.TCP_CONGESTION, CONTROL.encode()
    )  # connections that it accepts have it too
    made.bind((address, PORT))
    made.listen(4)
    return made


def serve(connection: Any) -> None:
    """Do what the client wants."""
    connection.setsockopt(kernel.IPPROTO_TCP, kernel.TCP_NODELAY, 1)
    buffer = memoryview(bytearray(CHUNK))
    wanted = connection.recv(1)
    if wanted == SOURCE:
        while True:  # until the client is gone
            connection.sendall(buffer)
    while count := connection.recv_into(buffer):
        if wanted == ECHO:
            connection.sendall(buffer[:count])
    connection.sendall(b"!")


def main() -> None:
    """Serve."""
    listener = listening(*sys.argv[1:])
    print("ready", flush=True)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            with suppress(OSError), connection:
                serve(connection)

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
