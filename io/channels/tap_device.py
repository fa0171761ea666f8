"""The channel of a TAP device: replicas read its frames into a software channel.

A frame and its virtio-net header are read right into an entry of the channel by one readv(2). A replica that dies
between that and the publication loses what it has read, at most a batch.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scout.io.channels import software_operations as software
from scout.io.channels.collected import COLLECTOR, CollectedFeed
from scout.io.channels.contract import PacketChannel
from scout.io.channels.software_operations import CONTROL, FEED, FRAME, OFFLOADS, TIMESTAMP
from scout.io.system import VECTOR, VNET_HEADER, clock, readv
from scout.ring.atomics import compare_exchange, load64, store64
from scout.ring.jit import Record, inline
from scout.ring.layout import LOCK, payload, published, set_length, slot_of, word
from scout.ring.producer import publish, release, reserve
from scout.ring.segment import address, shared

__all__ = ["OPERATIONS", "TAP_FEED", "TapFeed", "collect"]

TAP_FEED = np.dtype(
    [
        ("file", "i8"),  # descriptor of the device
        ("port", "i8"),  # index of the port
        ("longest", "i8"),  # bytes of the longest frame
        ("room", "i8"),  # address of two struct iovec and a struct timespec for the holder of the lock
        *((name, "i8") for name in FEED.names or ()),
    ]
)
"""A `FEED`, and what a producer that reads works with."""

_receive, _receive_sharded = software.receive, software.receive_sharded


@inline
def collect(feed: Record, cursor: Record, replica: int) -> None:
    """Read the frames that wait in the device, if none waits for this replica and no other one reads."""
    # acq_rel, pairs with the last holder's release.
    if published(feed) > cursor.head or not compare_exchange(word(feed, LOCK), 0, COLLECTOR + replica + 1):
        return
    room, first, count = reserve(feed, feed.batch), published(feed), 0
    now = clock(feed.room + 2 * VECTOR)
    while count < room:
        slot = slot_of(feed, first + count)
        request = payload(slot)
        store64(feed.room, request + OFFLOADS)
        store64(feed.room + 8, VNET_HEADER)
        store64(feed.room + VECTOR, request + FRAME)
        store64(feed.room + VECTOR + 8, feed.longest)
        size = readv(feed.file, feed.room, 2)
        if size <= VNET_HEADER:
            break
        store64(request + TIMESTAMP, now)
        store64(request + CONTROL, load64(request + CONTROL) & 0xFFFF | feed.port << 32)  # behind the end of the header
        set_length(slot, FRAME + size - VNET_HEADER)
        count += 1
    if count:
        publish(feed, count)
    release(feed)


@inline
def receive(
    feed: Record,
    cursor: Record,
    replica: int,
    batch: np.ndarray,
    copies: bool,
    look: Callable[..., bool],
    tables: Any,
) -> int:
    """Read frames, and receive the next ones; as `scout.io.channels.software_operations`."""
    collect(feed, cursor, replica)
    return _receive(feed, cursor, replica, batch, copies, look, tables)


@inline
def receive_sharded(
    feed: Record,
    cursor: Record,
    replica: int,
    batch: np.ndarray,
    shards: int,
    shard_of: Callable[..., int],
    look: Callable[..., bool],
    tables: Any,
) -> int:
    """The same for sharded flows."""
    collect(feed, cursor, replica)
    return _receive_sharded(feed, cursor, replica, batch, shards, shard_of, look, tables)


OPERATIONS = software.OPERATIONS._replace(ring=TAP_FEED, receive=receive, receive_sharded=receive_sharded)


class TapFeed(CollectedFeed):
    """The channel by which replicas receive the frames of a TAP device; the parameters are those of `Feed`, for one
    port.
    """

    operations = OPERATIONS

    def __init__(self, ports: Mapping[int, Any], replicas: int, keeps: bool) -> None:
        super().__init__(ports, replicas, keeps)
        ((index, port),) = ports.items()
        self._room = shared(6, np.int64)
        self.ring["file"], self.ring["port"], self.ring["longest"] = port.file, index, port.frame_bytes
        self.ring["room"] = address(self._room)
        self.descriptor = port.file


if TYPE_CHECKING:
    _conforms: type[PacketChannel] = TapFeed
