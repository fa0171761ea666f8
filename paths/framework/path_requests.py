"""Requests for paths: a stage asks the supervisor for a path of some packets' own, or for the end of such a path.

A stage of a packet's primary writes a request to a ring (`request_path`). Each replica has a ring of its own, in memory
that the supervisor reads (`scout.path_keeper`), so that nothing waits: the packet goes on in the path that it is in,
and where the ring is full the request is counted as refused. The supervisor creates and deletes paths by changes, each
at one request in every replica.

A request has the key of the packet in demux (`scout.paths.model.classifier`): the attributes of the path that is wanted
are fields of this key. A request to delete has it too: numbers of paths are used again, and the supervisor deletes the
path of this number only if it takes such packets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import numpy as np

from scout.paths.limit import exchange_word, load_word
from scout.paths.model.attributes import TRAFFIC
from scout.paths.model.classifier import Field
from scout.paths.model.path import Path
from scout.paths.model.router import GraphError
from scout.paths.model.stage import Own
from scout.paths.model.table import Table

__all__ = ["CREATE", "DELETE", "FULL", "READ", "REQUEST", "WRITTEN", "PathRequests", "request_path"]

REQUEST = np.dtype([("operation", "i8"), ("path", "i8"), ("word_0", "i8"), ("word_1", "i8")])
"""A request: CREATE or DELETE; the number of the path that the packet is in; the packet's key."""

CREATE, DELETE = 1, 2

WRITTEN, READ, FULL = 0, 1, 8
"""Words of a ring's progress: requests that the replica has written, and that the supervisor has read; in a cache line
of the replica's own, those for which there was no room."""

_PLACES = 256  # of a ring, a power of two
_WORDS = 16
_POLICIES = ("refuse", "evict")


def request_path(requests: Any, progress: Any, operation: int, path: int, word_0: int, word_1: int) -> int:
    """Ask for a path, or for the end of one; 1 if there was room for the request. For stages.

    Parameters
    ----------
    requests, progress
        The tables of `PathRequests`.
    operation : int
        CREATE: a path for the packets of this key, in those fields that the router told `PathRequests`; narrower than
        the path that the packet is in. DELETE: the end of the path that the packet is in.
    path : int
        `packet.path`.
    word_0, word_1 : int
        The packet's key, from a classifier.
    """
    written = load_word(progress, WRITTEN)
    # The load acquires: the supervisor has read the requests whose places are written again.
    if written - load_word(progress, READ) >= len(requests):
        progress[FULL] += 1
        return 0
    place = written & len(requests) - 1
    requests[place].operation = operation
    requests[place].path = path
    requests[place].word_0 = word_0
    requests[place].word_1 = word_1
    # The exchange releases: it pairs with the load by which the supervisor finds the request (`scout.path_keeper`).
    exchange_word(progress, WRITTEN, written, written + 1)
    return 1


class PathRequests:
    """The requests of a router's stages, and what paths they get: `Router.path_requests`.

    Parameters
    ----------
    name : str
        The router's.
    by : sequence of str
        The attributes that a path of their own gets from its packets: out of `scout.paths.model.attributes.TRAFFIC`.
    most : int
        Paths that there may be of them at a time.
    wishes : mapping
        Attributes of these paths that are none of their traffic, as `{"idle": 30.0, "queue": 16}`.
    own : mapping
        The parameters (`Own`) of the router's stages that have other values in these paths.
    when_full : {"refuse", "evict"}
        The fate of a request where there are most paths: it is refused, or the path that was idle longest is deleted
        for it.

    Attributes
    ----------
    bindings : dict of str to Table
        The bindings of stages: `requests` and `progress`.

    Raises
    ------
    GraphError
        If there is no such attribute or policy, or `most` is too small.
    """

    def __init__(
        self,
        name: str,
        by: Sequence[str],
        most: int,
        wishes: Mapping[str, Any],
        own: Mapping[str, int],
        when_full: str = "refuse",
    ) -> None:
        for each in by:
            if each not in TRAFFIC:
                raise GraphError(f"{name}: by {each!r}: give attributes of packets: {', '.join(TRAFFIC)}")
        if not by or most < 1:
            raise GraphError(f"{name}: {most} paths by {len(by)} attributes; give 1 or more of both")
        if when_full not in _POLICIES:
            raise GraphError(f"{name}: when_full={when_full!r}; give {' or '.join(_POLICIES)}")
        self.name, self.by, self.most, self.wishes, self.own = name, tuple(by), most, dict(wishes), dict(own)
        self.evicts = when_full == "evict"
        self.requests = Table(np.zeros(_PLACES, REQUEST), "private")
        self.progress = Table(np.zeros(_WORDS, np.int64), "private")

    @property
    def bindings(self) -> dict[str, Table]:
        return {"requests": self.requests, "progress": self.progress}

    def mask(self, fields: Mapping[str, Field]) -> tuple[int, int, int]:
        """The bits of a key's two words that tell the paths apart, and the bits of word 1 that a packet has to show."""
        masks, shown = [0, 0], 0
        for name in self.by:
            field = fields[name]
            masks[field.word] |= (1 << field.bits) - 1 << field.shift
            shown |= 0 if field.shown is None else 1 << field.shown
        return _signed(masks[0]), _signed(masks[1]), shown

    def template(self, path: Path) -> Path:
        """The path from which those for packets of `path` are narrowed: it shares the code of `path`."""
        made = path.copy()
        for node, stage in made.stages.items():
            if made.nodes[node]["router"] == self.name:
                own = {name: Own(value) for name, value in self.own.items() if name in stage.bindings}
                made.nodes[node]["stage"] = replace(stage, bindings={**stage.bindings, **own})
        return made.establish()

    def traffic(self, key: tuple[int, int], fields: Mapping[str, Field]) -> dict[str, Any]:
        """The attributes of the path for the packets of a key."""
        values = {}
        for name in self.by:
            field = fields[name]
            value = key[field.word] >> field.shift & (1 << field.bits) - 1
            values[name] = IPv4Network((value, field.bits)) if name in ("source", "destination") else value
        return values


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
