"""What is written down for each op: rows of attributes and input arrays, an independent oracle, and what is special."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Samples:
    """The entry of one op.

    `rows` are pairs (attributes, arrays) for which all laws are to hold. Sizes are 0, 1, 2, 3 or 4, because the laws
    give each of the last three a symbol.
    """

    rows: Sequence[tuple[dict[str, Any], tuple[Any, ...]]]
    oracle: Callable[..., Any]
    """`oracle(*arrays, **attributes)`: the same result by other means than the op's own `forward`."""
    analytic: bool = True
    """Whether a complex step gives the slope: the op is an analytic function, and its code takes complex numbers."""
    slope: bool = True
    """Whether `backward` gives the slope of `forward`."""
    known_sizes: bool = True
    """Whether the sizes of the result follow from symbolic sizes: sums and differences of these have no symbol."""
    sizes_of_values: bool = False
    """Whether the sizes of the result are values, which types do not have."""
    of_scalars: bool = False
    """Whether all inputs are single numbers."""


def by_element(function):
    """An oracle for an elementwise op from a function of Python numbers."""
    return np.vectorize(function, otypes=[float])
