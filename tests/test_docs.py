"""The prose keeps its word: code blocks are run, printed output is compared, tables and links are checked.

A page is read from top to bottom in one empty folder, as with the installed package alone:

- a `python` block is executed, in one namespace for the page; what it prints stands in a `text` block right below;
- a `console` block shows commands, `$ graphengine ...`, with their output; a failing one shows its error;
- a `json` block that is a model or an update rule is loaded, unless it is called "wrong";
- a block with a file name (```json my_model.json) is also written to that file;
- a line `...` in an output stands for any lines, `...` within a line for any text;
- a number agrees to nine digits; one that ends in `...` agrees to the last digit that is shown.
"""

import contextlib
import importlib.util
import io
import itertools
import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from test_layers import ROOMS
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli import app as application
from graphengine.format.documents import FORMAT, FUNCTION_FORMAT, FunctionFile, ModelDocument
from graphengine.format.reading import parse_function

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
LINKED = [
    *PAGES,
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    ROOT / "benchmarks" / "README.md",
]

FENCE = re.compile(r"^```(\w*) *(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
NUMBER = re.compile(r"(-?(?:\d+\.\d+|\d+\.(?!\.)|\.\d+|\d+))(\.\.\.)?(e[+-]?\d+)?")
"""A number: its digits, whether there are more of them, its exponent."""
MOST_DIGITS = 12
"""More digits of a result than these are nowhere certain, because the order of a sum depends on the processor."""


class Block(NamedTuple):
    language: str
    file: str
    text: str
    line: int


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    return [Block(*found.groups(), text.count("\n", 0, found.start()) + 1) for found in FENCE.finditer(text)]


def names(pages):
    return pytest.mark.parametrize("page", pages, ids=[str(page.relative_to(ROOT)) for page in pages])


# ---------------------------------------------------------------- what pages say is run


EXTRAS = {
    "onnx.md": pytest.mark.extra("onnx", "onnxruntime"),
    "scale.md": pytest.mark.extra("dask", "distributed"),
    "service.md": pytest.mark.extra("fastapi", "httpx2"),
}
"""Pages whose blocks need packages that `[test]` does not install."""


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=str(page.relative_to(ROOT)), marks=EXTRAS.get(page.name, ())) for page in PAGES]
)
def test_the_page_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    namespace, blocks = {"__name__": page.stem}, blocks_of(page)
    for block, below in itertools.zip_longest(blocks, blocks[1:]):
        place = f"{page.name}:{block.line}"
        if block.language == "bash" and not (ROOT / "models").is_dir():
            continue  # it is for a checkout, and this is an installed package
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        printed = RUNNERS.get(block.language, nothing)(block, namespace, place)
        if block.language in ("python", "bash"):
            shown = below.text if below and below.language == "text" and not below.file else ""
            if shown or block.language == "python":
                assert_shown(shown, printed, place)


def nothing(block, namespace, place):
    return ""


def run_python(block, namespace, place):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.text, place, "exec"), namespace)
    return printed.getvalue()


def run_console(block, namespace, place):
    first, *commands = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert not first, f"{place}: a console block begins with a command"
    for text in commands:
        command, shown = text.split("\n", 1)
        result = run_command(command)
        assert_shown(shown, result.stdout, f"{place}: {command}")
        fails = bool(re.search("^error: ", shown, re.MULTILINE))
        assert (result.returncode != 0) == fails, f"{place}: {command}: exit code {result.returncode}"


def run_bash(block, namespace, place):
    """Of the commands for a checkout only one that runs graphengine is run here; the rest is installing and testing."""
    *_, last = block.text.strip().split(" && ")
    return run_command(last, ROOT).stdout if " -m graphengine " in last else ""


def run_command(command, folder=None):
    """What a command prints, and its exit code; where the package is installed, each has a process, as users have."""
    words = shlex.split(command)
    start = max(index for index, word in enumerate(words) if word == "graphengine")
    if folder is None and (ROOT / "models").is_dir() and "--plugin" not in words:  # this process may have its names
        done = CliRunner().invoke(application.app, words[start + 1 :], catch_exceptions=False)
        return subprocess.CompletedProcess(words, done.exit_code, done.output)
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", *words[start:]],
        cwd=folder,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": paths},
    )


def load_json(block, namespace, place):
    content = json.loads(block.text)
    if block.file.startswith("wrong"):
        with pytest.raises(ge.errors.InvalidModelError):
            ge.Model.from_dict(content)
    elif content.get("format") == FORMAT:
        ge.Model.from_dict(content)
    elif content.get("format") == FUNCTION_FORMAT:
        parse_function(block.text.encode())


RUNNERS = {"python": run_python, "console": run_console, "bash": run_bash, "json": load_json}


def assert_shown(shown, printed, place):
    """The lines between dots are found in what was printed, in order: the first at its start, the last at its end."""
    expected, got = shown.strip().splitlines(), printed.strip().splitlines()
    position, pending = 0, []
    anchored = True
    for line in [*expected, None]:
        if line is not None and line.strip() != "...":
            pending.append(line)
            continue
        last = len(got) - len(pending)
        starts = [position] if anchored else range(position, last + 1)
        starts = [start for start in starts if line is not None or start == last]
        found = next((start for start in starts if same_lines(pending, got[start : start + len(pending)])), None)
        assert found is not None, f"{place}: the page shows\n{shown}\nand it is\n{printed}"
        position, pending, anchored = found + len(pending), [], False


def same_lines(expected, got):
    return len(expected) == len(got) and all(map(same_line, expected, got))


def same_line(expected, got):
    """Whether two lines have the same text, and numbers that agree."""
    pattern, end = "", 0
    numbers = list(NUMBER.finditer(expected.rstrip()))
    for number in numbers:
        pattern += any_text(expected[end : number.start()]) + r"(-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)"
        end = number.end()
        if number[2] and expected[end:].startswith(" "):  # the width of its column depends on the other digits
            pattern += " +"
            end += len(expected[end:]) - len(expected[end:].lstrip())
    found = re.fullmatch(pattern + any_text(expected[end:].rstrip()), got.rstrip())
    return found is not None and all(map(agrees, numbers, found.groups()))


def any_text(shown):
    return re.escape(shown).replace(re.escape("..."), ".*?")


def agrees(shown, got):
    digits, is_cut, exponent = shown[1], shown[2], shown[3] or ""
    here, there = float(digits + exponent), float(got)
    if is_cut:
        unit = float(f"1e-{len(digits.partition('.')[2])}") * float(f"1{exponent}")
        return abs(here - there) <= 1.01 * unit
    return math.isclose(here, there, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a 1.5", "a 1.6"),
        ("a 1.5", "a 1.51"),
        ("a 1.23...", "a 1.25"),
        ("a 1.23...", "a 12.3"),
        ("a -1.23...", "a 1.23"),
        ("a 1.23...e-05", "a 1.23e-06"),
        ("a 1.23...e-05", "a 1.25e-05"),
        ("a: ... iterations, 3", "a: 11 iterations, 4"),
        ("a: ... iterations, 3", "a: 11 steps, 3"),
        ("a", "a\nb"),
        ("a\n...\nc", "a\nb\nd"),
        ("...\na 1\n...", "a 2"),
        ("x", ""),
        ("", "x"),
    ],
)
def test_a_difference_in_the_output_is_noticed(shown, printed):
    with pytest.raises(AssertionError):
        assert_shown(shown, printed, "page:1")


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a 1.5", "a 1.50000000001\n"),
        ("a 1.23... 4", "a 1.2345678 4"),
        ("[1.23...,4.56...]", "[1.2399999,4.5600001]"),
        ("a 4.0803999...", "a 4.0804"),
        ("a 1.23...  2.34...", "a 1.23456     2.3456"),
        ("a 1.23...e-05", "a 1.2345e-05"),
        ("a: ... iterations, 3", "a: 11 iterations, 3"),
        ("a\n...", "a\nb\nc"),
        ("a\n...\nc", "a\nb\nc"),
        ("a\n  ...\nc", "a\nc"),
    ],
)
def test_dots_and_last_digits_are_no_difference(shown, printed):
    assert_shown(shown, printed, "page:1")


@names(PAGES)
def test_a_page_shows_no_digits_that_depend_on_the_processor(page):
    for block in blocks_of(page):
        if block.language in ("text", "console"):
            for number in NUMBER.finditer(block.text):
                digits = number[1].replace(".", "").lstrip("-0")
                assert len(digits) <= MOST_DIGITS, f"{page.name}:{block.line}: {number[0]}: write 1.234567... instead"


# ---------------------------------------------------------------- what pages say is complete and leads somewhere


def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_ops_is_that_of_the_registry():
    assert (DOCS / "ops.md").read_text(encoding="utf-8") == generator().ops_page(), "run: python docs/generate.py"


def test_the_page_of_errors_is_that_of_the_codes():
    assert (DOCS / "errors.md").read_text(encoding="utf-8") == generator().errors_page(), "run: python docs/generate.py"


def test_the_page_of_backends_lists_fewer_than_forty_kernel_ops():
    page = generator().backends_page()
    assert (DOCS / "backends.md").read_text(encoding="utf-8") == page, "run: python docs/generate.py"
    assert 20 < page.partition("## Kernel ops")[2].count("\n| `") < 40


def test_the_pictures_are_those_that_the_tutorial_draws():
    drawn = generator().pictures()
    assert {path.name for path in (DOCS / "pictures").iterdir()} == set(drawn)
    for name, picture in drawn.items():
        assert (DOCS / "pictures" / name).read_text(encoding="utf-8") == picture, "run: python docs/generate.py"


def keys_of(document):
    """All keys that a file of this kind may have, at any depth."""
    schema = document.model_json_schema()
    return {key for part in (schema, *schema["$defs"].values()) for key in part.get("properties", {})}


@pytest.mark.parametrize("key", sorted(keys_of(ModelDocument) | keys_of(FunctionFile)))
def test_every_key_of_a_file_is_described(key):
    assert re.search(rf'[`"]{re.escape(key)}["`]', (DOCS / "format.md").read_text(encoding="utf-8"))


def test_the_rooms_on_the_page_are_those_that_the_imports_have():
    (rooms,) = [block.text for block in blocks_of(DOCS / "design.md") if "errors.py" in block.text]
    assert re.findall(r"(\w+)(?:\.py|/)", re.sub(r"  .*", "", rooms, flags=re.MULTILINE)) == ROOMS


def test_the_readme_shows_the_shipped_model():
    (shown,) = [block.text for block in blocks_of(ROOT / "README.md") if '"format_version"' in block.text]
    shipped = ge.load(ROOT / "models" / "linreg.json")
    assert ge.Model.from_dict(json.loads(shown)).fingerprint == shipped.fingerprint


@names([page for page in LINKED if page.exists()])
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors_of(linked), f"{page.name}: {target}"


def anchors_of(page):
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_every_page_is_linked_from_the_readme():
    linked = {(ROOT / target).resolve() for target in LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))}
    assert {page for page in PAGES if page.parent == DOCS} <= linked


def test_the_two_commands_of_the_readme_are_those_that_are_tested():
    commands = [block.text.strip() for block in blocks_of(ROOT / "README.md") if block.language == "bash"]
    assert len(commands) == 2
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line.strip() for line in script if line.strip().startswith("python3 -m venv .venv && ")] == commands
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert commands[1] in contributing


def test_every_public_name_has_an_example_that_is_run():
    text = (DOCS / "python_names.md").read_text(encoding="utf-8")
    sections = re.split(r"^### (.*)$", text, flags=re.MULTILINE)
    named = {
        name: body
        for heading, body in zip(sections[1::2], sections[2::2], strict=True)
        for name in re.findall(r"`(\w+)`", heading)
    }
    assert named.keys() == set(ge.__all__)
    for name, body in named.items():
        elsewhere = re.search(r"\]\((extending|onnx)\.md", body)  # pages that are run, too
        assert elsewhere or re.search(rf"^```python\n(.|\n)*?\bge\.{name}\b", body, re.MULTILINE), name


def test_the_site_has_all_pages(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))  # as of a script in that folder
    spec = importlib.util.spec_from_file_location("build_site", DOCS / "build_site.py")
    site = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(site)
    listed = [page for chapter in site.CHAPTERS.values() for page in chapter]
    made = {"Overview <README>", "commands", "names", "benchmarks", "CHANGELOG", "CONTRIBUTING", "SECURITY"}
    assert sorted(listed) == sorted({page.stem for page in PAGES if page.parent == DOCS} | made)
