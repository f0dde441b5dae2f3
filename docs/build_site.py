"""Builds the site: `python docs/build_site.py FOLDER`, with the extra `docs`; a warning is an error.

The pages are the Markdown files of this folder, README and CHANGELOG, which read well without a site, too. Three are
made here: the ops, with typeset formulas; the commands, from the application; the Python names, from their docstrings.
The site works from a folder, without network.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from generate import ops_page
from typer.cli import get_docs_for_click
from typer.main import get_command
from typesetting import math

import graphengine as ge
from graphengine.cli.app import app

DOCS = Path(__file__).parent
ROOT = DOCS.parent
ABOVE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
"""Pages above this folder."""

CHAPTERS = {
    "Start": ["Overview <README>", "tutorial", "models"],
    "How to": [
        "tables",
        "training",
        "fits",
        "onnx",
        "code_files",
        "custom_nodes",
        "add_an_op",
        "update_rules",
        "extending",
        "python",
        "scale",
        "service",
    ],
    "Reference": ["format", "ops", "layers", "sequences", "commands", "names", "python_names", "backends", "errors"],
    "Explanations": ["design", "life_of_a_step", "performance", "reproducibility", "benchmarks", "SECURITY"],
    "The project": ["CHANGELOG", "CONTRIBUTING"],
}
"""The pages of each chapter; a page that is in none is an error of Sphinx."""

INDEX = """\
# graphengine

A model is one JSON file: inputs, nodes, parameters, and how they are trained. Anyone can read it, check it,
differentiate it, train it and resume it, and it can never run code.
"""

NOTATION = """
The partial derivative `dz/dx` is typeset as ∂z/∂x. A comparison in square brackets is 1 where it is true, else 0. A
product without a dot is a matrix product.
"""

LINK_UP = re.compile(r"\]\((?:\.\./|docs/)")
FOLDERS = {
    "](models)": "](models.md)",
    "](examples/)": "](service.md#a-notebook)",
    "](benchmarks/README.md": "](benchmarks.md",
    "](graphengine/training/rules)": "](update_rules.md)",
}
"""Where links to folders of the repository lead on the site."""


def main(target: str) -> int:
    """Build the site in a folder, and return the exit code of Sphinx."""
    from sphinx.cmd.build import build_main

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        gather(source)
        code = build_main(["-W", "--keep-going", "-q", "-b", "html", "-c", str(DOCS), str(source), target])
    dead = sorted(dead_links(Path(target)))
    print(*dead, sep="\n", end="\n" if dead else "")
    return code or bool(dead)


def gather(source: Path) -> None:
    """Write all pages into one folder."""
    for name in ("models", "schemas"):
        shutil.copytree(ROOT / name, source / name)
    shutil.copytree(DOCS / "pictures", source / "pictures")
    for page in [*DOCS.glob("*.md"), *(ROOT / name for name in ABOVE)]:
        write(source / page.name, page.read_text(encoding="utf-8"))
    write(source / "benchmarks.md", (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8"))
    write(source / "ops.md", ops_page(math, NOTATION))
    write(source / "commands.md", commands())
    write(source / "names.rst", names())
    write(source / "index.md", INDEX + "".join(map(chapter, CHAPTERS, CHAPTERS.values())))


def write(path: Path, text: str) -> None:
    """Write a page, with links that fit one folder of all pages."""
    text = LINK_UP.sub("](", text)
    for link, there in FOLDERS.items():
        text = text.replace(link, there)
    path.write_text(text, encoding="utf-8")


def chapter(title: str, pages: list[str]) -> str:
    """Return a chapter of the table of contents."""
    return "\n".join(["", "```{toctree}", f":caption: {title}", ":maxdepth: 1", "", *pages, "```", ""])


def commands() -> str:
    """Return the page of the commands, as the application describes them."""
    group = get_command(app)
    text = get_docs_for_click(obj=group, ctx=group.context_class(group, info_name="graphengine"), name="graphengine")
    return text.replace("# `graphengine`", "# Commands", 1)


def names() -> str:
    """Return the page of the public Python names, as their docstrings describe them."""
    title = "Python names\n============\n\nWhat ``import graphengine as ge`` has. :doc:`python` shows them at work.\n"
    return title + "".join(map(entry, ge.__all__))


def entry(name: str) -> str:
    """Return the directive that documents a public name, under a heading of its own."""
    value = getattr(ge, name)
    home = f"{value.__module__}.{name}" if hasattr(value, "__module__") else value.__name__
    kind = "module" if not hasattr(value, "__module__") else "class" if isinstance(value, type) else "function"
    members = "" if kind == "function" or name in ("ops", "nodes", "nn", "nll", "shape") else "   :members:\n"
    if name == "Model":  # its bases are internal classes, which have no entries of their own
        members += "   :inherited-members:\n"
    heading = f"ge.{name}"
    return f"\n{heading}\n{'-' * len(heading)}\n\n.. auto{kind}:: {home}\n{members}"


class Links(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors = {""}
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what an element links to and what it is called."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            elif name == "id" and value:
                self.anchors.add(value)


def dead_links(site: Path) -> Iterator[str]:
    """Find links within a site that lead nowhere."""
    pages = {page: Links(page) for page in site.rglob("*.html")}
    for page, found in pages.items():
        for link in map(urlsplit, found.links):
            there = (page.parent / unquote(link.path)).resolve() if link.path else page
            outside = link.scheme or link.netloc
            if not outside and (
                not there.is_file() or (there in pages and unquote(link.fragment) not in pages[there].anchors)
            ):
                yield f"{page.name}: a dead link: {link.geturl()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
