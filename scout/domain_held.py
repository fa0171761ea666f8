"""The part of a domain's loop that tries packets that are held again."""

import numpy as np
from numba.core import types

from scout.domain_plan import DomainPlan, transmits
from scout.domain_shapes import shape_call, shape_of
from scout.io.packet import DROPPED
from scout.ring.jit import inline
from scout.ring.linked import viewer

__all__ = ["changes_made", "held"]

_number_at = viewer(types.int64[::1], (1,))


@inline
def changes_made(changing: np.ndarray) -> int:
    """A number that differs if something has changed that held packets may wait for."""
    total = 0
    for place in changing:
        total += _number_at(place)[0]
    return total


def held(plan: DomainPlan) -> list[str]:
    """Try packets that are held again; those held for too long go where their stage says, or are dropped."""
    return [
        "# held",
        "if hold[0].count and is_due(hold[0], changes_made(changing)):",
        "    open_bank(hold[0], changes_made(changing))",
        "    while True:",
        "        count = take_back(hold[0], resumed)",
        "        if count == 0:",
        "            break",
        "        for index in range(count):",
        "            packet = resumed[index]",
        "            packet.timestamp = hold[0].now",
        f"            shape = {shape_of(plan)}",
        "            if has_expired(packet, hold[0].now) and not divert(packet, shape, contexts):",
        f"                packet.egress = {DROPPED}",
        "                hold[0].expired += 1",
        "                continue",
        f"            {shape_call(plan, 'resume_shape', 'resumed, index, index + 1')}",
        f"        send(resumed, count, hold, -1, {transmits(plan)})",
    ]
