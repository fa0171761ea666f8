"""The record of a packet on its way through a path, one for each slot of a batch."""

import numpy as np

__all__ = [
    "CONSUMED",
    "CONTROL_BIND",
    "CONTROL_TICK",
    "DROPPED",
    "GSO_NONE",
    "HEADROOM",
    "HELD",
    "NEEDS_CHECKSUM",
    "NOT_HELD",
    "OFFLOAD",
    "PACKET",
    "REACH",
]

REACH = 640
"""Bytes of a frame that a stage sees if it does not ask for the payload: enough for any header and for
an ICMP error's quote (RFC 1812 section 4.3.2.3: 576 bytes in all). The rest stays where it was received."""

HEADROOM = 64
"""Bytes before a frame that headers can be pushed into."""

DROPPED, HELD, CONSUMED = -1, -2, -3
"""What `egress` says of a packet that leaves by no port."""

NOT_HELD = -1
"""What `held_since` says of a packet that was not held yet; every other number is a time."""

CONTROL_TICK, CONTROL_BIND = 1, 2
"""What `control` says of a request that is no packet: time has passed; `argument` is the mask of handlers bound."""

NEEDS_CHECKSUM, GSO_NONE = 1, 0
"""`flags` and `gso_type` of linux/virtio_net.h."""

_FIELDS = np.dtype(
    [
        ("frame", "i8"),  # address of the header that the next stage works on
        ("end", "i8"),  # address behind the last byte that a stage may touch
        ("tail", "i8"),  # the rest of the frame, not to be written: its address ...
        ("tail_bytes", "i8"),  # ... and size
        ("origin", "i8"),  # address of the frame's first byte as received
        ("timestamp", "i8"),  # nanoseconds since 1970, when the packet was received
        ("port", "i8"),  # index of the port it came from
        ("at", "i8"),  # index of the stage to begin with: 0, or where it was held
        ("egress", "i8"),  # index of the port it leaves by, or DROPPED, HELD, CONSUMED
        ("next_hop", "i8"),  # index of the next hop that the route lookup chose
        ("destination", "i8"),  # MAC address to send to, 48 bits
        ("slot", "i8"),  # address of the batch's own room for this packet; never changes
        ("error", "i8"),  # ICMP error to answer with: type << 24 | code << 16 | MTU
        ("held_since", "i8"),  # when it was first held, nanoseconds since 1970, or NOT_HELD
        # struct virtio_net_hdr, little-endian: what is left to the device of the sender
        ("flags", "u1"),
        ("gso_type", "u1"),
        ("header_bytes", "u2"),
        ("gso_size", "u2"),
        ("checksum_start", "u2"),  # from `origin`
        ("checksum_offset", "u2"),
        ("ethertype", "u2"),  # of the frame to send
        ("link_broadcast", "u1"),  # not 0: came to a group address of the link
        ("control", "u1"),  # 0: a packet; else CONTROL_TICK or CONTROL_BIND, for the service at stage `at`
        ("spare", "u1", 2),
    ],
    align=True,
)


def _overlaid(fields: np.dtype, **overlays: str) -> np.dtype:
    """With each int64 of `overlays` in the place of another one, so that a record fills just two cache lines."""
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


PACKET = _overlaid(_FIELDS, argument="next_hop", awaited="destination")
"""A packet. Stages get it as `packet`; addresses are absolute, in native byte order.

`argument` is that of a control request, which has no next hop. `awaited` is set by a stage that holds the packet, which
has no destination yet: a number for what it waits for.
"""

RECORD = PACKET.itemsize
"""Bytes from one record of a batch to the next."""

OFFLOAD = int((PACKET.fields or {})["flags"][1])  # type: ignore[index]
"""Offset of the 10 bytes of struct virtio_net_hdr in `PACKET`."""
