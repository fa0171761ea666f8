"""Demux as plain Python: the path of a single frame."""

from collections.abc import Sequence

from scout.paths.demux.pattern import patterns, rank
from scout.paths.demux.walk import fields_of, key_of, steps
from scout.paths.model.path import Path

__all__ = ["find_path"]


def find_path(paths: Sequence[Path], data: bytes) -> Path | None:
    """The path that has a frame, among those that begin at one port; None if no path takes it.

    Examples
    --------
    >>> from scout.testing import ipv4_router
    >>> graph = ipv4_router()
    >>> everything, tcp = graph.create_path("left"), graph.create_path("left", protocol="tcp")
    >>> find_path([everything, tcp], bytes(60)) is everything
    True
    """
    if not paths:
        return None
    above = steps(paths[0].router_graph, paths[0].source)
    fields, key = fields_of(above), key_of(above, data)
    taking = [
        path
        for path in paths
        if not path.attributes.traffic
        or (key is not None and any(each.takes(*key) for each in patterns(path.attributes, fields)))
    ]
    return max(taking, key=lambda path: rank(path.attributes, fields), default=None)
