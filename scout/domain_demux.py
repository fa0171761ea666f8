"""The part of a domain's loop that finds the path of each packet, where packets of a port are told apart.

It runs before any path does. It writes `packet.path`; after it the packets of one shape go through their code together,
as far as they follow one another: their order stays.
"""

from collections.abc import Sequence
from typing import Any

from scout.domain_accounts import NOTED, shape_lines
from scout.io.packet import DROPPED
from scout.paths.compiler.inlining import native_helper
from scout.paths.demux.find import NO_SHAPE, find
from scout.paths.demux.walk import Step, classifiers, key_source, steps
from scout.paths.model.graph import RouterGraph
from scout.ring.jit import CHECKED

__all__ = ["classify", "classify_source", "demux_functions", "grouped"]

_TABLES = "demux_ports, demux_kinds, demux_heads, demux_entries"


def demux_functions(graph: RouterGraph) -> dict[str, Any]:
    """The functions that the text of `classify_source` calls, by their names there."""
    found = [each for name in graph.ports for each in classifiers(steps(graph, name))]
    return {f"classify_{each.router}": native_helper(each.classifier.function) for each in found} | {"find_path": find}


def classify_source(graph: RouterGraph, ports: Sequence[str], name: str) -> list[str]:
    """The text of the function that finds the paths of a batch that came by some of these ports."""
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
        f"def {name}(batch, count, {_TABLES}, demux_paths, epoch):",
        '    """Find the paths of packets; a control request comes with the number of its path in place of a port."""',
        "    for index in range(count):",
        "        packet = batch[np.uintp(index)]",
        "        port = packet.port",
        "        if packet.control:",
        "            packet.path = port",
        "            packet.port = demux_paths[np.uintp(port)].port",
        "            continue",
        "        if demux_ports[np.uintp(port)].first == 0:  # all take the default path",
        "            packet.path = demux_ports[np.uintp(port)].default",
        "            continue",
        *(["        allow(packet.frame, packet.end, False)"] if CHECKED else []),
    ]
    word = "if"
    for indices in chains.values():
        key = f"way, word_0, word_1 = {name}_key_{graph.ports[indices[0]]}(packet.frame, packet.end)"
        if len(chains) == 1:
            lines.append(f"        {key}")
        else:
            test = " or ".join(f"port == {index}" for index in indices)
            lines += [f"        {word} {test}:", f"            {key}"]
        word = "elif"
    return [
        *lines,
        "        path = demux_ports[np.uintp(port)].default",
        "        if way >= 0:",
        f"            path = find_path({_TABLES}, port, word_0, word_1, epoch)",
        "        packet.path = path",
    ]


def _functions(step: Step | None) -> Any:
    """What the text of a key depends on: the functions of its classifiers, and how they follow one another."""
    if step is None:
        return None
    pulls = [outcome.pull for outcome in step.classifier.outcomes]
    return id(step.classifier.function), pulls, [_functions(each) for each in step.next]


def classify(name: str, epoch: str) -> str:
    """The call that finds the paths of a batch."""
    return f"{name}(batch, count, {_TABLES}, demux_paths, {epoch})"


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
    body += shape_lines(scan, primary) if accounts else scan
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
