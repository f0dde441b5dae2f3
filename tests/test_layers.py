"""The shape of the package: imports point only downward, starting is fast, public surface and codes are kept."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import graphengine as ge
from graphengine.errors import CODES

PACKAGE = Path(ge.__file__).parent
ORDER = [
    ("__main__",),
    ("cli",),
    ("view",),
    ("model", "prediction", "run"),
    ("training",),
    ("checking",),
    ("compile",),
    ("autodiff",),
    ("executor", "recording", "finite"),
    ("reference",),
    ("loading",),
    ("values", "binding"),
    ("graph",),
    ("format",),
    ("nodes",),
    ("registry",),
    ("node",),
    ("inference", "docstring"),
    ("shapes", "limits"),
    ("notebook",),
    ("extras", "collector", "sorting"),
    ("errors",),
    ("wording",),
    ("version",),
]
"""The layers from the top; a module may import from its own layer and from those below."""

GENERATED = PACKAGE / "compile" / "text.py"
"""Makes code from op names it knows and slot numbers, and never from the text of a file."""

LAYER = {name: len(ORDER) - index for index, names in enumerate(ORDER) for name in names}
PUBLIC = ["Graph", "History", "Model", "Node", "Run", "check_gradients", "errors", "gradient"]
PUBLIC += ["load", "nodes", "register"]
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def layer_of(module):
    """The name of the layer of a dotted module name; None for the package itself, which is the public surface."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def imports_of(path):
    """The modules of this package that a file imports, wherever in it, with the line."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            names = [
                f"{node.module}.{alias.name}" if node.module == "graphengine" else node.module for alias in node.names
            ]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "graphengine")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_only_downward(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LAYER, f"'{own}' has no place in ORDER"
    for line, module in imports_of(path):
        name = layer_of(module)
        if LAYER[own] <= LAYER["model"]:
            assert name in LAYER, f"{path}:{line}: imports the public surface, {module}"
        below = name not in LAYER or name == own or LAYER[name] <= LAYER[own]
        assert below, f"{path}:{line}: {own} imports {module}, which lies above it"


def test_the_test_of_layers_sees_imports_inside_functions():
    found = {module for _, module in imports_of(PACKAGE / "model.py")}
    assert {"graphengine.graph", "graphengine.executor"} <= found


@pytest.mark.parametrize("module", ["networkx", "typer", "rich", "graphengine.cli", "jsonschema"])
def test_importing_the_package_does_not_import(module):
    code = f"import sys, graphengine; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=PACKAGE.parent).returncode == 0


def test_the_public_surface_is_this_list():
    assert sorted(ge.__all__) == sorted(PUBLIC)
    assert all(hasattr(ge, name) for name in PUBLIC)


def sources():
    return {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}


def test_every_code_in_the_source_is_documented():
    used = {code for text in sources().values() for code in re.findall(r"GE\d{3}", text)}
    assert used <= set(CODES)


def test_every_documented_code_is_used():
    declared = re.compile(r'^    "GE\d{3}": .*$', re.MULTILINE)
    used = {code for text in sources().values() for code in re.findall(r'"(GE\d{3})"', declared.sub("", text))}
    assert set(CODES) - used == set()


def test_codes_are_in_order_and_say_something():
    assert list(CODES) == sorted(CODES)
    assert all(CODES.values())


def test_every_error_class_has_a_default_code_that_is_documented():
    classes = [cls for cls in vars(ge.errors).values() if isinstance(cls, type) and issubclass(cls, Exception)]
    assert len(classes) >= 10
    assert all(cls.default_code in CODES for cls in classes)


def test_every_error_class_stands_in_the_tree_of_the_docstring():
    for name, cls in vars(ge.errors).items():
        if isinstance(cls, type) and issubclass(cls, Exception):
            assert re.search(rf"\b{name}\b", ge.errors.__doc__), name


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_states_its_idea(path):
    assert ast.get_docstring(ast.parse(path.read_bytes()))


@pytest.mark.parametrize("word", ["eval", "exec", "compile", "__import__", "pickle"])
def test_no_code_is_made_from_text(word):
    for path, text in sources().items():
        if path == GENERATED:
            continue
        called = [
            node.func.id
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        assert word not in called, path
        assert not re.search(rf"^(import|from) {word}\b", text, re.MULTILINE), path


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").exists()
