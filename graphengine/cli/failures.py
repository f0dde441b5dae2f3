"""What a user sees when a command fails: a line for each problem on stderr, or one JSON object on stdout.

Exit codes: 1 the work failed, 2 bad input or usage, 130 interrupted, 141 the reader of a pipe went away; a training
that a signal ends with a checkpoint has 128 and the number of the signal, 143 for SIGTERM and 129 for SIGHUP.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import typer

from graphengine.cli.output import WARNINGS, Format, give_up, print_json, print_note
from graphengine.errors import (
    DataError,
    DivergenceError,
    GraphEngineError,
    InputError,
    InvalidModelError,
    Problem,
    RegistrationError,
    TrainingError,
    UsageError,
    WorkersError,
)

WORK_FAILED, BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141

_BAD_INPUT = (
    InvalidModelError,
    RegistrationError,
    InputError,
    DataError,
    TrainingError,
    UsageError,
)

# The base of all errors that typer finds in a command line. It has no public name in all versions of typer: it is
# click's, or that of the copy of click within typer.
_CommandLineError: Any = typer.BadParameter.__mro__[1]


def exit_code(error: GraphEngineError) -> int:
    """2 if the user has to change what was given, 1 if it was right and the work failed."""
    if isinstance(error, (DivergenceError, WorkersError)):
        return WORK_FAILED
    return BAD_INPUT if isinstance(error, _BAD_INPUT) else WORK_FAILED


@contextmanager
def reported(arguments: Sequence[str]) -> Iterator[None]:
    """Report errors as the command line asks for, which is known even if the command line itself is wrong."""
    try:
        yield
    except GraphEngineError as error:
        _report(error.problems, arguments)
        raise SystemExit(exit_code(error)) from None
    except _CommandLineError as error:
        _report([_usage_problem(error)], arguments)
        raise SystemExit(BAD_INPUT) from None


@contextmanager
def _flushed() -> Iterator[None]:
    """Hand over at the end what was printed."""
    try:
        yield
    finally:
        sys.stdout.flush()


@contextmanager
def ended_in_order() -> Iterator[None]:
    """End with one line on Ctrl-C and when the output cannot be written, silently when nobody reads it any more.

    The last is `... | head`. All that was printed is handed over before the process ends.
    """
    try:
        with _flushed():
            yield
    except KeyboardInterrupt:
        print_note("error: interrupted")
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        give_up(sys.stdout)
        raise SystemExit(PIPE_CLOSED) from None
    except OSError as error:  # what is wrong with a file was reported as such where it was opened
        give_up(sys.stdout)
        what = "cannot write the output" if error.filename is None else "cannot read or write the file"
        print_problems([Problem("GE101", f"{what}: {error.strerror or error}", file=error.filename)])
        raise SystemExit(WORK_FAILED) from None


class Unwritten:
    """What could not be written of a work that succeeded: it is reported after the result, which is not lost by it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep an error instead of raising it."""
        try:
            yield
        except GraphEngineError as error:
            self.problems += error.problems

    def as_json(self) -> dict[str, Any]:
        """Further keys of a result for machines, which is one object with or without errors."""
        return {"errors": [problem.as_dict() for problem in self.problems]} if self.problems else {}

    def end(self, output_format: Format) -> None:
        """After the result, for people, what could not be written; the exit code of a command for which there is some.

        Raises
        ------
        typer.Exit
            If something could not be written.
        """
        if self.problems:
            if output_format is Format.text:
                print_problems(self.problems)
            raise typer.Exit(WORK_FAILED)


_FOR_MACHINES: ContextVar[bool] = ContextVar("for_machines", default=False)


def begin(arguments: Sequence[str]) -> None:
    """Forget the warnings of the command before, and note whether this one prints JSON."""
    WARNINGS.set(())
    _FOR_MACHINES.set(_wants_json(arguments))


def heed(problems: Sequence[Problem], *, strict: bool) -> None:
    """Take note of warnings, each once in a command: print them on stderr, or keep them for its JSON object.

    Raises
    ------
    InvalidModelError
        With all of them if it is `strict` and there is one.
    """
    if strict and problems:
        raise InvalidModelError(problems)
    new = [each for each in problems if each not in WARNINGS.get()]
    WARNINGS.set((*WARNINGS.get(), *new))
    if not _FOR_MACHINES.get():
        print_problems(new, "warning")


def print_problems(problems: Iterable[Problem], kind: str = "error") -> None:
    """One line for each problem on stderr, on a terminal with the place in the file below it."""
    for problem in problems:
        print_note(f"{kind}: {problem}")
        if sys.stderr.isatty():
            from graphengine.cli.excerpts import excerpt

            for line in excerpt(problem):
                print_note(line)


def _report(problems: Iterable[Problem], arguments: Sequence[str]) -> None:
    if not _wants_json(arguments):
        print_problems(problems)
        return
    verdict = {"valid": False} if "validate" in arguments[:1] else {}
    print_json({**verdict, "errors": [problem.as_dict() for problem in problems]})


def _wants_json(arguments: Sequence[str]) -> bool:
    return "--format=json" in arguments or ("--format", "json") in pairwise(arguments)


def _usage_problem(error: Any) -> Problem:
    message = error.format_message().rstrip(".").replace("Value error, ", "")  # pydantic's, which typer asks
    message = re.sub("Input should be (.*?)(, unable to parse .*)?$", r"must be \1", message)
    message = re.sub(": '.*' is not a valid (float|integer)$", _must_be, message)  # before typer asked pydantic
    command = error.ctx.command_path if error.ctx else "graphengine"
    return Problem("GE801", message[:1].lower() + message[1:], hint=f"see '{command} --help'")


def _must_be(kind: re.Match[str]) -> str:
    return f": must be a valid {'number' if kind[1] == 'float' else kind[1]}"
