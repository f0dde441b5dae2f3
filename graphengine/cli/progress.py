"""A training as people like to see it: a bar on a terminal, a log of JSON lines, and an end that Ctrl-C may bring."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphengine.cli.failures import Unwritten
from graphengine.cli.output import before_the_work, print_note, print_text
from graphengine.errors import WorkersError

if TYPE_CHECKING:
    from graphengine.fit.solver_trainer import SolverTrainer
    from graphengine.training.checkpoint import Checkpoints
    from graphengine.training.history import History, Iteration
    from graphengine.training.loop import Trainer


FIRST_KEYS = ["iteration", "epoch", "loss"]
"""By which a line of a log is known."""


def train(trainer: Trainer | SolverTrainer, *, quiet: bool, log: Path | None, unwritten: Unwritten) -> None:
    """Run a training to its end, with a bar on stderr if that is a terminal.

    A log that cannot be written any more does not end it. Warnings of the package's logger are printed as notes. On a
    signal that ends it a checkpoint is written, if there is a folder for them, and a note says how to resume.
    """
    from graphengine.training.interrupting import Terminated, run_to_end

    with ExitStack() as stack:
        stack.enter_context(_warnings_as_notes())
        seen: list[Callable[[Iteration], None]] = []
        if sys.stderr.isatty() and not quiet:
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

        try:
            run_to_end(trainer, see)
        except (KeyboardInterrupt, Terminated, WorkersError) as error:
            stack.close()
            signal = f"{error.name}: " if isinstance(error, Terminated) else ""
            print_note(signal + _how_to_go_on(trainer))
            raise


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Print what is logged as a warning, such as that a worker is lost."""
    from graphengine.training.history import LOG

    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: print_note(f"warning: {record.getMessage()}")  # type: ignore[method-assign]
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)


def _how_to_go_on(trainer: Trainer | SolverTrainer) -> str:
    """What there is of an interrupted training, and where."""
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


def check_plot(path: Path | None) -> None:
    """Find out before a long training that its curve could not be drawn or written."""
    if path is not None:
        from graphengine.draw.curve import check_format

        check_format(path)


def draw_curve(history: History, path: Path | None, unwritten: Unwritten) -> None:
    """Draw the loss curve into a file, if one is named for it."""
    if path is not None:
        from graphengine.draw.curve import save_curve

        with unwritten.kept():
            save_curve(history, path)


def print_curve(history: History | None) -> None:
    """Print the loss curve, if there is one."""
    if history is not None:
        from graphengine.draw.curve import terminal_curve

        print_text(f"{terminal_curve(history.losses)}\n")


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
