"""Stream sockets that send and receive sealed records: the application gives the cipher, and a key for each way."""

import errno
from threading import Lock
from typing import Any

from scout.endpoints.stack import Stack
from scout.io.endpoints.ciphers import CIPHERS, IV_BYTES
from scout.io.endpoints.message import SECURE, WRITE
from scout.io.endpoints.records import LEAST_RING
from scout.sockets.byte_stream import ByteStream
from scout.sockets.errors import error_of
from scout.sockets.record_stream import RecordStream

__all__ = ["Securing"]

_KEY_ROOM, _IV_ROOM = 32, 16


class Securing:
    """The part of a stream socket that secures its connection."""

    stack: Stack
    stream: ByteStream
    _sending: Lock
    _receiving: Lock
    _shut_write: bool
    _connected: Any
    _tell: Any
    _settle: Any

    def secure(self, cipher: str, send_key: bytes, send_iv: bytes, receive_key: bytes, receive_iv: bytes) -> None:
        """Send and receive sealed records from now on, which replicas seal and open (docs/records.md).

        Both ends have to begin behind the same bytes of each direction, and with the same keys.

        Parameters
        ----------
        cipher : str
            "AES-128-GCM", "AES-256-GCM" or "ChaCha20-Poly1305".
        send_key, receive_key : bytes
            Of 16 bytes, or 32 as the cipher wants. No key and IV may be those of another stream, or direction.
        send_iv, receive_iv : bytes
            Of 12 bytes.

        Raises
        ------
        ValueError
            If the cipher is unknown, or the size of a key or an IV is wrong.
        OSError
            If there is no connection, it is secured already, or the router cannot do it.
        """
        words = _words(self.stack, cipher, (send_key, send_iv), (receive_key, receive_iv))
        with self._sending, self._receiving:
            self._connected()
            if isinstance(self.stream, RecordStream):
                raise error_of(errno.EALREADY)
            if self._shut_write:
                raise error_of(errno.EPIPE)
            self._tell(SECURE, words[0], self.stream.written, self.stream.position, *words[1:])
            self.stream = RecordStream(self.stream)
            self._settle()

    def _is_coming(self) -> bool:
        """True if bytes that have come can be read soon; raise an error if the stream was cut off."""
        if self.stream.was_cut():
            raise OSError(errno.EBADMSG, "the peer's stream was cut off: it has ended without its last record")
        return self.stream.is_coming()

    def _finish(self) -> None:
        """Send the record that ends the stream, if it needs one."""
        if self.stream.finish():
            self._tell(WRITE, self.stream.written)


def _words(stack: Stack, cipher: str, *secrets: tuple[bytes, bytes]) -> list[int]:
    """The cipher's number, and the words of each direction's IV and key; errors as `secure` raises them."""
    if cipher not in CIPHERS:
        raise ValueError(f"no cipher {cipher!r}; there are {', '.join(CIPHERS)}")
    wanted, words = CIPHERS[cipher].key_bytes, [list(CIPHERS).index(cipher)]
    for key, iv in secrets:
        if len(key) != wanted or len(iv) != IV_BYTES:
            raise ValueError(f"{cipher}: keys of {len(key)} and IV of {len(iv)} bytes; give {wanted} and {IV_BYTES}")
        for data in (iv.ljust(_IV_ROOM, b"\0"), key.ljust(_KEY_ROOM, b"\0")):
            words += [int.from_bytes(data[at : at + 8]) for at in range(0, len(data), 8)]
    if secrets[0] == secrets[1]:
        raise ValueError("both directions have the same key and IV, which no two streams may have; choose others")
    if not stack.secures:
        raise OSError(errno.EOPNOTSUPP, "the router has found no libcrypto; apt-get install libssl3 and start it again")
    if stack.stream_bytes < LEAST_RING:
        text = f"streams of {stack.stream_bytes} bytes cannot be secured; ApplicationPort(stream_bytes={LEAST_RING})"
        raise OSError(errno.EOPNOTSUPP, text)
    return words
