"""Filter: a function of your own between two routers.

Usage: Filter(name, receive, send, connects, payload, only, **bindings)
Requires and provides: one service, of the type `connects`.
Drops: the reasons that the functions name.

Example
    Filter("no_telnet", no_telnet, port=23)
"""

import inspect
import textwrap
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import numpy as np

from scout.paths.framework.kinds import check_kinds, with_shared_tables
from scout.paths.model.attributes import Attributes
from scout.paths.model.graph import RouterGraph
from scout.paths.model.router import GraphError, Router
from scout.paths.model.setting import Setting
from scout.paths.model.stage import GATHER, Outcome, Stage, To, Via, parameters_of
from scout.paths.model.table import Table
from scout.paths.stages.match import decided, match, pattern_bindings, pattern_of

__all__ = ["Filter", "checked"]

_STANDARD = ("frame", "end", "packet", "primary", *GATHER)
_OF_IPV4 = ("ipv4", "adjacency", "icmp", "icmp-error")  # services of IPv4 packets
_MATCH = "match_"  # the key of the stage that looks for the pattern, before that of the function


class Filter(Router):
    """A stage of your own in one service: in what comes up from the router below, in what goes down, or in both.

    Connect it between two routers; it takes the place of their direct connection. In a direction without a function
    packets bypass it, at no cost.

    Parameters
    ----------
    name : str
    receive, send : callable, optional
        `function(frame, end, ...)` returns 0 to let the packet pass, or a `drop(...)`. Its other parameters are found
        by name: `packet`, `primary`, or one of `bindings`. `frame` is at the header of the service: for "ipv4" and
        "adjacency" the IPv4 header.
    connects : str
        Type of the services that it connects: "ipv4" for what comes to IP, "adjacency" for what IP sends, "icmp" for
        messages to and from the router itself, "icmp-error" for packets that are to be answered with an error, "arp"
        for ARP messages and for all that leaves by the Ethernet below.
    payload : bool
        True if the functions need the whole packet in one piece, and not its first `REACH` bytes alone.
    only : mapping, optional
        Attributes of packets, as in `{"protocol": "tcp", "destination_port": 23}`: all other packets bypass the
        functions. A path whose own attributes decide it has no test, and if none of its packets match, no filter.
    **bindings
        Ints, functions that give an int when the path is started, and `Table`s. Every replica runs a function that
        changes a replicated table; the primary of the packet alone runs any other.

    Raises
    ------
    GraphError
        If a function cannot be a stage, changes a table against its kind, or no packet can reach it where it is; names
        it, its file and line.

    Examples
    --------
    >>> from scout.io.access import load8, load16, require
    >>> from scout.paths.model.stage import drop
    >>> TELNET = drop("telnet")
    >>> def no_telnet(frame, end, port):
    ...     header = (load8(frame, 0) & 15) * 4
    ...     if require(frame, end, header + 4) and load8(frame, 9) == 6 and load16(frame, header + 2) == port:
    ...         return TELNET
    ...     return 0
    >>> filter_ = Filter("no_telnet", no_telnet, port=23)

    Then `graph.add(filter_)` and `graph.connect("ip", "no_telnet", "left")`.
    """

    through = {"up": "down", "down": "up"}
    rules = (decided,)

    def __init__(
        self,
        name: str,
        receive: Callable[..., int] | None = None,
        send: Callable[..., int] | None = None,
        connects: str = "ipv4",
        payload: bool = False,
        only: Mapping[str, Any] | None = None,
        **bindings: int | Table | Callable[[], int],
    ) -> None:
        super().__init__(name)
        self.provides, self.requires = {"up": connects}, {"down": connects}
        self.functions = {"receive": receive, "send": send}
        self.payload, self.bindings = payload, bindings
        self.pattern = None if only is None else pattern_of(name, only)
        if self.pattern and connects not in _OF_IPV4:
            raise GraphError(
                f"{name}: only=... tells IPv4 packets apart, connects={connects!r} has others; leave it out"
            )
        functions = [function for function in (receive, send) if function is not None]
        if not functions:
            raise GraphError(f"{name}: a filter without a function; give receive=... or send=...")
        self._check_bindings({function: checked(name, function) for function in functions})
        for parameter, value in bindings.items():
            if isinstance(value, Setting) and not value.label:
                value.label = f"{name}.{parameter}"
        for function in functions:
            check_kinds(f"{name}: {function.__name__}", function, bindings)
        self.functions = {
            key: function and with_shared_tables(function, bindings) for key, function in self.functions.items()
        }

    def _check_bindings(self, places: Mapping[Callable[..., int], str]) -> None:
        """Refuse bindings that are not those of the functions; `places` says where each function is."""
        wanted = {each: place for function, place in places.items() for each in parameters_of(function)}
        superfluous = [name for name in self.bindings if name in _STANDARD or name not in wanted]
        for parameter, place in wanted.items():
            if parameter not in _STANDARD and parameter not in self.bindings:
                instead = f" in place of {superfluous[0]}=..., which is no parameter" if superfluous else ""
                raise GraphError(
                    f"{place}: parameter {parameter!r} is not bound; give Filter({self.name!r}, ..., {parameter}=...)"
                    f"{instead}"
                )
        for name in superfluous:
            raise GraphError(f"{self.name}: no function has a parameter {name!r} to bind; leave {name}=... out")
        for name, value in self.bindings.items():
            if not isinstance(value, int | np.integer | Table) and not callable(value):
                advice = f"write {name}=Table(array)" if isinstance(value, np.ndarray) else "give an int or a Table"
                shown = textwrap.shorten(repr(value), 60)
                raise GraphError(f"{self.name}: {name}={shown} cannot be bound; {advice}")

    def configure(self, graph: RouterGraph) -> None:
        """Refuse a function that no packet can reach, because the router above uses the service in one way only."""
        for name, service in graph.reached(self.name, "up"):
            upper = graph.router(name)
            direction = upper.one_way.get(service, "")
            for key, function in self.functions.items():
                if not direction or key == direction or function in (None, self.functions[direction]):
                    continue
                others = [upper.requires[each] for each, way in upper.one_way.items() if way != direction]
                advice = "; ".join(f'give {key}=... and connects="{each}"' for each in others)
                raise GraphError(
                    f"{self.name}: {function.__name__} would never see a packet; {name} uses service "
                    f"{self.requires['down']!r} only to {direction}: {advice}"
                )

    def arrive(self, service: str, below: bool) -> str | Via:
        key = "receive" if service == "down" else "send"
        if not self.functions[key]:
            return Via(self.through[service])
        return _MATCH + key if self.pattern else key

    def stage(self, key: str, graph: RouterGraph, attributes: Attributes) -> Stage:
        onward = Via("up" if key.endswith("receive") else "down")
        if self.pattern and key.startswith(_MATCH):
            outcomes = (Outcome("matching", To(key.removeprefix(_MATCH))), Outcome("others", onward, common=True))
            return Stage(match, outcomes, pattern_bindings(self.pattern), note=str(self.pattern))
        function, passed = self.functions[key], Outcome("passed", onward)
        assert function is not None
        return Stage(function, (passed,), self.bindings, payload=self.payload)


def checked(name: str, function: Callable[..., int]) -> str:
    """Refuse a function that cannot be a stage of router `name`; else the words that name it, its file and line."""
    if not isinstance(function, FunctionType):
        raise GraphError(f"{name}: {function!r} is no plain function; give one made with def")
    code = function.__code__
    place = f"{name}: {function.__name__} at {code.co_filename}:{code.co_firstlineno}"
    plain = not code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS) and not code.co_kwonlyargcount
    if not plain or code.co_varnames[: min(2, code.co_argcount)] != _STANDARD[:2]:
        signature = f"{function.__name__}(frame, end, ...)"
        raise GraphError(f"{place} is no stage function; write it as {signature}, without * and **")
    return place
