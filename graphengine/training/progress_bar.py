"""A progress bar for a training, on stderr, by rich."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from graphengine.training.history import Iteration
from graphengine.training.underway import Running

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def progress_bar(trainer: Running, console: Console | None = None) -> Iterator[Callable[[Iteration], None]]:
    """Show a bar, and give a function that moves it to a row; the bar is removed in the end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    loss, rate = TextColumn("loss {task.fields[loss]}"), TextColumn("{task.fields[rate]}")
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), loss, rate, TimeRemainingColumn())
    limited = trainer.total_iterations < sys.maxsize
    with Progress(*columns, console=console or Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=trainer.total_iterations if limited else None, loss="", rate="")

        def see(row: Iteration) -> None:
            rate = f"rate {trainer.learning_rate:.3g}" if trainer.learning_rate is not None else ""
            progress.update(bar, completed=row.iteration, loss=f"{row.loss:.6g}", rate=rate)

        yield see
