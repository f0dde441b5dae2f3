"""The proof that a training can be interrupted: it resumes from a checkpoint to the same end, to the last bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphengine.errors import TrainingError
from graphengine.training.loop import Trainer, run_to_end

MOST_ITERATIONS = 200
MOST_STOPS = 12


class Resumed(NamedTuple):
    """A training that was interrupted after an iteration and went on: the names of what came out otherwise."""

    iteration: int
    different: list[str]


def stops(iterations: int, per_epoch: int) -> list[int]:
    """Where to interrupt: at the start, the end, the ends of epochs, and evenly between."""
    ends = range(per_epoch, iterations, per_epoch) if per_epoch > 1 else range(0)
    near = [place for end in itertools.islice(ends, 2) for place in (end - 1, end, end + 1)]
    spread = np.linspace(1, iterations - 1, MOST_STOPS).round().astype(int).tolist()
    return sorted({place for place in (*near, *spread) if 0 < place < iterations})


def check_resume(make: Callable[..., Trainer], iterations: int | None, at: Sequence[int] = ()) -> Iterator[Resumed]:
    """Interrupt a training and resume it, for each of some iterations.

    `make` gives a new trainer that saves itself in its own folder; it takes keywords that replace keys of the
    training section.

    Raises
    ------
    TrainingError
        GE602 if the training is too short to be interrupted.
    """
    first = make(resume=False)
    per_epoch = first.batches.per_epoch
    count = min(iterations or min(per_epoch + 10, MOST_ITERATIONS), first.total_iterations)
    if count < 2:
        raise TrainingError("a training of one iteration cannot be interrupted")
    wanted = list(at) or stops(count, per_epoch)
    whole = make(resume=False, max_iterations=count)
    run_to_end(whole)
    for place in wanted:
        begun = make(resume=False, max_iterations=place)
        run_to_end(begun)
        resumed = make(resume=True, max_iterations=count)
        run_to_end(resumed)
        yield Resumed(place, list(different(whole.state, resumed.state)))


def different(one: Any, other: Any, name: str = "") -> Iterator[str]:
    """The names of the parts of two states that are not the same, bit for bit."""
    here, there = _parts_of(one), _parts_of(other)
    if here is not None and there is not None and here.keys() == there.keys():
        for key in here:
            yield from different(here[key], there[key], f"{name}/{key}".removeprefix("/"))
    elif not _same(one, other):
        yield name


def _parts_of(value: Any) -> dict[Any, Any] | None:
    """The parts of a state by key or place; None for a number, an array or a text."""
    if isinstance(value, (list, tuple)):
        return dict(enumerate(value))
    return value if isinstance(value, dict) else None


def _same(one: Any, other: Any) -> bool:
    here, there = np.asarray(one), np.asarray(other)
    return (here.dtype, here.shape, here.tobytes()) == (there.dtype, there.shape, there.tobytes())
