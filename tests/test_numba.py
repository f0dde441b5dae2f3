"""The numba backend: loops on single numbers against the numpy backend, the cache of machine code, checkpoints."""

import json
import math
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from documents import MODELS, document
from selection import missing
from test_same_bits import LITERALS, bits
from typer.testing import CliRunner

import graphengine as ge
from graphengine.backends.numba import compiling
from graphengine.backends.numpy.plan import Plan
from graphengine.backends.protocol import Rounds, _made, backend_named
from graphengine.cli import app as application
from graphengine.errors import UsageError
from graphengine.training.machine import arithmetic

WITH_NUMBA = pytest.mark.extra("numba")
SINGLE = MODELS / "linreg_single_sample.json"
X = np.random.default_rng(0).standard_normal(300)
DATA = {"x": X, "y": 3 * X + 0.1}
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, math.inf, -math.inf, math.nan, 5e-324, 1.7e308, -1e-300]
PAIRS = np.array([(x, y) for x in SPECIAL for y in SPECIAL] + list(np.random.default_rng(1).uniform(-9, 9, (500, 2))))


@pytest.fixture(autouse=True)
def _compiles_at_once(cache_folder, monkeypatch):
    """Loops are compiled at the first round."""
    from graphengine.backends.numba import jit

    monkeypatch.setattr(jit, "WORTH_COMPILING", 0)


def looped(backend, graph, columns):
    """The outputs of a graph for each round of a loop, by output; and the program."""
    program = backend_named(backend).compile(graph)
    fed, recorded, rows = list(program.sources), list(program.outputs), []
    values = [np.ascontiguousarray(columns[name]) for name in fed]
    rounds = Rounds(
        [True] * len(values[0]), lambda: [each.tolist() for each in values], lambda arrays: values, lambda name: None, 0
    )
    program.loop([(0.0, rounds)], {}, fed, recorded, rows.append, lambda total: None)
    return {name: np.array(each) for name, each in zip(recorded, zip(*rows, strict=True), strict=True)}, program


def on_numbers(nodes, inputs=("x", "y")):
    return ge.Model.from_dict(document(nodes, {name: name for name in nodes}, inputs={name: [] for name in inputs}))


ARITHMETIC = {
    "add": ("add", ["x", "y"]),
    "sub": ("sub", ["x", "y"]),
    "mul": ("mul", ["x", "y"]),
    "div": ("div", ["x", "y"]),
    "neg": ("neg", ["x"]),
    "abs": ("abs", ["x"]),
    "square": ("square", ["x"]),
    "sqrt": ("sqrt", ["x"]),
    "sum": ("sum", ["x"]),
}
CHOICES = {
    op: [("where", [f"is_{op}", "x", "y"]), (op, ["x", "y"])]
    for op in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
}


@WITH_NUMBA
def test_arithmetic_has_the_bits_of_the_numpy_backend():
    nodes = dict(ARITHMETIC)
    for op, (chosen, compared) in CHOICES.items():
        nodes |= {f"is_{op}": compared, f"chosen_{op}": chosen}
    outputs = {name: name for name in nodes if not name.startswith("is_")}
    graph = ge.Model.from_dict(document(nodes, outputs, inputs={"x": [], "y": []})).graph
    columns = {"x": PAIRS[:, 0], "y": PAIRS[:, 1]}
    expected, _ = looped("numpy", graph, columns)
    found, program = looped("numba", graph, columns)
    assert not program.text.lacking
    assert program.text.same_bits
    assert {name: bits(each) for name, each in found.items()} == {name: bits(each) for name, each in expected.items()}


FUNCTIONS = {
    "exp": 2,
    "log": 2,
    "sin": 2,
    "cos": 2,
    "hypot": 2,
    "sign": 0,
    "maximum": 0,
    "minimum": 0,
    "tanh": 4,
    "pow": 2,
}
"""Ops of the C library with the units in the last place that it may differ from NumPy's."""


@WITH_NUMBA
@pytest.mark.parametrize("op", FUNCTIONS)
def test_a_function_has_the_bits_of_the_numpy_backend_or_says_that_it_has_not(op):
    from graphengine.backends.numba.expressions import CHECKED

    assert FUNCTIONS.keys() == CHECKED.keys()
    operands = ["x", "y"] if op in ("hypot", "maximum", "minimum", "pow") else ["x"]
    graph = on_numbers({"z": (op, operands)}, operands).graph
    pairs = (
        PAIRS[np.isfinite(PAIRS).all(axis=1)] if op == "pow" else PAIRS
    )  # findings/numpy_power_depends_on_how_one_half_is_given.sh
    columns = {name: pairs[:, place] for place, name in enumerate(operands)}
    expected, _ = looped("numpy", graph, columns)
    found, program = looped("numba", graph, columns)
    assert not program.text.lacking
    one, other = found["z"], expected["z"]
    if program.text.same_bits:
        assert bits(one) == bits(other)
    finite = np.isfinite(other)
    assert np.array_equal(np.isnan(one), np.isnan(other))
    assert np.array_equal(one[~finite & ~np.isnan(other)], other[~finite & ~np.isnan(other)])
    assert (np.abs(one[finite] - other[finite]) <= FUNCTIONS[op] * np.spacing(np.abs(other[finite]))).all()


def random_numbers(chance, count):
    """A graph of a few ops on two inputs and literals, each node an output."""
    ops = {"add": 2, "sub": 2, "mul": 2, "div": 2, "neg": 1, "abs": 1, "square": 1, "sqrt": 1, "sum": 1, "transpose": 1}
    nodes = {}
    for place in range(count):
        op = chance.choice(list(ops))
        known = ["x", "y", *nodes, *([each for each in LITERALS if type(each) is float] if ops[op] == 2 else [])]
        nodes[f"n{place}"] = (op, [chance.choice(["x", "y", *nodes]), *[chance.choice(known)] * (ops[op] - 1)])
    return nodes


@WITH_NUMBA
def test_random_graphs_on_numbers_have_the_bits_of_the_numpy_backend():
    chance = random.Random("numba")
    columns = {"x": PAIRS[:, 0], "y": PAIRS[:, 1]}
    for _ in range(6):
        graph = on_numbers(random_numbers(chance, 25)).graph
        expected, _ = looped("numpy", graph, columns)
        found, program = looped("numba", graph, columns)
        assert not program.text.lacking
        assert {name: bits(each) for name, each in found.items()} == {
            name: bits(each) for name, each in expected.items()
        }


@pytest.fixture
def every_graph_is_large(monkeypatch):
    """Graphs of numbers run on the interpreter, whatever their length."""
    from graphengine.backends.numba import jit

    monkeypatch.setattr(jit, "LONGEST_LOOP", 0)


@WITH_NUMBA
def test_large_graphs_of_numbers_run_on_an_interpreter_with_the_bits_of_the_numpy_backend(every_graph_is_large):
    from graphengine.backends.numba.slots import SlotProgram

    chance = random.Random("slots")
    columns = {"x": PAIRS[:, 0], "y": PAIRS[:, 1]}
    for _ in range(20):
        graph = on_numbers(random_numbers(chance, 60)).graph
        expected, _ = looped("numpy", graph, columns)
        found, program = looped("numba", graph, columns)
        assert isinstance(program, SlotProgram)
        assert {name: bits(each) for name, each in found.items()} == {
            name: bits(each) for name, each in expected.items()
        }
        one = program.run({"x": 0.5, "y": -2.0})
        assert bits(list(one.values())) == bits(list(Plan(graph).run({"x": 0.5, "y": -2.0}).values()))


@WITH_NUMBA
def test_comparisons_and_choices_run_on_the_interpreter(every_graph_is_large):
    nodes = {}
    for op, (chosen, compared) in CHOICES.items():
        nodes |= {f"is_{op}": compared, f"chosen_{op}": chosen}
    outputs = {name: name for name in nodes if not name.startswith("is_")}
    graph = ge.Model.from_dict(document(nodes, outputs, inputs={"x": [], "y": []})).graph
    columns = {"x": PAIRS[:, 0], "y": PAIRS[:, 1]}
    (expected, _), (found, _) = looped("numpy", graph, columns), looped("numba", graph, columns)
    assert {name: bits(each) for name, each in found.items()} == {name: bits(each) for name, each in expected.items()}


@WITH_NUMBA
@pytest.mark.parametrize("name", ["linreg", "linreg_single_sample"])
def test_training_on_the_interpreter_has_the_bits_of_the_numpy_backend(name, every_graph_is_large):
    (one, trainer), (other, expected) = trained("numba", name), trained("numpy", name)
    assert bits(one.parameters["theta"]) == bits(other.parameters["theta"])
    assert same_history(trainer, expected)


@WITH_NUMBA
def test_a_chain_of_numbers_has_the_gradient_of_the_reference():
    nodes, value = {}, "x"
    for place in range(600):
        nodes[f"n{place}"] = (("mul", "add", "sub")[place % 3], [value, "y"])
        value = f"n{place}"
    content = document(nodes, {"out": value}, inputs={"x": [], "y": []})
    found = []
    for backend in ("reference", "numba"):
        model = ge.Model.from_dict(content, backend=backend)
        runs = [model.forward(x=0.3, y=0.7) for _ in range(4)]
        found.append([(float(run["out"]), float(run.backward(of="out", wrt=["y"])["y"])) for run in runs])
    assert found[0] == found[1]


def trained(backend, name="linreg_single_sample", optimizer=None, **options):
    content = json.loads((MODELS / f"{name}.json").read_bytes())
    content["training"]["optimizer"] = optimizer or content["training"]["optimizer"]
    content["training"] |= {"batch_size": 1, "epochs": 4, **options.pop("training", {})}
    model = ge.Model.from_dict(content, MODELS / f"{name}.json", backend=backend)
    trainer = model.trainer(DATA, **{"learning_rate": 0.01, **options})
    list(trainer.chunks())
    return model, trainer


def loops(trainer):
    """The programs of a training that ran a compiled loop, and those that did not."""
    programs = list(trainer.stepper._plans.values())
    return [each for each in programs if each._loops], [each for each in programs if not each._loops]


def same_history(one, other):
    return one.history.epochs == other.history.epochs and one.history.iterations == other.history.iterations


OPTIONS = {
    "in order": {},
    "shuffled": {"shuffle": True},
    "a schedule": {"learning_rate": {"type": "exponential", "learning_rate": 0.01, "factor": 0.999}},
    "momentum": {"optimizer": {"type": "momentum", "learning_rate": 0.01}},
    "clipped": {"training": {"gradient_clipping": {"type": "global_norm", "limit": 0.5}}},
}


@WITH_NUMBA
@pytest.mark.parametrize("name", ["linreg", "linreg_single_sample"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_training_on_single_samples_has_the_bits_of_the_numpy_backend(name, options):
    (one, trainer), (other, expected) = trained("numba", name, **options), trained("numpy", name, **options)
    compiled, others = loops(trainer)
    assert compiled
    assert not others
    if "training" in options and not all(program.text.same_bits for program in compiled):
        pytest.skip("the smaller of 0.0 and -0.0 is another one with this processor")
    assert all(program.text.same_bits for program in compiled)
    assert bits(one.parameters["theta"]) == bits(other.parameters["theta"])
    assert same_history(trainer, expected)


@WITH_NUMBA
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "adagrad"])
def test_update_rules_learn_what_they_learn_with_the_numpy_backend(optimizer):
    rule = {"type": optimizer, "learning_rate": 0.05}
    (one, trainer), (other, _) = trained("numba", optimizer=rule), trained("numpy", optimizer=rule)
    assert not loops(trainer)[1]
    assert float(one.parameters["theta"]) == pytest.approx(float(other.parameters["theta"]), rel=1e-12)


@WITH_NUMBA
def test_where_a_training_changes_to_the_loop_no_bit_changes(monkeypatch):
    from graphengine.backends.numba import jit

    monkeypatch.setattr(jit, "WORTH_COMPILING", 500)
    (one, trainer), (other, expected) = trained("numba"), trained("numpy")
    assert loops(trainer)[0]
    assert bits(one.parameters["theta"]) == bits(other.parameters["theta"])
    assert same_history(trainer, expected)


@WITH_NUMBA
def test_rows_given_one_by_one_have_the_values_after_each_iteration():
    x = X.copy()
    x.flags.writeable = False
    data = {"x": x[::2], "y": (3 * x[::2]).astype(np.float32)}
    found = []
    for backend in ("numpy", "numba"):
        model = ge.load(MODELS / "linreg.json", backend=backend)
        rows = list(model.iterate(data, batch_size=1, epochs=2, learning_rate=0.01, shuffle=True))
        found.append([(row.iteration, row.loss, row.gradient_norm, bits(row.parameters["theta"])) for row in rows])
    assert len(found[0]) == 300
    assert found[0] == found[1]


@WITH_NUMBA
def test_a_training_that_diverges_ends_at_the_same_iteration():
    found = []
    for backend in ("numpy", "numba"):
        with pytest.raises(ge.errors.DivergenceError) as raised:
            trained(backend, learning_rate=50.0)
        found.append((str(raised.value), raised.value.iteration))
    assert found[0] == found[1]


# ---------------------------------------------------------------- checkpoints


@WITH_NUMBA
def test_a_checkpoint_names_numba_and_its_version(tmp_path):
    import numba

    assert arithmetic("numba")["backend"] == f"numba {numba.__version__}"
    trained("numba", checkpoints=tmp_path)
    other = ge.load(SINGLE, backend="numpy").trainer(
        DATA, batch_size=1, epochs=6, learning_rate=0.01, checkpoints=tmp_path, resume=True
    )
    assert f"was written with backend numba {numba.__version__} (now numpy " in other.checkpoints.note


@WITH_NUMBA
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_resumed_training_has_the_bits_of_one_without_a_break(tmp_path, optimizer):
    rule = {"type": optimizer, "learning_rate": 0.01}
    whole, trainer = trained("numba", optimizer=rule)
    for iterations in (1, 130, 131, 700, 1200):
        part, resumed = trained("numba", optimizer=rule, checkpoints=tmp_path, resume=True, max_iterations=iterations)
    assert bits(part.parameters["theta"]) == bits(whole.parameters["theta"])
    assert same_history(trainer, resumed)


# ---------------------------------------------------------------- machine code on disk

TRAIN = """
import sys
import graphengine as ge
from graphengine.backends.numba import jit
jit.WORTH_COMPILING = 0
model = ge.load({path!r}, backend="numba")
model.train(epochs=3)
print(float(model.parameters["theta"]).hex(), "numba.np.npyimpl" in sys.modules)
"""


def in_processes(folder, count=1):
    """What processes of their own learn that share a folder for machine code, and whether they could have compiled."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder), "LOCALAPPDATA": str(folder), "HOME": str(folder)}
    environment.pop("NUMBA_CACHE_DIR", None)
    code = TRAIN.format(path=str(SINGLE))
    begun = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    found = [each.communicate()[0].split() for each in begun]
    assert [each.returncode for each in begun] == [0] * count
    return [(theta, has_imported == "True") for theta, has_imported in found]


@WITH_NUMBA
def test_processes_share_machine_code_and_damaged_files_do_no_harm(tmp_path):
    first = in_processes(tmp_path, 2)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert kept
    again = in_processes(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")} == kept
    for path in kept:
        path.write_bytes(b"damaged")
    damaged = in_processes(tmp_path)
    assert first[0][0] == first[1][0]
    assert first[0][1] or first[1][1]
    assert (again, damaged) == ([(first[0][0], False)], [(first[0][0], True)])


@WITH_NUMBA
def test_without_a_folder_for_machine_code_loops_are_compiled_each_time(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    ((found, _),) = in_processes(blocked)
    model = ge.load(SINGLE)
    model.train(epochs=3)
    assert float.fromhex(found) == float(model.parameters["theta"])
    assert blocked.read_bytes() == b""


@WITH_NUMBA
def test_machine_code_is_not_used_again_when_a_function_that_it_calls_changes(monkeypatch):
    one, same = (compiling._kept("def loop(): pass", "0.61") for _ in range(2))
    assert one == same
    assert one is not None
    monkeypatch.setattr(compiling, "_called", lambda: "another source")
    assert compiling._kept("def loop(): pass", "0.61") not in (one, None)


# ---------------------------------------------------------------- numba is an extra


def test_without_numba_the_backend_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.delitem(_made, "numba", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(UsageError, match=r"needs the package 'numba'.*pip install 'graphengine\[jit\]'") as raised:
        ge.load(SINGLE, backend="numba")
    assert raised.value.problems[0].code == "GE803"


def test_numba_is_imported_only_where_a_loop_is_compiled():
    code = "import sys, graphengine as ge; ge.load({!r}, backend={!r}).train(); sys.exit('numba' in sys.modules)"
    for backend in ["numpy", *["numba"] * (not missing(["numba"]))]:
        assert subprocess.run([sys.executable, "-c", code.format(str(SINGLE), backend)], check=False).returncode == 0


@WITH_NUMBA
@pytest.mark.parametrize(
    ("name", "size", "line"),
    [
        ("linreg", "N=1", "with the bits of the numpy backend"),
        ("linreg", "N=9", "with other last bits than those of the numpy backend"),
        ("linreg", "N=9000", "as a compiled loop"),
        ("mlp_digits", "N=9", "no loop for whole iterations, which lacks 'W1/new_"),
    ],
)
def test_a_plan_shows_the_loops_or_what_they_lack(name, size, line):
    shown = ["show", "--plan", "--backend", "numba", "--size", size, str(MODELS / f"{name}.json")]
    found = CliRunner().invoke(application.app, shown)
    assert found.exit_code == 0
    assert line in found.output
    assert "def loop(" in found.output


@WITH_NUMBA
def test_an_interrupted_full_batch_training_resumes_to_the_same_bits():
    checked = ["resume-check", str(MODELS / "linreg.json"), "--iterations", "3", "--backend", "numba"]
    found = CliRunner().invoke(application.app, checked)
    assert found.exit_code == 0
    assert "the same to the last bit" in found.output
