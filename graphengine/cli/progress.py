"""A training as people like to see it: a bar on a terminal, a log of JSON lines, and how to resume after Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphengine.cli.failures import Unwritten
from graphengine.cli.output import before_the_work, print_note
from graphengine.training.interrupting import Terminated

if TYPE_CHECKING:
    from graphengine.fit.solver_trainer import SolverTrainer
    from graphengine.training.checkpoint import Checkpoints
    from graphengine.training.history import Iteration
    from graphengine.training.loop import Trainer


FIRST_KEYS = ["iteration", "epoch", "loss"]
"""By which a line of a log is known."""


@contextmanager
def watched(
    trainer: Trainer | SolverTrainer, *, bar: bool, log: Path | None, unwritten: Unwritten
) -> Iterator[Callable[[Iteration], None]]:
    """Yield what shows the rows of a training: with a bar on stderr, in a log, or both.

    A log that cannot be written any more does not end the training.
    """
    with ExitStack() as stack:
        seen: list[Callable[[Iteration], None]] = []
        if bar:
            from graphengine.training.progress_bar import progress_bar

            seen.append(stack.enter_context(progress_bar(trainer)))
        if log is not None:
            from graphengine.format.files import appending

            with before_the_work():
                add = stack.enter_context(appending(log, _is_log))
            seen.append(_log(trainer, add, unwritten))

        def see(row: Iteration) -> None:
            for each in seen:
                each(row)

        yield see


def note_interruption(trainer: Trainer | SolverTrainer, error: BaseException) -> None:
    """Print how to resume a training that a signal or the loss of its workers has ended."""
    if isinstance(error, SystemExit) and not isinstance(error, Terminated):
        return  # code of the model or of a plugin has ended the process
    signal = f"{error.name}: " if isinstance(error, Terminated) else ""
    print_note(signal + _state_of(trainer))


def _state_of(trainer: Trainer | SolverTrainer) -> str:
    """How far an interrupted training came, and how to resume it."""
    from graphengine.fit.solver_trainer import SolverTrainer

    done = f"interrupted after iteration {len(trainer.history)}"
    if isinstance(trainer, SolverTrainer):
        return f"{done}; end a solver by --max-iterations or training.max_seconds, and --save keeps what it has"
    if trainer.checkpoints is None:
        return f"{done}; with --checkpoint FOLDER a training can be interrupted without loss"
    return done + _how_to_resume(trainer.checkpoints, len(trainer.history))


def _how_to_resume(checkpoints: Checkpoints, done: int) -> str:
    if checkpoints.written is None:
        return ", before there was a checkpoint"
    kept = "" if checkpoints.written == done else f", saved after iteration {checkpoints.written}"
    return f"{kept}; resume with --checkpoint {checkpoints.folder} --resume"


def _log(
    trainer: Trainer | SolverTrainer, add: Callable[[bytes], None], unwritten: Unwritten
) -> Callable[[Iteration], None]:
    """Adds a line to a log now and then, and for each check, so that a training can be followed from elsewhere."""
    import orjson

    from graphengine.format.writing import encode_array
    from graphengine.ops.numbers import encode_number

    began, shown_until = time.monotonic(), len(trainer.history)

    def see(row: Iteration) -> None:
        nonlocal shown_until
        if unwritten.problems:  # the training continues without a log
            return
        checks = [check for check in trainer.history.checks[-1:] if check.iteration > shown_until]
        shown_until = row.iteration
        line: dict[str, Any] = {
            "iteration": row.iteration,
            "epoch": row.epoch,
            "loss": encode_number(row.loss),
            "gradient_norm": encode_number(row.gradient_norm),
        }
        line |= {"learning_rate": trainer.learning_rate, "seconds": round(time.monotonic() - began, 3)}
        if checks:
            line["check"] = {name: encode_array(each) for name, each in checks[0].values.items()}
        with unwritten.kept():
            add(orjson.dumps(line))

    return see


def _is_log(line: bytes) -> bool:
    """Whether this is the first line of a log."""
    import orjson

    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(row, dict) and list(row)[: len(FIRST_KEYS)] == FIRST_KEYS
