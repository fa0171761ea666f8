"""The latency of packets, from when they were received until they were sent: a histogram of each replica.

A replica looks at the clock only while somebody wants to know (`LOOK`). Its bins are quarters of octaves: from 2 ** n
to 2 ** (n + 1) nanoseconds there are four, of equal width, so that a bin is 14 to 25 % wide.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from scout.io.rest import now
from scout.ring.atomics import load64_acquire
from scout.ring.jit import inline

__all__ = ["BINS", "LOOK", "bin_of", "bounds", "see_latencies"]

BINS = 160
"""Up to 2 ** 40 ns, some 18 minutes; the last bin has all that is longer."""

LOOK = 16
"""Offset in a domain's orders of a word that is not 0 while latencies are wanted; the supervisor writes it."""

_MANTISSA, _BIAS = 52, 1023  # of a float64


@intrinsic
def _quarters(typingctx, nanoseconds):  # type: ignore[no-untyped-def]
    """The bits of a float64 down to the highest two of its mantissa: they count quarters of octaves."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        bits = builder.bitcast(builder.sitofp(args[0], ir.DoubleType()), ir.IntType(64))
        return builder.lshr(bits, ir.Constant(ir.IntType(64), _MANTISSA - 2))

    return types.int64(types.int64), codegen


_native_quarters: Any = _quarters


@inline
def bin_of(nanoseconds: int) -> int:
    """The bin of a latency; the first one also has those below a nanosecond, as of clocks that differ."""
    return min(_native_quarters(max(nanoseconds, 1)) - (_BIAS << 2), BINS - 1)


@inline
def see_latencies(orders: int, batch: np.ndarray, count: int, latencies: np.ndarray, waiter: np.ndarray) -> None:
    """Count the packets of a batch that were sent just now by their latencies, if somebody wants to know.

    The load acquires as that of the order beside it, though nothing was written before it.
    """
    if load64_acquire(orders + LOOK) == 0:
        return
    sent = now(waiter)
    for index in range(count):
        packet = batch[np.uintp(index)]
        if packet.egress >= 0:
            latencies[np.uintp(bin_of(sent - packet.timestamp))] += 1


def bounds() -> np.ndarray:
    """float64[BINS + 1]: where each bin begins, and where the last one ends, in nanoseconds."""
    edges = np.arange(BINS + 1, dtype=np.int64) + (_BIAS << 2) << _MANTISSA - 2
    return edges.view(np.float64)
