"""Profile intervals against brute force and closed forms, and fits from several starts."""

import numpy as np
import pytest
from documents import MODELS, parameter
from documents import model as make
from scipy import stats
from scipy.optimize import brentq, least_squares, minimize_scalar
from test_cli import cli, cli_json
from test_fits import DECAY, S, X, Y, decay_model, normal_likelihood
from test_solvers import LINE, line_with_an_unused_parameter, line_with_intercept

import graphengine as ge
from graphengine.fit.starts import numbered, starting_points
from graphengine.fit.trust_region import BoxConstraints


def test_the_intervals_of_a_line_are_those_of_students_t():
    fit = line_with_intercept().fit(LINE, residual="error", intervals=[0.68, 0.95])
    for level in (0.68, 0.95):
        quantile = stats.t.ppf((1 + level) / 2, 2)
        for name in ("a", "b"):
            best, error = fit.parameters[name], fit.standard_errors[name]
            assert fit.intervals[level][name] == pytest.approx(
                (best - quantile * error, best + quantile * error), rel=1e-7
            )


def brute_force(place, level, sigma=None):
    """The ends of an interval of the decay, by SciPy with the number held, and a search."""
    weight = 1 / S if sigma is not None else np.ones(25)

    def residuals(p):
        return weight * (Y - p[0] * np.exp(-p[1] * X) - p[2])

    def jacobian(p):
        fall = np.exp(-p[1] * X)
        return -weight[:, None] * np.stack([fall, -p[0] * X * fall, np.ones(25)], axis=1)

    tight = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-15)
    best = least_squares(residuals, [2.5, 1.3, 0.5], jacobian, **tight).x
    least = np.sum(residuals(best) ** 2)
    scale = 1.0 if sigma == "absolute" else least / 22
    quantile = stats.norm.ppf((1 + level) / 2) if sigma == "absolute" else stats.t.ppf((1 + level) / 2, 22)
    free = [each for each in range(3) if each != place]

    def rise(number):
        def held(q):
            p = np.empty(3)
            p[place], p[free] = number, q
            return p

        found = least_squares(lambda q: residuals(held(q)), best[free], lambda q: jacobian(held(q))[:, free], **tight)
        return (2 * found.cost - least) / scale - quantile**2

    error = np.sqrt(np.linalg.inv(jacobian(best).T @ jacobian(best))[place, place] * scale)
    return [brentq(rise, best[place], best[place] + sign * 6 * error, xtol=1e-12) for sign in (-1, 1)]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("sigma", "asked"), [(None, {}), ("absolute", {"sigma": "s", "absolute_sigma": True})])
def test_the_intervals_of_a_decay_are_those_of_brute_force(place, sigma, asked):
    fit = decay_model().fit(DECAY, residual="r", intervals=[0.95], **asked)
    assert fit.intervals[0.95]["abc"[place]] == pytest.approx(brute_force(place, 0.95, sigma), rel=1e-6)


def exponential_waiting():
    """-log L of waiting times with a rate: n (rate * mean - log(rate)), as a mean over the times."""
    nodes = {
        "ry": ("mul", ["rate", "y"]),
        "l": ("log", ["rate"]),
        "each": ("sub", ["ry", "l"]),
        "loss": ("mean", ["each"]),
    }
    section = {"loss": "loss", "optimizer": {"type": "newton"}}
    return make(nodes, {"loss": "loss"}, inputs={"y": ["N"]}, parameters={"rate": 1.0}, training=section)


def test_the_interval_of_a_rate_is_where_the_likelihood_ratio_is_the_quantile_of_chi_square():
    y = np.array([0.3, 2.0, 0.7, 1.1, 0.2, 3.0])
    fit = exponential_waiting().fit({"y": y}, intervals=[0.9])
    best, limit = 1 / y.mean(), stats.chi2.ppf(0.9, 1)
    assert fit.parameters["rate"] == pytest.approx(best, rel=1e-12)

    def ratio(rate):
        return 2 * 6 * (rate * y.mean() - np.log(rate) - 1 - np.log(y.mean())) - limit

    assert fit.intervals[0.9]["rate"] == pytest.approx((brentq(ratio, 0.01, best), brentq(ratio, best, 20)), rel=1e-7)


def test_an_interval_ends_at_a_bound_that_comes_first():
    content = decay_model().as_document().model_dump(mode="json", exclude_none=True, by_alias=True)
    free = decay_model().fit(DECAY, residual="r", intervals=[0.95])
    low, high = free.intervals[0.95]["c"]
    content["parameters"]["c"] |= {"bounds": [None, float(free.parameters["c"] + 0.4 * (high - free.parameters["c"]))]}
    fit = ge.Model.from_dict(content).fit(DECAY, residual="r", intervals=[0.95])
    assert fit.intervals[0.95]["c"].low == pytest.approx(low, rel=1e-7)
    assert fit.intervals[0.95]["c"].high == content["parameters"]["c"]["bounds"][1]


def test_the_interval_of_a_number_that_a_bound_holds_is_one_sided():
    content = normal_likelihood().as_document().model_dump(mode="json", exclude_none=True, by_alias=True)
    content["parameters"]["m"] |= {"bounds": [None, 2.0]}
    y = np.array([1.0, 2.5, 2.0, 4.0, 3.5])
    fit = ge.Model.from_dict(content).fit({"y": y}, intervals=[0.95])
    low, high = fit.intervals[0.95]["m"]
    assert high == 2.0

    def ratio(m):  # the best t at each m is half of the logarithm of the mean square
        return 5 * np.log(np.mean((y - m) ** 2) / np.mean((y - 2) ** 2)) - stats.chi2.ppf(0.95, 1)

    assert low == pytest.approx(brentq(ratio, -20, 2), rel=1e-7)


def test_what_the_data_do_not_determine_has_an_open_interval():
    fit = line_with_an_unused_parameter().fit(LINE, residual="error", intervals=[0.95])
    assert fit.intervals[0.95]["c[0]"] == (-np.inf, np.inf)
    quantile = stats.t.ppf(0.975, 2)
    assert fit.intervals[0.95]["a"].high == pytest.approx(
        fit.parameters["a"] + quantile * fit.standard_errors["a"], rel=1e-7
    )


def two_wells(start):
    """Half a square that has a minimum at about 1 and a lower one at about -1."""
    nodes = {"pp": ("square", ["p"]), "d": ("sub", ["pp", 1.0]), "dd": ("square", ["d"]), "t": ("mul", [0.2, "p"])}
    section = {"loss": "loss", "optimizer": {"type": "newton"}}
    return make(nodes | {"loss": ("add", ["dd", "t"])}, {"loss": "loss"}, parameters={"p": start}, training=section)


def test_a_profile_that_comes_upon_a_lower_minimum_moves_the_fit_there():
    fit = two_wells(1.1).fit({})
    assert fit.parameters["p"] > 0.9
    fit = two_wells(1.1).fit({}, intervals=[0.95])
    assert fit.parameters["p"] < -0.9
    low, high = fit.intervals[0.95]["p"]

    def ratio(p):
        least = (fit.parameters["p"] ** 2 - 1) ** 2 + 0.2 * fit.parameters["p"]
        return 2 * ((p**2 - 1) ** 2 + 0.2 * p - least) - stats.chi2.ppf(0.95, 1)

    assert (low, high) == pytest.approx((brentq(ratio, -3, -1.1), brentq(ratio, 1.1, 3)), rel=1e-6)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"intervals": [95]}, "UsageError", "between 0 and 1, not 95"),
        ({"intervals": [0.95], "robust": "huber"}, "UsageError", "a robust fit has no likelihood"),
        ({"starts": 0}, "UsageError", "at least one start"),
    ],
)
def test_what_has_no_meaning_is_refused(asked, error, message):
    with pytest.raises(getattr(ge.errors, error), match=message):
        decay_model().fit(DECAY, residual="r", **asked)


def test_data_as_many_as_parameters_have_no_intervals():
    with pytest.raises(ge.errors.UsageError, match="without degrees of freedom"):
        line_with_intercept().fit({"x": [1.0, 2.0], "y": [1.0, 3.0]}, residual="error", intervals=[0.9])


# ---------------------------------------------------------------- starts


def waves(start, low=-5.0, high=5.0):
    """sin(3 p) + p**2 / 10, with eight minima from -5 to 5."""
    nodes = {"t": ("mul", [3.0, "p"]), "s": ("sin", ["t"]), "pp": ("square", ["p"]), "q": ("mul", [0.1, "pp"])}
    section = {"loss": "loss", "optimizer": {"type": "newton"}}
    parameters = {"p": parameter(start, bounds=[low, high])}
    return make(nodes | {"loss": ("add", ["s", "q"])}, {"loss": "loss"}, parameters=parameters, training=section)


def test_several_starts_find_the_lowest_minimum_and_report_all():
    model = waves(4.0)
    fit = model.fit({}, starts=12)
    best = minimize_scalar(lambda p: np.sin(3 * p) + p**2 / 10, (-0.8, -0.5), tol=1e-12)
    assert fit.parameters["p"] == pytest.approx(best.x, rel=1e-7)
    assert model.parameters["p"] == fit.parameters["p"]
    assert len(fit.starts) == 12
    assert fit.starts[0].start["p"] == 4.0
    lowest = min(start.loss for start in fit.starts)
    assert fit.loss == lowest == fit.starts[[start.minimum for start in fit.starts].index(1)].loss
    minima = {start.minimum: start.loss for start in fit.starts if start.minimum}
    assert [minima[number] for number in sorted(minima)] == sorted(minima.values())
    assert len(minima) > 2
    again = waves(4.0).fit({}, starts=12)
    assert [start.start for start in again.starts] == [start.start for start in fit.starts]
    assert [start.start for start in waves(4.0).fit({}, starts=12, seed=1).starts][1:] != [
        start.start for start in fit.starts
    ][1:]


def test_a_start_that_is_not_finite_is_reported_and_the_others_count():
    nodes = {"l": ("log", ["p"]), "d": ("sub", ["l", 1.0]), "loss": ("square", ["d"])}
    section = {"loss": "loss", "optimizer": {"type": "newton"}}
    model = make(nodes, {"loss": "loss"}, parameters={"p": -1.0}, training=section)
    fit = model.fit({}, starts=8)
    assert fit.parameters["p"] == pytest.approx(np.e, rel=1e-9)
    lost = fit.starts[0]
    assert (lost.loss, lost.converged, lost.minimum) == (np.inf, False, 0)
    assert "no solver can start here" in lost.reason


def test_no_start_at_all_is_an_error():
    nodes = {"pp": ("square", ["p"]), "n": ("sub", [-9.0, "pp"]), "loss": ("log", ["n"])}
    section = {"loss": "loss", "optimizer": {"type": "newton"}}
    model = make(nodes, {"loss": "loss"}, parameters={"p": 1.0}, training=section)
    with pytest.raises(ge.errors.DivergenceError, match="no start of 3 has a finite loss"):
        model.fit({}, starts=3)


def test_a_latin_hypercube_has_one_point_in_each_part_of_each_range():
    box = BoxConstraints(np.array([-1.0, 1e-3, -np.inf]), np.array([3.0, 1e3, np.inf]))
    points = np.array(starting_points(np.array([0.0, 1.0, 5.0]), box, np.zeros(3), ["a", "b", "c"], 21, 0))
    np.testing.assert_array_equal(points[0], [0.0, 1.0, 5.0])
    parts = np.stack([(points[1:, 0] + 1) / 4, (np.log10(points[1:, 1]) + 3) / 6, (points[1:, 2] + 10) / 30], axis=1)
    np.testing.assert_array_equal(np.sort(np.floor(parts * 20), axis=0), np.arange(20)[:, None] * np.ones(3))
    assert starting_points(np.array([2.0]), box, np.zeros(1), ["a"], 1, 0)[0] == 2.0


def test_minima_are_numbered_from_the_best():
    points = [np.array([1.0]), np.array([2.0]), np.array([1.0 + 1e-9]), np.array([3.0])]
    assert numbered([5.0, 3.0, 5.0 + 1e-9, np.inf], points, np.zeros(1)) == [2, 1, 2, 0]


# ---------------------------------------------------------------- the command


def test_the_command_prints_intervals_and_starts():
    reported = cli_json("fit", "misra1a", "--intervals", "0.68,0.95", "--starts", "3", "--seed", "2")
    assert list(reported["intervals"]) == ["0.68", "0.95"]
    low, high = reported["intervals"]["0.95"]["b1"]
    assert low < reported["parameters"]["b1"] < high
    assert len(reported["starts"]) == 3
    assert reported["starts"][0]["start"] == {"b1": 500.0, "b2": 0.0001}
    text = cli("fit", "misra1a", "--intervals", "0.95", "--starts", "3").stdout
    assert "profile intervals, 95 %:" in text
    assert "3 starts: " in text
    assert cli_json("fit", "misra1a", "--intervals", "a lot", code=2)["errors"][0]["code"] == "GE801"


def test_the_intervals_of_a_nist_problem_are_those_of_brute_force():
    """Misra1a has two parameters: b1 is linear, so its best value for a b2 is a regression."""
    model = ge.load(MODELS / "misra1a.json")
    x, y = model.load_data()["x"], model.load_data()["y"]
    fit = model.fit(intervals=[0.95])

    def squares(b2):
        rise = 1 - np.exp(-b2 * x)
        b1 = rise @ y / (rise @ rise)
        return np.sum((y - b1 * rise) ** 2)

    least, limit = fit.residual_sum_of_squares, stats.t.ppf(0.975, 12) ** 2 * fit.residual_standard_deviation**2
    best = fit.parameters["b2"]
    ends = [brentq(lambda b: squares(b) - least - limit, best, best * (1 + 0.1 * sign), xtol=1e-16) for sign in (-1, 1)]
    assert fit.intervals[0.95]["b2"] == pytest.approx(ends, rel=1e-7)
