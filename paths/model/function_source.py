"""The source of a function, with its names resolved: the beginning of every analysis of stages and handlers."""

import ast
import builtins
import inspect
import textwrap
from functools import lru_cache
from types import CodeType, ModuleType
from typing import Any

from scout.paths.model.references import references
from scout.ring.errors import ScoutError

__all__ = ["FunctionSource", "SourceError"]


class SourceError(ScoutError):
    """A function whose source cannot be read; the message names it, where it is, and the fix."""


class FunctionSource:
    """A function's source as a syntax tree.

    Parameters
    ----------
    function : callable
        A Python function, or one that numba compiles.

    Attributes
    ----------
    function : callable
        The Python function.
    tree : ast.FunctionDef
    parameters : tuple of str

    Raises
    ------
    SourceError
        If there is no source, or it is that of a lambda, which is an expression of another statement.
    """

    def __init__(self, function: Any) -> None:
        self.function = getattr(function, "py_func", function)
        code = self.function.__code__
        self._file, self._first = code.co_filename, code.co_firstlineno
        self.tree: Any = _tree(code.co_filename, code)
        if not isinstance(self.tree, ast.FunctionDef):
            raise SourceError(
                f"{self._file}:{self._first}: the source of {self.function.__name__} cannot be read; "
                "write it with def, in a file"
            )
        self.parameters = code.co_varnames[: code.co_argcount]
        self._locals = set(code.co_varnames)
        self._known = references(self.function)

    def place(self, node: Any) -> str:
        """The file and line of a part of the tree."""
        return f"{self._file}:{self._first + node.lineno - 1}"

    def value(self, node: Any) -> Any:
        """The value of a global name, or of an attribute of a module or class; None if it is not known."""
        if isinstance(node, ast.Name) and node.id not in self._locals:
            scope = self.function.__globals__
            return self._known.get(node.id, scope.get(node.id, getattr(builtins, node.id, None)))
        if isinstance(node, ast.Attribute):
            base = self.value(node.value)
            return getattr(base, node.attr, None) if isinstance(base, ModuleType | type) else None
        return None


@lru_cache(1024)
def _tree(file: str, code: CodeType) -> Any:
    """The syntax tree of a function, for all analyses; None if it has none. Codes of two files may be equal."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(code))).body[0]
    except (OSError, SyntaxError, TypeError):
        return None
