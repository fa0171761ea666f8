"""Control requests: what a service is told, at one position among the packets of a channel in every replica."""

from scout.domain_arguments import Channels
from scout.io.channels.contract import PacketChannel
from scout.io.packet import CONTROL_BIND, CONTROL_TICK
from scout.memory import Memory
from scout.paths.framework.service import Service
from scout.paths.model.path import Path
from scout.plan import Plan
from scout.ring.errors import ScoutError

__all__ = ["Control"]

_ROOM_TIMEOUT = 1.0  # seconds that a request waits for room in its channel


class Control:
    """Sends control requests to the services of a plan.

    Parameters
    ----------
    plan : Plan
    channels : sequence of tuple
        The channels, each with its paths.
    memory : Memory
        Has the clock that held packets are judged by.
    """

    def __init__(self, plan: Plan, channels: Channels, memory: Memory) -> None:
        self._plan, self._channels, self._memory = plan, channels, memory
        self._timed = self._controlled()  # the channels' paths are those of the start

    @property
    def has_timers(self) -> bool:
        """True if services have timers, which need ticks."""
        return bool(self._timed)

    def send(self, service: Service, kind: int, argument: int = 0) -> None:
        """Tell a service something; see `Supervisor.control`."""
        found = self._controlled(service)
        if not found:
            raise ScoutError(f"{service.name}: no path leads to it, so no control request reaches it")
        # The state of a service is one in each replica, so that one of the channels that lead to it is enough.
        channel, path, stage = found[0]
        now = self._memory.now(channel)
        if not channel.control(self._plan.numbers[path], kind, stage, argument, now, timeout=_ROOM_TIMEOUT):
            raise ScoutError(f"{service.name}: the channel of {path.source} stays full; try again")

    def bind(self, service: Service, *handlers: str) -> None:
        """Bind just these handlers of a service; see `Supervisor.bind`."""
        self.send(service, CONTROL_BIND, service.mask(handlers))

    def tell_time(self) -> None:
        """Tell replicas how time passes, and what time it is."""
        channels = [channel for channel, _ in self._channels]
        live = [channel.is_live for channel in channels]
        at_end = [channel.drained() for channel in channels]
        self._memory.tick(any(live) and all(a or b for a, b in zip(live, at_end, strict=True)), all(at_end))

    def tick(self) -> None:
        """Let time pass while no packets come: for held packets, and by a request for services with timers.

        This never waits for room: the caller also replaces dead replicas, for which a full channel may be waiting.
        """
        self.tell_time()
        if not self._timed:
            return
        ticking = {id(channel) for channel, _ in self._channels if channel.ticks}
        for channel, path, stage in self._timed:
            if id(channel) in ticking:
                channel.control(self._plan.numbers[path], CONTROL_TICK, stage, 0, self._memory.now(channel), timeout=0)

    def _controlled(self, service: Service | None = None) -> list[tuple[PacketChannel, Path, int]]:
        """The channels that lead to a service, by default to each service with timers.

        Each with one of its paths that lead there, and the number of the service's stage on that path.
        """
        found: dict[tuple[int, str], tuple[PacketChannel, Path, int]] = {}
        for index, (channel, paths) in enumerate(self._channels):
            for path in paths:
                for _, data in path.nodes(data=True):
                    if data["kind"] != "stage" or not data["stage"].controlled:
                        continue
                    if data["router"] == service.name if service else "timers" in data["stage"].parameters:
                        found.setdefault((index, data["router"]), (channel, path, data["index"]))
        return list(found.values())
