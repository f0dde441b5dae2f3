"""Steps within a radius and within bounds: against brute force and the conditions that a minimum meets."""

import numpy as np
import pytest

from graphengine.fit.quadratic import Quadratic
from graphengine.fit.trust_region import BoxConstraints, first_hit, step_within, within

FREE = BoxConstraints(np.full(3, -np.inf), np.full(3, np.inf))


def random_loss(seed, size=3, *, convex):
    """A quadratic with random gradient and Hessian."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(size, size))
    hessian = matrix @ matrix.T + 0.1 * np.eye(size) if convex else matrix + matrix.T
    return Quadratic.of_loss(random.normal(size=size), hessian)


@pytest.mark.parametrize("convex", [True, False])
@pytest.mark.parametrize("radius", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("seed", range(5))
def test_no_point_of_the_sphere_or_within_is_much_lower(seed, radius, convex):
    model = random_loss(seed, convex=convex)
    step = step_within(model, FREE, np.zeros(3), radius)
    assert np.linalg.norm(step.vector) <= 1.05 * radius
    points = np.random.default_rng(0).normal(size=(4_000, 3))
    points *= radius / np.linalg.norm(points, axis=1, keepdims=True)
    points = np.concatenate([points, points * np.random.default_rng(1).uniform(size=(4_000, 1))])
    lowest = min(model.change(point) for point in points)
    assert model.change(step.vector) <= 0.9 * lowest
    assert step.gain == -model.change(step.vector)


def test_the_hard_case_leaves_a_saddle_along_the_negative_curvature():
    saddle = Quadratic.of_loss(np.zeros(3), np.diag([2.0, -3.0, 1.0]))
    step = step_within(saddle, FREE, np.zeros(3), 2.0)
    np.testing.assert_allclose(np.abs(step.vector), [0.0, 2.0, 0.0], atol=1e-15)
    beside = Quadratic.of_loss(np.array([1.0, 0.0, 0.0]), np.diag([2.0, -3.0, 1.0]))
    step = step_within(beside, FREE, np.zeros(3), 2.0)
    np.testing.assert_allclose(step.vector[[0, 2]], [-0.2, 0.0], rtol=1e-12)
    assert np.linalg.norm(step.vector) == pytest.approx(2.0, rel=1e-12)


def test_a_step_of_gauss_and_newton_solves_the_normal_equations_and_is_the_shortest():
    random = np.random.default_rng(3)
    jacobian, residual = random.normal(size=(10, 3)), random.normal(size=10)
    jacobian[:, 2] = jacobian[:, 0] + jacobian[:, 1]
    model = Quadratic.of_residuals(residual, jacobian)
    expected, *_ = np.linalg.lstsq(jacobian, -residual, rcond=None)
    vector, multiplier = within(model.spectrum(np.ones(3, bool), np.zeros(3)), 100.0)
    np.testing.assert_allclose(vector, expected, rtol=1e-12)
    assert multiplier == 0.0
    change = (np.sum((residual + jacobian @ vector) ** 2) - np.sum(residual**2)) / 2
    assert model.change(vector) == pytest.approx(change, rel=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_a_step_in_a_box_meets_the_conditions_of_a_minimum_where_it_is_convex(seed):
    """Wherever the order of the bounds that are met is that of the solution; else the step is at least a descent."""
    model = random_loss(seed, convex=True)
    box = BoxConstraints(np.full(3, -0.2), np.full(3, 0.3))
    step = step_within(model, box, np.zeros(3), 1e3)
    assert box.contains(step.vector)
    assert step.gain > 0
    slope = model.slope_after(step.vector)
    np.testing.assert_allclose(slope[step.free], 0.0, atol=1e-12)
    best = min(model.change(point) for point in np.random.default_rng(0).uniform(-0.2, 0.3, size=(4_000, 3)))
    assert step.gain >= -0.5 * best


def test_variables_that_a_slope_holds_on_their_bound_are_not_moved():
    box = BoxConstraints(np.array([0.0, 0.0]), np.array([1.0, 1.0]))
    at = np.array([0.0, 1.0])
    np.testing.assert_array_equal(box.free(at, np.array([1.0, 1.0])), [False, True])
    np.testing.assert_array_equal(box.free(at, np.array([-1.0, -1.0])), [True, False])
    model = Quadratic.of_loss(np.array([1.0, 1.0]), np.eye(2))
    step = step_within(model, box, at, 10.0)
    np.testing.assert_allclose(step.vector, [0.0, -1.0])
    np.testing.assert_array_equal(box.pinned(np.array([1e-17, 0.5]), np.array([False, True])), [0.0, 0.5])


def test_the_first_bound_that_a_step_meets_ends_it():
    box = BoxConstraints(np.array([-1.0, -np.inf]), np.array([np.inf, 2.0]))
    assert first_hit(box, np.zeros(2), np.array([-4.0, 4.0])) == (0.25, 0)
    assert first_hit(box, np.zeros(2), np.array([0.5, 1.0])) == (1.0, None)
