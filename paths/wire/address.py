"""Addresses of both families: `ipaddress` objects in Python, two words in compiled code.

An address is 128 bits: the int64 words (high, low), in host order, as two's complement. An IPv4 address is the
IPv4-mapped address ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2), so no address of one family is one of the other. A stage
that knows the family, as those of IPv4 do, uses the 32 bits alone. So do the words of transports, whose family is known
(`scout.paths.wire.ip`): those of an IPv4 address are 0 and its 32 bits.
"""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np

__all__ = [
    "ADDRESS",
    "ANY",
    "IPV4",
    "IPV6",
    "MAPPED",
    "Address",
    "Words",
    "address_in",
    "address_of",
    "copy_address",
    "is_any",
    "put_address",
    "words_of",
]

Address = IPv4Address | IPv6Address
"""An address of either family."""

IPV4, IPV6 = 4, 6
"""The families, by the versions of their headers."""

Words = tuple[int, int]
"""An address in compiled code."""

ANY: Words = (0, 0)
"""The unspecified address of either family, where the family is known."""

ADDRESS = np.dtype([("high", "i8"), ("low", "i8")], align=True)
"""An address as a field of a record."""

MAPPED = 0xFFFF << 32
"""The upper half of the low word of an IPv4 address, above its 32 bits; the high word is 0."""

_WORD = 1 << 64


def words_of(address: Address) -> tuple[int, int]:
    """The two words of an address.

    Examples
    --------
    >>> words_of(IPv4Address("10.0.0.1"))
    (0, 281470849515521)
    >>> address_of(*words_of(IPv6Address("fe80::1")))
    IPv6Address('fe80::1')
    """
    if isinstance(address, IPv4Address):
        return 0, MAPPED | int(address)
    return _signed(int(address) >> 64), _signed(int(address) % _WORD)


def address_of(high: int, low: int) -> Address:
    """The address of two words."""
    if high == 0 and low >> 32 == MAPPED >> 32:
        return IPv4Address(low & 0xFFFFFFFF)
    return IPv6Address((high % _WORD) << 64 | low % _WORD)


def is_any(address: Words) -> bool:
    """True if it is the unspecified address, where the family is known. For compiled code, as the next ones are."""
    return address[0] | address[1] == 0


def address_in(field: Any) -> Words:
    """The address that a field of a record, an `ADDRESS`, has."""
    return field.high, field.low


def put_address(field: Any, address: Words) -> None:
    """Let a field have an address."""
    field.high = address[0]
    field.low = address[1]


def copy_address(field: Any, other: Any) -> None:
    """Let a field have the address of another one."""
    field.high = other.high
    field.low = other.low


def _signed(word: int) -> int:
    return word - _WORD if word >> 63 else word
