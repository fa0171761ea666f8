"""Frames that the kernel refuses, counted by reason in a transmit record."""

import errno

from scout.ring.jit import Record, inline

__all__ = ["count_refused", "is_down", "is_full"]


@inline
def is_full(error: int) -> bool:
    """True if the kernel has no room at present."""
    return error == errno.ENOBUFS or error == errno.EAGAIN or error == errno.EBUSY


@inline
def is_down(error: int) -> bool:
    """True if the interface is down or gone."""
    return error == errno.ENETDOWN or error == errno.ENXIO or error == errno.ENODEV


@inline
def count_refused(transmit: Record, packets: int, error: int) -> None:
    """Count `packets` frames that the kernel refused with an error."""
    if is_full(error):
        transmit.full += packets
    elif error == errno.EMSGSIZE:
        transmit.too_big += packets
    elif is_down(error):
        transmit.down += packets
    else:
        transmit.refused += packets
