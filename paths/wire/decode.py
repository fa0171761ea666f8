"""The headers of a packet as named fields, for people: which field lies at which bytes, and what it says.

It is a table of the formats that the other modules of this package define. A new header is one more entry; `_next` says
where a header of variable length ends, and which header follows.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from scout.io.mac import mac_text
from scout.paths.wire import arp, ethernet, icmp, ipv4, ipv6, tcp, udp

__all__ = ["Field", "decode"]


class Field(NamedTuple):
    """A field of a header.

    Attributes
    ----------
    header, name : str
        As in "ipv4" and "ttl".
    start, stop : int
        The bytes that it lies in: from `start` to before `stop` of the data.
    show : callable
        From its bytes to the text of its value.
    """

    header: str
    name: str
    start: int
    stop: int
    show: Callable[[bytes], str]

    @property
    def label(self) -> str:
        """Header and name, as "ipv4.ttl"."""
        return f"{self.header}.{self.name}"

    def text(self, data: bytes) -> str:
        """What it says in data that has a header of this kind there."""
        return self.show(data[self.start : self.stop])


def _number(data: bytes) -> str:
    return str(int.from_bytes(data, "big"))


def _size(data: bytes) -> str:
    return f"{len(data)} bytes"


def _hex(data: bytes) -> str:
    return f"0x{data.hex()}"


def _mac(data: bytes) -> str:
    return mac_text(int.from_bytes(data, "big"))


def _ipv4(data: bytes) -> str:
    return str(IPv4Address(data))


def _ipv6(data: bytes) -> str:
    return str(IPv6Address(data))


def _named(names: dict[int, str]) -> Callable[[bytes], str]:
    return lambda data: names.get(int.from_bytes(data, "big"), _hex(data))


def _flags(data: bytes) -> str:
    bits = {"FIN": tcp.FIN, "SYN": tcp.SYN, "RST": tcp.RST, "PSH": tcp.PSH, "ACK": tcp.ACK, "URG": tcp.URG}
    return "+".join(name for name, bit in bits.items() if data[0] & bit) or "none"


def _fragment(data: bytes) -> str:
    word = int.from_bytes(data, "big")
    names = [name for name, bit in (("DF", ipv4.DONT_FRAGMENT), ("MF", ipv4.MORE_FRAGMENTS)) if word & bit]
    return "+".join([*names, str((word & ipv4.OFFSET) * 8)])


_ETHERTYPES = {ethernet.IPV4: "ipv4", ethernet.ARP: "arp", ethernet.IPV6: "ipv6"}
_PROTOCOLS = {ipv4.ICMP: "icmp", ipv4.TCP: "tcp", ipv4.UDP: "udp"}

_Format = tuple[tuple[str, int, int, Callable[[bytes], str]], ...]

_FORMATS: dict[str, _Format] = {
    "ethernet": (
        ("destination", ethernet.DESTINATION, 6, _mac),
        ("source", ethernet.SOURCE, 6, _mac),
        ("type", ethernet.ETHERTYPE, 2, _named(_ETHERTYPES)),
    ),
    "arp": (
        ("hardware", arp.HARDWARE, 6, _hex),
        ("operation", arp.OPERATION, 2, _named({arp.REQUEST: "request", arp.REPLY: "reply"})),
        ("sender-mac", arp.SENDER_MAC, 6, _mac),
        ("sender", arp.SENDER, 4, _ipv4),
        ("target-mac", arp.TARGET_MAC, 6, _mac),
        ("target", arp.TARGET, 4, _ipv4),
    ),
    "ipv4": (
        ("version-ihl", ipv4.VERSION_IHL, 1, _hex),
        ("tos", ipv4.TOS, 1, _hex),
        ("total-length", ipv4.TOTAL_LENGTH, 2, _number),
        ("identification", ipv4.IDENTIFICATION, 2, _number),
        ("fragment", ipv4.FRAGMENT, 2, _fragment),
        ("ttl", ipv4.TTL, 1, _number),
        ("protocol", ipv4.PROTOCOL, 1, _named(_PROTOCOLS)),
        ("checksum", ipv4.CHECKSUM, 2, _hex),
        ("source", ipv4.SOURCE, 4, _ipv4),
        ("destination", ipv4.DESTINATION, 4, _ipv4),
    ),
    "ipv6": (
        ("class-label", 0, 4, _hex),
        ("payload-length", 4, 2, _number),
        ("next-header", ipv6.NEXT_HEADER, 1, _named(_PROTOCOLS)),
        ("hop-limit", 7, 1, _number),
        ("source", ipv6.SOURCE, 16, _ipv6),
        ("destination", ipv6.DESTINATION, 16, _ipv6),
    ),
    "icmp": (
        ("type", icmp.TYPE, 1, _number),
        ("code", icmp.CODE, 1, _number),
        ("checksum", icmp.CHECKSUM, 2, _hex),
        ("rest", icmp.REST, 4, _hex),
    ),
    "udp": (
        ("source-port", udp.SOURCE, 2, _number),
        ("destination-port", udp.DESTINATION, 2, _number),
        ("length", udp.LENGTH, 2, _number),
        ("checksum", udp.CHECKSUM, 2, _hex),
    ),
    "tcp": (
        ("source-port", tcp.SOURCE, 2, _number),
        ("destination-port", tcp.DESTINATION, 2, _number),
        ("sequence", tcp.SEQUENCE, 4, _number),
        ("acknowledgement", tcp.ACKNOWLEDGEMENT, 4, _number),
        ("data-offset", tcp.DATA_OFFSET, 1, _hex),
        ("flags", tcp.FLAGS, 1, _flags),
        ("window", tcp.WINDOW, 2, _number),
        ("checksum", tcp.CHECKSUM, 2, _hex),
        ("urgent", 18, 2, _number),
    ),
}


def decode(data: bytes, header: str = "ethernet", at: int = 0) -> list[Field]:
    """The fields of a packet, in the order of its bytes; of a header that is cut off, those that are there.

    Parameters
    ----------
    data : bytes
    header : str
        The kind of the first header: "ethernet", "arp", "ipv4", "ipv6", "icmp", "udp" or "tcp".
    at : int
        Offset of its first byte.

    Returns
    -------
    list of Field
        Then one field of header "data" for bytes of no known header, if there are any.

    Examples
    --------
    >>> frame = bytes.fromhex("02000000000102000000000a0806")
    >>> [f"{field.label} {field.text(frame)}" for field in decode(frame)][-1]
    'ethernet.type arp'
    """
    return list(_walk(data, header, at))


def _walk(data: bytes, header: str, at: int) -> Iterator[Field]:
    while header in _FORMATS:
        for name, offset, size, show in _FORMATS[header]:
            if at + offset + size > len(data):
                break
            yield Field(header, name, at + offset, at + offset + size, show)
        end, following = _next(data, header, at)
        fixed, stop = at + sum(size for _, _, size, _ in _FORMATS[header]), min(end, len(data))
        if fixed < stop:
            yield Field(header, "options", fixed, stop, _size)
        header, at = following, end
    if at < len(data):
        yield Field("data", "bytes", at, len(data), lambda data: str(len(data)))


def _next(data: bytes, header: str, at: int) -> tuple[int, str]:
    """Where a header ends, and the kind of the one behind it; "" if that is unknown."""
    end = at + sum(size for _, _, size, _ in _FORMATS[header])
    if end > len(data):
        return len(data), ""
    if header == "ethernet":
        kind = int.from_bytes(data[at + ethernet.ETHERTYPE : end], "big")
        return end, _ETHERTYPES.get(kind, "")
    if header == "ipv4":
        end = max(end, at + (data[at] & 15) * 4)
        later = int.from_bytes(data[at + ipv4.FRAGMENT : at + ipv4.FRAGMENT + 2], "big") & ipv4.OFFSET
        return end, "" if later else _PROTOCOLS.get(data[at + ipv4.PROTOCOL], "")
    if header == "ipv6":
        return end, _PROTOCOLS.get(data[at + ipv6.NEXT_HEADER], "")
    if header == "tcp":
        return max(end, at + (data[at + tcp.DATA_OFFSET] >> 4) * 4), ""
    return end, ""
