"""Pictures: the layout by geometry, the numbers beside the links, escaping, other programs' formats, notebooks."""

import re
import sys
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest
from documents import MODELS, SHIPPED, linreg, model
from test_cli import cli

import graphengine as ge
from graphengine.draw.charts import Scale, scale
from graphengine.draw.diagrams import dot, mermaid
from graphengine.draw.drawing import graph_svg, trace_svg
from graphengine.draw.labels import TraceLabels, texts_of
from graphengine.draw.picture import LABEL, NOTE, TITLE, panels_of, shortened, text_width
from graphengine.page.pages import page_of
from graphengine.traces.traced_models import trace

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</title><script>alert(1)</script>"><img src=x onerror=alert(2)>\x1b[31m\u202e'


def layered(layers=3, width=1):
    """A model of layers as a function call leaves it: each with its nodes in a scope, named after its result."""
    nodes, value = {}, "x"
    for index in range(1, layers + 1):
        scope = f"layer{index}"
        nodes[f"{scope}/product"] = ("mul", [value, f"w{index}"])
        nodes[f"{scope}/sum"] = ("add", [f"{scope}/product", f"b{index}"])
        nodes[scope] = ("tanh", [f"{scope}/sum"])
        value = scope
    nodes |= {"error": ("sub", [value, "y"]), "loss": ("square", ["error"])}
    parameters = {f"{name}{index}": 0.5 for index in range(1, layers + 1) for name in "wb"}
    return model(nodes, {"prediction": value, "loss": "loss"}, inputs={"x": [], "y": []}, parameters=parameters)


def long_chain(count):
    nodes = {f"n{index}": ("tanh", [f"n{index - 1}" if index else "x"]) for index in range(count)}
    return model(nodes, parameters={"x": 0.5})


def rectangles(panel, labeled):
    """Everything in a panel that is read, as (what, left, top, right, bottom), from the sizes of its text."""
    for shape in panel.shapes:
        x, y = shape.place.x, shape.place.y
        yield shape.key, x, y - shape.size.height / 2, x + shape.size.width, y + shape.size.height / 2
    for wire in panel.wires:
        end, label = wire.points[-1], labeled(wire.link)
        for text, top, bottom in ((label.above, -15, -2), (label.below, 4, 17)):
            if text:
                yield text, end.x - 7 - text_width(text, LABEL), end.y + top, end.x - 7, end.y + bottom


def traced_panels(loaded, folded=True):
    inputs = None if loaded.document.data else dict.fromkeys(loaded.graph.inputs, 1.5)
    labeled = TraceLabels(trace(loaded, inputs))
    return list(panels_of(loaded.graph, texts_of(labeled), folded=folded)), labeled


CASES = [*SHIPPED, "layers", "layers, unfolded", "chain"]


def case(which):
    if which == "chain":
        return traced_panels(long_chain(200))
    if isinstance(which, str):
        return traced_panels(layered(), folded="unfolded" not in which)
    return traced_panels(ge.load(which))


@pytest.mark.parametrize("which", CASES, ids=str)
def test_no_labels_and_shapes_overlap(which):
    panels, labeled = case(which)
    for panel in panels:
        for (one, a, b, c, d), (other, e, f, g, h) in combinations(rectangles(panel, labeled), 2):
            assert c <= e or g <= a or d <= f or h <= b, (one, other)


@pytest.mark.parametrize("which", CASES, ids=str)
def test_everything_lies_inside_the_frame_and_text_inside_its_shape(which):
    panels, labeled = case(which)
    for panel in panels:
        for _, left, top, right, bottom in rectangles(panel, labeled):
            assert 0 <= left < right <= panel.width
            assert 0 <= top < bottom <= panel.height
        for shape in panel.shapes:
            if shape.kind not in ("entry", "exit"):
                widest = max(text_width(shortened(shape.title), TITLE), text_width(shortened(shape.note), NOTE))
                assert widest <= shape.size.width


@pytest.mark.parametrize("which", CASES, ids=str)
def test_wires_lead_from_left_to_right_and_miss_shapes(which):
    for panel in case(which)[0]:
        for wire in panel.wires:
            places = [wire.points[0].x, *(point.x for point in wire.points[1:])]
            assert places == sorted(places)
            for bend in wire.points[1:-1]:
                assert not any(
                    shape.place.x <= bend.x < shape.place.x + shape.size.width
                    and abs(shape.place.y - bend.y) < shape.size.height / 2
                    for shape in panel.shapes
                )


def test_the_layout_is_the_same_every_time_and_for_any_order_of_the_file():
    content = linreg(shape=(), theta=2.0)
    shuffled = content | {"nodes": content["nodes"][::-1]}
    first, second, third = (graph_svg(ge.Model.from_dict(each).graph) for each in (content, content, shuffled))
    assert first == second == third


def test_links_that_need_not_cross_do_not():
    nodes = {f"a{index}": ("neg", [f"x{5 - index}"]) for index in range(6)}
    (panel,) = panels_of(model(nodes, inputs={f"x{index}": [] for index in range(6)}).graph, lambda link: ())
    ends = sorted((wire.points[0].y, wire.points[-1].y) for wire in panel.wires if len(wire.points) == 2)
    assert [end for _, end in ends] == sorted(end for _, end in ends)


def test_the_labels_are_value_and_gradient_of_each_edge():
    traced = trace(ge.load(MODELS / "linreg_single_sample.json"), {"x": 3.0, "y": 10.0})
    labeled = TraceLabels(traced)
    (panel,) = panels_of(ge.load(MODELS / "linreg_single_sample.json").graph, texts_of(labeled))
    reported = {(wire.link.value, wire.link.target): tuple(labeled(wire.link)) for wire in panel.wires}
    assert reported == {
        ("theta", "y_hat"): ("2", "-24", False),
        ("x", "y_hat"): ("3", "", True),
        ("y", "error"): ("10", "", True),
        ("y_hat", "error"): ("6", "-8", False),
        ("error", "loss"): ("4", "8", False),
        ("y_hat", "prediction>"): ("6", "", True),
        ("loss", "loss>"): ("16", "1", False),
    }


def test_a_closed_box_gets_the_sum_of_what_its_uses_get():
    nodes = {"f/a": ("mul", ["x", 3.0]), "f/b": ("square", ["x"]), "f": ("add", ["f/a", "f/b"])}
    loaded = model(nodes, parameters={"x": 2.0})
    labeled = TraceLabels(trace(loaded))
    panels = list(panels_of(loaded.graph, texts_of(labeled)))
    (link,) = [wire.link for wire in panels[0].wires if wire.link.value == "x"]
    assert labeled(link) == ("2", "7", False)
    assert [panel.title for panel in panels] == ["test", "f"]
    assert {shape.kind for shape in panels[1].shapes} == {"node", "entry", "exit"}


def test_a_long_graph_is_folded_into_boxes_of_neighbors():
    panels = list(panels_of(long_chain(2000).graph, lambda link: ()))
    assert len(panels[0].shapes) <= 80
    assert sum(shape.kind == "node" for panel in panels for shape in panel.shapes) == 2000
    assert all(len(panel.shapes) <= 90 for panel in panels)


def test_boxes_that_read_each_other_are_drawn_all_the_same():
    nodes = {"f/a": ("neg", ["x"]), "g/a": ("neg", ["f/a"]), "f/b": ("neg", ["g/a"]), "g/b": ("neg", ["f/b"])}
    assert graph_svg(model(nodes, inputs={"x": []}).graph)


# ---------------------------------------------------------------- what is in a picture


def test_a_picture_is_well_formed_and_has_nothing_active():
    content = linreg(shape=(), theta=2.0) | {"name": HOSTILE, "description": HOSTILE}
    loaded = ge.Model.from_dict(content)
    drawn = trace_svg(loaded.graph, trace(loaded, {"x": 1.0, "y": 1.0}))
    tags = {element.tag.removeprefix(SVG) for element in ET.fromstring(drawn).iter()}
    assert tags == {"svg", "title", "style", "rect", "g", "path", "text"}
    assert not re.search(r"\son\w+=|href|url\(|\x1b|\u202e", drawn.replace("onerror=alert(2)", ""))
    assert r"\x1b[31m\u202e" in drawn


def test_mermaid_has_a_line_for_each_node_and_edge_and_no_text_that_means_something():
    drawn = mermaid(layered(1).graph)
    assert 'subgraph b1["layer1"]' in drawn
    assert '["mul<br>layer1#47;product"]' in drawn
    hostile = model({"out": ("neg", ["x"])}, {"out": "out"}, inputs={"x": ["N"]}, name='a"]; click n0 "javascript:x"')
    assert '|"(N,)"|' in mermaid(hostile.graph)
    assert "javascript" not in mermaid(hostile.graph)


def test_dot_names_its_graph_in_quotes():
    drawn = dot(model({"out": ("neg", ["x"])}, inputs={"x": ["N"]}, name='a"; b [URL="x\\').graph)
    assert drawn.startswith('digraph "a\\"; b [URL=\\"x\\\\" {')
    assert 'v0 -> n0 [label="(N,)"]' in drawn


@pytest.mark.parametrize(
    ("form", "box"), [("svg", 'class="shape box"'), ("mermaid", "subgraph"), ("dot", "subgraph cluster")]
)
def test_functions_are_boxes_unless_they_are_unfolded(form, box, tmp_path):
    layered(1).save(tmp_path / "m.json")
    assert box in cli("show", tmp_path / "m.json", "--format", form).stdout
    unfolded = cli("show", tmp_path / "m.json", "--format", form, "--unfold").stdout
    assert box not in unfolded
    assert re.search("layer1(/|#47;)product", unfolded)


@pytest.mark.parametrize("form", ["svg", "mermaid", "dot"])
def test_show_draws_a_shipped_model(form):
    begins = {"svg": "<svg ", "mermaid": "flowchart LR\n", "dot": 'digraph "linreg" {'}
    assert cli("show", "linreg", "--format", form).stdout.startswith(begins[form])


def test_a_plan_is_no_picture():
    assert "GE801" in cli("show", "linreg", "--plan", "--format", "svg", code=2).stderr


def test_trace_draws_the_picture_with_numbers():
    drawn = ET.fromstring(cli("trace", "linreg_single_sample", "--format", "svg").stdout)
    texts = {
        kind: [t.text for t in drawn.iter(f"{SVG}text") if t.get("class") == kind] for kind in ("value", "gradient")
    }
    assert texts["gradient"] == ["-24", "-8", "8", "1"]
    assert "16" in texts["value"]


# ---------------------------------------------------------------- notebooks


def test_a_notebook_shows_graph_model_run_and_history():
    loaded = ge.load(MODELS / "linreg.json")
    shown = [loaded, loaded.graph, loaded.forward(x=[1.0], y=[2.0]), loaded.train(epochs=3)]
    for thing in shown:
        ET.fromstring(thing._repr_svg_())
        html = thing._repr_html_()
        assert html.startswith("<div><div><code>&lt;")
        assert "<script" not in html


def test_a_history_without_iterations_has_no_picture():
    assert ge.History()._repr_svg_() is None
    assert ge.History()._repr_html_() is None


def test_a_graph_of_many_nodes_is_shown_in_a_notebook_and_too_large_for_a_page():
    chain = long_chain(20_001)
    assert 'class="gradient"' not in chain.forward()._repr_svg_()
    with pytest.raises(ge.errors.UsageError, match="a page shows at most 20000"):
        page_of(chain)


def test_a_run_without_a_loss_shows_its_values():
    assert "gradient" not in re.sub(
        "<style>.*</style>",
        "",
        model({"z": ("neg", ["x"])}, inputs={"x": ["N"]}).forward(x=[1.0, 2.0])._repr_svg_(),
        flags=re.S,
    )


def test_a_history_is_plotted_with_matplotlib(monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    history = ge.load(MODELS / "linreg.json").train(epochs=4)
    (drawn,) = history.plot().get_lines()
    assert list(drawn.get_xdata()) == [1, 2, 3, 4]
    assert list(drawn.get_ydata()) == history.losses
    checked = ge.load(MODELS / "linreg.json").train(epochs=4, validation={"fraction": 0.25, "every_epochs": 2})
    _, validation = checked.plot().get_lines()
    assert list(validation.get_xdata()) == [2, 4]
    assert list(validation.get_ydata()) == [check.values["validation_loss"] for check in checked.checks]
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ge.errors.UsageError, match=r"pip install 'graphengine\[plot\]'"):
        history.plot()


# ---------------------------------------------------------------- scales of charts


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0.02, 0.11, [0.02, 0.04, 0.06, 0.08, 0.1]), (-7, 3, [-6, -4, -2, 0, 2])],
)
def test_ticks_are_round_numbers(low, high, ticks):
    assert Scale(low, high, 0, 100).ticks == pytest.approx(ticks)


def test_a_scale_of_many_magnitudes_is_logarithmic():
    logarithmic = scale([1e-4, 1.0], 0, 100, logarithmic=None)
    assert logarithmic.is_logarithmic
    assert logarithmic.ticks == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert logarithmic(0.0) < 0


def test_a_scale_of_one_number_has_room():
    flat = scale([5.0, 5.0, float("nan")], 0, 100)
    assert 0 < flat(5.0) < 100


def test_a_picture_can_be_written_to_a_file(tmp_path):
    drawn = cli("show", "linreg", "--format", "svg").stdout
    cli("show", "linreg", "--format", "svg", "-o", tmp_path / "linreg.svg")
    assert (tmp_path / "linreg.svg").read_text(encoding="utf-8") == drawn
    assert "GE801" in cli("show", "linreg", "-o", tmp_path / "linreg.txt", code=2).stderr
