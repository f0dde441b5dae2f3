"""Learning-rate schedules: pure functions from the number of an iteration to the rate of its update.

Nothing is kept between iterations, so a training that resumes later has the rates it would have had.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

from graphengine.format.fields import Document, Fraction, NonNegative, PositiveInt
from graphengine.format.kinds import SCHEDULES, Kind


class WarmupDocument(Document):
    """A linear rise from `start_factor` times the rate to the rate over the first `iterations`."""

    iterations: PositiveInt
    start_factor: Fraction = 0.0


class Schedule(Kind, ABC):
    """A learning-rate schedule: the initial rate, and an optional warmup before it.

    A subclass has its attributes as fields, and `type: Literal["name"]`.
    """

    learning_rate: NonNegative
    warmup: WarmupDocument | None = None

    @abstractmethod
    def rate(self, done: int) -> float:
        """Return the rate after `done` iterations of the schedule; the warmup does not count."""

    def at(self, iteration: int) -> float:
        """Return the rate of an iteration, counted from 1: a warmup comes first, and the schedule begins after it."""
        done, warmup = iteration - 1, self.warmup
        if warmup is None:
            return self.rate(done)
        if done >= warmup.iterations:
            return self.rate(done - warmup.iterations)
        return self.rate(0) * _between(warmup.start_factor, 1.0, done / warmup.iterations)


@SCHEDULES.register
class ConstantSchedule(Schedule):
    """The same rate throughout."""

    type: Literal["constant"]

    def rate(self, done: int) -> float:
        """Return the rate after `done` iterations."""
        return self.learning_rate


@SCHEDULES.register
class StepSchedule(Schedule):
    """The rate times `factor` after every `every` iterations."""

    type: Literal["step"]
    every: PositiveInt
    factor: NonNegative = 0.1

    def rate(self, done: int) -> float:
        """Return the rate after `done` iterations."""
        return self.learning_rate * _power(self.factor, done // self.every)


@SCHEDULES.register
class ExponentialSchedule(Schedule):
    """The rate times `factor` after each iteration."""

    type: Literal["exponential"]
    factor: NonNegative

    def rate(self, done: int) -> float:
        """Return the rate after `done` iterations."""
        return self.learning_rate * _power(self.factor, done)


@SCHEDULES.register
class CosineSchedule(Schedule):
    """Half a cosine from the rate to `final` over `iterations` (Loshchilov and Hutter 2017, without restarts)."""

    type: Literal["cosine"]
    iterations: PositiveInt
    final: NonNegative = 0.0

    def rate(self, done: int) -> float:
        """Return the rate after `done` iterations."""
        share = min(done / self.iterations, 1.0)
        return _between(self.final, self.learning_rate, (1 + math.cos(math.pi * share)) / 2)


@SCHEDULES.register
class LinearSchedule(Schedule):
    """A straight line from the rate to `final` over `iterations`."""

    type: Literal["linear"]
    iterations: PositiveInt
    final: NonNegative = 0.0

    def rate(self, done: int) -> float:
        """Return the rate after `done` iterations."""
        return _between(self.learning_rate, self.final, done / self.iterations)


@SCHEDULES.register
class InverseTimeSchedule(Schedule):
    """rate / (1 + decay * iteration)."""

    type: Literal["inverse_time"]
    decay: NonNegative

    def rate(self, done: int) -> float:
        """Return the rate after `done` iterations."""
        return self.learning_rate / (1 + self.decay * done)


@SCHEDULES.register
class OneCycleSchedule(Schedule):
    """Up to the rate over the fraction `rise` of `iterations`, then down to `final` (Smith 2018)."""

    type: Literal["one_cycle"]
    iterations: PositiveInt
    rise: Fraction = 0.3
    initial: NonNegative = 0.0
    final: NonNegative = 0.0

    def rate(self, done: int) -> float:
        """Return the rate after `done` iterations."""
        share = done / self.iterations
        if share < self.rise:
            return _between(self.initial, self.learning_rate, share / self.rise)
        if self.rise == 1.0:
            return self.final
        return _between(self.learning_rate, self.final, (share - self.rise) / (1 - self.rise))


def rate_at(schedule: float | Schedule, iteration: int) -> float:
    """Return the rate of an iteration, counted from 1; of a number, that number."""
    return float(schedule) if isinstance(schedule, (int, float)) else schedule.at(iteration)


def _between(start: float, end: float, share: float) -> float:
    """A point of the line from `start` to `end`, and `end` itself beyond it."""
    return start + (end - start) * share if share < 1 else end


def _power(factor: float, exponent: int) -> float:
    """factor ** exponent, infinite where a double cannot hold it."""
    try:
        return float(factor**exponent)
    except OverflowError:
        return math.inf
