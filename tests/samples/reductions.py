import numpy as np
from scipy import special

from samples.arrays import EVERY_REDUCTION, REDUCTIONS, filled, shaped
from samples.table import Samples

EXTREMA = [*filled(shaped(EVERY_REDUCTION)), ({}, (np.array([1.0, 3.0, 2.0]),))]

TABLE = {
    "sum": Samples(shaped(EVERY_REDUCTION), np.sum),
    "mean": Samples(shaped(REDUCTIONS), np.mean),
    "max": Samples(EXTREMA, np.max, analytic=False),
    "min": Samples(filled(shaped(REDUCTIONS)), np.min, analytic=False),
    "logsumexp": Samples([*shaped(REDUCTIONS), *shaped([({"axis": 0}, (0, 3)), ({}, (0,))])], special.logsumexp),
}
