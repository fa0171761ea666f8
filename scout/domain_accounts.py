"""The part of a domain's loop that accounts for what paths use.

Packets of one shape go through its code together. So what they take is measured for all of them, and divided among
their paths by packets. The time of sending a batch is divided by packets that leave. Packets whose paths are not
accounted for have codes of their own in `PATH.first`, and come to none of this.

A packet is admitted, and its size is noted, where it lies in the channel, as its path is found. Once its batch has been
sent, the batch is looked through, and paths are charged for all that it took.
"""

import numpy as np

from scout.io.account import is_over, spend
from scout.io.batch import BATCH_SIZE
from scout.io.stopwatch import stopwatch
from scout.paths.demux.find import ACCOUNTED, ADMITTED, MOMENT
from scout.ring.jit import Record, inline
from scout.ring.local import local

__all__ = [
    "BEGUN",
    "CHARGED",
    "NOTED",
    "admit",
    "charge",
    "exceeds",
    "note_span",
    "sending",
    "sizes_room",
    "spans_room",
]

_FIRST, _LAST, _TIME, _WORDS = range(4)
"""The words of a span of a batch, packets of one shape that ran together: its first packet, the one behind its last,
and the nanoseconds that it took."""

spans_room = local(_WORDS * BATCH_SIZE)
"""Room for the spans of a batch; for compiled code."""

sizes_room = local(BATCH_SIZE)
"""Room for the bytes of each packet of a batch that is accounted for by its primary."""


@inline
def exceeds(account: Record, memo: np.ndarray, waiter: np.ndarray) -> bool:
    """True, and counted, if the path of a packet is over its budget, so that the primary is to drop the packet."""
    if memo[MOMENT] == 0:
        memo[MOMENT] = stopwatch(waiter)
    if is_over(account, memo[MOMENT]):
        account.throttled += 1
        return True
    return False


@inline
def admit(size: int, memo: np.ndarray, sizes: np.ndarray) -> None:
    """Note the size of a packet that is accounted for.

    It is `charge` that writes it to the account, once for packets of a path that follow one another.
    """
    number = memo[ADMITTED]
    sizes[np.uintp(number)] = size
    memo[ADMITTED] = number + 1


@inline
def note_span(spans: np.ndarray, number: int, first: int, last: int, nanoseconds: int) -> int:
    """Note span `number` of a batch, and the time that it took; how many there are now."""
    words = np.uintp(_WORDS * number)
    spans[words + np.uintp(_FIRST)], spans[words + np.uintp(_LAST)] = first, last
    spans[words + np.uintp(_TIME)] = nanoseconds
    return number + 1


@inline
def charge(
    batch: np.ndarray,
    spans: np.ndarray,
    count: int,
    accounts: np.ndarray,
    sizes: np.ndarray,
    primary: bool,
    sending: int,
    now: int,
) -> None:
    """Charge the paths of `count` spans: for the time that each took, and with `sending` for each packet that left.

    Only the primary counts bytes: `sizes` are those of the packets, the first ones of the spans first.
    """
    admitted = 0
    for number in range(count):
        words = np.uintp(_WORDS * number)
        index, last = spans[words + np.uintp(_FIRST)], spans[words + np.uintp(_LAST)]
        time = spans[words + np.uintp(_TIME)]
        each = time // (last - index)
        due = time - each * (last - index)
        path, size = batch[np.uintp(index)].path, 0
        while index < last:
            packet = batch[np.uintp(index)]
            if packet.path != path:
                _spend(accounts[np.uintp(path)], size, due, now)
                path, size, due = packet.path, 0, 0
            due += each + (sending if packet.egress >= 0 else 0)
            size += sizes[np.uintp(admitted)] if primary else 0
            admitted += 1
            index += 1
        _spend(accounts[np.uintp(path)], size, due, now)


@inline
def _spend(account: Record, size: int, nanoseconds: int, now: int) -> None:
    account.bytes += size
    spend(account, nanoseconds, now)


BEGUN = [
    f"is_accounted, began = shape >= {ACCOUNTED}, 0",
    "if is_accounted:",
    f"    shape -= {ACCOUNTED}",
    "    began = since if since else stopwatch(waiter)",
]
"""The lines that begin to measure how long the packets of one shape take, if that is wanted."""

NOTED = [
    "since = stopwatch(waiter) if is_accounted else 0",
    "if is_accounted:",
    "    accounted = note_span(spans, accounted, first, last, since - began)",
]
"""The lines that note how long the packets of one shape took; `since` is the time at which what follows begins."""

CHARGED = [
    "if accounted:",
    "    charge(batch, spans, accounted, accounts, sizes, False, 0, since if since else stopwatch(waiter))",
]
"""The lines that charge for what a replica does that is not the primary of a batch."""


def sending(leave: str, waits: bool) -> list[str]:
    """The lines that send a batch, and charge for that and for all that was done before; `waits`: for its turn."""
    return [
        f"began = {'stopwatch(waiter)' if waits else 'since if since else stopwatch(waiter)'} if accounted else 0",
        f"leaving = {leave}",
        "if accounted:",
        "    ended = stopwatch(waiter)",
        "    charge(batch, spans, accounted, accounts, sizes, True, (ended - began) // max(1, leaving), ended)",
    ]
