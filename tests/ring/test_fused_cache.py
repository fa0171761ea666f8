"""The intermediate code of Scout's own functions: a process takes it from another one that compiled them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import from_dtype
from numba.core import types

from scout.paths.wire.flow import shard_of
from scout.ring.fused_cache import key_of

PROGRAM = """
from scout.ring import fused_cache
load, taken = fused_cache.FusedCache.load_overload, []

def noted(*arguments):
    found = load(*arguments)
    taken.append(found is not None)
    return found

fused_cache.FusedCache.load_overload = noted
from scout.ring.membership import join
_ = join.native
print(len(taken) > 0, any(taken), all(taken))
"""


def test_the_second_process_compiles_no_function_of_scout_unless_files_are_damaged(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "SCOUT_CHECKED"}  # that is never cached
    environment["SCOUT_CACHE"] = str(tmp_path / "cache")
    for found, damage in (("True False False", b""), ("True True True", b"\x80"), ("True False False", b"")):
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.stdout.strip(), done.returncode) == (found, 0), done.stderr
        for folder in tmp_path.glob("cache/*/numba"):
            shutil.rmtree(folder)  # of the entry, which contains those functions
        for file in tmp_path.glob("cache/*/fused/*") if damage else ():
            file.write_bytes(damage)


AFTER_OTHER_TYPES = """
import sys
import numba
import numpy as np
for number in range(int(sys.argv[1])):  # so Scout's types get other numbers in this process
    numba.from_dtype(np.dtype([(f"field_{number}", "i8")]))
from scout.ring.bell import must_wake_others
from scout.ring.jit import entry
from scout.ring.layout import CHANNEL, MEMBER
CHANNELS, MEMBERS = numba.from_dtype(CHANNEL)[::1], numba.from_dtype(MEMBER)[::1]

@entry(numba.boolean(CHANNELS, MEMBERS))
def wakes(channels, members):
    return must_wake_others(channels[0], members[0])

assert not wakes.native(np.zeros(1, CHANNEL), np.zeros(1, MEMBER))
"""


@pytest.mark.long
def test_files_of_processes_that_compiled_at_the_same_time_fit_together_or_are_made_anew(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "SCOUT_CHECKED"}
    program = tmp_path / "after_other_types.py"
    program.write_text(AFTER_OTHER_TYPES)

    def compiled(cache: str, others: int) -> list[Path]:
        command = [sys.executable, str(program), str(others)]
        environment["SCOUT_CACHE"] = str(tmp_path / cache)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return sorted(tmp_path.glob(f"{cache}/*/fused/*"))

    one, other = compiled("one", 0), compiled("other", 7)
    assert [each.name for each in one] == [each.name for each in other]
    assert any(mine.read_bytes() != theirs.read_bytes() for mine, theirs in zip(one, other, strict=True))
    for part in range(2):
        for mine, theirs in list(zip(one, other, strict=True))[part::2]:
            mine.write_bytes(theirs.read_bytes())
        for folder in tmp_path.glob("one/*/numba"):
            shutil.rmtree(folder)
        compiled("one", 3)


TWO_VERSIONS = """
import sys
from types import FunctionType, ModuleType
from numba.core import types
from scout.ring.jit import Entry, callee

module = ModuleType("scout.ring.made")  # named as one of Scout's, whose functions are cached
sys.modules[module.__name__] = module

def caller(number):
    return inner(number)

def version(more):
    def inner(number):  # a closure is not cached
        return number + more

    made = FunctionType(caller.__code__, {"inner": callee(inner)}, "caller")
    made.__module__ = module.__name__
    return callee(made)

one, other = version(1), version(10)

def both(number):
    return one(number) * 100 + other(number)

print(Entry(both, types.int64(types.int64))(1))
"""


def test_two_versions_of_a_function_that_calls_others_which_are_not_cached_are_told_apart(tmp_path: Path) -> None:
    program = tmp_path / "two_versions.py"
    program.write_text(TWO_VERSIONS)
    environment = {key: value for key, value in os.environ.items() if key != "SCOUT_CHECKED"}
    environment["SCOUT_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("211", 0), done.stderr
    assert not list(tmp_path.glob("cache/*/fused/*"))


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scout.ring.fused_cache._IS_CHECKED", False)


RECORDS = [types.Array(from_dtype(np.dtype([("a", kind)])), 1, "C") for kind in ("i8", "i4")]


@pytest.mark.usefixtures("unchecked")
def test_a_key_tells_types_and_options_apart() -> None:
    known = [((types.int64,), {}), ((types.int32,), {}), ((types.int64,), {"forceinline": True})]
    known += [((each,), {}) for each in RECORDS] + [((types.UniTuple(types.int64, 2),), {})]
    keys = [key_of(shard_of, options, arguments) for arguments, options in known]
    assert None not in keys and len(set(keys)) == len(known)
    assert keys == [key_of(shard_of, options, arguments) for arguments, options in known]


@pytest.mark.usefixtures("unchecked")
def test_what_depends_on_more_than_its_key_is_not_cached() -> None:
    def inner(number: int) -> int:
        return number

    def default(number: int = 1) -> int:
        return number

    default.__module__, default.__qualname__ = "scout.ring.floors", "default"
    function: Any
    for function in (inner, default, test_a_key_tells_types_and_options_apart):
        assert key_of(function, {}, (types.int64,)) is None
    assert key_of(shard_of, {}, (types.pyobject,)) is None
    assert key_of(shard_of, {}, (types.Tuple([types.int64, types.pyobject]),)) is None
