"""`cluster`, and trainings whose gradients workers compute."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.output import print_line, print_note
from graphengine.errors import UsageError

if TYPE_CHECKING:
    from graphengine.fit.solver_trainer import SolverTrainer
    from graphengine.model.model import Model
    from graphengine.training.loop import Trainer


def cluster(
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Number of processes.")] = 2,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of the scheduler; 0 picks a free one.")
    ] = 0,
) -> None:
    """Start a Dask scheduler and N workers on this machine; Ctrl-C ends them."""
    from graphengine.dask import local_cluster

    with _ending() as end, local_cluster(workers, port) as running:
        print_line(f"scheduler: {running.scheduler_address}")
        print_line(f"example:   graphengine train MODEL --dask {running.scheduler_address}")
        end.wait()


@contextmanager
def _ending() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that the workers end with the command."""
    end = threading.Event()
    before = {each: signal.signal(each, lambda *_: end.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield end
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def chosen(workers: int | None, dask: str | None) -> int | str | None:
    """Return who works: so many processes, the scheduler at an address, or this process, None.

    Raises
    ------
    UsageError
        GE801 for two kinds of workers.
    """
    if workers is not None and dask is not None:
        raise UsageError("--workers starts processes here, and --dask names those of a scheduler: give one of them")
    if dask == "":
        raise UsageError("the address of the scheduler is empty", hint="--dask tcp://host:8786")
    return dask or workers


def trainer_over(
    model: Model, given: dict[str, Any], options: Mapping[str, Any], workers: int | None, dask: str | None
) -> tuple[Trainer | SolverTrainer, AbstractContextManager[None]]:
    """Return a training with the shards that workers need, and the block in which they compute them.

    Raises
    ------
    UsageError
        GE801 for two kinds of workers, or for data that workers could not open.
    """
    who = chosen(workers, dask)
    if given and isinstance(who, str):
        hint = "declare the data in the model file, and name it with --set training.data=NAME"
        raise UsageError(
            "workers open a data source of the model file, so they cannot take --data or --input", hint=hint
        )
    from graphengine.dask import sharded

    trainer = model.trainer(given or None, **sharded(model, options))
    return trainer, _working(trainer, model, given, who)


@contextmanager
def _working(trainer: Trainer | SolverTrainer, model: Model, given: Any, who: int | str | None) -> Iterator[None]:
    """Let workers compute the shards of a training in the block, and note if one is lost."""
    from graphengine.scale import local_training

    with local_training.working(trainer, model, given or None, who), warnings_as_notes():
        yield


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Print what is logged as a warning, such as that a worker is lost."""
    from graphengine.training.history import LOG

    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: print_note(f"warning: {record.getMessage()}")  # type: ignore[method-assign]
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
