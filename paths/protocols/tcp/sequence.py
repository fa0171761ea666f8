"""Positions: sequence numbers that do not wrap.

On the wire a sequence number has 32 bits and wraps; in a connection's state it is a position, an int64 whose low 32
bits are the number on the wire. The first position of a direction is its initial sequence number, below 2^32, so
positions never overflow, and are compared as ints. Only `position` looks at numbers modulo 2^32 (RFC 9293 section 3.4).
"""

__all__ = ["MODULUS", "position", "signed"]

MODULUS = 0xFFFFFFFF


def signed(number: int) -> int:
    """A difference modulo 2^32 as -2^31 to 2^31 - 1."""
    return ((number + 0x80000000) & MODULUS) - 0x80000000


def position(number: int, near: int) -> int:
    """The position nearest to the position `near` that has this number on the wire."""
    return near + signed(number - near)
