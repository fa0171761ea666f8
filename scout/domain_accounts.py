"""The part of a domain's loop that accounts for what paths use.

Packets of one shape go through its code together. So what they take is measured for all of them, and divided among
their paths by packets. The time of sending a batch is divided by packets that leave. Packets whose paths are not
accounted for have codes of their own in `PATH.first`, and come to none of this.

A batch is looked through twice for it: as its packets are told apart by shape, which is done without accounts too, they
are admitted, and their bytes counted; and once it has been sent, their paths are charged for all that it took.
"""

from collections.abc import Sequence

import numpy as np

from scout.io.account import DROP, is_over, spend
from scout.io.batch import BATCH_SIZE
from scout.io.packet import DROPPED
from scout.paths.demux.find import ACCOUNTED
from scout.ring.jit import Record, inline
from scout.ring.local import local

__all__ = ["CHARGED", "NOTED", "admit", "charge", "note_span", "sending", "shape_lines", "spans_room"]

_FIRST, _LAST, _TIME, _WORDS = range(4)
"""The words of a span of a batch, packets of one shape that ran together: its first packet, the one behind its last,
and the nanoseconds that it took."""

spans_room = local(_WORDS * BATCH_SIZE)
"""Room for the spans of a batch; for compiled code."""


@inline
def admit(batch: np.ndarray, first: int, count: int, demux_paths: np.ndarray, accounts: np.ndarray, now: int) -> int:
    """Count the bytes of packets from `first` on that are of one shape, if their paths are within their budgets; the
    index behind them.

    If packet `first` is over its path's budget, this and those that follow it and are over theirs are dropped. The
    index behind them is returned with a minus.
    """
    path = batch[np.uintp(first)].path
    shape, over = demux_paths[np.uintp(path)].first, _is_refused(accounts[np.uintp(path)], now)
    index = first
    while index < count:
        path, begin, size = batch[np.uintp(index)].path, index, 0
        account = accounts[np.uintp(path)]
        if demux_paths[np.uintp(path)].first != shape or _is_refused(account, now) != over:
            break
        while index < count and batch[np.uintp(index)].path == path:
            packet = batch[np.uintp(index)]
            size += packet.end - packet.frame + packet.tail_bytes
            index += 1
        if over:
            _drop(batch, begin, index)
            account.throttled += index - begin
        else:
            account.bytes += size
    return -index if over else index


@inline
def _drop(batch: np.ndarray, first: int, last: int) -> None:
    for index in range(first, last):
        batch[np.uintp(index)].egress = DROPPED


@inline
def _is_refused(account: Record, now: int) -> bool:
    return account.policy == DROP and is_over(account, now)


@inline
def note_span(spans: np.ndarray, number: int, first: int, last: int, nanoseconds: int) -> int:
    """Note span `number` of a batch, and the time that it took; how many there are now."""
    words = np.uintp(_WORDS * number)
    spans[words + np.uintp(_FIRST)], spans[words + np.uintp(_LAST)] = first, last
    spans[words + np.uintp(_TIME)] = nanoseconds
    return number + 1


@inline
def charge(batch: np.ndarray, spans: np.ndarray, count: int, accounts: np.ndarray, sending: int, now: int) -> None:
    """Charge the paths of `count` spans: for the time that each took, and with `sending` for each packet that left."""
    for number in range(count):
        words = np.uintp(_WORDS * number)
        index, last = spans[words + np.uintp(_FIRST)], spans[words + np.uintp(_LAST)]
        time = spans[words + np.uintp(_TIME)]
        each = time // (last - index)
        due = time - each * (last - index)
        path = batch[np.uintp(index)].path
        while index < last:
            packet = batch[np.uintp(index)]
            if packet.path != path:
                spend(accounts[np.uintp(path)], due, now)
                path, due = packet.path, 0
            due += each + (sending if packet.egress >= 0 else 0)
            index += 1
        spend(accounts[np.uintp(path)], due, now)


def shape_lines(scan: Sequence[str], primary: bool) -> list[str]:
    """The lines that find the packets from `first` on that are of one shape; `scan` does it if no account is kept."""
    accounted = [
        f"is_accounted, began = shape >= {ACCOUNTED}, 0",
        "if is_accounted:",
        f"    shape -= {ACCOUNTED}",
        "    began = since if since else now(waiter)",
    ]
    if not primary:  # nothing is admitted
        return [*scan, *accounted]
    return [
        *accounted,
        "    last = admit(batch, first, count, demux_paths, accounts, began)",
        "    if last < 0:  # these are over their budgets",
        "        first = -last",
        "        continue",
        "else:",
        *(f"    {line}" for line in scan),
    ]


NOTED = [
    "since = now(waiter) if is_accounted else 0",
    "if is_accounted:",
    "    accounted = note_span(spans, accounted, first, last, since - began)",
]
"""The lines that note how long the packets of one shape took; `since` is the time at which what follows begins."""

CHARGED = ["if accounted:", "    charge(batch, spans, accounted, accounts, 0, since if since else now(waiter))"]
"""The lines that charge for what a replica does that is not the primary of a batch."""


def sending(leave: str, waits: bool) -> list[str]:
    """The lines that send a batch, and charge for that and for all that was done before; `waits`: for its turn."""
    return [
        f"began = {'now(waiter)' if waits else 'since if since else now(waiter)'} if accounted else 0",
        f"leaving = {leave}",
        "if accounted:",
        "    ended = now(waiter)",
        "    charge(batch, spans, accounted, accounts, (ended - began) // max(1, leaving), ended)",
    ]
