"""The record of a packet on its way through a path, one for each slot of a batch.

Receiving, holding and sending need most of the fields. The rest, `NOTES`, belong to protocols: they are what a stage
tells later stages of the same packet. They are part of this record, and not of one of their own, because with them it
fills just two cache lines, and a second record would be a third line to load for every packet.
"""

import numpy as np

__all__ = [
    "CONSUMED",
    "CONTROL_BIND",
    "CONTROL_CHANGE",
    "CONTROL_TICK",
    "DROPPED",
    "EVERYONES",
    "GSO_NONE",
    "GSO_TCPV4",
    "GSO_TCPV6",
    "GSO_UDP",
    "GSO_UDP_L4",
    "HEADROOM",
    "HELD",
    "NEEDS_CHECKSUM",
    "NOTES",
    "NOT_HELD",
    "NO_PATH",
    "OFFLOAD",
    "PACKET",
    "QUEUED",
    "REACH",
    "SECOND",
    "TO_QUEUE",
    "WAITING",
]

SECOND = 1_000_000_000
"""Nanoseconds of a second: timestamps, and all durations that are compared with them, are in nanoseconds."""

REACH = 640
"""Bytes of a frame that a stage sees if it does not ask for the payload: enough for any header, and for the quote in an
ICMP error (RFC 1812 section 4.3.2.3: 576 bytes in all). The rest stays where it was received."""

HEADROOM = 64
"""Bytes before a frame, for headers that stages push."""

EVERYONES = -1
"""The shard of a frame that belongs to no flow: every replica receives it."""

DROPPED, HELD, CONSUMED, QUEUED, TO_QUEUE, WAITING = -1, -2, -3, -4, -5, -6
"""Values of `egress` for a packet that leaves by no port. `TO_QUEUE`: stage `at` is to be run, once the path has its
turn. `WAITING`: stage `at` is to be run at the time `due`."""

NOT_HELD = -1
"""The value of `held_since` for a packet that was not held yet; every other number is a time."""

CONTROL_TICK, CONTROL_BIND, CONTROL_CHANGE = 1, 2, 3
"""Values of `control` for a request that is no packet: time has passed; `argument` is the mask of bound handlers;
`argument` is the number of a change in the log of changes, which the domain makes and no stage sees."""

NO_PATH = (1 << 16) - 1
"""The value of `path` for a packet that is for none; paths have the numbers below."""

NEEDS_CHECKSUM = 1
"""A bit of `flags` (VIRTIO_NET_HDR_F_NEEDS_CSUM of linux/virtio_net.h)."""

GSO_NONE, GSO_TCPV4, GSO_UDP, GSO_TCPV6, GSO_UDP_L4 = 0, 1, 3, 4, 5
"""Values of `gso_type` (VIRTIO_NET_HDR_GSO_… of linux/virtio_net.h): a device cuts a super-frame of kind `GSO_UDP` into
fragments of one datagram, of `GSO_UDP_L4` into datagrams."""

CUT = 2
"""`link_broadcast` of a fresh packet without bytes whose frame is longer than a slot of the receive ring."""

NOTES = ("next_hop", "destination", "error", "ethertype", "link_broadcast")
"""Fields that only stages of protocols use; this package does no more with them than clear them in a fresh packet, but
for `CUT`."""

_FIELDS = np.dtype(
    [
        ("frame", "i8"),  # address of the header that the next stage works on
        ("end", "i8"),  # address behind the last byte that a stage may touch
        ("tail", "i8"),  # the rest of the frame, which no stage writes: its address ...
        ("tail_bytes", "i8"),  # ... and size
        ("origin", "i8"),  # address of the frame's first byte as received
        ("timestamp", "i8"),  # when the packet was received, nanoseconds since 1970
        ("port", "i8"),  # index of the port it came from
        ("at", "i8"),  # index of the stage to begin with: 0, or where it was held
        ("egress", "i8"),  # index of the port it leaves by, or DROPPED, HELD, CONSUMED, QUEUED
        ("next_hop", "i8"),  # note of IP: index of the next hop that the route lookup chose
        ("destination", "i8"),  # note of ARP for Ethernet: MAC address to send to, 48 bits
        ("slot", "i8"),  # address of the batch's own room for this packet; never changes
        ("error", "i8"),  # note for ICMP: the error to answer with, type << 24 | code << 16 | MTU
        ("held_since", "i8"),  # when it was first held, nanoseconds since 1970, or NOT_HELD
        # struct virtio_net_hdr, little-endian: the work that the sending kernel left to a device
        ("flags", "u1"),
        ("gso_type", "u1"),
        ("header_bytes", "u2"),
        ("gso_size", "u2"),
        ("checksum_start", "u2"),  # from `origin`
        ("checksum_offset", "u2"),
        ("ethertype", "u2"),  # note for Ethernet: of the frame to send
        (
            "link_broadcast",
            "u1",
        ),  # note of Ethernet: 1 if to a group address; before the Ethernet stage it may be `CUT`
        ("control", "u1"),  # 0: a packet; else a control request: CONTROL_TICK, CONTROL_BIND, CONTROL_CHANGE
        ("path", "u2"),  # number of its path; demux sets it, where a port has several
    ],
    align=True,
)


def _overlaid(fields: np.dtype, **overlays: str) -> np.dtype:
    """Add int64 fields that share the bytes of others, so that a record fills just two cache lines."""
    known = dict(fields.fields or {})
    offsets = {name: known[name][1] for name in known} | {name: known[other][1] for name, other in overlays.items()}
    formats = {name: known[name][0] for name in known} | dict.fromkeys(overlays, np.dtype("i8"))
    return np.dtype(
        {
            "names": list(offsets),
            "formats": list(formats.values()),
            "offsets": list(offsets.values()),
            "itemsize": fields.itemsize,
        },
        align=True,
    )


PACKET = _overlaid(_FIELDS, argument="next_hop", awaited="destination", due="held_since")
"""A packet. Stages get it as `packet`; addresses are absolute, in native byte order.

`argument` is that of a control request, which has no next hop. `awaited` is set by a stage that holds the packet, which
has no destination yet: a number for what it waits for. `due` is set by a stage with an outcome that waits: the time,
nanoseconds since 1970, at which the packet goes on; a packet waits in one way at a time.
"""

RECORD = PACKET.itemsize
"""Bytes of a record."""

OFFLOAD = int((PACKET.fields or {})["flags"][1])  # type: ignore[index]
"""Offset of the 10 bytes of struct virtio_net_hdr in `PACKET`."""
