"""Sealed records: authenticated encryption of pieces of a ring by the system's libcrypto, called from compiled code.

A record is `length | ciphertext | tag`: 4 bytes in network order, the bytes of ciphertext and tag together; at most
`LONGEST_PLAIN` bytes; 16 bytes. The length is the additional data. The nonce is the IV of the direction with the
record's number in its last 8 bytes by exclusive or (RFC 8446 section 5.3). The ciphers are AES-GCM (NIST SP 800-38D)
and ChaCha20-Poly1305 (RFC 8439).

Source and target are rings of equal size, and a record has the same place in both, so plaintext lies where its
ciphertext does. A record may wrap.
"""

import ctypes
import ctypes.util
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding as llvm
from numba.core import types

from scout.io.byte_order import swapped32, swapped64
from scout.ring.atomics import copy, load32, load64, store64
from scout.ring.errors import ScoutError
from scout.ring.jit import Entry, inline
from scout.ring.segment import private

__all__ = [
    "CIPHERS",
    "CRYPT",
    "IV_BYTES",
    "LENGTH",
    "LONGEST_PLAIN",
    "NONCE",
    "OVERHEAD",
    "RECEIVING",
    "ROOM",
    "SENDING",
    "TAG",
    "Cipher",
    "apply",
    "crypt",
    "length_at",
    "library",
    "new_contexts",
    "number_nonce",
    "with_key",
]


class Cipher(NamedTuple):
    """A cipher by libcrypto's function for it."""

    key_bytes: int
    function: str


CIPHERS = {
    "AES-128-GCM": Cipher(16, "EVP_aes_128_gcm"),
    "AES-256-GCM": Cipher(32, "EVP_aes_256_gcm"),
    "ChaCha20-Poly1305": Cipher(32, "EVP_chacha20_poly1305"),
}
"""The ciphers; a cipher's number is its place here."""

SENDING, RECEIVING = 0, 1
"""Directions: plaintext is sealed, ciphertext is opened."""

LENGTH, TAG, IV_BYTES, LONGEST_PLAIN = 4, 16, 12, 1 << 14
OVERHEAD = LENGTH + TAG
"""Bytes of a record besides its plaintext."""

CRYPT = types.int64(*[types.int64] * 8)
"""The signature of `crypt`."""

_GET_TAG, _SET_TAG = 0x10, 0x11  # EVP_CTRL_AEAD_GET_TAG and EVP_CTRL_AEAD_SET_TAG of openssl/evp.h
_KEEP = -1  # of EVP_CipherInit_ex: the direction stays

# Words of the contexts: the address of libcrypto's context of each cipher and direction; whether it has a key; the
# key's 4 words; then room for a nonce, a length, the length of an output, and a tag.
_COUNT = 2 * len(CIPHERS)
_CONTEXTS, _HAS_KEY, _KEYS = 0, 8 * _COUNT, 16 * _COUNT
NONCE = _KEYS + 32 * _COUNT
_HEADER, _OUT, _TAG, _BYTES = NONCE + 16, NONCE + 24, NONCE + 32, NONCE + 48

ROOM = _HEADER
"""Offset in the contexts of room for the length of a record."""

_int: Any = types.int32
_long: Any = types.int64
_init: Any = types.ExternalFunction("EVP_CipherInit_ex", _int(_long, _long, _long, _long, _long, _int))
_update: Any = types.ExternalFunction("EVP_CipherUpdate", _int(_long, _long, _long, _long, _int))
_final: Any = types.ExternalFunction("EVP_CipherFinal_ex", _int(_long, _long, _long))
_control: Any = types.ExternalFunction("EVP_CIPHER_CTX_ctrl", _int(_long, _int, _int, _long))


@cache
def library() -> ctypes.CDLL | None:
    """The system's libcrypto, so that compiled code finds its functions; None if there is none."""
    name = ctypes.util.find_library("crypto")
    if name is None:
        return None
    llvm.load_library_permanently(name)
    return ctypes.CDLL(name)


def new_contexts() -> np.ndarray:
    """Contexts of all ciphers and directions, for one process; processes that are forked have their own copies.

    Raises
    ------
    ScoutError
        If there is no libcrypto.
    """
    crypto = library()
    if crypto is None:
        raise ScoutError("there is no libcrypto here; apt-get install libssl3")
    words = private(_BYTES // 8, np.int64)
    crypto.EVP_CIPHER_CTX_new.restype = ctypes.c_void_p
    for number, cipher in enumerate(CIPHERS.values()):
        find = getattr(crypto, cipher.function)
        find.restype = ctypes.c_void_p
        for direction in (SENDING, RECEIVING):
            context = crypto.EVP_CIPHER_CTX_new()
            encrypts = int(direction == SENDING)
            crypto.EVP_CipherInit_ex(ctypes.c_void_p(context), ctypes.c_void_p(find()), None, None, None, encrypts)
            words[2 * number + direction] = context
    return words


@inline
def length_at(ring: int, size: int, position: int, room: int) -> int:
    """The length at the beginning of the record at a position in a ring; `room` is the address of 8 bytes."""
    _take_out(ring, size, position, room, LENGTH)
    return swapped32(load32(room)) & 0xFFFFFFFF


@partial(Entry, signature=CRYPT)  # no declared one: it cannot be compiled before libcrypto is loaded
def crypt(
    contexts: int, direction: int, secret: int, number: int, source: int, target: int, size: int, extent: int
) -> int:
    """Seal or open the records of a piece of a stream; the bytes of those before the first that fails.

    Parameters
    ----------
    contexts : int
        Address of `new_contexts`.
    direction : int
    secret : int
        Address of 7 words in network order: the cipher's number, the IV (16 bytes, of which 12 count), and the key
        (32 bytes, of which as many count as the cipher has).
    number : int
        That of the first record.
    source, target, size : int
        Addresses of the rings, and bytes of each.
    extent : int
        Address of two words: the positions of the piece's beginning and end. The lengths in the source fit into it.
    """
    context = with_key(contexts, direction, secret)
    position, last = load64(extent), load64(extent + 8)
    begin = position
    while position < last:
        length = length_at(source, size, position, contexts + _HEADER)
        number_nonce(contexts + NONCE, secret + 8, number)
        if length < TAG or position + LENGTH + length > last:
            break
        _put_in(target, size, position, contexts + _HEADER, LENGTH)
        extra, plain_at = contexts + _HEADER, position + LENGTH
        if apply(contexts, context, direction, source, target, size, plain_at, length - TAG, extra, LENGTH) == 0:
            break
        number += 1
        position += LENGTH + length
    return position - begin


@inline
def with_key(contexts: int, direction: int, secret: int) -> int:
    """The context of a cipher and direction, with this key."""
    index = 2 * (swapped64(load64(secret)) % (_COUNT // 2)) + direction
    context, key = load64(contexts + _CONTEXTS + 8 * index), contexts + _KEYS + 32 * index
    known = load64(contexts + _HAS_KEY + 8 * index) == 1
    for word in range(4):
        known = known and load64(key + 8 * word) == load64(secret + 24 + 8 * word)
    if not known:
        copy(key, secret + 24, 32)
        _init(context, 0, 0, key, 0, _KEEP)
        store64(contexts + _HAS_KEY + 8 * index, 1)
    return context


@inline
def number_nonce(nonce: int, iv: int, number: int) -> None:
    """The nonce of a record."""
    copy(nonce, iv, IV_BYTES)
    store64(nonce + 4, load64(nonce + 4) ^ swapped64(number))


@inline
def apply(
    contexts: int,
    context: int,
    direction: int,
    source: int,
    target: int,
    size: int,
    position: int,
    plain: int,
    extra: int,
    extra_bytes: int,
) -> int:
    """Seal or open `plain` bytes at a position, with the tag behind them, by the nonce in the contexts' room.

    `extra` is the address of the additional data. 1, or 0 if it fails.
    """
    tag, out = contexts + _TAG, contexts + _OUT
    done = _init(context, 0, 0, 0, contexts + NONCE, _KEEP) > 0
    done = done and _update(context, 0, out, extra, extra_bytes) > 0
    at = position & size - 1
    first = min(plain, size - at)
    if first > 0:
        done = done and _update(context, target + at, out, source + at, first) > 0
    if plain > first:
        done = done and _update(context, target, out, source, plain - first) > 0
    if direction == RECEIVING:
        _take_out(source, size, position + plain, tag, TAG)
        done = done and _control(context, _SET_TAG, TAG, tag) > 0
    # It writes no bytes with these ciphers. Of a record that is opened it says whether the tag is right.
    done = done and _final(context, tag, out) > 0
    if direction == SENDING:
        done = done and _control(context, _GET_TAG, TAG, tag) > 0
        _put_in(target, size, position + plain, tag, TAG)
    return 1 if done else 0


@inline
def _take_out(ring: int, size: int, position: int, target: int, count: int) -> None:
    """Copy bytes from a position in a ring."""
    at = position & size - 1
    first = min(count, size - at)
    copy(target, ring + at, first)
    copy(target + first, ring, count - first)


@inline
def _put_in(ring: int, size: int, position: int, source: int, count: int) -> None:
    """Copy bytes to a position in a ring."""
    at = position & size - 1
    first = min(count, size - at)
    copy(ring + at, source, first)
    copy(ring, source + first, count - first)
