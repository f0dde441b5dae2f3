import math
import operator

from samples.arrays import BROADCASTING, binary, positive, unary
from samples.table import Samples, by_element

TABLE = {
    "add": Samples(binary(BROADCASTING), by_element(operator.add)),
    "sub": Samples(binary(), by_element(operator.sub)),
    "mul": Samples(binary(BROADCASTING), by_element(operator.mul)),
    "div": Samples(binary(BROADCASTING), by_element(operator.truediv)),
    "neg": Samples(unary(), by_element(operator.neg)),
    "abs": Samples(unary(), by_element(abs), analytic=False),
    "sign": Samples(unary(), by_element(lambda x: math.copysign(x != 0, x)), analytic=False),
    "square": Samples(unary(), by_element(lambda x: x * x)),
    "sqrt": Samples(positive(unary()), by_element(math.sqrt)),
    "pow": Samples(positive(binary(BROADCASTING)), by_element(math.pow)),
    "maximum": Samples(binary(), by_element(max), analytic=False),
    "minimum": Samples(binary(), by_element(min), analytic=False),
}
