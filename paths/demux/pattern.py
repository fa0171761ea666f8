"""Patterns: which keys of packets belong to a path, from the attributes that describe its traffic.

A pattern is a mask and the value of the key under it. Prefixes are patterns as they are; a range of L4 ports is the
union of some.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from itertools import product
from typing import Any, NamedTuple

from scout.paths.model.attributes import Attributes
from scout.paths.model.classifier import Field
from scout.paths.model.router import GraphError

__all__ = ["Pattern", "patterns", "rank"]

_WORD = 1 << 64


class Pattern(NamedTuple):
    """The keys that equal `value` in the bits of `mask`; two int64 words each."""

    mask: tuple[int, int]
    value: tuple[int, int]

    def takes(self, *key: int) -> bool:
        """True if a key of two words is one of them."""
        return all(word & mask == value for word, mask, value in zip(key, self.mask, self.value, strict=True))


def patterns(attributes: Attributes, fields: Mapping[str, Field]) -> list[Pattern]:
    """The patterns that together take the traffic of a path, and no other.

    Raises
    ------
    GraphError
        If no router above the port knows an attribute.

    Examples
    --------
    >>> from scout.paths.protocols.ipv4_demux import CLASSIFIER
    >>> voice = Attributes.checked("left", protocol="udp", destination_port=range(5060, 5064))
    >>> [pattern] = patterns(voice, CLASSIFIER.fields)
    >>> f"{pattern.mask[1]:x} {pattern.value[1]:x}"
    '40ff0000fffc 4011000013c4'
    """
    parts = []
    for name, value in attributes.traffic.items():
        if name not in fields or getattr(value, "version", 4) != 4:
            raise GraphError(
                f"path from {attributes.ingress!r}: no router above it tells packets apart by {name} {value}; connect "
                f"one that does (Ip for IPv4), or leave {name}=... out"
            )
        parts.append([_words(fields[name], *bits) for bits in _bits(value, fields[name].bits)])
    return [_pattern(combination) for combination in product(*parts)]


def rank(attributes: Attributes, fields: Mapping[str, Field]) -> int:
    """A number that is the greater, the fewer packets a path takes: of the paths for a packet, the highest has it."""
    taken = 1
    for name, field in fields.items():
        value = attributes.traffic.get(name)
        if isinstance(value, range):
            taken *= len(value)
        elif value is None or isinstance(value, IPv4Network):
            taken *= value.num_addresses if value else 1 << field.bits
    return -taken


def _bits(value: Any, width: int) -> Iterator[tuple[int, int]]:
    """Mask and value, of a field of `width` bits, of each block of numbers that an attribute is made of."""
    full = (1 << width) - 1
    if isinstance(value, IPv4Network):
        yield int(value.netmask), int(value.network_address)
    elif isinstance(value, range):
        start = value.start
        while start < value.stop:
            size = start & -start or full + 1
            while size > value.stop - start:
                size >>= 1
            yield full & ~(size - 1), start
            start += size
    else:
        yield full, value


def _words(field: Field, mask: int, value: int) -> tuple[int, int, int]:
    """The index of a field's word in the key, and its mask and value there."""
    shown = 0 if field.shown is None else 1 << field.shown
    return field.word, mask << field.shift | shown, value << field.shift | shown


def _pattern(words: Iterable[tuple[int, int, int]]) -> Pattern:
    """The pattern of the keys that have all of these values."""
    masks, values = [0, 0], [0, 0]
    for word, mask, value in words:
        masks[word] |= mask
        values[word] |= value
    return Pattern((_signed(masks[0]), _signed(masks[1])), (_signed(values[0]), _signed(values[1])))


def _signed(word: int) -> int:
    return word - _WORD if word >> 63 else word
