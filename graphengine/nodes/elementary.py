"""Exponential and trigonometric functions."""

import numpy as np

from graphengine.inference import elementwise
from graphengine.node import Node
from graphengine.registry import register


@register("exp", numpy=np.exp)
class Exp(Node):
    """Exponential, z = exp(x); dz/dx = exp(x)."""

    infer = elementwise

    def forward(self, x):
        return np.exp(x)

    def backward(self, grad, out):
        return grad * out


@register("log", numpy=np.log)
class Log(Node):
    """Natural logarithm, z = log(x); dz/dx = 1 / x."""

    infer = elementwise

    def forward(self, x):
        return np.log(x)

    def backward(self, grad, x):
        return grad / x


@register("sin", numpy=np.sin)
class Sin(Node):
    """Sine of x in radians, z = sin(x); dz/dx = cos(x)."""

    infer = elementwise

    def forward(self, x):
        return np.sin(x)

    def backward(self, grad, x):
        return grad * np.cos(x)


@register("cos", numpy=np.cos)
class Cos(Node):
    """Cosine of x in radians, z = cos(x); dz/dx = -sin(x)."""

    infer = elementwise

    def forward(self, x):
        return np.cos(x)

    def backward(self, grad, x):
        return -grad * np.sin(x)


@register("tanh", numpy=np.tanh)
class Tanh(Node):
    """Hyperbolic tangent, z = tanh(x); dz/dx = 1 - tanh(x) ** 2."""

    infer = elementwise

    def forward(self, x):
        return np.tanh(x)

    def backward(self, grad, out):
        return grad * (1 - np.square(out))
