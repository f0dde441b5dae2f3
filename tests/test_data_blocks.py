"""A fit of many rows, which is computed in blocks: the numbers are those of all rows at once, and of SciPy."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

import graphengine as ge
from graphengine.fit import data_blocks
from graphengine.fit.determination import undetermined
from graphengine.fit.fit_programs import Programs
from graphengine.fit.objective import Objective
from graphengine.fit.quadratic import triangle, triangle_of_products
from graphengine.fit.residuals import Residuals
from graphengine.transform.directional import columns
from graphengine.transform.passes import optimize

COUNT = 61
X = np.linspace(0.0, 4.0, COUNT)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + np.random.default_rng(5).normal(scale=0.05, size=COUNT)
SIGMA = np.linspace(0.03, 0.07, COUNT)


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


def decay_model(curve=decay, start=(1.0, 1.0, 0.0)):
    b = ge.Builder("decay")
    x, y, _ = (b.input(name, ["N"]) for name in "xys")
    parameters = [b.parameter(name, [], initializer=value) for name, value in zip("abc", start, strict=True)]
    b.output(residual=b.name("residual", y - curve(x, *parameters)))
    return b.model()


DATA = {"x": X, "y": Y, "s": SIGMA}


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of at most 16 rows: four of 16, the last with three rows too many."""
    monkeypatch.setattr(data_blocks, "ROWS", 16)


def residuals_of(model, data, value="residual"):
    objective = Objective(model.graph, model.values, data, value, Programs(model.backend))
    return Residuals(objective, value), objective.vector(model.values)


def test_residuals_and_derivatives_in_blocks_are_the_closed_form(small_blocks):
    found, x = residuals_of(decay_model(start=(2.0, 1.1, 0.3)), DATA)
    assert found.are_in_blocks
    e = np.exp(-1.1 * X)
    exact = Y - 2.0 * e - 0.3
    jacobian = -np.stack([e, -2.0 * X * e, np.ones(COUNT)], axis=1)
    np.testing.assert_allclose(found(x), exact, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.jacobian(x), jacobian, rtol=1e-14)
    shifted = found.shifted(X)
    np.testing.assert_allclose(
        np.concatenate([table[0].copy() for _, table in shifted.tables(x)]), exact + X, atol=1e-15
    )
    weights = np.cos(X)
    mixed, twice = weights @ (X * e), -2.0 * (weights @ (X**2 * e))
    np.testing.assert_allclose(
        found.curvature(x, weights, x), [[0, mixed, 0], [mixed, twice, 0], [0, 0, 0]], rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({}, {}),
        ({"sigma": "s"}, {"sigma": SIGMA}),
        ({"sigma": "s", "absolute_sigma": True}, {"sigma": SIGMA, "absolute_sigma": True}),
    ],
)
def test_a_fit_in_blocks_is_that_of_curve_fit(asked, options, small_blocks):
    fit = decay_model().fit(DATA, residual="residual", **asked)
    best, covariance = curve_fit(
        decay,
        X,
        Y,
        [1, 1, 0],
        jac=lambda x, a, b, c: np.stack([np.exp(-b * x), -a * x * np.exp(-b * x), np.ones(COUNT)], axis=1),
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
        **options,
    )
    assert fit.converged
    assert fit.r2_is_centered
    np.testing.assert_allclose([fit.parameters[name] for name in "abc"], best, rtol=1e-8)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-6)


@pytest.mark.parametrize("asked", [{"robust": "soft_l1", "robust_scale": 0.03}, {"robust": "cauchy"}, {"sigma": "s"}])
def test_a_fit_in_blocks_is_that_in_one(asked, monkeypatch):
    whole = decay_model().fit(DATA, residual="residual", **asked)
    monkeypatch.setattr(data_blocks, "ROWS", 16)
    fit = decay_model().fit(DATA, residual="residual", **asked)
    assert fit.converged
    np.testing.assert_allclose([fit.parameters[name] for name in "abc"], [*whole.parameters.values()], rtol=1e-9)
    np.testing.assert_allclose(fit.covariance, whole.covariance, rtol=1e-8)
    assert fit.r2_is_centered == whole.r2_is_centered
    assert (fit.r2 or 0.0) == pytest.approx(whole.r2 or 0.0, rel=1e-9)


def test_a_jacobian_of_a_large_condition_is_not_squared(small_blocks):
    """The powers of x around 1000 are nearly alike: J'J would have no digits left for the smallest error."""
    x = 1000.0 + np.linspace(-1.0, 1.0, COUNT)
    curve = lambda x, a, b, c: a + b * x + c * x * x  # noqa: E731
    fit = decay_model(curve, (0.0, 0.0, 0.0)).fit({"x": x, "y": np.sin(x), "s": x}, residual="residual")
    matrix = np.stack([np.ones(COUNT), x, x * x], axis=1)
    _, triangle_ = np.linalg.qr(matrix)
    inverse = np.linalg.inv(triangle_)
    rest = np.sin(x) - matrix @ np.linalg.lstsq(matrix, np.sin(x), rcond=None)[0]
    errors = np.sqrt(np.sum(inverse**2, axis=1) * (rest @ rest) / (COUNT - 3))
    np.testing.assert_allclose([fit.standard_errors[name] for name in "abc"], errors, rtol=1e-5)


def test_what_has_no_effect_is_named_in_blocks(small_blocks):
    fit = decay_model(lambda x, a, b, c: a * np.exp(-b * x) + 0.0 * c).fit(DATA, residual="residual")
    assert [each.parameters for each in fit.undetermined] == [("c",)]
    assert np.isfinite([fit.standard_errors["a"], fit.standard_errors["b"]]).all()


def test_rows_of_several_numbers_are_cut_between_rows(small_blocks):
    b = ge.Builder("pairs")
    x, y = b.input("x", ["N"]), b.input("y", ["N", 2])
    a = b.parameter("a", [], initializer=0.5)
    b.output(residual=b.name("residual", y - a * np.expand_dims(x, 1)))
    data = {"x": X, "y": np.stack([Y, 2 * Y], axis=1)}
    found, at = residuals_of(b.model(), data)
    assert found.are_in_blocks
    np.testing.assert_allclose(found(at), np.ravel(data["y"] - 0.5 * X[:, np.newaxis]), atol=1e-15)
    np.testing.assert_allclose(found.jacobian(at)[:, 0], -np.repeat(X, 2), rtol=1e-15)


@pytest.mark.parametrize("kind", ["mean", "cumsum"])
def test_a_residual_that_needs_all_rows_is_computed_from_all(kind, small_blocks):
    b = ge.Builder("together")
    x, y = b.input("x", ["N"]), b.input("y", ["N"])
    a = b.parameter("a", [], initializer=0.5)
    curve = a * (x - np.mean(x)) if kind == "mean" else a * np.cumsum(x, axis=0)
    b.output(residual=b.name("residual", y - curve))
    found, at = residuals_of(b.model(), {"x": X, "y": Y})
    assert not found.are_in_blocks
    expected = X - X.mean() if kind == "mean" else np.cumsum(X)
    np.testing.assert_allclose(found(at), Y - 0.5 * expected, rtol=1e-12, atol=1e-13)


def test_the_triangle_of_products_has_the_products():
    random = np.random.default_rng(0)
    jacobian, residual = random.normal(size=(200, 4)) * [1.0, 1e6, 1e-9, 3.0], random.normal(size=200)
    table = np.vstack([residual, jacobian.T])
    found, rest = triangle_of_products(table @ table.T)
    expected, other = triangle(jacobian, residual)
    np.testing.assert_allclose(np.abs(found), np.abs(expected[:4]), rtol=1e-11, atol=1e-16)
    np.testing.assert_allclose(found.T @ rest, jacobian.T @ residual, rtol=1e-11)
    np.testing.assert_allclose(found.T @ rest, expected.T @ other, rtol=1e-11)
    jacobian[:, 3] = jacobian[:, 0] + 1e-3 * random.normal(size=200)
    table[1:] = jacobian.T
    assert triangle_of_products(table @ table.T) is None
    jacobian[:, 3] = 0.0
    table[1:] = jacobian.T
    assert triangle_of_products(table @ table.T) is None


def test_a_column_of_the_jacobian_is_not_multiplied_by_ones():
    model = decay_model()
    graph = columns(model.graph.with_sizes({"N": 5}), "residual", list("abc"), "weight")
    ops = [node.op for node in optimize(graph, exact=False).nodes]
    assert ops.count("exp") == 1
    assert ops.count("broadcast_to") == 1  # the column of the constant itself


# ---------------------------------------------------------------- more numbers than residuals


def network(centered=False, residuals=1):
    """Residuals y - tanh(x W) V of five samples: 60 numbers in W and 12 for each residual of a sample in V."""
    rng = np.random.default_rng(7)
    arrays = {"W": rng.normal(size=(5, 12)), "V": rng.normal(size=(12, residuals))}
    data = {"x": rng.normal(size=(5, 5)), "y": rng.normal(size=(5, residuals))}
    b = ge.Builder("network")
    x, y = b.input("x", ["N", 5]), b.input("y", ["N", residuals])
    w, v = (b.parameter(name, list(array.shape), value=array) for name, array in arrays.items())
    error = y - np.tanh(x @ w) @ v
    b.output(residual=b.name("residual", error - np.mean(error, axis=0) if centered else error))
    return b.model(), data, arrays


@pytest.mark.parametrize("residuals", [1, 2])
@pytest.mark.parametrize("centered", [False, True])
def test_a_jacobian_of_few_residuals_is_the_closed_form(centered, residuals):
    """Row by row: from one sample at a time, or from all samples where the mean of the others counts."""
    model, data, arrays = network(centered, residuals)
    found, x = residuals_of(model, data)
    hidden = np.tanh(data["x"] @ arrays["W"])
    inner = -np.einsum("ni,nh,hk->nkih", data["x"], 1 - hidden**2, arrays["V"])
    outer = -np.einsum("nh,kl->nkhl", hidden, np.eye(residuals))
    exact = np.concatenate([inner.reshape(5, residuals, -1), outer.reshape(5, residuals, -1)], axis=2)
    exact = exact - exact.mean(axis=0) if centered else exact
    np.testing.assert_allclose(found.jacobian(x), exact.reshape(5 * residuals, -1), rtol=1e-12, atol=1e-14)


def test_many_numbers_and_few_residuals_are_fitted_without_second_derivatives(monkeypatch):
    monkeypatch.setattr("graphengine.fit.residuals.MOST_CURVED", 71)
    model, data, _ = network()
    found, x = residuals_of(model, data)
    assert found.curvature(x, found(x), x) is None
    fit = model.fit(data, residual="residual")
    assert fit.converged
    assert fit.residual_sum_of_squares < 1e-20
    assert fit.degrees_of_freedom == 0
    assert np.isnan(fit.covariance).all()


def test_a_jacobian_beyond_the_memory_is_refused():
    """A table of 1,500 numbers, of which each of 200 samples reads one: only the Jacobian is large."""
    b = ge.Builder("table")
    place, y = b.input("place", ["N"], dtype="int64"), b.input("y", ["N"])
    b.output(residual=b.name("residual", y - np.take(b.parameter("table", [1500], initializer=1.0), place, axis=0)))
    model = ge.Model.from_dict(b.to_dict(), limits=ge.Limits(array_bytes=10**6))
    data = {"place": np.arange(200), "y": np.zeros(200)}
    with pytest.raises(
        ge.errors.TrainingError, match=r"GE133: the Jacobian of 200 residuals by 1500 numbers takes 2[.]289"
    ):
        model.fit(data, residual="residual")


def test_what_is_open_is_said_of_all_numbers_that_are_coupled():
    """A number that a direction hardly touches belongs to its part, however small its share is."""
    direction = np.array([1.0, 1e-5, 1.0, 0.0])[:, np.newaxis]
    flat = np.hstack([direction / np.linalg.norm(direction), [[0.0], [0.0], [0.0], [1.0]]])
    reasons = [each.reason for each in undetermined(["a", "b", "c", "d"], flat)]
    assert reasons == ["a, b and c act only together: the data determine 2 combinations of 3", "d has no effect here"]
