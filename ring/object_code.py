"""Machine code as bytes: a compiled function as an object file, for a process that did not compile it.

Numba makes machine code for the process that it runs in. Here the same intermediate code becomes a relocatable ELF
file, in LLVM's *large* code model: every reference is an absolute address of 64 bits, so that the code may stand
anywhere (`scout.ring.code_memory`).
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from numba.core.compiler import CompilerBase
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher

from scout.ring.errors import ScoutError
from scout.ring.fuse import EntryLibrary, EntryLowering, pipeline
from scout.ring.jit import OPTIONS

__all__ = ["object_code"]


def object_code(function: Callable[..., Any], signature: Any) -> bytes:
    """Compile `function` for a numba signature; an ELF object file with one global function.

    Raises
    ------
    ScoutError
        If the code refers to memory of this process, such as a large array that is a global of the function.
    numba.core.errors.NumbaError
        If it does not compile.
    """
    options = OPTIONS | {"nopython": True, "no_cpython_wrapper": True}
    with global_compiler_lock:
        dispatcher: Any = CPUDispatcher(function, targetoptions=options, pipeline_class=_ObjectCompiler)
        result = dispatcher._compiler.compile(signature.args, signature.return_type)
        result.library._ensure_finalized()
        if result.library.has_dynamic_globals:
            raise ScoutError(f"{function.__name__} refers to an array of this process; give it as a Table")
        module = result.library._final_module
        for each in module.functions:
            if not each.is_declaration and each.name != result.fndesc.llvm_func_name:
                each.linkage = "internal"
        return bytes(_target_machine().emit_object(module))


def _target_machine() -> Any:
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, reloc="static", codemodel="large"
    )


class _ObjectLibrary(EntryLibrary):
    def _finalize_final_module(self) -> None:
        # Not added to the execution engine, which would make machine code for this process.
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _ObjectLowering(EntryLowering):
    _name = "object_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _ObjectLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        return bool(super().run_pass(state))


class _ObjectCompiler(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        return [pipeline(self.state, "object", _ObjectLowering)]
