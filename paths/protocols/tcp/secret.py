"""Numbers that only this host can foresee: initial sequence numbers (RFC 6528) and the beginnings of timestamps.

The pseudo-random function is Chaskey-12, a message authentication code of 128 bits for 32-bit words (ISO/IEC 29192-6).
The key is a part of the host's state: every replica computes the same numbers.
"""

import secrets
from typing import Any

import numpy as np

from scout.ring.jit import outline

__all__ = ["SECRET", "initial_number", "new_secret", "timestamp_offset"]

SECRET = np.dtype([("key", "i8", (4,)), ("words", "i8", (4,))])
"""A key of 128 bits in four words, and room to work."""

_LOW = 0xFFFFFFFF
_TICK = 4_000  # nanoseconds (RFC 6528 section 3)


def new_secret(key: bytes | None = None) -> np.ndarray:
    """A secret with a key of 16 bytes; a random one by default."""
    made = np.zeros(1, SECRET)
    made["key"][0] = np.frombuffer(key or secrets.token_bytes(16), "<u4")
    return made


def _turn(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _LOW


def _permute(words: Any) -> None:
    for _ in range(12):
        words[0] = (words[0] + words[1]) & _LOW
        words[1] = _turn(words[1], 5) ^ words[0]
        words[0] = _turn(words[0], 16)
        words[2] = (words[2] + words[3]) & _LOW
        words[3] = _turn(words[3], 8) ^ words[2]
        words[0] = (words[0] + words[3]) & _LOW
        words[3] = _turn(words[3], 13) ^ words[0]
        words[2] = (words[2] + words[1]) & _LOW
        words[1] = _turn(words[1], 7) ^ words[2]
        words[2] = _turn(words[2], 16)


def _mix(words: Any, one: int, other: int) -> None:
    """Mix 16 bytes in."""
    words[0] ^= one & _LOW
    words[1] ^= one >> 32 & _LOW
    words[2] ^= other & _LOW
    words[3] ^= other >> 32 & _LOW


def _mix_subkey(words: Any, key: Any) -> None:
    """The key times 2 in GF(2^128): the subkey for messages that are whole blocks."""
    words[0] ^= (key[0] << 1 & _LOW) ^ (0x87 if key[3] >> 31 else 0)
    words[1] ^= (key[1] << 1 | key[0] >> 31) & _LOW
    words[2] ^= (key[2] << 1 | key[1] >> 31) & _LOW
    words[3] ^= (key[3] << 1 | key[2] >> 31) & _LOW


@outline
def authenticate(secret: Any, w0: int, w1: int, w2: int, w3: int, w4: int, w5: int) -> int:
    """Chaskey-12 of 48 bytes, six words of 64 bits in little-endian order: the first 64 bits of the tag, as int64."""
    words, key = secret.words, secret.key
    for index in range(4):
        words[index] = key[index]
    _mix(words, w0, w1)
    _permute(words)
    _mix(words, w2, w3)
    _permute(words)
    _mix(words, w4, w5)
    _mix_subkey(words, key)
    _permute(words)
    _mix_subkey(words, key)
    return words[1] << 32 | words[0]


def initial_number(secret: Any, flow: tuple[int, int, int, int, int], now: int) -> int:
    """The initial sequence number of a connection (RFC 6528): a clock of 4 us, and a secret function of the flow.

    Parameters
    ----------
    secret
        A record of `SECRET`.
    flow : tuple of int
        The five words of `scout.paths.wire.flow.flow_words`, of the connection's outgoing direction.
    now : int
    """
    tag = authenticate(secret, flow[0], flow[1], flow[2], flow[3], flow[4], 0)
    return (now // _TICK + tag) & _LOW


def timestamp_offset(secret: Any, flow: tuple[int, int, int, int, int]) -> int:
    """The beginning of a connection's timestamps (RFC 7323 section 5.4)."""
    return authenticate(secret, flow[0], flow[1], flow[2], flow[3], flow[4], 1) & _LOW
