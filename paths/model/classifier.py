"""Classifiers: a router's part of demux, which finds the path of a packet.

A router knows which fields of its header tell paths apart, and where they are. It puts them into two words, the *key*
of a packet. `scout.paths.demux` joins the classifiers of the routers above a port (Mosberger & Peterson, OSDI '96,
section 3.2).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from scout.paths.model.stage import Outcome

__all__ = ["DEFAULT_WAY", "Classifier", "Field"]

DEFAULT_WAY = -1
"""The way of a packet that a classifier can say nothing about: it takes the default path of its port."""


@dataclass(frozen=True)
class Field:
    """The place of a header field in the key.

    Attributes
    ----------
    word : int
        0 or 1.
    shift, bits : int
        The field is `bits` bits of that word, above the lowest `shift`.
    shown : int or None
        A bit of the same word, set if the packet shows the field at all: a fragment has no L4 ports.
    """

    word: int
    shift: int
    bits: int
    shown: int | None = None


@dataclass(frozen=True)
class Classifier:
    """A router's part in finding the path of a packet that comes from below.

    Attributes
    ----------
    function : callable
        `function(frame, end) -> (way, word_0, word_1)`, for plain Python and compiled code like the function of a
        stage, with the frame at the router's header. It calls `require` before it reads, and changes nothing. The way
        is the index of an outcome or `DEFAULT_WAY`; a classifier without outcomes is the last one, and its way is 0.
        The words have the router's fields, and 0 everywhere else.
    outcomes : tuple of Outcome
        Which router classifies next: their hops are `Via`.
    fields : mapping of str to Field
        The attributes of paths (`scout.paths.model.attributes`) that the router's fields decide.
    """

    function: Callable[..., tuple[int, int, int]]
    outcomes: tuple[Outcome, ...] = ()
    fields: Mapping[str, Field] = field(default_factory=dict)
