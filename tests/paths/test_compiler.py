"""From a path to code: any name, any verdict, no empty block; the plain and the native run agree about errors too."""

import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import traces
from harness import NOW, Replicas, number, one_port, two_ports

from scout.io.access import load8, store16
from scout.io.ports.memory import MemoryPort
from scout.paths.compiler.emit import emit
from scout.paths.compiler.fingerprint import fingerprint
from scout.paths.compiler.interpreter import try_stage
from scout.paths.compiler.native import compile_path
from scout.paths.compiler.plan import CompileError, Names, lower, text_of
from scout.paths.model.graph import RouterGraph
from scout.paths.model.table import Table
from scout.paths.model.verdict import HOLD, drop
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.stages.filter import Filter
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor

FRAME = traces.frame((0x0A000002, 0x0A090001, traces.UDP, 5, 6), bytes(100))


def ours(name: str, function: Any, **bindings: Any) -> Any:
    """The path of a port with one filter behind it, quick to compile."""
    return one_port(Filter(name, function, **bindings)).create_path("left")


# Verdicts.

verdicts = ModuleType("verdicts")
verdicts.NO = drop("said-no")  # type: ignore[attr-defined]
sys.modules["verdicts"] = verdicts
WAIT = HOLD


def by_attribute(frame: Any, end: Any) -> int:
    return verdicts.NO


def helper() -> int:
    return WAIT


def by_helper(frame: Any, end: Any) -> int:
    return helper()


@pytest.mark.parametrize(
    ("function", "leaf"), [(by_attribute, "mine.receive drops said-no"), (by_helper, "mine.receive holds")]
)
def test_verdicts_are_found_wherever_they_stand(function: Any, leaf: str) -> None:
    path = ours("mine", function)
    assert path.run(FRAME)[0] == leaf
    replicas = Replicas(path, 1)
    replicas.serve(FRAME, 0)
    assert "unknown-verdict" not in replicas.leaves()["drops"]
    assert replicas.leaves()["drops"].get("said-no", 0) == (function is by_attribute)


def test_a_verdict_that_leads_nowhere_is_shown_as_one() -> None:
    def seven(frame: Any, end: Any) -> int:
        return 7

    def unnamed(frame: Any, end: Any) -> int:
        return -12345

    assert repr(try_stage(seven, b"", outcomes=1)[0]) == "unknown-verdict 7"
    assert repr(try_stage(unnamed, b"")[0]) == "unknown-verdict -12345"
    assert ours("mine", seven).run(FRAME)[0].startswith("mine.receive unknown-verdict 7: neither 0")


def test_try_stage_leaves_a_table_as_it_was() -> None:
    def count(frame: Any, end: Any, seen: Any) -> int:
        seen[0] += 1
        return 0

    seen = Table(np.zeros(1, np.int64))
    assert try_stage(count, b"", seen=seen)[0] == 0
    assert seen.initial[0] == 0


# Names.


def test_names_are_given_once() -> None:
    names = Names(["a_b"])
    assert [names.give("a", "b"), names.give("a", "b_c"), names.give("a_b", "c")] == ["a_b_2", "a_b_c", "a_b_c_2"]
    assert names.give("é", "ﬁ").isascii()
    assert "\n" not in text_of('"""\n') and '"""' not in text_of('"""\n')


def adds_b_c(frame: Any, end: Any, b_c: Any) -> int:
    b_c[0] += 1
    return 0


def adds_c(frame: Any, end: Any, c: Any) -> int:
    c[0] += 1
    return drop_it


drop_it = drop('"""said so\\')


def test_any_name_goes_into_generated_code() -> None:
    one, other = Table(np.zeros(1, np.int64), "private"), Table(np.zeros(1, np.int64), "private")
    graph = one_port(Filter("a", adds_b_c, b_c=one), Filter("a_b", adds_c, c=other))
    graph.graph["name"] = 'a """graph\n\\'
    path = graph.create_path("left")
    assert path.run(FRAME)[0] == f"a_b.receive drops {drop_it.name}"
    before = int(one.initial[0]), int(other.initial[0])
    replicas = Replicas(path, 1)
    replicas.serve(FRAME, 0)
    assert [int(replicas.table(each, 0)[0]) for each in (one, other)] == [before[0] + 1, before[1] + 1]


@pytest.mark.parametrize("name", ["if", "lambda", "packet", "batch", "frame", "é", "ﬁ", "entry", "range"])
def test_a_keyword_is_a_router_name_like_any_other(name: str) -> None:
    graph = RouterGraph(name)
    graph.add(Ethernet(name, SimpleNamespace(mac=1, mtu=1500)))
    graph.add(Ip("ip", {name: "10.0.0.1/24"}))
    graph.add(Arp("arp"))
    graph.connect("ip", "arp", name)
    graph.connect("ip", name)
    compile(emit(lower(graph.create_path(name))), name, "exec")


def test_a_router_without_icmp_has_a_path() -> None:
    graph = RouterGraph("bare")
    for index, name in enumerate(("left", "right")):
        graph.add(Ethernet(name, SimpleNamespace(mac=number(f"02:00:00:00:00:0{index + 1}"), mtu=1500)))
    graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
    graph.add(Arp("arp"))
    for name in ("left", "right"):
        graph.connect("ip", "arp", name)
        graph.connect("ip", name)
    path = graph.create_path("left")
    assert path.run(FRAME)[0] == "ip.lookup drops no-icmp-error"
    compile(emit(lower(path)), "bare", "exec")


def waits(frame: Any, end: Any) -> int:
    return HOLD


@pytest.mark.long
def test_a_router_without_icmp_and_with_a_stage_that_holds_starts() -> None:
    frame = bytes.fromhex("02000000000102000000000a0800") + bytes(46)
    graph = RouterGraph('a """graph')
    graph.add(Ethernet("left", MemoryPort("02:00:00:00:00:01", frames=[frame])))
    graph.add(Ip("ip", {"left": "10.0.0.1/24"}))
    graph.add(Arp("arp"))
    graph.add(Filter("mine", waits))
    graph.connect("ip", "mine", "left")
    graph.connect("ip", "arp", "left")
    with Supervisor(graph, [graph.create_path("left")], 1) as supervisor:
        supervisor.wait(600)
        assert supervisor.account()["received"] == 1


def test_the_work_of_creating_a_path_grows_with_the_square_of_the_number_of_filters() -> None:
    def passes(frame: Any, end: Any) -> int:
        return 0

    def queries(filters: int) -> int:
        made = RouterGraph("chain")
        for router in (Ethernet("left", SimpleNamespace(mac=1, mtu=1500)), Ip("ip", {"left": "10.0.0.1/24"})):
            made.add(router)
        made.add(Arp("arp")), made.add(Icmp("icmp"))
        names = [made.add(Filter(f"f{index}", passes)).name for index in range(filters)]
        made.connect("icmp", "ip", *names, "left")
        made.connect("ip", "arp", "left")
        calls = 0
        inner = made._behind

        def counted(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            return inner(*arguments)

        made._behind = counted  # type: ignore[method-assign]
        made.create_path("left")
        return calls

    few, many = queries(16), queries(32)
    assert many < 5 * few


# The documented plain run.


def test_a_path_runs_as_plain_python_before_anything_is_started() -> None:
    made = two_ports(ports={"left": SimpleNamespace(mac=0, mtu=0), "right": SimpleNamespace(mac=0, mtu=0)})
    path = made.graph.create_path("left")
    assert path.run(FRAME, timestamp=NOW)[0] == "to right"
    assert [made.graph.router(name).port.mac for name in ("left", "right")] == [0, 0]


# Failures are the same in both runs.


def beyond(frame: Any, end: Any, seen: Any, index: int) -> int:
    seen[index] = 1
    return 0


def divides(frame: Any, end: Any, index: int) -> int:
    return 1 // index


def test_an_index_outside_a_table_fails_in_both_runs() -> None:
    seen = Table(np.zeros(4, np.int64), "private")
    path = ours("mine", beyond, seen=seen, index=4)
    with pytest.raises(ScoutError, match="IndexError"):
        path.run(FRAME)
    with pytest.raises(IndexError):
        Replicas(path, 1).serve(FRAME, 0)


def test_a_division_by_zero_fails_in_both_runs() -> None:
    path = ours("mine", divides, index=0)
    with pytest.raises(ScoutError, match="ZeroDivisionError"):
        path.run(FRAME)
    with pytest.raises(ZeroDivisionError):
        Replicas(path, 1).serve(FRAME, 0)


def stores_float(frame: Any, end: Any, seen: Any) -> int:
    seen[0] = 1.5
    return 0


def stores_float_into_field(frame: Any, end: Any, packet: Any) -> int:
    packet.next_hop = 1.5
    return 0


def stores_float_into_frame(frame: Any, end: Any) -> int:
    store16(frame, 0, 1.5)
    return 0


def returns_float(frame: Any, end: Any) -> Any:
    return 1.5


def returns_bool(frame: Any, end: Any) -> Any:
    return load8(frame, 0) == 69


def returns_bool_in_one_case(frame: Any, end: Any) -> Any:
    if load8(frame, 0) != 69:
        return 0
    return load8(frame, 0) > 1


def returns_bool_of_a_table(frame: Any, end: Any, seen: Any) -> Any:
    return seen[0] % 100 == 0


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (stores_float, "a float is stored into int64"),
        (stores_float_into_field, "a float is stored into int64"),
        (stores_float_into_frame, "store16 is given a float"),
        (returns_float, "it returns float64"),
        (returns_bool, "it returns True or False"),
        (returns_bool_in_one_case, "it returns True or False"),
        (returns_bool_of_a_table, "it returns True or False"),
    ],
)
def test_what_is_no_integer_is_refused_in_both_runs(function: Any, words: str) -> None:
    takes_table = function in (stores_float, returns_bool_of_a_table)
    bindings = {"seen": Table(np.zeros(1, np.int64), "private")} if takes_table else {}
    path = ours("mine", function, **bindings)
    with pytest.raises(ScoutError, match=words if words.startswith("it returns") else "TypeError"):
        path.run(FRAME)
    with pytest.raises(CompileError) as caught:
        compile_path(path)
    assert words in str(caught.value) and f"{__file__}:" in str(caught.value) and "\n" not in str(caught.value)


CHECKED = """
import numpy as np
from numba import types
from scout.ring.jit import Entry, inline

@inline
def touch(words, index):
    words[index] = 1
    return words[0]

run = Entry(lambda words, index: touch(words, index), types.int64(types.int64[::1], types.int64))
try:
    run(np.zeros(4, np.int64), 4)
except IndexError as error:
    print("refused")
"""


def test_checked_mode_checks_scouts_own_indices_too() -> None:
    environment = os.environ | {"SCOUT_CHECKED": "1"}
    done = subprocess.run([sys.executable, "-c", CHECKED], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done.stderr


# Fingerprints.

BASE = """
import helpers
from helpers import helper
LIMIT = 3

def make(inner_limit):
    def inner(value):
        return value + inner_limit
    return inner

inner = make(5)

def stage(frame, end):
    def nested(value):
        return value * 2
    return helper(nested(inner(LIMIT))) + helpers.BASE
"""

HELPERS = """
BASE = 7

def deeper(value, more=1):
    return value + more

def helper(value, step=1):
    return deeper(value) + step
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("BASE = 7", "BASE = 8"),
        ("step=1", "step=2"),
        ("more=1", "more=2"),
        ("value * 2", "value * 3"),
        ("make(5)", "make(6)"),
        ("value + inner_limit", "value - inner_limit"),
        ("return value + more", "return value - more"),
        ("deeper(value) + step", "deeper(value) - step"),
    ],
)
def test_each_change_of_what_a_function_does_changes_its_fingerprint(old: str, new: str) -> None:
    def digest(stage: str, helpers: str) -> str:
        module = ModuleType("helpers")
        exec(helpers, module.__dict__)
        sys.modules["helpers"] = module
        scope: dict[str, Any] = {"__name__": "user"}
        exec(stage, scope)
        return fingerprint(scope["stage"])

    assert (old in BASE) != (old in HELPERS)
    before = digest(BASE, HELPERS)
    assert before == digest(BASE, HELPERS)
    assert before != digest(BASE.replace(old, new), HELPERS.replace(old, new))
