"""Segments of spliced connections that become requests, because all replicas have to know of them.

That are segments without data: with a FIN or a RST, the first one behind a FIN that came with data, and one of them
every second, as a sign of life. Their primary sends them on, as the primary of any other segment would have done
(`scout.paths.protocols.tcp.splice`). So it does with segments that a replica received before it knew of the splice.

A pair ends some time after both peers have sent a FIN, or one of them a RST; or when neither peer answers any more. The
numbers of the two connections are not followed, so a FIN or a RST may be forged. So the peers are asked before the pair
ends, and one that answers with an acknowledgement keeps it. One that has no connection answers with a RST, which has
the number that the question acknowledges: somebody else would have to guess it (RFC 5961 section 3).
"""

from typing import Any

from scout.io.access import load16, load32, load64
from scout.io.endpoints import message
from scout.paths.model.verdict import drop
from scout.paths.protocols.tcp.actions import EMIT, next_action, plain_segment
from scout.paths.protocols.tcp.outbox import post
from scout.paths.protocols.tcp.rows import begin_with, partner_of
from scout.paths.protocols.tcp.sequence import MODULUS, position
from scout.paths.protocols.tcp.settings import KEEP_IDLE, KEEP_INTERVAL, KEEP_PROBES, MSL
from scout.paths.protocols.tcp.splicing import LARGEST_WINDOW, acknowledge, end_pair, watch_pair
from scout.paths.wire.tcp import ACK, CWR, ECE, FIN, RST, SYN
from scout.ring.jit import outline

__all__ = ["FINS", "NOWHERE", "expire_pair", "is_over", "pass_on"]

NO_CONNECTION = drop("tcp-no-connection")

NOWHERE = -1
"""The position of data that are placed nowhere. Of a spliced pair less one of `FINS`: a FIN has come with data."""

FINS = 3
"""Bits: 1 if the peer that a segment is from has sent its FIN with data, 2 if the other one has."""

RESET_LIFE = 10_000_000_000
"""Nanoseconds that a pair lives behind a RST before its peers are asked. If it was forged other segments may follow."""

LAST_PROBES, LAST_INTERVAL = 3, 1_000_000_000
"""How often the peers are asked at the end, and the nanoseconds between two questions."""

CONFIRMED = 1 << 30
"""In place of the number of questions: a peer has answered that it has no connection."""

SILENCE = 3_000_000_000
"""Nanoseconds without a request that a pair which is over has to be silent until a SYN ends it: as long as segments
pass, one of them becomes a request every second, and the FINs and RSTs were forged."""

PASSED, LOST = 0, 1
"""Verdicts: as those of other segments."""


@outline
def pass_on(
    frame: Any, at: int, row: int, now: int, host: Any, rows: Any, bindings: Any, connections: Any, deadlines: Any
) -> int:
    """Take a segment of a spliced connection, whose position is at `at`: note what it tells, and send it on."""
    other, segment, c = partner_of(rows, row), host.segment, connections[row]
    s, t, clock = rows[row].splice, rows[other].splice, now - host.shift
    if segment.flags & SYN:
        if not is_over(s, t) or clock - max(s.seen, t.seen) < SILENCE:
            return NO_CONNECTION
        end_pair(row, other, host, rows, bindings, deadlines)  # the peer repeats it, for the listener
        return PASSED
    place, data = load64(frame, at), segment.run
    if data and (
        load16(frame, message.NOTE) & message.PLACED == 0
        or load32(frame, message.SOCKET) != rows[row].number - 1
        or place != position(segment.sequence, c.rcv_nxt) - c.irs - 1
    ):
        return LOST
    if segment.flags & RST and s.probes:  # an answer, or forged
        if segment.sequence == c.rcv_nxt & MODULUS:
            s.probes = CONFIRMED
            watch_pair(row, other, now, host, rows, deadlines)
        write_action(segment, s, t, connections[other], rows[other], host)
        return PASSED
    fins = NOWHERE - place if data == 0 and NOWHERE - FINS <= place <= NOWHERE else 0
    s.ended = s.ended & FIN | segment.flags & (FIN | RST) | (FIN if fins & 1 else 0)
    t.ended |= FIN if fins & 2 else 0
    s.seen = clock
    s.probes = 0
    life = c.settings[KEEP_INTERVAL if t.probes else KEEP_IDLE]
    if (s.ended | t.ended) & RST:
        life = RESET_LIFE
    elif s.ended & t.ended & FIN:
        life = 2 * c.settings[MSL]
    watch_pair(row, other, now + life, host, rows, deadlines)
    write_action(segment, s, t, connections[other], rows[other], host)
    host.out.actions[0].offset = place
    host.source = rows[row].number
    host.source_begin = 0
    host.source_shift = 0
    return PASSED


def write_action(segment: Any, s: Any, t: Any, d: Any, socket: Any, host: Any) -> None:
    """Make an action of a segment, rewritten for the peer of the other connection, whose state and row these are."""
    begin_with(host, socket)
    action, flags = next_action(host.out, EMIT), segment.flags
    if s.ecn == 0:
        flags &= ~(ECE | CWR)
    ack = segment.acknowledgement - t.sequence if flags & ACK else 0
    plain_segment(action, flags, segment.sequence + s.sequence, ack)
    action.window = min(segment.window << s.scale >> s.other_scale, LARGEST_WINDOW)
    action.urgent = segment.urgent
    action.length = segment.run  # the device cuts it
    action.segment = s.segment
    if d.timestamps and segment.has_timestamp:
        action.has_timestamp = 1
        action.tsval = segment.tsval + s.timestamp & MODULUS
        action.tsecr = segment.tsecr - t.timestamp & MODULUS if flags & ACK else 0
    if s.sack:
        action.sack_count = segment.sack_count
        for index in range(segment.sack_count):
            action.sacks[index].first = segment.sacks[index].first - t.sequence & MODULUS
            action.sacks[index].last = segment.sacks[index].last - t.sequence & MODULUS


def is_over(s: Any, t: Any) -> bool:
    """True if both peers have sent a FIN, or one of them a RST."""
    return (s.ended | t.ended) & RST != 0 or s.ended & t.ended & FIN != 0


@outline
def expire_pair(
    row: int,
    now: int,
    primary: Any,
    host: Any,
    rows: Any,
    bindings: Any,
    connections: Any,
    deadlines: Any,
    outbox: Any,
    waiting: Any,
    sent: Any,
) -> None:
    """The time of a pair has come: end it, or ask its peers whether they are there.

    The question repeats a number from before the splice; a peer answers that with an acknowledgement, which becomes a
    request (RFC 9293 section 3.8.4). The primary puts what is to be sent into the box at once.
    """
    other = partner_of(rows, row)
    c, d = connections[row], connections[other]
    probes = max(rows[row].splice.probes, rows[other].splice.probes)
    ends = is_over(rows[row].splice, rows[other].splice)
    if probes >= (LAST_PROBES if ends else c.settings[KEEP_PROBES]):
        end_pair(row, other, host, rows, bindings, deadlines)
        if primary:
            post(outbox, waiting, sent, host)
        return
    watch_pair(row, other, now + (LAST_INTERVAL if ends else c.settings[KEEP_INTERVAL]), host, rows, deadlines)
    for turn in range(2):
        one, asked, its = (row, c, d) if turn == 0 else (other, d, c)
        rows[one].splice.probes += 1
        acknowledge(asked, its, rows[one], asked.snd_nxt - 1, now, host)
        if primary:
            post(outbox, waiting, sent, host)
