"""Batches: the packets that go through a path together, and room for packets that a stage wants in one piece."""

from typing import Any

import numpy as np

from scout.io.access import allow, lowering
from scout.io.packet import HEADROOM, PACKET, REACH
from scout.ring.atomics import copy
from scout.ring.jit import Record, inline
from scout.ring.segment import address, private

__all__ = [
    "BATCH_SIZE",
    "LONGEST",
    "SLOT",
    "TAIL",
    "WHOLE",
    "copy_whole",
    "gather",
    "kept_to_main_line",
    "linearise",
    "new_batch",
    "place_frame",
]

BATCH_SIZE = 256
"""Packets that go through a path together: enough to share the cost of a system call, few enough to stay in L2."""

TAIL = 896
"""Bytes of the rest of a packet that its slot has room for: with `REACH`, a frame of 1,536 bytes."""

SLOT = HEADROOM + REACH + TAIL + 2 * HEADROOM
"""Bytes of a packet's private slot: headroom, the bytes that stages see, the rest, and spare ones. They are an odd
number of cache lines, or the headers of a batch would share a few sets of the first-level cache."""

LONGEST = 1 << 16
"""Bytes of the longest frame that fits a whole-packet slot, less `HEADROOM`."""

_WHOLE_SLOT = HEADROOM + LONGEST
WHOLE = BATCH_SIZE * _WHOLE_SLOT
"""Bytes of the room for whole packets, one for each slot of a batch. Untouched pages cost nothing."""


def new_batch(size: int = BATCH_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Make a batch.

    Returns
    -------
    batch : numpy.ndarray
        `PACKET`[size]. The frames' addresses are those of the slots, behind the headroom.
    slots : numpy.ndarray
        uint8[size * SLOT]: the memory of the slots.
    """
    batch, slots = private(size, PACKET), private(size * SLOT, np.uint8)
    batch["slot"] = address(slots) + np.arange(size) * SLOT + HEADROOM
    batch["origin"] = batch["frame"] = batch["end"] = batch["slot"]
    return batch, slots


@inline
def place_frame(packet: Record, frame: int, size: int, in_place: bool) -> None:
    """Let a packet be the frame of `size` bytes at an address where no replica may write.

    The first `REACH` bytes are copied to the packet's slot, unless `in_place`. The rest stays, as the packet's tail.
    """
    linear = min(size, REACH)
    packet.tail = frame + linear
    packet.tail_bytes = size - linear
    start = frame
    if not in_place:
        start = packet.slot
        copy(start, frame, linear)
    packet.origin = packet.frame = start
    packet.end = start + linear  # also in place: a replica that saw more than the primary could get another state


@inline
def copy_whole(packet: Record, target: int) -> None:
    """Copy a packet in one piece, with the headers that were pulled, to `target`, and let the packet be there.

    There is room for its bytes, and before it for headers to be pushed.
    """
    start = min(packet.origin, packet.frame)
    head = packet.end - start
    copy(target, start, head)
    copy(target + head, packet.tail, packet.tail_bytes)
    packet.origin += target - start
    packet.frame += target - start
    packet.end = target + head + packet.tail_bytes
    packet.tail_bytes = 0


@inline
def kept_to_main_line(batch: np.ndarray, count: int) -> bool:
    """True if a path led the first `count` packets along its main line, from its beginning on."""
    aside = 0
    for index in range(count):
        aside |= batch[index].at | batch[index].control
    return aside == 0


@inline
def linearise(packet: Record, frame: int, whole: np.ndarray, index: int) -> int:
    """Copy a packet that has a tail into one piece; its new address, 0 if it is too long."""
    if packet.tail_bytes == 0:
        return frame
    start = min(packet.origin, frame)  # with the headers that were pulled, which later stages may read
    head = packet.end - start
    room = index * _WHOLE_SLOT
    if head + packet.tail_bytes > LONGEST or room + _WHOLE_SLOT > whole.shape[0]:
        return 0
    target = whole.ctypes.data + room + HEADROOM
    copy(target, start, head)
    copy(target + head, packet.tail, packet.tail_bytes)
    packet.origin += target - start
    packet.end = target + head + packet.tail_bytes
    packet.tail_bytes = 0
    return frame + target - start


def gather(frame: Any, packet: Any, whole: Any, index: int) -> Any:
    """Copy the packet into one piece, for a stage that decides by the headers that it wants all bytes.

    Parameters
    ----------
    frame, packet
        As the stage got them.
    whole, index
        The stage's parameters `whole` and `whole_index`.

    Returns
    -------
    frame
        The packet from the header at hand on, to `packet.end`; 0 if it is longer than `LONGEST` bytes.
    """
    if len(frame.data) - min(frame.origin, frame.start) > LONGEST:
        return 0
    frame.end, packet.tail_bytes = len(frame.data), 0
    return frame


@lowering(gather)
def _native_gather(frame, packet, whole, index):  # type: ignore[no-untyped-def]
    def native(frame, packet, whole, index):  # type: ignore[no-untyped-def]
        frame = linearise(packet, frame, whole, index)
        if frame:
            allow(frame, packet.end, True)
        return frame

    return native
