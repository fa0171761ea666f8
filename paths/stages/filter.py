"""Filter: a function of your own between two routers.

Usage: Filter(name, receive, send, service, payload, **bindings)
Requires and provides: one service, of the type that is given.
Drops: what the functions name.
"""

import inspect
from collections.abc import Callable
from types import FunctionType

import numpy as np

from scout.paths.model.graph import GraphError, Router, RouterGraph
from scout.paths.model.stage import Outcome, Stage, Table, Via
from scout.paths.protocols.ipv4 import Ip

__all__ = ["Filter", "checked"]

_STANDARD = ("frame", "end", "packet", "primary")

# In which direction Ip uses the services that it stands on, and where a filter for the other one belongs.
_USED_BY_IP = {
    "net": ("receive", 'give send=... and service="adjacency"'),
    "resolve": ("send", 'give receive=... and service="ipv4"'),
}


class Filter(Router):
    """Your own stage in one service: in what comes up from the router below, in what goes down, or both.

    Connect it between the two routers; it takes the place of their direct connection. In a direction
    without a function packets pass it by, at no cost.

    Parameters
    ----------
    name : str
    receive, send : callable, optional
        `function(frame, end, ...)` returns 0 to let the packet pass, or a `drop(...)`. Its other parameters
        are found by name: `packet`, `primary`, or one of `bindings`. `frame` is at the header of the
        service: for "ipv4" and "adjacency" the IPv4 header.
    service : str
        Type of the service: "ipv4" for what comes to IP, "adjacency" for what IP sends, "icmp" for messages
        to and from the router itself, "icmp-error" for packets that are to be answered with an error,
        "arp" for ARP messages and for all that leaves by the Ethernet below.
    payload : bool
        True if the functions want all of the packet in one piece, and not its first `REACH` bytes.
    **bindings
        Ints, functions that give an int when the path is started, and `Table`s.

    Raises
    ------
    GraphError
        If a function cannot be a stage, or never sees a packet where it is; names it, its file and line.

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

    def __init__(
        self,
        name: str,
        receive: Callable[..., int] | None = None,
        send: Callable[..., int] | None = None,
        service: str = "ipv4",
        payload: bool = False,
        **bindings: int | Table | Callable[[], int],
    ) -> None:
        super().__init__(name)
        self.provides, self.requires = {"up": service}, {"down": service}
        self.functions = {"receive": receive, "send": send}
        self.payload, self.bindings = payload, bindings
        functions = [function for function in (receive, send) if function is not None]
        if not functions:
            raise GraphError(f"{name}: a filter without a function; give receive=... or send=...")
        for function in functions:
            self._check(function)
        self._check_bindings({each for function in functions for each in _parameters(function)})

    def _check(self, function: Callable[..., int]) -> None:
        place = checked(self.name, function)
        for parameter in _parameters(function):
            if parameter not in _STANDARD and parameter not in self.bindings:
                raise GraphError(
                    f"{place}: parameter {parameter!r} is not bound; give Filter({self.name!r}, ..., {parameter}=...)"
                )

    def _check_bindings(self, wanted: set[str]) -> None:
        for name, value in self.bindings.items():
            if name in _STANDARD or name not in wanted:
                raise GraphError(f"{self.name}: no function has a parameter {name!r} to bind; leave {name}=... out")
            if not isinstance(value, int | np.integer | Table) and not callable(value):
                raise GraphError(f"{self.name}: {name}={value!r} cannot be bound; give an int, a function or a Table")

    def configure(self, graph: RouterGraph) -> None:
        for upper, service in graph.reached(self.name, "up"):
            if not isinstance(graph.router(upper), Ip) or service not in _USED_BY_IP:
                continue
            direction, mend = _USED_BY_IP[service]
            for function in self.functions.values():
                if function not in (None, self.functions[direction]):
                    raise GraphError(
                        f"{self.name}: {function.__name__} would never see a packet; {upper} uses service "
                        f"{self.requires['down']!r} only to {direction}: {mend}"
                    )

    def arrive(self, service: str, below: bool) -> str | Via:
        key = "receive" if service == "down" else "send"
        return key if self.functions[key] else Via(self.through[service])

    def stage(self, key: str, graph: RouterGraph, source: str) -> Stage:
        function = self.functions[key]
        assert function is not None
        passed = Outcome("passed", Via("up" if key == "receive" else "down"))
        return Stage(function, (passed,), self.bindings, payload=self.payload, resizes=True)


def checked(name: str, function: Callable[..., int]) -> str:
    """Refuse what cannot be a stage function of router `name`; else the words that say which it is and where."""
    if not isinstance(function, FunctionType):
        raise GraphError(f"{name}: {function!r} is no plain function; give one made with def")
    code = function.__code__
    place = f"{name}: {function.__name__} at {code.co_filename}:{code.co_firstlineno}"
    plain = not code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS) and not code.co_kwonlyargcount
    if not plain or code.co_varnames[: min(2, code.co_argcount)] != _STANDARD[:2]:
        signature = f"{function.__name__}(frame, end, ...)"
        raise GraphError(f"{place} is no stage function; write it as {signature}, without * and **")
    return place


def _parameters(function: Callable[..., int]) -> tuple[str, ...]:
    return Stage(function, ()).parameters
