"""Labs: namespaces joined by veth pairs, made for a test, a benchmark or a demo and gone after it."""

import errno
import itertools
import os
import re
import time
from typing import Self

from pyroute2 import netns

from scout.io.host.interrupts import uninterrupted
from scout.io.host.link import add_veth
from scout.io.host.names import create, netns_name, remove, remove_leftovers
from scout.io.host.namespace import Namespace
from scout.io.host.process import Child, Forker
from scout.io.mac import mac_number, mac_text
from scout.ring.errors import ScoutError

__all__ = [
    "Lab",
]

NAME = re.compile(r"[\w.-]+", re.ASCII)
GRACE_SECONDS = 2.0  # from SIGTERM to SIGKILL


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
        self._processes: list[Child] = []
        self._owner = 0
        self._macs = itertools.count(0x02_00_00_00_00_01)  # 02: locally administered

    def __enter__(self) -> Self:
        remove_leftovers()
        self._owner = os.getpid()
        self._forker = Forker()
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
                self._forker.close()
                for name in self._netns:
                    remove(name)
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
        full_name = netns_name(self._owner, self.name, _checked(name))
        if full_name in netns.listnetns():
            raise ScoutError(f"lab {self.name}: namespace {name} exists; choose another name")
        self._netns.append(full_name)
        try:
            with uninterrupted():
                create(full_name)
        except OSError as error:
            fix = "run as root, or call scout.io.host.sandbox.enter() first"
            if error.errno == errno.ENOSPC:
                fix = "raise `sysctl user.max_net_namespaces`"
            raise ScoutError(f"lab {self.name}: namespace {name}: {error.strerror or error}; {fix}") from error
        return Namespace(name, full_name, self._forker, self._processes)

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
        first, second = mac or (self._next_mac(), self._next_mac())
        macs = mac_text(mac_number(first)), mac_text(mac_number(second))
        (here, near), (there, far) = end, peer
        with here.netlink(f"veth pair {near} to {there.name} {far}") as ip:
            add_veth(ip, (near, far), there.netns, macs, mtu)
        here.up(near)
        there.up(far)
        here.await_carrier(near)
        there.await_carrier(far)

    def _next_mac(self) -> str:
        return next(self._macs).to_bytes(6, "big").hex(":")


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ScoutError(f"lab: {name!r} is no name; use letters, digits, '.', '_' and '-'")
    return name


def _end(processes: list[Child]) -> None:
    """Ask processes to end, and kill those that do not."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        if not process.join(max(0.0, deadline - time.monotonic())):
            process.kill()
            process.join()
