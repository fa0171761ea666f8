"""The decisions of an impaired link: what becomes of each packet, and when it arrives.

They are pure functions of the state, the packet and the settings: the same seed and the same packets give the same
decisions, in every replica. Random numbers are hashes of the seed, the packet's number and the purpose. So the packets
that are lost do not depend on what else happens to packets.
"""

from typing import Any

import numpy as np

from scout.io.access import length, load8, store8, store16, sum16
from scout.io.batch import gather
from scout.io.packet import NEEDS_CHECKSUM, SECOND
from scout.paths.wire.ipv4 import header_length

__all__ = [
    "BURST",
    "CORRUPTION",
    "DUPLICATION",
    "JITTER",
    "LOSS",
    "MILLION",
    "POSITION",
    "REORDERING",
    "STATE",
    "arrival",
    "chance",
    "draw",
    "drops_in_burst",
    "flip",
    "transmit",
]

MILLION = 1_000_000

STATE = np.dtype(
    [
        ("packets", "i8"),  # packets seen: the number of the next one
        ("time", "i8"),  # when the newest came; times are in nanoseconds since 1970
        ("bad", "i8"),  # 1 while packets are lost in a burst
        ("free", "i8"),  # when the bottleneck has sent all that it has taken,
        ("rest", "i8"),  # and the part of a nanosecond that is missing from that, in units of 1 / rate
        ("latest", "i8"),  # when the latest packet arrives that keeps its place
        ("gso", "i8"),  # GSO packets among those seen
        ("lost", "i8"),  # by chance,
        ("burst_lost", "i8"),  # in bursts,
        ("overflowed", "i8"),  # and since the queue was full
        ("duplicated", "i8"),
        ("corrupted", "i8"),
        ("reordered", "i8"),
    ]
)
"""The state of an impaired link, and what has happened to packets so far."""

LOSS, BURST, BURST_LOSS, DUPLICATION, CORRUPTION, POSITION, REORDERING, JITTER = range(1, 9)
"""The purposes of random numbers. Those of the second packet of a duplicated one are greater by `_SECOND`."""

_SECOND = 16
_LOW, _GOLDEN = 0xFFFF_FFFF, 0x9E37_79B9  # 32 bits; 2 ** 32 over the golden ratio


# Chance.


def scramble(value: int) -> int:
    """A number of 32 bits that depends on all bits of another one (Wellons, hash prospector: "lowbias32")."""
    value ^= value >> 16
    value = value * 0x7FEB_352D & _LOW
    value ^= value >> 15
    value = value * 0x846C_A68B & _LOW
    return value ^ value >> 16


def draw(seed: int, number: int, purpose: int) -> int:
    """A random number of 32 bits for a purpose, for packet `number`."""
    key = scramble((seed & _LOW) + purpose * _GOLDEN & _LOW)
    value = scramble((number & _LOW) ^ key)
    return scramble(value + (number >> 32 & _LOW) + (seed >> 32 & _LOW) + purpose & _LOW)


def chance(seed: int, number: int, purpose: int, share: int) -> bool:
    """True for a share of all packets, in millionths."""
    return share > 0 and draw(seed, number, purpose) * MILLION >> 32 < share


def drops_in_burst(link: Any, seed: int, number: int, begin: int, end: int, loss: int) -> bool:
    """True if a packet is lost in a burst, by the model of Gilbert and Elliott.

    A link is good or bad. Before each packet a good link becomes bad with the chance `begin`, and a bad one good with
    the chance `end`. A bad one loses a packet with the chance `loss`. All are in millionths.
    """
    turns = chance(seed, number, BURST, end if link.bad else begin)
    if turns:
        link.bad = 1 - link.bad
    return link.bad != 0 and chance(seed, number, BURST_LOSS, loss)


# Time.


def transmit(link: Any, now: int, packets: int, size: int, rate: int, limit: int) -> int:
    """The time when a bottleneck has sent a packet that comes now; -1 if its queue has no room.

    Parameters
    ----------
    link
        The link's state.
    now : int
        Nanoseconds since 1970.
    packets, size : int
        The packets that the network gets of it (more than one of a GSO packet), and their bytes.
    rate : int
        Bits a second; 0 for a link without a bottleneck.
    limit : int
        Bytes in the queue at most, those included that are being sent.
    """
    if rate == 0:
        return now
    if link.free < now:
        link.free, link.rest = now, 0
    # Of a GSO packet one segment must find room.
    if link.free - now + _nanoseconds(size // packets, rate) > _nanoseconds(limit, rate):
        return -1
    total = size * 8 * SECOND + link.rest
    link.free += total // rate
    link.rest = total % rate
    return link.free


def _nanoseconds(size: int, rate: int) -> int:
    """The time that so many bytes take at a rate."""
    return size * 8 * SECOND // rate


def arrival(
    link: Any, seed: int, number: int, again: bool, sent: int, delay: int, jitter: int, reorder: int, late: int
) -> int:
    """The time when a packet arrives that was sent at a time.

    Parameters
    ----------
    link
        The link's state.
    seed, number : int
    again : bool
        True for the second packet of a duplicated one.
    sent : int
        Nanoseconds since 1970.
    delay, jitter : int
        Microseconds: it takes `delay` more or less up to `jitter`, all times being equally likely. A packet that would
        overtake the one before it arrives with that one.
    reorder : int
        The share of packets that later ones may overtake, in millionths,
    late : int
        and microseconds by which these are late.
    """
    purpose = _SECOND if again else 0
    if jitter > 0:
        delay = max(delay - jitter + (draw(seed, number, purpose + JITTER) * (2 * jitter + 1) >> 32), 0)
    due = sent + delay * 1000
    if chance(seed, number, purpose + REORDERING, reorder):
        link.reordered += 1
        return due + late * 1000
    link.latest = due = max(due, link.latest)
    return due


# Corruption.


def flip(frame: Any, end: Any, packet: Any, whole: Any, whole_index: int, value: int) -> None:
    """Change a bit of an IPv4 packet behind its header; `value` is a random number of 32 bits that says which.

    A change of the header would not get past the next router. A checksum that was left to a device is completed before:
    the device would make it right for the changed bytes.
    """
    size, at = length(frame, end, packet), header_length(frame, 0)
    frame = gather(frame, packet, whole, whole_index)
    if not frame or size <= at:
        return
    if packet.flags & NEEDS_CHECKSUM and at + packet.checksum_offset + 2 <= size:
        checksum = sum16(frame, at, size - at) ^ 0xFFFF
        store16(frame, at + packet.checksum_offset, checksum if checksum != 0 else 0xFFFF)
        packet.flags = packet.flags & ~NEEDS_CHECKSUM
    bit = value * (8 * (size - at)) >> 32
    place = at + (bit >> 3)
    store8(frame, place, load8(frame, place) ^ 1 << (bit & 7))
