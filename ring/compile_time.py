"""Numba compiles in less time: some of its functions that it calls very often do less.

Signatures. Numba tries for each addition, comparison or subscript of a program all the templates that the operation
has, and makes and formats an exception for each that does not fit: a fifth of the time of a first compilation. The
result depends on the operation and on the types of its arguments alone, so it is remembered.

Variables. Some ten times numba lists the variables of each statement of a function. It asks of each field of a
statement which of several classes it is an instance of; most fields are of a few classes that contain no variables.

Texts. Before each of its passes numba notes the types of the function's arguments as text, and it makes one for each
message, most of which nobody reads. The text of a record has all of its fields, so it is remembered.
"""

from collections.abc import Callable
from types import BuiltinFunctionType, NoneType
from typing import Any
from weakref import WeakKeyDictionary

from numba.core import ir, types

__all__ = ["shorten_compile_time"]

_Operation: Any = types.Function
_Statement: Any = ir.Inst
_find_signature, _find_variables = _Operation.get_call_type, _Statement._rec_list_vars

_signatures: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()
"""By operation, and by the types of the arguments. Numba replaces an operation when it gets another template."""

_WITHOUT_VARIABLES = frozenset({ir.Loc, str, int, bool, NoneType, BuiltinFunctionType, type(ir.UNDEFINED)})
"""Classes of fields."""


def shorten_compile_time() -> None:
    """Do so in all that this process compiles."""
    _Operation.get_call_type = _signature
    _Statement._rec_list_vars = _variables
    kind: Any
    for kind in (types.Record, types.Array, types.NestedArray):
        kind.__repr__ = _remembered(kind.__repr__)


def _signature(operation: Any, context: Any, args: Any, kws: Any) -> Any:
    """The signature of an operation for these types."""
    if kws:
        return _find_signature(operation, context, args, kws)
    known = _signatures.setdefault(operation, {})
    if (context, args) not in known:
        known[context, args] = _find_signature(operation, context, args, kws)
    return known[context, args]


def _variables(statement: Any, value: Any) -> list[Any]:
    """The variables in a field of a statement, or in all of its fields, in their order."""
    if type(value) is not dict:
        return [] if type(value) in _WITHOUT_VARIABLES else _find_variables(statement, value)
    found: list[Any] = []
    for field in value.values():
        if type(field) is ir.Var:
            found.append(field)
        elif type(field) not in _WITHOUT_VARIABLES:
            found += _variables(statement, field)
    return found


def _remembered(text_of: Callable[[Any], str]) -> Any:
    """A function that calls another one once for each type."""
    known: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    def text(kind: Any) -> str:
        if kind not in known:
            known[kind] = text_of(kind)
        return known[kind]

    return text
