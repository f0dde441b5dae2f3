"""The shipped likelihoods and line shapes: against SciPy's distributions, integrals and limits."""

import numpy as np
import pytest
from documents import document
from scipy import integrate, special, stats

import graphengine as ge
from graphengine.format.functions import shipped_functions

RANDOM = np.random.default_rng(2)
Y = RANDOM.normal(size=5)
COUNTS = np.array([0.0, 1.0, 4.0, 30.0, 2.0])
TRIALS = np.array([3.0, 1.0, 9.0, 40.0, 2.0])
RATES = np.array([0.5, 1.5, 3.0, 28.0, 2.5])
LOGITS = np.array([-0.4, 2.0, 0.3, -1.0, 0.9])
FACTORIALS = special.gammaln(COUNTS + 1)
CHOICES = -np.log(special.comb(TRIALS, COUNTS))

LIKELIHOODS = {
    "normal": ((Y, 0.3 * Y, np.array(0.7)), lambda y, m, s: stats.norm.logpdf(y, m, s), np.log(2 * np.pi) / 2),
    "poisson": ((COUNTS, RATES), stats.poisson.logpmf, FACTORIALS),
    "poisson_log": ((COUNTS, np.log(RATES)), lambda y, r: stats.poisson.logpmf(y, np.exp(r)), FACTORIALS),
    "binomial": (
        (COUNTS, TRIALS, special.expit(LOGITS)),
        lambda y, n, p: stats.binom.logpmf(y, n, p),
        CHOICES,
    ),
    "binomial_logit": (
        (COUNTS, TRIALS, LOGITS),
        lambda y, n, logit: stats.binom.logpmf(y, n, special.expit(logit)),
        CHOICES,
    ),
    "student_t": (
        (Y, 0.3 * Y, np.array(0.7), np.array(3.5)),
        lambda y, m, s, df: stats.t.logpdf(y, df, m, s),
        np.log(np.pi) / 2,
    ),
    "negative_binomial": (
        (COUNTS, RATES, np.array(0.4)),
        lambda y, m, a: stats.nbinom.logpmf(y, 1 / a, 1 / (1 + a * m)),
        FACTORIALS,
    ),
}
"""For each: inputs, the logarithm of the density by SciPy, and the constants in each term."""
SHAPES = {
    "gaussian": ((2.0, 0.3, 0.7), lambda x, a, c, s: a * stats.norm.pdf(x, c, s)),
    "lorentzian": ((2.0, 0.3, 0.7), lambda x, a, c, s: a * stats.cauchy.pdf(x, c, s)),
    "voigt": ((2.0, 0.3, 0.7, 0.4), lambda x, a, c, s, g: a * special.voigt_profile(x - c, s, g)),
    "pseudo_voigt": (
        (2.0, 0.3, 0.7, 0.25),
        lambda x, a, c, s, f: (
            a * ((1 - f) * stats.norm.pdf(x, c, s / np.sqrt(2 * np.log(2))) + f * stats.cauchy.pdf(x, c, s))
        ),
    ),
    "exgaussian": ((2.0, 0.3, 0.7, 1.3), lambda x, a, c, s, r: a * stats.exponnorm.pdf(x, 1 / (s * r), c, s)),
    "step": ((2.0, 0.3, 0.7), lambda x, a, c, s: a * stats.norm.cdf(x, c, s)),
    "logistic": ((2.0, 0.3, 0.7), lambda x, a, c, s: a * stats.logistic.cdf(x, c, s)),
    "dose_response": ((0.2, 2.0, 0.8, 1.7), lambda x, b, t, e, h: b + (t - b) / (1 + (e / x) ** h)),
    "exponential": ((2.0, 0.7), lambda x, a, d: a * np.exp(-x / d)),
    "power_law": ((2.0, -1.3), lambda x, a, e: a * x**e),
}
"""For each: parameters, and the line by other means."""
FROM_ZERO = ("dose_response", "power_law")
LINES = ("gaussian", "lorentzian", "voigt", "pseudo_voigt", "exgaussian")


def test_every_likelihood_and_shape_has_a_row():
    rows = {f"nll.{name}" for name in LIKELIHOODS} | {f"shape.{name}" for name in SHAPES}
    assert rows == {name for name, each in shipped_functions().items() if each.domain in ("nll", "shape")}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_likelihood_is_minus_the_logarithm_of_scipys_density(name):
    inputs, logarithm, constants = LIKELIHOODS[name]
    total, each = getattr(ge.nll, name)(*inputs)
    np.testing.assert_allclose(each, -logarithm(*inputs), rtol=1e-11, atol=1e-13)
    assert total == pytest.approx(each.sum(), rel=1e-14)
    _, kernel = getattr(ge.nll, name)(*inputs, constants=0)
    np.testing.assert_allclose(each - kernel, np.broadcast_to(constants, each.shape), rtol=1e-11, atol=1e-12)


def called(name, inputs):
    """A model of the sum of what a function gives, with all its inputs as inputs."""
    domain = name.partition(".")[0]
    names = list(shipped_functions()[name].document.inputs)
    nodes = {"z": (name, names), "loss": ("sum", ["z"])}
    shapes = {key: list(np.shape(value)) for key, value in zip(names, inputs, strict=True)}
    content = document(nodes, {"loss": "loss"}, inputs=shapes)
    return ge.Model.from_dict({**content, "opset_imports": {"core": 1, domain: 1}}), names


@pytest.mark.parametrize("name", [*(f"nll.{each}" for each in LIKELIHOODS), *(f"shape.{each}" for each in SHAPES)])
def test_the_gradient_toward_every_parameter_is_the_slope(name):
    inputs = LIKELIHOODS[name[4:]][0] if name.startswith("nll.") else (np.abs(Y) + 0.1, *SHAPES[name[6:]][0])
    model, names = called(name, inputs)
    given = dict(zip(names, map(np.asarray, inputs), strict=True))
    gradients = model.forward(given).backward(of="loss", wrt=names[1:])
    for key in names[1:]:
        step = 1e-6 * (1 + np.abs(given[key]))
        above, below = (model.forward({**given, key: given[key] + sign * step})["loss"] for sign in (1, -1))
        assert np.sum(gradients[key] * step) == pytest.approx((above - below) / 2, rel=1e-6, abs=1e-12)


def test_likelihoods_at_the_ends_of_their_range():
    assert ge.nll.poisson(0.0, 0.0)[0] == 0.0
    assert ge.nll.binomial([0.0, 2.0], 2.0, [0.0, 1.0])[0] == pytest.approx(0.0, abs=1e-14)
    far = ge.nll.binomial_logit([0.0, 1.0], 1.0, [-800.0, 800.0])[1]
    np.testing.assert_array_equal(far, [0.0, 0.0])
    y, mean = np.array([0.0, 3.0, 12.0]), np.array([2.0, 3.0, 8.0])
    almost = ge.nll.negative_binomial(y, mean, 1e-9)[1]
    np.testing.assert_allclose(almost, -stats.poisson.logpmf(y, mean), rtol=1e-6)
    wide = ge.nll.student_t(y, mean, 1.0, 1e7)[1]
    np.testing.assert_allclose(wide, -stats.norm.logpdf(y, mean), rtol=1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_that_of_scipy(name):
    parameters, function = SHAPES[name]
    x = np.linspace(0.05, 6, 50) if name in FROM_ZERO else np.linspace(-6, 6, 50)
    np.testing.assert_allclose(
        getattr(ge.shape, name)(x, *parameters), function(x, *parameters), rtol=1e-10, atol=1e-13
    )


@pytest.mark.parametrize("name", LINES)
def test_the_amplitude_of_a_line_is_its_area(name):
    parameters, _ = SHAPES[name]
    shape = getattr(ge.shape, name)

    def at(angle):  # x = tan(angle) covers the whole axis
        return float(shape(np.tan(angle), *parameters)) / np.cos(angle) ** 2

    area, _ = integrate.quad(at, -np.pi / 2 + 1e-9, np.pi / 2 - 1e-9, limit=200, epsabs=1e-9)
    assert area == pytest.approx(2.0, rel=1e-6)


def test_shapes_far_from_their_center_stay_finite():
    x = np.array([-1e3, 1e3])
    np.testing.assert_allclose(ge.shape.exgaussian(x, 1.0, 0.0, 0.5, 2.0), [0.0, 0.0], atol=1e-300)
    np.testing.assert_array_equal(ge.shape.logistic(x, 1.0, 0.0, 0.1), [0.0, 1.0])
    np.testing.assert_allclose(ge.shape.voigt(x, 1.0, 0.0, 0.5, 0.2), 0.2 / np.pi / 1e6, rtol=1e-4)
    np.testing.assert_allclose(ge.shape.voigt(x * 1e-3, 1.0, 0.0, 0.5, 0.0), stats.norm.pdf(1.0, 0, 0.5), rtol=1e-12)


def test_a_file_that_does_not_import_a_domain_is_reported_so():
    content = document({"z": ("nll.poisson", ["y", "r"])}, inputs={"y": ["N"], "r": ["N"]})
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(content)
    (problem,) = caught.value.problems
    assert (problem.code, problem.hint) == ("GE105", 'add "nll": 1 to opset_imports')
    content["opset_imports"]["shape"] = 1
    content["nodes"][0]["op"] = "shape.gausian"
    with pytest.raises(ge.errors.InvalidModelError, match=r"did you mean 'shape\.gaussian'"):
        ge.Model.from_dict(content)
    with pytest.raises(AttributeError, match=r"there is no function 'nll\.poison'; did you mean 'poisson'"):
        _ = ge.nll.poison


def test_the_builder_imports_the_domains_that_it_calls():
    b = ge.Builder("counts")
    x, y = b.input("x", ["N"]), b.input("y", ["N"])
    rate = b.name("rate", ge.shape.gaussian(x, b.parameter("area", [], initializer=1.0), 0.0, 1.0))
    total, _ = ge.nll.poisson(y, rate)
    b.output(loss=total)
    content = b.to_dict()
    assert content["opset_imports"] == {"core": 1, "nll": 1, "shape": 1}
    model = ge.Model.from_dict(content)
    expected = -stats.poisson.logpmf([0, 1], stats.norm.pdf([0.0, 1.0])).sum()
    assert model.forward(x=[0.0, 1.0], y=[0.0, 1.0])["loss"] == pytest.approx(expected, rel=1e-12)
