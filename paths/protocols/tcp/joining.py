"""Segments that follow one another in a batch and become one request, a *run*, as receive offloads of a device do it.

`receive` numbers the segments of a replica (`scout.io.endpoints.message.SERIAL`) and so says which ones may be joined;
the port (`scout.io.endpoints.deliver`) joins those whose data were placed, since only there is it known. Then every
replica serves a run at once (`scout.paths.protocols.tcp.runs`).

Segments that follow one another have data, and differ in nothing that the core reads but their sequence numbers: the
same acknowledgement, window and timestamp, no flag but ACK and PSH (which receivers do not heed), no other option. Of a
run all segments but the last have the same number of bytes, so that the core can tell them apart again.

Of segments without data one follows if it acknowledges more, and may tell another window: it says all that the one
before says, which a network may lose as well. The request has the headers of the last one, and how many were before it.
One that acknowledges more than was sent is refused by the connection, so it follows none, whose place it would take.
A replica reads from its own copy of the state how much was sent: where the copy is behind, it joins fewer of them.
"""

from typing import Any

import numpy as np

from scout.io.access import load32, load64
from scout.paths.protocols.tcp.sequence import MODULUS
from scout.paths.wire import tcp
from scout.paths.wire.ip import first_fields, has_options, header_of
from scout.paths.wire.tcp import ACK, PSH

__all__ = ["RUN", "serial_number"]

RUN = np.dtype(
    [
        ("serial", "i8"),  # number of the last segment
        ("number", "i8"),  # of its socket; -1: nothing may follow it
        ("next", "i8"),  # the position behind its data; without data the sequence number
        ("size", "i8"),  # bytes of data of the first segment,
        ("room", "i8"),  # and how many more the next one may have
        # The fields that are the same in all headers.
        ("fields", "i8"),  # the data offset, flags and, with data, window
        ("acknowledgement", "i8"),
        ("stamps", "i8"),  # of the timestamp option; 0 without
        ("service", "i8"),  # `scout.paths.wire.ip.first_fields`: with the traffic class the ECN bits
    ]
)
"""The last segment of a replica, and the run that it is part of; private to the replica."""

_STAMPS = 0x0101080A
"""The first 4 bytes of options that are a timestamp alone, as everybody writes them: NOP, NOP, kind, length."""

_WITH_STAMPS = tcp.HEADER + 12

_HALF = 1 << 31  # of all sequence numbers: a number that is no further behind another one is not ahead of it


def serial_number(
    frame: Any, at: int, header: int, size: int, number: int, place: int, sent: int, run: Any, family: int
) -> int:
    """Number a segment.

    Parameters
    ----------
    frame
        The packet.
    at, header, size : int
        Offset of the IP header; bytes of the TCP header; bytes of data.
    number, place : int
        The socket's number; the position of the data, which may be placed, or without data the sequence number.
    sent : int
        The position behind what this end has sent (SND.NXT).
    run
        A record of `RUN`, which becomes that of this segment.
    family : int
    """
    tcp_at = at + header_of(frame, at, family)
    fields, acknowledgement = load32(frame, tcp_at + tcp.DATA_OFFSET), load32(frame, tcp_at + tcp.ACKNOWLEDGEMENT)
    fields &= ~(PSH << 16) if size else ~0xFFFF
    ahead = acknowledgement - run.acknowledgement & MODULUS
    service, stamps = first_fields(frame, at, family), 0
    is_plain = fields >> 16 & 0xFF == ACK and not has_options(service, family)
    if header == _WITH_STAMPS and load32(frame, tcp_at + tcp.HEADER) == _STAMPS:
        stamps = load64(frame, tcp_at + tcp.HEADER + 4)
    elif header != tcp.HEADER:
        is_plain = False
    follows = (
        is_plain
        and run.number == number
        and run.next == place
        and size <= run.room
        and run.fields == fields
        and (ahead == 0 if size else run.size == 0 and 0 < ahead < _HALF and sent - acknowledgement & MODULUS < _HALF)
        and run.stamps == stamps
        and run.service == service
    )
    run.next = place + size
    run.acknowledgement = acknowledgement
    if follows:
        run.serial += 1
        run.room = size if size == run.size else 0
        return run.serial
    run.serial += 2
    run.number = number if is_plain else -1
    run.size = size
    run.room = size
    run.fields = fields
    run.stamps = stamps
    run.service = service
    return run.serial
