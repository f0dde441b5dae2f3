"""Learning-rate schedules: pure functions from the number of an iteration to the rate of its update.

Nothing is kept between iterations, so a training that goes on later has the rates it would have had.
"""

from __future__ import annotations

import math
from typing import assert_never

from graphengine.format.training_documents import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    InverseTimeSchedule,
    LinearSchedule,
    OneCycleSchedule,
    Schedule,
    StepSchedule,
)


def rate_at(schedule: float | Schedule, iteration: int) -> float:
    """The rate of an iteration, counted from 1; of a number, that number.

    A warmup stands in front: the schedule itself begins after it.
    """
    if isinstance(schedule, (int, float)):
        return float(schedule)
    done, warmup = iteration - 1, schedule.warmup
    if warmup is None:
        return _rate(schedule, done)
    if done >= warmup.iterations:
        return _rate(schedule, done - warmup.iterations)
    return _rate(schedule, 0) * _between(warmup.start_factor, 1.0, done / warmup.iterations)


def _rate(schedule: Schedule, done: int) -> float:
    """The rate after `done` iterations of the schedule."""
    rate = schedule.learning_rate
    match schedule:
        case ConstantSchedule():
            return rate
        case StepSchedule():
            return rate * _power(schedule.factor, done // schedule.every)
        case ExponentialSchedule():
            return rate * _power(schedule.factor, done)
        case CosineSchedule():
            share = min(done / schedule.iterations, 1.0)
            return _between(schedule.final, rate, (1 + math.cos(math.pi * share)) / 2)
        case LinearSchedule():
            return _between(rate, schedule.final, done / schedule.iterations)
        case InverseTimeSchedule():
            return rate / (1 + schedule.decay * done)
        case OneCycleSchedule():
            return _one_cycle(schedule, done / schedule.iterations)
        case _:
            assert_never(schedule)


def _one_cycle(schedule: OneCycleSchedule, share: float) -> float:
    """Two straight lines, up to the rate and down from it; `share` is the part of all iterations that is done."""
    if share < schedule.rise:
        return _between(schedule.initial, schedule.learning_rate, share / schedule.rise)
    if schedule.rise == 1.0:
        return schedule.final
    return _between(schedule.learning_rate, schedule.final, (share - schedule.rise) / (1 - schedule.rise))


def _between(start: float, end: float, share: float) -> float:
    """A point of the line from `start` to `end`, and `end` itself beyond it."""
    return start + (end - start) * share if share < 1 else end


def _power(factor: float, exponent: int) -> float:
    """factor ** exponent, infinite where a double cannot hold it."""
    try:
        return float(factor**exponent)
    except OverflowError:
        return math.inf
