"""The common part of ports whose packets replicas bring into a software channel (`scout.io.channels.collected`)."""

from typing import Any

from scout.io.ports.fed import BATCH, check_sizes

__all__ = ["BATCH", "ENTRIES", "CollectedPort"]

ENTRIES = 1024


class CollectedPort:
    """The part of a port that a `Feed` needs; its packets come live, and have no end.

    Parameters
    ----------
    name : str
        In messages.
    entries : int
        Requests that the channel holds, a power of two. A replica saves its state after every quarter of them.
    batch : int
        Requests that are dequeued together at most, a power of two; all have one primary.

    Raises
    ------
    PortError
        If a number is out of its range.
    """

    is_live = True

    def __init__(self, name: str, entries: int, batch: int) -> None:
        check_sizes(name, entries, batch)
        self.interface, self.entries, self.batch = name, entries, batch
        self.options: dict[str, Any] = {"entries": entries, "batch": batch}

    def records(self) -> None:
        """There are none: nothing is there from the start."""

    def at_end(self) -> bool:
        """False: more may always come."""
        return False
