"""How a replica waits for packets and control requests, whatever channels they come by.

To block is to sleep on the bell. Where packets come one after the other, such as questions and their answers, a wake-up
costs more than the time between them. So a replica that expects a short wait looks for `POLL` nanoseconds before it
sleeps, and gives its core to others between two looks. It expects what came last time after the same three waits, each
short or long (as branch predictors of processors do): so it polls for an answer, and not for the next question, though
that comes a second later. It polls only after work: a router without packets sleeps.

A replica that finds `DENSE` packets at once (`are_many`) does not look at their channel again until the batch of a
super-frame is there, or `GATHERING` nanoseconds have passed since it found them (`gathers` of the channels). Meanwhile
arriving packets announce themselves to no one.
"""

import numpy as np

from scout.io.packet import GSO_NONE, GSO_UDP_L4
from scout.io.system import clock, epoll_wait, monotonic_clock, ppoll
from scout.ring.atomics import store64
from scout.ring.bell import announce_sleep, arm, disarm, is_armed, is_lookout
from scout.ring.jit import Record, inline
from scout.ring.wait import SPINS, YIELD, back_off

__all__ = [
    "DENSE",
    "GATHERING",
    "LONG",
    "NEVER",
    "POLL",
    "SHARED",
    "WAITER",
    "are_many",
    "expects_short_wait",
    "gathers_now",
    "monotonic",
    "now",
    "remember_wait",
    "rest",
    "see_many",
]

WAITER = np.dtype(
    [
        ("strategy", "i8"),  # SPIN, YIELD or BLOCK of `scout.ring.wait`
        ("replica", "i8"),
        ("bell", "i8"),  # address of the bell (`scout.ring.bell`)
        ("watch", "i8"),  # what the lookout sleeps on: an epoll instance
        ("own", "i8"),  # what this replica sleeps on while it is not the lookout
        ("event", "i8", 2),  # room for a struct epoll_event
        ("time", "i8", 2),  # a struct timespec
        ("until", "i8"),  # when the replica is to be awake if it is the lookout, nanoseconds since 1970, or `NEVER`
        ("waits", "i8"),  # its last waits, a bit each, the last one lowest: 1 for a short one
        ("short", "i8"),  # bit n: 1 if the wait was short that last came after the waits n
        ("since", "i8"),  # since when it waits, but for a few looks; 0: it does not
        ("busy", "i8"),  # until when it does not poll, as another process has kept its core
        ("woken", "i8"),  # when its last sleep ended; 0: it has not slept since then
        ("many", "i8"),  # when the replica last took DENSE packets at once; 0: it does not wait for more
        ("dense", "i8"),  # the channel that they were in
        ("tick", "f8"),  # nanoseconds a tick (`scout.io.stopwatch`)
    ]
)
"""The state with which a replica waits; private to its process."""

_EVENT, _TIME = (WAITER.fields[name][1] for name in ("event", "time"))  # type: ignore[index]

NEVER = 1 << 62
"""A time that does not come."""

POLL = 100_000
"""Nanoseconds that a replica polls at most before it sleeps: two wake-ups of other processes, and what these do."""

LONG, SHARED = 300_000, 100_000_000
"""Nanoseconds without its core after which a replica that polls does not poll for a while, and how long: a wake-up
takes the core from a process that only computes, but a replica that has yielded waits until that process's time is
over, some milliseconds."""

DENSE, GATHERING = 16, 50_000
"""Packets that a replica takes at once after which it lets more come, and the nanoseconds from then on until it looks
again at the latest."""

_MILLISECOND, _POLLIN = 1_000_000, 1
_HISTORY = 7  # the bits of three waits
_FIRST, _NEXT, _LAST, _WATCHING, _SHALLOW = 1, 10, 20, 100, SPINS + 20
"""Milliseconds that a replica sleeps at most: after requests, after a sleep in vain, and after `_SHALLOW` rounds in
vain, a tenth of a second; then as the lookout, whom all that comes wakes. While packets flow, replicas come to those of
a lookout that gets no processor, and return frames to the kernel, within the first. A sleep takes some 50 µs of a core.
"""


@inline
def now(waiter: np.ndarray) -> int:
    """Nanoseconds since 1970, the clock of the kernel's time stamps. Never for replicated work."""
    return clock(waiter.ctypes.data + _TIME)


@inline
def monotonic(waiter: np.ndarray) -> int:
    """Nanoseconds since some moment, never set back."""
    return monotonic_clock(waiter.ctypes.data + _TIME)


@inline
def rest(waiter: np.ndarray, idle: int, until: int, keeps_packets: bool) -> int:
    """Wait for requests, after `idle` rounds in vain, by the replica's strategy; how many rounds count as in vain.

    Before each sleep the replica announces it, and has one more round. It sleeps no longer than `until`, a time of
    `now`, or `NEVER`; nor, as the lookout, than the time that the record says. `keeps_packets`: it has packets that are
    to be tried again.
    """
    me = waiter[0]
    if idle == 1:
        _see_wait(me)
    if back_off(me.strategy, idle):
        return idle
    if me.since == 0:
        me.since = now(waiter)
    if idle == SPINS and expects_short_wait(me) and _polls(waiter):
        return SPINS - 1
    if (idle - SPINS) & 1 == 0:
        if is_lookout(me.bell, me.replica):
            arm(me.bell)
        announce_sleep(me.bell)
        return idle
    longest = _FIRST if idle == SPINS + 1 else _NEXT if keeps_packets or idle <= _SHALLOW else _LAST
    sleeps_on = me.own
    if is_lookout(me.bell, me.replica):
        sleeps_on, until = me.watch, min(until, me.until)
        if longest == _LAST and is_armed(me.bell):
            longest = _WATCHING
    if until != NEVER:
        _sleep(waiter, sleeps_on, min(longest * _MILLISECOND, until - now(waiter)))
        longest = 0  # the event that ended the sleep is not to end the next one
    epoll_wait(sleeps_on, waiter.ctypes.data + _EVENT, 1, longest)
    me.woken = now(waiter)
    return idle


@inline
def are_many(batch: np.ndarray, count: int) -> bool:
    """True if the `count` frames of a batch are DENSE packets or more, and the first ones are no super-frames of TCP.

    A super-frame of UDP, which the kernel has joined, counts as the packets that it stands for, about: its headers are
    not looked at. The packets of a TCP connection do not wait for more, as its sender waits for acknowledgements.
    """
    packets = 0
    for index in range(count):
        packet = batch[index]
        if packet.gso_type == GSO_NONE:
            packets += 1
        elif packet.gso_type == GSO_UDP_L4 and packet.gso_size:
            packets += (packet.end - packet.frame + packet.tail_bytes) // packet.gso_size
        else:
            return False
        if packets >= DENSE:
            return True
    return False


@inline
def see_many(waiter: np.ndarray, channel: int, many: bool) -> None:
    """After a batch of a channel: many packets come faster than the replica could sleep.

    None wakes it then, until it announces a sleep again. Behind fewer it waits for no more of that channel.
    """
    me = waiter[0]
    if not many:
        if me.dense == channel:
            me.many = 0
        return
    me.many, me.dense = now(waiter), channel
    if is_lookout(me.bell, me.replica):
        disarm(me.bell)


@inline
def gathers_now(waiter: np.ndarray, channel: int) -> bool:
    """True for `GATHERING` nanoseconds after `see_many` of this channel, the last one that had so many.

    The replica may let more packets of the channel come before it looks there. Those of others never wait: another
    dense channel would begin the time anew, again and again.
    """
    me = waiter[0]
    if me.many == 0 or me.dense != channel:
        return False
    if 0 <= now(waiter) - me.many < GATHERING:  # less than 0: the clock was set back
        return True
    me.many = 0
    return False


@inline
def _see_wait(me: Record) -> None:
    """After work that ended a wait: remember whether the replica has found it, or would have found it, by polling."""
    if me.since:
        remember_wait(me, 1 if me.woken == 0 or me.woken - me.since < POLL else 0)
    me.since = me.woken = 0


@inline
def remember_wait(me: Record, is_short: int) -> None:
    """Remember a wait, short (1) or long (0), for the next one that comes after the same waits."""
    me.short = me.short & ~(1 << me.waits) | is_short << me.waits
    me.waits = (me.waits << 1 | is_short) & _HISTORY


@inline
def expects_short_wait(me: Record) -> bool:
    """True if the wait was short that last came after the same waits as this one."""
    return bool(me.short >> me.waits & 1)


@inline
def _polls(waiter: np.ndarray) -> bool:
    """Give the core to others for a moment, and True; False if the time for that is over."""
    me, moment = waiter[0], now(waiter)
    # A time further ahead than it can be is one from before the clock was set back.
    if 0 < me.busy - moment <= SHARED or not 0 <= moment - me.since < POLL:
        return False
    back_off(YIELD, SPINS)
    if now(waiter) - moment > LONG:
        me.busy = now(waiter) + SHARED
    return True


@inline
def _sleep(waiter: np.ndarray, sleeps_on: int, nanoseconds: int) -> None:
    """Sleep, more exactly than epoll_wait(2) does, until an event or for so many nanoseconds."""
    if nanoseconds > 0:
        poll, time = waiter.ctypes.data + _EVENT, waiter.ctypes.data + _TIME
        store64(poll, _POLLIN << 32 | sleeps_on)  # struct pollfd
        store64(time, 0)
        store64(time + 8, nanoseconds)
        ppoll(poll, 1, time, 0)
