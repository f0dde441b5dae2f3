"""The charts of predictions on a page: classes, the boundary between them, residuals."""

import itertools
import math
import re

import numpy as np
import pytest
from browsing import until
from documents import MODELS, document, training
from test_pictures import HOSTILE

import graphengine as ge
from graphengine.draw.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from graphengine.draw.contours import zero_lines
from graphengine.page import gauges as gauges_module
from graphengine.page.film import film_of
from graphengine.page.outcome_gauges import outcome_gauges
from graphengine.page.pages import page_of

pytestmark = pytest.mark.filterwarnings("ignore:.*never trained:graphengine.errors.ModelWarning")
POINT = re.compile(r"M([-\d.]+) ([-\d.]+)")


def gauges_of(model):
    film = film_of(model)
    return film, {gauge.name: gauge for gauge in outcome_gauges(model, film, film.frames[0].trace.of)}


def pixels(path):
    return [(float(x), float(y)) for x, y in POINT.findall(path)]


def trained(model, film, index):
    """The model with the parameters of a frame."""
    copy = model.copy()
    copy.values.update({name: film.frames[index].given[name] for name in model.graph.parameters})
    return copy


def counted(right, predicted, count):
    return [
        sum(r == i and p == j for r, p in zip(right, predicted, strict=True))
        for i in range(count)
        for j in range(count)
    ]


@pytest.mark.parametrize("index", [0, 5, -1])
def test_the_confusion_matrix_of_several_classes_counts_predictions(index):
    model = ge.load(MODELS / "softmax_iris.json")
    film, gauges = gauges_of(model)
    data = model.load_data()
    probabilities = trained(model, film, index).predict(x=data["x"])["probabilities"]
    predicted = np.argmax(probabilities, axis=1)
    title, *cells = gauges["confusion"].marks[index]["t"]
    assert [int(cell) for cell in cells] == counted(data["y"].tolist(), predicted.tolist(), 3)
    assert title == f"{(predicted == data['y']).sum()} of 150 correct"


def test_the_predictions_of_two_classes_are_their_probabilities():
    model = ge.load(MODELS / "logistic_iris.json")
    film, gauges = gauges_of(model)
    data = model.load_data()
    probability = trained(model, film, -1).predict(x=data["x"])["probability"]
    marks = gauges["predictions"].marks[-1]["p"]
    points = sorted(pixels(marks[0]) + pixels(marks[1]))
    low, high = (scale_of(gauges["predictions"], value) for value in (0, 1))
    heights = [(low - y) / (low - high) for _, y in points]
    assert heights == pytest.approx(probability.tolist(), abs=0.002)
    assert len(pixels(marks[1])) == (data["y"] == 2).sum()


def scale_of(gauge, value):
    """The height in pixels of a number on the vertical axis."""
    drawn = "".join(gauge.elements)
    (y,) = re.findall(rf'<text class="tick y" x="{LEFT - 6}" y="([\d.]+)">{value}</text>', drawn)
    return float(y) - 4


def plane(rule, separate, weights=(1.5, -2.0), bias=0.25):
    """A model of two inputs whose scores are a plane."""
    chance = np.random.default_rng(3)
    x = chance.uniform(-1, 1, (40, 2))
    y = (x @ weights + bias > 0).astype(float)
    nodes = {"logits": ("add", ["weighted", "b"]), "loss": rule}
    parameters = {"b": bias}
    if separate:
        inputs = {"u": ["N"], "v": ["N"], "y": ["N"]}
        nodes = {"one": ("mul", ["u", "w0"]), "two": ("mul", ["v", "w1"]), "weighted": ("add", ["one", "two"]), **nodes}
        parameters |= {"w0": weights[0], "w1": weights[1]}
        values = {"u": x[:, 0], "v": x[:, 1], "y": y}
    else:
        inputs = {"x": ["N", 2], "y": ["N"]}
        nodes = {"weighted": ("matmul", ["x", "w"]), **nodes}
        parameters["w"] = {"shape": [2], "initializer": {"type": "zeros"}, "value": list(weights)}
        values = {"x": x, "y": y}
    content = document(
        nodes, {"score": "logits", "loss": "loss"}, inputs=inputs, parameters=parameters, training=training(data="d")
    )
    content["data"] = {"d": {"type": "inline", "values": {name: value.tolist() for name, value in values.items()}}}
    return ge.Model.from_dict(content), x, y


@pytest.mark.parametrize("separate", [False, True])
def test_the_boundary_of_a_plane_is_its_line(separate):
    model, x, _ = plane(("binary_cross_entropy", ["logits", "y"]), separate)
    _, gauges = gauges_of(model)
    path = gauges["boundary"].marks[0]["d"]
    ends = re.findall(r"([-\d.]+) ([-\d.]+)", path)
    low, high = x.min(axis=0), x.max(axis=0)
    low, high = low - 0.15 * (high - low), high + 0.15 * (high - low)
    low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)  # the room of the axes
    across = (WIDTH - RIGHT - LEFT) / (high[0] - low[0])
    up = (HEIGHT - BOTTOM - TOP) / (high[1] - low[1])
    assert len(ends) > 20
    for a, b in ends:
        u, v = low[0] + (float(a) - LEFT) / across, low[1] + (HEIGHT - BOTTOM - float(b)) / up
        assert abs(1.5 * u - 2.0 * v + 0.25) < 1.5 / across + 2.0 / up, "within a pixel"
    assert gauges["confusion"].marks[0]["t"][0] == "40 of 40 correct"


def test_targets_of_zero_and_one_are_classes_whatever_the_loss():
    model, _, y = plane(("mse", ["logits", "y"]), separate=False)
    _, gauges = gauges_of(model)
    assert list(gauges) == ["predictions", "confusion", "boundary"]
    score = model.predict(x=model.load_data()["x"])["score"]
    cells = [int(cell) for cell in gauges["confusion"].marks[0]["t"][1:]]
    assert cells == counted(y.astype(int).tolist(), (score > 0.5).astype(int).tolist(), 2)


@pytest.mark.parametrize(("op", "above"), [("hinge", 0.0), ("binary_cross_entropy", 0.5)])
def test_the_predicted_class_is_the_one_that_the_loss_means(op, above):
    model, _, _ = plane((op, ["logits", "y"]), separate=False)
    content = model.to_dict()
    if op == "hinge":
        content["data"]["d"]["values"]["y"] = [2 * each - 1 for each in content["data"]["d"]["values"]["y"]]
    _, gauges = gauges_of(ge.Model.from_dict(content))
    assert gauges["confusion"].marks[0]["t"][0] == "40 of 40 correct"


@pytest.mark.parametrize("name", ["misra1a", "linreg"])
def test_the_residuals_of_a_fit_are_what_is_missing_to_the_targets(name):
    model = ge.load(MODELS / f"{name}.json")
    film, gauges = gauges_of(model)
    data = model.load_data()
    output = next(iter(model.graph.outputs))
    residuals = gauges["residuals"]
    for number in (0, -1):
        missing = data["y"] - trained(model, film, number).predict(x=data["x"])[output]
        points = pixels(residuals.marks[number]["p"][0])
        heights = np.array([shown_height(residuals, number, y) for _, y in points])
        assert heights == pytest.approx(missing, abs=0.01 * np.abs(missing).max())
    places = np.array([x for x, _ in points])
    order = np.argsort(data["x"], kind="stable")
    assert list(places[order]) == sorted(places)


def shown_height(gauge, frame, y):
    """The number that a reader finds beside a place, by the texts of the levels of that frame."""
    heights = [float(found) for found in re.findall(r'count" x="[-\d.]+" y="([-\d.]+)"', "".join(gauge.elements))]
    return np.interp(y, sorted(height - 4 for height in heights), [float(t) for t in reversed(gauge.marks[frame]["t"])])


def test_a_curve_leaves_its_chart_where_its_numbers_do():
    model = ge.load(MODELS / "mgh09.json")
    film = film_of(model)
    fit = next(gauge for gauge in gauges_module.gauges_of(model, film) if gauge.name == "fit")
    low, high, start, stop, _ = fit.follows["y"]
    curve = trained(model, film, 0).predict(x=fit.follows["grid"])["prediction"]
    pixel = start + (curve - low) / (high - low) * (stop - start)
    drawn = [float(pair.split()[1]) for pair in fit.marks[0]["d"][1:].split("L")]
    assert min(pixel) < TOP - 50
    assert drawn == pytest.approx(list(pixel), abs=0.5)  # six digits


def test_a_zero_line_is_where_heights_are_zero():
    grid = np.linspace(-2, 2, 81)
    across, up = np.meshgrid(grid, grid)
    pieces = list(zero_lines(grid, grid, across**2 + up**2 - 1))
    assert {round(math.hypot(*point), 2) for piece in pieces for point in piece} == {1.0}
    assert sum(math.dist(*piece) for piece in pieces) == pytest.approx(2 * math.pi, rel=1e-3)
    assert list(zero_lines(grid, grid, across**2 + 1)) == []
    cross = list(zero_lines(np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([[1.0, -1.0], [-1.0, 1.0]])))
    assert len(cross) == 2


def test_hostile_names_of_classes_stay_texts(opened):
    names = [f"<img src=x onerror=alert(1)>{HOSTILE}", "b\u202ec"]
    content = document(
        {"scores": ("matmul", ["x", "w"]), "loss": ("softmax_cross_entropy", ["scores", "y"])},
        {"loss": "loss"},
        inputs={"x": ["N", 2], "y": {"shape": ["N"], "dtype": "int64", "categories": names}},
        parameters={"w": {"shape": [2, 2], "initializer": {"type": "zeros"}, "value": [[1.0, 0.0], [0.0, 1.0]]}},
        training=training(data="d"),
    )
    values = {"x": [[1.0, 0.0], [0.0, 1.0]], "y": names}
    content["data"] = {"d": {"type": "inline", "values": values}}
    html = page_of(ge.Model.from_dict(content))
    assert "\u202e" not in html
    page = opened(html)
    assert page.locator(".confusion .count").first.text_content() == "2 of 2 correct"
    assert page.locator("img").count() == 0
    assert page.locator(".confusion .y").all_text_contents()[0].startswith("<img src")


def test_the_charts_follow_the_iterations(opened):
    model = ge.load(MODELS / "softmax_iris.json")
    page = opened(page_of(model))
    title = page.locator(".confusion .count").first
    before, points = title.text_content(), page.locator(".predictions .points").first.get_attribute("d")
    page.locator("#frame").evaluate("(e) => {e.value = e.max; e.dispatchEvent(new Event('input'))}")
    until(page, lambda: title.text_content() != before)
    _, gauges = gauges_of(model)
    assert page.locator(".confusion .count").all_text_contents() == gauges["confusion"].marks[-1]["t"]
    assert page.locator(".predictions .points").first.get_attribute("d") != points
    cells = [int(text) for text in page.locator(".confusion .count").all_text_contents()[1:]]
    shades = [float(cell.get_attribute("fill-opacity")) for cell in page.locator(".confusion .cell").all()]
    assert len(cells) == 9
    assert all(shades[i] <= shades[j] for i, j in itertools.permutations(range(9), 2) if cells[i] < cells[j])


@pytest.mark.parametrize("trainable", [["mu"], ["w"], ["mu", "w"], ["b", "w"], ["b", "mu", "w"]])
def test_a_model_whose_parameters_the_data_initialize_has_a_curve_and_a_landscape(trainable):
    mean, half = {"type": "from_data", "statistic": "mean", "of": "x"}, {"type": "constant", "value": 0.5}
    parameters = {
        name: {"shape": [], "initializer": mean if name == "mu" else half, "trainable": name in trainable}
        for name in ("b", "mu", "w")
    }
    nodes = {
        "centered": ("sub", ["x", "mu"]),
        "scaled": ("mul", ["w", "centered"]),
        "y_hat": ("add", ["scaled", "b"]),
        "loss": ("mse", ["y_hat", "y"]),
    }
    content = document(
        nodes,
        {"prediction": "y_hat", "loss": "loss"},
        inputs={"x": {"shape": ["N"]}, "y": {"shape": ["N"]}},
        parameters=parameters,
        data={"train": {"type": "inline", "values": {"x": [1.0, 2.0, 6.0], "y": [1.0, 3.0, 2.0]}}},
        training=training(data="train", epochs=3),
    )
    model = ge.Model.from_dict(content)
    names = [gauge.name for gauge in gauges_module.gauges_of(model, film_of(model))]
    assert "fit" in names
    assert ("landscape" in names) == (len(trainable) < 3)
