"""A training under way, whoever runs it: the loop of an update rule or a solver."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Protocol

from graphengine.format.documents import TrainingDocument
from graphengine.training.history import History, Iteration


class Running(Protocol):
    """What `Trainer` and `SolverTrainer` have in common."""

    @property
    def data(self) -> Mapping[str, Any]:
        """The data it is trained on, by input."""

    @property
    def training(self) -> TrainingDocument:
        """The training section."""

    @property
    def history(self) -> History:
        """What happened so far."""

    @property
    def checkpoints(self) -> Any:
        """Where it saves checkpoints, None for nowhere."""

    @property
    def total_iterations(self) -> int:
        """How many iterations it has if nothing stops it; `sys.maxsize` if nobody knows."""

    @property
    def learning_rate(self) -> float | None:
        """The rate of the next iteration, None for a solver."""

    def chunks(self) -> Generator[Iteration, None, None]:
        """Run, with a row now and then."""

    def save_checkpoint(self) -> Any:
        """Write a checkpoint."""
