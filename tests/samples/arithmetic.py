import functools
import math
import operator

import numpy as np

from samples.arrays import BROADCASTING, binary, positive, unary, values
from samples.table import Samples, by_element

ADDED = [
    ({}, tuple(values(shape, seed) for seed, shape in enumerate(shapes)))
    for shapes in [
        [(3,)],
        [(3,), (3,), (3,)],
        [(), (2, 3), (3,), (2, 1)],
        [(0, 3), (3,)],
    ]
]
CLIPPED = [
    ({}, (values((2, 3)), np.array(-0.8), np.array(0.9))),
    ({}, (values((3,)), values((3,), 1))),
    ({}, (values((0, 3)), values((3,)))),
    ({}, (values((3,)), values((3,), 1), values((3,), 2))),
]


def clip(x, low=None, high=None):
    raised = x if low is None else by_element(max)(x, low)
    return raised if high is None else by_element(min)(raised, high)


TABLE = {
    "add": Samples(binary(BROADCASTING), by_element(operator.add)),
    "sub": Samples(binary(), by_element(operator.sub)),
    "mul": Samples(binary(BROADCASTING), by_element(operator.mul)),
    "div": Samples(binary(BROADCASTING), by_element(operator.truediv)),
    "neg": Samples(unary(), by_element(operator.neg)),
    "abs": Samples(unary(), by_element(abs), analytic=False),
    "sign": Samples(unary(), by_element(lambda x: math.copysign(x != 0, x)), analytic=False),
    "reciprocal": Samples(unary(), by_element(lambda x: 1 / x)),
    "square": Samples(unary(), by_element(lambda x: x * x)),
    "sqrt": Samples(positive(unary()), by_element(math.sqrt)),
    "rsqrt": Samples(positive(unary()), by_element(lambda x: 1 / math.sqrt(x))),
    "hypot": Samples(binary(BROADCASTING), by_element(math.hypot)),
    "pow": Samples(positive(binary(BROADCASTING)), by_element(math.pow)),
    "mod": Samples(binary(), by_element(operator.mod), analytic=False),
    "floor": Samples(unary(), by_element(math.floor), analytic=False),
    "ceil": Samples(unary(), by_element(math.ceil), analytic=False),
    "round": Samples(unary(), by_element(round), analytic=False),
    "maximum": Samples(binary(), by_element(max), analytic=False),
    "minimum": Samples(binary(), by_element(min), analytic=False),
    "clip": Samples(CLIPPED, clip, analytic=False),
    "add_n": Samples(ADDED, lambda *xs: functools.reduce(by_element(operator.add), xs)),
}
