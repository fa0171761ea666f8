"""The bell: how replicas that sleep are woken, whatever channels they serve.

A replica with nothing to do sleeps in epoll_wait(2), on one of two instances:

- One replica, the *lookout*, sleeps on the bell and on the descriptors of all channels. An arriving packet wakes
  it, and no other replica.
- The others sleep on the bell alone, an eventfd. It is rung by a process that inserts a request which the kernel does
  not announce (a control request, a packet of a software channel), by the supervisor after an order, and by a replica
  that needs help: it does not keep up, or another one has stayed so far behind that the ring could fill up. A replica
  that brings requests of applications into their channel does not ring: it comes to them itself.

While packets come faster than the lookout could sleep it takes the channels from its instance (`disarm`), as the kernel
otherwise goes through that for each packet; it registers them again before it sleeps (`arm`).

Both are edge-triggered: an event between a replica's last look and its sleep is kept, and ends the sleep.
Level-triggered, a ring would be readable as long as any replica needs a frame in it, and an eventfd that nobody reads
would be readable for ever.

A sleeper sets SLEEPERS, looks at its channels once more, and then sleeps. A process that publishes something loads
SLEEPERS after that. Both are sequentially consistent, so the sleeper finds the publication, or its flag is found. The
flag is cleared before the bell is rung: a replica that sets it after that finds the publication. So there is at most
one system call for each sleep. A process that dies between the two leaves sleepers without a bell, and a lookout that
dies leaves packets without a replica: no sleep is longer than some milliseconds (`scout.io.rest`).
"""

import ctypes
import os
import select
from collections.abc import Iterable
from typing import Any

import numba
import numpy as np
from numba.core import types

from scout.ring.atomics import exchange, fence, load64, load64_acquire, load64_seq, store64_release
from scout.ring.jit import Record, entry, inline
from scout.ring.layout import GATING, head_of, word
from scout.ring.segment import LINE, address, shared

__all__ = [
    "Bell",
    "announce_sleep",
    "arm",
    "disarm",
    "event_of",
    "is_armed",
    "is_lookout",
    "may_sleep",
    "must_wake_others",
    "ring_bell",
]

_SLEEPERS, _LOOKOUT, _EVENT, _ONE, _ARMED, _WATCH, _CHANNELS, _COUNT = range(0, LINE, 8)
"""Offsets in the bell's line: not 0 if a replica may sleep; the number of the lookout; the eventfd; the number 1; 1 if
the descriptors of the channels are registered; the epoll instance of the lookout; the address of a struct epoll_event
and, 16 bytes behind it, of these descriptors, each an int64; and how many they are."""

_ADD, _DELETE, _MODIFY = 1, 2, 3  # linux/eventpoll.h

_write: Any = types.ExternalFunction("write", types.int64(types.int32, types.int64, types.int64))
_epoll_ctl: Any = types.ExternalFunction("epoll_ctl", types.int32(types.int32, types.int32, types.int32, types.int64))


@inline
def announce_sleep(bell: int) -> None:
    """For a replica, before it looks at its channels for the last time before it sleeps."""
    exchange(bell + _SLEEPERS, 1)  # seq_cst, before that look; pairs with `ring_bell`


@inline
def is_lookout(bell: int, replica: int) -> bool:
    """True if arriving packets wake this replica."""
    return load64_acquire(bell + _LOOKOUT) == replica  # pairs with Bell.replace


@inline
def arm(bell: int) -> None:
    """For the lookout, before `announce_sleep`: from now on arriving packets wake it."""
    # Armed after all are registered: if the lookout dies in between the next one does it again. If the kernel has no
    # memory for one this sleep lasts up to 20 ms, and the lookout tries again before the next one. The load pairs with
    # the stores of this lookout or an earlier one.
    if load64_acquire(bell + _ARMED) == 0 and _are_registered(bell):
        store64_release(bell + _ARMED, 1)


@inline
def is_armed(bell: int) -> bool:
    """For the lookout: True if arriving packets wake it."""
    return load64_acquire(bell + _ARMED) != 0  # pairs with the stores of this lookout or an earlier one


@inline
def disarm(bell: int) -> None:
    """For the lookout, while packets come faster than it could sleep: the kernel need not announce each of them.

    It takes the kernel a tenth of its time for a packet, on the core that receives.
    """
    if load64_acquire(bell + _ARMED):  # as in `arm`
        store64_release(bell + _ARMED, 0)  # before that: as in `arm`
        event = load64(bell + _CHANNELS)
        for index in range(load64(bell + _COUNT)):
            _epoll_ctl(load64(bell + _WATCH), _DELETE, load64(event + 16 + index * 8), event)


@inline
def _are_registered(bell: int) -> bool:
    """Register the descriptors of all channels; True if all of them are."""
    event, missing = load64(bell + _CHANNELS), 0
    for index in range(load64(bell + _COUNT)):
        watch, channel = load64(bell + _WATCH), load64(event + 16 + index * 8)
        # The kernel refuses to add a descriptor that a dead lookout has registered, but it can be modified.
        if _epoll_ctl(watch, _ADD, channel, event) < 0 and _epoll_ctl(watch, _MODIFY, channel, event) < 0:
            missing += 1
    return missing == 0


@inline
def may_sleep(bell: int) -> bool:
    """True if a replica may sleep that does not see what the caller has claimed before."""
    return load64_seq(bell + _SLEEPERS) != 0  # seq_cst, after the claim; pairs with `announce_sleep`


@inline
def ring_bell(bell: int) -> None:
    """Wake all replicas that sleep, after what they are to see was stored."""
    fence()
    # seq_cst, after the store of what was published; pairs with `announce_sleep`.
    if load64_seq(bell + _SLEEPERS) and exchange(bell + _SLEEPERS, 0):
        _write(load64(bell + _EVENT), bell + _ONE, 8)


@inline
def must_wake_others(channel: Record, member: Record) -> bool:
    """True if the batch at hand leads past a multiple of an eighth of the ring, and a replica is behind by as much.

    The entries that it may still read cannot be filled again.
    """
    eighth, end = max(1, channel.entries >> 3), member.head + member.count
    if member.head // eighth == end // eighth:
        return False
    gating, replica = load64_acquire(word(channel, GATING)), 0  # pairs with join and leave
    while gating >> replica:
        # Acquire, pairs with `finish`; nothing goes with it.
        if gating >> replica & 1 and end - load64_acquire(head_of(channel, replica)) >= eighth:
            return True
        replica += 1
    return False


def event_of(bell: int) -> int:
    """The eventfd of the bell at this address: the descriptor that a process needs which rings it."""
    return ctypes.c_int64.from_address(bell + _EVENT).value


@entry(numba.void(numba.int64))
def _ring(bell: int) -> None:
    ring_bell(bell)


class Bell:
    """The bell of a run, and what its replicas sleep on; made before they are forked.

    Parameters
    ----------
    descriptors : iterable of int
        Those of the channels: they become readable when packets arrive.

    Attributes
    ----------
    address : int
        Of the bell, in memory that all processes share.
    watch : int
        The descriptor of the epoll instance with the bell and all channels.
    descriptors : list of int
        Two that a replica needs: the eventfd, and `watch`. A lookout also needs the channels' own, under their numbers.
    """

    def __init__(self, descriptors: Iterable[int]) -> None:
        self._line = shared(LINE // 8, np.int64)
        self.address = address(self._line)
        self._event = os.eventfd(0)
        self._line[_EVENT // 8], self._line[_ONE // 8] = self._event, 1
        channels = list(descriptors)
        self._watch = self._listening([self._event, *channels])
        self.watch = self._watch.fileno()
        self._channels = shared(2 + len(channels), np.int64)
        self._channels[0], self._channels[2:] = select.EPOLLIN | select.EPOLLET, channels
        line = {_ARMED: 1, _WATCH: self.watch, _CHANNELS: address(self._channels), _COUNT: len(channels)}
        for offset, value in line.items():
            self._line[offset // 8] = value
        self.descriptors = [self._event, self.watch]

    def listen(self) -> select.epoll:
        """An epoll instance with the bell alone; for a replica's own process, whose sleep nobody else's ends."""
        return self._listening([self._event])

    @staticmethod
    def _listening(descriptors: Iterable[int]) -> select.epoll:
        instance = select.epoll()
        for descriptor in descriptors:
            instance.register(descriptor, select.EPOLLIN | select.EPOLLET)
        return instance

    @property
    def lookout(self) -> int:
        """The number of the replica that arriving packets wake."""
        return int(self._line[_LOOKOUT // 8])

    def replace(self, replica: int, other: int) -> None:
        """If `replica`, which does not run any more, is the lookout, make the `other` one the lookout."""
        if self.lookout == replica:
            self._line[_LOOKOUT // 8] = other
            # Even if no replica may sleep: the other one may have been woken on the instance that it now leaves.
            os.eventfd_write(self._event, 1)

    def ring(self) -> None:
        """Wake all replicas that sleep: there is an order for them."""
        _ring(self.address)

    def close(self) -> None:
        """Close the descriptors, once no replica runs and nobody rings."""
        if self._event >= 0:
            self._watch.close()
            os.close(self._event)
            # In the line too: the number may soon be that of another file, and a late ring must not write to that.
            self._event = self._line[_EVENT // 8] = -1
