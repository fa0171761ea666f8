"""The outbox: what a primary has still to do for the requests that it served, in its own memory.

Every replica computes the actions of the core; the primary copies them here, with all that is needed to carry them out,
and `transmit` makes a packet of each.
"""

from typing import Any

import numpy as np

from scout.io.endpoints import stream
from scout.paths.protocols.tcp import actions
from scout.paths.protocols.tcp.header import MOST_SACKS
from scout.paths.protocols.tcp.sequence import MODULUS
from scout.paths.protocols.tcp.state import CLOSED, ESTABLISHED, FINISHED, NONE, RANGE
from scout.paths.wire.address import ADDRESS, copy_address
from scout.paths.wire.tcp import ACK, FIN, PSH

__all__ = ["ACCEPTED", "ENTRIES", "ENTRY", "OPENED", "RECORDS", "REPORT", "SEGMENT", "next_entry", "post"]

SEGMENT, REPORT, ACCEPTED, RECORDS, OPENED = range(5)
"""Kinds of entries: a segment to be sent; the words of a stream; a connection for a listener; records to be found, and
then sealed or opened; how far they were opened."""

ENTRIES = 8192
"""Entries of the box; it is empty behind every batch of requests."""

RESERVED = 1024
"""Entries that segments leave free: a segment that is not sent is like one that the network loses, a message to a
socket that is not sent is lost for good."""

ENTRY = np.dtype(
    [
        ("kind", "i8"),
        ("number", "i8"),  # of the socket that a message goes to, or one of whose rings has the data
        ("local", ADDRESS),
        ("remote", ADDRESS),
        ("ports", "i8"),  # the local one << 16 | the remote one
        ("traffic", "i8"),
        # SEGMENT: the fields of `scout.paths.protocols.tcp.actions.ACTION`, by which `write_header` writes the header.
        ("flags", "i8"),
        ("sequence", "i8"),
        ("acknowledgement", "i8"),
        ("window", "i8"),
        ("urgent", "i8"),
        ("length", "i8"),
        ("offset", "i8"),
        ("received", "i8"),  # 1: the data are in the receive ring of the socket, and not in its send ring
        ("segment", "i8"),
        ("capable", "i8"),
        ("mss", "i8"),
        ("scale", "i8"),
        ("sack_permitted", "i8"),
        ("has_timestamp", "i8"),
        ("tsval", "i8"),
        ("tsecr", "i8"),
        ("user_timeout", "i8"),
        ("sack_count", "i8"),
        ("sacks", RANGE, (MOST_SACKS,)),
        # REPORT: `scout.io.endpoints.stream.REPORTED`. ACCEPTED: the number of the connection's socket in the first.
        # RECORDS: direction, serial, first, limit, number and cipher of `scout.io.endpoints.records`. OPENED: how far.
        ("words", "i8", (6,)),
        ("secret", "i8", (6,)),  # RECORDS: the IV and the key
    ]
)


def next_entry(outbox: Any, waiting: Any, sent: Any, reserved: int) -> int:
    """The index of a new entry, -1 if no more than `reserved` are free.

    `waiting` says how many entries wait, and `sent` the index of the first of them, if some do.
    """
    if waiting[0] == 0:
        sent[0] = 0
    index = sent[0] + waiting[0]
    if index + reserved >= len(outbox):
        return -1
    waiting[0] += 1
    return index


def post(outbox: Any, waiting: Any, sent: Any, host: Any) -> None:
    """Put what is to be done for a request (`scout.paths.protocols.tcp.rows.HOST`) into the box."""
    for index in range(host.out.count):
        action = host.out.actions[index]
        if action.kind == actions.EMIT:
            _post_segment(outbox, waiting, sent, action, host)
        elif action.kind == actions.REPORT:
            _post_report(outbox, waiting, sent, action, host)
    if host.listener:
        _post_accepted(outbox, waiting, sent, host)
    if host.closed:
        _post_closed(outbox, waiting, sent, host.number, NONE, host.error)
    if host.ended:
        _post_closed(outbox, waiting, sent, host.ended - 1, FINISHED, 0)
    if host.joined:
        _post_phase(outbox, waiting, sent, host.number, stream.SPLICED << 8, 0)
        _post_phase(outbox, waiting, sent, host.joined - 1, stream.SPLICED << 8, 0)


def _last(outbox: Any, waiting: Any, sent: Any, kind: int, number: int) -> int:
    """The index of the last entry of a kind for a socket, if nothing but one other entry for it waits behind; else -1.

    A batch of segments of one connection makes acknowledgements and reports in turn: of both the last one remains.
    """
    end = sent[0] + waiting[0]
    for index in range(end - 1, max(end - 3, sent[0] - 1), -1):
        if outbox[index].number != number:
            return -1
        if outbox[index].kind == kind:
            return index
        if outbox[index].kind == OPENED:
            return -1  # the end of a connection is told behind it
    return -1


def _post_segment(outbox: Any, waiting: Any, sent: Any, action: Any, host: Any) -> None:
    """Put a segment into the box; two of them if its data are in two rings."""
    place = _new_segment(outbox, waiting, sent, action, host)
    end = action.offset + action.length
    if place < 0 or host.source == 0 or action.length == 0 or end <= host.source_begin:
        return
    here = max(host.source_begin - action.offset, 0)
    if here:
        outbox[place].length = here
        outbox[place].flags &= ~(FIN | PSH)
        place = _new_segment(outbox, waiting, sent, action, host)
        if place < 0:
            return
    entry = outbox[place]
    entry.number = host.source - 1
    entry.received = 1
    entry.sequence = action.sequence + here & MODULUS
    entry.offset = action.offset + here + host.source_shift
    entry.length = action.length - here


def _new_segment(outbox: Any, waiting: Any, sent: Any, action: Any, host: Any) -> int:
    place = _last(outbox, waiting, sent, SEGMENT, host.number)
    if place < 0 or not _replaces(action, outbox[place], host):
        place = next_entry(outbox, waiting, sent, RESERVED)
    if place < 0:
        return -1
    entry = outbox[place]
    entry.kind = SEGMENT
    entry.received = 0
    entry.number = host.number
    copy_address(entry.local, host.local)
    copy_address(entry.remote, host.remote)
    entry.ports = host.ports
    entry.traffic = host.traffic
    entry.flags = action.flags
    entry.sequence = action.sequence
    entry.acknowledgement = action.acknowledgement
    entry.window = action.window
    entry.urgent = action.urgent
    entry.length = action.length
    entry.offset = action.offset
    entry.segment = action.segment
    entry.capable = action.capable
    entry.mss = action.mss
    entry.scale = action.scale
    entry.sack_permitted = action.sack_permitted
    entry.has_timestamp = action.has_timestamp
    entry.tsval = action.tsval
    entry.tsecr = action.tsecr
    entry.user_timeout = action.user_timeout
    entry.sack_count = action.sack_count
    for index in range(action.sack_count):
        entry.sacks[index].first = action.sacks[index].first
        entry.sacks[index].last = action.sacks[index].last
    return place


def _replaces(action: Any, entry: Any, host: Any) -> bool:
    """True if an acknowledgement makes the one before it, which waits, superfluous (MUST-58, MUST-59).

    It has to acknowledge more: the number of equal ones tells a peer without SACK of a loss (RFC 5681 section 3.2).
    """
    if entry.ports != host.ports or action.flags != ACK or entry.flags != ACK or action.length or entry.length:
        return False
    return action.acknowledgement != entry.acknowledgement and entry.sack_count + entry.user_timeout == 0


def _post_report(outbox: Any, waiting: Any, sent: Any, action: Any, host: Any) -> None:
    place = _report_for(outbox, waiting, sent, host.number)
    if place < 0:
        return
    words = outbox[place].words
    if not host.secured:  # a reader of records waits until they are opened
        words[0] = max(words[0], action.received)
    words[1] = max(words[1], action.acknowledged)
    words[2] = max(words[2], phase_of(action.state, action.reason))
    words[3] = max(words[3], action.received + 1 if action.ended else 0)
    words[4] = max(words[4], action.error)
    words[5] = max(words[5], action.urgent_until)


def _report_for(outbox: Any, waiting: Any, sent: Any, number: int) -> int:
    """The index of a report to a socket: one that waits, whose words grow, or a new one; -1 if there is no room."""
    place = _last(outbox, waiting, sent, REPORT, number)
    if place >= 0:
        return place
    place = next_entry(outbox, waiting, sent, 0)
    if place >= 0:
        entry = outbox[place]
        entry.kind = REPORT
        entry.number = number
        for index in range(len(entry.words)):
            entry.words[index] = 0
    return place


def phase_of(state: int, reason: int) -> int:
    """The word PHASE of a connection's state."""
    if state == CLOSED:
        return stream.CLOSED << 8 | reason
    return stream.ESTABLISHED << 8 if state >= ESTABLISHED else stream.OPENING << 8


def _post_closed(outbox: Any, waiting: Any, sent: Any, number: int, reason: int, error: int) -> None:
    """Tell a socket that it has no connection, and why: the reason of its end, or an error."""
    _post_phase(outbox, waiting, sent, number, phase_of(CLOSED, reason), error)


def _post_phase(outbox: Any, waiting: Any, sent: Any, number: int, phase: int, error: int) -> None:
    """Tell a socket the word PHASE, and an error."""
    place = _report_for(outbox, waiting, sent, number)
    if place < 0:
        return
    words = outbox[place].words
    words[2] = max(words[2], phase)
    words[4] = max(words[4], error + 1 if error else 0)


def _post_accepted(outbox: Any, waiting: Any, sent: Any, host: Any) -> None:
    """Tell a listener of a connection."""
    place = next_entry(outbox, waiting, sent, 0)
    if place < 0:
        return
    entry = outbox[place]
    entry.kind = ACCEPTED
    entry.number = host.listener - 1
    copy_address(entry.local, host.local)
    copy_address(entry.remote, host.remote)
    entry.ports = host.ports
    entry.words[0] = host.number
