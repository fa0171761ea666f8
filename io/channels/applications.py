"""The channel of application ports: a software channel whose producers are applications, through rings of their own.

Replicas collect the requests of applications (`scout.io.endpoints.collect`); the registry and control requests come
from the supervisor's process, as in any software channel.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scout.io.channels import software_operations as software
from scout.io.channels.collected import CollectedFeed
from scout.io.channels.contract import PacketChannel
from scout.io.endpoints.collect import APPLICATION_FEED, NEVER, collect
from scout.io.packet import REACH
from scout.ring.jit import Record, inline
from scout.ring.segment import LINE, address, shared

if TYPE_CHECKING:
    from scout.io.ports.applications import ApplicationPort

__all__ = ["OPERATIONS", "ApplicationFeed"]

_receive, _receive_sharded = software.receive, software.receive_sharded


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
    """Collect what applications ask for, and receive the next requests; as `scout.io.channels.software_operations`."""
    collect(feed, replica)
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
    collect(feed, replica)
    return _receive_sharded(feed, cursor, replica, batch, shards, shard_of, look, tables)


OPERATIONS = software.OPERATIONS._replace(ring=APPLICATION_FEED, receive=receive, receive_sharded=receive_sharded)


class ApplicationFeed(CollectedFeed):
    """The channel by which replicas receive the local requests of applications.

    The parameters are those of `Feed`; there is one port.

    Most requests are some 100 bytes, and some are 64 KiB. Entries are short, so that those of many requests lie in a
    few pages; what is longer has its end in a room of its own.
    """

    operations = OPERATIONS
    entry_bytes = REACH

    def __init__(self, ports: Mapping[int, Any], replicas: int, keeps: bool) -> None:
        super().__init__(ports, replicas, keeps)
        ((index, port),) = ports.items()
        self._port: ApplicationPort = port
        self._timespec = shared(2, np.int64)
        # Untouched pages cost nothing. An odd number of cache lines, or the rooms would share a few sets of a cache.
        self.ring["rest_bytes"] = rest_bytes = (port.frame_bytes - REACH + LINE) // LINE * LINE | LINE
        self._rests = shared(int(self.ring["entries"][0]) * rest_bytes, np.uint8)
        self.ring["rests"] = address(self._rests)
        endpoints = port.memory.record
        for name in endpoints.dtype.names or ():
            self.ring[name] = endpoints[name]
        self.ring["here"], self.ring["timespec"] = address(self.ring), address(self._timespec)
        self.ring["port"], self.ring["intent_tail"] = index, NEVER
        port.memory.follow(self.ring)
        self.descriptor = port.memory.bell
        """The bell, which applications ring."""

    def send(self, port: int, frame: bytes, timestamp: int, offload: bytes, timeout: float) -> bool:
        """Send a local request of the stack's own; as `Feed.send`."""
        sent = super().send(port, frame, timestamp, offload, timeout)
        self._ring()
        return sent

    def control(self, port: int, kind: int, stage: int, argument: int, timestamp: int, timeout: float = 1.0) -> int:
        """Insert a control request; as `PacketChannel.control`."""
        number = super().control(port, kind, stage, argument, timestamp, timeout)
        self._ring()
        return number

    def _ring(self) -> None:
        """Wake the replicas: something is in the channel."""
        self._port.memory.ring()

    def reached(self, position: int) -> bool:
        """True if every replica that takes part has released all requests before a position."""
        return all(head >= position for head in self._channel.heads().values())

    @property
    def sent(self) -> int:
        """Requests published so far."""
        return self._channel.sent

    def settle(self, replica: int) -> None:
        """Note which requests a dead replica has taken that had published them, and ring for those it has left.

        It may have silenced the doorbells of applications before it died, and not yet looked at their rings.
        """
        feed = self.ring[0]
        if self._channel.sent >= feed["intent_tail"]:
            self._port.memory.consumed[int(feed["intent_producer"])] = feed["intent_consumed"]
        feed["intent_tail"] = NEVER
        for application in range(int(feed["attached"])):
            self._port.memory.ring(application)
        for each in range(int(feed["replicas"])):
            self._port.memory.ring_for(each)

    def retire(self, replica: int, ordered: bool) -> int:
        """Take out a `replica` that does not run; as `PacketChannel.retire`. Its own requests are collected."""
        self._port.leave(replica)
        return super().retire(replica, ordered)


if TYPE_CHECKING:
    _conforms: type[PacketChannel] = ApplicationFeed
