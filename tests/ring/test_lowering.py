"""What LLVM makes of the marks: what it need not read again, and what it must."""

import re
from typing import Any

import numba
import numpy as np
from numba import types

from scout.io.access import load8, store8
from scout.ring.atomics import copy
from scout.ring.fuse import EntryCompiler
from scout.ring.jit import compiled, inline, outline
from scout.ring.segment import address

TABLE = types.int64[::1]


def code_of(function: Any, *arguments: Any) -> str:
    """LLVM's code of a function after it was optimised, from its definition to its end."""
    options = {"pipeline_class": EntryCompiler, "error_model": "numpy", "_nrt": False}
    native = numba.njit(types.int64(*arguments), **options)(function)
    return definition(native.inspect_llvm(native.signatures[0]), function.__name__)


def definition(text: str, name: str) -> str:
    found = re.search(rf"^define [^\n]*{name}.*?^}}", text, re.MULTILINE | re.DOTALL)
    assert found
    return found[0]


def loads(code: str, bits: int) -> int:
    return len(re.findall(rf"= load i{bits},", code))


def test_a_byte_written_to_a_packet_changes_no_table() -> None:
    def write_between(table: Any, frame: Any) -> int:
        before = table[1]
        store8(frame, 3, before)
        return int(before + table[1])

    assert loads(code_of(write_between, TABLE, types.int64), 64) == 1


def test_a_note_written_to_a_table_changes_no_packet() -> None:
    def note_between(table: Any, frame: Any) -> int:
        before = load8(frame, 3)
        table[1] = before
        return before + load8(frame, 3)

    assert loads(code_of(note_between, TABLE, types.int64), 8) == 1


def test_a_table_and_a_packet_are_read_again_after_a_write_to_themselves() -> None:
    def write_twice(table: Any, frame: Any, at: int, there: int) -> int:
        total = load8(frame, 3) + table[1]
        store8(frame, at, 5)
        table[there] = 7
        return int(total + load8(frame, 3) + table[1])

    code = code_of(write_twice, TABLE, types.int64, types.int64, types.int64)
    assert loads(code, 8) == 2 and loads(code, 64) == 2


def test_memory_that_is_copied_by_address_may_be_either() -> None:
    """As `linearise` does, which gathers a packet in an array."""
    data, source = np.zeros(64, np.uint8), np.arange(64, dtype=np.uint8)

    def copy_between(frame: Any, table: Any, source: int) -> int:
        before = load8(frame, 3) + table[4]
        copy(frame, source, 64)
        return int(before + load8(frame, 3) + table[4])

    signature = types.int64(types.int64, types.uint8[::1], types.int64)
    native = numba.njit(signature, pipeline_class=EntryCompiler, _nrt=False)(copy_between)
    assert native(address(data), data, address(source)) == 3 + 4


def test_an_outlined_function_stays_apart_and_costs_nothing_where_it_is_not_called() -> None:
    @outline
    def seldom(value: int) -> int:
        return value * value + 3

    called = compiled(seldom)

    def usual(value: int) -> int:
        return called(value) if value > 1_000 else 1

    once = inline(usual)

    def sums(table: Any) -> int:
        total = 0
        for index in range(len(table)):
            total += once(table[index])
        return total

    code = code_of(sums, TABLE)
    blocks = code.split("\n\n")
    assert any(re.search(r"call .*seldom", block) for block in blocks)
    assert len(re.findall(r" = alloca", code)) == 1  # of the call's result; there is no exception
    # Before it is optimised: the call's result is cleared where it is called, and its exception nowhere.
    (result,) = once.overloads.values()
    begin, *rest = definition(result.library.get_llvm_str(), "usual").split("\n\n")
    places = re.findall(r"(%\S+) = alloca .*\n", begin)
    (exception,) = (place for place in places if "excinfo" in place)
    assert f"ptr {exception}" in "".join(rest) and not re.search(rf"store .*{exception}\b", begin)


def test_a_call_of_an_outlined_function_that_only_reads_leaves_what_was_read_as_it_is() -> None:
    @outline
    def seldom(frame: Any, unused: Any) -> int:
        return load8(frame, 7) + load8(frame, 8)

    called = compiled(seldom)

    def call_between(table: Any, frame: Any) -> int:
        before = table[1] + load8(frame, 3)
        if before > 1_000:
            before += called(frame, table)
        return int(before + table[1] + load8(frame, 3))

    code = code_of(call_between, TABLE, types.int64)
    assert loads(code, 64) == 1 + 1  # of the table, and of the call's result
    assert loads(code, 8) == 1
    (call,) = re.findall(r"call .*seldom.*\((.*?)\)", code)
    assert call.count(",") == 1  # the place for the result, and the frame
