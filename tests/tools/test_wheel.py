"""A wheel, installed where there is no checkout, does what a checkout does."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from commands import PATIENCE, ROOT

pytestmark = pytest.mark.long

PARTS = ("io", "paths", "ring", "scout", "tools", "examples", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the wheel; what Scout needs is taken from the environment of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for part in PARTS:  # a copy: building leaves files behind
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part, **({"symlinks": True} if copy is shutil.copytree else {}))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if "No matching distribution" in built.stderr:
        pytest.skip("pip cannot get setuptools here")
    assert built.returncode == 0, built.stderr
    shutil.rmtree(source)
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=PATIENCE)
    packages = next(environment.glob("lib/python*/site-packages"))
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(packages)
    # A .pth file adds folders, but not what their own .pth files add: no editable Scout.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin" / "python"


def scout(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-c", "from scout.tools.cli import main; main()", *arguments]
    folder = python.parent
    environment = os.environ | {"PYTHONPATH": ""}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=folder, env=environment
    )


def test_it_has_all_modules_lessons_and_baselines(installed: Path) -> None:
    packages = next((installed.parents[1] / "lib").glob("python*")) / "site-packages" / "scout"
    for folder in ("io", "paths", "ring", "tools", "examples"):
        wanted = {
            path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".c")
        }
        found = {path.relative_to(packages / folder) for path in (packages / folder).rglob("*") if path.is_file()}
        assert wanted <= found
    assert not list(packages.glob("tests*"))


def test_it_draws_the_lessons(installed: Path, tmp_path: Path) -> None:
    result = scout(installed, "draw", "examples/02_own_stage.py", "-o", str(tmp_path / "own.dot"), "--path", "left")
    assert (result.returncode, result.stderr) == (0, "")
    assert "no_telnet" in (tmp_path / "own.dot").read_text()


@pytest.mark.needs_namespaces
def test_it_shows_the_demo_and_measures(installed: Path, tmp_path: Path) -> None:
    picture = str(tmp_path / "demo.svg")
    for arguments in (
        ["demo", "--seconds", "0.5", "--picture", picture],
        ["bench", "path", "--brief", "--rounds", "1"],
    ):
        result = scout(installed, *arguments)
        assert result.returncode == 0, result.stderr
