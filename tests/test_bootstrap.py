"""The parametric bootstrap: the same draws fitted by SciPy or in closed form, and the distributions drawn from."""

import json

import numpy as np
import pytest
from documents import model as make
from scipy import stats
from scipy.optimize import curve_fit
from test_cli import cli

import graphengine as ge
from graphengine.fit.simulation import DISTRIBUTIONS, Term, drawn
from graphengine.format.functions import shipped_functions
from graphengine.format.initializers import random_generator

PERCENTILES = [2.5, 16, 50, 84, 97.5]
SAMPLES = 12


def draws(seed):
    return [random_generator(f"bootstrap/{number}", seed) for number in range(SAMPLES)]


def assert_scatter(fit, estimates, rtol):
    """A fit has the standard deviations and percentiles of these estimates, a row each."""
    found = fit.bootstrap
    assert found.not_converged == 0
    assert list(found.percentiles) == PERCENTILES
    expected = np.percentile(estimates, PERCENTILES, axis=0)
    np.testing.assert_allclose([list(row.values()) for row in found.percentiles.values()], expected, rtol=rtol)
    np.testing.assert_allclose(list(found.standard_errors.values()), np.std(estimates, axis=0, ddof=1), rtol=rtol)


def rise(x, b1, b2):
    return b1 * (1 - np.exp(-b2 * x))


@pytest.mark.parametrize("absolute", [False, True])
def test_residuals_are_drawn_again_and_fitted_as_scipy_fits_them(absolute):
    model = ge.load("misra1a")
    data = model.load_data()
    given = {**data, "spread": 0.05 + 0.001 * data["x"]} if absolute else data
    options = {"sigma": "spread", "absolute_sigma": True} if absolute else {}
    if absolute:
        content = model.to_dict()
        content["inputs"]["spread"] = {"shape": ["N"]}
        model = ge.Model.from_dict(content)
    fit = model.fit(given, bootstrap=SAMPLES, seed=3, **options)
    best = [float(fit.parameters[name]) for name in ("b1", "b2")]
    errors = given["spread"] if absolute else np.full(14, fit.residual_standard_deviation)
    tight = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-14)
    estimates = [
        curve_fit(rise, data["x"], rise(data["x"], *best) + errors * draw.standard_normal(14), best, errors, **tight)[0]
        for draw in draws(3)
    ]
    assert_scatter(fit, estimates, 1e-6)


def test_counts_are_drawn_again_and_fitted_in_closed_form():
    model = ge.load("counting_experiment")
    fit = model.fit(bootstrap=SAMPLES, seed=1)
    counts = np.array([draw.poisson([37.0, 54.0]) for draw in draws(1)], float)
    on, off = counts.T
    is_free = on > off / 3
    signal, background = np.where(is_free, on - off / 3, 0), np.where(is_free, off / 3, (on + off) / 4)
    assert_scatter(fit, np.stack([signal, background], axis=1), 1e-7)
    np.testing.assert_array_equal(model.load_data()["counts"], [37, 54])
    assert model.fit(bootstrap=SAMPLES, seed=1).bootstrap == fit.bootstrap
    assert model.fit(bootstrap=SAMPLES, seed=2).bootstrap != fit.bootstrap


def test_operands_may_be_given_by_name():
    content = ge.load("counting_experiment").to_dict()
    (node,) = [node for node in content["nodes"] if node["op"] == "nll.poisson"]
    node["inputs"] = {"rate": "rate", "y": "counts"}
    by_name = ge.Model.from_dict(content)
    assert by_name.fit(bootstrap=4).bootstrap == ge.load("counting_experiment").fit(bootstrap=4).bootstrap


DRAWN = {
    "normal": ((1.5, 0.7), stats.norm(1.5, 0.7)),
    "student_t": ((1.5, 0.7, 9.0), stats.t(9.0, 1.5, 0.7)),
    "poisson": ((4.5,), stats.poisson(4.5)),
    "poisson_log": ((1.2,), stats.poisson(np.exp(1.2))),
    "binomial": ((9.0, 0.3), stats.binom(9, 0.3)),
    "binomial_logit": ((9.0, 0.5), stats.binom(9, 1 / (1 + np.exp(-0.5)))),
    "negative_binomial": ((3.0, 0.4), stats.nbinom(1 / 0.4, 1 / 2.2)),
}
"""For each likelihood its parameters, and the distribution by SciPy."""


def test_each_likelihood_can_be_drawn_from():
    names = {name.partition(".")[2] for name, each in shipped_functions().items() if each.domain == "nll"}
    assert names == DISTRIBUTIONS.keys() == DRAWN.keys()


@pytest.mark.parametrize("name", DRAWN)
def test_data_are_drawn_as_scipy_describes_them(name):
    """20,000 numbers: the mean lies within 7 of its standard errors, the distribution function within 0.02."""
    parameters, distribution = DRAWN[name]
    operands = ("first", *parameters[1:])
    given, draw = {"y": np.zeros(20_000)}, np.random.default_rng(5)
    found = drawn([Term("loss", name, "y", operands)], given, {"first": parameters[0]}.__getitem__, draw)["y"]
    assert found.shape == (20_000,)
    assert found.mean() == pytest.approx(distribution.mean(), abs=7 * distribution.std() / np.sqrt(20_000))
    points = distribution.ppf([0.1, 0.3, 0.5, 0.7, 0.9])
    shares = [np.mean(found <= point) for point in points]
    np.testing.assert_allclose(shares, distribution.cdf(points), atol=0.02)


def test_a_stored_fit_keeps_its_bootstrap(tmp_path):
    model = ge.load("counting_experiment")
    fit = model.fit(bootstrap=4)
    model.save(tmp_path / "fitted.json")
    kept = json.loads((tmp_path / "fitted.json").read_text())["metadata"]["fit"]["bootstrap"]
    assert kept["samples"] == 4
    assert kept["percentiles"]["50"]["signal"] == fit.bootstrap.percentiles[50]["signal"]
    assert ge.load(tmp_path / "fitted.json").last_fit.bootstrap == fit.bootstrap


def with_loss(nodes, **inputs):
    training = {"loss": "loss", "optimizer": {"type": "newton"}}
    shapes = {"y": ["N"], **inputs}
    imports = {"core": 1, "nll": 1}
    return make(nodes, {"loss": "loss"}, inputs=shapes, parameters={"a": 1.0}, training=training, opset_imports=imports)


REFUSED = {
    "no likelihood": {"d": ("sub", ["a", "y"]), "c": ("cosh", ["d"]), "loss": ("mean", ["c"])},
    "drawn from 'loss', because 'r' depends on it": {
        "r": ("mul", ["a", "y"]),
        "loss": ("nll.poisson", ["y", "r"]),
    },
    "drawn from 'loss', because 'loss' depends on it": {
        "p": ("sigmoid", ["a"]),
        "loss": ("nll.binomial", ["y", "y", "p"]),
    },
    "drawn from 'one', because 'two/": {
        "one": ("nll.poisson", ["y", "a"]),
        "two": ("nll.normal", ["y", "a", 1.0]),
        "loss": ("add", ["one", "two"]),
    },
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_loss_that_does_not_say_how_data_scatter_is_refused(reason):
    with pytest.raises(ge.errors.UsageError, match=reason):
        with_loss(REFUSED[reason]).fit({"y": [1.0, 2.0, 4.0]}, bootstrap=5)


@pytest.mark.parametrize(
    ("options", "rows", "reason"),
    [
        ({"robust": "huber"}, 14, "a robust loss does not define"),
        ({}, 2, "without degrees of freedom"),
        ({"bootstrap": 1}, 14, "takes 2 to 100000 samples, not 1"),
        ({"bootstrap": -1}, 14, "takes 2 to 100000 samples, not -1"),
    ],
)
def test_a_bootstrap_that_has_no_meaning_is_refused(options, rows, reason):
    model = ge.load("misra1a")
    data = {name: each[:rows] for name, each in model.load_data().items()}
    with pytest.raises(ge.errors.UsageError, match=reason):
        model.fit(data, **{"bootstrap": 5, **options})


def test_the_command_prints_percentiles():
    lines = cli("fit", "counting_experiment", "--bootstrap", "20", "--seed", "1").stdout.splitlines()
    (at,) = [place for place, line in enumerate(lines) if line.startswith("parametric bootstrap, 20 samples: ")]
    assert [line.split()[0] for line in lines[at + 1 :]] == ["signal", "background"]
    assert len(lines[at + 1].split()) == 7
