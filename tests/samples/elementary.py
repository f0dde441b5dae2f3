import math

from samples.arrays import positive, unary
from samples.table import Samples, by_element

TABLE = {
    "exp": Samples(unary(), by_element(math.exp)),
    "log": Samples(positive(unary()), by_element(math.log)),
    "sin": Samples(unary(), by_element(math.sin)),
    "cos": Samples(unary(), by_element(math.cos)),
    "tanh": Samples(unary(), by_element(math.tanh)),
}
