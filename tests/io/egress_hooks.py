"""Hooks for the frames that leave an interface, for tests: as tc, nft and a loader of BPF programs install them."""

import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["nft_chain", "run_tc", "tcx_program"]

_PROG_LOAD, _LINK_CREATE, _SCHED_CLS, _TCX_EGRESS = 5, 28, 3, 47  # linux/bpf.h
_BPF = 321  # the number of bpf(2) on x86-64
_libc = ctypes.CDLL(None, use_errno=True)

# linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
_BATCH_BEGIN, _BATCH_END, _NEW_TABLE, _NEW_CHAIN, _DEL_TABLE = 0x10, 0x11, 10 << 8 | 0, 10 << 8 | 3, 10 << 8 | 2
_REQUEST, _ACK, _CREATE = 0x1, 0x4, 0x400
_NETDEV = 5


def run_tc(command: str) -> None:
    """Run tc, of words between spaces."""
    subprocess.run(["tc", *command.split()], check=True, capture_output=True, text=True)


def _bpf(command: int, attributes: bytes) -> int:
    room = ctypes.create_string_buffer(attributes, 128)
    found = _libc.syscall(_BPF, command, room, 128)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(found)


@contextmanager
def tcx_program(number: int, verdict: int) -> Iterator[None]:
    """A BPF program (tcx) that returns `verdict` for each frame that leaves the interface of this index."""
    # r0 = verdict; exit: struct bpf_insn has the operation, the registers, an offset and a number.
    code = struct.pack("=BBhi", 0xB7, 0, 0, verdict) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    text, licence = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    load = struct.pack("=IIQQ", _SCHED_CLS, 2, ctypes.addressof(text), ctypes.addressof(licence))
    program = _bpf(_PROG_LOAD, load.ljust(68, b"\0") + struct.pack("=I", _TCX_EGRESS))  # the last: where it is for
    try:
        link = _bpf(_LINK_CREATE, struct.pack("=IIII", program, number, _TCX_EGRESS, 0))
        try:
            yield
        finally:
            os.close(link)
    finally:
        os.close(program)


@contextmanager
def nft_chain(interface: str, hook: int, policy: int) -> Iterator[None]:
    """A chain of nft at an interface, of the family netdev: hook 0 is for frames that come, 1 for those that leave.

    As `nft add table netdev t`, and `nft add chain netdev t c` with `type filter hook egress device r1 priority 0`.
    The policy is 0 (drop) or 1 (accept).
    """
    table, name = _attribute(1, b"t\0"), _attribute(3, b"c\0")
    where = b"".join((_number(1, hook), _number(2, 0), _attribute(3, interface.encode() + b"\0")))
    chain = table + name + _attribute(4 | 0x8000, where) + _number(5, policy) + _attribute(7, b"filter\0")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netlink:  # NETLINK_NETFILTER
        _commit(netlink, [(_NEW_TABLE, table), (_NEW_CHAIN, chain)])
        try:
            yield
        finally:
            _commit(netlink, [(_DEL_TABLE, table)])


def _attribute(kind: int, value: bytes) -> bytes:
    return (struct.pack("=HH", 4 + len(value), kind) + value).ljust(4 + len(value) + 3 & ~3, b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">I", value))


def _commit(netlink: socket.socket, messages: list[tuple[int, bytes]]) -> None:
    def message(kind: int, flags: int, body: bytes) -> bytes:
        return struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | flags, 1, 0) + body

    batch = struct.pack(">BBH", socket.AF_UNSPEC, 0, 10)  # struct nfgenmsg: of nft
    parts = [
        message(kind, _ACK | _CREATE, struct.pack("=BBH", _NETDEV, 0, 0) + attributes) for kind, attributes in messages
    ]
    netlink.send(b"".join((message(_BATCH_BEGIN, 0, batch), *parts, message(_BATCH_END, 0, batch))))
    for _ in messages:
        answer = netlink.recv(1 << 16)
        (code,) = struct.unpack_from("=i", answer, 16)
        if code:
            raise OSError(-code, os.strerror(-code))
