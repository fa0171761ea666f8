"""The part of a domain's loop that runs paths of shapes that came after it was compiled, by their code's addresses.

The shapes that were there at the start have numbers below these; the others have slots (`scout.live_memory`). A setting
of each slot says in which tier its paths run, and a change sets it: so a replica runs new code from one request on, and
a successor that replays requests runs in each tier what ran there before.
"""

import numpy as np

from scout.domain_plan import DomainPlan
from scout.paths.compiler.context import BLOCKS, CONTEXT, COUNTERS, ENTRY, ROOM, words_at
from scout.paths.compiler.linked import blocks_at, counters_at
from scout.paths.demux.find import ACCOUNTED
from scout.ring.jit import Record, inline
from scout.ring.linked import caller

__all__ = [
    "divert_live",
    "is_live",
    "live_call",
    "live_divert",
    "live_held",
    "live_serve",
    "live_waited",
    "replay_live",
    "resume_live",
    "run_live",
]

_call = caller(ENTRY)
_CONTEXT_BYTES = 8 * CONTEXT


@inline
def _code(slot: int, settings: np.ndarray, first_tier: int, codes: np.ndarray) -> Record:
    """The code that a shape has at the channel's position."""
    channel = codes[np.uintp(slot), 0].channel
    return codes[np.uintp(slot), np.uintp(settings[channel, first_tier + slot])]


@inline
def run_live(
    batch: np.ndarray,
    first: int,
    last: int,
    slot: int,
    settings: np.ndarray,
    first_tier: int,
    codes: np.ndarray,
    contexts: int,
) -> int:
    """Run the path of these packets as the primary; not 0 if they may come to replicated work on the main line."""
    code = _code(slot, settings, first_tier, codes)
    _call(code.run, (batch, first, last, contexts + slot * _CONTEXT_BYTES))
    return code.keeps


@inline
def replay_live(
    batch: np.ndarray,
    first: int,
    last: int,
    slot: int,
    settings: np.ndarray,
    first_tier: int,
    codes: np.ndarray,
    contexts: int,
) -> None:
    """Do what the other replicas do."""
    code = _code(slot, settings, first_tier, codes)
    if code.replicate:
        _call(code.replicate, (batch, first, last, contexts + slot * _CONTEXT_BYTES))


@inline
def resume_live(
    batch: np.ndarray,
    index: int,
    slot: int,
    settings: np.ndarray,
    first_tier: int,
    codes: np.ndarray,
    contexts: int,
) -> None:
    """Let a packet that was held go on."""
    packet = batch[np.uintp(index)]
    code = _code(slot, settings, first_tier, codes)
    words = words_at(contexts + slot * _CONTEXT_BYTES)
    counters_at(words[COUNTERS])[packet.path * ROOM.counters + code.held + packet.at] -= 1
    _call(code.run, (batch, index, index + 1, contexts + slot * _CONTEXT_BYTES))


@inline
def divert_live(packet: Record, slot: int, contexts: int) -> bool:
    """Let a packet that was held for too long go on where its stage wants it; False if that is nowhere."""
    words = words_at(contexts + slot * _CONTEXT_BYTES)
    target = blocks_at(words[BLOCKS])[np.uintp(packet.at)].timeout
    if target < 0:
        return False
    packet.at, packet.held_since = target, packet.timestamp
    return True


def _given(plan: DomainPlan, slot: str) -> str:
    return f"{slot} - {len(plan.shapes)}, settings, {len(plan.settings)}, codes, contexts"


def is_live(plan: DomainPlan, shape: str) -> str:
    """The test whether a shape came after the start."""
    return f"{len(plan.shapes)} <= {shape} < {ACCOUNTED}"


def live_call(plan: DomainPlan, function: str) -> str:
    """The call that runs packets `first` to `last`, whose `shape` is none of the start."""
    given = f"batch, first, last, {_given(plan, 'shape')}"
    return f"keeps |= run_live({given})" if function == "run" else f"replay_live({given})"


def live_serve(plan: DomainPlan) -> str:
    """The call that runs packets from the queue of a path of such a shape; its replicated work has been done."""
    return f"run_live(resumed, 0, count, {_given(plan, 'shape')})"


def live_held(plan: DomainPlan, word: str) -> list[str]:
    """The lines that try a held packet of such a shape again."""
    shape = "demux_paths[packet.path].shape"
    return [
        f"            {word} {is_live(plan, shape)}:",
        f"                resume_live(resumed, index, {_given(plan, shape)})",
    ]


def live_waited(plan: DomainPlan, word: str) -> list[str]:
    """The lines that let a packet of such a shape go on that has waited."""
    shape = "demux_paths[packet.path].shape"
    return [
        f"            {word} {is_live(plan, shape)}:",
        f"                run_live(resumed, index, index + 1, {_given(plan, shape)})",
    ]


def live_divert(plan: DomainPlan) -> list[str]:
    """The lines of `divert` for such shapes."""
    shape = "demux_paths[packet.path].shape"
    return [
        f"    if {is_live(plan, shape)}:",
        f"        return divert_live(packet, {shape} - {len(plan.shapes)}, contexts)",
    ]
