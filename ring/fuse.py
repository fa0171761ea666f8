"""Functions that become part of their callers: numba makes LLVM's intermediate code of them and nothing else.

Numba optimises every function that it compiles, makes machine code of it, and wraps it for calls from Python and C. A
function that only compiled code calls needs none of that: its callers link its intermediate code in, and LLVM optimises
the whole once. A router's first compilation takes about half the time so.

Everything here relies on numba's compiler pipeline, which it documents for such extensions, and on `JITCodeLibrary`.
"""

from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any

from llvmlite.binding import Linkage, parse_bitcode
from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder, Flags
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import AnnotateTypes, NativeLowering, NopythonRewrites, NopythonTypeInference
from numba.core.untyped_passes import InlineClosureLikes

from scout.ring.compile_time import shorten_compile_time
from scout.ring.fused_cache import FusedCache, for_compiled_code, key_of, symbol_number
from scout.ring.integers import check_integers
from scout.ring.lowering import Lowering
from scout.ring.stores import keep_stores

__all__ = ["EntryCompiler", "EntryLibrary", "EntryLowering", "fused", "pipeline"]

keep_stores()
shorten_compile_time()


def fused(function: Callable[..., Any], **options: Any) -> Any:
    """Compile `function` for calls from compiled code; called from Python it raises a TypeError.

    Parameters
    ----------
    function : callable
    **options
        Options of `numba.njit`.
    """
    options |= {"nopython": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return _Dispatcher(function, targetoptions=options, pipeline_class=_Compiler)


class _Library(JITCodeLibrary):
    """The intermediate code of one function alone: those that it calls are linked where an entry uses it.

    Numba would link them here, and so again in each of its callers, and theirs.

    Attributes
    ----------
    key : str or None
        Under which it is cached (`scout.ring.fused_cache`).
    symbol : str
        The function's name in the code of its callers, if it is cached.
    """

    key: str | None = None
    symbol = ""

    @classmethod
    def cached(cls, target: Any, name: str, bitcode: bytes, linked: list[Any], key: str) -> Any:
        """The library of a function from the cache; `linked` are those of the functions that it calls."""
        made = cls(target.codegen(), name)
        made._final_module, made._linking_libraries, made.key = parse_bitcode(bitcode), linked, key
        made._finalized = True
        return made

    @property
    def linked(self) -> list[Any]:
        """The libraries of the functions that it calls."""
        return self._linking_libraries

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout  # as the method of the base class does

    def finalize(self) -> None:
        self._raise_if_finalized()
        # Not added to the execution engine, which makes machine code of all that it is given.
        self._finalize_dynamic_globals()
        self._finalized = True
        if not self.key:
            return
        self._contain_numbas()
        if self.has_dynamic_globals or not all(each.key for each in self.linked):
            self.key = None

    def _contain_numbas(self) -> None:
        """Let the module contain what it calls of numba's: other processes have that under other names."""
        others = [each for each in self._linking_libraries if not isinstance(each, _Library) and each.name != "nrt"]
        for library in others:
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        if others:
            self._finalize_dynamic_globals()
            for function in self._final_module.functions:
                if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                    function.linkage = "internal"
        self._linking_libraries = [each for each in self._linking_libraries if isinstance(each, _Library)]

    def complete(self) -> None:
        """Take it as complete, as numba does when it is linked."""
        self._ensure_finalized()

    def alone(self) -> Any:
        """The module of this function without those that it calls."""
        self._ensure_finalized()
        return self._final_module

    def _get_module_for_linking(self) -> Any:
        """The module with all that it calls: for a function that is compiled by numba's own pipeline."""
        if self._shared_module is None:
            self._shared_module = self.alone().clone()
            _link(self._shared_module, _parts(self._linking_libraries))
            _make_optional(self._shared_module)
        return self._shared_module


class EntryLibrary(JITCodeLibrary):
    """The code of a function that Python calls, and of those that it calls."""

    _bitcode: bytes | None = None

    def finalize(self) -> None:
        self._raise_if_finalized()
        own = {each.name for each in self._final_module.functions if not each.is_declaration}
        parts = _parts(self._linking_libraries)
        for part in parts:
            self._reload_init.update(part._reload_init)
        _link(self._final_module, parts)
        _make_optional(self._final_module, own)
        self._optimize_final_module()
        self._final_module.verify()
        self._finalize_final_module()

    def release(self) -> None:
        """Free the intermediate code: it takes many times the memory of the machine code, which every fork maps."""
        self._bitcode = self._get_module_for_linking().as_bitcode()
        self._codegen._engine._ee.remove_module(self._final_module)  # the machine code stays
        self._final_module.close()
        self._shared_module, self._linking_libraries = None, []

    def _get_module_for_linking(self) -> Any:
        if self._bitcode is not None and self._shared_module is None:
            self._shared_module = parse_bitcode(self._bitcode)
        return super()._get_module_for_linking()

    def _optimize_functions(self, ll_module: Any) -> None:
        # The passes over the final module begin with those of the base class's method.
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        # Functions that were not inlined become the module's own. Then LLVM relies on what it finds out about them:
        # what a call leaves as it is, that it raises nothing, which arguments are not needed.
        for function in self._final_module.functions:
            if not function.is_declaration and any(b"cold" in each for each in function.attributes):
                function.linkage = "internal"
        # The method of the base class runs all passes twice, the second time after it has removed reference counts, of
        # which Scout's code has none.
        passes, builder = self._codegen._module_pass_manager()
        with self._recorded_timings.record("Module passes", builder):
            passes.run(self._final_module, builder)


def _parts(libraries: Iterable[Any]) -> list[Any]:
    """These libraries and, each once, all whose code theirs needs."""
    found: dict[Any, None] = {}
    waiting = list(libraries)
    while waiting:
        library = waiting.pop()
        if library not in found:
            found[library] = None
            if isinstance(library, _Library):  # numba's own contain what they call
                waiting += library.linked
    return list(found)


_GROUP = 16


def _link(module: Any, parts: list[Any]) -> None:
    """Link these libraries into a module.

    LLVM goes through all types of a module for each other one that it links into it, so parts become groups first.
    """
    own = [each for each in parts if isinstance(each, _Library)]
    for first in range(0, len(own), _GROUP):
        group, *others = [each.alone().clone() for each in own[first : first + _GROUP]]
        for each in others:
            group.link_in(each)
        module.link_in(group)
    # Last: LLVM leaves out those that nothing calls that is there already.
    for each in parts:
        if not isinstance(each, _Library):
            module.link_in(each._get_module_for_linking(), preserve=True)


def _make_optional(module: Any, kept: Iterable[str] = ()) -> None:
    """Let all functions but those to be `kept` be left out where they are inlined, and be in several modules."""
    for function in module.functions:
        if not function.is_declaration and function.linkage == Linkage.external and function.name not in kept:
            function.linkage = "linkonce_odr"


@register_pass(mutates_CFG=True, analysis_only=False)
class EntryLowering(NativeLowering):
    _name = "entry_lowering"

    @property
    def lowering_class(self) -> Any:
        return Lowering

    def run_pass(self, state: Any) -> bool:
        if state.library is None:
            state.library = EntryLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
            state.library.enable_object_caching()
        return bool(super().run_pass(state))


def pipeline(state: Any, name: str, lowering: Any, *checks: Any) -> Any:
    """Numba's passes with another lowering, and with `checks` after the types are known.

    Numba's rewriting of expressions on whole arrays is left out: Scout's functions make no arrays. So are the inlining
    of closures where there are none, which goes through the whole function several times, and a copy of the function
    with its types for people to read.
    """
    manager = DefaultPassBuilder.define_nopython_pipeline(state, name)
    for check in checks:
        manager.add_pass_after(check, NopythonTypeInference)
    manager.passes = [
        (lowering if each is NativeLowering else each, why)
        for each, why in manager.passes
        if each not in (NopythonRewrites, AnnotateTypes)
        and (each is not InlineClosureLikes or _has_closures(state.func_id.code))
    ]
    manager.finalize()
    return manager


def _has_closures(code: CodeType) -> bool:
    """True if a function contains others; `reduce` makes a loop of one that it is given."""
    return "reduce" in code.co_names or any(isinstance(each, CodeType) for each in code.co_consts)


class _Flags(Flags):
    """Numba's flags, which it compares for each call whose types it looks up: all of them, at twenty times the cost."""

    _hash = hash(Flags())

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Flags) and self._values == other._values:
            return True
        return super().__eq__(other)  # flags that were set to their defaults equal those that were not set


class _CompilerBase(CompilerBase):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.state.flags = _Flags(self.state.flags)


class EntryCompiler(_CompilerBase):
    """Numba's compiler with Scout's `Lowering`, for functions that Python calls."""

    def define_pipelines(self) -> list[Any]:
        return [pipeline(self.state, "entry", EntryLowering)]


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(EntryLowering):
    _name = "fused_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)
        # A function that calls an uncached function gets a symbol unique to this process: a function of the same name
        # may call another version.
        state.library.key = key = _compiling[-1].key(state.args) if _calls_cached(state) else None
        if key:
            for function in (state.func_id, state.func_ir.func_id):
                function.unique_id = symbol_number(key)
                function.unique_name = f"{function.func_qualname}${function.unique_id}"
        state.flags.no_compile = True
        super().run_pass(state)
        lowered = state["cr"]
        entry_point = for_compiled_code(lowered.fndesc.qualname)
        # Compiled callers find the function under its entry point, which has to be an object of its own.
        state.targetctx.insert_user_function(entry_point, lowered.fndesc, [state.library])
        state["cr"] = lowered._replace(cfunc=entry_point)
        return True


def _calls_cached(state: Any) -> bool:
    """True if a function whose types are known calls none of those that `fused` compiled and that are not cached."""
    for call, signature in state.calltypes.items():
        kind = state.typemap[call.func.name] if getattr(call, "op", "") == "call" else None
        dispatcher = kind.dispatcher if isinstance(kind, types.Dispatcher) else None
        if isinstance(dispatcher, _Dispatcher):
            called: Any = dispatcher.overloads.get(tuple(signature.args))
            if called is None or not called.library.key:
                return False
    return True


@register_pass(mutates_CFG=False, analysis_only=True)
class _Integers(FunctionPass):
    _name = "integers"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        check_integers(state)
        return False


class _Compiler(_CompilerBase):
    def define_pipelines(self) -> list[Any]:
        return [pipeline(self.state, "fused", _Lowering, _Integers)]


_compiling: list["_Dispatcher"] = []
"""The functions that are being compiled, each called by the one before it; under numba's lock."""


class _Dispatcher(CPUDispatcher):
    def __init__(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        super().__init__(function, *arguments, **options)
        self._cache = FusedCache(self.key, _Library.cached)

    def key(self, arguments: Iterable[Any]) -> str | None:
        """The name under which it is cached for these types of arguments; None if it is not."""
        return key_of(self.py_func, self.targetoptions, tuple(arguments))

    def compile(self, signature: Any) -> Any:
        with global_compiler_lock:
            _compiling.append(self)
            try:
                return super().compile(signature)
            finally:
                _compiling.pop()

    def get_call_template(self, args: Any, kws: Any) -> Any:
        # Numba would compile the function anew for every constant that it is called with.
        kinds = {name: types.unliteral(kind) for name, kind in kws.items()}
        return super().get_call_template(tuple(map(types.unliteral, args)), kinds)

    def add_overload(self, cres: Any) -> None:
        # Numba's own also registers the entry point for calls from Python.
        self.overloads[tuple(cres.signature.args)] = cres
