"""What the docstrings of modules say in fixed forms, such as the meanings of their drop reasons.

The docstring of a shipped module begins with a line that says what it does. Fields such as `Requires: arp.` follow, and
sections: a title on a line of its own with indented lines below it::

    Drops
        policed: the flow's bucket has less than the packet's size.
    Example
        TokenBucket("policer", rate=125_000, burst=30_000)
"""

import inspect
import re
import sys
from textwrap import dedent
from types import ModuleType

from scout.paths.model.path import Path

__all__ = ["GENERAL", "drops", "meaning", "sections"]

_SECTION = re.compile(r"^([A-Z][a-z ]+)\n((?:[ ]{4}.*\n|\n)+)", re.MULTILINE)
_REASON = re.compile(r"^([\w-]+): (.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)

GENERAL = {
    "no-TYPE": "the service of this type that the packet should use is connected to nothing",
    "not-on-path": "the packet would leave by a port that `create_path(egress=...)` leaves out",
    "too-long-for-payload": "a stage with `payload=True` needs the whole packet, and it is longer than 64 KiB",
    "unknown-verdict": "a stage returned a number that is neither 0, one of its outcomes, nor a drop",
}
"""The drop reasons of every path, and their meanings."""


def sections(module: ModuleType) -> dict[str, str]:
    """The sections of a module's docstring by title."""
    text = f"{inspect.getdoc(module)}\n"
    return {title: dedent(body).strip("\n") for title, body in _SECTION.findall(text)}


def drops(module: ModuleType) -> dict[str, str]:
    """The drop reasons that a module's docstring explains, and their meanings."""
    found = _REASON.findall(sections(module).get("Drops", ""))
    return {reason: " ".join(meaning.split()).removesuffix(".") for reason, meaning in found}


def meaning(path: Path, stage: str, reason: str) -> str:
    """What a drop reason of a stage means, by its module's docstring or its router's; "" if they say none."""
    router = path.router_graph.router(path.nodes[stage]["router"])
    modules = [path.stages[stage].function.__module__, type(router).__module__]
    for module in (sys.modules[name] for name in modules if name in sys.modules):
        if reason in (known := drops(module)):
            return known[reason]
    return GENERAL.get(reason, GENERAL["no-TYPE"] if reason.startswith("no-") else "")
