"""Numba keeps every store to an array.

When numba has inlined a function, it removes from the caller what nothing reads, and with it stores to arrays that it
takes for the caller's own: all that it cannot trace back to an argument. It traces an attribute of a record only if the
record's definition comes earlier in its list of blocks, which inlining changes, and it traces no results of calls. So
it would remove stores to memory of the arguments, without a word (numba#10041). Scout's functions make no arrays: all
of their stores are to memory that others see.
"""

from typing import Any

from numba.core import ir
from numba.core.ir_utils import remove_dead_extensions

__all__ = ["keep_stores"]


def keep_stores() -> None:
    """Have numba keep the stores of all functions that this process compiles."""
    remove_dead_extensions[ir.SetItem] = remove_dead_extensions[ir.Assign] = _keep


def _keep(statement: Any, lives: Any, needed: set[str], *others: Any) -> Any:
    """The statement, which numba may remove unless its array is one of the `needed`; numba asks for each one."""
    if isinstance(statement, ir.SetItem):
        needed.add(statement.target.name)
    elif isinstance(statement.value, ir.Expr) and statement.value.op == "inplace_binop":
        needed.add(statement.value.lhs.name)
    return statement
