"""A network namespace: addresses, routes, neighbours, links, and processes inside."""

import ipaddress
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError

from scout.io.host.interrupts import uninterrupted
from scout.io.host.link import LinkStats, read_stats, switch_offloads
from scout.io.host.process import Child, Forker
from scout.io.mac import mac_number, mac_text
from scout.ring.errors import ScoutError

__all__ = ["Namespace", "entered"]

_IFA_F_NODAD = 0x02  # linux/if_addr.h
_CARRIER_SECONDS = 60.0  # an idle machine needs milliseconds


@contextmanager
def entered(name: str) -> Iterator[None]:
    """Keep the calling thread in a named network namespace for the time of a `with` block.

    Sockets opened, threads and processes started in the block belong to the namespace for good.
    Entering another namespace inside is allowed; other threads stay where they are.

    Parameters
    ----------
    name : str
        The kernel's name, a file in /run/netns.

    Raises
    ------
    ScoutError
        If there is no such namespace, or this process may not enter it.
    """
    with ExitStack() as stack:
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        stack.callback(os.close, before)
        try:
            inside = os.open(f"{netns.NETNS_RUN_DIR}/{name}", os.O_RDONLY)
            stack.callback(os.close, inside)
            netns.setns(inside)
            stack.callback(netns.setns, before)
        except FileNotFoundError as error:
            known = ", ".join(sorted(netns.listnetns())) or "none"
            raise ScoutError(f"namespace {name}: not found in {netns.NETNS_RUN_DIR}; there are: {known}") from error
        except PermissionError as error:
            raise ScoutError(f"namespace {name}: may not be entered; run as root") from error
        yield


class Namespace:
    """A network namespace of a lab; made by `Lab.namespace`, removed by its lab.

    Attributes
    ----------
    name : str
        Its name in the lab.
    netns : str
        Its name in the kernel, for `ip netns exec` and `scout rates --netns`.
    """

    def __init__(self, name: str, netns_name: str, forker: Forker, processes: list[Child]) -> None:
        self.name = name
        self.netns = netns_name
        self._forker, self._processes = forker, processes
        # Quiet: no router solicitations, no duplicate address detection. `all` holds for new links too.
        if os.path.exists("/proc/sys/net/ipv6"):
            self.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        self.sysctl("net.ipv4.ip_forward", 0)  # a new namespace starts with the host's value
        self.up("lo")

    def __repr__(self) -> str:
        return f"<Namespace {self.netns}>"

    def entered(self) -> AbstractContextManager[None]:
        """Keep the calling thread in this namespace for a `with` block (see `scout.io.host.namespace.entered`)."""
        return entered(self.netns)

    def address(self, interface: str, address: str) -> None:
        """Give an interface an address with its prefix length: `"10.0.0.2/24"`.

        IPv6 is off in a new namespace; `sysctl("net.ipv6.conf.all.disable_ipv6", 0)` switches it on.
        """
        parsed = self._parse(ipaddress.ip_interface, address)
        if parsed.version == 6 and self._ipv6_is_off():
            raise ScoutError(
                f"namespace {self.name}: address {address}: IPv6 is off; switch it on with "
                'sysctl("net.ipv6.conf.all.disable_ipv6", 0)'
            )
        # No duplicate address detection: in a lab an address is unique, and must be usable at once.
        flags = {"flags": _IFA_F_NODAD} if parsed.version == 6 else {}
        with self.netlink(f"address {address} on {interface}") as ip:
            ip.addr(
                "add",
                index=self._index(ip, interface),
                address=str(parsed.ip),
                prefixlen=parsed.network.prefixlen,
                **flags,
            )

    def route(self, destination: str, via: str | None = None, interface: str | None = None) -> None:
        """Add a route to a prefix or `"default"`, via a gateway, out of an interface, or both."""
        if via is None and interface is None:
            raise ScoutError(f"namespace {self.name}: route {destination} leads nowhere; give via or interface")
        spec: dict[str, Any] = {"dst": destination}
        if destination != "default":
            spec["dst"] = str(self._parse(ipaddress.ip_network, destination))
        if via is not None:
            spec["gateway"] = str(self._parse(ipaddress.ip_address, via))
        with self.netlink(f"route {destination}") as ip:
            if interface is not None:
                spec["oif"] = self._index(ip, interface)
            ip.route("add", **spec)

    def neighbour(self, interface: str, address: str, mac: str) -> None:
        """Set the MAC address of a neighbour permanently, so that no ARP request is sent for it."""
        parsed = str(self._parse(ipaddress.ip_address, address))
        with self.netlink(f"neighbour {address} on {interface}") as ip:
            index = self._index(ip, interface)
            ip.neigh("replace", ifindex=index, dst=parsed, lladdr=mac_text(mac_number(mac)), state="permanent")

    def sysctl(self, name: str, value: int | str) -> None:
        """Set a `net.` sysctl of this namespace: `sysctl("net.ipv4.ip_forward", 1)`."""
        if not name.startswith("net."):
            raise ScoutError(f"namespace {self.name}: sysctl {name} is the whole machine's; only net.* is its own")
        try:
            with self.entered():
                Path("/proc/sys", name.replace(".", "/")).write_text(str(value))
        except OSError as error:
            raise ScoutError(f"namespace {self.name}: sysctl {name} = {value}: {error.strerror}") from error

    def offload(self, interface: str, **features: bool) -> None:
        """Switch offloads, by ethtool's names with underscores: `offload("eth0", tx_udp_segmentation=False)`.

        Raises
        ------
        ScoutError
            If the interface has no such offload, or the driver keeps it as it is.
        """
        with self.netlink(f"offload of {interface}") as ip:
            self._index(ip, interface)
        wanted = {name.replace("_", "-"): value for name, value in features.items()}
        with self.entered():
            switch_offloads(interface, wanted, f"namespace {self.name}: offload of {interface}")

    def gro_max_size(self, interface: str, size: int) -> None:
        """Let the kernel join received frames (GRO) to at most `size` bytes, without their Ethernet header.

        Raises
        ------
        ScoutError
            If the interface does not take this size.
        """
        with self.netlink(f"size of joined frames of {interface}") as ip:
            ip.link("set", index=self._index(ip, interface), gro_max_size=size)

    def link_stats(self, interface: str) -> LinkStats:
        """The kernel's counters of an interface."""
        with self.netlink(f"counters of {interface}") as ip:
            return read_stats(ip, self._index(ip, interface))

    def run(self, function: Callable[..., object], *args: object) -> Child:
        """Call a function in a forked process inside this namespace.

        The lab ends the process when it is left (SIGTERM, then SIGKILL), and the kernel ends it if this process dies.
        SIGINT does not reach it, so that Ctrl-C is the lab's to handle. To run a program:
        `run(os.execvp, "ping", ["ping", "10.0.0.1"])`.
        """
        with uninterrupted():
            process = self._forker.call(self._fork, function, *args)
            self._processes.append(process)
        return process

    def _fork(self, function: Callable[..., object], *args: object) -> Child:
        with self.entered():
            return Child(function, *args)

    def _ipv6_is_off(self) -> bool:
        with self.entered(), suppress(FileNotFoundError):
            return Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").read_text().strip() == "1"
        return True

    def up(self, *interfaces: str) -> None:
        """Set interfaces up."""
        with self.netlink(f"setting {', '.join(interfaces)} up") as ip:
            for interface in interfaces:
                ip.link("set", index=self._index(ip, interface), state="up")

    def await_carrier(self, interface: str) -> None:
        """Wait until the interface transmits: just after "up" the kernel still drops what is sent.

        Since Linux 6.8 (commit facd15dfd691) asking for one link makes the kernel catch up first.
        """
        with self.netlink(f"waiting for {interface}") as ip:
            index = self._index(ip, interface)
            deadline = time.monotonic() + _CARRIER_SECONDS
            while ip.link("get", index=index)[0].get("operstate") != "UP":
                if time.monotonic() > deadline:
                    raise ScoutError(f"namespace {self.name}: {interface} has no carrier; is its other end up?")

    def _index(self, ip: IPRoute, interface: str) -> int:
        found = ip.link_lookup(ifname=interface)
        if not found:
            names = ", ".join(sorted(link.get("ifname") for link in ip.get_links()))
            raise ScoutError(f"namespace {self.name}: no interface {interface}; there are: {names}")
        return int(found[0])

    @contextmanager
    def netlink(self, task: str) -> Iterator[IPRoute]:
        """A netlink socket of this namespace; the kernel's errors become a ScoutError that names the `task`."""
        # One socket per use: an IPRoute kept open would silently open another one in another thread,
        # in whatever namespace that thread is.
        try:
            # Uninterrupted, or the event loop inside complains about what a Ctrl-C leaves half done.
            with uninterrupted(), self.entered(), IPRoute() as ip:
                yield ip
        except NetlinkError as error:
            raise ScoutError(f"namespace {self.name}: {task}: {error.args[1]}") from error

    def _parse(self, parser: Callable[[str], Any], text: str) -> Any:
        try:
            return parser(text)
        except ValueError as error:
            raise ScoutError(f"namespace {self.name}: {error}") from error
