import math

import numpy as np

from samples.arrays import binary, changed, positive, unary
from samples.table import Samples, by_element

INSIDE = changed(lambda x: x / 2, unary())
"""Numbers between -1 and 1."""
ABOVE = changed(lambda x: abs(x) + 1, unary())

TABLE = {
    "exp": Samples(unary(), by_element(math.exp)),
    "expm1": Samples(unary(), by_element(math.expm1)),
    "log": Samples(positive(unary()), by_element(math.log)),
    "log1p": Samples(positive(unary()), by_element(math.log1p)),
    "log2": Samples(positive(unary()), by_element(math.log2), analytic=False),
    "log10": Samples(positive(unary()), by_element(math.log10)),
    "sin": Samples(unary(), by_element(math.sin)),
    "cos": Samples(unary(), by_element(math.cos)),
    "tan": Samples(INSIDE, by_element(math.tan)),
    "arcsin": Samples(INSIDE, by_element(math.asin)),
    "arccos": Samples(INSIDE, by_element(math.acos)),
    "arctan": Samples(unary(), by_element(math.atan)),
    "arctan2": Samples(binary(), by_element(math.atan2), analytic=False),
    "sinh": Samples(unary(), by_element(math.sinh)),
    "cosh": Samples(unary(), by_element(math.cosh)),
    "tanh": Samples(unary(), by_element(math.tanh)),
    "arcsinh": Samples(unary(), by_element(math.asinh)),
    "arccosh": Samples(ABOVE, by_element(math.acosh)),
    "arctanh": Samples(INSIDE, by_element(math.atanh)),
    "erf": Samples(
        [*unary(), ({}, (np.array([1e-9, -0.1, 0.4, 2.5, -5.9, 9.0]),))], by_element(math.erf), analytic=False
    ),
}
