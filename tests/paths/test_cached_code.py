"""Compiled code comes from the cache also for functions whose module Python cannot import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

STAGES = """
from scout import Filter
from scout.paths.model.verdict import drop
REFUSED = drop("refused")
def helped(verdict):
    return verdict - 1
def refuse(frame, end):
    return REFUSED if helped(1) == 0 else 0
filtering = Filter("filtering", refuse, connects="request")
"""

BY_RUNPY = "runpy.run_path('stages.py')"
NAMELESS = "executed({})"
OF_NO_MODULE = "executed({'__name__': 'of_no_module'})"
AS_MAIN = "executed({'__name__': '__main__'})"
IMPORTED = "vars(importlib.import_module('stages'))"

PROGRAM = """
import importlib, runpy
from pathlib import Path
from scout import MemoryPort, Requests, End, RouterGraph
from scout.paths.compiler.native import compile_path

def executed(scope):
    exec(compile(Path("stages.py").read_text(), "stages.py", "exec"), scope)
    return scope

graph = RouterGraph("cached")
for router in (Requests("in", MemoryPort("02:00:00:00:00:01")), End("done", "request"), SCOPE["filtering"]):
    graph.add(router)
graph.connect("done", "filtering", "in")
print(sum(compile_path(graph.create_path("in")).run.native.stats.cache_hits.values()))
"""


@pytest.mark.parametrize(
    "scope",
    [
        BY_RUNPY,
        *(pytest.param(each, marks=pytest.mark.long) for each in (NAMELESS, OF_NO_MODULE, AS_MAIN, IMPORTED)),
    ],
)
def test_the_second_process_takes_a_path_from_the_cache(tmp_path: Path, scope: str) -> None:
    (tmp_path / "stages.py").write_text(STAGES)
    environment = {key: value for key, value in os.environ.items() if key != "SCOUT_CHECKED"}  # that is never cached
    environment["SCOUT_CACHE"] = str(tmp_path / "cache")
    command = [sys.executable, "-c", PROGRAM.replace("SCOPE", scope)]
    for hits in ("0", "1"):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert (done.stdout.strip(), done.returncode) == (hits, 0), done.stderr
