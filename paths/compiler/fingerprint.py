"""The fingerprint of a function: everything that its compiled code depends on, as text.

Two functions with the same fingerprint compile to the same code; a change of a function, of what it calls, or of a
constant that it refers to changes the fingerprint, and with it the name of the file in the cache.
"""

import hashlib
import re
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from scout.paths.model.references import module_name, references

__all__ = ["fingerprint"]


def fingerprint(function: Any) -> str:
    """Everything that the compiled code of `function` depends on, as text."""
    return _function(function, set())


def _function(function: Any, seen: set[int]) -> str:
    function = getattr(function, "py_func", function)
    name = f"{module_name(function)}.{function.__qualname__}"
    if id(function) in seen:
        return name
    seen.add(id(function))
    if name.startswith("scout.") and not function.__closure__ and not function.__defaults__:
        return name  # the cache folder's name carries a hash of these sources
    found = [f"{key}: {_value(value, seen)}" for key, value in references(function).items()]
    return "\n".join([name, _code(function.__code__), *found])


def _code(code: CodeType) -> str:
    """The behaviour of code and of the functions inside it, without the file and line where it stands."""
    constants = [_code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return " ".join([code.co_code.hex(), repr(code.co_names), repr(code.co_varnames), *constants])


def _value(value: Any, seen: set[int]) -> str:
    if isinstance(getattr(value, "py_func", value), FunctionType):
        return _function(value, seen)
    if isinstance(value, ModuleType):
        return value.__name__  # its attributes that the function takes are references of their own
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} ({', '.join(_value(each, seen) for each in value)})"
    if isinstance(value, int) and type(value) not in (int, bool):
        return f"{value!r} {int(value)}"
    return re.sub(r" at 0x[0-9a-f]+", "", f"{type(value).__qualname__} {value!r}")  # an address changes every time
