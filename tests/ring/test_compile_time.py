"""Signatures that are remembered, and variables that are found faster, are those that numba finds itself."""

from typing import Any

import numba
import pytest
from numba.core import errors, ir, types, typing

from scout.ring import compile_time
from scout.ring.fuse import EntryCompiler
from scout.ring.jit import callee, inline


def test_the_variables_of_a_statement_are_those_that_numba_lists() -> None:
    def function(table: Any, first: int, last: int) -> int:
        total = 0
        for index in range(first, last):
            total += table[index] * 2 if index & 1 else min(index, total, last)
            table[index, 0] = total
        return total

    for block in numba.core.compiler.run_frontend(function).blocks.values():
        for statement in block.body:
            for each in (statement, statement.value) if isinstance(statement, ir.Assign) else (statement,):
                for value in vars(each).values():
                    wanted = compile_time._find_variables(each, value)
                    assert compile_time._variables(each, value) == wanted


def test_an_operation_that_does_not_fit_is_refused_each_time_and_one_that_gets_another_template_fits() -> None:
    class Mine(types.Type):
        def __init__(self) -> None:
            super().__init__("mine")

    context = numba.core.registry.cpu_target.typing_context
    context.refresh()
    operation = context.resolve_value_type(len)
    for _ in range(2):
        with pytest.raises(errors.TypingError):
            context.resolve_function_type(operation, (Mine(),), {})

    @typing.templates.infer_global(len)
    class LengthOfMine(typing.templates.ConcreteTemplate):
        cases = [typing.signature(types.int64, Mine())]

    context.refresh()
    assert context.resolve_function_type(len, (Mine(),), {}).return_type == types.int64


def test_a_function_for_compiled_code_contains_no_other() -> None:
    """Its callers link those that it calls: there would be as many copies as there are ways to it."""

    @inline
    def deepest(number: int) -> int:
        return number * 3

    @inline
    def middle(number: int) -> int:
        return deepest(number) + 1

    @numba.njit(types.int64(types.int64), pipeline_class=EntryCompiler)
    def called(number: int) -> int:
        return middle(number) + deepest(number)

    assert called(2) == 13
    (result,) = middle.overloads.values()
    assert sum(not each.is_declaration for each in result.library._final_module.functions) == 1


def test_a_function_of_numbas_own_pipeline_contains_all_that_it_calls() -> None:
    @inline
    def deepest(number: int) -> int:
        return number * 3

    @callee
    def middle(number: int) -> int:
        return deepest(number) + 1 if number in (2, 5) else -1

    @numba.njit(types.int64(types.int64))
    def called(number: int) -> int:
        return middle(number) + deepest(number)

    assert called(2) == 13
