"""Accounts of paths: what the packets of a path cost a domain, and the budget that this is taken from.

A replica has an account for each path's number, and writes those of paths that are accounted for. The supervisor reads
them, and sets the budget before the path has its first packet.

A budget is a share of the domain's time. The account is a leaky bucket, as in `scout.paths.limit`: `due` is the time at
which all that the path has used is paid for by its share. A path with `due` in the future is over its budget. The times
are those of `scout.io.stopwatch`: an account is the primary's own affair, on which nothing depends that replicas must
agree on.
"""

import numpy as np

from scout.ring.jit import Record, inline

__all__ = ["ACCOUNT", "DEFER", "DROP", "SAVED", "is_over", "spend"]

DROP, DEFER = 0, 1
"""The policies for the packets of a path that is over its budget: they are dropped, when they come or when they would
be queued; or they wait in the queue."""

SAVED = 20_000_000
"""Nanoseconds whose share a path may use at once, if it did not use it when it could. A domain whose packets all wait
for their paths' shares sleeps for up to 10 ms, and cannot serve a path meanwhile."""

ACCOUNT = np.dtype(
    [
        ("bytes", "i8"),  # of the packets that came and were not dropped at the queue
        ("busy", "i8"),  # nanoseconds that they took
        ("throttled", "i8"),  # packets dropped as the path was over its budget
        ("due", "i8"),  # when what was used is paid for; 0 if there is no budget
        ("price", "f8"),  # nanoseconds until one nanosecond is paid for; 0: there is no budget
        ("policy", "i8"),  # DROP or DEFER
        ("spare", "i8", 2),
    ]
)
"""A path's account, a cache line; `price` and `policy` are written by the supervisor, the rest by one replica."""


@inline
def is_over(account: Record, now: int) -> bool:
    """True if a path is over its budget."""
    return account.due > now


@inline
def spend(account: Record, nanoseconds: int, now: int) -> None:
    """Charge a path for time of the domain."""
    account.busy += nanoseconds
    if account.price > 0.0:
        account.due = max(account.due, now - SAVED) + int(nanoseconds * account.price)
