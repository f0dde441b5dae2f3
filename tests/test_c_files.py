"""Models as C files, compiled by the machine's compiler: with arithmetic alone they have the bits of NumPy."""

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest
from documents import MODELS, document, linreg, training
from test_code_files import HOSTILE, NAMES_OF_PYTHON, is_trained_by_a_rule, rows, start_of
from test_compile import one_op
from test_same_bits import bits
from typer.testing import CliRunner

import graphengine as ge
from graphengine.backends.protocol import backend_named
from graphengine.cli import app as application
from graphengine.errors import InvalidModelError
from graphengine.format.code.c_expressions import ARITHMETIC, EXPRESSIONS
from graphengine.format.code.c_function import LOOPS
from graphengine.model.code_files import c_file

COMPILER = shutil.which("cc")
WITH_COMPILER = pytest.mark.skipif(COMPILER is None, reason="needs the compiler cc")
FLAGS = ["-std=c11", "-O1", "-ffp-contract=off", "-shared", "-fPIC"]
KINDS = {"double": np.float64, "int64_t": np.int64, "int32_t": np.int32, "bool": np.bool_}


class Library:
    """The functions of compiled C files, called with arrays by name."""

    def __init__(self, folder, texts):
        for name, text in texts.items():
            (folder / f"{name}.c").write_text(text, encoding="utf-8")
        files = [f"{name}.c" for name in texts]
        done = subprocess.run(
            [COMPILER, *FLAGS, *files, "-o", "all.so", "-lm"], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[:3000]
        self._library = ctypes.CDLL(str(folder / "all.so"))
        self._texts = "\n".join(texts.values())

    def __call__(self, name, shapes, **given):
        """Call a function; gives the arrays that it wrote: results, and what it replaced."""
        (arguments,) = re.findall(rf"^void {name}\((.*)\) {{$", self._texts, re.MULTILINE)
        function, passed, written = getattr(self._library, name), [], {}
        for each in arguments.split(", ") if arguments != "void" else []:
            kind, argument = each.removeprefix("const ").replace("*", "").split()
            if "*" not in each:
                passed.append(ctypes.c_double(given[argument.removesuffix("_given")]))
                continue
            array = np.array(given.get(argument, 0), KINDS[kind], order="C")
            if argument not in given:
                array = np.zeros(shapes[argument.removeprefix("out_")], KINDS[kind])
            if not each.startswith("const "):
                written[argument.removeprefix("out_")] = array
            passed.append(ctypes.c_void_p(array.ctypes.data))
            given[argument] = array  # it lives until the call
        function.restype = None
        function(*passed)
        return written


def sized(model, **sizes):
    return model.graph.with_sizes(sizes) if sizes else model.graph


def shapes_of(graph):
    return {re.sub(r"\W", "_", name): graph.types[value].shape for name, value in graph.outputs.items()}


def symbols(model):
    return {size for of in model.graph.inputs.values() for size in of.type.shape if isinstance(size, str)}


BITS = ["linreg", "linreg_single_sample", "noint1", "noint2"]
"""Models of additions, products and divisions alone."""
NAMES = [*BITS, "autoencoder_digits", "baydin", "boxbod", "chwirut2", "eckerle4", "griewank_walther", "lanczos3"]
NAMES += ["logistic_iris", "mgh09", "misra1a", "mlp_digits", "polynomial", "sigmoid_neuron"]
NAMES += ["softmax_digits", "softmax_iris", "thurber"]
"""The shipped models that C has code for."""
SIZE = 5


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The shipped models as a library, and each with values to begin with."""
    models, texts = {}, {}
    for name in NAMES:
        model = ge.load(MODELS / f"{name}.json")
        if model.untrained():
            model.initialize()
        texts[name], models[name] = c_file(model, dict.fromkeys(symbols(model), SIZE)), model
    return Library(tmp_path_factory.mktemp("c"), texts), models


def inputs_of(graph):
    generator = np.random.default_rng(0)
    return {
        name: generator.uniform(0.5, 1.5, of.type.shape) if of.type.is_differentiable else np.zeros(of.type.shape, int)
        for name, of in graph.inputs.items()
    }


def assert_agrees(found, expected, *, same_bits):
    for name, value in expected.items():
        value, mine = np.asarray(value), found[re.sub(r"\W", "_", name)]
        if same_bits:
            assert bits(mine) == bits(value), name
        else:
            np.testing.assert_allclose(mine, value, rtol=1e-11, atol=1e-12 * (np.abs(value).max(initial=0) or 1))


def called(values):
    return {re.sub(r"\W", "_", name): value for name, value in values.items()}


@WITH_COMPILER
@pytest.mark.parametrize("name", NAMES)
def test_a_c_file_predicts_and_differentiates_as_the_numpy_backend(compiled, name):
    library, models = compiled
    model = models[name]
    sizes = dict.fromkeys(symbols(model), SIZE)
    graphs = {"forward": sized(model, **sizes), "gradient": model.gradient().with_sizes(sizes)}
    given = {**model.values, **inputs_of(graphs["forward"])}
    for function, graph in graphs.items():
        expected = backend_named("numpy").compile(graph).run(given)
        found = library(f"{name}_{function}", shapes_of(graph), **called(given))
        assert_agrees(found, expected, same_bits=name in BITS)


@WITH_COMPILER
@pytest.mark.parametrize("name", [name for name in NAMES if is_trained_by_a_rule(ge.load(MODELS / f"{name}.json"))])
def test_a_c_file_trains_as_the_numpy_backend(compiled, name):
    library, models = compiled
    model, step = models[name], models[name].training_step()
    graph = step.graph.with_sizes(dict.fromkeys(symbols(model), SIZE))
    program, values = backend_named("numpy").compile(graph), start_of(model)
    mine = dict(values)
    for iteration in range(1, 4):
        batch = {**inputs_of(model.graph.with_sizes(dict.fromkeys(symbols(model), SIZE)))}
        numbers = {"learning_rate": 0.01, "iteration": float(iteration)}
        expected = program.run({**values, **batch, **numbers})
        found = library(f"{name}_step", shapes_of(graph), **called({**mine, **batch, **numbers}))
        values |= {source: expected[output] for output, source in step.carried.items()}
        mine |= {source: found[re.sub(r"\W", "_", source)] for source in step.carried.values()}
        outputs = {step.loss: expected[step.loss], "gradient_norm": expected["gradient_norm"]}
        assert_agrees(
            found, {**outputs, **{each: values[each] for each in step.carried.values()}}, same_bits=name in BITS
        )


# ---------------------------------------------------------------- ops

SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.5, -0.5, np.inf, -np.inf, np.nan, 5e-324, 1.7e308]
PAIRS = np.array([(x, y) for x in SPECIAL for y in SPECIAL] + list(np.random.default_rng(1).uniform(-9, 9, (879, 2))))
OPERANDS = {2: ["x", "y"], 1: ["x"], 3: ["chosen", "x", "y"]}
OTHERWISE = {"cast", "zeros_like", "ones_like", "logical_and", "logical_or", "logical_not"}
"""Ops that are tested by their samples."""
SIGNS = {"maximum", "minimum", "sign"}
"""Ops of which NumPy's sign of zero depends on the processor."""
ULP = 8
"""Units in the last place that a function of the C library may differ from NumPy's."""


@WITH_COMPILER
def test_arithmetic_has_the_bits_of_numpy_and_functions_differ_in_the_last_places(tmp_path):
    nodes = {"chosen": ("less", ["x", "y"])}
    for op in EXPRESSIONS.keys() - OTHERWISE:
        count = 1 + max(int(place) for place in re.findall(r"\{(\d)\}", EXPRESSIONS[op]))
        nodes[f"of_{op}"] = (op, OPERANDS[count])
    model = ge.Model.from_dict(
        document(nodes, {name: name for name in nodes}, inputs={"x": [len(PAIRS)], "y": [len(PAIRS)]})
    )
    given = {"x": PAIRS[:, 0].copy(), "y": PAIRS[:, 1].copy()}
    expected = backend_named("numpy").compile(model.graph).run(given)
    found = Library(tmp_path, {"ops": c_file(model)})("test_forward", shapes_of(model.graph), **given)
    for name, value in expected.items():
        if name.removeprefix("of_") in {*ARITHMETIC, "chosen"}:
            one, other = (np.where(np.isnan(each), np.nan, each) for each in (found[name], value))
            if name.removeprefix("of_") in SIGNS:
                one, other = one + 0.0, other + 0.0
            assert bits(one) == bits(other), name  # the sign of a NaN is not promised
        else:
            usual = np.all(np.isin(PAIRS, SPECIAL[:9]) | (np.abs(PAIRS) < 9), axis=1) & np.all(PAIRS != 5e-324, axis=1)
            one, other = found[name][usual], value[usual]
            np.testing.assert_array_equal(np.isnan(one), np.isnan(other), err_msg=name)
            np.testing.assert_array_max_ulp(np.nan_to_num(one), np.nan_to_num(other), ULP)


def written(most):
    """Samples of the ops that C has, with a file each."""
    for number, (op, attributes, arrays) in enumerate(rows(most)):
        if op in LOOPS or op in EXPRESSIONS or op in ("reshape", "squeeze", "expand_dims"):
            model, values = one_op(op, attributes, arrays)
            try:
                yield op, model, values, f"row{number}", c_file(model).replace("test_", f"row{number}_")
            except InvalidModelError:
                continue


@WITH_COMPILER
def test_samples_of_ops_give_what_the_numpy_backend_gives(tmp_path):
    samples = list(written(3))
    assert {op for op, *_ in samples} >= LOOPS.keys() | {"where", "cast", "reshape"}
    library = Library(tmp_path, {name: text for _, _, _, name, text in samples})
    for _, model, values, name, _ in samples:
        expected = backend_named("numpy").compile(model.graph).run(values)
        found = library(f"{name}_forward", shapes_of(model.graph), **called(values))
        assert_agrees(found, expected, same_bits=False)


@WITH_COMPILER
@pytest.mark.parametrize("shape", [(3,), (7,), (8,), (129,), (1000,), (4, 33), (33, 4), (2, 3, 150), (150, 1, 2)])
def test_sums_are_added_in_the_order_of_numpy(tmp_path, shape):
    axes = [None, *range(len(shape)), *([(0, len(shape) - 1)] if len(shape) > 1 else [])]
    nodes = {f"s{place}": ("sum", ["x"], {"axis": axis}) for place, axis in enumerate(axes)}
    model = ge.Model.from_dict(document(nodes, {name: name for name in nodes}, inputs={"x": list(shape)}))
    x = np.random.default_rng(2).standard_normal(shape)
    found = Library(tmp_path, {"sums": c_file(model)})("test_forward", shapes_of(model.graph), x=x)
    for place, axis in enumerate(axes):
        assert bits(found[f"s{place}"]) == bits(np.asarray(np.sum(x, axis=axis))), axis


# ---------------------------------------------------------------- what a file may hold


@WITH_COMPILER
@pytest.mark.parametrize("name", [*NAMES_OF_PYTHON, "double", "exp", "NAN", "INFINITY", "i0", "y0", "unix", "M_PI"])
def test_names_and_descriptions_of_a_model_are_no_c(tmp_path, name):
    content = linreg(training=training())
    for each in content["nodes"]:
        each["inputs"] = [name if of == "y_hat" else of for of in each["inputs"]]
    content["nodes"][0]["id"] = name
    content["outputs"] = {"loss": "loss"}
    content["description"] = content["inputs"]["x"]["description"] = f"{HOSTILE} */ #error ??/ \n int x = ;"
    model = ge.Model.from_dict(content)
    given = {"x": np.arange(4.0), "y": np.ones(4), "theta": np.float64(0.5)}
    found = Library(tmp_path, {"named": c_file(model, {"N": 4})})("test_forward", {"loss": ()}, **given)
    assert found["loss"] == np.mean((given["y"] - 0.5 * given["x"]) ** 2)


def test_ops_without_code_are_refused_by_name():
    with pytest.raises(InvalidModelError, match=r"node 'pooled1' \(unfold\) cannot be exported to C") as raised:
        c_file(ge.load(MODELS / "cnn_digits.json"), {"N": 1})
    assert {each.code for each in raised.value.problems} == {"GE305"}


def test_single_precision_is_refused():
    with pytest.raises(InvalidModelError, match="values of type float32 are not written in C"):
        c_file(ge.Model.from_dict(linreg(dtype="float32")))


def test_a_model_that_needs_much_memory_is_refused():
    with pytest.raises(InvalidModelError, match="at most 16,777,216 in C; export for smaller sizes"):
        c_file(ge.Model.from_dict(linreg()), {"N": 10_000_000})


def test_an_unknown_size_is_refused():
    with pytest.raises(ge.errors.UsageError, match="has no size 'M'"):
        c_file(ge.Model.from_dict(linreg()), {"M": 3})


def run(*arguments):
    return CliRunner().invoke(application.app, [str(each) for each in arguments])


@WITH_COMPILER
def test_the_command_writes_a_file_that_compiles(tmp_path):
    done = run("export", "linreg", "--format", "c", "--size", "N=1", "-o", tmp_path / "linreg.c")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "linreg.c").read_text(encoding="utf-8")
    found = Library(tmp_path, {"linreg": text})(
        "linreg_forward", {"prediction": (1,), "loss": ()}, x=[2], y=[1], theta=3
    )
    assert found["prediction"] == [6]


@pytest.mark.parametrize(("options", "message"), [
    (["--format", "python", "--size", "N=1"], "--size is for C files"),
    (["--format", "c", "--size", "N=0"], "a size is an integer from 1, not 0"),
])  # fmt: skip
def test_sizes_that_make_no_sense_are_refused(tmp_path, options, message):
    done = run("export", "linreg", "-o", tmp_path / "model", *options)
    assert done.exit_code == 2
    assert message in done.output
