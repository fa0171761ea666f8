"""A software channel: a replicated channel whose producers are processes of Scout's own.

Frames come from `Feed.send`, one at a time, or from one process for each port, which plays records of a pcap file as
fast as they are taken; control requests come from the supervisor's process. All these producers take turns.
"""

import ctypes
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scout.io.channels.contract import PacketChannel
from scout.io.channels.software_operations import FRAME, KIND, OPERATIONS, REQUEST
from scout.io.host.process import Child
from scout.ring.bell import event_of
from scout.ring.channel import Channel
from scout.ring.layout import CHANNEL, HEADER
from scout.ring.membership import join, passed, resume
from scout.ring.segment import shared

if TYPE_CHECKING:
    from scout.io.ports.fed import FedPort

__all__ = ["CALLER", "Feed"]

CALLER, PLAYER = 0, 1  # the producers: this process, and the first of those that play records
GRACE = 3.0  # seconds that a killed process may take to end


class Feed:
    """The channel by which replicas receive the packets of one or several ports, with its producers.

    Parameters
    ----------
    ports : mapping of int to FedPort
        The ports by index. The channel holds as many requests as the greatest of their `entries`, and its batches have
        as many as the smallest of their `batch`.
    replicas : int
    keeps : bool
        True if requests are kept back to each replica's newest snapshot.

    Attributes
    ----------
    ring, cursors : numpy.ndarray
        For the compiled loops, shared: one `FEED`, and a `MEMBER` for each replica.
    """

    operations = OPERATIONS

    entry_bytes: int | None = None
    """Bytes of a frame that an entry has room for; None: the longest frame's."""

    descriptor: int | None = None
    """There is none: all producers ring the bell."""

    def __init__(self, ports: Mapping[int, "FedPort"], replicas: int, keeps: bool) -> None:
        self._ports = dict(ports)
        self._channel = Channel(
            max(port.entries for port in ports.values()),
            FRAME + (self.entry_bytes or max(port.frame_bytes for port in ports.values())),
            replicas,
            batch=min(port.batch for port in ports.values()),
            producers=PLAYER + max(ports) + 1,
            keeps=keeps,
        )
        self.ring, self.cursors = shared(1, self.operations.ring), self._channel.members
        for name in CHANNEL.names or ():
            self.ring[name] = self._channel.record[name]
        self._kinds = _bytes_of(self.ring[0], HEADER + KIND)
        self._players: dict[int, Child] = {}
        self._too_long = self._controls = self._refused_controls = 0
        self._shards = 1

    def attach(self, bell: int) -> None:
        """Have this bell rung after each publication."""
        self._channel.record["bell"] = self.ring["bell"] = bell

    # Producing.

    def feed(self) -> None:
        """Start to send the records that the ports were given when they were opened."""
        bell = int(self.ring["bell"][0])
        rings = [event_of(bell)] if bell else []
        for index, port in self._ports.items():
            if port.records():
                self._players[index] = Child(port.play, self.ring, PLAYER + index, keep=rings)

    def send(self, port: int, frame: bytes, timestamp: int, offload: bytes, timeout: float) -> bool:
        """Send one frame of a port, waiting at most `timeout` seconds for room; False if it was refused."""
        if len(frame) > self._ports[port].frame_bytes:
            self._too_long += 1
            return False
        return self._channel.send(REQUEST.pack(timestamp, offload, 0, 0, port) + frame, timeout, CALLER)

    def control(self, port: int, kind: int, stage: int, argument: int, timestamp: int, timeout: float = 1.0) -> int:
        """Insert a control request among the packets; as `PacketChannel.control`."""
        request = REQUEST.pack(timestamp, bytes(10), kind, stage, port) + argument.to_bytes(8, "little", signed=True)
        sent = self._channel.send(request, timeout, CALLER)
        self._controls += sent
        self._refused_controls += not sent
        return (
            self._channel.sent if sent else 0
        )  # other producers may have sent more since: then `passed` is true later

    def passed(self, number: int) -> bool:
        """True if every replica's floor is behind the control request of this number."""
        return bool(passed(self._channel.record, number, False))

    @property
    def is_live(self) -> bool:
        """True if packets come now, with the times at which they come: time also passes without."""
        ports = self._ports.values()
        return any(port.is_live for port in ports) and all(port.is_live or port.at_end() for port in ports)

    @property
    def ticks(self) -> bool:
        """True if it is live, and no request waits."""
        return self.is_live and self._idle()

    def release_failed(self) -> list[int]:
        """Free the locks of processes that died before they had sent all records; the ports that they fed."""
        dead = [port for port, player in self._players.items() if not player.is_alive() and player.exitcode != 0]
        for port in dead:
            self._channel.free_lock(PLAYER + port)
        return dead

    def played(self, port: int) -> bool:
        """True if all records that a port was given have been sent, or there were none."""
        player = self._players.get(port)
        return player is None or (not player.is_alive() and player.exitcode == 0)

    def drained(self) -> bool:
        """True if all input is at its end and every replica has released all of it."""
        return all(port.at_end() for port in self._ports.values()) and self._idle()

    def _idle(self) -> bool:
        """True if every replica that takes part has released everything that was sent."""
        sent = self._channel.sent
        return all(head == sent for head in self._channel.heads().values())

    def counters(self) -> dict[str, int]:
        """Requests that the channel took, frames that found it full, and frames that were too long for it.

        Control requests that no replica has reached are not packets that were left unread.
        """
        sent = self._channel.sent
        if self._shards == 1:
            received = sent - self._controls_from(self._channel.foremost(), sent)
        else:
            reached = np.maximum(self.cursors["head"], self.cursors["until"])[: self._shards]
            unread = sum(self._controls_from(position, sent) for position in reached.tolist())
            received = sent + self._controls * (self._shards - 1) - unread
        return {
            "received": received,
            "ring-full": self._channel.refused - self._refused_controls,
            "too-long": self._too_long + int(self.ring["too_long"][0]),
        }

    def _controls_from(self, position: int, sent: int) -> int:
        """Control requests among those from `position` to `sent`."""
        if not self._controls:
            return 0
        return int(np.count_nonzero(self._kinds[np.arange(position, sent) & (len(self._kinds) - 1)]))

    # Replicas.

    def divide(self, shards: int) -> None:
        """Say that flows are sharded among this many replicas: every one handles all control requests."""
        self._shards = shards

    def lag(self, replica: int) -> int:
        """How many requests wait for a replica."""
        return self._channel.sent - self.position(replica)

    def is_member(self, replica: int) -> bool:
        """True if requests are kept for the replica, also if it has died and is not retired yet."""
        return self._channel.is_member(replica)

    def position(self, replica: int) -> int:
        """How many requests a replica has released."""
        return int(self.cursors["head"][replica])

    def controls_done(self, replica: int) -> int:
        """How many control requests `position` does not tell: none, as they are entries like the frames."""
        return 0

    def foremost(self) -> tuple[int, int]:
        """`position` and `controls_done` of the foremost replica: another can join there."""
        return self._channel.foremost(), 0

    def join(self, replica: int, position: int, controls_done: int) -> bool:
        """Let one more replica take part from `position` on; False if requests from there on are gone."""
        return bool(join(self._channel.record, self._channel.members, replica, position, 0))

    def resume(self, replica: int, position: int, controls_done: int) -> None:
        """Let the successor of a dead `replica` replay from `position` on, where its state was saved."""
        resume(self._channel.record, self._channel.members, replica, position, 0)

    def unfinished(self, replica: int) -> int:
        """How many requests a `replica` that does not run is primary of and has not released."""
        return self._channel.unfinished(replica)

    def retire(self, replica: int, ordered: bool) -> int:
        """Take out a `replica` that does not run; as `PacketChannel.retire`."""
        return self._channel.retire(replica, ordered)

    def close(self) -> None:
        """End the processes that send records."""
        for player in self._players.values():
            player.kill()
            player.join(GRACE)


def _bytes_of(channel: np.void, offset: int) -> np.ndarray:
    """The byte at `offset` of each entry, a view of the channel's memory."""
    entries, stride = int(channel["entries"]), int(channel["stride"])
    memory = (ctypes.c_uint8 * (entries * stride)).from_address(int(channel["ring"]))
    return np.ctypeslib.as_array(memory)[offset::stride]


if TYPE_CHECKING:
    _conforms: type[PacketChannel] = Feed
