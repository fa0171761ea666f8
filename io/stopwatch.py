"""The clock by which the time that paths take is measured: nanoseconds since some moment, never set back.

It is read several times for each batch. So where the kernel itself takes its time from the processor's time stamp
counter, which then runs at a constant rate and is the same on all cores, it is that counter, read by one instruction.
Elsewhere it is CLOCK_MONOTONIC. The C library's clocks take two or three times as long as the counter.
"""

import platform
import time
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from scout.io.rest import monotonic
from scout.ring.jit import entry, inline

__all__ = ["nanoseconds_a_tick", "stopwatch"]

_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_MEASURED = 0.005  # seconds in which the counter's rate is measured, to a ten-thousandth or better


@intrinsic
def _counter(typingctx):  # type: ignore[no-untyped-def]
    """The time stamp counter (rdtsc), without waiting for instructions before it."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(ir.IntType(64), [])
        return builder.call(builder.module.declare_intrinsic("llvm.readcyclecounter", fnty=kind), [])

    return numba.types.int64(), codegen


_ticks: Any = _counter


@inline
def stopwatch(waiter: np.ndarray) -> int:
    """Nanoseconds since some moment, by a replica's record."""
    if waiter[0].tick > 0.0:
        return int(_ticks() * waiter[0].tick)
    return monotonic(waiter)


@entry(numba.types.int64())
def _ticks_now() -> int:
    return _ticks()


def _both_clocks() -> tuple[int, int]:
    """Nanoseconds and ticks at one moment: the middle of the shortest of some calls between two looks at the clock."""
    best, found = 1 << 62, (0, 0)
    for _ in range(32):
        before = time.monotonic_ns()
        ticks = _ticks_now()
        after = time.monotonic_ns()
        if after - before < best:
            best, found = after - before, ((before + after) // 2, ticks)
    return found


@cache
def nanoseconds_a_tick() -> float:
    """Nanoseconds of one step of the counter, 0.0 if it is no clock here."""
    if platform.machine() != "x86_64" or not _SOURCE.exists() or _SOURCE.read_text().strip() != "tsc":
        return 0.0
    _ticks_now()  # compiled before
    began, first = _both_clocks()
    time.sleep(_MEASURED)
    ended, last = _both_clocks()
    return (ended - began) / (last - first)
