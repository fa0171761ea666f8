"""Views of a graph's edges and degrees that do not keep the graph in memory."""

from typing import Any

from networkx.classes.reportviews import (
    DiDegreeView,
    DiMultiDegreeView,
    InDegreeView,
    InEdgeView,
    InMultiDegreeView,
    InMultiEdgeView,
    OutDegreeView,
    OutEdgeView,
    OutMultiDegreeView,
    OutMultiEdgeView,
)

__all__ = ["UncachedViews"]


def _view(of_simple: Any, of_multi: Any) -> Any:
    """A property that makes the view of a graph, which may have parallel edges."""
    return property(lambda graph: (of_multi if graph.is_multigraph() else of_simple)(graph))


class UncachedViews:
    """For directed graphs of networkx: makes each view of edges or degrees when it is asked for.

    networkx keeps the views in the graph, and they refer to the graph. So a graph that nobody needs any more, with its
    tables of megabytes, would stay in memory until the garbage collector runs.
    """

    edges = out_edges = _view(OutEdgeView, OutMultiEdgeView)
    in_edges = _view(InEdgeView, InMultiEdgeView)
    degree = _view(DiDegreeView, DiMultiDegreeView)
    in_degree = _view(InDegreeView, InMultiDegreeView)
    out_degree = _view(OutDegreeView, OutMultiDegreeView)
