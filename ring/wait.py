"""How a replica waits for requests: a choice, because machines are not all ours.

- `spin`: the least delay, for a core of its own.
- `yield`: spins a little, then lets others run, who may be the producer; after a while it naps for moments, as the
  kernel may give a process that yields all the time its core again and again, and another that wants it none.
- `block`: spins a little, then sleeps in the kernel (futex(2)) until something is published. The producer makes a
  system call only if somebody sleeps.
"""

import platform
from typing import Any

from numba import types

from scout.ring.atomics import fence, fetch_add, fetch_sub, load64_seq, pause
from scout.ring.jit import Record, inline
from scout.ring.layout import PATIENCE, SLEEPERS, TAIL, word

__all__ = ["BLOCK", "SPIN", "STRATEGIES", "YIELD", "relax", "sched_yield", "sleep_on", "wait", "wake"]

SPIN, YIELD, BLOCK = 0, 1, 2
STRATEGIES = {"spin": SPIN, "yield": YIELD, "block": BLOCK}

_SPINS = 64  # a request often follows at once; a system call costs as much as these; a power of two
_YIELDS = 512
_MOMENT = 20  # microseconds; with the kernel's slack of 50 it is some 70
_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), -1)
_FUTEX_WAIT, _FUTEX_WAKE, _EVERYONE = 0, 1, 1 << 30  # linux/futex.h
_LOW = 0xFFFF_FFFF

_int: Any = types.int32
_long: Any = types.int64
sched_yield: Any = types.ExternalFunction("sched_yield", _int())
_usleep: Any = types.ExternalFunction("usleep", _int(types.uint32))
_syscall: Any = types.ExternalFunction("syscall", _long(_long, _long, _long, _long, _long, _long, _long))


@inline
def relax(looks: int) -> None:
    """Wait a moment for another process, after `looks` in vain: it may want this core to get on."""
    if looks & (_SPINS - 1) != _SPINS - 1:
        pause()
    elif looks < _SPINS * _YIELDS:
        sched_yield()
    else:
        _usleep(_MOMENT)


@inline
def wait(channel: Record, strategy: int, tail: int, idle: int) -> None:
    """Wait for more than `tail` requests, after `idle` looks in vain; may return early."""
    if strategy == SPIN or idle < _SPINS:
        pause()
    elif strategy == YIELD and idle < _YIELDS:
        sched_yield()
    elif strategy == YIELD:
        _usleep(_MOMENT)
    else:
        # The sleeper is counted before the kernel compares TAIL: the producer, who stores TAIL and then reads the count
        # with a fence between, sees it, or the kernel sees the new TAIL and does not sleep.
        fetch_add(word(channel, SLEEPERS), 1)
        fence()
        sleep_on(word(channel, TAIL), tail, word(channel, PATIENCE))
        fetch_sub(word(channel, SLEEPERS), 1)


@inline
def sleep_on(address: int, value: int, patience: int) -> None:
    """Sleep while the low 32 bits of the word at `address` are those of `value`, at most the time at `patience`."""
    _syscall(_FUTEX, address, _FUTEX_WAIT, value & _LOW, patience, 0, 0)


@inline
def wake(channel: Record) -> None:
    """Wake the sleepers, if there are any. After TAIL was stored."""
    fence()
    if load64_seq(word(channel, SLEEPERS)) > 0:  # pairs with wait
        _syscall(_FUTEX, word(channel, TAIL), _FUTEX_WAKE, _EVERYONE, 0, 0, 0)
