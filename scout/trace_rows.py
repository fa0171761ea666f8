"""Traces as flat rows, for reports and for the control socket."""

from collections.abc import Sequence
from typing import Any

from scout.drop_reasons import meaning
from scout.paths.compiler.trace import Step
from scout.paths.model.path import Path
from scout.paths.model.references import written

__all__ = ["trace_rows"]


def trace_rows(path: Path, number: int, timestamp: int, frame: bytes, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The rows of one frame: one for the frame as received, then one for each stage.

    Parameters
    ----------
    path : Path
    number : int
        The frame's number in its report.
    timestamp : int
        When it was received, nanoseconds since 1970.
    frame : bytes
        As it was received.
    steps : sequence of Step
        The stages that it went through.

    Returns
    -------
    list of dict
        All with the same keys. `hex` has the bytes after the stage, from a header of the kind `header` on.
    """
    row: dict[str, Any] = {"name": f"port {path.source}", "frame": number, "timestamp_ns": timestamp, "function": ""}
    row |= {"reads": "", "changes": "", "notes": "", "tables": "", "outcome": "received", "awaits": ""}
    row |= {"target": steps[0].stage, "dropped": False, "meaning": "", "header": "ethernet"}
    row["hex"] = frame.hex()
    return [row, *(row | _row(path, step) for step in steps)]


def _row(path: Path, step: Step) -> dict[str, Any]:
    return {
        "name": step.stage,
        "function": step.function,
        "reads": ", ".join(step.reads),
        "changes": ", ".join(map(str, step.changes)),
        "notes": ", ".join(map(str, step.notes)),
        "tables": ", ".join(map(str, step.tables)),
        "outcome": step.outcome,
        "target": step.target,
        "dropped": step.is_drop,
        "awaits": step.awaits,
        "meaning": _meaning(path, step),
        "header": step.header,
        "hex": step.frame.hex(),
    }


def _meaning(path: Path, step: Step) -> str:
    """What the reason means for which a stage drops the packet; empty if it does not, or nothing says it."""
    router = path.router_graph.router(path.nodes[step.stage]["router"])
    modules = [*(each.__module__ for each in written(path.stages[step.stage].function)), type(router).__module__]
    found = meaning(step.outcome, path.router_graph, modules) if step.is_drop else ""
    return f"{found}: {step.verdict}" if step.outcome == "unknown-verdict" else found
