"""What ops with corners and jumps give there, value and derivative: as NumPy and PyTorch, signs of zero included."""

import numpy as np
import pytest
from documents import document

import graphengine as ge
from graphengine.backends.numpy.plan import Plan
from graphengine.ops.registry import OPS
from graphengine.transform.gradient import gradient

try:
    import torch
except ModuleNotFoundError:  # the tests with the marker are skipped
    torch = None

ZEROS = [0.0, -0.0]
CORNERS = {
    "abs": ("abs", {}, [[-2.0, *ZEROS, 3.0]], "abs"),
    "round": ("round", {}, [[-2.5, -1.5, -0.5, -0.4, *ZEROS, 0.5, 1.5, 2.5]], "round"),
    "mod": (
        "mod",
        {},
        [[5.0, -5.0, 5.0, -5.0, 6.0, -6.0, 6.0], [3.0, 3.0, -3.0, -3.0, 3.0, 3.0, -3.0]],
        "remainder",
    ),
    "norm of zeros": ("norm", {}, [ZEROS], "norm"),
    "norm of one number": ("norm", {}, [[-3.0, *ZEROS]], "norm"),
    "sum of absolute values": ("norm", {"ord": 1}, [[-2.0, *ZEROS, 3.0]], lambda x: torch.linalg.vector_norm(x, ord=1)),
    "std of equal values": ("std", {}, [[2.0, 2.0, 2.0]], lambda x: torch.std(x, correction=0)),
    "std of one value": ("std", {}, [[2.0]], lambda x: torch.std(x, correction=0)),
    "angle at the origin": ("arctan2", {}, [[0.0, 0.0, -0.0, -0.0], [0.0, -0.0, 0.0, -0.0]], "atan2"),
    "angle on the axes": ("arctan2", {}, [[0.0, -0.0, 0.0, 1.0, -1.0], [-2.0, -2.0, 2.0, 0.0, -0.0]], "atan2"),
}


@pytest.mark.extra("torch")
@pytest.mark.parametrize("case", CORNERS)
def test_corners_are_those_of_pytorch(case):
    op, attributes, numbers, function = CORNERS[case]
    arrays = {name: np.array(each) for name, each in zip("xy", numbers, strict=False)}
    function = getattr(torch, function) if isinstance(function, str) else function
    leaves = [torch.tensor(each, requires_grad=True) for each in arrays.values()]
    result = function(*leaves)
    result.sum().backward()

    nodes = {"z": (op, list(arrays), attributes), "loss": ("sum", ["z"])}
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    model = ge.Model.from_dict(document(nodes, inputs=shapes, outputs={"loss": "loss"}))
    run = model.forward(**arrays)
    found = run.value("z")
    np.testing.assert_array_equal(found, result.detach().numpy())
    if op != "mod":  # PyTorch's zeros have the sign of x
        np.testing.assert_array_equal(np.signbit(found), np.signbit(result.detach().numpy()))
    called = run.backward("loss", list(arrays))
    planned = Plan(gradient(model.graph, "loss", list(arrays))).run(arrays)
    for name, leaf in zip(arrays, leaves, strict=True):
        np.testing.assert_allclose(called[name], leaf.grad.numpy(), rtol=1e-15)
        np.testing.assert_array_equal(planned[f"d_loss/d_{name}"], called[name])


def test_a_multiple_gives_a_zero_with_the_sign_of_y():
    x, y = np.array([6.0, -6.0, 6.0, -6.0, -0.0]), np.array([3.0, 3.0, -3.0, -3.0, 3.0])
    expected = [a % b for a, b in zip(x.tolist(), y.tolist(), strict=True)]  # Python's, of floats
    found = OPS["mod"].cls().forward(x, y)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(y))


def test_what_has_no_value():
    """A remainder by 0, and the spread of a sample of one."""
    with np.errstate(all="ignore"):
        assert np.isnan(OPS["mod"].cls().forward(np.array(1.0), np.array(0.0)))
        assert np.isnan(OPS["std"].cls(ddof=1).forward(np.array([2.0])))
