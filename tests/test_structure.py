"""The structure that the code promises: which package may import which, how long a file may be, and no stray files."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = ["ring", "io", "paths", "scout", "tools"]
"""Each package may import itself and those before it (docs/architecture.md)."""

LONGEST = 400
"""Lines of a file; a longer one has a line "Over 400 lines because …" in its docstring."""


def files(pattern: str = "*") -> list[Path]:
    """The repository's files, without links to folders."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", pattern],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no git repository")
    found = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in found if path.is_file() and not path.is_symlink()]


def sources() -> list[Path]:
    return files("*.py")


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, at its top or in a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(module: str) -> str | None:
    """The package that a module of Scout belongs to; None for others' modules."""
    first, *rest = module.split(".")
    if first != "scout":
        return None
    return rest[0] if rest and rest[0] in LAYERS else "scout"


@pytest.mark.parametrize("package", LAYERS)
def test_imports_point_to_the_left(package: str) -> None:
    allowed = LAYERS[: LAYERS.index(package) + 1]
    wrong = set()
    for path in sources():
        name = path.relative_to(ROOT)
        if name.parts[0] == package:
            for module in imports(path):
                if layer(module) not in (None, *allowed):
                    wrong.add(f"{name} imports {module}")
    assert not wrong


def test_no_file_is_too_long_without_a_reason() -> None:
    found = set()
    for path in sources():
        text = path.read_text(encoding="utf-8")
        reason = f"Over {LONGEST} lines because" in (ast.get_docstring(ast.parse(text)) or "")
        if len(text.splitlines()) > LONGEST and not reason:
            found.add(str(path.relative_to(ROOT)))
    assert not found, "divide them, or state the reason in the docstring"


def test_no_two_test_files_have_one_name() -> None:
    """Pytest imports them by their names alone: with two of one name, which one is found depends on what ran before."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_no_file_is_stray() -> None:
    suffixes = {".orig", ".rej", ".bak", ".swp", ".pyc", ".log", ".tmp"}
    found = {str(path.relative_to(ROOT)) for path in files() if path.suffix in suffixes or path.name.endswith("~")}
    assert not found
