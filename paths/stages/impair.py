"""Impair: a link that loses, delays, reorders, duplicates and corrupts packets, and has a bottleneck.

Usage: Impair(name, seed, connects, only, **impairments)
Requires and provides: one service, of the type `connects`.

The same seed and the same packets give the same decisions, in every replica and in every run; time is that of the
packets. First a packet may be lost, duplicated or corrupted; then it waits in the queue of the bottleneck; then it is
delayed, and may come later than packets behind it.

Drops
    impair-lost: chance would have it (`loss`).
    impair-burst-lost: the link was in a bad state (`burst_begin`, `burst_end`, `burst_loss`).
    impair-queue-full: the packet found no room in the queue of the bottleneck (`rate`, `limit`).
    impair-corrupted-gso: a GSO packet would have been corrupted, whose segments get right checksums afterwards.
Example
    Impair("link", seed=7, loss=0.01, delay=0.02, jitter=0.005)
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np

from scout.io.copies import new_copies, restore, save
from scout.io.packet import SECOND
from scout.paths.changes.values import SetValue
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError
from scout.paths.model.setting import Setting
from scout.paths.model.stage import Emission, Outcome, Stage, Via
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.stages.filter import Filter
from scout.paths.stages.impairment import (
    CORRUPTION,
    DUPLICATION,
    LOSS,
    MILLION,
    POSITION,
    STATE,
    arrival,
    chance,
    draw,
    drops_in_burst,
    flip,
    transmit,
)
from scout.paths.wire.segments import segments

__all__ = ["Impair", "Impairments", "impair", "repeat"]

LOST, BURST_LOST, QUEUE_FULL = drop("impair-lost"), drop("impair-burst-lost"), drop("impair-queue-full")
CORRUPTED_GSO = drop("impair-corrupted-gso")
PASSED, DELAYED = 0, 1
"""Outcomes of `impair`."""


class Impairments(TypedDict, total=False):
    """The faults of a link; see `Impair`."""

    loss: float
    burst_begin: float
    burst_end: float
    burst_loss: float
    duplicate: float
    corrupt: float
    rate: float
    limit: int
    delay: float
    jitter: float
    reorder: float
    late: float


def impair(
    frame: Any,
    end: Any,
    packet: Any,
    state: Any,
    seed: int,
    loss_ppm: int,
    burst_begin_ppm: int,
    burst_end_ppm: int,
    burst_loss_ppm: int,
    duplicate_ppm: int,
    corrupt_ppm: int,
    rate_bps: int,
    limit_bytes: int,
    delay_us: int,
    jitter_us: int,
    reorder_ppm: int,
    late_us: int,
    copies: Any,
    made: Any,
    primary: bool,
    whole: Any,
    whole_index: int,
) -> int:
    """Decide what becomes of a packet, and when it goes on; change its bytes if it is to be corrupted."""
    link, now = state[0], packet.timestamp
    number = link.packets
    link.packets = number + 1
    if now < link.time - SECOND:  # the clock was set back
        link.free = link.latest = now
    link.time = now
    count, size = segments(frame, end, packet)
    if count > 1:
        link.gso += 1
    if drops_in_burst(link, seed, number, burst_begin_ppm, burst_end_ppm, burst_loss_ppm):
        link.burst_lost += 1
        return BURST_LOST
    if chance(seed, number, LOSS, loss_ppm):
        link.lost += 1
        return LOST
    sent = transmit(link, now, count, size, rate_bps, limit_bytes)
    if sent < 0:
        link.overflowed += 1
        return QUEUE_FULL
    due = arrival(link, seed, number, False, sent, delay_us, jitter_us, reorder_ppm, late_us)
    if chance(seed, number, DUPLICATION, duplicate_ppm):
        sent = transmit(link, now, count, size, rate_bps, limit_bytes)
        if sent < 0:
            link.overflowed += 1
        else:
            link.duplicated += 1
            again = arrival(link, seed, number, True, sent, delay_us, jitter_us, reorder_ppm, late_us)
            if primary and save(frame, end, packet, copies, made[0], again):
                made[0] += 1
    if chance(seed, number, CORRUPTION, corrupt_ppm):
        link.corrupted += 1
        if count > 1:
            return CORRUPTED_GSO
        if primary:
            flip(frame, end, packet, whole, whole_index, draw(seed, number, POSITION))
    # With copies, which leave later, so that a packet's copy does not come behind the next packets.
    if due > now or rate_bps > 0 or delay_us > 0 or jitter_us > 0 or duplicate_ppm > 0:
        packet.due = due
        return DELAYED
    return PASSED


def repeat(frame: Any, end: Any, packet: Any, copies: Any, made: Any) -> int:
    """Let a packet that is made be the copy of one that was saved."""
    made[0] -= 1
    restore(frame, end, packet, copies, made[0])
    return 0


class _Unit(NamedTuple):
    """The setting that an impairment becomes; times `scale` its value is that of the setting."""

    setting: str
    scale: int
    most: int
    default: int = 0


_UNITS = {
    "loss": _Unit("loss_ppm", MILLION, MILLION),
    "burst_begin": _Unit("burst_begin_ppm", MILLION, MILLION),
    "burst_end": _Unit("burst_end_ppm", MILLION, MILLION, 250_000),
    "burst_loss": _Unit("burst_loss_ppm", MILLION, MILLION, MILLION),
    "duplicate": _Unit("duplicate_ppm", MILLION, MILLION),
    "corrupt": _Unit("corrupt_ppm", MILLION, MILLION),
    "rate": _Unit("rate_bps", 1, 10**12),
    "limit": _Unit("limit_bytes", 1, 10**9, 100_000),
    "delay": _Unit("delay_us", MILLION, 30 * MILLION),
    "jitter": _Unit("jitter_us", MILLION, 30 * MILLION),
    "reorder": _Unit("reorder_ppm", MILLION, MILLION),
    "late": _Unit("late_us", MILLION, 30 * MILLION, 5_000),
}


class Impair(Filter):
    """A bad link, for tests of what uses it: `tc netem` for kernels that have none, and the same in every run.

    It stands below IP. With `connects="ipv4"`, the default, it impairs what comes by the interface below it; with
    `connects="adjacency"` what IP sends. Packets that wait are their primary's own, so that services which keep state
    stand before it.

    Parameters
    ----------
    name : str
    seed : int
        Of all that happens by chance; 64 bits. Two links with one seed lose the same packets, by number.
    connects : {"ipv4", "adjacency"}
    only : mapping, optional
        Attributes of the packets that are impaired, as for `Filter`; others pass by. By default all are.
    loss : float
        The share of packets that are lost, as 0.01, independently of each other.
    burst_begin, burst_end, burst_loss : float
        Losses in bursts, by the model of Gilbert and Elliott: the chance that the link becomes bad before a packet (0:
        there are no bursts), that a bad link becomes good, and that a bad one loses a packet. The mean burst has
        1 / `burst_end` packets.
    duplicate : float
        The share of packets that come twice. The copy passes the bottleneck behind the packet.
    corrupt : float
        The share of packets of which one bit is changed, behind the IP header.
    rate : float
        Bits a second that pass the bottleneck, counted from the IP header on; 0: there is none.
    limit : int
        Bytes that the queue of the bottleneck holds, those included that are being sent. A packet that finds no room is
        dropped (drop-tail).
    delay, jitter : float
        Seconds: every packet is delayed by `delay`, more or less up to `jitter`. Packets keep their order.
    reorder, late : float
        The share of packets that are late by so many seconds more, and that others may overtake meanwhile.

    Raises
    ------
    GraphError
        If a value makes no sense.

    Attributes
    ----------
    settings : dict of str to Setting
        The values while it runs, in millionths, bits a second, bytes and microseconds: "loss_ppm" and so on.
    state : Table
        The state of the link and its counts of packets: `scout.paths.stages.impairment.STATE`[1], the same in every
        replica.

    Examples
    --------
    >>> link = Impair("link", seed=7, loss=0.01, delay=0.02)
    >>> link.settings["delay_us"].value
    20000

    Then `graph.add(link)` and `graph.connect("ip", "link", "left")`. While it runs::

        supervisor.change(*link.becoming(loss=0.1, delay=0))
    """

    def __init__(
        self,
        name: str,
        seed: int = 0,
        connects: str = "ipv4",
        only: Mapping[str, Any] | None = None,
        **impairments: Unpack[Impairments],
    ) -> None:
        if connects not in ("ipv4", "adjacency"):
            raise GraphError(f"{name}: connects={connects!r}; give 'ipv4' for what IP receives, or 'adjacency'")
        if not isinstance(seed, int | np.integer) or not 0 <= seed < 1 << 63:
            raise GraphError(f"{name}: seed={seed!r}; give an int of 0 to 2**63 - 1")
        self.name = name
        self.settings = {unit.setting: Setting(unit.default, range(unit.most + 1)) for unit in _UNITS.values()}
        for setting, value in self._values(impairments).items():
            self.settings[setting].value = value
        self.state = Table(np.zeros(1, STATE))
        self._copies = {
            "copies": Table(new_copies(), "private"),
            "made": Table(np.zeros(1, np.int64), "private"),  # packets that wait to be made
        }
        bindings: Any = {"state": self.state, "seed": int(seed), **self.settings, **self._copies}
        receive, send = (impair, None) if connects == "ipv4" else (None, impair)
        super().__init__(name, receive, send, connects, only=only, **bindings)

    def becoming(self, **impairments: Unpack[Impairments]) -> list[SetValue]:
        """The changes after which the link has these impairments, and otherwise those that it has.

        Raises
        ------
        GraphError
            If a value makes no sense.
        """
        return [SetValue(self.settings[setting], value) for setting, value in self._values(impairments).items()]

    def _values(self, impairments: Mapping[str, Any]) -> dict[str, int]:
        """The values of settings that impairments are given by."""
        values = {}
        for each, given in impairments.items():
            if each not in _UNITS:
                raise GraphError(f"{self.name}: no impairment {each!r}; there are {', '.join(_UNITS)}")
            unit = _UNITS[each]
            if not isinstance(given, int | float | np.number) or not 0 <= given <= unit.most / unit.scale:
                raise GraphError(f"{self.name}: {each}={given!r}; give 0 to {unit.most / unit.scale:g}")
            values[unit.setting] = round(given * unit.scale)
        return values

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        delayed = Outcome("delayed", Via("up" if self.functions["receive"] else "down"), waits=True)
        if key == "repeat":
            return Stage(repeat, (delayed,), self._copies)
        stage = super().stage(key, graph, attributes)
        if stage.function is not impair:
            return stage  # it looks for the pattern
        return replace(stage, outcomes=(*stage.outcomes, delayed), emits=Emission("repeat", self._copies["made"]))
