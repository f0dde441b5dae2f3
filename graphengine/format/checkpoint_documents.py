"""What a checkpoint may say. It is input like any other file, and not trusted because this package wrote it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from graphengine.format.documents import ExternalValue
from graphengine.format.fields import Document, Number, Sha256
from graphengine.ops.numbers import LARGEST_EXACT
from graphengine.ops.shapes import DTypeName

CHECKPOINT_FORMAT = "graphengine.checkpoint"

Count: TypeAlias = Annotated[int, Field(ge=0, le=LARGEST_EXACT)]
Place: TypeAlias = Annotated[int, Field(ge=1, le=LARGEST_EXACT)]
"""The number of an iteration, which a step reads as a floating-point number."""


class ArrayDocument(Document):
    """An array with all that it needs to come back as it was; `values` are its numbers in C order."""

    dtype: DTypeName
    shape: Annotated[list[Count], Field(max_length=64)]
    values: list[Any]


def _kind_of_array(value: Any) -> str:
    return "external" if isinstance(value, ExternalValue) or (isinstance(value, dict) and "file" in value) else "inline"


StoredArray: TypeAlias = Annotated[
    Annotated[ExternalValue, Tag("external")] | Annotated[ArrayDocument, Tag("inline")], Discriminator(_kind_of_array)
]
Arrays: TypeAlias = dict[str, StoredArray]


class ThinnedDocument(Document):
    """What all records share: of `seen` rows each `stride`-th one is kept, and the last one."""

    seen: Count
    stride: Place


class IterationsDocument(ThinnedDocument):
    """The record of the iterations: loss, norm of the gradient, and the parameters that are recorded, by column."""

    columns: list[StoredArray]


class EpochsDocument(ThinnedDocument):
    """The record of the epochs: the mean loss of each."""

    losses: StoredArray


class CheckDocument(Document):
    """What was computed after an iteration."""

    iteration: Place
    values: Arrays


class ChecksDocument(ThinnedDocument):
    """The record of the checks."""

    rows: list[CheckDocument]


class HistoryDocument(Document):
    """The three records of a training."""

    iterations: IterationsDocument
    epochs: EpochsDocument
    checks: ChecksDocument


class EarlyDocument(Document):
    """What early stopping remembers: the best check, when it was and the values of that time, and the last improvement.

    `waited` counts the checks since `improved`.
    """

    best: Number | None
    improved: Number | None
    iteration: Count
    waited: Count
    check: Arrays
    values: Arrays


class TrainingStateDocument(Document):
    """All that a training needs to resume after `iteration`.

    `carried` are parameters, state and what the update rule keeps; `epoch` and `total` are the sums of the losses of an
    epoch that is not complete, `uncounted` are its samples that are in no sum.
    """

    iteration: Place
    carried: Arrays
    total: StoredArray
    epoch: StoredArray
    uncounted: Count
    history: HistoryDocument
    early: EarlyDocument | None


class CheckpointFile(Document):
    """A checkpoint: which training it belongs to, with what it was computed, and the state of the training."""

    format: Literal["graphengine.checkpoint"]
    format_version: Literal[1]
    model: str
    fingerprint: Sha256
    rule: Sha256
    data: Sha256
    fixed: Sha256
    training: dict[str, Any]
    versions: dict[str, str]
    state: TrainingStateDocument
