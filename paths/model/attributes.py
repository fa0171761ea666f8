"""Attributes: what is known of a path's traffic when the path is created, and what is wished for it.

(Mosberger & Peterson, OSDI '96, section 3.) Those that describe traffic are *invariants*: demux lets no other packet
into the path, so its code need not test for them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, TypedDict, Unpack

from scout.io.batch import BATCH_SIZE
from scout.io.path_queue import MOST_PLACES
from scout.paths.model.router import GraphError
from scout.paths.wire.flow import has_ports
from scout.paths.wire.ipv4 import DCCP, ICMP, SCTP, TCP, UDP, UDP_LITE

__all__ = ["PROTOCOLS", "TRAFFIC", "WISHES", "Attributes", "GivenAttributes", "Network"]

Network = IPv4Network | IPv6Network
"""A prefix of either family."""

PROTOCOLS = {"icmp": ICMP, "tcp": TCP, "udp": UDP, "dccp": DCCP, "sctp": SCTP, "udp-lite": UDP_LITE}
"""The protocols that can be given by name."""

TRAFFIC = ("destination", "source", "protocol", "destination_port", "source_port", "dscp")
"""The attributes that describe packets: they decide which packets enter a path."""

WISHES = ("weight", "deadline", "queue", "batch", "account", "cpu", "memory", "over_budget", "idle")
"""The attributes in which paths may differ that share their stages and code."""

_ORDERS = ("completed", "channel")
_POLICIES = ("drop", "defer")

_LEAST_SHARE = 1e-9
_MOST_MEMORY = 1 << 40


class GivenAttributes(TypedDict, total=False):
    """The attributes as people give them; `RouterGraph.create_path` describes each."""

    egress: str | Iterable[str] | None
    destination: str | Network | None
    source: str | Network | None
    protocol: str | int | None
    destination_port: int | range | None
    source_port: int | range | None
    dscp: int | None
    order: str
    weight: int
    deadline: float
    queue: int
    batch: int
    account: bool
    cpu: float
    memory: int
    over_budget: str
    idle: float


@dataclass(frozen=True)
class Attributes:
    """The facts that are known of a path, and the wishes for it; None stands for a field that is not known.

    Made by `Attributes.checked`. A path with any attribute that describes packets (`traffic`) carries IP packets alone.

    Attributes
    ----------
    ingress : str
        The router at whose port the packets enter.
    egress : tuple of str or None
        The routers by whose ports they may leave; None: by all.
    destination, source : IPv4Network or IPv6Network or None
        The prefixes of the addresses; both of one family.
    protocol : int or None
        The protocol number of the IP header.
    destination_port, source_port : range or None
        The L4 ports. A fragment shows none, so no fragment enters a path that has them.
    dscp : int or None
        The differentiated services code point, 0 to 63 (RFC 2474).
    order : {"completed", "channel"}
        The order in which packets leave.
    weight : int
        For schedulers of channels and of paths: the path's share, or its rank.
    deadline : float
        For these schedulers: seconds within which a packet is wanted.
    queue : int
        Packets that the path's queue holds in each replica, a power of two; 0: packets are not queued.
    batch : int
        Packets that leave the queue at a time, at most.
    account : bool
        The path's bytes and time are measured.
    cpu : float
        Its share of each domain's time, 0 to 1; 0: no budget, and no share of its own.
    memory : int
        Bytes that its queue takes in each replica, at most; 0: as many as its places need for the longest packets.
    over_budget : {"drop", "defer"}
        The fate of its packets while it is over its share: they are dropped, or wait in the queue.
    idle : float
        Seconds without a packet after which the path is deleted; 0: it stays.
    """

    ingress: str
    egress: tuple[str, ...] | None = None
    destination: Network | None = None
    source: Network | None = None
    protocol: int | None = None
    destination_port: range | None = None
    source_port: range | None = None
    dscp: int | None = None
    order: str = "completed"
    weight: int = 1
    deadline: float = 0.001
    queue: int = 0
    batch: int = 32
    account: bool = False
    cpu: float = 0.0
    memory: int = 0
    over_budget: str = "drop"
    idle: float = 0.0

    @classmethod
    def checked(cls, ingress: str, **given: Unpack[GivenAttributes]) -> "Attributes":
        """The attributes of the path from router `ingress`, from what is given.

        Raises
        ------
        GraphError
            If there is no such attribute, or its value cannot be one.

        Examples
        --------
        >>> voice = Attributes.checked("left", destination="10.0.1.0/24", protocol="udp", destination_port=5060)
        >>> voice.destination, voice.protocol, voice.destination_port
        (IPv4Network('10.0.1.0/24'), 17, range(5060, 5061))
        """
        values = {name: _checked(f"path from {ingress!r}", name, value) for name, value in given.items()}
        made = cls(ingress, **values)
        made._check_together()
        return made

    def narrowed(self, **given: Unpack[GivenAttributes]) -> "Attributes":
        """The attributes of a part of this traffic: with more that is known of the packets, and wishes of its own.

        Raises
        ------
        GraphError
            If that is no part of it, or an attribute is none of `TRAFFIC` and `WISHES`.

        Examples
        --------
        >>> Attributes.checked("left", protocol="tcp", source="10.0.0.0/8").narrowed(source="10.0.0.2", source_port=9)
        ... # doctest: +ELLIPSIS
        Attributes(ingress='left', ..., source=IPv4Network('10.0.0.2/32'), protocol=6, ...)
        """
        place = f"path from {self.ingress!r}"
        for name in given:
            if name not in (*TRAFFIC, *WISHES):
                raise GraphError(f"{place}: {name}=... narrows no traffic; give {', '.join((*TRAFFIC, *WISHES))}")
        values: dict[str, Any] = {name: _checked(place, name, value) for name, value in given.items()}
        for name in set(values) & set(TRAFFIC):
            known, value = getattr(self, name), values[name]
            if known is not None and (value is None or not _is_within(value, known)):
                raise GraphError(
                    f"{place}: {name} {_text(name, value)} is no part of {_text(name, known)}, which the path takes"
                )
        made = replace(self, **values)
        made._check_together()
        return made

    @cached_property
    def traffic(self) -> dict[str, Any]:
        """The attributes that describe packets, as far as they are known; empty for a path that takes all."""
        return {name: value for name in TRAFFIC if (value := getattr(self, name)) is not None}

    @property
    def family(self) -> int | None:
        """4 or 6, the version of the prefixes that are known; None if neither is."""
        known = self.destination or self.source
        return known.version if known else None

    def has(self, pattern: "Attributes") -> bool | None:
        """True if all packets that these attributes describe have `pattern`, False if none has, None if some may have.

        Examples
        --------
        >>> web = Attributes.checked("left", protocol="tcp", destination_port=80)
        >>> web.has(Attributes.checked("", protocol="tcp")), web.has(Attributes.checked("", destination_port=23))
        (True, False)
        >>> web.has(Attributes.checked("", destination="10.0.0.0/8")) is None
        True
        """
        known = self.traffic
        answers = [self._has(name, known.get(name), wanted) for name, wanted in pattern.traffic.items()]
        return False if False in answers else None if None in answers else True

    def _has(self, name: str, known: Any, wanted: Any) -> bool | None:
        if known is None:
            portless = name.endswith("_port") and self.protocol is not None and not has_ports(self.protocol)
            return False if portless else None
        return _is_within(known, wanted)

    def __str__(self) -> str:
        known = {name: _text(name, value) for name, value in self.traffic.items()}
        if self.egress is not None:
            known["egress"] = " or ".join(self.egress) or "none"
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in known.items()) or "all packets"

    def _check_together(self) -> None:
        place = f"path from {self.ingress!r}"
        if self.destination and self.source and self.destination.version != self.source.version:
            raise GraphError(
                f"{place}: destination {self.destination} and source {self.source} are of two families; give prefixes "
                "of one"
            )
        ports = [name for name in ("destination_port", "source_port") if getattr(self, name) is not None]
        if ports and self.protocol is not None and not has_ports(self.protocol):
            raise GraphError(f"{place}: protocol {self.protocol} has no L4 ports; leave {ports[0]}=... out")
        if self.queue and self.order == "channel":
            raise GraphError(
                f"{place}: packets leave a queue when a scheduler wants them; leave order='channel' out, or queue="
            )
        if self.idle and not self.traffic:
            raise GraphError(f"{place}: it takes all packets that no other path takes, and stays; leave idle=... out")
        if not self.queue and (self.memory or self.over_budget == "defer"):
            wish = f"memory={self.memory}" if self.memory else "over_budget='defer'"
            raise GraphError(f"{place}: {wish} is for the packets of a queue; give it queue=... too, or leave it out")


def _checked(place: str, name: str, value: Any) -> Any:
    """The value of one attribute as `Attributes` holds it."""
    if name not in _CHECKS:
        raise GraphError(f"{place}: no attribute {name!r}; there are {', '.join(_CHECKS)}")
    check, right = _CHECKS[name]
    try:
        return None if value is None and name in (*TRAFFIC, "egress") else check(value)
    except (ValueError, TypeError) as error:
        why = f": {error}" if str(error) else ""
        raise GraphError(f"{place}: {name}={value!r}{why}; give {right}") from error


def _network(value: Any) -> Network:
    if not isinstance(value, str | IPv4Network | IPv6Network):
        raise TypeError
    return ip_network(value)


def _protocol(value: Any) -> int:
    return PROTOCOLS[value.lower()] if isinstance(value, str) and value.lower() in PROTOCOLS else _int(value, 0, 255)


def _ports(value: Any) -> range:
    if not isinstance(value, range):
        value = range(number := _int(value, 0, 65535), number + 1)
    if value.step != 1 or not 0 <= value.start < value.stop <= 65536:
        raise ValueError
    return value


def _int(value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError
    return value


def _one_of(*names: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return check


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value == 0 or _LEAST_SHARE <= value <= 1):
        raise ValueError
    return float(value)


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 30:
        raise ValueError
    return float(value)


def _queue(value: Any) -> int:
    if _int(value, 0, MOST_PLACES) & value - 1:
        raise ValueError
    return int(value)


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


_CHECKS: dict[str, tuple[Any, str]] = {
    "egress": (_names, "a router with a port, or several"),
    "destination": (_network, "a prefix, as in '10.0.1.0/24'"),
    "source": (_network, "a prefix, as in '10.0.1.0/24'"),
    "protocol": (_protocol, f"a number, 0 to 255, or {', '.join(PROTOCOLS)}"),
    "destination_port": (_ports, "an L4 port, 0 to 65535, or a range of them, as in range(5000, 5010)"),
    "source_port": (_ports, "an L4 port, 0 to 65535, or a range of them, as in range(5000, 5010)"),
    "dscp": (lambda value: _int(value, 0, 63), "a code point, 0 to 63"),
    "order": (_one_of(*_ORDERS), " or ".join(_ORDERS)),
    "weight": (lambda value: _int(value, 1, (1 << 20) - 1), "at least 1, and less than 2 ** 20"),
    "deadline": (_seconds, "seconds, at least 0 and less than 2 ** 30"),
    "queue": (_queue, f"0, or a power of two, at most {MOST_PLACES}"),
    "batch": (lambda value: _int(value, 1, BATCH_SIZE), f"1 to {BATCH_SIZE}"),
    "account": (_bool, "True or False"),
    "cpu": (_share, f"a share of each domain's time, {_LEAST_SHARE:g} to 1, or 0 for no budget"),
    "memory": (lambda value: _int(value, 0, _MOST_MEMORY), f"bytes, 0 to {_MOST_MEMORY:,}"),
    "over_budget": (_one_of(*_POLICIES), " or ".join(_POLICIES)),
    "idle": (_seconds, "seconds, at least 0 and less than 2 ** 30; 0 if it stays"),
}
"""For each attribute that can be given its check, and what is right."""


def _is_within(value: Any, other: Any) -> bool | None:
    """True if all that one value of an attribute allows another one allows too, False if nothing, None if some."""
    if isinstance(other, range):
        overlaps = value.start < other.stop and other.start < value.stop
        within = other.start <= value.start and value.stop <= other.stop
    elif isinstance(other, IPv4Network | IPv6Network):
        overlaps = value.version == other.version and value.overlaps(other)
        within = overlaps and value.prefixlen >= other.prefixlen
    else:
        within = overlaps = value == other
    return True if within else None if overlaps else False


def _text(name: str, value: Any) -> str:
    if isinstance(value, range):
        return str(value.start) if len(value) == 1 else f"{value.start} to {value.stop - 1}"
    names = {number: protocol for protocol, number in PROTOCOLS.items()}
    return names.get(value, str(value)) if name == "protocol" else str(value)
