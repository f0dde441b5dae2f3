"""The shape of the package: imports point only downward, starting is fast, public surface and codes are kept."""

import ast
import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from inspect import ismodule
from pathlib import Path

import pytest

import graphengine as ge
from graphengine.errors import CODES
from graphengine.ops.index import FAMILIES
from graphengine.ops.registry import OPS

PACKAGE = Path(ge.__file__).parent
ROOMS = [
    "__main__",
    "cli",
    "sklearn",
    "scale",
    "dask",
    "drafting",
    "page",
    "draw",
    "traces",
    "model",
    "nll",
    "ode",
    "shape",
    "nn",
    "fit",
    "training",
    "data",
    "format",
    "backends",
    "transform",
    "ir",
    "ops",
    "notebook",
    "explanations",
    "escaping",
    "extras",
    "library",
    "gc_pause",
    "user_folders",
    "plugins",
    "hooks",
    "errors",
    "limits",
    "mappings",
    "wording",
    "version",
]
"""The rooms from the top; a module imports from its own room and from those below it."""

CUTS_TO_MAKE: set[tuple[str, str]] = set()
"""Imports that still point upward or close a circle: importer and imported. The list only gets shorter."""

GENERATED = [PACKAGE / "backends" / path for path in ("numpy/source.py", "numba/compiling.py")]
"""Make code from op names they know and slot numbers, and never from the text of a file."""

PUBLIC = ["ArrayType", "Builder", "Graph", "History", "Initializer", "Limits", "Model", "Node", "Reader", "Run"]
PUBLIC += ["Schedule", "Solver", "check_gradients", "errors", "gradient", "infer", "load", "models", "nll", "nn"]
PUBLIC += [
    "nodes",
    "onnx",
    "ops",
    "register",
    "register_initializer",
    "register_reader",
    "register_schedule",
    "register_solver",
]
PUBLIC += ["ode", "score_batches", "search", "shape", "trace"]
RANK = {name: rank for rank, name in enumerate(reversed(ROOMS))}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"  # the public surface, above everything
}


@pytest.fixture(scope="module")
def trees():
    """The files of the package, each parsed once."""
    return {path: ast.parse(path.read_bytes()) for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.fixture(scope="module")
def imports(trees):
    """What each module imports from this package."""
    return {name: set(imports_of(path, trees[path])) - {name} for name, path in MODULES.items()}


def imports_of(path, tree):
    """The modules of this package that a file imports: anywhere in it, for types only, or by `import_module`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom():
                assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
                names = [_module(node.module, alias.name) for alias in node.names]
            case ast.Call(func=ast.Name(id="import_module") | ast.Attribute(attr="import_module")):
                names = [given.value for given in node.args if isinstance(given, ast.Constant)]
            case _:
                continue
        yield from (name.removeprefix("graphengine.") for name in names if name.partition(".")[0] == "graphengine")


def _module(module, name):
    """What `from module import name` imports: a module of that name, or else the module that has the name."""
    full = f"{module}.{name}"
    return full if full.removeprefix("graphengine.") in MODULES else module


def room_of(module):
    return module.partition(".")[0]


def test_every_module_has_a_place():
    assert {room_of(module) for module in MODULES} <= RANK.keys()


def test_imports_point_only_downward(imports):
    pairs = {(module, name) for module, names in imports.items() for name in names} - CUTS_TO_MAKE
    public = {module for module, name in pairs if name == "graphengine"}
    assert {room_of(module) for module in public} <= {"cli", "__main__"}, "they import the public surface"
    inside = [(module, name) for module, name in pairs if name != "graphengine"]
    assert [(module, name) for module, name in inside if RANK[room_of(name)] > RANK[room_of(module)]] == []


def test_modules_import_each_other_in_no_circle(imports):
    TopologicalSorter(
        {
            name: {each for each in found if each in MODULES and (name, each) not in CUTS_TO_MAKE}
            for name, found in imports.items()
        }
    ).prepare()  # raises CycleError


def test_cuts_that_are_made_leave_the_list(imports):
    assert {(name, found) for name, found in CUTS_TO_MAKE if found not in imports.get(name, ())} == set()


def test_imports_inside_functions_and_by_name_are_seen(imports):
    assert {"ir.graph", "backends.reference.executor"} <= imports["model.evaluator"]
    assert "ops.calling" in imports["ops"]


def test_no_room_takes_the_name_of_a_public_function():
    """Importing a submodule sets it as an attribute of its package."""
    assert {name for name in PUBLIC if not ismodule(getattr(ge, name))}.isdisjoint(ROOMS)


def test_node_graph_and_executor_are_read_in_one_sitting():
    core = ("ops.node", "ir.graph", "backends.reference.executor")
    assert sum(len(MODULES[name].read_text(encoding="utf-8").splitlines()) for name in core) <= 650


def test_no_module_name_is_used_twice():
    names = Counter(name for room, _, name in (module.rpartition(".") for module in MODULES) if name != room)
    assert [name for name, count in names.items() if count > 1] == []


def test_no_class_name_is_used_twice(trees):
    names = Counter(
        node.name.lstrip("_") for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_backends_have_names_of_ops_as_keys_of_their_tables_alone(trees):
    for module in [name for name in MODULES if room_of(name) == "backends"]:
        tree = trees[MODULES[module]]
        keys = {id(key) for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys}
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        assert [(module, each.value) for each in texts if each.value in OPS and id(each) not in keys] == []


def complexity(function):
    """The cyclomatic complexity of a function without those inside it, as `radon cc` counts it."""
    found, pending = 1, [*function.body]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        found += decisions_of(node)
        pending += () if isinstance(node, ast.Assert) else ast.iter_child_nodes(node)
    return found


def decisions_of(node):
    match node:
        case ast.If() | ast.IfExp() | ast.Assert():
            return 1
        case ast.For() | ast.While():
            return 1 + bool(node.orelse)
        case ast.Try():
            return len(node.handlers) + bool(node.orelse)
        case ast.BoolOp():
            return len(node.values) - 1
        case ast.comprehension():
            return 1 + len(node.ifs)
        case ast.match_case():  # the last one, `case _`, is the way on
            return not (isinstance(node.pattern, ast.MatchAs) and node.pattern.pattern is None)
    return 0


def test_functions_are_simple(trees):
    """Comprehensions and `and` count, too. The aim is a mean of 3.0."""
    found = {
        (name, node.lineno, node.name): complexity(node)
        for name, path in MODULES.items()
        for node in ast.walk(trees[path])
        if isinstance(node, ast.FunctionDef)
    }
    assert sum(found.values()) / len(found) <= 2.95
    assert {where: count for where, count in found.items() if count > 12} == {}


OPS_IN_PASSES = {
    "transform.backward": (
        5,
        "begins with 1, undoes broadcasting, makes opaque nodes, and names what products and loops pass on",
    ),
    "transform.path": (
        3,
        "a choice passes the gradient of the branch taken; a quotient by a literal has no pole; constants",
    ),
    "transform.filling": (4, "makes constants"),
    "transform.gradient": (1, "the gradient with respect to what a value does not depend on is 0"),
    "transform.mode": (6, "gives random ops their keys, and makes keys of numbers that are carried"),
    "transform.packing": (2, "takes a vector apart"),
    "transform.passes": (33, "rules of algebra, each about the ops that it names"),
    "transform.reversal": (1, "the gradient of a loop with respect to what it does not depend on is 0"),
    "transform.rewriting": (4, "makes and reads constants"),
    "transform.row_tiles": (17, "finds products of matrices and cuts them into tiles of rows, those of loops as well"),
    "transform.single": (3, "a product of matrices of one number is a product"),
    "transform.sample_walk": (15, "sizes differ between parts of the samples; six are words of merging, not ops"),
    "transform.step": (5, "the norm of gradients, which has a name of its own; gradients that are 0"),
}
"""Names of ops in the text of passes: how many, and why. What else a pass must know of an op is one of its traits."""


def test_passes_know_ops_by_their_traits(trees):
    found = {}
    for module in [name for name in MODULES if room_of(name) == "transform"]:
        tree = trees[MODULES[module]]
        keys = {id(key) for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys}
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in keys]
        found[module] = sum(isinstance(text, str) and text in OPS for text in texts)
    assert {module: count for module, count in found.items() if count} == {
        module: count for module, (count, _) in OPS_IN_PASSES.items()
    }


def test_a_compiling_backend_is_reached_through_the_protocol_alone(imports):
    rooms = ("backends.numpy", "backends.numba")  # the second one runs plans of the first where it has no loop
    users = {module for module, names in imports.items() if any(name.startswith(rooms) for name in names)}
    assert {module for module in users if not module.startswith(rooms)} == set()


@pytest.mark.parametrize("module", ["networkx", "typer", "rich", "graphengine.cli", "jsonschema"])
def test_importing_the_package_does_not_import(module):
    code = f"import sys, graphengine; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=PACKAGE.parent).returncode == 0


UNCALLED = " ".join(
    f"graphengine.{name}"
    for name in (
        "cli.clustering",
        "cli.progress",
        "model.outputs",
        "model.parted_outputs",
        "data.csv_arrow",
        "fit.solvers",
        "training.validation",
        "training.interrupting",
        "training.schedules",
        "backends.numpy.looping",
        "backends.numpy.claiming",
        "backends.numpy.ordering",
        "backends.numpy.tiles",
        "format.findings",
        "format.inlining",
        "ir.crosswise",
        "transform.merging_loops",
        "transform.mode",
        "transform.packing",
        "transform.single",
        "transform.trimming",
    )
)
"""Modules that the run of a small, sound model does not call."""


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        ("--help", "numpy pydantic networkx rich importlib.metadata"),
        ("run models/linreg.json", f"networkx numpy.ma rich scipy pandas pyarrow concurrent.futures {UNCALLED}"),
    ],
)
def test_a_command_does_not_import(command, heavy):
    code = f"""if True:
        import sys
        from graphengine.cli import main
        sys.argv = ["graphengine", *{command.split()}]
        try:
            main()
        finally:
            print(sorted({set(heavy.split())} & set(sys.modules)), file=sys.stderr)
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.stderr == "[]\n"


def test_a_model_imports_only_the_families_of_its_ops():
    code = (
        "import sys, graphengine as ge; ge.load('linreg').train(); from graphengine.ops.index import FAMILIES; "
        "print(*(name for name in set(FAMILIES.values()) if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent, capture_output=True, text=True)
    found = {name.rpartition(".")[2] for name in done.stdout.split()}
    assert {"arithmetic", "reductions"} <= found
    assert found.isdisjoint({"activations", "convolution", "losses", "probability", "normalization"})


def test_the_index_names_the_family_of_each_op():
    """A stale one only costs time; `python docs/generate.py` writes it."""
    families = [name for name, op in OPS.items() if op.cls.__module__.startswith("graphengine.ops.families.")]
    expected = {name: OPS[name].cls.__module__ for name in families}
    functions = {OPS[name].numpy: name for name in families if OPS[name].numpy}
    expected |= {f"numpy.{function.__name__}": expected[name] for function, name in functions.items()}
    assert expected == FAMILIES, "run: python docs/generate.py"


@pytest.mark.parametrize(
    "ask",
    [
        "OPS['softplus'].name",
        "OPS.original('softplus').name",
        "str('softplus' in OPS and 'softplus')",
        "OPS.of_function(np.tanh).name.replace('tanh', 'softplus')",
        "next(name for name in OPS if name == 'softplus')",
        "ge.ops.softplus.__name__",
        "ge.nodes.activations.Softplus.__name__.lower()",
        "type(ge.Graph and ge.ops.softplus.node({})).__name__.lower()",
    ],
)
def test_an_op_is_there_whatever_is_asked_first(ask):
    code = f"import numpy as np, graphengine as ge; from graphengine.ops.registry import OPS; print({ask})"
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.stdout == "softplus\n"


def test_a_plugin_cannot_take_the_name_of_an_op_that_is_not_imported_yet():
    code = """if True:
        import graphengine as ge
        class Softplus(ge.Node):
            def forward(self, x):
                return x
        try:
            ge.register("softplus")(Softplus)
        except ge.errors.RegistrationError as error:
            print(error.problems[0].code)
        ge.register("softplus", replace=True)(Softplus)
        from graphengine.ops.registry import OPS
        print(OPS["softplus"].cls is Softplus, OPS.original("softplus").cls is ge.nodes.activations.Softplus)
        OPS.remove("softplus")
        print("softplus" in OPS)
        OPS.remove("tanh")
        print("tanh" in OPS)
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.stdout.split() == ["GE702", "True", "True", "False", "False"]


def test_threads_that_ask_for_ops_at_once_get_them():
    code = """if True:
        from concurrent.futures import ThreadPoolExecutor
        from graphengine.ops.index import FAMILIES
        from graphengine.ops.registry import OPS
        names = [name for name in FAMILIES if "." not in name]
        with ThreadPoolExecutor(8) as pool:
            found = [pool.submit(lambda: [OPS[name].name for name in names[start:] + names[:start]])
                for start in range(0, len(names), 7)]
            counts = [pool.submit(lambda: len(OPS)) for _ in range(8)]
        print(all(sorted(each.result()) == sorted(names) for each in found), {each.result() for each in counts}
            == {len(names)})
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"]


def test_the_public_surface_is_this_list():
    assert sorted(ge.__all__) == sorted(PUBLIC)
    assert all(hasattr(ge, name) for name in PUBLIC)


def test_pages_import_the_public_surface_alone():
    pages = [*PACKAGE.parent.joinpath("docs").glob("*.md"), PACKAGE.parent / "README.md"]
    found = re.compile(r"^ *(?:from|import) graphengine\.(?!sklearn\b)[\w.]+", re.MULTILINE)  # a bridge
    assert [(page.name, line) for page in pages for line in found.findall(page.read_text(encoding="utf-8"))] == []


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
    classes = [
        cls for cls in vars(ge.errors).values() if isinstance(cls, type) and issubclass(cls, ge.errors.GraphEngineError)
    ]
    assert len(classes) >= 10
    assert all(cls.default_code in CODES for cls in classes)


def test_every_error_class_stands_in_the_tree_of_the_docstring():
    for name, cls in vars(ge.errors).items():
        if isinstance(cls, type) and issubclass(cls, Exception):
            assert re.search(rf"\b{name}\b", ge.errors.__doc__), name


def test_every_module_states_its_idea(trees):
    assert [path for path, tree in trees.items() if not ast.get_docstring(tree)] == []


def test_no_code_is_made_from_text(trees):
    words = ["eval", "exec", "compile", "__import__", "pickle"]
    imported = re.compile(rf"^(import|from) ({'|'.join(words)})\b", re.MULTILINE)
    for path in trees.keys() - GENERATED:
        calls = [node.func for node in ast.walk(trees[path]) if isinstance(node, ast.Call)]
        called = {function.id for function in calls if isinstance(function, ast.Name)}
        assert called.isdisjoint(words), path
        assert not imported.search(path.read_text(encoding="utf-8")), path


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").exists()
