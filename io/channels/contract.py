"""The contract of channels: what a domain's loop and the supervisor use of any channel that brings packets.

A channel is an ordered log of requests (packets, and control requests) that every replica reads with its own head.
`PacketChannel` is the side of the supervisor, `ChannelOperations` that of the compiled loops. The ports make their
channels (`scout.io.ports.contract.Port.channel`); the back ends are modules of this package.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np

__all__ = ["ChannelOperations", "PacketChannel"]


class ChannelOperations(NamedTuple):
    """The compiled operations of a channel, and the records that they take.

    All are numba dispatchers. `ring` and `cursor` stand for one record of each dtype below: the channel, shared by all
    replicas, and the calling replica's state in it. Positions count requests from 0. Each back end lists its functions
    by name, although the lists are alike: so a type checker finds a function that is missing.
    """

    ring: np.dtype
    """The record of the channel. Its field `interval` is the number of requests between two snapshots."""
    cursor: np.dtype
    """The record of a replica. The loop reads `open` (not 0 from `receive` to `release` of a batch) and `primary` (not
    0 if the replica is the primary of the batch)."""
    receive: Any
    """`receive(ring, cursor, replica, batch, copies, look, tables) -> int`: fill `batch` with the next packets for
    which the replica has one role, or with one control request; their number. With `copies` False a replica that is not
    the primary reads headers in the channel. Of a batch that is marked as plain it gets no packets.

    `look(tables, packet, frame, size, primary) -> bool` comes to each packet before anything of it is copied: the frame
    of `size` bytes lies in the channel, and of the packet's record `port` is known. A packet for which it is False is
    left out of the batch."""
    receive_sharded: Any
    """`receive_sharded(ring, cursor, replica, batch, shards, shard_of, look, tables) -> int`: the same for sharded
    flows. The replica is the primary of packets that `shard_of(frame, end, shards)` gives to it, and skips those of
    other replicas."""
    gathers: Any
    """`gathers(ring, cursor, waiter, channel) -> bool`: True if a replica that keeps up is to `receive` a little later,
    when more packets are there. `waiter` is its record of `scout.io.rest`, `channel` the channel's number."""
    mark_plain: Any
    """`mark_plain(ring, cursor)`: for the primary of a batch from `receive`: none of its packets leads to replicated
    work. Other replicas then get no packets of it, unless they have received them already."""
    passes_over: Any
    """`passes_over(ring, cursor) -> bool`: for another replica: True if the batch at hand is marked as plain."""
    await_turn: Any
    """`await_turn(ring, cursor, stop) -> bool`: wait until all earlier packets have left, or the word at address `stop`
    says STOP. False if the batch must not leave: a predecessor has sent it, or earlier packets have not left."""
    release: Any
    """`release(ring, cursor, replica, ordered)`: the requests of the batch are done. In channel order a batch that must
    not leave, as earlier packets have not left, stays open."""
    needs_help: Any
    """`needs_help(ring, cursor) -> bool`: True if replicas that sleep are to wake, at the batch at hand: more requests
    wait than this replica keeps up with, or one has stayed so far behind that the channel could fill up."""
    snapshot_due: Any
    """`snapshot_due(ring, cursor) -> bool`: True at a position where every replica saves its state, until it has. Such
    positions come often enough that neither packets nor control requests fill the channel before the next one."""
    advance_floor: Any
    """`advance_floor(ring, cursor, replica)`: the replica will not read requests before its position again."""
    position: Any
    """`position(ring, cursor) -> int`: how many requests the replica has released."""
    controls_done: Any
    """`controls_done(ring, cursor) -> int`: how many of them were control requests; 0 where all requests share one
    sequence, so that the position alone says it."""
    batch_number: Any
    """`batch_number(ring, cursor) -> int`: a number that no other batch of the channel has."""
    waiting: Any
    """`waiting(ring, cursor) -> int`: how many packets wait for the replica."""
    waiting_since: Any
    """`waiting_since(ring, cursor) -> int`: the timestamp of the first of them, nanoseconds since 1970."""


class PacketChannel(Protocol):
    """A channel that brings the packets of one or several ports to the replicas."""

    operations: ChannelOperations
    """The same for all channels of a class."""
    ring: np.ndarray
    """One `operations.ring` record, in memory that all replicas share."""
    cursors: np.ndarray
    """An `operations.cursor` record for each possible replica, shared; each is written by its replica. Its fields
    `claimed`, `seen` and `replayed` count the packets that the replica was primary of, has looked at, and replayed."""

    # Input.

    @property
    def descriptor(self) -> int | None:
        """A file descriptor that becomes readable when packets arrive; None if whoever inserts them rings the bell."""

    def attach(self, bell: int) -> None:
        """Have the bell at this address (`scout.ring.bell`) rung after insertions that no descriptor announces."""

    def feed(self) -> None:
        """Start to bring packets. Called once, when all replicas run."""

    def divide(self, shards: int) -> None:
        """Say that flows are sharded among this many replicas, so that every replica handles all control requests."""

    def control(self, port: int, kind: int, stage: int, argument: int, timestamp: int, timeout: float) -> int:
        """Insert a control request for a stage of the path from a port; every replica sees it at one position.

        Parameters
        ----------
        port : int
            Index of the port at which the path begins.
        kind : int
            `CONTROL_TICK`, `CONTROL_BIND` or `CONTROL_CHANGE` of `scout.io.packet`.
        stage : int
            Index of the stage in the path; 0 for CONTROL_CHANGE, which is for the domain itself.
        argument : int
        timestamp : int
            Nanoseconds since 1970.
        timeout : float
            Seconds to wait for room.

        Returns
        -------
        int
            The request's number for `passed`, greater than those of earlier ones; 0 if there was no room.
        """

    def passed(self, number: int) -> bool:
        """True if no replica will receive the control request of this number again, not even in a replay."""

    @property
    def is_live(self) -> bool:
        """True if packets come now, with the times at which they come, so that time also passes without them."""

    @property
    def ticks(self) -> bool:
        """True if it is live and a control request would not wait behind other requests."""

    def release_failed(self) -> list[int]:
        """Free what processes held that brought packets and died, for which others wait; the indices of their ports."""

    def drained(self) -> bool:
        """True if no more packets will come and every replica has released all of them."""

    # Members.

    def is_member(self, replica: int) -> bool:
        """True if requests are kept for the replica: it runs, or has died and is not retired yet."""

    def foremost(self) -> tuple[int, int]:
        """`position` and `controls_done` of the replica that is furthest."""

    def join(self, replica: int, position: int, controls_done: int) -> bool:
        """Let a replica take part from a position on; False if requests from there on are gone already."""

    def resume(self, replica: int, position: int, controls_done: int) -> None:
        """Let the successor of a dead replica replay from a position on, the one of its newest snapshot."""

    def unfinished(self, replica: int) -> int:
        """How many packets a replica that does not run is primary of and has not released."""

    def retire(self, replica: int, ordered: bool) -> int:
        """Take out a replica that does not run and has no successor; the number of packets it was primary of.

        To be called again until `is_member` is False: with `ordered` the replica keeps its turn until all earlier
        packets have left.
        """

    # Figures.

    def position(self, replica: int) -> int:
        """How many requests a replica has released."""

    def controls_done(self, replica: int) -> int:
        """How many of them were control requests; 0 where all requests share one sequence."""

    def lag(self, replica: int) -> int:
        """How many requests wait for a replica."""

    def counters(self) -> dict[str, int]:
        """`received` (requests that the channel took), and the packets lost before it, by drop reason."""

    def close(self) -> None:
        """Stop bringing packets and free what the channel holds. The counters stay."""
