"""Links of the kernel: counters, offloads, and pairs of virtual Ethernet devices (veth)."""

import difflib
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

from pyroute2 import IPRoute
from pyroute2.ethtool.ioctl import IoctlEthtool, NotSupportedError

from scout.ring.errors import ScoutError

__all__ = ["LinkStats", "add_veth", "read_stats", "switch_offloads"]

_IFNAMSIZ = 16  # linux/if.h, with the closing zero


@dataclass(frozen=True, slots=True)
class LinkStats:
    """Counters of one interface since it was made, 64 bits wide, as the kernel keeps them."""

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_dropped: int
    tx_dropped: int
    rx_errors: int
    tx_errors: int


def read_stats(ip: IPRoute, index: int) -> LinkStats:
    """The counters of the interface of this index."""
    (link,) = ip.link("get", index=index)
    counters = link.get("stats64")
    return LinkStats(**{field.name: counters[field.name] for field in fields(LinkStats)})


def add_veth(ip: IPRoute, ends: tuple[str, str], peer_netns: str, macs: tuple[str, str], mtu: int | None) -> None:
    """Make a veth pair.

    Parameters
    ----------
    ip : IPRoute
        In the namespace of the first end.
    ends : (str, str)
        The names of both ends.
    peer_netns : str
        The kernel's name of the namespace of the second end.
    macs : (str, str)
        The MAC addresses of both ends.
    mtu : int or None
        Of both ends, in bytes; the kernel's default if None.

    Raises
    ------
    ScoutError
        If a name is no interface's name.
    """
    for name in ends:
        if not 0 < len(name) < _IFNAMSIZ:
            raise ScoutError(f"veth: interface {name!r}: use 1 to {_IFNAMSIZ - 1} characters")
    size = {} if mtu is None else {"mtu": mtu}
    peer: dict[str, Any] = {"ifname": ends[1], "net_ns_fd": peer_netns, "address": macs[1], **size}
    ip.link("add", ifname=ends[0], kind="veth", address=macs[0], peer=peer, **size)


def switch_offloads(interface: str, wanted: dict[str, bool], where: str) -> None:
    """Switch offloads of an interface of the namespace that the calling thread is in.

    Parameters
    ----------
    interface : str
    wanted : dict of str to bool
        By ethtool's names.
    where : str
        The beginning of error messages.

    Raises
    ------
    ScoutError
        If the interface has no such offload, or the driver keeps it as it is.
    """
    ethtool = IoctlEthtool(interface)
    try:
        known = ethtool.get_features()
        for name, value in wanted.items():
            if name not in known:
                near = difflib.get_close_matches(name, known.keys(), cutoff=0)
                raise ScoutError(f"{where}: no {name}; of `ethtool -k`'s names, near it are {', '.join(near)}")
            known[name] = value
        # pyroute2 raises this for a partial success too; what counts is what is read back.
        with suppress(NotSupportedError):
            ethtool.set_features(known)
        now = ethtool.get_features()
        kept = [name for name, value in wanted.items() if now[name] != value]
        if kept:
            raise ScoutError(f"{where}: the driver does not let {', '.join(kept)} be changed")
    finally:
        ethtool.close()
