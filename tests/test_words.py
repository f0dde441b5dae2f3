"""The register: words that the package and its pages do not use, because the field has others."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AVOIDED = {
    r"told|tells?": "report, show, print, return",
    r"stands": "is, appears, means",
    r"behind": "after",
    r"goes on": "continues, resumes",
    r"what there is to say": "description",
    r"in place of the file's": "overrides the file",
    r"none the worse": "fine",
    r"is made least": "is minimized",
    r"says nothing of": "does not store",
    r"of the 1 numbers": "of 1 number",
    r"for ever": "forever",
    r"but for": "except for",
    r"misspelt": "misspelled",
    r"gradients? toward": "gradient with respect to",
}
"""Expressions, and what to write in their place."""

USED = re.compile(rf"\b(?:{'|'.join(AVOIDED)})\b", re.IGNORECASE)
METHOD = re.compile(r"(\.|def )tell\(")
"""A method of files that Python named."""

PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    ROOT / "benchmarks" / "README.md",
    ROOT / "docs" / "generate.py",
]
TEXTS = [path for path in (ROOT / "graphengine").rglob("*") if path.suffix in (".py", ".js", ".json", ".html", ".css")]


def avoided_in(text):
    return [found.group() for line in text.splitlines() if not METHOD.search(line) for found in USED.finditer(line)]


@pytest.mark.parametrize("path", sorted([*PAGES, *TEXTS]), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_words_of_the_field_are_used(path):
    assert avoided_in(path.read_text(encoding="utf-8")) == [], AVOIDED


def test_the_list_finds_what_it_lists():
    samples = ["A key stands twice.", "It tells why.", "told", "text behind the end", "Training goes on.", "f.tell()"]
    assert [len(avoided_in(sample)) for sample in samples] == [1, 1, 1, 1, 1, 0]
