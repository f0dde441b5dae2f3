"""The checks of gradients: what they find, and that they name law, input and numbers."""

import numpy as np
import pytest

import graphengine as ge
from graphengine.model.gradcheck import slope
from graphengine.ops.families.arithmetic import Abs, Mul

X, Y = np.array([1.0, 2.0, 3.0]), np.array([0.5, -1.0, 2.0])


def failure(node, *inputs):
    with pytest.raises(ge.errors.GradientError) as caught:
        ge.check_gradients(node, *inputs)
    assert {found.code for found in caught.value.problems} == {"GE412"}
    return [found.message for found in caught.value.problems]


def test_a_right_gradient_passes_with_its_numbers():
    checks = ge.check_gradients(Mul(), X, Y)
    assert {(check.law, check.name) for check in checks} == {
        (law, name) for law in ("slope", "recording", "needs") for name in "xy"
    }
    for check in checks:
        assert check.holds
        assert abs(check.got - check.expected) <= check.tolerance < 1e-10
    assert {check.method for check in checks if check.law == "slope"} == {"complex step"}


def test_code_that_is_not_analytic_is_checked_by_differences():
    (check,) = [check for check in ge.check_gradients(Abs(), Y) if check.law == "slope"]
    assert check.method == "central differences"


def test_a_wrong_slope_names_law_input_numbers_and_element():
    @ge.register("test.cube")
    class Cube(ge.Node):
        def forward(self, x, y):
            return x**3 * y

        def backward(self, grad, x, y):
            return grad * 3 * x**2 * y, grad * np.where(x > 2.5, 0.0, x**3)

    (message,) = failure(Cube(), X, Y)
    assert message.startswith("test.cube, law 'slope', input 'y': backward gives ")
    assert "the slope of forward is" in message
    assert "furthest off at [2]: 0 instead of " in message


def test_a_gradient_that_differs_when_recorded_is_found():
    @ge.register("test.two_faced")
    class TwoFaced(ge.Node):
        def forward(self, x):
            return 2 * x

        def backward(self, grad):
            return grad * (2 if isinstance(grad, np.ndarray) else 3)

    (message,) = failure(TwoFaced(), X)
    assert message.startswith("test.two_faced, law 'recording', input 'x': the gradient graph gives ")


def test_a_gradient_that_depends_on_needs_is_found():
    @ge.register("test.needy")
    class Needy(ge.Node):
        def forward(self, x, y):
            return x * y

        def backward(self, grad, x, y, needs):
            return grad * y, grad * x * (1 if all(needs) else 2)

    (message,) = failure(Needy(), X, Y)
    assert message.startswith("test.needy, law 'needs', input 'y': backward gives ")


@pytest.mark.parametrize("written", ["grad", "x", "out"])
def test_a_backward_that_writes_to_what_it_is_given_is_found(written):
    class Writes(ge.Node):
        def infer(self, x):
            return x

        def forward(self, x):
            return x + 1

        def backward(self, grad, x, out):
            {"grad": grad, "x": x, "out": out}[written].fill(1)
            return grad

    ge.register("test.writes")(Writes)
    with pytest.raises(ge.errors.ExecutionError, match=r"GE410: test\.writes: backward fails: .* read-only"):
        ge.check_gradients(Writes(), X)


def test_optional_variadic_integer_inputs_and_several_outputs():
    @ge.register("test.many")
    class Many(ge.Node):
        outputs = ("total", "next", "scaled")

        def forward(self, index, scale=None, *xs):
            factor = 1.0 if scale is None else scale
            return sum(xs) * factor, index + 1, np.square(xs[0])

        def backward(self, grad_total, grad_scaled, scale, xs, needs):
            factor = 1.0 if scale is None else scale
            first = grad_total * factor + 2 * grad_scaled * xs[0]
            return None, grad_total * sum(xs), first, *[grad_total * factor for _ in xs[1:]]

    for scale, names in ((None, {"xs[0]", "xs[1]"}), (np.array(2.0), {"scale", "xs[0]", "xs[1]"})):
        checks = ge.check_gradients(Many(), np.array(1), scale, X, Y)
        assert {check.name for check in checks} == names


def test_a_backward_that_cannot_be_recorded_is_checked_too():
    @ge.register("test.branches")
    class Branches(ge.Node):
        def forward(self, x):
            return np.where(x > 1.5, x**2, x)

        def backward(self, grad, x):
            return grad * 2 * x if x.min() > 1.5 else grad

    assert ge.check_gradients(Branches(), X + 1)
    assert ge.check_gradients(Branches(), X / 3)
    assert failure(Branches(), X)


@pytest.mark.parametrize(
    ("node", "inputs", "said"),
    [
        (Mul(), (np.array([np.inf]), X), "is not finite"),
        (ge.nodes.comparison.Equal(), (X, X), "has no backward"),
        (type("Loose", (ge.Node,), {"forward": lambda self, x: x})(), (X,), "is not registered"),
    ],
)
def test_what_cannot_be_checked_is_a_usage_error(node, inputs, said):
    with pytest.raises(ge.errors.UsageError, match=said):
        ge.check_gradients(node, *inputs)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_slope_is_as_exact_as_it_says(dtype):
    point, direction = np.linspace(0.5, 2, 5).astype(dtype), np.linspace(1, -1, 5).astype(dtype)
    found = slope(lambda x: np.sum(np.sin(x) * x), point, direction)
    expected = np.sum((np.cos(point.astype(float)) * point + np.sin(point.astype(float))) * direction)
    assert found.method == "complex step"
    assert found.value == pytest.approx(expected, rel=10 * float(np.finfo(dtype).eps))
    found = slope(lambda x: np.sum(np.abs(x) ** 3), point, direction)
    assert found.method == "central differences"
    assert abs(found.value - np.sum(3 * point.astype(float) ** 2 * direction)) < 2 * found.error


def test_a_slope_at_the_border_of_a_domain_is_a_complex_step():
    found = slope(lambda x: np.sum(np.log(x)), np.array([1e-9, 1.0]), np.array([1.0, 0.0]))
    assert (found.method, found.value) == ("complex step", pytest.approx(1e9, rel=1e-12))


def test_at_a_kink_the_check_is_made_beside_it():
    checks = ge.check_gradients(ge.nodes.activations.Relu(), np.array([-1.0, 0.0, 0.0, 2.0]))
    (found,) = [check for check in checks if check.law == "slope"]
    assert found.holds
    assert found.method.endswith("beside a kink")


def test_a_gradient_that_is_wrong_at_a_kink_and_beside_it_is_found():
    @ge.register("test.steep")
    class Steep(ge.Node):
        def forward(self, x):
            return np.abs(x)

        def backward(self, grad, x):
            return grad * 2 * np.sign(x)

    (message,) = failure(Steep(), np.array([0.0, 1.0]))
    assert "law 'slope'" in message
