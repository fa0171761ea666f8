"""Frames of a kernel's ring whose VLAN tag the kernel took out: a packet has it back, also where it is looked at."""

import ctypes
import struct
from typing import Any

import numpy as np
import pytest
from numba.core import types

from scout.io.batch import new_batch
from scout.io.channels.kernel_ring_frame import STATUS_USER, STATUS_VLAN_TPID_VALID, STATUS_VLAN_VALID, take_frame
from scout.io.packet import REACH
from scout.paths.compiler.native import BATCH
from scout.ring.atomics import load32
from scout.ring.jit import entry, inline
from scout.ring.segment import address

MACS = bytes.fromhex("020000000001020000000002")
MAC = 96  # of the frame in its slot


@inline
def look(tables: Any, packet: Any, frame: int, size: int, primary: int) -> bool:
    """Note the size and the bytes behind the addresses; drop frames of another port."""
    tables[0], tables[1] = size, load32(frame + 12)
    return packet.port == 7


@entry(types.boolean(BATCH, types.int64, types.int64, types.int64[::1]))
def take(batch: np.ndarray, header: int, port: int, seen: np.ndarray) -> bool:
    return take_frame(batch[0], batch.ctypes.data, header, port, False, 1, look, seen)


@pytest.mark.parametrize("size", [46, REACH + 100])
@pytest.mark.parametrize(("status", "tag"), [(STATUS_VLAN_TPID_VALID, b"\x88\xa8"), (0, b"\x81\x00")])
def test_a_tag_is_put_back_before_the_packet_is_looked_at(size: int, status: int, tag: bytes) -> None:
    rest = b"\x08\x00" + bytes(index & 0xFF for index in range(size))
    frame = MACS + rest
    head = struct.pack(
        "=IIIHHIIHH", STATUS_USER | STATUS_VLAN_VALID | status, len(frame), len(frame), MAC, MAC + 14, 1, 2, 5, 0x88A8
    )
    slot = np.frombuffer(head.ljust(MAC, b"\0") + frame, np.uint8).copy()
    batch, slots = new_batch(1)
    seen = np.zeros(2, np.int64)
    assert not take(batch, address(slot), 8, seen)
    assert take(batch, address(slot), 7, seen)
    packet = batch[0]
    linear = ctypes.string_at(int(packet["frame"]), int(packet["end"] - packet["frame"]))
    whole = linear + ctypes.string_at(int(packet["tail"]), int(packet["tail_bytes"]))
    assert whole == MACS + tag + b"\x00\x05" + rest
    assert seen[0] == len(whole) and int(seen[1]).to_bytes(4, "little") == tag + b"\x00\x05"
    assert packet["timestamp"] == 1_000_000_002 and packet["checksum_start"] == 4
    del slots
