"""Activation functions, in forms that neither overflow nor lose digits for large arguments."""

import numpy as np

from graphengine.inference import along_axis, elementwise
from graphengine.node import Node
from graphengine.registry import register


@register("relu")
class Relu(Node):
    """Rectified linear unit, z = maximum(x, 0); dz/dx = (x > 0)."""

    infer = elementwise

    def forward(self, x):
        return np.maximum(x, 0)

    def backward(self, grad, x):
        return grad * (x > 0)


@register("sigmoid")
class Sigmoid(Node):
    """Logistic function, z = 1 / (1 + exp(-x)); dz/dx = z * (1 - z)."""

    infer = elementwise

    def forward(self, x):
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1, e) / (1 + e)

    def backward(self, grad, out):
        return grad * out * (1 - out)


@register("softmax")
class Softmax(Node):
    """Softmax over one axis, zi = exp(xi) / (exp(x1) + ... + exp(xn)).

    With dz the gradient of z: dx = z * (dz - sum(z * dz)).
    """

    infer = along_axis
    axis: int = -1

    def forward(self, x):
        e = np.exp(x - np.max(x, axis=self.axis, keepdims=True))
        return e / np.sum(e, axis=self.axis, keepdims=True)

    def backward(self, grad, out):
        return out * (grad - np.sum(out * grad, axis=self.axis, keepdims=True))
