"""Integers stay integers: a float is not cut silently where an integer is wanted, and a verdict is an integer.

Numba would store 1.5 into an integer field as 1. The plain run raises an error there, and compiled code has to agree.
"""

from typing import Any

from numba.core import ir, types
from numba.core.errors import TypingError

__all__ = ["check_integers", "no_verdict"]


def check_integers(state: Any) -> None:
    """Refuse a function that numba has inferred the types of.

    Parameters
    ----------
    state
        Numba's state of the compilation.

    Raises
    ------
    numba.TypingError
        If the function stores a float into an integer, gives one to an accessor, or is a stage function
        (`returns_verdict`) and returns something that is no integer.
    """
    for block in state.func_ir.blocks.values():
        for statement in block.body:
            _check(statement, state.typemap)
    if getattr(state.func_id.func, "returns_verdict", False):
        _check_verdict(state)


def _check_verdict(state: Any) -> None:
    """Refuse a stage function that returns something that is no integer, also if only some of its returns do."""
    # The values before numba casts them to the type that all returns have in common.
    statements = [statement for block in state.func_ir.blocks.values() for statement in block.body]
    casts = [
        each for each in statements if isinstance(getattr(each, "value", None), ir.Expr) and each.value.op == "cast"
    ]
    kinds = [(state.typemap[each.value.value.name], each.loc) for each in casts]
    for kind, loc in [(state.return_type, state.func_ir.loc), *kinds]:
        if not isinstance(kind, types.Integer):
            raise TypingError(no_verdict(kind), loc=loc)


def no_verdict(kind: Any) -> str:
    """The sentence about a stage function that returns a value of a numba type that is no integer."""
    return f"it returns {_words(kind)}; return 0 to go on, or a drop(...)"


def _words(kind: Any) -> str:
    """The result of a function, in words."""
    if isinstance(kind, types.Optional):
        return "none in some cases"
    if isinstance(kind, types.Literal):
        return repr(kind.literal_value)
    if isinstance(kind, types.Boolean):
        return "True or False"
    return "a generator" if isinstance(kind, types.Generator) else str(kind)


def _check(statement: Any, typemap: dict[str, Any]) -> None:
    if isinstance(statement, ir.SetItem | ir.StaticSetItem | ir.SetAttr):
        target = typemap[statement.target.name]
        if isinstance(target, types.Record):
            name = statement.attr if isinstance(statement, ir.SetAttr) else statement.index
            target = target.typeof(name) if name in target.fields else None
        else:
            target = getattr(target, "dtype", None)
        if isinstance(target, types.Integer) and isinstance(typemap[statement.value.name], types.Float):
            raise TypingError(f"a float is stored into {target}: use int(...), or //", loc=statement.loc)
    value = getattr(statement, "value", None)
    if isinstance(value, ir.Expr) and value.op == "call":
        function: Any = getattr(typemap[value.func.name], "typing_key", None)
        given = [typemap[each.name] for each in value.args]
        if hasattr(function, "has_lowering") and any(isinstance(each, types.Float) for each in given):
            raise TypingError(f"{function.__name__} is given a float: use int(...), or //", loc=statement.loc)
