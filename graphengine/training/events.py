"""When something is to happen in a training besides its iterations: after so many of them, or of epochs."""

from __future__ import annotations

import math


class Every:
    """Due after every so many iterations, or epochs of a number of iterations, whichever comes first; may be never."""

    def __init__(self, epochs: int | None, iterations: int | None, per_epoch: int) -> None:
        self._periods = [*([epochs * per_epoch] if epochs else []), *([iterations] if iterations else [])]

    def next(self, done: int) -> float:
        """The first iteration after `done` at whose end it is due."""
        return min(((done // period + 1) * period for period in self._periods), default=math.inf)

    def is_due(self, done: int) -> bool:
        """Whether it is due at the end of an iteration."""
        return any(done % period == 0 for period in self._periods)
