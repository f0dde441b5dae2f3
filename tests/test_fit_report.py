"""The report of a fit: its numbers, its charts, and texts of a file that are markup nowhere."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from documents import MODELS, parameter
from documents import model as make
from scipy import stats
from scipy.optimize import least_squares
from test_cli import cli, cli_json
from test_fits import DECAY, S, X, Y, decay_model
from test_solvers import write

import graphengine as ge
from graphengine.draw.fit_charts import fit_charts, profile_charts
from graphengine.fit.bands import BandRequest, BandSubject, compared_values
from graphengine.fit.observed import comparison
from graphengine.page import fit_report
from graphengine.page.fit_report import PROFILES, FitReport

EVIL = "</style><script>alert(1)</script>|`\x1b[31m"
SVG = "{http://www.w3.org/2000/svg}"


class Cells(HTMLParser):
    """The rows of the tables of a page, and its tags and links."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self.links, self._cell = [], set(), [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        self._cell = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif self._cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._cell = False

    def handle_data(self, data):
        if self._cell:
            self.rows[-1][-1] += data

    def row(self, name):
        return next(row for row in self.rows if row and row[0] == name)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A weighted fit in a file, with its data."""
    path = tmp_path_factory.mktemp("report") / "fitted.json"
    values = {name: each.tolist() for name, each in DECAY.items()}
    optimizer = {"type": "least_squares", "residual": "r", "sigma": "s", "absolute_sigma": True}
    model = decay_model(
        data={"measured": {"type": "inline", "values": values}},
        training={"loss": "loss", "data": "measured", "optimizer": {"type": "least_squares", "residual": "r"}},
    )
    model.fit(sigma="s", absolute_sigma=True, intervals=[0.95])
    assert optimizer.items() >= model.last_fit.settings.items()
    model.save(path)
    return path


def test_a_page_has_the_numbers_of_the_fit(fitted, tmp_path):
    fit = ge.load(fitted).last_fit
    report = cli_json("report", fitted, "-o", tmp_path / "r.html")
    assert report["files"] == [str(tmp_path / "r.html")]
    page = Cells((tmp_path / "r.html").read_text())
    assert page.row("chi-square")[1] == f"{fit.chi_square:.10g}"
    low, high = fit.intervals[0.95]["a"]
    assert page.row("a")[:4] == [
        "a",
        f"{float(fit.parameters['a']):.10g}",
        f"{float(fit.standard_errors['a']):.6g}",
        f"{low:.6g} to {high:.6g}",
    ]
    assert [row for row in page.rows if row[0] == "b"][1][1:] == [f"{each:.3f}" for each in fit.correlation[1]]
    assert page.row("data sha256")[1] == json.loads(fitted.read_text())["metadata"]["provenance"]["data_sha256"]
    assert page.links == []
    assert "svg" in page.tags


def test_a_markdown_report_has_its_charts_beside_it(fitted, tmp_path):
    report = cli_json("report", fitted, "-o", tmp_path / "my report.md")
    text = (tmp_path / "my report.md").read_text()
    links = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    profiles = [f"my%20report-profile-of-{name}.svg" for name in "abc"]
    assert links == ["my%20report-data-and-curve.svg", "my%20report-residuals.svg", *profiles]
    assert PROFILES in text
    for file in report["files"][1:3]:
        picture = ET.parse(file)
        assert len(picture.findall(f".//{SVG}circle")) == len(X)


def subject_of(model, data):
    return BandSubject(model.graph, model.values, data, model.backend)


def test_the_curve_its_band_and_the_residuals_are_those_of_the_formula():
    model = decay_model()
    fit = model.fit(DECAY, residual="r", sigma="s", absolute_sigma=True)
    pair = compared_values(fit, model.graph)
    assert pair == ("y", "p")
    found = comparison(BandRequest(fit, 0.9, "confidence"), subject_of(model, DECAY), *pair)
    a, b, c = (float(fit.parameters[name]) for name in "abc")
    np.testing.assert_allclose(found.residuals, (Y - a * np.exp(-b * X) - c) / S, rtol=1e-9, atol=1e-9)
    x = found.curve.x
    assert (found.x_name, x[0], x[-1]) == ("x", X[0], X[-1])
    np.testing.assert_allclose(found.curve.y, a * np.exp(-b * x) + c, rtol=1e-12)
    slopes = np.stack([np.exp(-b * x), -a * x * np.exp(-b * x), np.ones(len(x))], axis=1)
    width = stats.norm.ppf(0.95) * np.sqrt(np.einsum("ij,jk,ik->i", slopes, fit.covariance, slopes))
    np.testing.assert_allclose(found.curve.width, width, rtol=1e-9)
    charts = fit_charts(found, 0.9)
    picture = ET.fromstring(charts["data and curve"])
    assert [len(picture.findall(f".//{SVG}path[@class='{name}']")) for name in ("band", "bar")] == [1, len(X)]


def plane():
    """A model of two inputs, so no curve over one of them."""
    nodes = {"ax": ("mul", ["a", "x"]), "bz": ("mul", ["b", "z"]), "p": ("add", ["ax", "bz"])}
    nodes |= {"loss": ("mse", ["p", "y"])}
    training = {"loss": "loss", "optimizer": {"type": "sgd", "learning_rate": 0.1}}
    inputs = {"x": ["N"], "z": ["N"], "y": ["N"]}
    return make(nodes, {"p": "p", "loss": "loss"}, inputs=inputs, parameters={"a": 1.0, "b": 0.0}, training=training)


def test_a_model_of_several_inputs_is_shown_over_its_fitted_values(tmp_path):
    rows = [{"x": x, "z": x**2, "y": 2 * x + 0.5 * x**2 + (-1) ** i * 0.01} for i, x in enumerate(X.tolist())]
    data = tmp_path / "d.csv"
    data.write_text("x,z,y\n" + "".join(f"{row['x']},{row['z']},{row['y']}\n" for row in rows))
    plane().save(tmp_path / "m.json")
    report = cli_json("report", tmp_path / "m.json", "--data", data, "-o", tmp_path / "r.md")
    names = ("observed-over-fitted", "residuals", "profile-of-a", "profile-of-b")
    assert report["files"][1:] == [str(tmp_path / f"r-{name}.svg") for name in names]
    assert ET.parse(report["files"][1]).find(f"{SVG}title").text == "observed over fitted"


def test_a_likelihood_is_shown_where_it_is_named_what_is_compared(tmp_path):
    nodes = {"bx": ("mul", ["b", "x"]), "eta": ("add", ["a", "bx"]), "rate": ("exp", ["eta"])}
    nodes |= {"loss": ("nll.poisson_log", ["y", "eta"])}
    values = {"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 2.0, 6.0, 11.0]}
    model = make(
        nodes,
        {"rate": "rate", "loss": "loss"},
        inputs={"x": ["N"], "y": ["N"]},
        parameters={"a": 0.0, "b": 0.0},
        data={"d": {"type": "inline", "values": values}},
        training={"loss": "loss", "data": "d", "optimizer": {"type": "newton"}},
        opset_imports={"core": 1, "nll": 1},
    )
    model.save(tmp_path / "m.json")
    result = cli("report", tmp_path / "m.json", "-o", tmp_path / "r.md")
    assert "no charts" in result.stderr
    assert "| likelihood |" in (tmp_path / "r.md").read_text()
    named = ["--observed", "y", "--curve", "rate"]
    assert len(cli_json("report", tmp_path / "m.json", "-o", tmp_path / "r.md", *named)["files"]) == 5
    result = cli("report", tmp_path / "m.json", "-o", tmp_path / "r.md", *named[:2], code=2)
    assert "--observed and --curve go together" in result.stderr


def test_data_and_mean_of_a_single_likelihood_are_compared(tmp_path):
    report = cli_json("report", "peak_on_background", "--no-profiles", "-o", tmp_path / "r.md")
    assert [path.rpartition("-")[2] for path in report["files"][1:]] == ["curve.svg", "residuals.svg"]
    title = ET.parse(report["files"][1]).find(f"{SVG}title").text
    assert title == "data and curve with its 95 % confidence band"
    assert PROFILES not in (tmp_path / "r.md").read_text()


def held(place, number):
    """The least sum of squares of the decay with one parameter held, by SciPy."""

    def residuals(free):
        a, b, c = np.insert(free, place, number)
        return (Y - a * np.exp(-b * X) - c) / S

    tight = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-14)
    return 2 * least_squares(residuals, np.delete([2.5, 1.3, 0.5], place), x_scale=[1, 1], **tight).cost


def test_profiles_are_the_least_squares_with_a_number_held(fitted):
    model = ge.load(fitted)
    least = model.last_fit.residual_sum_of_squares
    for place, name in enumerate("abc"):
        points = model.profiles()[name]
        assert points[0][1] <= -2.5
        assert points[-1][1] >= 2.5
        for number, zeta in (points[0], points[3], points[-1]):
            assert np.sign(zeta) * np.sqrt(held(place, number) - least) == pytest.approx(zeta, rel=1e-6)
    assert ge.load(fitted).parameters == model.parameters


def test_a_profile_ends_at_a_bound_and_charts_it():
    model = ge.load("dose_response")
    with pytest.raises(ge.errors.UsageError, match="profiles need a fit"):
        model.profiles()
    fit = model.fit()
    points = model.profiles()["bottom"]
    assert points[0] == (0.0, 0.0)
    assert points[-1][1] >= 2.5
    charts = profile_charts(fit, model.profiles())
    picture = ET.fromstring(charts["profile of top"])
    assert len(picture.findall(f".//{SVG}path[@class='line s1']")) == 1  # the parabola of its standard error
    assert not ET.fromstring(charts["profile of bottom"]).findall(f".//{SVG}path[@class='line s1']")


def test_a_robust_fit_has_no_profiles(tmp_path):
    model = ge.load("misra1a")
    model.fit(robust="huber")
    model.save(tmp_path / "m.json")
    data = MODELS / "data" / "nist_misra1a.csv"
    result = cli("report", tmp_path / "m.json", "--data", data, "-o", tmp_path / "r.md")
    assert "no profile curves: a robust fit has no likelihood" in result.stderr


def test_a_page_without_charts_has_no_room_for_them(fitted):
    model = ge.load(fitted)
    room = '<div class="charts">'
    assert room not in FitReport(model.graph, model.last_fit, {}, {}).html()
    assert room in FitReport(model.graph, model.last_fit, {}, {"residuals": "<svg></svg>"}).html()


def test_texts_of_a_file_are_no_markup(fitted, tmp_path):
    content = json.loads(fitted.read_text())
    content |= {"description": EVIL, "name": EVIL}
    content["metadata"]["provenance"] = {EVIL: EVIL, "versions": {EVIL: [EVIL]}}
    content["metadata"]["fit"] |= {"reason": EVIL, "converged": False, "undetermined": [[[EVIL], EVIL]]}
    content["metadata"]["fit"]["settings"][EVIL] = EVIL
    content["metadata"]["fit"]["coordinates"] = [EVIL, "b", "c"]
    path = write(tmp_path / "m.json", content)
    for name in ("r.html", "r.md"):
        cli("report", path, "-o", tmp_path / name)
        text = (tmp_path / name).read_text()
        assert not re.search(r"(?<!\\)<script", text)
        assert "\x1b" not in text
    page = Cells((tmp_path / "r.html").read_text())
    assert "script" not in page.tags
    for row in (tmp_path / "r.md").read_text().splitlines():
        assert not re.search(r"(?<!\\)`", row)


def test_of_many_numbers_the_strongest_correlations_are_listed(monkeypatch):
    monkeypatch.setattr(fit_report, "MOST_IN_MATRIX", 2)
    monkeypatch.setattr(fit_report, "MOST_PAIRS", 1)
    model = decay_model()
    fit = model.fit(DECAY, residual="r")
    tables = {table.title: table for table in FitReport(model.graph, fit, {}, {}).tables()}
    (row,) = tables["Strongest correlations"].rows
    sizes = {
        (one, other): abs(fit.correlation[i, j])
        for i, one in enumerate(fit.coordinates)
        for j, other in enumerate(fit.coordinates)
        if i < j
    }
    assert tuple(row[:2]) == max(sizes, key=sizes.get)


def test_a_bound_and_what_is_open_are_named():
    nodes = {"bx": ("mul", ["b", "x"]), "p": ("add", ["a", "bx"]), "r": ("sub", ["y", "p"]), "z": ("mul", ["c", "x"])}
    parameters = {"a": parameter(0.0, bounds=[None, -1.0]), "b": parameter(1.0), "c": parameter(1.0)}
    parameters["a"]["value"] = -2.0
    model = make(nodes, {"p": "p", "z": "z"}, inputs={"x": ["N"], "y": ["N"]}, parameters=parameters)
    fit = model.fit({"x": X, "y": X + 1.0}, residual="r")
    text = FitReport(model.graph, fit, {}, {}).markdown({})
    assert "at its upper bound" in text
    assert "## Undetermined" in text


@pytest.mark.parametrize("name", ["r.pdf", "r"])
def test_a_report_of_another_kind_is_refused(name, fitted, tmp_path):
    assert "a report is a file .html or .md" in cli("report", fitted, "-o", tmp_path / name, code=2).stderr
