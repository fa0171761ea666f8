"""Labs: namespaces joined by veth pairs, made for a test, a benchmark or a demo and gone after it."""

import ctypes
import difflib
import errno
import ipaddress
import itertools
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, Self

from pyroute2 import IPRoute, netns
from pyroute2.ethtool.ioctl import IoctlEthtool, NotSupportedError
from pyroute2.netlink.exceptions import NetlinkError

from scout.io.host.sandbox import CLONE_NEWNET
from scout.ring.errors import ScoutError

__all__ = ["Lab", "LinkStats", "Namespace", "entered", "uninterrupted"]

NAME = re.compile(r"[\w.-]+", re.ASCII)
MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", re.IGNORECASE)
LAB_NETNS = re.compile(r"scout-(?P<pid>\d+)\.(?P<start>\d+)-")
IFNAMSIZ = 16  # linux/if.h, with the closing zero
IFA_F_NODAD = 0x02  # linux/if_addr.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h
GRACE_SECONDS = 2.0  # from SIGTERM to SIGKILL
CARRIER_SECONDS = 5.0  # milliseconds do on an idle machine

_fork = multiprocessing.get_context("fork")
_libc = ctypes.CDLL(None, use_errno=True)


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


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off what the handlers of SIGINT and SIGTERM do until the end of the block.

    By handlers and not by the signal mask: with another thread to take the signal, Python would run the
    handler in this one all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread alone
        return
    caught: list[int] = []
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number, handler in usual.items():
            if callable(handler):
                signal.signal(number, lambda signum, _: caught.append(signum))
        yield
    finally:
        for number, handler in usual.items():
            if callable(handler):
                signal.signal(number, handler)
        for signum in caught:
            signal.raise_signal(signum)


class Namespace:
    """A network namespace of a lab; made by `Lab.namespace`, removed by its lab.

    Attributes
    ----------
    name : str
        Its name in the lab.
    netns : str
        Its name in the kernel, for `ip netns exec` and `scout rates --netns`.
    """

    def __init__(self, name: str, netns_name: str, processes: list[ForkProcess]) -> None:
        self.name = name
        self.netns = netns_name
        self._processes = processes
        # Quiet: no router solicitations, no duplicate address detection. `all` holds for new links too.
        if os.path.exists("/proc/sys/net/ipv6"):
            self.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        self.sysctl("net.ipv4.ip_forward", 0)  # a new namespace starts with the host's value
        self._up("lo")

    def __repr__(self) -> str:
        return f"<Namespace {self.netns}>"

    def entered(self) -> AbstractContextManager[None]:
        """Keep the calling thread in this namespace for a `with` block (see `scout.io.host.lab.entered`)."""
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
        flags = {"flags": IFA_F_NODAD} if parsed.version == 6 else {}
        with self._netlink(f"address {address} on {interface}") as ip:
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
        with self._netlink(f"route {destination}") as ip:
            if interface is not None:
                spec["oif"] = self._index(ip, interface)
            ip.route("add", **spec)

    def neighbour(self, interface: str, address: str, mac: str) -> None:
        """Set the MAC address of a neighbour for good, so that none is asked for."""
        parsed = str(self._parse(ipaddress.ip_address, address))
        with self._netlink(f"neighbour {address} on {interface}") as ip:
            index = self._index(ip, interface)
            ip.neigh("replace", ifindex=index, dst=parsed, lladdr=_checked_mac(mac), state="permanent")

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
        place = f"namespace {self.name}: offload of {interface}"
        with self._netlink(f"offload of {interface}") as ip:
            self._index(ip, interface)
        with self.entered():
            ethtool = IoctlEthtool(interface)
        try:
            wanted = {name.replace("_", "-"): value for name, value in features.items()}
            known = ethtool.get_features()
            for name, value in wanted.items():
                if name not in known:
                    near = difflib.get_close_matches(name, known.keys(), cutoff=0)
                    raise ScoutError(f"{place}: no {name}; of `ethtool -k`'s names, near it are {', '.join(near)}")
                known[name] = value
            # pyroute2 raises this for a partial success too; what counts is what is read back.
            with suppress(NotSupportedError):
                ethtool.set_features(known)
            now = ethtool.get_features()
            kept = [name for name, value in wanted.items() if now[name] != value]
            if kept:
                raise ScoutError(f"{place}: the driver does not let {', '.join(kept)} be changed")
        finally:
            ethtool.close()

    def link_stats(self, interface: str) -> LinkStats:
        """The kernel's counters of an interface."""
        with self._netlink(f"counters of {interface}") as ip:
            (link,) = ip.link("get", index=self._index(ip, interface))
        counters = link.get("stats64")
        return LinkStats(**{field.name: counters[field.name] for field in fields(LinkStats)})

    def run(self, function: Callable[..., object], *args: object) -> ForkProcess:
        """Call a function in a forked process inside this namespace.

        The lab ends the process (SIGTERM, then SIGKILL) when it is left; SIGINT does not reach it, so
        that Ctrl-C is the lab's to handle. It also ends when the thread that started it ends, killed or
        not. To run a program: `run(os.execvp, "ping", ["ping", "10.0.0.1"])`.
        """
        process = _fork.Process(target=_serve, args=(os.getpid(), function, args), name=self.netns)
        with uninterrupted(), self.entered():
            self._processes.append(process)
            process.start()
        return process

    def _ipv6_is_off(self) -> bool:
        with self.entered(), suppress(FileNotFoundError):
            return Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").read_text().strip() == "1"
        return True

    def _up(self, *interfaces: str) -> None:
        with self._netlink(f"setting {', '.join(interfaces)} up") as ip:
            for interface in interfaces:
                ip.link("set", index=self._index(ip, interface), state="up")

    def _await_carrier(self, interface: str) -> None:
        """Wait until the interface transmits: just after "up" the kernel still drops what is sent.

        Since Linux 6.8 (commit facd15dfd691) asking for one link makes the kernel catch up first.
        """
        with self._netlink(f"waiting for {interface}") as ip:
            index = self._index(ip, interface)
            deadline = time.monotonic() + CARRIER_SECONDS
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
    def _netlink(self, task: str) -> Iterator[IPRoute]:
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


class Lab:
    """A set of namespaces and the veth pairs between them, for the time of a `with` block.

    Whatever ends the block, the processes started in the lab are ended and its namespaces removed; what
    a killed process left behind is removed when the next lab is entered. Needs root, or
    `scout.io.host.sandbox.enter()` before. Not to be used inside a running asyncio loop.

    Parameters
    ----------
    name : str
        Names the lab's namespaces in the kernel: `scout-<pid>.<start time of the process>-<lab>-<name>`.

    Examples
    --------
    >>> from scout.io.host.sandbox import enter
    >>> in_sandbox = enter()
    >>> with Lab("example") as lab:
    ...     left, right = lab.namespace("left"), lab.namespace("right")
    ...     lab.veth((left, "eth0"), (right, "eth0"))
    ...     left.address("eth0", "10.0.0.1/24")
    ...     right.address("eth0", "10.0.0.2/24")
    ...     left.link_stats("eth0").rx_errors
    0
    """

    def __init__(self, name: str) -> None:
        self.name = _checked(name)
        self._netns: list[str] = []
        self._processes: list[ForkProcess] = []
        self._owner = 0
        self._macs = itertools.count(0x02_00_00_00_00_01)  # 02: locally administered

    def __enter__(self) -> Self:
        _remove_leftovers()
        self._owner = os.getpid()
        return self

    def __exit__(self, *exception: object) -> None:
        # A forked copy that leaves the block must not take the lab away from its owner.
        if os.getpid() != self._owner:
            return
        with uninterrupted():
            self._owner = 0
            try:
                _end(self._processes)
            finally:
                for name in self._netns:
                    _remove(name)
            self._processes.clear()
            self._netns.clear()

    def namespace(self, name: str) -> Namespace:
        """Make a namespace: `lo` up, IPv6 off, IPv4 forwarding off.

        Raises
        ------
        ScoutError
            If the lab has one of that name, or this process may not make namespaces.
        """
        if os.getpid() != self._owner:
            raise ScoutError(f"lab {self.name}: not entered by this process; use `with Lab({self.name!r}) as lab:`")
        netns_name = f"scout-{self._owner}.{_start_time(self._owner)}-{self.name}-{_checked(name)}"
        if netns_name in netns.listnetns():
            raise ScoutError(f"lab {self.name}: namespace {name} exists; choose another name")
        self._netns.append(netns_name)
        try:
            with uninterrupted():
                _create(netns_name)
        except OSError as error:
            mend = "run as root, or call scout.io.host.sandbox.enter() first"
            if error.errno == errno.ENOSPC:
                mend = "raise `sysctl user.max_net_namespaces`"
            raise ScoutError(f"lab {self.name}: namespace {name}: {error.strerror or error}; {mend}") from error
        return Namespace(name, netns_name, self._processes)

    def veth(
        self,
        end: tuple[Namespace, str],
        peer: tuple[Namespace, str],
        mac: tuple[str, str] | None = None,
        mtu: int | None = None,
    ) -> None:
        """Join two namespaces by a veth pair; both ends are up and transmit when it returns.

        Parameters
        ----------
        end, peer : (Namespace, str)
            Where each end lies and what it is called there.
        mac : (str, str), optional
            MAC addresses of `end` and `peer`; by default 02:00:00:00:00:01 and so on through the lab.
        mtu : int, optional
            Of both ends, in bytes; the kernel's default is 1500.
        """
        macs = [_checked_mac(text) for text in mac or (self._next_mac(), self._next_mac())]
        size = {} if mtu is None else {"mtu": mtu}
        for _, interface in (end, peer):
            if not 0 < len(interface) < IFNAMSIZ:
                raise ScoutError(f"lab {self.name}: interface {interface!r}: use 1 to {IFNAMSIZ - 1} characters")
        (here, near), (there, far) = end, peer
        with here._netlink(f"veth pair {near} to {there.name} {far}") as ip:
            ip.link(
                "add",
                ifname=near,
                kind="veth",
                address=macs[0],
                peer={"ifname": far, "net_ns_fd": there.netns, "address": macs[1], **size},
                **size,
            )
        here._up(near)
        there._up(far)
        here._await_carrier(near)
        there._await_carrier(far)

    def _next_mac(self) -> str:
        return next(self._macs).to_bytes(6, "big").hex(":")


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ScoutError(f"lab: {name!r} is no name; use letters, digits, '.', '_' and '-'")
    return name


def _checked_mac(text: str) -> str:
    if not MAC.fullmatch(text):
        raise ScoutError(f"lab: {text!r} is no MAC address; write it like 02:00:00:00:00:01")
    return text


def _start_time(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot: with the pid it names a process for good."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Field 22 (proc_pid_stat(5)); the second field, the program's name, may hold spaces and brackets.
    return int(text.rpartition(")")[2].split()[22 - 3])


def _create(netns_name: str) -> None:
    """Make a network namespace without moving the calling thread there.

    A thread that ends is left in it instead. pyroute2's `netns.create` forks for that, and on Ctrl-C the
    copy of this process unwinds all that its callers have to clean up.
    """

    def make() -> None:
        if _libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        netns.attach(netns_name, threading.get_native_id())

    with ThreadPoolExecutor(1) as thread:
        thread.submit(make).result()


def _remove_leftovers() -> None:
    for name in netns.listnetns():
        owner = LAB_NETNS.match(name)
        if owner and _start_time(int(owner["pid"])) != int(owner["start"]):
            _remove(name)


def _remove(netns_name: str) -> None:
    # Never made, removed by another lab that was quicker, or another user's.
    with suppress(FileNotFoundError, PermissionError):
        netns.remove(netns_name)


def _serve(parent: int, function: Callable[..., object], args: tuple[object, ...]) -> None:
    """Run in the forked process of `Namespace.run`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # native loops never come back to a handler of the parent's
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:  # else it died before the line above
        function(*args)


def _end(processes: list[ForkProcess]) -> None:
    alive = []
    for process in processes:
        with suppress(ValueError):  # closed by its user, so it has ended
            if process.is_alive():
                alive.append(process)
                process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for process in alive:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()  # does nothing to one that has ended
        process.join()
