"""A run: segments that came together and were joined (`scout.paths.protocols.tcp.joining`), served as one request.

Where nothing is unusual all of them come to the same as the first one with more bytes (header prediction). Else they
are taken one by one, and each that has to be acknowledged at once is: a peer counts duplicate acknowledgements.
"""

from typing import Any

from scout.paths.protocols.tcp.actions import ROOM
from scout.paths.protocols.tcp.arrival import arrive
from scout.paths.protocols.tcp.output import emit_acknowledgement
from scout.paths.protocols.tcp.receiver import owe
from scout.paths.protocols.tcp.sequence import MODULUS, position
from scout.paths.protocols.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_2, OPEN
from scout.ring.jit import outline

__all__ = ["arrive_together"]


@outline
def arrive_together(c: Any, segment: Any, out: Any, now: int) -> None:
    """Take a run, as `scout.paths.protocols.tcp.arrival.arrive` takes a segment.

    `segment` is the first one, and has `segment.run` bytes of data with those behind it. All have the same header but
    for the sequence number, with no flags but ACK and PSH, and but for the last the same number of bytes.
    """
    size, left = segment.length, segment.run - segment.length
    arrive(c, segment, out, now)
    segment.sequence = segment.sequence + size & MODULUS
    if _go_on(c, segment, size, left):
        c.snd_wl1 = c.rcv_nxt + (left - 1) // size * size
        c.rcv_nxt += left
        owe(c, left, now)
        return
    while left > 0:
        if c.ack_due and out.count < ROOM and c.state != CLOSED:
            emit_acknowledgement(c, out, now)
        segment.length = min(size, left)
        left -= segment.length
        arrive(c, segment, out, now)
        segment.sequence = segment.sequence + size & MODULUS


def _go_on(c: Any, segment: Any, size: int, left: int) -> bool:
    """True if the first segment was taken as expected and the others bring so many bytes more, and nothing else.

    They come in order, into the window, and with an acknowledgement and a window that the first one has told already.
    In recovery every acknowledgement can let something be sent.
    """
    return (
        ESTABLISHED <= c.state <= FIN_WAIT_2
        and c.recovery == OPEN
        and c.gap_count == 0
        and c.again.last == c.again.first
        and c.rcv_fin < 0
        and c.rcv_nxt == position(segment.sequence, c.rcv_nxt)
        and c.rcv_nxt + left <= c.rcv_edge
        and c.snd_wl1 == c.rcv_nxt - size
        and c.snd_wl2 == c.snd_una
        and c.snd_una == position(segment.acknowledgement, c.snd_una)
    )
