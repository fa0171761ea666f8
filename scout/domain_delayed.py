"""The part of a domain's loop that lets packets go on for which it is time (`scout.io.delay`)."""

import numpy as np

from scout.domain_plan import DomainPlan, transmits
from scout.domain_shapes import shape_call, shape_of
from scout.io.delay import ENDED, LIVE, PATIENCE, others_due
from scout.io.rest import NEVER, now
from scout.ring.atomics import load64_acquire
from scout.ring.jit import Record, inline

__all__ = ["delayed", "time_of_delays", "wake_for_delays"]


@inline
def time_of_delays(hold: Record, here: int, waiter: np.ndarray, way: int) -> int:
    """The time of the last packet that may go on now: none goes before one that another replica has.

    `here` is the address of the record `hold`, `way` that of how time passes.
    """
    passes = load64_acquire(way)  # pairs with the supervisor's store; a single word, nothing goes with it
    others = others_due(hold, here)
    if passes == LIVE:
        time = now(waiter)
        return min(time, max(others, time - PATIENCE))
    return min(others, NEVER if passes == ENDED else hold.now)


@inline
def wake_for_delays(hold: Record, way: int) -> int:
    """The time at which a replica that sleeps has to wake, since a packet goes on."""
    return hold.due if load64_acquire(way) == LIVE else NEVER  # pairs with the supervisor's store


def delayed(plan: DomainPlan, way: str) -> list[str]:
    """The lines that let packets go on."""
    return [
        "# delayed",
        "if hold[0].pending:",
        "    while True:",
        f"        time = time_of_delays(hold[0], hold.ctypes.data, waiter, {way})",
        "        count = take_due(hold[0], resumed, time)",
        "        if count == 0:",
        "            break",
        "        work += 1",
        "        for index in range(count):",
        "            packet = resumed[index]",
        f"            shape = {shape_of(plan)}",
        f"            {shape_call(plan, 'run_shape', 'resumed, index, index + 1')}",
        f"        send(resumed, count, hold, -1, {transmits(plan)})",
        "        free_delayed(hold[0], count, hold.ctypes.data)",
    ]
