"""Minimization to the last digits that the data allow, with one setting for all problems.

A descent ends where the value falls no more, which leaves half of the digits open; Newton steps give the rest. What
they reach is a minimum only if no direction leads down from it: from a saddle, or a plain on which a start may lie, the
descent continues.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from graphengine.fit.descent import Descent, MinimizationProblem
from graphengine.fit.minima import polished, way_down
from graphengine.fit.quadratic import Vector
from graphengine.fit.trust_region import BoxConstraints

MOST_ESCAPES = 20


class Found(NamedTuple):
    """Where a minimization ended, and whether that is a minimum."""

    x: Vector
    is_minimum: bool


def minimized(
    problem: MinimizationProblem, start: Vector, box: BoxConstraints, typical: Vector, accept: Callable[[Vector], None]
) -> Found:
    """The minimum that is found from a start; `accept` is called with each point on the way."""
    x = start
    with np.errstate(all="ignore"):  # points that are looked at and not taken may overflow
        for _ in range(MOST_ESCAPES):
            here = polished(problem, Descent(problem, x, box, typical, accept).run(), box)
            accept(here.x)
            lower = way_down(problem, here, box, typical)
            if lower is None:
                return Found(here.x, here.has_no_slope)
            x = lower
            accept(x)
    return Found(x, False)
