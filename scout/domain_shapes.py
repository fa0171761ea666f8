"""The part of a domain's loop that runs the code of shapes, by their addresses (`scout.shape_memory`).

Shapes may come while packets flow. A setting of each then says in which tier its paths run, and a change sets it: so a
replica runs new code from one request on, and a successor that replays requests runs in each tier what ran there
before.
"""

import numpy as np

from scout.domain_plan import DomainPlan
from scout.paths.compiler.context import BLOCKS, CONTEXT, COUNTERS, ENTRY, ROW, words_at
from scout.paths.compiler.linked import blocks_at, counters_at
from scout.paths.model.discarding import COUNTER
from scout.ring.jit import Record, inline
from scout.ring.linked import caller
from scout.shape_memory import FUSED, REPLICATES

__all__ = [
    "count_discarded",
    "divert",
    "replay_shape",
    "resume_shape",
    "run_shape",
    "shape_call",
    "shape_of",
    "tier_of",
]

_call = caller(ENTRY)
_CONTEXT_BYTES = 8 * CONTEXT


@inline
def tier_of(shape: int, settings: np.ndarray, codes: np.ndarray) -> int:
    """The tier of a shape at its channel's position."""
    return settings[np.uintp(codes[np.uintp(shape), 0].channel), np.uintp(shape)]


@inline
def run_shape(batch: np.ndarray, first: int, last: int, shape: int, tier: int, codes: np.ndarray, contexts: int) -> int:
    """Run the path of these packets as the primary; the flags of its code."""
    code = codes[np.uintp(shape), np.uintp(tier)]
    _call(code.address, (batch, first, last, True, contexts + shape * _CONTEXT_BYTES))
    return code.flags


@inline
def replay_shape(
    batch: np.ndarray, first: int, last: int, shape: int, tier: int, codes: np.ndarray, contexts: int
) -> None:
    """Do what the other replicas do."""
    code = codes[np.uintp(shape), np.uintp(tier)]
    if code.flags & REPLICATES:
        _call(code.address, (batch, first, last, False, contexts + shape * _CONTEXT_BYTES))


@inline
def resume_shape(
    batch: np.ndarray, first: int, last: int, shape: int, tier: int, codes: np.ndarray, contexts: int
) -> None:
    """Let a packet that was held go on."""
    packet = batch[np.uintp(first)]
    words = words_at(contexts + shape * _CONTEXT_BYTES)
    held = blocks_at(words[BLOCKS])[np.uintp(packet.at)].held
    counters_at(words[COUNTERS])[packet.path * words[ROW] + held] -= 1
    run_shape(batch, first, last, shape, tier, codes, contexts)


@inline
def count_discarded(path: int, shape: int, contexts: int) -> None:
    """Count a packet of a path that discards, as the code of the path would."""
    words = words_at(contexts + shape * _CONTEXT_BYTES)
    counters_at(words[COUNTERS])[path * words[ROW] + COUNTER] += 1


@inline
def divert(packet: Record, shape: int, contexts: int) -> bool:
    """Let a packet that was held for too long go on where its stage wants it; False if that is nowhere."""
    words = words_at(contexts + shape * _CONTEXT_BYTES)
    target = blocks_at(words[BLOCKS])[np.uintp(packet.at)].timeout
    if target < 0:
        return False
    packet.at, packet.held_since = target, packet.timestamp
    return True


def shape_of(plan: DomainPlan, packet: str = "packet") -> str:
    """The number of a packet's shape."""
    return f"demux_paths[np.uintp({packet}.{'path' if plan.demuxes else 'port'})].shape"


def shape_call(plan: DomainPlan, function: str, packets: str, shape: str = "shape") -> str:
    """A call of one of the functions above."""
    tier = f"tier_of({shape}, settings, codes)" if plan.grows else str(FUSED)
    return f"{function}({packets}, {shape}, {tier}, codes, contexts)"
