"""The classifiers above a port, joined: from the port up, each says which router classifies next."""

from typing import NamedTuple

from scout.io.access import Frame
from scout.io.packet import REACH
from scout.paths.model.classifier import DEFAULT_WAY, Classifier, Field
from scout.paths.model.graph import RouterGraph
from scout.paths.model.stage import Outcome, Via

__all__ = ["Step", "classifiers", "fields_of", "key_of", "key_source", "steps"]


class Step(NamedTuple):
    """A router's classifier, and for each of its outcomes the next step; None if no router classifies there."""

    router: str
    classifier: Classifier
    next: tuple["Step | None", ...]


def steps(graph: RouterGraph, router: str) -> Step | None:
    """The classifiers from a router on upwards; None if it has none."""
    classifier = graph.router(router).classifier()
    if classifier is None:
        return None
    return Step(router, classifier, tuple(_behind(graph, router, outcome) for outcome in classifier.outcomes))


def _behind(graph: RouterGraph, router: str, outcome: Outcome) -> Step | None:
    """The step of the first router that classifies among those behind an outcome, past filters and services."""
    assert isinstance(outcome.hop, Via)
    reached = graph.reached(router, outcome.hop.service)
    return next((step for name, _ in reached if (step := steps(graph, name))), None)


def classifiers(step: Step | None) -> list[Step]:
    """A step and those that follow it."""
    return [step, *(each for following in step.next for each in classifiers(following))] if step else []


def fields_of(step: Step | None) -> dict[str, Field]:
    """The attributes that the classifiers know, with their fields."""
    return {name: field for each in classifiers(step) for name, field in each.classifier.fields.items()}


def key_of(step: Step | None, data: bytes) -> tuple[int, int] | None:
    """The key of a frame, by plain Python; None if it takes the port's default path."""
    frame, words = Frame(data, reach=REACH), [0, 0]
    while step:
        way, *more = step.classifier.function(frame, None)
        words = [word | other for word, other in zip(words, more, strict=True)]
        if way == DEFAULT_WAY:
            return None
        if not step.next:
            return words[0], words[1]
        frame.move(step.classifier.outcomes[way].pull)
        step = step.next[way]
    return None


def key_source(step: Step | None, name: str) -> list[str]:
    """The text of a compiled function `name(frame, end)` that gives `(way, word_0, word_1)`, the key of a packet.

    The way is `DEFAULT_WAY` if the packet takes the port's default path. The classifiers' functions are called
    `classify_ROUTER` in the text.
    """
    lines = [f"return {DEFAULT_WAY}, 0, 0"]
    if step:
        lines = [f"way, word_0, word_1 = classify_{step.router}(frame, end)", *_continued(step)]
    return ["@inline", f"def {name}(frame, end):", *(f"    {line}" for line in lines)]


def _continued(step: Step) -> list[str]:
    if not step.next:
        return ["return way, word_0, word_1"]
    lines = []
    for way, (outcome, following) in enumerate(zip(step.classifier.outcomes, step.next, strict=True)):
        if following:
            lines += [
                f"if way == {way}:  # {outcome.label}",
                *([f"    frame += {outcome.pull}"] if outcome.pull else []),
                f"    way, more_0, more_1 = classify_{following.router}(frame, end)",
                "    word_0, word_1 = word_0 | more_0, word_1 | more_1",
                *(f"    {line}" for line in _continued(following)),
            ]
    return [*lines, f"return {DEFAULT_WAY}, 0, 0"]
