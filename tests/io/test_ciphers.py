"""Sealing and opening records: vectors of NIST and the RFC, and another implementation as the other end."""

import random
from typing import Any

import numba
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from scout.io.endpoints.ciphers import (
    CIPHERS,
    LENGTH,
    LONGEST_PLAIN,
    NONCE,
    OVERHEAD,
    RECEIVING,
    SENDING,
    TAG,
    apply,
    crypt,
    library,
    new_contexts,
    with_key,
)
from scout.ring.jit import entry
from scout.ring.segment import address

SIZE = 1 << 16
NAMES = list(CIPHERS)
_i8 = numba.int64
library()  # before anything is compiled that calls it

# Cipher, key, nonce, additional data, plaintext, ciphertext, tag.
VECTORS = {
    # McGrew and Viega, The Galois/Counter Mode of Operation (submitted to NIST), appendix B, test cases 2, 4 and 16.
    "GCM 2": (
        "AES-128-GCM",
        "00" * 16,
        "00" * 12,
        "",
        "00" * 16,
        "0388dace60b6a392f328c2b971b2fe78",
        "ab6e47d42cec13bdf53a67b21257bddf",
    ),
    "GCM 4": (
        "AES-128-GCM",
        "feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
        "5bc94fbc3221a5db94fae95ae7121a47",
    ),
    "GCM 16": (
        "AES-256-GCM",
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
    # RFC 8439 section 2.8.2.
    "RFC 8439": (
        "ChaCha20-Poly1305",
        "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
        "070000004041424344454647",
        "50515253c0c1c2c3c4c5c6c7",
        "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a204966204920636f756c64206f6666657220796f75206f6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73637265656e20776f756c642062652069742e",
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b6116",
        "1ae10b594f09e26a7e902ecbd0600691",
    ),
}


def secret(cipher: str, key: bytes, iv: bytes) -> np.ndarray:
    """The words that say how records are sealed."""
    data = NAMES.index(cipher).to_bytes(8) + iv.ljust(16, b"\0") + key.ljust(32, b"\0")
    return np.frombuffer(data, np.uint8).copy()


def other(cipher: str, key: bytes) -> Any:
    return ChaCha20Poly1305(key) if cipher == "ChaCha20-Poly1305" else AESGCM(key)


def nonce(iv: bytes, number: int) -> bytes:
    return (int.from_bytes(iv) ^ number).to_bytes(12)


@pytest.fixture(scope="module")
def contexts() -> np.ndarray:
    return new_contexts()


@entry(_i8(*[_i8] * 9))
def one(contexts, direction, secret, source, target, position, plain, extra, extra_bytes):  # type: ignore[no-untyped-def]
    context = with_key(contexts, direction, secret)
    return apply(contexts, context, direction, source, target, SIZE, position, plain, extra, extra_bytes)


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("position", [0, SIZE - 20])
def test_vectors(contexts: np.ndarray, name: str, position: int) -> None:
    cipher, *numbers = VECTORS[name]
    key, iv, extra, plain, sealed, tag = map(bytes.fromhex, numbers)
    words, more = secret(cipher, key, iv), np.frombuffer(extra or b"\0", np.uint8)
    at, tag_at = position + np.arange(len(plain)) & SIZE - 1, position + len(plain) + np.arange(TAG) & SIZE - 1
    source, target, again = (np.zeros(SIZE, np.uint8) for _ in range(3))
    source[at] = list(plain)
    for direction, rings in ((SENDING, (source, target)), (RECEIVING, (target, again))):
        contexts.view(np.uint8)[NONCE : NONCE + 12] = list(iv)
        names = address(contexts), direction, address(words), *map(address, rings)
        assert one(*names, position, len(plain), address(more), len(extra)) == 1
    assert target[at].tobytes() == sealed and target[tag_at].tobytes() == tag
    assert again[at].tobytes() == plain
    target[tag_at[3]] ^= 1
    assert one(*names, position, len(plain), address(more), len(extra)) == 0


class Piece:
    """Rings with a piece of a stream, and what does the work on it."""

    def __init__(self, contexts: np.ndarray, cipher: str) -> None:
        self.contexts, self.cipher = contexts, cipher
        self.key, self.iv = random.Random(cipher).randbytes(CIPHERS[cipher].key_bytes), bytes(range(3, 15))
        self.source, self.target = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)

    def put(self, position: int, data: bytes) -> None:
        self.source[position + np.arange(len(data)) & SIZE - 1] = list(data)

    def work(self, direction: int, number: int, first: int, last: int) -> int:
        words, extent = secret(self.cipher, self.key, self.iv), np.array([first, last])
        rings = address(self.source), address(self.target), SIZE, address(extent)
        return int(crypt(address(self.contexts), direction, address(words), number, *rings))

    def got(self, position: int, size: int) -> bytes:
        return self.target[position + np.arange(size) & SIZE - 1].tobytes()

    def sealed(self, plain: bytes, number: int) -> bytes:
        """A record by the other implementation."""
        length = (len(plain) + TAG).to_bytes(4)
        return length + other(self.cipher, self.key).encrypt(nonce(self.iv, number), plain, length)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_another_implementation_understands_the_records(contexts: np.ndarray, cipher: str) -> None:
    chance, piece = random.Random(cipher), Piece(contexts, cipher)
    plains = [chance.randbytes(size) for size in (0, 1, 15, 16, 1000, LONGEST_PLAIN)]
    for first, number in ((0, 0), (SIZE - 30, 1 << 40), (7 * SIZE - 1500, 5), (SIZE - 2, (1 << 62) - 9)):
        sealed = [piece.sealed(plain, number + index) for index, plain in enumerate(plains)]
        unsealed = [each[:LENGTH] + plain + bytes(TAG) for each, plain in zip(sealed, plains, strict=True)]
        size = sum(map(len, sealed))
        piece.put(first, b"".join(unsealed))
        assert piece.work(SENDING, number, first, first + size) == size
        assert piece.got(first, size) == b"".join(sealed)
        piece.put(first, b"".join(sealed))
        assert piece.work(RECEIVING, number, first, first + size) == size
        at = first
        for plain in plains:
            assert piece.got(at, LENGTH + len(plain)) == (len(plain) + TAG).to_bytes(4) + plain
            at += len(plain) + OVERHEAD


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("at", [0, 3, LENGTH, LENGTH + 50, LENGTH + 100, OVERHEAD + 99])
def test_a_record_with_one_wrong_bit_is_not_opened(contexts: np.ndarray, cipher: str, at: int) -> None:
    piece, size = Piece(contexts, cipher), OVERHEAD + 100
    data = b"".join(piece.sealed(bytes(100), number) for number in range(3))
    piece.put(0, data)
    piece.source[size + at] ^= 4
    assert piece.work(RECEIVING, 0, 0, 3 * size) == size  # the one before it was


def test_wrong_keys_numbers_and_ends_are_refused(contexts: np.ndarray) -> None:
    piece = Piece(contexts, "AES-128-GCM")
    piece.put(0, piece.sealed(bytes(100), 7))
    size = OVERHEAD + 100
    assert piece.work(RECEIVING, 7, 0, size) == size
    assert piece.work(RECEIVING, 8, 0, size) == piece.work(RECEIVING, 7, 0, size - 1) == 0
    piece.put(0, (TAG - 1).to_bytes(4))
    assert piece.work(RECEIVING, 7, 0, size) == 0
    piece.put(0, piece.sealed(bytes(100), 7))
    piece.key = bytes(16)
    assert piece.work(RECEIVING, 7, 0, size) == 0


def test_sealing_again_gives_the_same_bytes(contexts: np.ndarray) -> None:
    piece, size = Piece(contexts, "AES-256-GCM"), OVERHEAD + 1000
    piece.put(0, (1000 + TAG).to_bytes(4) + random.Random(3).randbytes(1000))
    assert piece.work(SENDING, 3, 0, size) == size
    once = piece.got(0, size)
    assert piece.work(SENDING, 3, 0, size) == size
    assert piece.got(0, size) == once
