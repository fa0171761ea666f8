"""The records of secured streams as state: which were found, are being sealed or opened, and are done.

Every replica has the same, by the requests of `scout.io.endpoints.records`. Positions are those of the stream, counted
from 0.
"""

from typing import Any

import numpy as np

from scout.io.endpoints.ciphers import LENGTH
from scout.paths.protocols.tcp.state import FOREVER

__all__ = [
    "DIRECTION",
    "LAST_NUMBER",
    "PATIENCE",
    "PIECES",
    "SECURED",
    "begin_direction",
    "claim",
    "due",
    "finish",
    "is_idle",
    "look",
]

PIECES = 16
"""Pieces of one direction that are worked on at a time."""

LAST_NUMBER = 1 << 62
"""A direction fails before a record has this number: numbers do not wrap."""

PATIENCE = 100_000_000
"""Nanoseconds without news from which on work is asked for again: its message or what was told of it may be lost, where
a replica had no room for it. If the replica is only slow, the work is done twice, which is no harm."""

PIECE = np.dtype(
    [
        ("serial", "i8"),  # of the message that it was found by
        ("first", "i8"),  # its position,
        ("number", "i8"),  # and the number of its first record
        ("last", "i8"),  # position behind it
        ("reached", "i8"),  # position behind its last good record; -1 until it is done
    ]
)
"""A piece of a stream that a replica works on."""

DIRECTION = np.dtype(
    [
        ("limit", "i8"),  # position up to which the stream is there
        ("next", "i8"),  # position of the first record that was not found yet,
        ("number", "i8"),  # and its number
        ("need", "i8"),  # limit from which on it may be found
        ("serial", "i8"),  # of the last message by which a replica was to find records
        ("looking", "i8"),  # 1: it has not answered
        ("news", "i8"),  # when work was asked for, or told of, last
        ("done", "i8"),  # position up to which all is sealed, or opened
        ("failed", "i8"),  # 1: the record there is none, or cannot be opened
        ("count", "i8"),  # pieces that are worked on, or are done behind one that is,
        ("first", "i8"),  # and the index of the first
        ("pieces", PIECE, (PIECES,)),
    ]
)
"""One direction of a stream."""

SECURED = np.dtype(
    [
        ("changes", "i8"),  # requests that the row has served; it is never set back
        ("cipher", "i8"),
        ("closing", "i8"),  # 1 + the request (`scout.paths.protocols.tcp.requests`) for when all is sealed; 0: none
        ("directions", DIRECTION, (2,)),  # `scout.io.endpoints.ciphers.SENDING` and `RECEIVING`
        ("secrets", "i8", (2, 6)),  # of each the IV (2 words) and the key (4)
    ]
)
"""A secured stream."""


def begin_direction(d: Any, position: int) -> None:
    """Let the first record begin at a position."""
    d.limit = position
    d.next = position
    d.number = 0
    d.need = position + LENGTH
    d.serial = 0
    d.looking = 0
    d.news = 0
    d.done = position
    d.failed = 0
    d.count = 0
    d.first = 0


def look(d: Any, now: int) -> bool:
    """True if a replica is to look for records from now on."""
    if d.looking or d.failed or d.count >= PIECES or d.limit < d.need:
        return False
    d.serial += 1
    d.looking = 1
    d.news = now
    return True


def due(d: Any) -> int:
    """When work is to be asked for again; `FOREVER` if there is none."""
    return d.news + PATIENCE if d.failed == 0 and (d.looking or d.count) else FOREVER


def is_idle(d: Any) -> bool:
    """True if all records that are there whole are done, or no more will be."""
    return d.failed != 0 or (d.looking == 0 and d.count == 0 and d.limit < d.need)


def claim(d: Any, serial: int, last: int, count: int, need: int, failed: bool, now: int) -> None:
    """A replica has found `count` records up to `last`, or that there is none (`failed`)."""
    if d.looking == 0 or serial != d.serial:
        return  # it was told before
    d.looking = 0
    d.news = now
    failed = failed or d.number + count >= LAST_NUMBER
    if count or failed:
        piece = d.pieces[(d.first + d.count) % PIECES]
        piece.serial = serial
        piece.first = d.next
        piece.number = d.number
        piece.last = d.next + LENGTH if failed else last
        piece.reached = d.next if failed else -1
        d.count += 1
    if failed:
        d.need = LAST_NUMBER
        _settle(d)
        return
    d.next = last
    d.number += count
    d.need = need


def finish(d: Any, serial: int, reached: int, failed: bool, now: int) -> None:
    """A replica has done the piece that it found by a message, or all before a position if it `failed` there."""
    for index in range(d.count):
        piece = d.pieces[(d.first + index) % PIECES]
        # One that was found again may be longer: that it is done says no less. One that was shorter says nothing.
        if piece.serial == serial and piece.reached < 0 and (failed or reached >= piece.last):
            piece.reached = min(reached, piece.last)
            d.news = now
    _settle(d)


def _settle(d: Any) -> None:
    """Take out the pieces in front that are done."""
    while d.count and d.failed == 0 and d.pieces[d.first].reached >= 0:
        piece = d.pieces[d.first]
        d.done = max(d.done, piece.reached)
        d.failed = 1 if piece.reached < piece.last else 0
        d.first = (d.first + 1) % PIECES
        d.count -= 1
