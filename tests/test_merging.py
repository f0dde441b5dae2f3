"""A graph in parts of its samples gives what the whole gives: for all ops, random graphs, and what users write."""

import contextlib
import itertools
import math

import numpy as np
import pytest
from documents import document
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import SAMPLES
from sweeping import for_each_row
from test_properties import graphs

import graphengine as ge
from graphengine.backends.in_parts import InParts
from graphengine.backends.protocol import backend_named
from graphengine.ir.binding import bind_sizes
from graphengine.ops.registry import OPS
from graphengine.transform.gradient import gradient
from graphengine.transform.stages import stages_of


def staged(graph, values):
    """The stages of a graph whose samples are those of the inputs that begin with the symbol N."""
    sizes = bind_sizes({name: np.shape(value) for name, value in values.items()}, graph.types)
    return stages_of(graph, sizes, rows_of(graph))


def rows_of(graph):
    return [name for name, source in graph.inputs.items() if source.type.shape[:1] == ("N",)]


def in_parts(stages, rows, values, sizes, given=None):
    """The outputs computed in parts of these sizes."""
    edges = [0, *itertools.accumulate(sizes)]

    def parts():
        for start, stop in itertools.pairwise(edges):
            yield {name: value[start:stop] if name in rows else value for name, value in values.items()}

    return InParts(stages, backend_named("numpy")).run(given or {}, parts)


def assert_close(found, expected, tolerance=1e-12):
    assert np.shape(found) == np.shape(expected)
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    if np.asarray(expected).dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    scale = max(1, np.max(np.abs(expected)[np.isfinite(expected)], initial=0))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


# ---------------------------------------------------------------- every op


ROWS = [
    pytest.param(name, attributes, arrays, id=f"{name}-{index}")
    for name, rows in SAMPLES.items()
    if name != "opaque_backward"  # what it reads belongs together: users' nodes, below
    for index, (attributes, arrays) in enumerate(rows)
    if any(np.size(array) > 1 for array in arrays)
]
every_row = for_each_row(ROWS)


def layouts(name, attributes, arrays):
    """Models of one op, one for each way to lay samples on an axis of some of its inputs, with their values."""
    places = [[None, *(axis for axis, size in enumerate(np.shape(array)) if size > 1)] for array in arrays]
    for axes in itertools.product(*places):
        pairs = zip(arrays, axes, strict=True)
        if len({np.shape(array)[axis] for array, axis in pairs if axis is not None}) == 1:
            with contextlib.suppress(ge.errors.InvalidModelError):  # no symbol there, or not in these inputs alone
                yield axes, *laid_out(name, attributes, arrays, axes)


def laid_out(name, attributes, arrays, axes):
    """A model of one op whose samples come along the first axis, and are turned to where they are to lie."""
    inputs, values, nodes = {}, {}, {}
    for place, (array, axis) in enumerate(zip(map(np.asarray, arrays), axes, strict=True)):
        values[f"x{place}"] = array if axis is None else np.moveaxis(array, axis, 0).copy()
        sizes = list(values[f"x{place}"].shape)
        inputs[f"x{place}"] = {"shape": sizes if axis is None else ["N", *sizes[1:]], "dtype": str(array.dtype)}
        turned = [*range(1, array.ndim)]
        turned.insert(axis or 0, 0)
        nodes[f"t{place}"] = (
            ("transpose", [f"x{place}"], {"axes": turned}) if axis else ("stop_gradient", [f"x{place}"])
        )
    nodes["z"] = (name, list(nodes), attributes)
    ports = OPS[name].cls.model_validate(attributes).outputs
    outputs = {port: f"z:{port}" if index else "z" for index, port in enumerate(ports)}
    return ge.Model.from_dict(document(nodes, outputs, inputs=inputs)), values


@every_row
def test_an_op_in_parts_gives_what_it_gives_of_the_whole(name, attributes, arrays):
    for _, model, values in layouts(name, attributes, arrays):
        rows, expected = rows_of(model.graph), model.forward(values).outputs
        total, stages = len(values[rows[0]]), staged(model.graph, values)
        for sizes in {(1,) * total, (1, total - 1), (total - 1, 1)}:
            found = in_parts(stages, rows, values, sizes)
            for output, value in expected.items():
                assert_close(found[output], value)


def test_the_law_is_about_all_ops():
    covered = {row.values[0] for row in ROWS if any(True for _ in layouts(*row.values))}
    assert set(SAMPLES) - covered == {"arange", "constant", "random_key", "opaque_backward"}


ALONG_SAMPLES = {"argmax", "argmin", "cumprod", "cumsum", "eye_like", "flip", "gather", "pad", "slice", "slice_add"}
ALONG_SAMPLES |= {"split", "take_along_axis", "tile", "trace", "tril", "triu", "unpad", "untile", "concat"}
ALONG_SAMPLES |= {"bernoulli", "normal", "uniform", "dropout"}  # the key itself is what there are samples of
ALONG_SAMPLES |= {"argsort", "scatter", "sort", "topk"}
ALONG_SAMPLES |= {"searchsorted"}  # the table itself
ALONG_SAMPLES |= {"scan"}  # the steps, or what is added up over them
ALONG_SAMPLES |= {"index_add", "scatter_add", "broadcast_to", "reshape", "sum_to"}  # to sizes that the samples are not


def test_only_ops_that_work_along_the_samples_get_all_of_them_at_once():
    gathering = {
        name
        for name, attributes, arrays in (row.values for row in ROWS)
        for axes, model, values in layouts(name, attributes, arrays)
        if axes[0] == 0 and set(axes[1:]) <= {None} and staged(model.graph, values).gathered
    }
    assert gathering == ALONG_SAMPLES


# ---------------------------------------------------------------- random graphs


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # random shapes broadcast crosswise
@settings(deadline=None, max_examples=3 * settings.default.max_examples, derandomize=True)
@given(graphs(), st.sampled_from([(1, 1, 1, 1), (2, 2), (3, 1), (1, 3), (4,)]))
def test_a_random_graph_and_its_gradient_in_parts_are_those_of_the_whole(case, sizes):
    content, values = case
    model = ge.Model.from_dict(content)
    run = model.forward(values)
    found = in_parts(staged(model.graph, values), rows_of(model.graph), values, sizes)
    for name, expected in run.outputs.items():
        assert_close(found[name], expected)
    slope = gradient(model.graph, of="loss", wrt=list(values))
    given = {name: value for name, value in values.items() if name in slope.inputs}
    stages = stages_of(
        slope, bind_sizes({name: np.shape(each) for name, each in given.items()}, slope.types), rows_of(slope)
    )
    found = in_parts(stages, rows_of(slope), given, sizes)
    for name, expected in run.backward(of="loss", wrt=list(values)).items():
        assert_close(found[f"d_loss/d_{name}"], expected)


# ---------------------------------------------------------------- passes


MADE_OF = {
    "mean": ({"loss": ("mean", ["h"])}, 1, 1),
    "root": ({"m": ("mean", ["h"]), "loss": ("sqrt", ["m"])}, 1, 2),
    "quotient": ({"n": ("sum", ["h"]), "d": ("sum", ["x"]), "loss": ("div", ["n", "d"])}, 1, 2),
    "deviation": ({"loss": ("std", ["h"])}, 2, 3),
    "cross-entropy": ({"loss": ("binary_cross_entropy", ["h", "x"])}, 1, 1),
    "penalty": ({"m": ("mean", ["h"]), "w2": ("square", ["w"]), "loss": ("add", ["m", "w2"])}, 1, 1),
    "parameters": ({"loss": ("square", ["w"])}, 0, 0),
}


@pytest.mark.parametrize("case", MADE_OF)
def test_a_graph_takes_as_many_passes_as_its_numbers_of_all_samples_follow_each_other(case):
    nodes, forward, with_gradient = MADE_OF[case]
    nodes = {"h": ("mul", ["w", "x"]), **nodes}
    model = ge.Model.from_dict(document(nodes, {"loss": "loss"}, inputs={"x": ["N"]}, parameters={"w": 2.0}))
    graphs = (model.graph, gradient(model.graph, of="loss", wrt="w", also=["loss"]))
    passes = [len(staged(graph, {"x": PAIR["x"]} if graph.inputs else {}).passes) for graph in graphs]
    assert passes == [forward, with_gradient]


# ---------------------------------------------------------------- nodes of users


def of_samples(op, count=2, attributes=None, outputs=None):
    """A model of one op that reads x, and y if it takes two inputs, each a number for each sample."""
    inputs = {name: ["N"] for name in ("x", "y")[:count]}
    nodes = {"z": (op, list(inputs), attributes or {})}
    content = document(nodes, outputs or {"z": "z"}, inputs=inputs, parameters={})
    content["opset_imports"]["test"] = 1
    return ge.Model.from_dict(content)


PAIR = {"x": np.array([0.5, -1.0, 2.0, 4.0, 0.25]), "y": np.array([1.0, 3.0, -2.0, 0.5, 1.5])}


def both(model, sizes=(2, 1, 2), values=PAIR):
    """The outputs in parts and of the whole, and what needed all samples at once."""
    values = {name: value for name, value in values.items() if name in model.graph.inputs}
    stages = staged(model.graph, values)
    found = in_parts(stages, rows_of(model.graph), values, sizes)
    return found, model.forward(values).outputs, [node.op for node in stages.gathered]


def assert_merges(model):
    found, expected, gathered = both(model)
    for name, value in expected.items():
        assert_close(found[name], value)
    assert gathered == []


def test_a_class_that_numpy_writes_needs_no_declaration():
    @ge.register("test.weighted_error")
    class WeightedError(ge.Node):
        def forward(self, x, y):
            return np.sqrt(np.sum(np.abs(x - y) * y) / np.sum(y)) - np.max(x)

    assert_merges(of_samples("test.weighted_error"))


def test_rows_declare_that_samples_stay_apart():
    @ge.register("test.erf")
    class Erf(ge.Node):
        merge = "rows"

        def forward(self, x):
            return np.array([math.erf(number) for number in np.ravel(x)]).reshape(np.shape(x))

        def backward(self, grad, x):
            return grad * (2 / math.sqrt(math.pi)) * np.array([math.exp(-(number**2)) for number in x])

    assert_merges(of_samples("test.erf", 1))


def test_a_sum_is_declared_and_what_follows_is_computed_once():
    @ge.register("test.histogram")
    class Histogram(ge.Node):
        merge = "sum"

        def forward(self, x):
            return np.histogram(x, bins=3, range=(-1, 4))[0]

    nodes = {"h": ("test.histogram", ["x"]), "most": ("max", ["h"])}
    content = document(nodes, {"h": "h", "most": "most"}, inputs={"x": ["N"]})
    content["opset_imports"]["test"] = 1
    model = ge.Model.from_dict(content)
    found, _, gathered = both(model)
    assert found["h"].tolist() == np.histogram(PAIR["x"], bins=3, range=(-1, 4))[0].tolist() == [3, 1, 1]
    assert found["most"] == 3
    assert gathered == []


@pytest.mark.parametrize("word", ["sum", "prod", "max", "min", "all", "any"])
def test_each_word_merges_as_numpy_does_of_all(word):
    reduce = getattr(np, word)

    @ge.register(f"test.{word}_of")
    class Of(ge.Node):
        merge = word

        def forward(self, x):
            return np.asarray(reduce(np.array(list(x))))[()]  # a list, so that it is not recorded

    assert_merges(of_samples(f"test.{word}_of", 1))


def test_each_output_has_a_word_of_its_own():
    @ge.register("test.scaled")
    class Scaled(ge.Node):
        outputs = ("scaled", "total")
        merge = ("rows", "sum")

        def forward(self, x):
            return np.array([2 * number for number in x]), np.float64(math.fsum(x))

    model = of_samples("test.scaled", 1, outputs={"scaled": "z", "total": "z:total"})
    assert_merges(model)


def test_numerator_and_denominator_are_declared_by_a_node_that_another_one_calls():
    @ge.register("test.hits")
    class Hits(ge.Node):
        outputs = ("right", "number")
        merge = ("sum", "sum")

        def forward(self, x, y):
            return np.float64(sum(a < b for a, b in zip(x, y, strict=True))), np.float64(len(x))

    @ge.register("test.hit_rate")
    class HitRate(ge.Node):
        def forward(self, x, y):
            right, number = Hits()(x, y)
            return right / number

    model = of_samples("test.hit_rate")
    assert_merges(model)
    assert both(model)[0]["z"] == 0.6


def test_a_method_says_how_a_class_with_attributes_merges():
    @ge.register("test.totals")
    class Totals(ge.Node):
        axis: int = 0

        def merge(self, axes, x):
            return "sum" if axes[0] == self.axis else "rows"

        def forward(self, x):
            return np.array(list(np.sum(np.array(x.tolist()), axis=self.axis)))

    for axis, sizes in ((0, (3,)), (1, ("N",))):
        content = document({"z": ("test.totals", ["x"], {"axis": axis})}, inputs={"x": ["N", 3]})
        content["opset_imports"]["test"] = 1
        model = ge.Model.from_dict(content)
        values = {"x": np.arange(15.0).reshape(5, 3)}
        found, expected, gathered = both(model, values=values)
        assert model.graph.types["z"].shape == sizes
        assert_close(found["out"], expected["out"])
        assert gathered == []


def test_a_class_that_says_nothing_and_cannot_be_followed_gets_all_samples_at_once():
    @ge.register("test.median")
    class Median(ge.Node):
        def forward(self, x):
            return np.float64(sorted(x)[len(x) // 2])

    found, _, gathered = both(of_samples("test.median", 1))
    assert found["z"] == np.median(PAIR["x"]) == 0.5
    assert gathered == ["test.median"]


@pytest.mark.parametrize(
    ("word", "outputs"), [("total", ("out",)), (("sum",), ("a", "b")), (("rows", "mean"), ("a", "b"))]
)
def test_a_word_that_says_nothing_is_refused(word, outputs):
    class Wrong(ge.Node):
        def forward(self, x):
            return x

    Wrong.merge, Wrong.outputs = word, outputs
    with pytest.raises(ge.errors.RegistrationError, match="GE701: Wrong: merge"):
        ge.register("test.wrong")(Wrong)


def test_a_declaration_that_the_shapes_belie_is_not_believed():
    @ge.register("test.sorted")
    class Sorted(ge.Node):
        merge = "sum"  # but it has a number for each sample

        def forward(self, x):
            return np.array(sorted(x))

    found, expected, gathered = both(of_samples("test.sorted", 1))
    assert_close(found["z"], expected["z"])
    assert gathered == ["test.sorted"]


def test_the_gradient_of_code_that_cannot_be_recorded_merges_by_what_its_node_declares():
    @ge.register("test.cubes")
    class Cubes(ge.Node):
        merge = "rows"

        def forward(self, x, p):
            return np.array([p * number**3 for number in x])

        def backward(self, grad, x, p):
            return np.array([g * 3 * p * n**2 for g, n in zip(grad, x, strict=True)]), np.array(grad.dot(x**3).item())

    nodes = {"z": ("test.cubes", ["x", "p"]), "sq": ("square", ["z"]), "loss": ("mean", ["sq"])}
    content = document(nodes, {"loss": "loss"}, inputs={"x": ["N"]}, parameters={"p": 2.0})
    content["opset_imports"]["test"] = 1
    model = ge.Model.from_dict(content)
    slope = gradient(model.graph, of="loss", wrt=["p", "x"])
    assert "opaque_backward" in {node.op for node in slope.nodes}
    values, given = {"x": PAIR["x"]}, {"p": np.float64(2.0)}
    stages = staged(slope, values)
    found = in_parts(stages, ["x"], values, (2, 1, 2), given)
    assert stages.gathered == ()
    assert found["d_loss/d_p"] == pytest.approx(2 * 2.0 * np.mean(PAIR["x"] ** 6), rel=1e-14)
    assert found["d_loss/d_x"] == pytest.approx(6 * 4.0 * PAIR["x"] ** 5 / 5, rel=1e-14)


# ---------------------------------------------------------------- what has no batches


def test_an_op_that_works_along_the_samples_gets_what_it_reads_and_no_more():
    nodes = {"h": ("matmul", ["x", "w"]), "best": ("argmax", ["h"], {"axis": 0}), "mean": ("mean", ["h"])}
    content = document(
        nodes, {"best": "best", "mean": "mean"}, inputs={"x": ["N", 3]}, parameters={"w": [1.0, 2.0, 3.0]}
    )
    model = ge.Model.from_dict(content)
    values = {"x": np.random.default_rng(3).normal(size=(6, 3))}
    stages = staged(model.graph, values)
    assert [list(each.merges) for each in stages.passes] == [["h@all", "mean.1@all"]]
    found = in_parts(stages, ["x"], values, (4, 2), {"w": np.array([1.0, 2.0, 3.0])})
    assert found["best"] == np.argmax(values["x"] @ [1, 2, 3])


def test_samples_on_two_axes_are_not_cut():
    model = ge.Model.from_dict(document({"t": ("trace", ["x"])}, inputs={"x": ["N", "N"]}))
    assert staged(model.graph, {"x": np.eye(3)}).uncut == ("x",)
