"""The keywords of `Model.train`, typed: those of the training section of a file, and what no file says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from graphengine.format.documents import FunctionFile

RuleSource = str | Path | FunctionFile | None


class TrainingKeys(TypedDict, total=False):
    """Keys of a training section. A key that is given overrides the file; None removes what the file says.

    `learning_rate` overrides the rate of the optimizer. All other keys replace the value in the file as a whole.
    """

    loss: str
    optimizer: Mapping[str, Any]
    learning_rate: float | Mapping[str, Any] | None
    batch_size: int | None
    drop_last: bool
    shuffle: bool
    seed: int
    epochs: int | None
    max_iterations: int | None
    max_seconds: float | None
    accumulate: int
    shard_rows: int | None
    gradient_clipping: Mapping[str, Any] | None
    validation: Mapping[str, Any] | None
    early_stopping: Mapping[str, Any] | None
    checkpoint: Mapping[str, Any] | None
    metrics: Mapping[str, str]


class TrainingOptions(TrainingKeys, total=False):
    """Keywords of a training.

    `update_rule` is a rule file that replaces the rule of the optimizer. `validation_data` has the same forms as the
    data and overrides the validation data of the section. `checkpoints` is a folder for checkpoints, and `resume`
    resumes from the newest one there.
    """

    update_rule: RuleSource
    validation_data: Any
    checkpoints: str | Path | None
    resume: bool
