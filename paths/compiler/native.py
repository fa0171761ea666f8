"""The compiler: fuses a path's stages into one function over a batch.

`source` writes the function as a file that people can read, `compile_path` has numba compile it. Stage
functions melt into it (`forceinline`). Its shape is fixed by the path: which verdict leads where, by how
much a header is pulled, which port is which. What differs from one run to the next (addresses, MTUs) is
read from one record, once a batch, so that the code in the cache serves again.

Code is cached under a name that carries a hash of the generated text and of everything the stage
functions refer to, in a folder that carries a hash of Scout's own sources (`scout.ring.jit`).
"""

import hashlib
import importlib.util
import inspect
import os
import re
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path as FilePath
from types import FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.core.dispatcher import Dispatcher

from scout.io.batch import WHOLE
from scout.io.packet import CONSUMED, DROPPED, HELD, PACKET
from scout.paths.model.path import Path, variable
from scout.paths.model.stage import GATHER, HOLD, TOO_LONG, Stage, Table, rebound, references, written
from scout.ring.atomics import count_rare
from scout.ring.cache import cache_folder
from scout.ring.errors import ScoutError
from scout.ring.jit import CHECKED, Entry, compiled, entry, inline
from scout.ring.segment import private

__all__ = [
    "BATCH",
    "CompileError",
    "CompiledPath",
    "compile_path",
    "configuration",
    "explain",
    "fingerprint",
    "load_generated",
    "native",
    "seldom",
    "source",
    "table_names",
    "write_generated",
]

BATCH = types.Array(numba.from_dtype(PACKET), 1, "C")
"""The numba type of a batch."""


class CompileError(ScoutError):
    """A stage that numba cannot compile."""


class CompiledPath:
    """A path as native code.

    Attributes
    ----------
    run : callable
        `run(batch, first, last, counters, configuration, whole, *tables)`: what the primary does with these packets.
    replicate : callable or None
        The same for the other replicas; None if the path has no replicated work.
    file : pathlib.Path
        The generated source.
    """

    def __init__(self, path: Path, module: ModuleType) -> None:
        self.path, self.module = path, module
        self.run: Any = module.run
        self.replicate: Any = getattr(module, "replicate", None)
        self.file = FilePath(str(module.__file__))
        self.configuration = configuration(path)

    def arguments(self) -> list[np.ndarray]:
        """Fresh counters, the configuration, room for whole packets, and the tables as they begin."""
        counters = np.zeros(len(self.path.counter_names), np.int64)
        return [counters, self.configuration, self.whole(), *(table.initial for table in self.path.tables)]

    def whole(self) -> np.ndarray:
        """Room for whole packets, if a stage wants them; untouched pages cost nothing."""
        wanted = any(stage.payload or stage.gathers for stage in self.path.stages.values())
        return private(WHOLE if wanted else 1, np.uint8)


def compile_path(path: Path) -> CompiledPath:
    """Compile `path`, or load it from the cache.

    Raises
    ------
    CompileError
        If a stage does not compile; names it, its file and line.
    """
    text = source(path)
    given: dict[str, Any] = {
        variable(node): native(stage.function) for node, stage in path.stages.items() if _module(stage) is None
    }
    marks = "".join(fingerprint(stage.function) for stage in path.stages.values())
    signature = _signature(path)
    try:
        module = load_generated(f"{path.graph['graph_name']}_{path.source}", text, marks, signature, given)
    except (numba.core.errors.NumbaError, KeyError) as error:  # KeyError: a record has no such field
        raise _blame(path, error) from error
    return CompiledPath(path, module)


_loaded: dict[str, ModuleType] = {}
"""Generated modules of this process by digest. Loaded anew, the machine code of each would stay in memory for ever."""


def load_generated(name: str, text: str, marks: str, signature: Any, given: dict[str, Any]) -> ModuleType:
    """Write `text` to the cache folder, import it with `entry` and `given` among its names, and compile its entries."""
    digest = hashlib.sha256((text + marks + repr(signature)).encode()).hexdigest()[:16]
    if loaded := _loaded.get(digest):
        return loaded
    file = write_generated("paths", name, digest, text)
    spec = importlib.util.spec_from_file_location(f"scout_generated_{digest}", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # numba looks a function's module up there, also for code from the cache
    module.__dict__.update(given, entry=entry(signature))
    spec.loader.exec_module(module)
    for value in list(vars(module).values()):
        if isinstance(value, Entry):
            _ = value.native
    _loaded[digest] = module
    return module


def write_generated(folder: str, name: str, digest: str, text: str) -> FilePath:
    """Write `text` to a folder of the cache, unless it is there; the file."""
    place = cache_folder() / folder
    place.mkdir(exist_ok=True)
    file = place / f"{re.sub(r'[^A-Za-z0-9]+', '_', name)}_{digest}.py"
    if not file.exists():
        # Written aside and renamed: another process may be reading. The time stamp is part of numba's key.
        aside = file.with_suffix(f".{os.getpid()}.tmp")
        aside.write_text(text)
        aside.replace(file)
    return file


# The generated text.


def source(path: Path) -> str:
    """The text of the module that `compile_path` compiles."""
    stages = path.stages
    imports = sorted({f"import {_module(stage)}" for stage in stages.values() if _module(stage)})
    lines = [
        f'"""Path from {path.source} in graph {path.graph["graph_name"]!r}. Generated by Scout; the stages are:',
        "",
        *(f"{index:3} {node:20} {_place(stage)}" for index, (node, stage) in enumerate(stages.items())),
        '"""',
        "",
        *imports,
        "from scout.io.access import allow",
        "from scout.io.batch import linearise",
        "from scout.paths.compiler.native import native, seldom",
        "",
        *(
            f"{variable(node)} = native({_module(stage)}.{stage.function.__name__})"
            if _module(stage)
            else f"# {variable(node)}: {_place(stage)}"
            for node, stage in stages.items()
        ),
        "",
        "",
    ]
    if path.aside:
        lines += _function(path, "aside", path.aside, primary=True)
    lines += _function(path, "run", set(path.main_line), primary=True)
    if path.replicated:
        lines += _function(path, "replicate", path.replicated, primary=False)
    return "\n".join(line.rstrip() for line in lines) + "\n"


_DOCUMENTATION = {
    "aside": "What packet `first` of the batch goes through off the main line, from stage `packet.at` on.",
    "run": "The main line, for the primary, of packets `first` to `last`: those that leave it go through `aside`.",
    "replicate": "What every replica but the primary does.",
}


def _function(path: Path, name: str, present: set[str], primary: bool) -> list[str]:
    tables = "".join(f", {table}" for table in table_names(path).values())
    parameters = f"batch, first, last, counters, configuration, whole{tables}"
    settings = [key for key in path.configuration if any(key.startswith(f"{variable(node)}_") for node in present)]
    single = name == "aside"  # one packet at a time: order is kept, and the main line keeps its registers
    away = [
        "packet.frame = frame",
        "packet.at = at",
        f"aside({parameters.replace('first, last', 'index, index + 1', 1)})",
    ]
    # Control requests begin at a stage of the main line, or are led away behind its last.
    elsewhere = "at != 0 and packet.control == 0" if any(s.controlled for s in path.stages.values()) else "at != 0"
    lines = [
        "packet = batch[index]",
        "frame = packet.frame",
        "end = packet.end",
        "at = packet.at",
        *(
            [f"if {elsewhere}:", *(f"    {line}" for line in [*away, "continue"])]
            if name == "run" and path.aside
            else []
        ),
        *(line for node in path.running_order if node in present for line in _stage(path, node, present, primary)),
        *(away if name == "run" and path.aside else []),
    ]
    return [
        "",
        "",
        "@entry",
        f"def {name}({parameters}):",
        f'    """{_DOCUMENTATION[name]}"""',
        *(f"    {key} = configuration[0].{key}" for key in settings),
        *(["    index = first"] if single else ["    for index in range(first, last):"]),
        *(f"    {'' if single else '    '}{line.replace('continue', 'return') if single else line}" for line in lines),
    ]


def _stage(path: Path, node: str, present: set[str], primary: bool) -> list[str]:
    data = path.nodes[node]
    stage, index = data["stage"], data["index"]
    lines = []
    if stage.push:
        lines.append(f"frame -= {stage.push}")
    if stage.payload:
        lines += [
            "frame = linearise(packet, frame, whole, index)",
            "end = packet.end",
            "if frame == 0:",
            *(f"    {line}" for line in _leaf(path, node, int(TOO_LONG), primary)),
        ]
    if CHECKED:
        lines.append(f"allow(frame, end, {primary or stage.writes})")
    if stage.gathers and primary:
        lines.append("origin = packet.origin")
    lines.append(f"verdict = {variable(node)}({', '.join(_arguments(path, node, primary))})")
    if stage.gathers and primary:
        lines.append("frame += packet.origin - origin")  # it may have been gathered elsewhere
    if stage.resizes:
        lines.append("end = packet.end")
    word = "if"
    for _, target, edge in sorted(path.out_edges(node, data=True), key=lambda edge: min(map(abs, edge[2]["verdicts"]))):
        test = " or ".join(f"verdict == {verdict}" for verdict in edge["verdicts"])
        lines.append(f"{word} {test}:  # {edge['outcome'] or path.nodes[target]['label']}")
        lines += [f"    {line}" for line in _edge(path, node, target, present, primary)]
        word = "elif"
    if stage.holds and primary:
        lines += [f"{word} verdict == {HOLD}:", *(f"    {line}" for line in _hold(path, node, index))]
    lines += ["else:", *(f"    {line}" for line in _leave("DROPPED", path.unknown_counter(node), primary))]
    return [f"if at == {index}:  # {node}", *(f"    {line}" for line in lines)]


def _arguments(path: Path, node: str, primary: bool) -> list[str]:
    stage = path.nodes[node]["stage"]
    tables = table_names(path)
    found = ["frame", "end"]
    for name in stage.parameters:
        if name == "packet":
            found.append("packet")
        elif name == "primary":
            found.append(str(primary))
        elif name in GATHER:
            found.append({"whole": "whole", "whole_index": "index"}[name])
        elif name not in stage.bindings:
            raise CompileError(
                f"stage {node} at {_place(stage)}: parameter {name!r} is not bound; give {name}=... where it is added"
            )
        elif isinstance(stage.bindings[name], Table):
            found.append(tables[id(stage.bindings[name])])
        else:
            found.append(f"{variable(node)}_{name}")
    return found


def _edge(path: Path, tail: str, head: str, present: set[str], primary: bool) -> list[str]:
    edge, data = path.edges[tail, head], path.nodes[head]
    counter = path.counter(tail, head)
    if "stage" in data and (primary or head in present):
        pull = [f"frame += {edge['pull']}"] if edge["pull"] else []
        increment = f"counters[{counter}] += 1" if edge["main"] else f"seldom(counters, {counter})"
        count = [increment] if counter is not None and primary else []
        return [*pull, *count, f"at = {data['index']}"]
    if "stage" in data:
        return ["continue"]  # nothing replicated there
    egress = {"drop": "DROPPED", "end": "CONSUMED"}.get(data["kind"])
    if egress:
        return _leave(egress, counter, primary)
    return _leave(str(path.ports.index(data["router"])), counter, primary, keep=True)


def _leave(egress: str, counter: int | None, primary: bool, keep: bool = False) -> list[str]:
    number = {"DROPPED": str(DROPPED), "CONSUMED": str(CONSUMED)}.get(egress, egress)
    if not primary:
        return ["continue"]
    count = f"counters[{counter}] += 1" if keep else f"seldom(counters, {counter})"
    frame = ["packet.frame = frame"] if keep else []
    return [*frame, f"packet.egress = {number}", count, "continue"]


def _hold(path: Path, node: str, index: int) -> list[str]:
    push = path.nodes[node]["stage"].push
    return [
        f"packet.frame = frame + {push}" if push else "packet.frame = frame",
        f"packet.at = {index}",
        f"packet.egress = {HELD}",
        f"seldom(counters, {path.held_counter(node)})",
        "continue",
    ]


def _leaf(path: Path, node: str, verdict: int, primary: bool) -> list[str]:
    head = next((head for _, head, edge in path.out_edges(node, data=True) if verdict in edge["verdicts"]), None)
    if head is None:
        return _leave("DROPPED", path.unknown_counter(node), primary)
    return _edge(path, node, head, set(), primary)


def table_names(path: Path) -> dict[int, str]:
    """Name in generated code of each of the path's tables, by its id."""
    names: dict[int, str] = {}
    for node, stage in path.stages.items():
        for name in stage.parameters:
            value = stage.bindings.get(name)
            if isinstance(value, Table):
                names.setdefault(id(value), f"{path.nodes[node]['router']}_{name}")
    return names


def configuration(path: Path) -> np.ndarray:
    """The path's configuration: one record with an int64 for every int parameter."""
    values = path.configuration or {"none": 0}
    record = np.zeros(1, np.dtype([(name, np.int64) for name in values]))
    for name, value in values.items():
        record[name] = value
    return record


def _signature(path: Path) -> Any:
    arrays = [table.initial for table in path.tables]
    return types.void(
        BATCH,
        types.int64,
        types.int64,
        types.int64[::1],
        numba.typeof(configuration(path)),
        types.uint8[::1],
        *(numba.typeof(array) for array in arrays),
    )


# Stage functions as native code.


@inline
def seldom(counters: np.ndarray, index: int) -> None:
    """Count a packet that leaves the main line; generated code calls it where that happens."""
    count_rare(counters.ctypes.data + index * 8)


@cache
def native(function: Callable[..., Any]) -> Any:
    """`function` compiled to be inlined, with every plain function it calls compiled likewise."""
    return inline(_rebound(function, {}))


def _rebound(function: Any, done: dict[Any, Any]) -> Any:
    """A copy of `function` whose own functions are jitted; accessors keep their numba lowering."""

    def translated(value: Any) -> Any:
        if isinstance(value, int) and type(value) not in (int, bool):
            return int(value)  # a drop reason, an event: numba writes a constant by its repr
        if not isinstance(value, FunctionType) or hasattr(value, "has_lowering"):
            return value
        if value not in done:
            done[value] = compiled(_rebound(value, done))
        return done[value]

    return rebound(function, translated)


def fingerprint(function: Any) -> str:
    """Everything a compiled function depends on, as text: its code, and what its names stand for."""
    return _fingerprint(function, set())


def _fingerprint(function: Any, seen: set[int]) -> str:
    if id(function) in seen:
        return ""
    seen.add(id(function))
    if isinstance(function, Dispatcher):
        function = function.py_func
    if (getattr(function, "__module__", "") or "").startswith("scout."):
        return function.__qualname__  # the cache folder's name carries a hash of these sources
    code = function.__code__
    parts = [
        function.__module__,  # numba imports it when it loads compiled code: not for a file that is now __main__
        code.co_code.hex(),
        repr([c for c in code.co_consts if not inspect.iscode(c)]),
        repr(code.co_names),
    ]
    for name, value in references(function).items():
        if isinstance(value, FunctionType | Dispatcher):
            parts.append(f"{name}: {_fingerprint(value, seen)}")
        elif isinstance(value, np.ndarray):
            parts.append(f"{name}: {hashlib.sha256(value.tobytes()).hexdigest()} {value.dtype}")
        else:
            parts.append(f"{name}: {value.__name__ if isinstance(value, ModuleType) else repr(value)}")
    return "\n".join(parts)


def _module(stage: Stage) -> str | None:
    """The module to import a stage's function from; None if it is the user's own."""
    name = stage.function.__module__
    plain = "." not in stage.function.__qualname__
    return name if name.startswith("scout.") and plain else None


def _place(stage: Stage) -> str:
    code = stage.function.__code__
    return f"{FilePath(code.co_filename).name}:{code.co_firstlineno} {stage.function.__name__}"


def _blame(path: Path, error: Exception) -> CompileError:
    """Find the stage that does not compile by itself, and say so in one line."""
    for node, stage in path.stages.items():
        kinds: list[Any] = [types.int64, types.int64]
        for name in stage.parameters:
            value = stage.bindings.get(name)
            if name == "packet":
                kinds.append(numba.from_dtype(PACKET))
            elif name == "primary":
                kinds.append(types.boolean)
            elif name in GATHER:
                kinds.append(types.uint8[::1] if name == "whole" else types.int64)
            else:
                kinds.append(numba.typeof(value.initial) if isinstance(value, Table) else types.int64)
        try:
            native(stage.function).compile(tuple(kinds))
        except (numba.core.errors.NumbaError, KeyError) as own:
            return CompileError(
                f"{_culprit(stage, _plain(own))}: stage {node} does not compile: {_reason(own)}; "
                "use ints, the accessors and tables, and try it with Path.run as plain Python"
            )
    return CompileError(f"path from {path.source} does not compile: {_reason(error)}")


def _culprit(stage: Stage, message: str) -> str:
    """File and line of the stage that numba's message names last."""
    codes = [function.__code__ for function in written(stage.function)]
    files = {FilePath(code.co_filename).name: code.co_filename for code in codes}
    named = [(FilePath(file).name, line) for file, line in re.findall(r'File "([^"]*)", line (\d+)', message)]
    found = [f"{files[name]}:{line}" for name, line in named if name in files]
    return found[-1] if found else f"{codes[0].co_filename}:{codes[0].co_firstlineno}"


def _plain(error: Exception) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error))


def _reason(error: Exception) -> str:
    """The sentence of numba's message that says what is wrong."""
    if isinstance(error, KeyError):
        return f"no field {error}"
    lines = [line.strip() for line in _plain(error).splitlines() if line.strip()]
    noise = (
        "Failed in nopython mode",
        "During:",
        "File ",
        "There are",
        "Overload",
        "Match:",
        "-",
        "1:",
        "2:",
    )
    telling = [line for line in lines if not line.startswith(noise)]
    return textwrap.shorten(telling[0] if telling else str(error), 160)


# For people.


def explain(path: Path) -> str:
    """See `Path.explain`."""
    compiled = compile_path(path)
    lines = [f"path from {path.source}, order {path.order}, fused into {compiled.file}"]
    for index, (node, stage) in enumerate(path.stages.items()):
        flags = [word for word in ("replicated", "payload", "resizes") if getattr(stage, word)]
        if node in path.replicated and not stage.replicated:
            flags.append("leads to replicated work")
        lines.append(f"{index:3} {node:20} {_place(stage)} {' '.join(f'[{flag}]' for flag in flags)}".rstrip())
        for _, head, edge in path.out_edges(node, data=True):
            if path.nodes[head]["kind"] != "drop":
                pull = f", pulls {edge['pull']} bytes" if edge["pull"] else ""
                lines.append(f"      {edge['outcome'] or 'next'} -> {head}{pull}")
        if stage.push:
            lines.append(f"      pushes {stage.push} bytes")
        dropped = [path.nodes[head]["label"] for head in path.successors(node) if path.nodes[head]["kind"] == "drop"]
        if dropped:
            lines.append(f"      drops: {', '.join(sorted(dropped))}")
    lines.append("constants in the code: the verdicts, headers pulled and pushed, port numbers")
    lines.append("read from one record, once a batch:")
    lines += [f"      {name} = {value}" for name, value in path.configuration.items()] or ["      nothing"]
    names = table_names(path)
    lines.append("tables:")
    lines += [
        f"      {names[id(table)]}: {table.kind}, {table.initial.shape[0]} of {table.initial.dtype.itemsize} bytes"
        for table in path.tables
    ] or ["      none"]
    lines.append(f"replicated on every core: {', '.join(n for n in path.stages if n in path.replicated) or 'nothing'}")
    return "\n".join(lines)
