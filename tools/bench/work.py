"""Primary work for benchmarks: work that is worth dividing among cores.

- `plain`: none besides the service.
- `inspect`: every byte of the payload goes through an automaton that looks for signatures (Aho and
  Corasick, CACM 1975).
- `aes-gcm`: the payload is encrypted and authenticated (AES-128-GCM, NIST SP 800-38D) by libcrypto.
"""

import ctypes
import ctypes.util
from collections import deque
from typing import Any

import numpy as np
from llvmlite import binding as llvm
from numba.core import types

from scout.io.access import load8, lowering
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.stages.filter import Filter
from scout.ring.errors import ScoutError
from scout.ring.jit import inline
from scout.ring.segment import address, private

__all__ = ["WORKS", "new_work"]

SIGNATURES = (b"/etc/passwd", b"cmd.exe", b"<script>", b"UNION SELECT", b"\x90\x90\x90\x90\x90\x90")
FOUND = drop("signature-found")
HEADERS = 40  # bytes of IPv4 and TCP before the payload
_OUT = 1 << 16
_GET_TAG, _TAG = 0x10, 16  # EVP_CTRL_GCM_GET_TAG of openssl/evp.h; bytes of the tag
# Words of the cipher's table: addresses of the context and of the output, the output's length, the nonce, the tag.
_CONTEXT, _TARGET, _LENGTH, _NONCE, _TAG_AT, _WORDS = 0, 1, 2, 4, 6, 8

_int: Any = types.int32
_long: Any = types.int64
_init: Any = types.ExternalFunction("EVP_EncryptInit_ex", _int(_long, _long, _long, _long, _long))
_update: Any = types.ExternalFunction("EVP_EncryptUpdate", _int(_long, _long, _long, _long, _int))
_final: Any = types.ExternalFunction("EVP_EncryptFinal_ex", _int(_long, _long, _long))
_control: Any = types.ExternalFunction("EVP_CIPHER_CTX_ctrl", _int(_long, _int, _int, _long))


def inspect(frame: Any, end: Any, packet: Any, automaton: Any) -> int:
    """Drop packets whose payload has a signature."""
    state = 0
    for at in range(HEADERS, length_seen(frame, end)):
        state = automaton[state << 8 | load8(frame, at)]
        if state < 0:
            return FOUND
    return 0


def length_seen(frame: Any, end: Any) -> int:
    """Bytes that a stage sees, from the current header to the end."""
    return len(frame)


@lowering(length_seen)
def _native_length_seen(frame, end):  # type: ignore[no-untyped-def]
    return lambda frame, end: end - frame


def encrypt(frame: Any, end: Any, packet: Any, cipher: Any) -> int:
    """Encrypt the payload into the replica's own memory; the packet does not change."""
    seal(frame, end, packet, cipher)
    return 0


def seal(frame: Any, end: Any, packet: Any, cipher: Any) -> None:
    """Only compiled code can call libcrypto here."""
    raise ScoutError("aes-gcm runs compiled only; try inspect")


@inline
def _seal(frame: int, end: int, timestamp: int, cipher: np.ndarray) -> None:
    context, words = cipher[_CONTEXT], cipher.ctypes.data
    cipher[_NONCE] = timestamp
    _init(context, 0, 0, 0, words + 8 * _NONCE)
    _update(context, cipher[_TARGET], words + 8 * _LENGTH, frame + HEADERS, end - frame - HEADERS)
    _final(context, cipher[_TARGET], words + 8 * _LENGTH)
    _control(context, _GET_TAG, _TAG, words + 8 * _TAG_AT)


@lowering(seal)
def _native_seal(frame, end, packet, cipher):  # type: ignore[no-untyped-def]
    return lambda frame, end, packet, cipher: _seal(frame, end, packet.timestamp, cipher)


def automaton() -> np.ndarray:
    """The automaton of `SIGNATURES`: int32, the next state at `state << 8 | byte`; -1: found."""
    goto: list[dict[int, int]] = [{}]
    final = set()
    for signature in SIGNATURES:
        state = 0
        for byte in signature:
            if byte not in goto[state]:
                goto.append({})
                goto[state][byte] = len(goto) - 1
            state = goto[state][byte]
        final.add(state)
    table = np.zeros((len(goto), 256), np.int32)
    failure = [0] * len(goto)
    queue = deque([0])
    while queue:
        state = queue.popleft()
        for byte in range(256):
            back = int(table[failure[state], byte]) if state else 0
            if byte in goto[state]:
                following = goto[state][byte]
                failure[following] = back
                queue.append(following)
                table[state, byte] = following
            else:
                table[state, byte] = back
    table[np.isin(table, list(final))] = -1
    return table.reshape(-1)


def cipher() -> np.ndarray:
    """A context of libcrypto with a key, and memory for its output. Forked processes have their own copies.

    Raises
    ------
    ScoutError
        If there is no libcrypto.
    """
    name = ctypes.util.find_library("crypto")
    if name is None:
        raise ScoutError("aes-gcm: there is no libcrypto here; apt-get install libssl3, or leave this work out")
    llvm.load_library_permanently(name)
    library = ctypes.CDLL(name)
    library.EVP_CIPHER_CTX_new.restype = library.EVP_aes_128_gcm.restype = ctypes.c_void_p
    context = library.EVP_CIPHER_CTX_new()
    kind, key = library.EVP_aes_128_gcm(), bytes(range(16))
    library.EVP_EncryptInit_ex(ctypes.c_void_p(context), ctypes.c_void_p(kind), None, key, None)
    words = np.zeros(_WORDS, np.int64)
    _kept.append(private(_OUT, np.uint8))
    words[_CONTEXT], words[_TARGET] = context, address(_kept[-1])
    return words


_kept: list[Any] = []


def new_work(name: str, service: str) -> Filter | None:
    """Make the stage that does the work `name`; None for the work "plain".

    Parameters
    ----------
    name : str
        One of `WORKS`.
    service : str
        Type of the service that the stage is on: "ipv4" for received packets, "adjacency" for packets to be sent.

    Raises
    ------
    ScoutError
        If there is no such work, or libcrypto is missing.
    """
    if name == "plain":
        return None
    function: Any
    bindings: dict[str, Any]
    if name == "inspect":
        function, bindings = inspect, {"automaton": Table(automaton(), "constant")}
    elif name == "aes-gcm":
        function, bindings = encrypt, {"cipher": Table(cipher(), "private")}
    else:
        raise ScoutError(f"work {name!r}: use one of {', '.join(WORKS)}")
    both = {"receive": function} if service == "ipv4" else {"send": function}
    return Filter("work", **both, connects=service, payload=True, **bindings)


WORKS = ("plain", "inspect", "aes-gcm")
