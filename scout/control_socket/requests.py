"""The requests of the control socket: their names, parameters and meanings, as data.

The server's checks, the sub-commands of `scout ctl` and the table in docs/control.md are all made from `REQUESTS`, so a
request is added by one entry here and one method in `scout.control_socket.figures`, `state`, `traces` or `changes`.
"""

import difflib
from dataclasses import dataclass
from typing import Any

from scout.control_socket.kinds import (
    ADDRESS,
    FLAG,
    FRACTION,
    INTERFACE,
    MAC,
    MOST_ROWS,
    NAME,
    NAMES,
    PREFIX,
    Kind,
    number,
)
from scout.ring.errors import ScoutError

__all__ = ["GROUPS", "REQUESTS", "Parameter", "Request", "checked", "find_request"]

_SHOWN = 40  # characters of a bad value that an error repeats


@dataclass(frozen=True)
class Parameter:
    """A parameter of a request; one without a default must be given."""

    name: str
    kind: Kind
    about: str
    default: Any = ...

    @property
    def required(self) -> bool:
        """True if it has no default."""
        return self.default is ...


@dataclass(frozen=True)
class Request:
    """A request: its name (a group and a word, or a word), what it does, and its parameters."""

    name: str
    about: str
    parameters: tuple[Parameter, ...] = ()
    example: str = ""
    """Its parameters on a command line that shows how it is used."""

    @property
    def method(self) -> str:
        """The name of the method that answers it."""
        return self.name.replace(" ", "_").replace("-", "_")


_PAGE = (
    Parameter("first", number(0), "rows before this one are left out", 0),
    Parameter(
        "limit",
        number(1, MOST_ROWS),
        "rows at most; `total` in the answer is how many there are",
        MOST_ROWS,
    ),
)
_REPLICA = number(0)
_PREFIX = Parameter("prefix", PREFIX, "of the destinations")
_VIA = Parameter("via", ADDRESS, "the gateway, on a connected network")
_PORT = Parameter("port", NAME, "the port where the neighbour is")
_NEIGHBOUR = Parameter("address", ADDRESS, "the neighbour's")
_AT = Parameter("port", NAME, "the port where the address is")
_OWN = Parameter("address", INTERFACE, "the router's own")
_TRAFFIC = (
    Parameter("destination", PREFIX, "of the packets", None),
    Parameter("source", PREFIX, "of the packets", None),
    Parameter("protocol", NAME, "udp, tcp, icmp, or a number", None),
    Parameter("destination_port", number(0, 65535), "L4 port", None),
    Parameter("source_port", number(0, 65535), "L4 port", None),
    Parameter("dscp", number(0, 63), "differentiated services code point", None),
)
_WISHES = (
    Parameter("weight", number(1), "the path's share, or its rank", None),
    Parameter("deadline", FRACTION, "seconds within which a packet is wanted", None),
    Parameter("queue", number(0), "packets that wait in each replica, at most: a power of two", None),
    Parameter("batch", number(1, 256), "packets that leave the queue at a time", None),
    Parameter("account", FLAG, "whether bytes and time are counted", None),
    Parameter("cpu", FRACTION, "a share of each domain's time, as 0.25", None),
    Parameter("memory", number(0), "bytes that the queue takes in each replica, at most", None),
    Parameter("over_budget", NAME, "drop or defer: what becomes of packets while the path is over its share", None),
    Parameter("idle", FRACTION, "seconds without a packet after which the path is deleted", None),
)
_SERVICE = Parameter("service", NAME, "the service's name in the router graph")
_HANDLERS = Parameter("handlers", NAMES, "names of its handlers, which are those of their functions")

GROUPS = {
    "show": "See what the router is, what it does, and what it knows.",
    "address": "Change the router's own addresses, in all replicas from the same packet on.",
    "port": "Add and remove ports: give an interface to a port that has none, or take it away.",
    "route": "Change routes, in all replicas from the same packet on.",
    "discard": "Drop packets at the port where they come in.",
    "path": "Create and delete paths, in all replicas from the same packet on.",
    "neighbour": "Set neighbours by hand.",
}
"""The first words of requests that have two, and what these are for."""

REQUESTS: tuple[Request, ...] = (
    Request("show router", "the router that runs: its file, its process, and since when"),
    Request("show graph", "the routers, and what each stands on"),
    Request(
        "show paths",
        "the paths, with their packets, bytes and time, what waits and what was dropped, and their memory",
        _PAGE,
    ),
    Request(
        "show edges",
        "packets along every edge of the paths, from stage to stage; those of one shape together",
        (
            Parameter("path", NAME, "of this path alone, or of the first one from this port", None),
            Parameter("empty", FLAG, "whether edges that no packet took are shown too", False),
        ),
        "--path left",
    ),
    Request(
        "show ports",
        "the ports: interface, addresses, MTU, state, packets received and sent, and by which kind of socket",
    ),
    Request("show channels", "how far each replica is in each channel, and how many requests wait for it"),
    Request(
        "show queues", "the paths with queues: packets that wait, were served, were late, or were dropped, and why"
    ),
    Request("show drops", "packets that were dropped, by reason, with the stages that drop them and what it means"),
    Request("show replicas", "the replicas: process, core, packets, lag, CPU time"),
    Request("show addresses", "the router's own addresses, and the port of each"),
    Request("show routes", "the routes, by length of prefix and then by prefix", _PAGE, "--limit 20"),
    Request("show next-hops", "the next hops that routes lead to", _PAGE),
    Request("show neighbours", "the neighbours, whose MAC addresses are known or asked for", _PAGE),
    Request("show path-requests", "what became of the stages' requests for paths, as those of FlowPaths"),
    Request("show tables", "the tables of routers and services"),
    Request(
        "show table",
        "the rows of a table that are in use, as one replica has them",
        (
            Parameter("table", NAME, "one of `show tables`, as heavy.flows"),
            Parameter("replica", _REPLICA, "whose copy; by default that of the first replica", None),
            *_PAGE,
        ),
        "arp.adjacencies",
    ),
    Request("show handlers", "the handlers of services, and which are bound"),
    Request("show settings", "the settings of filters and services, and their values"),
    Request(
        "show latencies",
        "packets by replica and by how long they took to be sent, of the times in which somebody looked: up to 10 "
        "seconds from each such request, or one of `show figures`, on",
    ),
    Request("show account", "what became of every packet"),
    Request(
        "show figures",
        "what `scout top` shows: ports, paths, edges, queues, drops, replicas and latencies in one answer",
    ),
    Request(
        "trace",
        "follow packets that a port receives, stage by stage, on a copy of the router's state; answered when there are "
        "enough, or the time is over",
        (
            Parameter("source", NAME, "the port where the packets come in"),
            Parameter("host", ADDRESS, "source or destination of the packets", None),
            Parameter("port", number(0, 65535), "L4 port, source or destination of the packets", None),
            Parameter("proto", NAME, "icmp, tcp, udp or arp", None),
            Parameter("reason", NAME, "only packets that are dropped for this reason", None),
            Parameter("count", number(1, 50), "packets at most", 1),
            Parameter("seconds", number(1, 20), "how long to wait for them", 5),
        ),
        "left --host 10.0.1.2",
    ),
    Request("add-replica", "have one more replica take part"),
    Request(
        "remove-replica",
        "have a replica leave; answered when it has left",
        (Parameter("replica", _REPLICA, "its number"),),
        "1",
    ),
    Request(
        "bind", "bind handlers of a service, besides those that are bound", (_SERVICE, _HANDLERS), "hundreds report"
    ),
    Request("unbind", "have handlers of a service bound no more", (_SERVICE, _HANDLERS), "hundreds report"),
    Request(
        "port add",
        "give a port that has none an interface, while packets flow; answered when the port takes part",
        (
            Parameter("port", NAME, "a port without an interface, one of `show ports`"),
            Parameter("interface", NAME, "the interface's name"),
            Parameter("mac", MAC, "a MAC address of the router's own; by default the interface's", None),
            Parameter("promiscuous", FLAG, "whether frames to other MAC addresses are received too", False),
            Parameter(
                "coalesce",
                FLAG,
                "whether consecutive packets of one flow leave as one super-frame, if the kernel cuts it",
                True,
            ),
        ),
        "third eth3 --promiscuous",
    ),
    Request(
        "port delete",
        "take the interface away from a port, and the router's addresses, MTU and neighbours there; routes by gateways "
        "there have to be deleted first",
        (Parameter("port", NAME, "the port"),),
        "third",
    ),
    Request(
        "address add",
        "give the router one more address at a port; its network is connected from then on",
        (_AT, _OWN),
        "left 10.0.2.1/24",
    ),
    Request(
        "address delete",
        "take an address away; its network is connected no more, unless another address of the port is in it",
        (_AT, _OWN),
        "left 10.0.2.1/24",
    ),
    Request(
        "route add", "route a prefix that has no route of its own to a gateway", (_PREFIX, _VIA), "10.9.0.0/16 10.0.1.2"
    ),
    Request("route replace", "route a prefix to another gateway", (_PREFIX, _VIA), "10.9.0.0/16 10.0.1.3"),
    Request("route delete", "delete the route of a prefix", (_PREFIX,), "10.9.0.0/16"),
    Request(
        "path create",
        "create a path for a part of another one's traffic; the supervisor needs room for it (`most_paths`). With "
        "`egress` the router graph is walked for it, and its shape may be a new one",
        (
            Parameter("of", NAME, "the other path, one of `show paths`"),
            *_TRAFFIC,
            Parameter("egress", NAME, "the port that they leave by", None),
            *_WISHES,
        ),
        "left --protocol udp --destination-port 53 --queue 64 --deadline 0.005",
    ),
    Request(
        "discard add",
        "drop packets at the port, before any other stage and any queue: a path, which `path delete` deletes",
        (Parameter("at", NAME, "the port where the packets come in"), *_TRAFFIC),
        "left --protocol udp --destination-port 53",
    ),
    Request(
        "path delete", "delete a path", (Parameter("path", NAME, "its name, one of `show paths`"),), "'left, dscp 46'"
    ),
    Request(
        "neighbour set",
        "set a neighbour's MAC address by hand; it never expires",
        (_PORT, _NEIGHBOUR, Parameter("mac", MAC, "the neighbour's")),
        "right 10.0.1.2 02:00:00:00:00:0b",
    ),
    Request(
        "neighbour delete",
        "forget a neighbour that was set by hand; ARP asks for it then",
        (_PORT, _NEIGHBOUR),
        "right 10.0.1.2",
    ),
    Request(
        "set",
        "give a setting of a filter or service another value",
        (
            Parameter("setting", NAME, "one of `show settings`, as hops.least"),
            Parameter("value", number(-(2**63), 2**63 - 1), "its new value"),
        ),
        "hops.least 3",
    ),
    Request(
        "reload",
        "make the router that runs like its router file, as it is now; what did not change stays",
        (Parameter("dry_run", FLAG, "whether the changes are only shown, and not made", False),),
        "--dry-run",
    ),
    Request("stop", "stop the router, as Ctrl-C does"),
)


def find_request(name: str) -> Request:
    """The request of a name.

    Raises
    ------
    ScoutError
        If there is none; names the nearest one.
    """
    for request in REQUESTS:
        if request.name == name:
            return request
    near = difflib.get_close_matches(name, [each.name for each in REQUESTS], 1, cutoff=0.0)
    raise ScoutError(
        f"there is no request {_short(name)}; the nearest is {near[0]!r}, and `scout ctl --help` lists all"
    )


def checked(message: Any) -> tuple[Request, dict[str, Any]]:
    """Check a message: the request, and the values of all its parameters.

    Raises
    ------
    ScoutError
        If the message is no object with a known request, or a parameter is unknown, missing or bad.
    """
    if not isinstance(message, dict) or not isinstance(message.get("do"), str):
        raise ScoutError('a request is an object that names what to do, as {"do": "show routes"}')
    request = find_request(message["do"])
    known = [parameter.name for parameter in request.parameters]
    for name in message:
        if name != "do" and name not in known:
            raise ScoutError(
                f"{request.name}: no parameter {_short(name)}; it takes {', '.join(known) or 'no parameters'}"
            )
    return request, {each.name: _value(request, each, message) for each in request.parameters}


def _value(request: Request, parameter: Parameter, message: dict[str, Any]) -> Any:
    place = f"{request.name}: {parameter.name}"
    if parameter.name not in message:
        if parameter.required:
            raise ScoutError(f"{place} is missing: give {parameter.kind.about}")
        return parameter.default
    value = message[parameter.name]
    try:
        return parameter.kind.read(value)
    except (ValueError, ScoutError) as error:
        raise ScoutError(f"{place} is {_short(value)}; give {parameter.kind.about}") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
