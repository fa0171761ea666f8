"""Tables: the state of stages."""

from typing import Any

import numpy as np

from scout.ring.errors import ScoutError

__all__ = ["KINDS", "Table"]

KINDS = ("replicated", "private", "shared", "constant", "number")


class Table:
    """State of a stage: a numpy array of which each domain has its own, or all share one.

    Parameters
    ----------
    initial : numpy.ndarray
        The state before the first packet.
    kind : {"replicated", "private", "shared", "constant", "number"}
        `replicated`: each domain's own, changed by replicated work alone and so the same everywhere.
        `private`: each domain's own, about the packets that it is primary of. `shared`: one for all domains, changed
        atomically. `constant`: one for all domains, never changed while they run. `number`: each domain's own, an
        int64 that is its replica's number plus 1.
    may_replicate : bool
        True if a shared table may become a replicated one. It does where a stage decides by it whether a packet
        reaches replicated work: all replicas have to decide alike then.
    counts : str
        Of a large replicated table: the int64 field of its rows that grows with every change of the row, and is never
        set back. Then a snapshot takes only the rows that have changed.

    Raises
    ------
    ScoutError
        If `initial` is no array, there is no such kind, or rows cannot count their changes so.
    """

    def __init__(
        self, initial: np.ndarray, kind: str = "replicated", may_replicate: bool = False, counts: str = ""
    ) -> None:
        if kind not in KINDS:
            raise ScoutError(f"table of kind {kind!r}: use replicated, private, shared or constant")
        if not isinstance(initial, np.ndarray):
            raise ScoutError(f"table of {initial!r}: give a numpy array")
        fields: Any = initial.dtype.fields or {}
        if counts and (kind != "replicated" or initial.itemsize % 8 or fields.get(counts, "")[:1] != (np.dtype("i8"),)):
            raise ScoutError(
                f"table of kind {kind!r} that counts changes in {counts!r}: give a replicated table whose rows are"
                " whole words and have this field of int64"
            )
        self.counts = counts
        self.initial, self.kind, self.may_replicate = np.ascontiguousarray(initial), kind, may_replicate
        self.name = ""
        """In generated code; given when the first path with this table is lowered."""

    @property
    def varies(self) -> bool:
        """True if it may differ from replica to replica, or from one moment to the next."""
        return self.kind in ("private", "shared", "number")

    def replicate(self) -> bool:
        """Make it a replicated table if it may become one; True if it did."""
        if self.kind != "shared" or not self.may_replicate:
            return False
        self.kind = "replicated"
        return True
