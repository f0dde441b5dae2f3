"""Normalization and dropout.

Ops that depend on the mode have the attribute `training`. A file omits it; the engine sets it in a training step.
Statistics are biased (divided by the number of values). A variance is the mean square of the deviations from the mean,
which loses no digits.
"""

import math
from typing import Annotated

import numpy as np
from pydantic import Field

from graphengine.ops.families.linear import dot_along
from graphengine.ops.families.random import Bernoulli, check_key
from graphengine.ops.families.reductions import Norm, count
from graphengine.ops.inference import along_axis, floating, normalized_axes
from graphengine.ops.merging import from_end
from graphengine.ops.node import Node
from graphengine.ops.norms import hypotenuse, root_of_size
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType
from graphengine.ops.sums import is_single, sum_over

Epsilon = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


@register("batch_norm")
class BatchNorm(Node):
    """Scale each channel to mean 0 and variance 1, then multiply by `scale` and add `bias`.

    z = u * scale + bias with u = (x - m) / sqrt(v + epsilon);
    dx = (du - training * (mean(du) + u * mean(du * u))) / sqrt(v + epsilon), dscale = sum(dz * u), dbias = sum(dz),
    drunning_mean = (training - 1) * sum(du) / sqrt(v + epsilon),
    drunning_var = (training - 1) * sum(du * u) / (2 * (v + epsilon)) with du = dz * scale.

    Channels lie on `axis`. In training m and v are the mean and variance of the batch, and the running ones move toward
    them: new_mean = momentum * running_mean + (1 - momentum) * m, as in ONNX; the momentum of PyTorch is 1 - momentum.
    Otherwise m and v are the running ones, which do not change. Gradients through new_mean and new_var are added. A
    file declares those as state: `"update": "norm:new_mean"`. Ioffe and Szegedy, Batch Normalization, 2015.
    """

    outputs = ("out", "new_mean", "new_var")
    axis: int = 1
    momentum: Share = 0.9
    epsilon: Epsilon = 1e-5
    training: bool = False

    def infer(self, x, scale, bias, running_mean, running_var):
        channels = (x.shape[normalized_axes(self.axis, len(x.shape))[0]],)
        vectors = {"scale": scale, "bias": bias, "running_mean": running_mean, "running_var": running_var}
        for name, kind in vectors.items():
            if kind.shape != channels or kind.dtype != x.dtype:
                raise ValueError(
                    f"{name} must be {ArrayType(channels, x.dtype)}, one number for each channel, not {kind}"
                )
        dtype = floating(x)
        return ArrayType(x.shape, dtype), ArrayType(channels, dtype), ArrayType(channels, dtype)

    def merge(self, axes, x, *_others):
        channels = self.axis % len(x.shape)
        return "rows" if not self.training and set(axes[1:]) == {None} and axes[0] != channels else None

    def forward(self, x, scale, bias, running_mean, running_var):
        rest, mean, var, lost = self.moments(x) if self.training else self.given(x, running_mean, running_var)
        new_mean, new_var = running_mean, running_var
        if self.training:
            new_mean = self.momentum * running_mean + (1 - self.momentum) * mean
            new_var = self.momentum * running_var + (1 - self.momentum) * var
        slope = scale / np.sqrt(var + self.epsilon) + (var - var)  # NaN, and not 0, where the variance overflows
        shift = bias if lost is None else bias - lost * slope
        return rest * self.wide(slope, x) + self.wide(shift, x), new_mean, new_var

    def backward(self, grad_out, grad_new_mean, grad_new_var, x, scale, running_mean, running_var):
        rest, _, var, lost = self.moments(x) if self.training else self.given(x, running_mean, running_var)
        axes, inverse = self.other_axes(x), 1 / np.sqrt(var + self.epsilon)
        dbias, products = sum_over(grad_out, axes), sum_over(grad_out * rest, axes)
        dscale = (products if lost is None else products - lost * dbias) * inverse
        dx, dmean = grad_out * self.wide(scale * inverse, x), -scale * inverse * dbias
        dvar = -scale * np.square(inverse) / 2 * dscale
        if not self.training:
            return dx, dscale, dbias, dmean + grad_new_mean, dvar + grad_new_var
        dmean = (dmean + (1 - self.momentum) * grad_new_mean) / count(x, axes)
        dvar = (dvar + (1 - self.momentum) * grad_new_var) * 2 / count(x, axes)
        dshift = dmean if lost is None else dmean - dvar * lost
        dx = dx + self.wide(dvar, x) * rest + self.wide(dshift, x)
        return dx, dscale, dbias, self.momentum * grad_new_mean, self.momentum * grad_new_var

    def other_axes(self, x):
        """All axes but that of the channels."""
        return tuple(axis for axis in range(x.ndim) if axis != self.axis % x.ndim)

    def wide(self, value, x):
        """A value for each channel, so that it broadcasts against x."""
        return np.expand_dims(value, self.other_axes(x))

    def moments(self, x):
        """x less the mean of its channel, mean, variance, and in single precision what rounding the mean has lost.

        The last one is the mean of what is left: it is small, but not beside a small variance.
        """
        axes = self.other_axes(x)
        mean = sum_over(x, axes) / count(x, axes)
        rest = x - self.wide(mean, x)
        var = sum_over(np.square(rest), axes) / count(x, axes)
        if not is_single(x):
            return rest, mean, var, None
        lost = sum_over(rest, axes) / count(x, axes)
        return rest, mean, np.maximum(var - np.square(lost), 0), lost

    def given(self, x, mean, var):
        """The same of moments that are given."""
        return x - self.wide(mean, x), mean, var, None


@register("layer_norm")
class LayerNorm(Node):
    """Scale each sample to mean 0 and variance 1 over the axes from `axis` on, then multiply by `scale` and add `bias`.

    z = u * scale + bias with u = (x - mean(x)) / sqrt(var(x) + epsilon);
    dx = (du - mean(du) - u * mean(du * u)) / sqrt(var(x) + epsilon), dscale = dz * u, dbias = dz with du = dz * scale.

    Ba et al., Layer Normalization, 2016.
    """

    infer = along_axis
    axis: int = -1
    epsilon: Epsilon = 1e-5

    def merge(self, axes, *types):
        first = self.axis if self.axis < 0 else self.axis - len(types[0].shape)
        return "rows" if all(axis < first for axis in from_end(axes, types)) else None

    def forward(self, x, scale=None, bias=None):
        unit, _ = self.unit(x)
        unit = unit if scale is None else unit * scale
        return unit if bias is None else unit + bias

    def backward(self, grad, x, scale, needs):
        unit, inverse = self.unit(x)
        du = grad if scale is None else grad * scale
        dx = inverse * (du - average(du, self) - unit * average_product(unit, du, self))
        return dx, grad * unit if needs[1] else None, grad if needs[2] else None

    def unit(self, x):
        """x with mean 0 and variance 1, and what it was multiplied by."""
        rest = x - average(x, self)
        inverse = inverse_root(rest, self)
        return rest * inverse, inverse


@register("rms_norm")
class RmsNorm(Node):
    """Scale each sample to mean square 1 over the axes from `axis` on, then multiply by `scale`.

    z = u * scale with u = x / sqrt(mean(x**2) + epsilon);
    dx = (du - u * mean(du * u)) / sqrt(mean(x**2) + epsilon), dscale = dz * u with du = dz * scale.

    Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.
    """

    infer = along_axis
    axis: int = -1
    epsilon: Epsilon = 1e-5

    def merge(self, axes, *types):
        first = self.axis if self.axis < 0 else self.axis - len(types[0].shape)
        return "rows" if all(axis < first for axis in from_end(axes, types)) else None

    def forward(self, x, scale=None):
        unit = x * inverse_root(x, self)
        return unit if scale is None else unit * scale

    def backward(self, grad, x, scale, needs):
        inverse = inverse_root(x, self)
        unit, du = x * inverse, grad if scale is None else grad * scale
        return inverse * (du - unit * average_product(unit, du, self)), grad * unit if needs[1] else None


@register("dropout")
class Dropout(Node):
    """In training, set each value of x to 0 with probability p and divide the others by 1 - p.

    z = x * f with f = bernoulli(1 - p) / (1 - p) if training else 1; dz/dx = f.

    The key determines which values: the same key drops the same ones, in forward and backward. Srivastava et al.,
    Dropout, 2014.
    """

    random = True
    p: Annotated[float, Field(ge=0, lt=1)] = 0.5
    training: bool = False

    def infer(self, x, key=None):
        check_key(key)
        dtype = floating(x)
        return ArrayType(x.shape, dtype if self.training else x.dtype)  # a literal is given as it is

    def merge(self, _axes, *_types):
        return None if self.training else "rows"

    def forward(self, x, key=None):
        return x * self.factors(x, key) if self.training and self.p else x

    def backward(self, grad, x, key):
        return (grad * self.factors(x, key) if self.training and self.p else grad), None

    def factors(self, x, key):
        """What each value of x is multiplied by."""
        return Bernoulli(p=1 - self.p, dtype=x.dtype.name)(key, x.shape) / (1 - self.p)


def average(x, node):
    """The mean over the axes from the node's `axis` on, which are kept as size 1."""
    axes = axes_of(node, x)
    return sum_over(x, axes, keepdims=True) / count(x, axes)


def inverse_root(x, node):
    """One divided by the root of the mean square and epsilon, also where the square overflows."""
    axes = axes_of(node, x)
    length = Norm(axis=axes, keepdims=True)(x)
    return 1 / hypotenuse(length / root_of_size(count(x, axes), length), math.sqrt(node.epsilon))


def average_product(x, y, node):
    """The mean of x * y over the same axes."""
    axes = axes_of(node, x)
    return dot_along(x, y, -1) / count(x, axes) if len(axes) == 1 else average(x * y, node)


def axes_of(node, x):
    """The axes from the node's `axis` on."""
    return tuple(range(node.axis % x.ndim, x.ndim))
