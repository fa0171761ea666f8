"""Batches: the packets that go through a path together, and room for those wanted in one piece."""

from typing import Any

import numpy as np

from scout.io.access import allow, lowering
from scout.io.packet import HEADROOM, PACKET, REACH
from scout.ring.atomics import copy
from scout.ring.jit import Record, inline
from scout.ring.segment import address, private

__all__ = ["BATCH_SIZE", "LONGEST", "SLOT", "WHOLE", "gather", "linearise", "new_batch", "place_frame"]

BATCH_SIZE = 256
"""Packets that go through a path together: enough to make a system call pay, few enough to stay in L2."""

SLOT = HEADROOM + REACH + 2 * HEADROOM
"""Bytes of a packet's private slot: room to push, what stages see, and to spare. An odd number of cache
lines, or the headers of a batch would all fall into a few sets of the first-level cache."""

LONGEST = 1 << 16
"""Bytes of the longest frame that fits a whole-packet slot, less `HEADROOM`."""

_WHOLE_SLOT = HEADROOM + LONGEST
WHOLE = BATCH_SIZE * _WHOLE_SLOT
"""Bytes of the room for whole packets, one for each slot of a batch; untouched pages cost nothing."""


def new_batch(size: int = BATCH_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """A batch of `size` packets, and the slots (uint8, `SLOT` bytes each) that its frames live in.

    The frames' addresses are those of the slots, behind the headroom.
    """
    batch, slots = private(size, PACKET), private(size * SLOT, np.uint8)
    batch["slot"] = address(slots) + np.arange(size) * SLOT + HEADROOM
    batch["origin"] = batch["frame"] = batch["end"] = batch["slot"]
    return batch, slots


@inline
def place_frame(packet: Record, frame: int, size: int, in_place: bool) -> None:
    """Have a packet begin with the frame of `size` bytes at an address where nobody may write.

    Its headers are copied to the packet's slot, unless `in_place`; the rest stays, as the packet's tail.
    """
    linear = min(size, REACH)
    packet.tail = frame + linear
    packet.tail_bytes = size - linear
    start = frame
    if not in_place:
        start = packet.slot
        copy(start, frame, linear)
    packet.origin = packet.frame = start
    packet.end = start + linear  # also in place not more than the primary sees, or states could differ


@inline
def linearise(packet: Record, frame: int, whole: np.ndarray, index: int) -> int:
    """Copy a packet with a tail to one piece; its new address, 0 if it is too long."""
    if packet.tail_bytes == 0:
        return frame
    start = min(packet.origin, frame)  # with the headers that were pulled: others may want them
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
    """The packet in one piece, in place `index` of `whole`: its frame from the header at hand on, 0 if it is too long.

    Its end is then `packet.end`. For a stage that wants all of it after it has looked at the headers.
    """
    if len(frame.data) - frame.start > LONGEST:
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
