"""The spare sockets of listeners, one of which each new connection takes.

A listener has two lists of them: FRESH ones may be used; of RESTING ones the last connection came to nothing, and they
are fresh again after a time. Beside them it has sockets whose connections are half-open. There are never more of these
than fresh ones: a flood of SYNs takes half of the sockets, and the other half is left to peers that have acknowledged a
cookie, so whose addresses are true (RFC 4987 section 3.6).

Lists are linked both ways, so that everything here takes the same time however many sockets there are.
"""

from typing import Any

from scout.io.endpoints import message
from scout.paths.protocols.tcp.rows import COOKIE_LIFE, FRESH, LISTENS, RESTING, SPARE

__all__ = [
    "begin_listening",
    "end_opening",
    "first_spare",
    "is_crowded",
    "listens",
    "offer",
    "rest",
    "take_spare",
    "withdraw",
]


def begin_listening(rows: Any, listener: int, now: int) -> None:
    """Let the socket of a row take connections; it has no spare sockets yet."""
    taker = rows[listener]
    taker.role = LISTENS
    for index in range(len(taker.first)):
        taker.first[index] = 0
        taker.last[index] = 0
    taker.fresh = 0
    taker.opening = 0
    taker.since = -COOKIE_LIFE
    taker.starved = now


def listens(rows: Any, number: int) -> bool:
    """True if the socket of this number, plus 1, takes connections."""
    row = number - 1 & message.ROW
    return row < len(rows) and rows[row].number == number and rows[row].role == LISTENS


def offer(rows: Any, listener: int, row: int) -> None:
    """Let a socket be a fresh one of a listener, both given by their rows."""
    spare = rows[row]
    spare.role = SPARE
    spare.listener = rows[listener].number
    spare.since = 0
    append(rows, listener, row, FRESH)
    rows[listener].fresh += 1


def rest(rows: Any, listener: int, row: int, until: int) -> None:
    """Let a socket rest whose connection came to nothing; those that rest are in the order of their times."""
    spare = rows[row]
    spare.role = SPARE
    spare.since = until
    append(rows, listener, row, RESTING)


def first_spare(rows: Any, listener: int, now: int) -> int:
    """The row of the first fresh socket of a listener; -1 if it has none."""
    taker = rows[listener]
    while taker.first[RESTING] and rows[taker.first[RESTING] - 1].since <= now:
        rested = taker.first[RESTING] - 1
        remove(rows, listener, rested, RESTING)
        offer(rows, listener, rested)
    return taker.first[FRESH] - 1


def is_crowded(rows: Any, listener: int) -> bool:
    """True if as many connections of a listener are half-open as there may be."""
    return rows[listener].opening >= rows[listener].fresh


def take_spare(rows: Any, listener: int, now: int) -> int:
    """Take the first fresh socket of a listener, whose connection is half-open; its row, -1 if there is none."""
    taker, row = rows[listener], first_spare(rows, listener, now)
    if row < 0:
        return -1
    remove(rows, listener, row, FRESH)
    taker.fresh -= 1
    taker.opening += 1
    if taker.fresh == 0 and now - taker.since >= COOKIE_LIFE:
        taker.starved = now
    return row


def end_opening(rows: Any, row: int) -> bool:
    """A half-open connection is open, or has come to nothing; True if its listener still takes connections."""
    number = rows[row].listener
    if not listens(rows, number):
        return False
    rows[number - 1 & message.ROW].opening -= 1
    return True


def withdraw(rows: Any, row: int) -> None:
    """Take a spare socket away from its listener."""
    number = rows[row].listener
    if not listens(rows, number):
        return
    listener = number - 1 & message.ROW
    if rows[row].since:
        remove(rows, listener, row, RESTING)
    else:
        remove(rows, listener, row, FRESH)
        rows[listener].fresh -= 1


def append(rows: Any, listener: int, row: int, kind: int) -> None:
    """Put a socket at the end of a list of a listener."""
    spare, taker = rows[row], rows[listener]
    spare.next = 0
    spare.before = taker.last[kind]
    if spare.before:
        rows[spare.before - 1].next = row + 1
    else:
        taker.first[kind] = row + 1
    taker.last[kind] = row + 1


def remove(rows: Any, listener: int, row: int, kind: int) -> None:
    """Take a socket out of a list of a listener."""
    spare, taker = rows[row], rows[listener]
    if spare.before:
        rows[spare.before - 1].next = spare.next
    else:
        taker.first[kind] = spare.next
    if spare.next:
        rows[spare.next - 1].before = spare.before
    else:
        taker.last[kind] = spare.before
