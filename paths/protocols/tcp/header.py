"""The TCP header as a record, and back (RFC 9293 section 3.1), with the options of RFCs 2018, 5482, 7323 and 9293.

Options are taken wherever they stand; an option with an impossible length ends the options (MUST-7).
"""

from typing import Any

import numpy as np

from scout.io.access import load8, load16, load32, require, store8, store16, store32
from scout.paths.protocols.tcp.state import RANGE
from scout.paths.wire.tcp import (
    ACKNOWLEDGEMENT,
    DATA_OFFSET,
    DESTINATION,
    FIN,
    FLAGS,
    HEADER,
    SEQUENCE,
    SOURCE,
    URGENT,
    WINDOW,
    tcp_header_length,
)
from scout.ring.jit import outline

__all__ = [
    "END",
    "NOP",
    "SACK",
    "SEGMENT",
    "TIMESTAMP",
    "drop_data",
    "option_bytes",
    "read_header",
    "read_timestamp",
    "write_header",
]

END, NOP, MSS, SCALE, SACK_PERMITTED, SACK, TIMESTAMP, USER_TIMEOUT = 0, 1, 2, 3, 4, 5, 8, 28
"""Kinds of options."""

MOST_SACKS = 4

SEGMENT = np.dtype(
    [
        ("sequence", "i8"),
        ("acknowledgement", "i8"),
        ("flags", "i8"),
        ("window", "i8"),
        ("urgent", "i8"),
        ("length", "i8"),  # bytes of data,
        ("run", "i8"),  # and with those of the segments behind it that were joined with it; of a segment without data:
        # how many that it stands for were before it
        ("congested", "i8"),  # 1: the IP header says CE; whoever reads the IP header sets it
        ("mss", "i8"),  # 0: no such option
        ("scale", "i8"),  # -1: no such option
        ("sack_permitted", "i8"),
        ("has_timestamp", "i8"),
        ("tsval", "i8"),
        ("tsecr", "i8"),
        ("user_timeout", "i8"),  # seconds; 0: no such option
        ("sack_count", "i8"),
        ("sacks", RANGE, (MOST_SACKS,)),  # numbers as on the wire
    ]
)
"""A received segment without its data."""


@outline
def read_header(frame: Any, end: Any, at: int, size: int, segment: Any) -> int:
    """Read a header.

    Parameters
    ----------
    frame, end
        The packet.
    at, size : int
        Offset of the TCP header; bytes from there to the end of the IP packet.
    segment
        A record of `SEGMENT`, which takes the result.

    Returns
    -------
    int
        Bytes of the header; 0 if it is malformed or not within reach.
    """
    if size < HEADER or not require(frame, end, at + HEADER):
        return 0
    header = tcp_header_length(frame, at)
    if header < HEADER or header > size or not require(frame, end, at + header):
        return 0
    segment.sequence = load32(frame, at + SEQUENCE)
    segment.acknowledgement = load32(frame, at + ACKNOWLEDGEMENT)
    segment.flags = load8(frame, at + FLAGS)
    segment.window = load16(frame, at + WINDOW)
    segment.urgent = load16(frame, at + URGENT)
    segment.length = size - header
    segment.run = segment.length
    segment.congested = 0
    segment.mss = 0
    segment.scale = -1
    segment.sack_permitted = 0
    segment.has_timestamp = 0
    segment.user_timeout = 0
    segment.sack_count = 0
    place, stop = at + HEADER, at + header
    while place < stop:
        kind = load8(frame, place)
        if kind == NOP:
            place += 1
            continue
        if kind == END or place + 2 > stop:
            break
        length = load8(frame, place + 1)
        if length < 2 or place + length > stop:
            break
        _read_option(frame, place, kind, length, segment)
        place += length
    return header


def _read_option(frame: Any, place: int, kind: int, length: int, segment: Any) -> None:
    """Read an option of at least two bytes; one that has another length than it should is ignored."""
    if kind == MSS and length == 4:
        segment.mss = load16(frame, place + 2)
    elif kind == SCALE and length == 3:
        segment.scale = load8(frame, place + 2)
    elif kind == SACK_PERMITTED and length == 2:
        segment.sack_permitted = 1
    elif kind == TIMESTAMP and length == 10:
        segment.has_timestamp = 1
        segment.tsval = load32(frame, place + 2)
        segment.tsecr = load32(frame, place + 6)
    elif kind == USER_TIMEOUT and length == 4:
        value = load16(frame, place + 2)
        segment.user_timeout = (value & 0x7FFF) * (60 if value >> 15 else 1)
    elif kind == SACK and length >= 10 and (length - 2) & 7 == 0:
        count = min((length - 2) >> 3, MOST_SACKS)
        for index in range(count):
            segment.sacks[index].first = load32(frame, place + 2 + 8 * index)
            segment.sacks[index].last = load32(frame, place + 6 + 8 * index)
        segment.sack_count = count


def drop_data(segment: Any) -> None:
    """Let a segment have no data, and so no FIN behind them."""
    segment.length = 0
    segment.run = 0
    segment.flags &= ~FIN


@outline
def read_timestamp(frame: Any, at: int, stop: int) -> int:
    """The timestamp in the header from offset `at` to `stop`, which is within reach; -1 if it has none."""
    place = at + HEADER
    while place + 2 <= stop:
        kind, length = load8(frame, place), load8(frame, place + 1)
        if kind == NOP:
            place += 1
            continue
        if kind == END or length < 2 or place + length > stop:
            break
        if kind == TIMESTAMP and length == 10:
            return load32(frame, place + 2)
        place += length
    return -1


def _told(seconds: int) -> int:
    """A user timeout as the option has it: seconds, or minutes with the top bit set (RFC 5482 section 3)."""
    return seconds if seconds < 0x8000 else 0x8000 | min(seconds // 60, 0x7FFF)


def option_bytes(action: Any) -> int:
    """Bytes of the options of a segment to send, padded to words."""
    size = 0
    if action.mss:
        size += 4
    if action.scale >= 0:
        size += 4
    if action.sack_permitted:
        size += 4
    if action.has_timestamp:
        size += 12
    if action.user_timeout:
        size += 4
    if action.sack_count:
        size += 4 + 8 * action.sack_count
    return size


@outline
def write_header(frame: Any, at: int, source: int, destination: int, action: Any) -> int:
    """Write the header of a segment to send, with a checksum of 0.

    Parameters
    ----------
    frame
        The packet, with room for the header.
    at : int
        Offset of the TCP header.
    source, destination : int
        L4 ports.
    action
        A record of `scout.paths.protocols.tcp.actions.ACTION`.

    Returns
    -------
    int
        Bytes of the header.
    """
    header = HEADER + option_bytes(action)
    store16(frame, at + SOURCE, source)
    store16(frame, at + DESTINATION, destination)
    store32(frame, at + SEQUENCE, action.sequence)
    store32(frame, at + ACKNOWLEDGEMENT, action.acknowledgement)
    store8(frame, at + DATA_OFFSET, header << 2)
    store8(frame, at + FLAGS, action.flags)
    store16(frame, at + WINDOW, action.window)
    store32(frame, at + WINDOW + 2, action.urgent)  # and the checksum before it
    place = at + HEADER
    if action.mss:
        store32(frame, place, MSS << 24 | 4 << 16 | action.mss)
        place += 4
    if action.sack_permitted:
        store32(frame, place, NOP << 24 | NOP << 16 | SACK_PERMITTED << 8 | 2)
        place += 4
    if action.has_timestamp:
        store32(frame, place, NOP << 24 | NOP << 16 | TIMESTAMP << 8 | 10)
        store32(frame, place + 4, action.tsval)
        store32(frame, place + 8, action.tsecr)
        place += 12
    if action.scale >= 0:
        store32(frame, place, NOP << 24 | SCALE << 16 | 3 << 8 | action.scale)
        place += 4
    if action.user_timeout:
        store32(frame, place, USER_TIMEOUT << 24 | 4 << 16 | _told(action.user_timeout))
        place += 4
    if action.sack_count:
        store32(frame, place, NOP << 24 | NOP << 16 | SACK << 8 | (2 + 8 * action.sack_count))
        place += 4
        for index in range(action.sack_count):
            store32(frame, place, action.sacks[index].first)
            store32(frame, place + 4, action.sacks[index].last)
            place += 8
    return header
