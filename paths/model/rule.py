"""Transformation rules: guard -> transform, applied to a path until no guard holds (Mosberger & Peterson, OSDI '96).

A rule looks at one stage of a path with the whole path around it. The routers of a path bring rules of their own
(`Router.rules`), and people give theirs to `RouterGraph.create_path`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from scout.paths.model.change import Change
from scout.paths.model.stage import Stage

if TYPE_CHECKING:
    from scout.paths.model.path import Path

__all__ = ["Application", "Fact", "Rule"]


@dataclass(frozen=True)
class Rule:
    """A transformation rule.

    Parameters
    ----------
    name : str
        A few words that say its effect: `Path.explain` shows them.
    guard : callable
        `guard(path, node)` is true if the rule applies at stage `node`. It changes nothing.
    transform : callable
        `transform(path, node)` edits the path, by `insert`, `replace`, `remove`, `rule_out` or as in networkx, such
        that the guard no longer holds there. It may return a text that says more about what was done.
    stages : tuple of Stage
        Those that `transform` may put into a path, bound to anything of the right kind: a router that runs has them
        compiled before such a path comes.

    Examples
    --------
    Packets of a path with a deadline below a millisecond are not copied to a file:

    >>> def is_hurried(path, node):
    ...     return path.attributes.deadline < 0.001 and path.nodes[node]["router"] == "tee"
    >>> no_copies = Rule("no copies of hurried packets", is_hurried, lambda path, node: path.remove(node))

    Then `graph.create_path("left", deadline=0.0005, rules=[no_copies])`.
    """

    name: str
    guard: Callable[["Path", str], Any]
    transform: Callable[["Path", str], Any]
    stages: tuple[Stage, ...] = field(default=(), compare=False)


class Application(NamedTuple):
    """One application of a rule, as `Path.applied` lists it."""

    rule: str
    node: str
    text: str


class Fact:
    """A fact outside of the path that a rule relied on, such as a route; it may become false while the router runs.

    Subclasses are frozen dataclasses, and their `str` is the fact as a sentence.
    """

    def holds(self, path: "Path") -> bool:
        """True if it holds now; changes nothing."""
        raise NotImplementedError

    def concerns(self, change: Change) -> bool:
        """True if a change may have made it false; cheaper to ask than `holds`."""
        return True
