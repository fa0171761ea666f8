"""Scout's changes to the intermediate code that numba makes of a function, before LLVM optimises it.

Memory. Compiled code reaches packets by address, through the accessors (`scout.io.access`), and everything else through
numba's arrays and records. LLVM cannot know that these never overlap: it would read a table again after each byte
written to a packet, and a packet again after each note written to its record. So loads and stores carry one of two
marks, which LLVM's type-based alias analysis (TBAA) tells apart. Plain and atomic accesses by address
(`scout.ring.atomics`) carry none: they may touch either.

Calls. A function marked by `scout.ring.jit.outline` is called seldom: LLVM lays out what leads to its call apart from
the usual way, and numba's room for its result and its exception is not cleared where it is not called.
"""

from typing import Any

from llvmlite import ir
from numba.core import ir as numba_ir
from numba.core import types
from numba.core.lowering import Lower

__all__ = ["Lowering", "mark_packet"]


class Lowering(Lower):
    """Numba's lowering of a function, with these changes."""

    def lower_assign(self, kind: Any, statement: Any) -> Any:
        if isinstance(kind, types.Dispatcher) and isinstance(statement.value, numba_ir.Global | numba_ir.FreeVar):
            return self.context.get_dummy_value()  # numba would load its address in this process, which nothing needs
        return super().lower_assign(kind, statement)

    def lower_normal_function(self, fndesc: Any) -> None:
        super().lower_normal_function(fndesc)
        _mark_arrays(self.module)
        _leave_unset(self.function)
        if getattr(self.func_ir.func_id.func, "outlined", False):
            self.function.attributes.add("cold")
            self.function.attributes.add("noinline")


def mark_packet(builder: Any, access: Any) -> Any:
    """Mark a load or store as one of packet bytes; it is returned."""
    access.set_metadata("tbaa", _mark(builder.module, "packet"))
    return access


def _mark(module: Any, name: str) -> Any:
    """The mark of a kind of memory: LLVM takes two kinds of one root as apart."""
    zero = ir.Constant(ir.IntType(64), 0)
    kind = module.add_metadata([name, module.add_metadata(["scout"]), zero])
    return module.add_metadata([kind, kind, zero])


def _mark_arrays(module: Any) -> None:
    """Mark the loads and stores of arrays, records and variables: all whose pointer was not made from an address.

    Numba makes no pointer from an integer. What Scout's own intrinsics do by address is marked as packet bytes, or not.
    """
    mark = _mark(module, "array")
    for function in module.functions:
        for each in _instructions(function, ir.LoadInstr | ir.StoreInstr):
            by_address = getattr(each.operands[-1], "opname", "") == "inttoptr"
            if not by_address and "tbaa" not in each.metadata:
                each.set_metadata("tbaa", mark)


def _leave_unset(function: Any) -> None:
    """Have the places for a call's result and exception not cleared at the function's beginning.

    The result's is cleared again before the call, and the exception's is read only if the call has set it.
    """
    places = set()
    for call in _instructions(function, ir.CallInstr):
        names = [getattr(argument, "name", "") for argument in call.args[:2]]
        if len(names) == 2 and names[1].startswith("excinfo"):
            places |= {id(argument) for argument in call.args[:2]}
    first = function.entry_basic_block
    first.instructions = [
        each for each in first.instructions if not (isinstance(each, ir.StoreInstr) and id(each.operands[1]) in places)
    ]


def _instructions(function: Any, kinds: Any) -> list[Any]:
    return [each for block in function.blocks for each in block.instructions if isinstance(each, kinds)]
