"""Every lesson does what it says."""

import subprocess
import sys
from pathlib import Path

import pytest

from scout.loader import load_router
from scout.paths.compiler import compile_path

LESSONS = sorted((Path(__file__).parent.parent / "examples").glob("[0-9]*.py"))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_defines_paths_that_compile(lesson):
    graph, paths = load_router(str(lesson))
    assert [path.source for path in paths] == graph.ports
    compiled = compile_path(paths[0])
    assert compiled.file.exists()
    assert compiled.file.read_text().count("def run(") == 1


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_as_a_program(lesson):
    result = subprocess.run([sys.executable, str(lesson)], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


def test_the_second_lesson_tries_its_stage():
    result = subprocess.run([sys.executable, str(LESSONS[1])], capture_output=True, text=True, timeout=60, check=True)
    assert "dropped: True" in result.stdout and "to another: 0" in result.stdout
