"""A training with a progress bar, on a terminal and nowhere else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphengine.training import Solver, Trainer


def train(trainer: Trainer | Solver, *, quiet: bool) -> None:
    """Run a training to its end, with a bar on stderr if that is a terminal."""
    if sys.stderr.isatty() and not quiet:
        _train_with_bar(trainer)
        return
    for _ in trainer.chunks():
        pass


def _train_with_bar(trainer: Trainer | Solver) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    loss = TextColumn("loss {task.fields[loss]}")
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), loss, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("training", total=trainer.total_iterations, loss="")
        for row in trainer.chunks():
            progress.update(bar, completed=row.iteration, loss=f"{row.loss:.6g}")
