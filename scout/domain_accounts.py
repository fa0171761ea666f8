"""The part of a domain's loop that accounts for what paths use.

Packets of one shape go through its code together. So what they take is measured for all of them, and divided among
their paths by packets. The time of sending a batch is divided by packets that leave. Packets whose paths are not
accounted for have codes of their own in `PATH.first`, and come to none of this.
"""

import numpy as np

from scout.io.account import DROP, is_over, spend
from scout.io.packet import DROPPED
from scout.paths.demux.find import ACCOUNTED
from scout.ring.jit import Record, inline

__all__ = ["account_lines", "admit", "charge", "charge_sent", "sending"]


@inline
def admit(batch: np.ndarray, first: int, last: int, accounts: np.ndarray, now: int) -> int:
    """Count the bytes of packets from `first` on whose paths are within their budgets; the index behind them.

    If packet `first` is over its path's budget, this and those that follow it and are over theirs are dropped. The
    index behind them is returned with a minus.
    """
    over = _is_refused(accounts[np.uintp(batch[np.uintp(first)].path)], now)
    index = first
    while index < last:
        packet = batch[np.uintp(index)]
        account = accounts[np.uintp(packet.path)]
        if _is_refused(account, now) != over:
            break
        if over:
            packet.egress = DROPPED
            account.throttled += 1
        else:
            account.bytes += packet.end - packet.frame + packet.tail_bytes
        index += 1
    return -index if over else index


@inline
def _is_refused(account: Record, now: int) -> bool:
    return account.policy == DROP and is_over(account, now)


@inline
def charge(batch: np.ndarray, first: int, last: int, accounts: np.ndarray, nanoseconds: int, now: int) -> None:
    """Charge the paths of packets `first` to `last` for what these took together."""
    each = nanoseconds // (last - first)
    rest = nanoseconds - each * (last - first)
    index = first
    while index < last:
        path, begin = batch[np.uintp(index)].path, index
        while index < last and batch[np.uintp(index)].path == path:
            index += 1
        spend(accounts[np.uintp(path)], each * (index - begin) + rest, now)
        rest = 0


@inline
def charge_sent(
    batch: np.ndarray, count: int, accounts: np.ndarray, demux_paths: np.ndarray, nanoseconds: int, now: int
) -> None:
    """Charge the paths that are accounted for with their parts of the time in which a batch was sent."""
    leaving = 0
    for index in range(count):
        leaving += batch[np.uintp(index)].egress >= 0
    each = nanoseconds // max(1, leaving)
    index = 0
    while index < count:
        path, packets = batch[np.uintp(index)].path, 0
        while index < count and batch[np.uintp(index)].path == path:
            packets += batch[np.uintp(index)].egress >= 0
            index += 1
        if packets and demux_paths[path].first >= ACCOUNTED:
            spend(accounts[np.uintp(path)], each * packets, now)


def account_lines(calls: dict[str, str], primary: bool) -> list[str]:
    """The lines that run the code `shape` of packets `first` to `last`, and charge their paths for it."""
    admitted = [
        "    last = admit(batch, first, stop, accounts, began)",
        "    if last < 0:  # these are over their budgets",
        "        first = -last",
        "        continue",
    ]
    lines = [
        f"shape -= {ACCOUNTED}",
        "stop = last",
        "accounted += last - first",
        "while first < stop:",
        "    began = now(waiter)",
        *(admitted if primary else []),
    ]
    for index, (test, call) in enumerate(calls.items()):
        lines += [f"    {'elif' if index else 'if'} {test}:", f"        {call}"]
    return [
        *lines,
        "    ended = now(waiter)",
        "    charge(batch, first, last, accounts, ended - began, ended)",
        "    first = last",
        "last = stop",
    ]


def sending(leave: str) -> list[str]:
    """The lines that send a batch, and charge for that."""
    return [
        "began = now(waiter) if accounted else 0",
        leave,
        "if accounted:",
        "    ended = now(waiter)",
        "    charge_sent(batch, count, accounts, demux_paths, ended - began, ended)",
    ]
