"""Elementwise arithmetic. Inputs broadcast; the engine sums a gradient back to the shape of its input."""

from graphengine.inference import elementwise
from graphengine.node import Node
from graphengine.registry import register


@register("add")
class Add(Node):
    """Sum, z = x + y; dz/dx = 1, dz/dy = 1."""

    infer = elementwise

    def forward(self, x, y):
        return x + y

    def backward(self, grad):
        return grad, grad


@register("sub")
class Sub(Node):
    """Difference, z = x - y; dz/dx = 1, dz/dy = -1."""

    infer = elementwise

    def forward(self, x, y):
        return x - y

    def backward(self, grad):
        return grad, -grad


@register("mul")
class Mul(Node):
    """Product, z = x * y; dz/dx = y, dz/dy = x."""

    infer = elementwise

    def forward(self, x, y):
        return x * y

    def backward(self, grad, x, y):
        return grad * y, grad * x


@register("div")
class Div(Node):
    """Quotient, z = x / y; dz/dx = 1 / y, dz/dy = -x / y**2."""

    infer = elementwise

    def forward(self, x, y):
        return x / y

    def backward(self, grad, y, out):
        dx = grad / y
        return dx, -dx * out


@register("neg")
class Neg(Node):
    """Negative, z = -x; dz/dx = -1."""

    infer = elementwise

    def forward(self, x):
        return -x

    def backward(self, grad):
        return -grad


@register("square")
class Square(Node):
    """Square, z = x * x; dz/dx = 2 * x."""

    infer = elementwise

    def forward(self, x):
        return x * x

    def backward(self, grad, x):
        return 2 * x * grad
