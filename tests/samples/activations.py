import math

import numpy as np
from scipy import special

from samples.arrays import binary, shaped, unary
from samples.table import Samples, by_element

SOFTMAXES = [({}, (3,)), ({}, (2, 3)), ({"axis": 0}, (2, 3)), ({"axis": 1}, (4, 2, 3)), ({"axis": -1}, (4, 2, 3))]
FEW = [(3,), (), (0, 3)]


def below_zero(function, **defaults):
    """An oracle for what is x above zero, and function(x, **attributes) below."""
    return lambda x, **given: by_element(lambda each: each if each > 0 else function(each, **defaults | given))(x)


def with_attribute(**attributes):
    return [*unary(FEW), *shaped([(attributes, (2, 3))])]


def selu(x):
    """The published constants of mean 0 and variance 1 (Klambauer et al., 2017, section 3)."""
    scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    return by_element(lambda each: scale * (each if each > 0 else alpha * math.expm1(each)))(x)


def inner(x):
    return np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)


TABLE = {
    "relu": Samples(unary(), by_element(lambda x: max(x, 0)), analytic=False),
    "leaky_relu": Samples(
        with_attribute(negative_slope=0.2),
        below_zero(lambda x, negative_slope: negative_slope * x, negative_slope=0.01),
        analytic=False,
    ),
    "prelu": Samples(binary(), by_element(lambda x, slope: max(x, 0) + slope * min(x, 0)), analytic=False),
    "elu": Samples(
        with_attribute(alpha=0.5), below_zero(lambda x, alpha: alpha * math.expm1(x), alpha=1), analytic=False
    ),
    "selu": Samples(unary(FEW), selu, analytic=False),
    "celu": Samples(
        with_attribute(alpha=0.5),
        below_zero(lambda x, alpha: alpha * math.expm1(x / alpha), alpha=1),
        analytic=False,
    ),
    "gelu": Samples(
        [*unary(FEW), *shaped([({"approximate": "tanh"}, (2, 3))])],
        lambda x, approximate="none": x * (special.ndtr(x) if approximate == "none" else special.expit(2 * inner(x))),
        analytic=False,
    ),
    "silu": Samples(unary(FEW), lambda x: x * special.expit(x), analytic=False),
    "mish": Samples(unary(FEW), by_element(lambda x: x * math.tanh(math.log(1 + math.exp(x)))), analytic=False),
    "sigmoid": Samples(unary(), special.expit, analytic=False),
    "hard_sigmoid": Samples(
        shaped([({}, (3,)), ({"alpha": 0.75, "beta": 0.4}, (2, 3))]),
        lambda x, alpha=1 / 6, beta=0.5: by_element(lambda each: min(max(alpha * each + beta, 0), 1))(x),
        analytic=False,
    ),
    "softplus": Samples(unary(FEW), by_element(lambda x: -special.log_expit(-x)), analytic=False),
    "softsign": Samples(unary(FEW), by_element(lambda x: x / (1 + abs(x))), analytic=False),
    "softmax": Samples(shaped(SOFTMAXES), lambda x, axis=-1: special.softmax(x, axis=axis)),
    "log_softmax": Samples(shaped(SOFTMAXES[:4]), lambda x, axis=-1: special.log_softmax(x, axis=axis)),
}
