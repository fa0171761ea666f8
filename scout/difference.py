"""The difference between a router that runs and one that is wanted: the changes that make the one of the other.

Computing it is pure: nothing changes, no port is opened, and nothing is compiled. What changes can be made of is up to
the routers (`Router.differences`). Everything else has to be equal, and is compared as the code sees it: the text of
the paths' code, the functions that it calls, and the numbers and tables that they are bound to.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np

from scout.io.mac import mac_text
from scout.io.ports.afpacket import AfPacketPort
from scout.paths.changes.paths import CreatePath, DeletePath
from scout.paths.changes.ports import AddPort, DeletePort
from scout.paths.changes.values import SetValue
from scout.paths.compiler.fingerprint import fingerprint
from scout.paths.compiler.native import code_of
from scout.paths.model.change import Change
from scout.paths.model.path import Path
from scout.paths.model.setting import Setting
from scout.paths.model.stage import Stage
from scout.paths.model.table import Table
from scout.ring.errors import ScoutError

__all__ = ["difference"]

_NEW_START = "that needs a new start"


def difference(running: Sequence[Path], wanted: Sequence[Path]) -> list[Change]:
    """The changes that make what is wanted of the paths that run; empty if there is nothing to change.

    Parameters
    ----------
    running : sequence of Path
        Those that the supervisor was given, with the routers as changes have made them.
    wanted : sequence of Path
        Of another router graph.

    Raises
    ------
    ScoutError
        If something differs that cannot be changed while the router runs; names it.

    Examples
    --------
    ::

        graph, paths = load_router("router.py")  # the file has changed since the router was started
        print(difference(supervisor.given_paths, paths))
    """
    _compare_graphs(running, wanted)
    changes: list[Change] = []
    covered: set[int] = set()
    other_graph = wanted[0].router_graph
    for router in running[0].router_graph.routers:
        other = other_graph.router(router.name)
        covered |= {id(table) for table in router.covered}
        changes += router.differences(other)
    settings: dict[int, SetValue] = {}
    stay, gone, new = _paired(running, wanted)
    for path, other_path in stay:
        _compare_code(path, other_path)
        for node, stage in path.stages.items():
            for one, two in _bindings(path, node, stage, other_path.stages[node], covered):
                if one.value != two.value:
                    settings[id(one)] = SetValue(one, two.value)
    return [*_ports(running, wanted), *settings.values(), *changes, *map(DeletePath, gone), *map(CreatePath, new)]


def _ports(running: Sequence[Path], wanted: Sequence[Path]) -> list[AddPort | DeletePort]:
    """The interfaces that ports are to have, and those that they are to lose."""
    changes: list[AddPort | DeletePort] = []
    graph, other_graph = running[0].router_graph, wanted[0].router_graph
    for name in graph.ports:
        port, other = graph.router(name).port, other_graph.router(name).port
        if port.interface and not other.interface:
            changes.append(DeletePort(name))
        elif other.interface and not port.interface:
            mac = mac_text(other.own_mac) if other.own_mac else None
            changes.append(AddPort(name, other.interface, mac, other.promiscuous, other.coalesce))
    return changes


def _paired(running: Sequence[Path], wanted: Sequence[Path]) -> tuple[list[tuple[Path, Path]], list[Path], list[Path]]:
    """The paths that stay, each with the one that is wanted; those that go; and those that are to be created.

    One whose wishes differ, such as its queue, goes and is created anew.
    """
    there, other = {path.name: path for path in running}, {path.name: path for path in wanted}
    same = {name for name in there if name in other and there[name].attributes == other[name].attributes}
    gone, new = ([path for name, path in each.items() if name not in same] for each in (there, other))
    for path in (*gone, *new):
        if not path.attributes.traffic:
            known = path.name in there and path.name in other
            what = "its attributes differ" if known else "it is new" if path in new else "it is gone"
            raise ScoutError(f"path {path.name!r} takes all packets that no other path takes, and {what}; {_NEW_START}")
    return (
        [(there[name], other[name]) for name in there if name in same],
        gone,
        [_made(running[0], each) for each in new],
    )


def _made(running: Path, wanted: Path) -> Path:
    """A path of the router graph that runs, like one that is wanted."""
    attributes = wanted.attributes
    given = {each.name: getattr(attributes, each.name) for each in fields(attributes) if each.name != "ingress"}
    made = running.router_graph.create_path(attributes.ingress, rules=wanted.rules, **given)
    if code_of(made) != code_of(wanted):
        raise ScoutError(
            f"path {wanted.name!r} is new, and was edited or relies on routes that differ; {_NEW_START}, or reload the "
            "routes first"
        )
    return made


def _compare_graphs(running: Sequence[Path], wanted: Sequence[Path]) -> None:
    graph, other = running[0].router_graph, wanted[0].router_graph
    kinds = [{router.name: type(router).__qualname__ for router in each.routers} for each in (graph, other)]
    if list(kinds[0].items()) != list(kinds[1].items()):
        changed = [name for name in kinds[0] | kinds[1] if kinds[0].get(name) != kinds[1].get(name)]
        raise ScoutError(f"routers that are new, gone or others: {', '.join(changed) or 'their order'}; {_NEW_START}")
    links = [{(*edge, str(pairs)) for *edge, pairs in each.edges(data="pairs")} for each in (graph, other)]
    for upper, lower, _ in sorted(links[0] ^ links[1]):
        raise ScoutError(f"the connection between {upper} and {lower} differs; {_NEW_START}")
    for name in graph.ports:
        _compare_ports(name, graph.router(name).port, other.router(name).port)


def _compare_ports(name: str, port: Any, other: Any) -> None:
    """Refuse another port than the one there, but for an `AfPacketPort` whose interface comes or goes."""
    if isinstance(port, AfPacketPort) and isinstance(other, AfPacketPort) and not (port.interface and other.interface):
        for option in ("frames", "longest"):
            kept, wanted = port.options[option], other.options[option]
            if kept != wanted:
                raise ScoutError(
                    f"port {name}: its ring keeps {option}={kept} when an interface comes or goes, and "
                    f"{option}={wanted} is wanted; write {option}={kept}, or start anew"
                )
        if other.bypass and other.interface and not port.interface:
            raise ScoutError(
                f"port {name}: an interface that comes while packets flow cannot have bypass=True; leave that out, or "
                "start anew"
            )
        return
    if repr(port) != repr(other):
        raise ScoutError(f"port {name} is {port!r}, and {other!r} is wanted; {_NEW_START}")
    wanted = dict(other.options)
    if isinstance(port, AfPacketPort) and port.came_later and not other.bypass:
        wanted["bypass"] = port.bypass  # it sends by AF_PACKET, whether or not the file says so
    if differ := [each for each, value in port.options.items() if value != wanted[each]]:
        raise ScoutError(f"port {name}: {' and '.join(differ)} of {port!r} differ; {_NEW_START}")


def _compare_code(path: Path, other: Path) -> None:
    if code_of(path) == code_of(other):
        return
    for node, stage in path.stages.items():
        found = other.stages.get(node)
        if found is None or fingerprint(stage.function) != fingerprint(found.function):
            raise ScoutError(f"the code of stage {node} of path {path.name!r} differs; {_NEW_START}")
    raise ScoutError(f"the stages of path {path.name!r} differ; {_NEW_START}")


def _bindings(
    path: Path, node: str, stage: Stage, other: Stage, covered: set[int]
) -> Iterator[tuple[Setting, Setting]]:
    """The settings of a stage in pairs; refuses other bindings that differ."""
    for name, value in stage.bindings.items():
        if id(value) in covered or name not in stage.parameters:
            continue
        wanted = other.bindings[name]
        if isinstance(value, Setting) and isinstance(wanted, Setting):
            yield value, wanted
        elif not _is_equal(value, wanted):
            raise ScoutError(
                f"{name} of stage {node} of path {path.name!r} differs; {_NEW_START}, or a Setting in its place"
                if isinstance(value, int)
                else f"{name} of stage {node} of path {path.name!r} differs; {_NEW_START}"
            )


def _is_equal(value: Any, wanted: Any) -> bool:
    """True if two bindings of a stage are the same to it."""
    if isinstance(value, Table) or isinstance(wanted, Table):
        return (
            type(value) is type(wanted)
            and value.kind == wanted.kind
            and value.initial.dtype == wanted.initial.dtype
            and np.array_equal(value.initial, wanted.initial)
        )
    if isinstance(value, partial) and isinstance(wanted, partial):  # a fact about a port, which is the same one
        return value.func == wanted.func and value.args[1:] == wanted.args[1:]
    if callable(value) and callable(wanted):
        return fingerprint(value) == fingerprint(wanted)
    return bool(value == wanted)
