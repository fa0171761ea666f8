"""Router files: what they may define, and errors that name the file as it was given and the line."""

import sys

import pytest
from harness import Replicas

from scout.loader import load_router
from scout.ring.errors import ScoutError

GRAPH = """from scout import MemoryPort, RouterGraph, Requests, End
graph = RouterGraph("filed")
graph.add(Requests("in0", MemoryPort("02:00:00:00:00:01")))
graph.add(Requests("in1", MemoryPort("02:00:00:00:00:02")))
graph.add(End("done", "request"))
graph.connect("done", "in0")
graph.connect("done", "in1")
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a router file into the current folder."""
    monkeypatch.chdir(tmp_path)
    return (tmp_path / "router.py").write_text


def test_a_file_without_paths_gets_one_from_each_port(write):
    write(GRAPH)
    graph, paths = load_router("router.py")
    assert graph.name == "filed" and [path.source for path in paths] == ["in0", "in1"]


@pytest.mark.parametrize("variables", ["path = {}", "both = [{}]", "first = second = {}"])
def test_a_file_with_paths_runs_only_those(write, variables):
    write(GRAPH + variables.format("graph.create_path('in1')"))
    _, (path,) = load_router("router.py")
    assert path.source == "in1"


@pytest.mark.parametrize("given", ["router.py", "./router.py", "{folder}/router.py"])
@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ("x = 1\n\ny = 1 / 0\n", ":3: ZeroDivisionError: division by zero"),
        (GRAPH + "graph.add(End('done', 'request'))\n", ":8: "),
        ("def nested():\n    raise KeyError('x')\n\nnested()\n", ":2: KeyError: 'x'"),
        ("import json\n\n\njson.loads('{')\n", ":4: JSONDecodeError: "),
        ("x = 1\nif\n", ":2: invalid syntax; fix the file"),
        ("x = 1\n", ": defines no router graph; define one, as in graph = RouterGraph('name')"),
    ],
)
def test_an_error_names_the_file_as_given_and_the_line(write, tmp_path, given, lines, error):
    write(lines)
    file = given.format(folder=tmp_path)
    with pytest.raises(ScoutError) as caught:
        load_router(file)
    assert str(caught.value).startswith(file + error)


def test_a_file_that_is_no_python_file_or_not_there_is_refused(write, tmp_path):
    with pytest.raises(ScoutError, match=r"router\.py: no such file"):
        load_router("router.py")
    (tmp_path / "router.txt").write_text(GRAPH)
    with pytest.raises(ScoutError, match=r"router\.txt: not a Python file; name one that ends in \.py"):
        load_router("router.txt")


@pytest.mark.parametrize("given", ["router.py", "{folder}/router.py", "../{name}/router.py"])
def test_a_file_may_import_what_lies_beside_it(write, tmp_path, monkeypatch, given):
    monkeypatch.setattr(sys, "path", ["elsewhere", *sys.path])
    (tmp_path / "beside.py").write_text(GRAPH)
    (tmp_path / "later.py").write_text("x = 1")
    write("from beside import graph\ndef late():\n    import later\n    return later.x\n")
    load_router(given.format(folder=tmp_path, name=tmp_path.name))
    assert sys.modules["scout_router_router"].late() == 1
    del sys.modules["beside"], sys.modules["later"]


CARELESS = (
    """import numpy as np
from scout import Filter, Table

def write(words, index):
    words[index] += 1

def index_too_high(frame, end, words):
    write(words, 9)
    return 0

def divide(frame, end, words):
    return 1 // words[0]
"""
    + GRAPH
    + """
graph.add(Filter("careless", {}, connects="request", words=Table(np.zeros(1, np.int64), "private")))
graph.connect("done", "careless", "in0")
"""
)


@pytest.mark.parametrize(("stage", "error"), [("index_too_high", IndexError), ("divide", ZeroDivisionError)])
def test_indices_and_divisions_are_checked_in_the_stages_of_a_router_file(write, stage, error):
    write(CARELESS.format(stage))
    _, paths = load_router("router.py")
    with pytest.raises(error):
        Replicas(paths[0], 1).serve(b"any bytes", 0)
