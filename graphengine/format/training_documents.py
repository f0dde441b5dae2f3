"""What the section `training` of a model file may say: optimizer, schedule, and what is checked on the way."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from graphengine.format.fields import EXACT, Document, Identifier, NonNegative, PositiveInt, Reference, Seed
from graphengine.format.kinds import SOLVERS, AnySchedule


class OptimizerDocument(BaseModel):
    """An update rule by name, its learning rate, and the rule's own attributes, which the rule checks; or a solver."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)

    type: str
    learning_rate: NonNegative | AnySchedule | None = None

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
    """Where the validation data come from (`data`, or a seeded `fraction` of the training data), and how often.

    A fraction keeps the share of each value of the input `stratify`, or the rows of each value of `group` together.
    """

    data: str | None = None
    fraction: Annotated[float, Field(gt=0, lt=1), EXACT] | None = None
    stratify: str | None = None
    group: str | None = None
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
    shard_rows: PositiveInt | None = None
    gradient_clipping: ClippingDocument | None = None
    validation: ValidationDocument | None = None
    early_stopping: EarlyStoppingDocument | None = None
    checkpoint: CheckpointDocument | None = None
    metrics: dict[Identifier, Reference] = {}

    @property
    def is_in_parts(self) -> bool:
        """Whether an iteration works on its batch in parts, whose gradients are added."""
        return self.accumulate > 1 or self.shard_rows is not None
