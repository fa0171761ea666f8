"""Obituaries: the sentences that say which replica died, why, and what follows."""

import signal

from scout.io.host.process import Child
from scout.paths.model.references import module_name, written
from scout.plan import Plan
from scout.reports import Reporter

__all__ = ["obituary"]


def obituary(plan: Plan, reporter: Reporter, replica: int, process: Child, rest: str) -> list[str]:
    """The messages about a replica's death: one sentence, and when an error occurs for the first time its traceback.

    Parameters
    ----------
    plan : Plan
    reporter : Reporter
        Knows which errors have been reported.
    replica : int
    process : Child
        The process that died.
    rest : str
        The consequence of the death: the end of the sentence.
    """
    where = f"replica {replica} (core {plan.core(replica)}, process {process.pid})"
    lines = [f"{where} died: {_cause(process)}{_suspects(plan, process)}; {rest}"]
    innermost = process.error.rpartition("  File ")[2]  # the outer frames differ between replicas and successors
    if process.error and reporter.is_new(innermost):
        lines.append(process.error.rstrip())
    return lines


def _suspects(plan: Plan, process: Child) -> str:
    """The stages whose native code may have raised what ended a process: it does not know the user's line."""
    if not _cause(process).startswith(("IndexError", "ZeroDivisionError")):
        return ""
    found = [
        f"{node} of the path from {path.source}"
        for path in plan.paths
        for node, stage in path.stages.items()
        if not all(module_name(function).startswith("scout.") for function in written(stage.function))
    ]
    return f" in stage {' or '.join(found)}: send the frame through path.run to see the line" if found else ""


def _cause(process: Child) -> str:
    """Why a process ended, in a few words."""
    if process.error:
        return process.error.rstrip().rpartition("\n")[2]
    code = process.exitcode or 0
    return f"signal {_signal_name(-code)}" if code < 0 else f"exit status {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # Python names only the first and the last real-time signal
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else str(number)
