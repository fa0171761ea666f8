"""The part of a domain's loop that finds the path of each packet, where packets of a port are told apart.

It runs before anything of a packet is copied, on the frame in the channel. It writes `packet.path`; the packets of one
shape go through their code together, as far as they follow one another: their order stays.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scout.domain_accounts import BEGUN, NOTED
from scout.io.packet import DROPPED, REACH
from scout.paths.compiler.inlining import native_helper
from scout.paths.demux.find import ACCOUNTED, DISCARDS, LIMITED, NO_SHAPE, SEEN, find_again
from scout.paths.demux.walk import Step, classifiers, key_source, steps
from scout.paths.model.graph import RouterGraph
from scout.ring.jit import CHECKED, Record, inline

__all__ = ["demux_functions", "find_source", "grouped", "look_source", "looking", "name_path"]

_TABLES = "demux_ports, demux_kinds, demux_heads, demux_entries"

_LOOK = f"memo, {_TABLES}, demux_paths, accounts, sizes, contexts, waiter, epoch"
"""The tables by which a packet's path is found where the packet lies."""


def demux_functions(graph: RouterGraph) -> dict[str, Any]:
    """The functions that the text of `find_source` calls, by their names there."""
    found = [each for name in graph.ports for each in classifiers(steps(graph, name))]
    return {f"classify_{each.router}": native_helper(each.classifier.function) for each in found} | {
        "find_path": find_again
    }


def find_source(graph: RouterGraph, ports: Sequence[str], name: str) -> list[str]:
    """The text of the function that finds the path of a packet that came by one of these ports."""
    chains: dict[str, list[int]] = {}  # ports of one kind have classifiers alike
    lines: list[str] = []
    for port in ports:
        step = steps(graph, port)
        likeness = str(_functions(step))
        if likeness not in chains:
            lines += [*key_source(step, f"{name}_key_{port}"), "", ""]
        chains.setdefault(likeness, []).append(graph.ports.index(port))
    lines += [
        "@inline",
        f"def {name}(port, frame, end, memo, {_TABLES}, epoch):",
        '    """The number of the path of a packet."""',
        "    if demux_ports[np.uintp(port)].first == 0:  # all take the default path",
        "        return demux_ports[np.uintp(port)].default",
        *(["    allow(frame, end, False)"] if CHECKED else []),
    ]
    word = "if"
    for indices in chains.values():
        key = f"way, word_0, word_1 = {name}_key_{graph.ports[indices[0]]}(frame, end)"
        if len(chains) == 1:
            lines.append(f"    {key}")
        else:
            test = " or ".join(f"port == {index}" for index in indices)
            lines += [f"    {word} {test}:", f"        {key}"]
        word = "elif"
    return [
        *lines,
        "    if way < 0:",
        "        return demux_ports[np.uintp(port)].default",
        f"    return find_path(memo, {_TABLES}, port, word_0, word_1, epoch)",
    ]


def look_source(name: str, find: str, accounts: bool) -> list[str]:
    """The text of the function that looks at packets where they lie (`scout.io.channels.contract`).

    It finds their paths by the function `find`. Those of a path that discards are dropped there, and counted by their
    primary: before anything of them is copied. With `accounts` the primary drops those of paths over their budgets too.
    """
    row = "demux_paths[np.uintp(path)]"
    admitted = [
        f"    if {row}.first >= {ACCOUNTED}:",
        f"        if primary and {row}.queue == {LIMITED} and exceeds(accounts[np.uintp(path)], memo, waiter):",
        "            return False",
        "        admit(size, memo, sizes)",
    ]
    return [
        "@inline",
        f"def {name}(tables, packet, frame, size, primary):",
        '    """Find the path of a packet; False if that discards it."""',
        f"    {_LOOK} = tables",
        f"    path = {find}(packet.port, frame, frame + min(size, {REACH}), memo, {_TABLES}, epoch)",
        "    packet.path = path",
        f"    memo[{SEEN}] = packet.timestamp  # also packets that are dropped here tell the time",
        f"    if {row}.first == {DISCARDS}:",
        "        if primary:",
        f"            count_discarded(path, {row}.shape, contexts)",
        "        return False",
        *(admitted if accounts else []),
        "    return True",
    ]


def looking(name: str, epoch: str) -> str:
    """The last arguments of `receive` where that function is called `name`."""
    return f"{name}, ({_LOOK.replace('epoch', epoch)})"


def _functions(step: Step | None) -> Any:
    """What the text of a key depends on: the functions of its classifiers, and how they follow one another."""
    if step is None:
        return None
    pulls = [outcome.pull for outcome in step.classifier.outcomes]
    return id(step.classifier.function), pulls, [_functions(each) for each in step.next]


@inline
def name_path(packet: Record, demux_paths: np.ndarray, sizes: np.ndarray) -> None:
    """Let a control request be like a packet of its path, of no bytes: it comes with the path's number as its port."""
    if packet.control:
        sizes[0] = 0
        packet.path = packet.port
        packet.port = demux_paths[np.uintp(packet.port)].port


def grouped(calls: dict[str, list[str]], primary: bool, accounts: bool = False) -> list[str]:
    """The lines that run the code of each packet's shape: those of `calls`, by tests of `shape`, for packets `first` to
    `last`.

    With `accounts` the paths of some may be accounted for.
    """
    scan = [
        "while last < count and demux_paths[batch[np.uintp(last)].path].first == shape:",
        "    last += 1",
    ]
    body = ["shape, last = demux_paths[batch[np.uintp(first)].path].first, first + 1"]
    body += [*scan, *(BEGUN if accounts else [])]
    word = "if"
    for test, call in calls.items():
        body += [f"{word} {test}:", *(f"    {line}" for line in call)]
        word = "elif"
    if primary:
        body += [
            f"{word} shape == {NO_SHAPE}:",
            "    for index in range(first, last):",
            f"        batch[index].egress = {DROPPED}",
            "    demux_refused[0] += last - first",
        ]
    body += [*(NOTED if accounts else []), "first = last"]
    return ["first = 0", "while first < count:", *(f"    {line}" for line in body)]
