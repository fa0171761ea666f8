"""Addresses of both families: `ipaddress` objects in Python, two words in compiled code.

An address is 128 bits: the int64 words (high, low), in host order, as two's complement. An IPv4 address is the
IPv4-mapped address ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2), so no address of one family is one of the other. A stage
that knows the family, as those of IPv4 do, uses the 32 bits alone.
"""

from ipaddress import IPv4Address, IPv6Address

__all__ = ["MAPPED", "Address", "address_of", "words_of"]

Address = IPv4Address | IPv6Address
"""An address of either family."""

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


def _signed(word: int) -> int:
    return word - _WORD if word >> 63 else word
