"""Loss functions. `reduction` is "mean", "sum", or "none" for one loss each.

Formulas write it as `reduce`. Each loss gets the incoming gradient dz, or dz / n in a mean of n losses.

Names and meanings are those of PyTorch; classes lie on the last axis. Predictions and targets must have equal shapes:
(N, 1) against (N,), which NumPy would broadcast to (N, N), is an error.
"""

from typing import Literal, TypeAlias

import numpy as np

from graphengine.ops.families.activations import LogSoftmax, Sigmoid, Softmax
from graphengine.ops.families.comparison import truth
from graphengine.ops.families.selection import OneHot, ScatterAdd
from graphengine.ops.inference import elementwise, floating
from graphengine.ops.node import Node
from graphengine.ops.registry import register
from graphengine.ops.shapes import PYTHON_NUMBERS, ArrayType, shape_text
from graphengine.ops.sums import sum_over

Reduction: TypeAlias = Literal["none", "mean", "sum"]


def paired(node, prediction, target):
    """Rule for shapes: prediction and target have one shape, and so have the losses before they are reduced."""
    if prediction.shape != target.shape:
        shapes = f"{shape_text(prediction.shape)} and {shape_text(target.shape)}"
        raise ValueError(f"prediction and target must have the same shape, not {shapes}")
    return elementwise(node, prediction, target)._replace(shape=prediction.shape if node.reduction == "none" else ())


@register("mse")
class MeanSquaredError(Node):
    """Squared error of each value, reduced.

    z = reduce(loss) with loss = (prediction - target)**2;
    dloss/dprediction = 2 * (prediction - target), dloss/dtarget = 2 * (target - prediction).
    """

    infer = paired
    reduction: Reduction = "mean"

    def forward(self, prediction, target):
        return reduced(np.square(prediction - target), self.reduction)

    def backward(self, grad, prediction, target):
        return of_difference(shared(grad, self.reduction, prediction) * 2 * (prediction - target))


@register("mae")
class MeanAbsoluteError(Node):
    """Absolute error of each value, reduced.

    z = reduce(loss) with loss = abs(prediction - target);
    dloss/dprediction = sign(prediction - target), dloss/dtarget = sign(target - prediction).
    """

    infer = paired
    reduction: Reduction = "mean"

    def forward(self, prediction, target):
        return reduced(np.abs(prediction - target), self.reduction)

    def backward(self, grad, prediction, target):
        return of_difference(shared(grad, self.reduction, prediction) * np.sign(prediction - target))


@register("huber")
class Huber(Node):
    """Huber loss of each error e, reduced: a parabola up to `delta`, straight from there.

    z = reduce(loss) with loss = where(abs(e) <= delta, e**2 / 2, delta * (abs(e) - delta / 2)),
    e = prediction - target;
    dloss/dprediction = clip(e, -delta, delta), dloss/dtarget = -clip(e, -delta, delta).

    Huber, Robust Estimation of a Location Parameter, 1964.
    """

    infer = paired
    reduction: Reduction = "mean"
    delta: float = 1.0

    def forward(self, prediction, target):
        size = np.abs(prediction - target)
        near = np.minimum(size, self.delta)
        return reduced(near * (size - near / 2), self.reduction)

    def backward(self, grad, prediction, target):
        near = np.maximum(-self.delta, np.minimum(self.delta, prediction - target))
        return of_difference(shared(grad, self.reduction, prediction) * near)


@register("hinge")
class Hinge(Node):
    """Hinge loss of each target, -1 or 1, reduced.

    z = reduce(loss) with loss = maximum(0, 1 - target * prediction);
    dloss/dprediction = -target * (target * prediction < 1), dloss/dtarget = -prediction * (target * prediction < 1).
    """

    infer = paired
    reduction: Reduction = "mean"

    def forward(self, prediction, target):
        return reduced(np.maximum(0, 1 - prediction * in_dtype_of(prediction, target)), self.reduction)

    def backward(self, grad, prediction, target, needs):
        target = in_dtype_of(prediction, target)
        product = prediction * target
        slope = -shared(grad, self.reduction, prediction) * truth(product < 1, product)
        return slope * target, if_counted(slope, slope * prediction) if needs[1] else None


@register("binary_cross_entropy")
class BinaryCrossEntropy(Node):
    """Cross-entropy of targets in [0, 1] and sigmoid(logits), reduced.

    z = reduce(loss) with loss = log1p(exp(logits)) - targets * logits;
    dloss/dlogits = 1 / (1 + exp(-logits)) - targets, dloss/dtargets = -logits.

    Computed as x * ((x > 0) - target) + log1p(exp(-abs(x))) for each logit x, so nothing overflows; the product is 0
    where its second factor is, even if x is infinite.
    """

    infer = paired
    reduction: Reduction = "mean"

    def forward(self, logits, targets):
        wrong = (logits > 0) - in_dtype_of(logits, targets)
        product = np.where(wrong == 0, 0, logits * wrong)
        return reduced(product + np.log1p(np.exp(-np.abs(logits))), self.reduction)

    def backward(self, grad, logits, targets):
        grad = shared(grad, self.reduction, logits)
        return grad * (Sigmoid()(logits) - in_dtype_of(logits, targets)), -grad * logits


@register("kl_divergence")
class KullbackLeiblerDivergence(Node):
    """Divergence of targets from a prediction in logarithms, value by value, reduced.

    z = reduce(loss) with loss = targets * (log(targets) - log_probabilities);
    dloss/dlog_probabilities = -targets, dloss/dtargets = log(targets) + 1 - log_probabilities.

    The loss is 0 for target 0. The divergence of distributions is its sum over their axis; "mean" is over all values,
    as in PyTorch.
    """

    infer = paired
    reduction: Reduction = "mean"

    def forward(self, log_probabilities, targets):
        surplus = targets * (np.log(targets) - log_probabilities)
        return reduced(np.where(targets == 0, 0, surplus), self.reduction)

    def backward(self, grad, log_probabilities, targets, needs):
        grad = shared(grad, self.reduction, targets)
        return -grad * targets, grad * (np.log(targets) + 1 - log_probabilities) if needs[1] else None


@register("negative_log_likelihood")
class NegativeLogLikelihood(Node):
    """Minus the logarithm of the probability of the target, for each sample, reduced.

    z = reduce(loss) with loss = -sum(weights * t * log_probabilities);
    dloss/dlog_probabilities = -weights * t, dloss/dtargets = -weights * log_probabilities,
    dloss/dweights = -t * log_probabilities.

    t is one_hot(targets) if they are classes, else the targets. See softmax_cross_entropy for the rest.
    """

    reduction: Reduction = "mean"
    ignore_index: int | None = None

    def infer(self, log_probabilities, targets, weights=None):
        return classified(self, log_probabilities, targets, weights)

    def forward(self, log_probabilities, targets, weights=None):
        return likelihood(self, log_probabilities, targets, weights)

    def backward(self, grad, log_probabilities, targets, weights, out, needs):
        shares = class_shares(self, log_probabilities, targets, weights)
        grad = per_sample(self, grad, shares, targets, weights)
        return -grad * shares, *toward_shares(self, grad, log_probabilities, targets, weights, out, needs)


@register("softmax_cross_entropy")
class SoftmaxCrossEntropy(Node):
    """Cross-entropy of targets and softmax(logits), for each sample, reduced.

    z = reduce(loss) with loss = -sum(weights * t * log_softmax(logits));
    dloss/dlogits = sum(weights * t) * softmax(logits) - weights * t, dloss/dtargets = -weights * log_softmax(logits),
    dloss/dweights = -t * log_softmax(logits).

    If the targets are classes, t is one_hot(targets); they are integers, and negative ones count from the end as in
    NumPy. Otherwise t is the targets, probabilities in the shape of the logits. `weights` holds a weight for each
    class, 1 unless given; samples whose target is `ignore_index` do not count. "mean" divides by the weights of the
    samples, sum(weights * t), or by the number of samples if targets are probabilities. Computed from x - max(x), so
    nothing overflows.
    """

    reduction: Reduction = "mean"
    ignore_index: int | None = None

    def infer(self, logits, targets, weights=None):
        return classified(self, logits, targets, weights)

    def forward(self, logits, targets, weights=None):
        return likelihood(self, LogSoftmax().forward(logits), targets, weights)

    def backward(self, grad, logits, targets, weights, out, needs):
        shares = class_shares(self, logits, targets, weights)
        grad = per_sample(self, grad, shares, targets, weights)
        total = 1 if counts_alike(self, targets, weights) else sum_over(shares, axis=-1, keepdims=True)
        logits_gradient = grad * (if_counted(total, Softmax()(logits) * total) - shares)
        log_probabilities = LogSoftmax()(logits) if needs[1] or needs[2] else None
        return logits_gradient, *toward_shares(self, grad, log_probabilities, targets, weights, out, needs)


def reduced(losses, reduction):
    """The losses, their sum or their mean."""
    if reduction == "none":
        return losses
    return sum_over(losses) if reduction == "sum" else sum_over(losses) / np.size(losses)


def shared(grad, reduction, prediction):
    """The part of the gradient that each loss gets."""
    return grad / np.size(prediction) if reduction == "mean" else grad


def of_difference(slope):
    """The gradients with respect to prediction and target from that with respect to their difference."""
    return slope, -slope


def in_dtype_of(prediction, target):
    """Labels in the dtype of what they are compared with: integers must not widen single precision."""
    if is_number(prediction) or is_number(target) or prediction.dtype.kind != "f":
        return target
    return target if target.dtype == prediction.dtype else target.astype(prediction.dtype)


def is_number(value):
    """Whether a value is a literal of the file, a Python number, which widens nothing and has no dtype of its own."""
    return type(value) in PYTHON_NUMBERS


# ---------------------------------------------------------------- classes


def classified(node, x, targets, weights):
    """The type of a loss of classes."""
    by_index = is_index(targets)
    wanted = x.shape[:-1] if by_index else x.shape
    if not x.shape or wanted != targets.shape:
        raise ValueError(f"targets are integers without the last axis, or of the same shape, not {x} and {targets}")
    if weights is not None and weights.shape != x.shape[-1:]:
        raise ValueError(f"weights must have shape {shape_text(x.shape[-1:])}, not {shape_text(weights.shape)}")
    if node.ignore_index is not None and not by_index:
        raise ValueError("ignore_index needs targets that are integers")
    dtype = floating(x, weights, None if by_index else targets)
    return ArrayType(x.shape[:-1] if node.reduction == "none" else (), dtype)


def is_index(targets):
    """Whether targets are classes and not probabilities."""
    if is_number(targets):
        return isinstance(targets, int)
    return getattr(targets, "array_dtype", targets.dtype).kind in "iu"


def counts_alike(node, targets, weights):
    """Whether each sample has the weight 1."""
    return is_index(targets) and weights is None and node.ignore_index is None


def likelihood(node, log_probabilities, targets, weights):
    """Minus the sum of log-probabilities, each times the share of its class, for each sample; reduced."""
    if not is_index(targets):
        shares = class_shares(node, log_probabilities, targets, weights)
        return reduced(-sum_over(np.where(shares == 0, 0, shares * log_probabilities), axis=-1), node.reduction)
    classes = counting_classes(node, targets)
    chosen = np.take_along_axis(log_probabilities, np.expand_dims(classes, -1), axis=-1)
    losses = -np.reshape(chosen, np.shape(targets))
    if counts_alike(node, targets, weights):
        return reduced(losses, node.reduction)
    counts = np.ones_like(losses) if weights is None else np.take(weights, classes, axis=0)
    counts = counts if node.ignore_index is None else np.where(targets == node.ignore_index, 0, counts)
    losses = np.where(counts == 0, 0, counts * losses)
    return sum_over(losses) / sum_over(counts) if node.reduction == "mean" else reduced(losses, node.reduction)


def counting_classes(node, targets):
    """The class of each sample, any for those that do not count."""
    return targets if node.ignore_index is None else np.where(targets == node.ignore_index, 0, targets)


def class_shares(node, x, targets, weights):
    """What each class counts in each sample, in the shape of x."""
    shares = of_one_class(x, counting_classes(node, targets)) if is_index(targets) else targets
    if node.ignore_index is not None:
        shares = np.where(np.expand_dims(targets == node.ignore_index, -1), 0, shares)
    return shares if weights is None else shares * weights


def of_one_class(x, classes):
    """1 for the class of each sample and 0 for the others, in the shape and dtype of x."""
    depth = x.shape[-1]
    if isinstance(depth, int):
        return OneHot(depth=depth, dtype=x.dtype.name)(classes)
    indices = np.expand_dims(classes, -1)
    ones = np.ones_like(np.take_along_axis(x, indices, axis=-1))
    return ScatterAdd(axis=-1)(np.zeros_like(x), indices, ones)


def per_sample(node, grad, shares, targets, weights):
    """The gradient of each sample's loss, so that it broadcasts against the shares."""
    if node.reduction == "none":
        return np.expand_dims(grad, -1)
    if node.reduction == "sum":
        return grad
    if is_index(targets) and not counts_alike(node, targets, weights):
        total = sum_over(shares)
        return grad / np.where(total == 0, 1, total)  # where no sample counts the loss is NaN and its gradient 0
    return grad / np.size(targets) if is_index(targets) else grad * targets.shape[-1] / np.size(targets)


def toward_shares(node, grad, log_probabilities, targets, weights, out, needs):
    """The gradients with respect to targets and weights, which make the shares."""
    slope = None
    if needs[1] or needs[2]:
        averages = node.reduction == "mean" and is_index(targets)
        slope = -grad * (log_probabilities + out if averages else log_probabilities)
    plain = class_shares(node, log_probabilities, targets, None) if slope is not None else None
    dt = (slope if weights is None else slope * weights) if needs[1] else None
    return dt, if_counted(plain, slope * plain) if needs[2] else None


def if_counted(count, value):
    """A value where something is counted, else 0: even if the value is NaN."""
    return value if type(count) is int else np.where(count == 0, 0, value)
