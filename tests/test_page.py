"""The page in a real browser, and what it is made of."""

import itertools
import json
import re
import sys
from pathlib import Path

import pytest
from browsing import until
from documents import MODELS, SHIPPED, document, linreg, model, training, write
from test_cli import cli, cli_json
from test_pictures import HOSTILE, layered

import graphengine as ge
from graphengine.draw.drawing import trace_svg
from graphengine.page.film import chosen_iterations
from graphengine.page.fit_report import FitReport
from graphengine.page.pages import MODULES, page_of
from graphengine.traces.traced_models import trace

SINGLE = MODELS / "linreg_single_sample.json"


@pytest.fixture(scope="module")
def single():
    return page_of(ge.load(SINGLE))


def said(page):
    return page.locator("#say p").all_inner_texts()


def labels(page):
    return page.locator(".value").all_text_contents(), page.locator(".gradient").all_text_contents()


def number_of(page):
    return page.locator("#count").inner_text()


def set_slider(page, name, number):
    page.locator(name).evaluate("(e, n) => {e.value = n; e.dispatchEvent(new Event('input'))}", number)


# ---------------------------------------------------------------- what it shows


def test_the_page_begins_at_the_first_forward_step(opened, single):
    page = opened(single)
    assert said(page) == ["y_hat = theta * x = 2 * 3 = 6"]
    assert page.locator("#phase").inner_text() == "forward"
    values, gradients = labels(page)
    assert sorted(text for text in values if text) == ["10", "2", "3", "6", "6"]
    assert not any(gradients)


def test_the_last_step_shows_the_first_iteration_complete(opened, single):
    page = opened(single)
    page.keyboard.press("End")
    values, gradients = labels(page)
    assert [text for text in gradients if text] == ["-24", "-8", "8", "1"]
    assert {"2", "3", "10", "6", "4", "16"} == set(values)
    assert said(page)[0].startswith("theta rises from 2 to 2.24: y_hat (6) is below y (10)")
    assert page.locator("#phase").inner_text() == "update"


def test_the_step_slider_walks_forward_backward_and_update(opened, single):
    page = opened(single)
    phases, seen = [], []
    for number in range(7):
        set_slider(page, "#step", number)
        phases.append(page.locator("#phase").inner_text())
        seen.append(said(page)[0])
        assert page.locator(".shape.active").count() == 1
    assert phases == ["forward"] * 3 + ["backward"] * 3 + ["update"]
    assert seen[:3] == [
        "y_hat = theta * x = 2 * 3 = 6",
        "error = y - y_hat = 10 - 6 = 4",
        "loss = error * error = 4 * 4 = 16",
    ]
    set_slider(page, "#step", 4)
    assert said(page)[-1] == "d_error/d_y_hat = -1  →  8 * (-1) = -8"
    assert [text for text in labels(page)[1] if text] == ["-8", "8", "1"]


def test_the_iteration_slider_changes_values_picture_and_charts(opened, single):
    page = opened(single)
    before = (
        labels(page),
        page.locator(".fit .drawn").get_attribute("d"),
        page.locator(".loss .mark").get_attribute("transform"),
    )
    set_slider(page, "#frame", 1)
    after = (
        labels(page),
        page.locator(".fit .drawn").get_attribute("d"),
        page.locator(".loss .mark").get_attribute("transform"),
    )
    assert page.locator("#count").inner_text() == "iteration 2 of 300"
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_the_charts_are_loss_parameters_fit_and_landscape(opened, single):
    page = opened(single)
    names = ["loss", "parameters", "fit", "landscape"]
    assert [page.locator(f".gauge.{name}").count() for name in names] == [1, 1, 1, 1]
    assert page.locator(".fit .dot").count() == 6


def test_the_loss_chart_has_the_losses_of_epochs_and_of_the_validation_data():
    content = json.loads(SINGLE.read_bytes())
    content["training"] |= {"validation": {"fraction": 0.34, "every_epochs": 2}, "epochs": 10}
    history = ge.Model.from_dict(content).train()
    drawn = history._repr_svg_()
    assert re.findall(r'class="tick key s\d" [^>]*>(\w+)<', drawn) == ["iteration", "epoch", "validation"]
    assert drawn.count('class="line ') == 3


def test_two_parameters_have_a_landscape_of_shades(opened):
    page = opened(page_of(ge.load(MODELS / "misra1a.json")))
    assert page.locator(".landscape .shade").count() == 9
    assert page.locator(".landscape .way").get_attribute("d").count("L") >= 3


def test_a_training_that_diverges_is_shown_as_far_as_it_comes(opened):
    content = linreg(theta=1.0, training=training(learning_rate=1e200, epochs=5, data="d"))
    content["data"] = {"d": {"type": "inline", "values": {"x": [1e3, 2e3], "y": [1.0, 2.0]}}}
    page = opened(page_of(ge.Model.from_dict(content)))
    assert "training diverged at iteration" in page.locator("#end").inner_text()


def test_given_inputs_are_shown_without_a_training(opened):
    page = opened(page_of(ge.load(SINGLE), {"x": -3.0, "y": 1.0}))
    assert "d_y_hat/d_theta = x = -3  →  -14 * (-3) = 42" in page.evaluate("film.textContent")
    assert not page.locator("#iterations").is_visible()
    assert page.locator(".gauge").count() == 0


CHAIN = document(
    {"sum": ("add", ["a", "b"]), "product": ("mul", ["sum", "a"])},
    {"result": "product"},
    parameters={"a": 3.0, "b": 4.0},
)


def test_the_sum_of_the_gradients_of_a_value_used_twice_is_a_step_of_its_own(opened):
    page = opened(page_of(ge.Model.from_dict(CHAIN)))
    page.keyboard.press("End")
    assert said(page) == ["d_product/d_a = 7 (from product) + 3 (from sum) = 10"]
    assert page.locator(".shape.active").get_attribute("data-key") == "a"
    page.locator(".shape.parameter").first.click()
    assert "7 (from product) + 3 (from sum) = 10" in page.locator("#details").inner_text()


def test_a_long_update_rule_is_folded_and_stays_as_it_was_left(opened):
    content = json.loads(SINGLE.read_bytes())
    content["training"]["optimizer"] = {"type": "adam", "learning_rate": 0.01}
    page = opened(page_of(ge.Model.from_dict(content)))
    page.keyboard.press("End")
    assert said(page)[0].startswith("theta rises from 2 to 2.01: y_hat (6) is below y (10)")
    summary = page.locator("#say summary")
    assert summary.inner_text() == f"{page.locator('#say details p').count()} lines of the update rule"
    assert not page.locator("#say details p").first.is_visible()
    summary.click()
    assert page.locator("#say details p").last.is_visible()
    page.keyboard.press("ArrowDown")
    until(page, lambda: page.locator("#say details p").last.is_visible())


# ---------------------------------------------------------------- how it is used


@pytest.mark.parametrize("width", [500, 700])
def test_the_picture_glides_to_the_step_at_work(opened, width):
    nodes = {f"n{index}": ("neg", [f"n{index - 1}" if index else "x"]) for index in range(30)}
    page = opened(page_of(model(nodes, inputs={"x": []}), {"x": 1.0}), width=width)
    page.evaluate(
        """() => {
          window.seen = new Set();
          const look = () => {
            seen.add(document.querySelector('#view').getAttribute('transform'));
            requestAnimationFrame(look);
          };
          look();
        }"""
    )
    set_slider(page, "#step", 29)
    inside = """() => {
      const box = (selector) => document.querySelector(selector).getBoundingClientRect();
      const [item, frame] = [box('.shape.active'), box('#picture')];
      const isAcross = item.left >= frame.left && item.right <= frame.right;
      return isAcross && item.top >= frame.top && item.bottom <= frame.bottom;
    }"""
    until(page, lambda: page.evaluate(inside))
    assert page.evaluate("seen.size") >= 4


def test_play_walks_through_steps_and_iterations(opened, single):
    page = opened(single)
    page.locator("#run").click()
    until(page, lambda: number_of(page) not in ("iteration 1 of 300", "iteration 2 of 300"))
    page.locator("#run").click()
    page.locator("#play").click()
    before = page.locator("#step").input_value()
    until(page, lambda: page.locator("#step").input_value() != before)
    assert page.locator("#play").inner_text() == "⏸"
    page.locator("#play").click()
    assert page.locator("#play").inner_text() == "▶"


def test_the_keyboard_does_it_all(opened, single):
    page = opened(single)
    page.keyboard.press("Home")
    assert said(page) == ["y_hat = theta * x = 2 * 3 = 6"]
    page.keyboard.press("ArrowRight")
    assert said(page) == ["error = y - y_hat = 10 - 6 = 4"]
    page.keyboard.press("ArrowDown")
    assert page.locator("#count").inner_text() == "iteration 2 of 300"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#count").inner_text() == "iteration 1 of 300"
    page.keyboard.press("p")
    until(page, lambda: number_of(page) != "iteration 1 of 300")
    page.keyboard.press("p")
    page.keyboard.press(" ")
    assert page.locator("#play").inner_text() == "⏸"
    page.keyboard.press(" ")
    theme = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("t")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != theme
    while page.evaluate("document.activeElement.dataset.key") != "error":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#details h2").inner_text() == "error"
    page.keyboard.press("Escape")
    assert not page.locator("#details").is_visible()
    assert page.evaluate("document.activeElement.dataset.key") == "error"


def test_the_picture_is_moved_by_dragging_and_zoomed_by_keys_and_wheel(opened, single):
    page = opened(single)
    place = "(() => { const m = document.querySelector('#view').getCTM(); return [m.a, m.e, m.f]; })()"
    scale, x, y = page.evaluate(place)
    box = page.locator("#picture").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 50, box["y"] + 60)
    page.mouse.up()
    assert page.evaluate(place) == pytest.approx([scale, x + 30, y + 40])
    node = page.locator(".shape.node").nth(1).bounding_box()
    page.mouse.move(node["x"] + 9, node["y"] + 9)
    page.mouse.down()
    page.mouse.move(node["x"] - 21, node["y"] - 31)
    page.mouse.up()
    assert not page.locator("#details").is_visible()
    page.keyboard.press("+")
    assert page.evaluate(place)[0] == pytest.approx(1.25 * scale)
    page.keyboard.down("Control")
    page.mouse.wheel(0, 300)
    page.keyboard.up("Control")
    until(page, lambda: page.evaluate(place)[0] < scale)
    page.locator("#fit").click()
    assert page.evaluate(place) == pytest.approx([scale, x, y])


def test_details_of_a_node_are_its_steps_its_json_and_its_place(opened, single):
    page = opened(single)
    page.locator(".shape.node").nth(1).click()
    reported = page.locator("#details").inner_text()
    assert "linreg_single_sample.json:18:5 (/nodes/1)" in reported
    assert '{"id": "error", "op": "sub", "inputs": ["y", "y_hat"]}' in reported
    assert "error = y - y_hat = 10 - 6 = 4" in reported
    page.locator(".shape.parameter").click()
    assert "(/parameters/theta)" in page.locator("#details").inner_text()


def test_functions_open_and_close(opened):
    page = opened(page_of(layered(), {"x": 1.0, "y": 2.0}))
    node = page.get_by_role("button", name="node layer2/product")
    assert node.count() == 0
    page.get_by_role("button", name="box layer2").click()
    assert node.is_visible()
    page.get_by_role("button", name="box layer2").click()
    assert not node.is_visible()
    page.locator("#fold").click()
    assert page.locator(".shape.node:visible").count() == 11
    overlaps = """() => {
      const boxes = [...document.querySelectorAll('.panel:not(.closed) .shape:not(.point):not(.open) > rect')]
        .map((rect) => rect.getBoundingClientRect());
      return boxes.filter((a, i) => boxes.some((b, j) => i < j && a.left < b.right - 1 && b.left < a.right - 1
        && a.top < b.bottom - 1 && b.top < a.bottom - 1)).length;
    }"""
    assert page.evaluate(overlaps) == 0


def test_an_open_box_shows_which_step_is_at_work(opened):
    page = opened(page_of(layered(), {"x": 1.0, "y": 2.0}))
    page.keyboard.press("Home")
    assert page.locator(".shape.active").get_attribute("data-key") == "layer1"
    page.keyboard.press("f")
    assert page.locator(".shape.active").get_attribute("data-key") == "layer1/product"


def test_a_graph_of_2000_nodes_is_folded_and_takes_less_than_two_seconds_of_computing(opened):
    nodes = {}
    for index in range(1000):
        nodes[f"p{index}"] = ("mul", [f"t{index - 1}" if index else "x", f"w{index}"])
        nodes[f"t{index}"] = ("tanh", [f"p{index}"])
    deep = model(nodes, inputs={"x": []}, parameters={f"w{index}": 1.5 for index in range(1000)})
    html = page_of(deep, {"x": 1.0})
    page = opened("<p>nothing yet</p>")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    (Path(page.url.removeprefix("file://"))).write_text(html, encoding="utf-8")
    page.reload()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("0")
    page.locator(".shape.box").first.press("Enter")
    assert page.locator(".shape.node:visible").count() == 40
    metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    assert metrics["TaskDuration"] < 2


@pytest.mark.parametrize("width", [360, 599])
def test_a_phone_stacks_the_parts_from_top_to_bottom(opened, single, width):
    page = opened(single, width=width, height=740)
    page.locator(".shape.node").first.click()
    parts = ["header", "#graph", "#player", "#live", "#details", "#gauges", "footer"]
    boxes = [page.locator(part).bounding_box() for part in parts]
    assert all(below["y"] >= above["y"] + above["height"] for above, below in itertools.pairwise(boxes))
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    tops = [page.locator(".gauge").nth(number).bounding_box()["y"] for number in range(4)]
    assert tops == sorted(set(tops))


def test_a_narrow_screen_lays_the_graph_out_from_top_to_bottom(opened, single):
    page = opened(single, width=375, height=812)

    def middles():
        picture = page.locator("#picture").bounding_box()
        boxes = [
            page.locator(f"[data-key='{key}']").bounding_box() for key in ("theta", "y_hat", "error", "loss", "loss>")
        ]
        assert all(
            picture["x"] <= box["x"] and box["x"] + box["width"] <= picture["x"] + picture["width"] for box in boxes
        )
        assert all(picture["y"] <= box["y"] <= picture["y"] + picture["height"] - box["height"] for box in boxes)
        return [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]

    assert all(below[1] > above[1] + 40 for above, below in itertools.pairwise(middles()))
    page.set_viewport_size({"width": 1280, "height": 900})
    until(page, lambda: all(right[0] > left[0] + 40 for left, right in itertools.pairwise(middles())))
    page.set_viewport_size({"width": 375, "height": 812})
    until(page, lambda: all(below[1] > above[1] + 40 for above, below in itertools.pairwise(middles())))


@pytest.mark.parametrize("name", ["linreg_single_sample", "dose_response", "peak_on_background"])
def test_no_text_meets_another_on_a_narrow_screen(opened, name):
    page = opened(page_of(ge.load(MODELS / f"{name}.json")), width=375, height=812)
    page.keyboard.press("End")
    assert page.evaluate(MEETING, "#picture text") == []
    if page.locator("#fold").is_visible():
        page.keyboard.press("f")
        assert page.locator(".shape.open").count() > 0
        assert page.evaluate(MEETING, "#picture text") == []


def test_a_report_of_a_fit_is_as_wide_as_a_phone(opened):
    model = ge.load("misra1a")
    report = FitReport(model.graph, model.fit(), {"data_sha256": 64 * "f"}, {})
    assert opened(report.html(), width=375).evaluate("document.documentElement.scrollWidth") == 375


def test_a_phone_shows_all_of_it_in_its_width(opened, single):
    page = opened(single, width=360, height=740)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    sizes = page.evaluate(
        "[...document.querySelectorAll('button')].filter(b => b.offsetParent).map(b => b.offsetHeight)"
    )
    assert min(sizes) >= 30
    assert 12 * page.evaluate("document.querySelector('#view').getCTM().a") >= 9


# ---------------------------------------------------------------- safety and readability


def test_a_hostile_model_stays_inert(opened):
    content = linreg(shape=(), theta=2.0, training=training(data="d", batch_size=1, epochs=2))
    content |= {"name": HOSTILE, "description": f"{HOSTILE}]]></svg></script><script>alert(3)</script>$script"}
    content["inputs"]["x"]["description"] = HOSTILE
    content["data"] = {"d": {"type": "inline", "values": {"x": [3.0], "y": [10.0]}}}
    page = opened(page_of(ge.Model.from_dict(content)))
    assert page.locator("h1").inner_text().startswith("</title><script>alert(1)</script>")
    page.locator(".shape.input").first.click()
    assert page.locator("#about").inner_text().startswith("</title><script>")
    assert page.locator("img, iframe, object, embed, a, form").count() == 0
    assert page.locator("script").count() == 2
    assert page.title().startswith("</title>")


def test_nothing_of_a_model_turns_the_direction_of_writing_on_the_page():
    turned = "a\u202eb\u2066c\x9bd\x07"
    content = linreg(shape=(), theta=2.0)
    content |= {"name": turned, "description": turned}
    for declared in (*content["inputs"].values(), *content["parameters"].values(), *content["nodes"]):
        declared["description"] = turned
    page = page_of(ge.Model.from_dict(content), {"x": 3.0, "y": 10.0})
    assert "a\\u202eb" in page
    assert not {letter for letter in turned if not letter.isprintable()} & set(page)


def test_the_policy_lets_no_other_script_run(browser, single, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(single.replace("</main>", "</main><script>document.title = 'changed'</script>"), encoding="utf-8")
    page = browser.new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(file.as_uri())
    assert page.title() == "linreg_single_sample"
    assert "Content Security Policy" in refused[0]
    page.close()


CONTRAST = """() => {
  const channel = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = (color) => {
    canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data;
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  };
  const behind = (element) => {
    const own = element.closest('.shape')?.querySelector('rect');
    if (own) return getComputedStyle(own).fill;
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$|transparent/.test(color)) return color;
    }
  };
  const found = {};
  const texts = 'h1,p,b,span,label,button,input:not([type=range]),textarea,dt,dd,pre,summary,svg text';
  for (const element of document.querySelectorAll(texts)) {
    if (!(element.value ?? element.textContent).trim() || !element.getClientRects().length) continue;
    const color = element instanceof SVGElement ? getComputedStyle(element).fill : getComputedStyle(element).color;
    const [a, b] = [light(color), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const name = `${element.tagName} ${element.getAttribute('class')} ${element.textContent.slice(0, 20)}`;
    if (ratio < 4.5) found[name] = ratio;
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_edited_numbers_and_charts_of_classes_have_readable_contrast(opened, scheme):
    page = opened(page_of(ge.load(MODELS / "softmax_iris.json")), scheme=scheme)
    page.get_by_label("b", exact=True).fill("[1, 2, 3]")
    page.get_by_label("W", exact=True).fill("oops")
    until(page, lambda: page.locator("#fault").inner_text())
    assert page.locator("#recorded").is_visible()
    assert page.evaluate(CONTRAST) == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_readable_contrast(opened, single, scheme):
    page = opened(single, scheme=scheme)
    page.locator(".shape.node").first.click()
    for step in (0, 4, 6):
        set_slider(page, "#step", step)
        assert page.evaluate(CONTRAST) == {}


MEETING = """(selector) => {
  const inside = (a, b) => a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
  const box = (element) => element.getBoundingClientRect();
  const shown = (text) => text.textContent && box(text).width && !text.closest('.shape.open');
  const texts = [...document.querySelectorAll(selector)].filter(shown).map((text) => [text, box(text)]);
  const apart = (a, b) => a.right <= b.left || a.bottom - 2 <= b.top + 2;
  const meets = (a, b) => !apart(a, b) && !apart(b, a);
  const found = [];
  texts.forEach(([one, a], index) => texts.slice(index + 1).forEach(([other, b]) => {
    if (meets(a, b)) found.push([one.textContent, other.textContent]);
  }));
  for (const [text, a] of texts) {
    const shape = text.closest('.shape')?.querySelector('rect');
    if (shape && !text.closest('.literal') && !inside(a, box(shape))) found.push([text.textContent, 'its shape']);
  }
  return found;
}"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_no_text_of_a_shipped_model_meets_another_or_leaves_its_shape_in_a_real_font(opened, path):
    loaded = ge.load(path)
    page = opened(f"<!doctype html><body>{trace_svg(loaded.graph, trace(loaded))}")
    assert page.evaluate(MEETING, "text") == []


# ---------------------------------------------------------------- without a browser


SMALL = ["linreg", "linreg_single_sample", "misra1a", "noint1", "logistic_iris", "softmax_iris"]


@pytest.mark.parametrize("name", SMALL)
def test_a_page_of_a_small_model_has_less_than_300_kb(name):
    assert len(page_of(ge.load(MODELS / f"{name}.json")).encode()) < 300_000


def test_a_page_asks_for_nothing():
    page = page_of(ge.load(SINGLE))
    assert set(re.findall(r"https?://[^\"'\s<)]+", page)) <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'; script-src 'sha256-" in page


def test_the_modules_of_the_script_import_what_those_before_them_export():
    exported = {}
    for name in MODULES:
        text = (Path(sys.modules[page_of.__module__].__file__).parent / "assets" / f"{name}.js").read_text(
            encoding="utf-8"
        )
        for names, source in re.findall(r'^import \{ (.+) \} from "\./(\w+)\.js";$', text, re.MULTILINE):
            assert set(names.split(", ")) <= exported[source], name
        exported[name] = set(re.findall(r"^export (?:function|const) (?:\{ )?(\w+)", text, re.MULTILINE))


def test_chosen_iterations_begin_dense_and_have_both_ends():
    assert chosen_iterations(5, 10) == {1, 2, 3, 4, 5}
    assert chosen_iterations(1000, 1) == {1}
    many = sorted(chosen_iterations(10_000, 100))
    assert (many[0], many[-1]) == (1, 10_000)
    assert many[1] - many[0] < many[-1] - many[-2]


def test_the_command_writes_a_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "page written to linreg.html" in cli("view", "linreg").stderr
    reported = cli_json("view", SINGLE, "-o", "other.html", "--input", "x=3", "--input", "y=10")
    assert reported["bytes"] == len((tmp_path / "other.html").read_bytes())
    assert (tmp_path / "linreg.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_command_opens_the_page(tmp_path, monkeypatch):
    launched = []
    monkeypatch.setattr("typer.launch", launched.append)
    cli("view", write(tmp_path / "m.json", document({"z": ("neg", ["x"])}, parameters={"x": 1.0})), "--open")
    assert launched[0].startswith("file://")
    assert launched[0].endswith("/m.html")


def test_a_fitted_model_shows_its_stored_fit(tmp_path):
    model = ge.load(MODELS / "misra1a.json")
    assert 'id="fitted"' not in page_of(model)
    fit = model.fit(intervals=[0.95])
    model.save(tmp_path / "fitted.json")
    content = (tmp_path / "fitted.json").read_bytes()
    shown = ge.Model.from_dict(json.loads(content), tmp_path / "fitted.json")
    _, _, section = page_of(shown).partition('<section id="fitted"')
    section = section.partition("</section>")[0]
    low, high = fit.intervals[0.95]["b1"]
    row = ["b1", f"{float(fit.parameters['b1']):.10g}", f"{float(fit.standard_errors['b1']):.6g}"]
    assert "".join(f"<td>{each}</td>" for each in [*row, f"{low:.6g} to {high:.6g}"]) in section
    broken = json.loads(content)
    broken["metadata"]["fit"]["parameters"] = {"<b>": 1}
    page = page_of(ge.Model.from_dict(broken, tmp_path / "fitted.json"))
    assert (
        "metadata.fit is not the result of a fit of this model: parameters are those of [&#x27;&lt;b&gt;&#x27;]" in page
    )
