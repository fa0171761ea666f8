"""Ports that get an interface, or lose it, while packets flow.

The loop of the replicas, the code of the paths and all tables know a port from the start, whether it has an interface
or not. Replicas also have the ring of the port and the sockets that they send by: a port without an interface
(`AfPacketPort()`) has them bound to none. So an interface comes and goes by binding these sockets, which all processes
share, and by changes of tables in shared memory.

An interface is added in this order: it is opened, and the sockets that replicas send by are bound; the other changes
are checked; the ring is bound; the other changes are made, as one; frames are admitted. Up to the last two steps
nothing has changed.

It is deleted in this order: the kernel admits no more frames; replicas serve those of the ring; the other changes are
made, as one, with those that delete its addresses, MTU and neighbours; once all replicas have come to them the
interface goes.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from scout.changes import Changes
from scout.domain_arguments import Channels
from scout.io.channels.kernel_ring import KernelRing
from scout.io.host.process import Forker
from scout.io.ports.afpacket import AfPacketPort
from scout.membership import Membership
from scout.memory import Memory
from scout.paths.changes.ports import AddPort, DeletePort
from scout.paths.model.change import Change
from scout.paths.model.path import Path
from scout.plan import Plan
from scout.reports import Reporter
from scout.ring.errors import ScoutError

__all__ = ["LivePorts"]

_PATIENCE = 10.0  # seconds until replicas have served what a ring has
_LOCK_TIMEOUT = 10.0  # seconds that a change waits for another thread's
_NAP = 0.001  # seconds between two looks


class LivePorts:
    """Adds interfaces to the ports of a run, and takes them away.

    Parameters
    ----------
    plan : Plan
    channels : sequence of tuple
        The channels, each with its paths.
    memory : Memory
    membership : Membership
    changes : Changes
    forker : Forker
        Opens sockets in the network namespace of the run.
    reporter : Reporter
    """

    def __init__(
        self,
        plan: Plan,
        channels: Channels,
        memory: Memory,
        membership: Membership,
        changes: Changes,
        forker: Forker,
        reporter: Reporter,
    ) -> None:
        self._plan, self._channels, self._memory = plan, channels, memory
        self._membership, self._changes, self._forker, self._reporter = membership, changes, forker, reporter
        self._lock = threading.Lock()

    def apply(
        self, changes: Sequence[Change], make: Callable[[Sequence[Change]], int], gone: Collection[Path] = ()
    ) -> int:
        """Make changes of which some are of ports; `make` makes the others, as one change. The epoch.

        The paths that are `gone` are deleted by this change.

        Raises
        ------
        ScoutError
            If one of them cannot be made; then nothing has changed.
        """
        with self._alone():
            adding = [each for each in changes if isinstance(each, AddPort)]
            deleting = [each for each in changes if isinstance(each, DeletePort)]
            self._check(adding, deleting)
            others = [each for each in changes if not isinstance(each, AddPort | DeletePort)]
            for each in deleting:
                found = (change for router in self._plan.graph.routers for change in router.clearing(each.port))
                others += [change for change in found if change not in others]
            with ExitStack() as undo:
                self._open(adding, undo)
                self._changes.check(others, gone)
                self._prepare(adding, undo)
                for each in deleting:
                    self._drain(each.port, undo)
                epoch = make(others)
                undo.pop_all()  # it is made
            self._admit(adding)
            if deleting:
                self._take_away(deleting, epoch)
            return epoch

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=_LOCK_TIMEOUT):
            raise ScoutError("ports are being changed; try again")
        try:
            yield
        finally:
            self._lock.release()

    def _port(self, name: str) -> AfPacketPort:
        port = self._plan.port(name)
        assert isinstance(port, AfPacketPort)
        return port

    def _channel(self, name: str) -> KernelRing | None:
        """The channel of a port; None if no path begins there."""
        for channel, paths in self._channels:
            if name in (path.source for path in paths):
                assert isinstance(channel, KernelRing)
                return channel
        return None

    # Checking.

    def _check(self, adding: Sequence[AddPort], deleting: Sequence[DeletePort]) -> None:
        """Refuse what cannot be, before anything is opened."""
        names = [*(each.port for each in adding), *(each.port for each in deleting)]
        for name in names:
            self._check_place(name)
            if names.count(name) > 1:
                raise ScoutError(f"port {name}: one change has it twice; make two changes of it")
        taken = {self._plan.port(each).interface: each for each in self._plan.graph.ports if each not in names}
        for change in adding:
            if there := self._port(change.port).interface:
                raise ScoutError(f"port {change.port}: it has interface {there} already; delete the port first")
            if change.interface in taken:
                raise ScoutError(f"port {change.port}: port {taken[change.interface]} has interface {change.interface}")
            taken[change.interface] = change.port
        for name in (each.port for each in deleting):
            if not self._port(name).interface:
                raise ScoutError(f"port {name}: it has no interface to delete")
        if self._plan.is_sharded:
            raise ScoutError("flows are sharded among the replicas from the start; ports are not changed")

    def _check_place(self, name: str) -> None:
        ports = self._plan.graph.ports
        if name not in ports:
            raise ScoutError(f"no port {name!r}; there are {', '.join(ports)}; others need a new start")
        port = self._plan.port(name)
        if not isinstance(port, AfPacketPort):
            raise ScoutError(f"port {name} is {port!r}; only ports on interfaces, as AfPacketPort(), come and go")
        for _, paths in self._channels:
            sources = list(dict.fromkeys(path.source for path in paths))
            if name in sources and len(sources) > 1:
                raise ScoutError(
                    f"port {name}: it shares a channel with {', '.join(each for each in sources if each != name)}, as "
                    f"{' and '.join(self._plan.sequenced)} wants one order of their packets; that needs a new start"
                )

    # Adding.

    def _open(self, adding: Sequence[AddPort], undo: ExitStack) -> None:
        """Give ports their interfaces; replicas cannot use them yet."""
        for each in adding:
            port = self._port(each.port)
            undo.callback(self._tell_routers)
            self._forker.call(partial(port.plug, each.interface, each.mac, each.promiscuous, each.coalesce))
            undo.callback(port.unplug)
        self._tell_routers()

    def _prepare(self, adding: Sequence[AddPort], undo: ExitStack) -> None:
        """Bind the rings; nothing comes yet."""
        for channel in (each for change in adding if (each := self._channel(change.port))):
            undo.callback(channel.unplug)
            channel.plug()
            channel.prepare()

    def _admit(self, adding: Sequence[AddPort]) -> None:
        """Receive packets from ports."""
        for each in adding:
            if channel := self._channel(each.port):
                channel.admit()
            for warning in self._port(each.port).warnings():
                self._reporter(f"port {each.port}: {warning}")

    def _tell_routers(self) -> None:
        """Have routers and the code of paths know the present MAC addresses and MTUs."""
        for router in self._plan.graph.routers:
            router.learn_ports(self._plan.graph)
        self._memory.reconfigure()

    # Deleting.

    def _drain(self, name: str, undo: ExitStack) -> None:
        """Receive no more frames from a port, and wait until replicas have served those that came."""
        if channel := self._channel(name):
            undo.callback(channel.resume_receiving)
            channel.quiesce()
            if not self._await(lambda: channel.is_drained):
                raise ScoutError(f"port {name}: replicas have not served its packets in {_PATIENCE:.0f} s; try again")

    def _take_away(self, deleting: Sequence[DeletePort], epoch: int) -> None:
        """Take the interfaces away, of which no packet is left, and which none is led to."""
        channels = {each.port: self._channel(each.port) for each in deleting}
        if not self._await(lambda: self._changes.reached(epoch)):
            names = ", ".join(channels)
            raise ScoutError(f"port {names}: replicas are behind, and it keeps its interface, unused; delete it again")
        for name, channel in channels.items():
            if channel:
                channel.unplug()
            self._port(name).unplug()
        self._tell_routers()

    def _await(self, condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > deadline or not self._membership.taking_part:
                return False
            time.sleep(_NAP)
        return True
