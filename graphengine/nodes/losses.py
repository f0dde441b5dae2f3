"""Loss functions."""

from typing import Literal

import numpy as np

from graphengine.node import Node
from graphengine.nodes.activations import Softmax
from graphengine.nodes.shaping import OneHot
from graphengine.registry import register
from graphengine.shapes import ArrayType, dtype_name, shape_text


@register("softmax_cross_entropy")
class SoftmaxCrossEntropy(Node):
    """Negative log-likelihood of integer targets under softmax(logits) over the last axis.

    For one sample z = log(exp(x1) + ... + exp(xn)) - x[target], and dz/dx = softmax(x) - one_hot(target). Computed
    from the shifted logits x - max(x), so nothing overflows. `reduction` is "mean", "sum" or "none" over samples.
    """

    reduction: Literal["none", "mean", "sum"] = "mean"

    def infer(self, logits, targets):
        if not logits.shape or logits.shape[:-1] != targets.shape:
            logits_shape, targets_shape = shape_text(logits.shape), shape_text(targets.shape)
            raise ValueError(f"logits {logits_shape} need targets {shape_text(logits.shape[:-1])}, not {targets_shape}")
        if targets.array_dtype.kind not in "iu":
            raise ValueError(f"targets must be integers, not {dtype_name(targets.dtype)}")
        return ArrayType(targets.shape if self.reduction == "none" else (), logits.dtype)

    def forward(self, logits, targets):
        shifted = logits - np.max(logits, axis=-1, keepdims=True)
        chosen = np.take_along_axis(shifted, np.expand_dims(targets, -1), axis=-1)
        losses = np.log(np.sum(np.exp(shifted), axis=-1)) - np.reshape(chosen, targets.shape)
        if self.reduction == "none":
            return losses
        return np.sum(losses) if self.reduction == "sum" else np.sum(losses) / targets.size

    def backward(self, grad, logits, targets):
        if self.reduction == "mean":
            grad = grad / targets.size
        if self.reduction == "none":
            grad = np.expand_dims(grad, -1)
        hot = OneHot(depth=logits.shape[-1], dtype=logits.dtype.name)(targets)
        return grad * (Softmax()(logits) - hot), None
