"""The other end of a secured connection: a socket of the kernel, whose records another implementation seals."""

import socket
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

TAG, LONGEST = 16, 1 << 14
KEY_BYTES = {"AES-128-GCM": 16, "AES-256-GCM": 32, "ChaCha20-Poly1305": 32}


class RecordPeer:
    """A secured connection; each direction has a key and an IV."""

    def __init__(self, sock: socket.socket, cipher: str, sends: tuple[bytes, bytes], receives: tuple[bytes, bytes]):
        self.sock = sock
        kind: Any = ChaCha20Poly1305 if cipher == "ChaCha20-Poly1305" else AESGCM
        (key, self._send_iv), (other, self._receive_iv) = sends, receives
        self._seal, self._open = kind(key), kind(other)
        self.sent = self.received = 0
        self.file = sock.makefile("rb", 1 << 17)

    def record(self, plain: bytes) -> bytes:
        """The next record."""
        length = (len(plain) + TAG).to_bytes(4)
        sealed = self._seal.encrypt(_nonce(self._send_iv, self.sent), plain, length)
        self.sent += 1
        return length + sealed

    def send(self, data: bytes, size: int = LONGEST) -> None:
        """Send data in records of a size."""
        for at in range(0, len(data), size):
            self.sock.sendall(self.record(data[at : at + size]))

    def finish(self) -> None:
        """End the stream."""
        self.sock.sendall(self.record(b""))
        self.sock.shutdown(socket.SHUT_WR)

    def next(self) -> bytes:
        """The plaintext of the next record; none at the end."""
        length = self.file.read(4)
        assert len(length) == 4, "the stream was cut off"
        sealed = self.file.read(int.from_bytes(length))
        assert TAG <= len(sealed) == int.from_bytes(length) <= LONGEST + TAG
        plain = self._open.decrypt(_nonce(self._receive_iv, self.received), sealed, length)
        self.received += 1
        return plain

    def receive(self) -> bytes:
        """All data until the end."""
        found = []
        while plain := self.next():
            found.append(plain)
        assert self.file.read(1) == b""
        return b"".join(found)


def _nonce(iv: bytes, number: int) -> bytes:
    return (int.from_bytes(iv) ^ number).to_bytes(12)


def secrets_of(cipher: str) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """A key and an IV for each direction."""
    size = KEY_BYTES[cipher]
    return (bytes(range(size)), bytes(range(12))), (bytes(range(100, 100 + size)), bytes(range(100, 112)))
