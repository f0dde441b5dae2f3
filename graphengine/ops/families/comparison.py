"""Comparison, logic and choice. Ops that return booleans have no gradient."""

import numpy as np

from graphengine.ops.inference import elementwise
from graphengine.ops.node import Node
from graphengine.ops.registry import register


@register("equal", numpy=np.equal, traits=("correctly_rounded",))
class Equal(Node):
    """Equality as a truth value, z = x == y."""

    infer = elementwise

    def forward(self, x, y):
        return np.equal(x, y)


@register("not_equal", numpy=np.not_equal, traits=("correctly_rounded",))
class NotEqual(Node):
    """Inequality as a truth value, z = x != y."""

    infer = elementwise

    def forward(self, x, y):
        return np.not_equal(x, y)


@register("less", numpy=np.less, traits=("correctly_rounded",))
class Less(Node):
    """Order as a truth value, z = x < y."""

    infer = elementwise

    def forward(self, x, y):
        return np.less(x, y)


@register("less_equal", numpy=np.less_equal, traits=("correctly_rounded",))
class LessEqual(Node):
    """Order as a truth value, z = x <= y."""

    infer = elementwise

    def forward(self, x, y):
        return np.less_equal(x, y)


@register("greater", numpy=np.greater, traits=("correctly_rounded",))
class Greater(Node):
    """Order as a truth value, z = x > y."""

    infer = elementwise

    def forward(self, x, y):
        return np.greater(x, y)


@register("greater_equal", numpy=np.greater_equal, traits=("correctly_rounded",))
class GreaterEqual(Node):
    """Order as a truth value, z = x >= y."""

    infer = elementwise

    def forward(self, x, y):
        return np.greater_equal(x, y)


@register("logical_and", numpy=np.logical_and)
class LogicalAnd(Node):
    """Conjunction as a truth value, z = x and y."""

    infer = elementwise

    def forward(self, x, y):
        return np.logical_and(x, y)


@register("logical_or", numpy=np.logical_or)
class LogicalOr(Node):
    """Disjunction as a truth value, z = x or y."""

    infer = elementwise

    def forward(self, x, y):
        return np.logical_or(x, y)


@register("logical_not", numpy=np.logical_not)
class LogicalNot(Node):
    """Negation as a truth value, z = not x."""

    infer = elementwise

    def forward(self, x):
        return np.logical_not(x)


@register("isfinite", numpy=np.isfinite)
class IsFinite(Node):
    """Whether numbers are neither infinite nor NaN, z = isfinite(x)."""

    infer = elementwise

    def forward(self, x):
        return np.isfinite(x)


@register("where", numpy=np.where, traits=("correctly_rounded", "primitive"))
class Where(Node):
    """Choice, z = x if condition else y; dz/dx = condition, dz/dy = not condition.

    A branch that is not taken passes no gradient, even where its derivative is infinite: of where(x > 0, sqrt(x), 0)
    at 0 it is 0. This holds for branches of elementwise ops without broadcasting; values that pass a reduction need a
    second choice, as in sum(log(where(x > 0, x, 1))).
    """

    infer = elementwise

    def forward(self, condition, x, y):
        return np.where(condition, x, y)

    def backward(self, grad, condition):
        return None, np.where(condition, grad, 0), np.where(condition, 0, grad)


@register("stop_gradient", traits=("correctly_rounded", "type_only"))
class StopGradient(Node):
    """Identity that no gradient flows back through, z = x; dx = 0.

    x counts as a constant.
    """

    infer = elementwise

    def forward(self, x):
        return x

    def backward(self):
        return None


STOP_GRADIENT = StopGradient()


def where_defined(gradient, out):
    """A gradient, NaN where the result is: a comparison in a derivative is false for NaN, which must not become 0."""
    return np.where(out == out, gradient, STOP_GRADIENT(out))


def order(x, y):
    """The sign of x - y, 0 for equal infinities, NaN where x or y is."""
    return STOP_GRADIENT(np.where(x == y, 0, np.sign(x - y)))


def truth(condition, x):
    """A condition as 1 or 0, NaN where x is NaN, for which every comparison is false."""
    return STOP_GRADIENT(np.maximum(condition, np.minimum(x, 0)))


def by_sign(x, below, above):
    """`above` where x is positive, `below` where it is not, NaN where x is NaN."""
    positive = STOP_GRADIENT(np.sign(np.maximum(x, 0)))
    return above * positive + below * (1 - positive)
