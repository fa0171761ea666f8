"""How a process waits for another one, by one of three strategies.

- `spin`: the shortest delay, for a process that has a core of its own.
- `yield`: spins a little, then yields its core to other processes, one of which may be awaited. After a while it also
  sleeps for moments, because a kernel may give the core back to a process that only yields, again and again.
- `block`: spins a little, then sleeps in the kernel, by means of the caller: a futex here, the bell in
  `scout.io.rest`.
"""

import platform
from typing import Any

from numba import types

from scout.ring.atomics import exchange, fence, load64_seq, pause
from scout.ring.jit import Record, inline
from scout.ring.layout import PATIENCE, SLEEPERS, TAIL, word

__all__ = ["BLOCK", "SPIN", "SPINS", "STRATEGIES", "YIELD", "back_off", "relax", "sleep_on", "wait", "wake"]

SPIN, YIELD, BLOCK = 0, 1, 2
STRATEGIES = {"spin": SPIN, "yield": YIELD, "block": BLOCK}

SPINS = 64
"""Looks before anything but a pause: a request often follows at once, and a system call costs as much as these."""

_YIELDS = 512
_MOMENT = 20  # microseconds; the kernel's timer slack makes it some 70
_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), -1)
_FUTEX_WAIT, _FUTEX_WAKE, _EVERYONE = 0, 1, 1 << 30  # linux/futex.h
_LOW = 0xFFFF_FFFF

_int: Any = types.int32
_long: Any = types.int64
_sched_yield: Any = types.ExternalFunction("sched_yield", _int())
_usleep: Any = types.ExternalFunction("usleep", _int(types.uint32))
_syscall: Any = types.ExternalFunction("syscall", _long(_long, _long, _long, _long, _long, _long, _long))


@inline
def back_off(strategy: int, looks: int) -> bool:
    """Wait a moment, after `looks` in vain; False, without a wait, if the caller is to sleep in the kernel now."""
    if strategy == SPIN or looks < SPINS:
        pause()
    elif strategy == BLOCK:
        return False
    elif looks < _YIELDS:
        _sched_yield()
    else:
        _usleep(_MOMENT)
    return True


@inline
def relax(looks: int) -> None:
    """Wait a moment for a process that holds a lock or a turn, after `looks` in vain: it may need this core."""
    back_off(YIELD, looks)


@inline
def wait(channel: Record, strategy: int, tail: int, looks: int) -> None:
    """Wait for more than `tail` requests, after `looks` in vain; may return early."""
    if not back_off(strategy, looks):
        # The word is set before the kernel compares TAIL. The producer stores TAIL and then loads the word, with a
        # fence between: it sees the word, or the kernel sees the new TAIL and does not sleep.
        exchange(word(channel, SLEEPERS), 1)
        fence()
        sleep_on(word(channel, TAIL), tail, word(channel, PATIENCE))


@inline
def sleep_on(address: int, value: int, patience: int) -> None:
    """Sleep while the low 32 bits of the word at `address` are those of `value`, at most the timespec at `patience`."""
    _syscall(_FUTEX, address, _FUTEX_WAIT, value & _LOW, patience, 0, 0)


@inline
def wake(channel: Record) -> None:
    """Wake the sleepers, if there may be any. After TAIL was stored.

    SLEEPERS is a flag, not a count: a sleeper that is killed costs one system call in vain, not one for each
    publication.
    """
    fence()
    if load64_seq(word(channel, SLEEPERS)):  # pairs with `wait`
        exchange(word(channel, SLEEPERS), 0)  # before the wake: a replica that sets it after this finds the new TAIL
        _syscall(_FUTEX, word(channel, TAIL), _FUTEX_WAKE, _EVERYONE, 0, 0, 0)
