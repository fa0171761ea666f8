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
_MEASURED = 2_000_000  # nanoseconds in which the counter's rate is measured, to some millionths


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


@cache
def nanoseconds_a_tick() -> float:
    """Nanoseconds of one step of the counter, 0.0 if it is no clock here."""
    if platform.machine() != "x86_64" or not _SOURCE.exists() or _SOURCE.read_text().strip() != "tsc":
        return 0.0
    _ticks_now()  # compiled before
    ticks, began = _ticks_now(), time.monotonic_ns()
    while time.monotonic_ns() < began + _MEASURED:
        pass
    ended = time.monotonic_ns()
    return (ended - began) / (_ticks_now() - ticks)
