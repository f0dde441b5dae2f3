"""Forms that neither overflow nor lose digits where the textbook's formula does."""

import numpy as np
import pytest
from scipy import stats

from graphengine.ops.registry import OPS

FAR = np.array([1000.0, -1000.0])
NEAR = np.array([1e-10, -1e-10])


def op(name, **attributes):
    return OPS[name].cls(**attributes)


def quietly(function, *arrays):
    """The result, where a floating-point error other than underflow is an exception."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        return function(*arrays)


@pytest.mark.parametrize(
    ("name", "expected", "slopes"),
    [
        ("sigmoid", [1, 0], [0, 0]),
        ("hard_sigmoid", [1, 0], [0, 0]),
        ("softplus", [1000, 0], [1, 0]),
        ("silu", [1000, 0], [1, 0]),
        ("mish", [1000, 0], [1, 0]),
        ("elu", [1000, -1], [1, 0]),
        ("celu", [1000, -1], [1, 0]),
        ("selu", [1050.7009873554805, -1.7580993408473766], [1.0507009873554805, 0]),
        ("softsign", [1000 / 1001, -1000 / 1001], [1 / 1001**2, 1 / 1001**2]),
        ("softmax", [1, 0], [0, 0]),
        ("log_softmax", [0, -2000], [-1, 1]),
    ],
)
def test_an_activation_and_its_slope_are_exact_far_from_zero(name, expected, slopes):
    node = op(name)
    result = quietly(node.forward, FAR)
    np.testing.assert_allclose(result, expected, rtol=1e-15, atol=1e-300)
    saved = {"grad": np.ones(2), "x": FAR, "out": result}
    if name == "log_softmax":
        saved["grad"] = np.array([0.0, 1.0])  # the slopes of the second value
    found = quietly(node.backward, *[saved[asked] for asked in node.signature.saved])
    np.testing.assert_allclose(found, slopes, rtol=1e-15, atol=1e-300)


@pytest.mark.parametrize(("name", "slope"), [("elu", 1), ("celu", 1), ("selu", 1.7580993408473766)])
def test_an_exponential_unit_keeps_its_digits_near_zero(name, slope):
    np.testing.assert_allclose(op(name).forward(NEAR)[1], slope * np.expm1(-1e-10), rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "arrays", "loss"),
    [
        ("binary_cross_entropy", (FAR, np.array([1.0, 0.0])), 0),
        ("binary_cross_entropy", (FAR, np.array([0.0, 1.0])), 2000),
        ("softmax_cross_entropy", (FAR, np.array(0)), 0),
        ("softmax_cross_entropy", (FAR, np.array(1)), 2000),
        ("softmax_cross_entropy", (FAR, np.array([0.25, 0.75])), 1500),
        ("huber", (FAR, np.zeros(2)), 1999),
        ("kl_divergence", (np.array([0.0, -1000.0]), np.array([1.0, 1.0])), 1000),
    ],
)
def test_a_loss_is_exact_for_predictions_far_from_zero(name, arrays, loss):
    assert quietly(op(name, reduction="sum").forward, *arrays) == loss


def test_a_class_that_is_excluded_with_an_infinite_logit_costs_the_others_nothing():
    logits = np.array([[-np.inf, 1.0, 1.0]])
    for node in (op("softmax_cross_entropy"), op("softmax_cross_entropy", ignore_index=-1)):
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(node.forward(logits, np.array([1])), np.log(2), rtol=1e-15)


def test_a_target_of_probability_zero_has_no_divergence():
    with np.errstate(all="ignore"):
        losses = op("kl_divergence", reduction="none").forward(np.log([0.5, 0.5]), np.array([0.0, 1.0]))
    np.testing.assert_allclose(losses, [0, np.log(2)], rtol=1e-15)


def test_ignored_samples_do_not_count_whatever_their_logits():
    node = op("softmax_cross_entropy", ignore_index=-100)
    logits = np.array([[1.0, 2.0], [1e30, -1e30]])
    whole = node.forward(logits, np.array([1, -100]))
    np.testing.assert_allclose(whole, op("softmax_cross_entropy").forward(logits[:1], np.array([1])), rtol=1e-15)


@pytest.mark.parametrize("label", [np.int64, np.bool_])
@pytest.mark.parametrize("name", ["binary_cross_entropy", "hinge"])
def test_labels_of_another_dtype_do_not_widen_single_precision(name, label):
    logits, labels = np.array([0.5, -1.5], np.float32), np.array([1, 0], label)
    node = op(name)
    loss = node.forward(logits, labels)
    gradients = OPS[name].signature.gradients(node, [np.float32(1)], [logits, labels], [loss], (True, False))
    assert (loss.dtype, gradients[0].dtype) == (np.float32, np.float32)


@pytest.mark.parametrize("name", ["inv", "cholesky", "solve"])
def test_a_matrix_without_a_result_spoils_only_itself(name):
    stack = np.array([np.zeros((2, 2)), 4 * np.eye(2)])
    right = [np.ones((2, 2, 1))] * (name == "solve")
    refused, accepted = op(name).forward(stack, *right)
    assert np.isnan(refused).all()
    np.testing.assert_array_equal(accepted, op(name).forward(stack[1], *[each[1] for each in right]))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "distribution"), [("uniform", "uniform"), ("normal", "norm")])
def test_random_numbers_have_their_distribution_and_differ_between_keys(name, distribution, dtype):
    node = op(name, shape=(100_001,), dtype=dtype)
    first, second = (node.forward(np.array([7, key], np.uint64)) for key in range(2))
    for numbers in (first, second):
        assert stats.kstest(numbers.astype(float), distribution).pvalue > 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.01
    assert first.dtype == dtype


@pytest.mark.parametrize("p", [0, 0.1, 1])
def test_a_bernoulli_draws_ones_with_its_probability(p):
    ones = op("bernoulli", p=p, shape=(100_000,)).forward(np.array([7, 0], np.uint64))
    assert abs(ones.mean() - p) < 4 * np.sqrt(p * (1 - p) / 100_000) + 1e-15
