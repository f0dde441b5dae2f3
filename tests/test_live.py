"""The numbers that a page computes itself, in a real browser: those of Python, for what a user may enter."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest
from documents import MODELS, document, linreg, training
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from samples import SAMPLES
from test_loop_trace import PAID, savings
from test_properties import NUMBERS, graphs

import graphengine as ge
from graphengine.backends.reference.executor import Executor
from graphengine.draw.charts import BEYOND, Scale
from graphengine.draw.labels import TraceLabels
from graphengine.draw.picture import panels_of
from graphengine.page.film import film_of, texts_of
from graphengine.page.gauges import gauges_of
from graphengine.page.landscape import coordinates, curve, landscape_of, scatter_of
from graphengine.page.live import live_of, program
from graphengine.page.live_trace import Hole, LiveTrace
from graphengine.page.pages import COMPUTING, page_of, script_of
from graphengine.traces.iterations import Iterations
from graphengine.traces.summary import number_text
from graphengine.traces.trace import trace_graph
from graphengine.transform.passes import optimize

SINGLE = MODELS / "linreg_single_sample.json"
SMALL = ["linreg", "linreg_single_sample", "noint1", "noint2", "baydin", "griewank_walther", "sigmoid_neuron"]
FITS = ["boxbod", "eckerle4", "mgh09", "misra1a", "polynomial", "thurber"]
CLASSES = ["logistic_iris", "softmax_iris"]


# ---------------------------------------------------------------- the interpreter


class Interpreter:
    """The code of a page that computes, without the page: it runs programs on numbers for their sources."""

    def __init__(self, page):
        page.set_content('<script id="film" type="application/json">{"live": {}}</script>')
        code = script_of(COMPUTING)
        self.page, self.code = page, json.dumps(code)
        self.ops = set(self.evaluate("Object.keys($kernels.KERNELS)"))

    def evaluate(self, expression, given=None):
        return self.page.evaluate(
            f"(given) => new Function('given', {self.code} + 'return {expression}')(given)", given
        )

    def run(self, programs):
        """The outputs of each program, flat; a program is one of a page and lists of numbers."""
        found = self.page.evaluate(
            f"""(programs) => programs.map(([live, given]) => {{
                document.getElementById('film').textContent = JSON.stringify({{ live }});
                const run = new Function({self.code} + 'return $program.run');
                return run()(given).map(({{ data }}) => [...data].map(String));
            }})""",
            [[live, [[str(number) for number in each] for each in given]] for live, given in programs],
        )
        return [[[float(number) for number in each] for each in outputs] for outputs in found]


@pytest.fixture(scope="module")
def interpreter(browser):
    page = browser.new_page()
    yield Interpreter(page)
    page.close()


def live_page(model):
    film = film_of(model)
    panels = list(panels_of(model.graph, lambda link: TraceLabels(film.frames[0].trace)(link)[:2]))
    return film, live_of(model, film, panels), LiveTrace(model, film)


def items(value):
    """All that is shown in a trace, in order: numbers, texts, holes."""
    if isinstance(value, (tuple, list)):
        return [item for each in value for item in items(each)]
    if isinstance(value, dict):
        return [item for each in value.values() for item in items(each)]
    if dataclasses.is_dataclass(value) and not isinstance(value, Hole):
        return items([getattr(value, field.name) for field in dataclasses.fields(value)])
    return [value]


def numbers_of(value):
    """The numbers of an array as the page takes them."""
    texts = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return [texts.get(str(number), number) for number in np.asarray(value, np.float64).ravel().tolist()]


def as_traced(model, film, values):
    """The trace of a first iteration from other values, by Python."""
    if film.iterations is None:
        return trace_graph(model.graph, values, film.frames[0].trace.of)
    iterations = Iterations(model, None if model.graph.inputs else {})
    moment = iterations.at(1)
    carried = {name: values[name] for name in moment.values}
    batch = {name: values[name] for name in moment.batch}
    return iterations.trace(moment._replace(batch=batch, values=carried, learning_rate=values["learning_rate"]))


def compare(interpreter, model, change, least=0.0):
    """Check every number that the page computes against the trace of Python; gives how many there were.

    Numbers agree to 1e-12 of themselves or of the largest one in their array, which is taken as `least` at least.
    """
    film, live, recorded = live_page(model)
    assert "reason" not in live, live
    given = film.frames[0].given
    values = {name: change(name, np.asarray(value)) for name, value in given.items()}
    (found,) = interpreter.run([(live, [numbers_of(values[name]) for name, *_ in live["sources"]])])
    traced = as_traced(model, film, values)
    holes = {"min": np.min, "mean": np.mean, "max": np.max}
    count = 0
    for hole, number in zip(items(recorded.trace), items(traced), strict=True):
        if not isinstance(hole, Hole):
            continue
        if hole.value == "why":
            continue
        array = found[hole.value]
        page = array[hole.part] if isinstance(hole.part, int) else holes[hole.part](array)
        scale = max(least, *map(abs, array))
        assert page == pytest.approx(float(number), rel=1e-12, abs=1e-12 * scale, nan_ok=True), (hole, number)
        count += 1
    return count


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning", "ignore::RuntimeWarning")
def test_the_kernels_give_what_the_ops_give(interpreter):
    """For all samples of all ops of the table."""
    cases, expected, tested = [], [], set()
    rows = [(op, *row) for op, rows in SAMPLES.items() if op in interpreter.ops for row in rows]
    for op, attributes, arrays in rows:
        arrays = [np.asarray(array) for array in arrays]
        kinds = [{"shape": list(array.shape), "dtype": array.dtype.name} for array in arrays]
        if not {kind["dtype"] for kind in kinds} <= {"float64", "int64", "bool"}:
            continue
        inputs = {f"x{place}": kind for place, kind in enumerate(kinds)}
        graph = ge.Model.from_dict(document({"z": (op, list(inputs), attributes)}, inputs=inputs)).graph
        outputs = {name: name for name in graph.nodes[-1].outputs}
        compiled = program(optimize(graph.derive(graph.nodes, outputs, graph.types)))
        is_static = all(isinstance(size, int) for kind in graph.types.values() for size in kind.shape)
        if is_static and {instruction[0] for instruction in compiled["code"]} <= interpreter.ops:
            executor = Executor(graph)
            slots = executor.forward(dict(zip(inputs, arrays, strict=True)))
            results = [slots[executor.slot_of[name]] for name in graph.nodes[-1].outputs]
            cases.append((compiled, [numbers_of(array) for array in arrays]))
            expected.append((op, attributes, results))
            tested |= {op, *(instruction[0] for instruction in compiled["code"])}
    for (op, attributes, results), found in zip(expected, interpreter.run(cases), strict=True):
        for result, numbers in zip(results, found, strict=True):
            np.testing.assert_allclose(numbers, np.ravel(result), rtol=1e-12, atol=1e-13, err_msg=f"{op} {attributes}")
    assert interpreter.ops - tested == set()
    assert len(cases) > 300


def test_the_table_has_the_kernel_ops_of_the_shipped_models_but_loops(interpreter):
    page = (MODELS.parent / "docs" / "backends.md").read_text(encoding="utf-8")
    ops = re.findall(r"^\| `(\w+)` \|", page.partition("## Kernel ops")[2], re.MULTILINE)
    assert len(ops) > 20
    assert set(ops) - interpreter.ops == {"scan"}


@settings(max_examples=30, derandomize=True, deadline=None, phases=[Phase.generate])
@given(graphs(), st.sampled_from(["sgd", "momentum", "adam", "rmsprop"]), st.lists(NUMBERS, min_size=36, max_size=36))
@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")  # random shapes broadcast crosswise
def test_the_numbers_of_30_random_models_are_those_of_python(interpreter, graph, rule, numbers):
    content, values = graph
    content["parameters"] = {
        name: {"shape": list(value.shape), "initializer": {"type": "constant", "value": 0.5}, "value": value.tolist()}
        for name, value in values.items()
    }
    content["inputs"] = {}
    content["training"] = training(optimizer={"type": rule, "learning_rate": 0.1})

    def change(name, value):
        if name in values:
            return np.resize(numbers, value.shape) + 0.25
        return {"learning_rate": np.float64(0.03)}.get(name, value)

    assert compare(interpreter, ge.Model.from_dict(content), change, least=1.0) > 5


@pytest.mark.parametrize("name", [*SMALL, *FITS, *CLASSES])
def test_the_numbers_of_shipped_models_are_those_of_python(interpreter, name):
    model = ge.load(MODELS / f"{name}.json")
    parameters = model.graph.parameters

    def change(source, value):
        return (
            value * 1.01 + 0.02 * np.cos(np.arange(value.size)).reshape(value.shape) if source in parameters else value
        )

    assert compare(interpreter, model, change) > 5


# ---------------------------------------------------------------- the page


def enter(page, name, text):
    page.get_by_label(name, exact=True).fill(text)


def shown(page):
    """The numbers beside the wires, and the texts of all steps."""
    texts = []
    for step in range(int(page.locator("#step").get_attribute("max")) + 1):
        page.locator("#step").evaluate("(e, n) => {e.value = n; e.dispatchEvent(new Event('input'))}", step)
        texts.append("\n".join(page.locator("#say p").all_text_contents()))
    return page.locator(".value").all_text_contents(), page.locator(".gradient").all_text_contents(), texts


@pytest.fixture(scope="module")
def single():
    return page_of(ge.load(SINGLE))


def test_the_edited_page_of_the_lesson_shows_its_numbers(opened, single):
    page = opened(single)
    for name, text in {"theta": "0.5", "x": "7", "y": "-1"}.items():
        enter(page, name, text)
    assert "6" not in page.locator(".value").all_text_contents()
    for name, text in {"theta": "2", "x": "3", "y": "10"}.items():
        enter(page, name, text)
    assert page.locator("#edited").is_visible()
    values, gradients, texts = shown(page)
    assert {"6", "4", "16"} <= set(values)
    assert [text for text in gradients if text] == ["-24", "-8", "8", "1"]
    assert texts[-1].startswith("theta rises from 2 to 2.24: y_hat (6) is below y (10) and grows with theta (x = 3)")
    assert "theta/new_parameter = theta - theta/step = 2 - (-0.24) = 2.24" in texts[-1]


def test_the_texts_of_an_edited_page_are_those_of_a_trace(opened, single):
    """All four cases of the lesson, word for word."""
    page = opened(single)
    iterations = Iterations(ge.load(SINGLE))
    first = iterations.at(1)
    enter(page, "theta", "1.25")
    enter(page, "learning rate", "0.02")
    for x, y in itertools.product([3.0, -3.0], [10.0, -10.0]):
        enter(page, "x", str(x))
        enter(page, "y", str(y))
        moment = first._replace(batch={"x": x, "y": y}, values={"theta": np.float64(1.25)}, learning_rate=0.02)
        assert shown(page)[2] == texts_of(iterations.trace(moment))


@pytest.mark.parametrize("name", ["noint2", "logistic_iris", "baydin", "misra1a"])
def test_the_texts_of_edited_arrays_are_those_of_a_trace(opened, name):
    model = ge.load(MODELS / f"{name}.json")
    film = film_of(model)
    page = opened(page_of(model))
    values = {
        **film.frames[0].given,
        **{key: np.multiply(film.frames[0].given[key], 1.5) for key in model.graph.trainable},
    }
    for key in model.graph.trainable:
        enter(page, key, json.dumps(values[key].tolist()))
    assert shown(page)[2] == texts_of(as_traced(model, film, values))


@pytest.mark.parametrize("name", ["linreg", "linreg_single_sample", "misra1a"])
def test_marks_and_the_line_of_the_fit_follow_the_edited_numbers(opened, name):
    model = ge.load(MODELS / f"{name}.json")
    film = film_of(model)
    drawn = {gauge.name: gauge for gauge in gauges_of(model, film)}
    page = opened(page_of(model))
    edited = {**film.frames[0].given}
    edited |= {key: edited[key] * 1.25 + 0.5 for key in model.graph.trainable}
    for key in model.graph.trainable:
        enter(page, key, str(edited[key]))

    loss = float(as_traced(model, film, edited).values[film.frames[0].trace.of].numbers)
    x, y = (Scale(*drawn["loss"].follows[axis]) for axis in "xy")
    assert transform_of(page, "loss") == [x(1), y(loss)]

    x, y = (Scale(*drawn["fit"].follows[axis]) for axis in "xy")
    scatter = scatter_of(model, film.batches, film.frames[0].trace.of)
    expected = [(x(at), y(value, BEYOND)) for at, value in curve(model, scatter, edited)]
    line = page.locator(".gauge.fit .drawn").get_attribute("d")
    found = [tuple(map(float, pair.split())) for pair in line.removeprefix("M").split("L")]
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.1001)

    x, y = (Scale(*drawn["landscape"].follows[axis]) for axis in "xy")
    path = [coordinates(model, shot.given) for shot in film.frames]
    land = landscape_of(model, film.batches, film.frames[0].trace.of, path, film.frames[0].given)
    numbers = coordinates(model, edited)
    height = numbers[1] if len(numbers) > 1 else np.interp(numbers[0], land.grids[0], land.losses)
    np.testing.assert_allclose(transform_of(page, "landscape"), [x(numbers[0]), y(height)], rtol=0, atol=0.1001)

    page.get_by_role("button", name="reset").click()
    assert transform_of(page, "loss") == [drawn["loss"].marks[0]["x"], drawn["loss"].marks[0]["y"]]


def transform_of(page, gauge):
    """Where the mark of a chart is."""
    moved = page.locator(f".gauge.{gauge} .mark").get_attribute("transform")
    return [float(number) for number in re.findall(r"-?[\d.]+", moved)]


def test_the_update_is_applied_and_what_was_edited_is_reset(opened, single):
    page = opened(single)
    take = page.get_by_role("button", name="apply the update")
    take.click()
    assert page.get_by_label("theta", exact=True).input_value() == "2.24"
    take.click()
    expected = 2.24 - 0.01 * -2 * 3 * (10 - 2.24 * 3)
    assert float(page.get_by_label("theta", exact=True).input_value()) == pytest.approx(expected, rel=1e-15)
    assert page.locator("#count").inner_text() == "iteration 3"
    page.get_by_role("button", name="reset").click()
    assert page.get_by_label("theta", exact=True).input_value() == "2"
    assert not page.locator("#edited").is_visible()
    assert page.locator("#count").inner_text() == "iteration 1 of 300"


def test_momentum_is_kept_from_one_applied_update_to_the_next(opened):
    content = linreg(shape=(), theta=2.0, training=training(optimizer={"type": "momentum", "learning_rate": 0.01}))
    content["training"] |= {"data": "d", "batch_size": 1}
    content["data"] = {"d": {"type": "inline", "values": {"x": [3.0] * 3, "y": [10.0] * 3}}}
    page = opened(page_of(ge.Model.from_dict(content)))
    for _ in range(3):
        page.get_by_role("button", name="apply the update").click()
    model = ge.Model.from_dict(content)
    model.train()
    shown_theta = float(page.get_by_label("theta", exact=True).input_value())
    assert shown_theta == pytest.approx(float(model.parameters["theta"]), rel=1e-14)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("abc", "theta: not a number: abc"),
        ("", "theta: expected 1 number: found 0"),
        ("1 2", "theta: expected 1 number: found 2"),
    ],
)
def test_what_is_no_number_is_reported_and_changes_nothing(opened, single, text, fault):
    page = opened(single)
    before = page.locator(".value").all_text_contents()
    enter(page, "theta", text)
    assert page.locator("#fault").inner_text() == fault
    assert page.get_by_label("theta", exact=True).get_attribute("aria-invalid") == "true"
    assert page.locator(".value").all_text_contents() == before
    enter(page, "theta", "1e-3")
    assert page.locator("#fault").inner_text() == ""
    assert "0.003" in page.locator(".value").all_text_contents()


def test_a_class_out_of_range_is_reported(opened):
    model = ge.load(MODELS / "softmax_iris.json")
    page = opened(page_of(model))
    labels = page.get_by_label("y", exact=True)
    numbers = json.loads(labels.input_value())
    labels.fill(json.dumps([7, *numbers[1:]]))
    assert page.locator("#fault").inner_text() == "y: index 7 is out of range for 3"
    labels.fill(json.dumps([0.5, *numbers[1:]]))
    assert page.locator("#fault").inner_text() == "y: not an integer: 0.5"


def test_keys_typed_into_a_field_move_nothing(opened, single):
    page = opened(single)
    field = page.get_by_label("theta", exact=True)
    field.fill("")
    field.press_sequentially("-1.5e+0")
    field.press("Home")
    field.press("ArrowRight")
    assert field.input_value() == "-1.5e+0"
    assert page.locator("#count").inner_text() == "iteration 1"
    assert page.locator("#phase").inner_text() == "update"


@pytest.mark.parametrize(
    ("nodes", "dtype", "reason"),
    [
        ({"l": ("lgamma", ["w"]), "loss": ("square", ["l"])}, "float64", "the page cannot compute digamma, lgamma"),
        ({"loss": ("square", ["w"])}, "float32", "the page computes with float64, and the model has float32"),
    ],
)
def test_a_model_that_the_page_does_not_compute_says_so_in_one_line(opened, nodes, dtype, reason):
    content = document(nodes, {"loss": "loss"}, parameters={"w": 1.5}, training=training(), dtype=dtype)
    page = opened(page_of(ge.Model.from_dict(content)))
    assert page.locator("#live").inner_text().strip() == f"The numbers on this page cannot be edited: {reason}."
    assert page.locator("#live input:visible, #live button:visible").count() == 0
    assert "1.5" in page.locator(".value").all_text_contents()


def test_a_loop_is_played_and_not_computed(opened):
    page = opened(page_of(savings(), {"paid": PAID}))
    assert page.locator("#unedited").inner_text() == (
        "The numbers on this page cannot be edited: the page cannot compute scan."
    )
    assert any("step 1 of" in text for text in shown(page)[2])


def test_a_large_model_says_that_it_is_large(opened):
    content = document(
        {"s": ("square", ["w"]), "loss": ("sum", ["s"])},
        {"loss": "loss"},
        parameters={"w": {"shape": [3000], "initializer": {"type": "constant", "value": 0.5}}},
        training=training(),
    )
    page = opened(page_of(ge.Model.from_dict(content)))
    assert "have 3000 numbers; at most 2000 can be edited" in page.locator("#unedited").inner_text()


@pytest.mark.parametrize(
    "nodes",
    [
        {"t": ("expand_dims", ["w"], {"axis": 1}), "m": ("mul", ["t", "w"]), "loss": ("sum", ["m"])},
        {"loss": ("einsum", ["w", "w", "w"], {"equation": "i,j,k->"})},
    ],
)
def test_a_step_that_takes_long_is_not_computed(opened, nodes):
    parameters = {"w": {"shape": [900], "initializer": {"type": "constant", "value": 0.5}}}
    page = opened(page_of(ge.Model.from_dict(document(nodes, {"loss": "loss"}, parameters=parameters))))
    assert "products and values; at most 2000000 are computed here" in page.locator("#unedited").inner_text()


def test_numbers_have_the_texts_that_python_gives_them(interpreter):
    chance = np.random.default_rng(5)
    numbers = [0.0, -0.0, 1.0, 0.5, 2.5, 1234565.0, 1234575.0, 999999.5, 0.0001, 0.00001, 1e9, 1e15, 1e-300, 5e-324]
    numbers += [100000.5, 100001.5, 12345.25, 12344.5, 999999999.5, 0.1 + 0.2, 1 / 3, 1e22, 123456789.0, 1.7e308]
    numbers += (chance.standard_normal(500) * 10.0 ** chance.integers(-12, 12, 500)).tolist()
    numbers += [-number for number in numbers]
    for digits in (4, 6):
        texts = interpreter.evaluate(f"given.map((number) => $numbers.numberText(number, \\'f\\', {digits}))", numbers)
        assert texts == [number_text(number, digits) for number in numbers]
