"""What the section `training` of a model file may say: optimizer, schedule, and what is checked on the way."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from graphengine.format.fields import EXACT, Document, Fraction, Identifier, NonNegative, PositiveInt, Reference, Seed


class WarmupDocument(Document):
    """A linear rise from `start_factor` times the rate to the rate over the first `iterations`."""

    iterations: PositiveInt
    start_factor: Fraction = 0.0


class ScheduleDocument(Document):
    """What all schedules share: the rate they start from, and an optional warmup in front."""

    learning_rate: NonNegative
    warmup: WarmupDocument | None = None


class ConstantSchedule(ScheduleDocument):
    """The same rate throughout."""

    type: Literal["constant"]


class StepSchedule(ScheduleDocument):
    """The rate times `factor` after every `every` iterations."""

    type: Literal["step"]
    every: PositiveInt
    factor: NonNegative = 0.1


class ExponentialSchedule(ScheduleDocument):
    """The rate times `factor` after each iteration."""

    type: Literal["exponential"]
    factor: NonNegative


class CosineSchedule(ScheduleDocument):
    """Half a cosine from the rate to `final` over `iterations` (Loshchilov and Hutter 2017, without restarts)."""

    type: Literal["cosine"]
    iterations: PositiveInt
    final: NonNegative = 0.0


class LinearSchedule(ScheduleDocument):
    """A straight line from the rate to `final` over `iterations`."""

    type: Literal["linear"]
    iterations: PositiveInt
    final: NonNegative = 0.0


class InverseTimeSchedule(ScheduleDocument):
    """rate / (1 + decay * iteration)."""

    type: Literal["inverse_time"]
    decay: NonNegative


class OneCycleSchedule(ScheduleDocument):
    """Up to the rate over the fraction `rise` of `iterations`, then down to `final` (Smith 2018)."""

    type: Literal["one_cycle"]
    iterations: PositiveInt
    rise: Fraction = 0.3
    initial: NonNegative = 0.0
    final: NonNegative = 0.0


Schedule: TypeAlias = Annotated[
    ConstantSchedule
    | StepSchedule
    | ExponentialSchedule
    | CosineSchedule
    | LinearSchedule
    | InverseTimeSchedule
    | OneCycleSchedule,
    Field(discriminator="type"),
]


SOLVERS = ("least_squares", "lbfgs", "trust-constr")
"""What an optimizer may be besides an update rule: a solver, which needs no learning rate."""


class OptimizerDocument(BaseModel):
    """An update rule by name, its learning rate, and the rule's own attributes, which the rule checks; or a solver."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    type: str
    learning_rate: NonNegative | Schedule | None = None

    @property
    def is_solver(self) -> bool:
        """Whether a solver is named, and no update rule."""
        return self.type in SOLVERS

    @property
    def attributes(self) -> dict[str, Any]:
        """The keys that belong to the rule."""
        return dict(self.model_extra or {})


class ClippingDocument(Document):
    """Limits a gradient: each element (`value`), each parameter's norm (`norm`) or the norm of all (`global_norm`)."""

    type: Literal["value", "norm", "global_norm"]
    limit: Annotated[float, Field(gt=0), EXACT]


class ValidationDocument(Document):
    """Where the validation data come from (`data`, or a seeded `fraction` of the training data), and how often."""

    data: str | None = None
    fraction: Annotated[float, Field(gt=0, lt=1), EXACT] | None = None
    every_epochs: PositiveInt | None = None
    every_iterations: PositiveInt | None = None


class EarlyStoppingDocument(Document):
    """Stops when `monitor` has not improved by `min_delta` for `patience` checks."""

    monitor: str = "validation_loss"
    mode: Literal["min", "max"] = "min"
    patience: PositiveInt = 10
    min_delta: NonNegative = 0.0
    restore_best: bool = True


class CheckpointDocument(Document):
    """How often to write a checkpoint, and how many to keep."""

    every_epochs: PositiveInt | None = None
    every_iterations: PositiveInt | None = None
    every_seconds: Annotated[float, Field(gt=0), EXACT] | None = None
    keep: PositiveInt = 1


class TrainingDocument(Document):
    """How the model is trained. One iteration is one update; one epoch uses every sample once."""

    loss: Reference
    data: str | None = None
    optimizer: OptimizerDocument
    batch_size: PositiveInt | None = None
    drop_last: bool = False
    shuffle: bool = False
    seed: Seed = 0
    epochs: PositiveInt | None = None
    max_iterations: PositiveInt | None = None
    max_seconds: Annotated[float, Field(gt=0), EXACT] | None = None
    accumulate: PositiveInt = 1
    gradient_clipping: ClippingDocument | None = None
    validation: ValidationDocument | None = None
    early_stopping: EarlyStoppingDocument | None = None
    checkpoint: CheckpointDocument | None = None
    metrics: dict[Identifier, Reference] = {}
