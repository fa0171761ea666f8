"""Router files: Python files that define a router graph, and paths of it."""

import importlib.util
import os
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path as FilePath

from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path
from scout.ring.errors import ScoutError

__all__ = ["load_router"]


def load_router(file: str) -> tuple[RouterGraph, list[Path]]:
    """Import a router file and check what it defines; no interface is opened.

    The file's folder becomes the first place where Python looks for modules, and stays it, as if the file were run by
    `python FILE`: the file imports modules that lie beside it.

    Parameters
    ----------
    file : str
        Path of the file, relative to the current folder or absolute.

    Returns
    -------
    tuple of RouterGraph and list of Path
        The one graph that the file's variables hold, and the paths that they or lists among them hold; if there are
        none, one path from each port.

    Raises
    ------
    ScoutError
        If the file is missing, is not Python, fails, or defines no router; names the file and line.
    """
    path = FilePath(file)
    if not path.is_file():
        problem = "this is a folder" if path.is_dir() else "no such file"
        raise ScoutError(f"{file}: {problem}; name a Python file that defines a RouterGraph")
    # Registered under a name that does not change: compiled code in the cache refers to it.
    name = f"scout_router_{path.stem}"
    # Python reports an absolute path in tracebacks, whatever was given.
    spec = importlib.util.spec_from_file_location(name, os.path.abspath(file))
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise ScoutError(f"{file}: not a Python file; name one that ends in .py and defines a RouterGraph")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = os.path.dirname(os.path.abspath(file))
    if sys.path[0] != folder:
        sys.path.insert(0, folder)
    try:
        # Not by `exec_module`: the bytecode that Python keeps may be that of a text of the same length a second ago.
        source = FilePath(spec.loader.path).read_bytes()
        exec(spec.loader.source_to_code(source, spec.loader.path), module.__dict__)
    except SyntaxError as error:
        # Source that Python cannot even decode has neither a file name nor a line.
        where = file if error.filename in (spec.origin, None) else error.filename
        line = f":{error.lineno}" if error.lineno else ""
        raise ScoutError(f"{where}{line}: {error.msg}; fix the file") from error
    except (Exception, SystemExit) as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == spec.origin]
        what = str(error) if isinstance(error, ScoutError) else f"{type(error).__name__}: {error}"
        if isinstance(error, SystemExit):
            what = f"the file calls sys.exit({error.code!r}); remove the call, since the file is only to be imported"
        raise ScoutError(f"{file}:{lines[-1] if lines else 1}: {' '.join(what.split())}") from error
    values = [v for value in vars(module).values() for v in (value if isinstance(value, list) else [value])]
    graphs = list({id(value): value for value in values if isinstance(value, RouterGraph)}.values())
    if len(graphs) != 1:
        found = f"{len(graphs)} router graphs" if graphs else "no router graph"
        raise ScoutError(f"{file}: defines {found}; define one, as in graph = RouterGraph('name')")
    graph = graphs[0]
    paths = list({id(value): value for value in values if isinstance(value, Path)}.values())
    try:
        paths = paths or [graph.create_path(port) for port in graph.ports]
    except ScoutError as error:
        raise ScoutError(f"{file}: {error}") from error
    if not paths:
        raise ScoutError(f"{file}: graph {graph.name!r} has no port; add one, as in Ethernet('left', port)")
    return graph, paths
