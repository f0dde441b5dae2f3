import numpy as np
from scipy import special

from samples.arrays import PAIRS, binary, changed, unary, values
from samples.table import Samples, by_element

ABOVE_ONE = changed(lambda x: np.abs(x) * 3 + 0.2, unary())
"""Numbers on both sides of 1, of 1.4616... and of 2, where lgamma and digamma are zero."""
NEGATIVE = ({}, (np.array([-0.3, -1.4, -12.7]),))
LARGE = ({}, (np.array([10.0, 47.5, 3e5]),))
TAILS = [*unary(), ({}, (np.array([-6.2, -1e-9, 0.4999, 0.51, 3.7, 25.0]),))]
FAR = [*TAILS, ({}, (np.array([-38.0, -1.001, 120.0]),))]
ORDERS = [({"order": order}, arrays) for order in (1, 2, 5) for _, arrays in (ABOVE_ONE[1], NEGATIVE, LARGE)]
PRODUCTS = [
    *[({}, (np.asarray(values(x, 1) ** 2), np.asarray(values(y, 2) ** 2 + 0.1))) for x, y in PAIRS],
    ({}, (np.array([0.0, 2.0, -0.0]), np.array([3.0, 0.5, 1.0]))),
]
PLANE = [*binary(), ({}, (np.array([3.0, -8.0, 0.2]), np.array([0.0, 1e-3, -0.7])))]
BETA = [
    *changed(lambda x: np.abs(x) * 4 + 0.1, binary()),
    ({}, (np.array([15.0, 0.3, 20.0]), np.array([12.0, 40.0, 2.5]))),
]


def inverse_mills(x):
    """exp(log density - log distribution), which is exact enough where it is compared."""
    return np.exp(-np.square(x) / 2 - np.log(2 * np.pi) / 2 - special.log_ndtr(x))


TABLE = {
    "lgamma": Samples([*ABOVE_ONE, NEGATIVE, LARGE], special.gammaln, analytic=False),
    "digamma": Samples([*ABOVE_ONE, NEGATIVE, LARGE], special.digamma, analytic=False),
    "polygamma": Samples(ORDERS, lambda x, order: special.polygamma(order, x), analytic=False),
    "betaln": Samples(BETA, special.betaln, analytic=False),
    "erfc": Samples(TAILS, special.erfc, analytic=False),
    "erfcx": Samples(TAILS, special.erfcx, analytic=False),
    "log_erfc": Samples(FAR, by_element(lambda x: special.log_ndtr(-x * np.sqrt(2)) + np.log(2)), analytic=False),
    "log_ndtr": Samples(FAR, special.log_ndtr, analytic=False),
    "inverse_mills": Samples(FAR, inverse_mills, analytic=False),
    "faddeeva_real": Samples(PLANE, lambda x, y: special.wofz(x + 1j * y).real, analytic=False),
    "faddeeva_imag": Samples(PLANE, lambda x, y: special.wofz(x + 1j * y).imag, analytic=False),
    "xlogy": Samples(PRODUCTS, special.xlogy, analytic=False),
}
