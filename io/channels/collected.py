"""Software channels into which replicas themselves bring what comes from outside.

A replica that finds something waiting outside takes the channel's lock and is the producer for a moment, so no process
is spent on that. The lock names its holder; the supervisor takes it from one that has died.
"""

from scout.io.channels.software import Feed

__all__ = ["COLLECTOR", "CollectedFeed"]

COLLECTOR = 1 << 16
"""The producer's number of replica 0 in the channel's lock; those of others follow."""


class CollectedFeed(Feed):
    """A `Feed` whose lock replicas may hold."""

    def settle(self, replica: int) -> None:
        """Put right what a dead replica has left that holds the lock, before it is freed."""

    def _release(self, replica: int) -> None:
        if self._channel.holds_lock(COLLECTOR + replica):
            self.settle(replica)
            self._channel.free_lock(COLLECTOR + replica)

    def resume(self, replica: int, position: int, controls_done: int) -> None:
        """Let the successor of a dead `replica` replay; as `PacketChannel.resume`."""
        self._release(replica)
        super().resume(replica, position, controls_done)

    def retire(self, replica: int, ordered: bool) -> int:
        """Take out a `replica` that does not run; as `PacketChannel.retire`."""
        self._release(replica)
        return super().retire(replica, ordered)
