"""The glossary defines each term once and names files that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (?!term \|)(.+?) \| (.+) \| `(\S+)` \|$", re.MULTILINE)


def rows():
    text = (ROOT / "docs" / "glossary.md").read_text()
    found = ROW.findall(text)
    assert len(found) == sum(line.startswith("| ") and not line.startswith("| term |") for line in text.splitlines())
    return found


def test_each_term_is_defined_once():
    terms = [term.lower() for names, _, _ in rows() for term in names.split(", ")]
    assert sorted(terms) == sorted(set(terms))


def test_the_files_exist():
    missing = {file for _, _, file in rows() if not (ROOT / file).is_file()}
    assert not missing


def test_the_pages_name_only_files_that_exist():
    """In docs/*.md and README.md, names in backquotes that begin with a folder of the repository."""
    named = re.compile(r"`((?:ring|io|paths|scout|tools|tests|docs|examples)/[\w/.-]+\.\w+)`")
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        missing = [file for file in named.findall(page.read_text()) if not (ROOT / file).exists()]
        assert not missing, f"{page.name}: {missing}"
