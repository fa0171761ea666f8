"""Drop reasons and what they mean: those of modules, as their docstrings say, of every path, and of the accounts.

The docstring of a module of routers, services or ports describes the reasons of that module in a section `Drops`, one
`reason: meaning.` after the other; a router file may do the same for the stages that it defines.
"""

import inspect
import re
import sys
from collections.abc import Iterable
from textwrap import dedent

from scout.paths.model.graph import RouterGraph

__all__ = ["OF_EVERY_PATH", "OF_THE_ACCOUNTS", "documented", "meaning", "sections"]

OF_EVERY_PATH = {
    "no-TYPE": "the service of this type that the packet should use is connected to nothing",
    "not-on-path": "the packet would leave by a port that `create_path(egress=...)` leaves out",
    "ruled-out": "the path's attributes rule the packet out: another path should have taken it",
    "too-long-for-payload": "a stage with `payload=True` needs the whole packet, and it is longer than 64 KiB",
    "unknown-verdict": "a stage returned a number that is neither 0, one of its outcomes, nor a drop",
}

OF_THE_ACCOUNTS = {
    "no-path": "the port has paths for some packets only, and the packet is none of them",
    "hold-full": "there was no room for a packet that waits, or a later one for the same next hop took its place",
    "hold-expired": "the packet was held too long, since its next hop did not answer",
    "queue-full": "the queue of the packet's path was full",
    "queue-memory": "the packets in the queue of the packet's path took all memory that the path may have",
    "over-budget": "the packet's path had used more than its share of the domain's time",
    "queued-at-stop": "the packet waited in the queue of its path when the router stopped",
    "held-at-stop": "the packet was held, or waited until a time, when the router stopped",
    "unread-at-stop": "no replica had read the packet when the router stopped",
    "replica-died": "the packet was in progress when a replica died",
    "done-again": "negative; frames that a successor sent a second time",
}

_SECTION = re.compile(r"^([A-Z][a-z ]+)\n((?:[ ]{4}.*\n|\n)+)", re.MULTILINE)
_REASON = re.compile(r"^([\w-]+): (.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


def sections(docstring: str) -> dict[str, str]:
    """The sections of a module's docstring by title: a title on a line of its own with indented lines below it."""
    return {title: dedent(body).strip("\n") for title, body in _SECTION.findall(f"{docstring}\n")}


def documented(docstring: str) -> dict[str, str]:
    """The drop reasons that a module's docstring describes, each with its meaning."""
    found = _REASON.findall(sections(docstring).get("Drops", ""))
    return {reason: " ".join(text.split()).removesuffix(".") for reason, text in found}


def meaning(reason: str, graph: RouterGraph, modules: Iterable[str] = ()) -> str:
    """What a drop reason means in a router graph where these modules, given by name, drop packets for it.

    Returns
    -------
    str
        Empty if nothing describes it.
    """
    found = []
    for name in modules:
        text = documented(inspect.getdoc(sys.modules[name]) or "").get(reason) if name in sys.modules else None
        if text and text not in found:
            found.append(text)
    general = OF_EVERY_PATH | OF_THE_ACCOUNTS
    fallback = OF_EVERY_PATH["no-TYPE"] if reason in {f"no-{kind}" for kind in graph.service_types} else ""
    return "; ".join(found) or general.get(reason, fallback)
