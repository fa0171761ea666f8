"""The part of a domain's loop that lets packets go on for which it is time (`scout.io.delay`)."""

import numpy as np

from scout.domain_plan import DomainPlan, ends_of, transmits
from scout.domain_shapes import shape_call, shape_of
from scout.io.delay import ENDED, LIVE, PATIENCE, first_of_others
from scout.io.rest import NEVER, now
from scout.ring.atomics import load64_acquire
from scout.ring.jit import Record, inline

__all__ = ["delayed", "first_of_delays", "time_of_delays", "wake_for_delays"]


@inline
def time_of_delays(hold: Record, waiter: np.ndarray, way: int) -> int:
    """The time, for packets that wait; `way` is the address of how it passes."""
    passes = load64_acquire(way)  # pairs with the supervisor's store; a single word, nothing goes with it
    if passes == LIVE:
        return now(waiter)
    return NEVER if passes == ENDED else hold.now


@inline
def first_of_delays(hold: Record, here: int, time: int, way: int, all_left: bool) -> tuple[int, int]:
    """The packet of another replica that no packet of this one may overtake: its time, and when it was received.

    `here` is the address of the record `hold`. `all_left`, which was found out before, is false if a primary may still
    come to have such a packet.
    """
    first, received = first_of_others(hold, here)
    if not all_left:
        first = 0
    if load64_acquire(way) == LIVE and first < time - PATIENCE:  # as in `time_of_delays`
        return time - PATIENCE, NEVER
    return first, received


@inline
def wake_for_delays(hold: Record, way: int) -> int:
    """The time at which a replica that sleeps has to wake, since a packet goes on."""
    return hold.due if load64_acquire(way) == LIVE else NEVER  # pairs with the supervisor's store


def delayed(plan: DomainPlan, way: str) -> list[str]:
    """The lines that let packets go on."""
    left = [
        f"has_come(channel_{index}_ring[0], channel_{index}_position({ends_of(index)}))"
        for index, channel in enumerate(plan.channels)
        if channel.is_ordered
    ]
    return [
        "# delayed",
        "if hold[0].pending:",
        "    while True:",
        f"        all_left = {' and '.join(left) or 'True'}",
        f"        time = time_of_delays(hold[0], waiter, {way})",
        f"        foremost, arrival = first_of_delays(hold[0], hold.ctypes.data, time, {way}, all_left)",
        "        count = take_due(hold[0], resumed, time, foremost, arrival)",
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
