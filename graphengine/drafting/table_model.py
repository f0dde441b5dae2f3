"""A complete model document for a table: encoding, scaling, the model itself, loss, metrics, validation, training.

Each part has a description, because the file is what a person reads next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, count
from typing import Any, TypeAlias

from graphengine.drafting.networks import image_features, series_memory
from graphengine.drafting.parts import Parts, Penalty, training
from graphengine.drafting.roles import Role, Task
from graphengine.wording import counted, enumerated

WHOLE = 4096
"""A linear model of at most this many rows is trained on all of them at once."""
UNITS = [32, 16]
"""Hidden layers of a multilayer perceptron."""


class Family(StrEnum):
    """Kinds of models for tables."""

    linear = "linear"
    logistic = "logistic"
    mlp = "mlp"
    cnn = "cnn"
    lstm = "lstm"


PENALIZED = frozenset({Family.linear, Family.logistic})
"""Kinds of models with a penalty on their weights."""
Source: TypeAlias = Callable[[Mapping[str, Role | list[Role]]], dict[str, Any]]
"""Makes a data source from the columns of each input."""


def family_for(task: Task) -> Family:
    """Return the simplest kind of model for a task."""
    return Family.logistic if task.has_classes else Family.linear


def table_model(name: str, origin: str, rows: int, task: Task, family: Family, source: Source) -> dict[str, Any]:
    """Return a model document for a table; `origin` says where that comes from."""
    draft = _ModelDraft(task, family, rows)
    columns = draft.encode()
    target = draft.declare_target()
    scores = draft.scores(columns)
    if task.has_classes:
        metric = draft.parts.classify(scores, target, draft.penalty())
    else:
        metric = draft.parts.regress(scores, target, draft.penalty())
    description = f"{_MODELS[family]}: column '{task.target.column}' from {columns_text(task)} of {origin}"
    return draft.parts.document(name, description, source(draft.columns), draft.training(metric, target))


_MODELS = {
    Family.linear: "Linear regression with a penalty",
    Family.logistic: "Logistic regression with a penalty",
    Family.mlp: "Multilayer perceptron",
    Family.cnn: "Convolutional network",
    Family.lstm: "Long short-term memory",
}


def columns_text(task: Task) -> str:
    """Return how many columns of which kind are used, in words."""
    parts = [(len(task.numbers), "numbers"), (len(task.dates), "dates"), (len(task.categories), "categories")]
    return enumerated([f"{counted(count, 'column')} of {what}" for count, what in parts if count])


def _identifier(column: str) -> str:
    """The name of a column with an underscore for what no identifier has."""
    letters = [letter if f"a{letter}".isidentifier() else "_" for letter in column[:60]]
    plain = "_".join(filter(None, "".join(letters).split("_"))) or "column"
    return plain if plain.isidentifier() else f"column_{plain}"


@dataclass
class _ModelDraft:
    """A model for a table, in the making."""

    task: Task
    family: Family
    rows: int
    parts: Parts = field(default_factory=Parts)
    columns: dict[str, Role | list[Role]] = field(default_factory=dict)
    """What each input takes."""
    width: int = 0
    """How many numbers encode a row."""

    def encode(self) -> str:
        """Add the columns as numbers of about the same size, side by side."""
        parts = [self._scaled()] if self.task.numbers or self.task.dates else []
        parts += map(self._one_hot, self.task.categories)
        return self._side_by_side("columns", parts, "all columns side by side")

    def _side_by_side(self, name: str, parts: list[str], description: str) -> str:
        """Add parts as one array; a single part is that already."""
        return parts[0] if len(parts) == 1 else self.parts.node(name, "concat", parts, description, axis=1)

    def _scaled(self) -> str:
        """Add numbers and dates, without gaps, standardized."""
        parts, task = self.parts, self.task
        full = self._measures()
        size = [len(task.numbers) + len(task.dates)]
        self.width += size[0]
        if task.has_gaps:
            usual = parts.statistic("usual", size, "median", full, "median of each column, for its gaps")
            full = parts.node("full", "nn.impute", [full, usual], "gaps get the median of their column")
        mean = parts.statistic("mean", size, "mean", full, "mean of each column over the training rows")
        std = parts.statistic("std", size, "std", full, "standard deviation of each column over the training rows")
        return parts.node("scaled", "nn.standardize", [full, mean, std], "columns with mean 0 and standard deviation 1")

    def _measures(self) -> str:
        """Add numbers and dates side by side."""
        task, units = self.task, "days since 1970-01-01"
        given = [self._matrix("numbers", task.numbers, "columns of numbers")] if task.numbers else []
        given += [self._matrix("dates", task.dates, "columns of dates", units=units)] if task.dates else []
        return self._side_by_side("measures", given, "numbers and dates side by side")

    def _matrix(self, name: str, roles: list[Role], described: str, **keys: Any) -> str:
        has_gaps = any(role.gaps for role in roles)
        self.columns[name] = roles
        self.parts.inputs[name] = {
            "shape": ["N", len(roles)],
            **({"missing": "nan"} if has_gaps else {}),
            **keys,
            "description": f"{described}, in the order of the data source" + "; gaps are NaN" * has_gaps,
        }
        return name

    def _one_hot(self, role: Role) -> str:
        name, depth = self._name(role), len(role.categories)
        self.width += depth
        self.parts.inputs[name] = {
            "shape": ["N"],
            "dtype": "int64",
            "categories": list(role.categories),
            "unknown": depth,
            "description": f"column '{role.column}'; gaps and other texts have the last index",
        }
        what = f"a column of 0 and 1 for each category of '{role.column}', all 0 for gaps and other texts"
        return self.parts.node(f"{name}_is", "one_hot", [name], what, depth=depth)

    def declare_target(self) -> str:
        """Add the input that is predicted."""
        target = self.task.target
        name = self._name(target)
        kind = {"dtype": "int64", "categories": list(target.categories)} if self.task.has_classes else {}
        described = f"column '{target.column}', which is predicted"
        self.parts.inputs[name] = {"shape": ["N"], **kind, "description": described}
        return name

    def _name(self, role: Role) -> str:
        """A name for the input of a column: its own with the letters of identifiers, and different from all others."""
        plain = _identifier(role.column)
        taken = {*_TAKEN, *self.columns, *(f"{name}_is" for name in self.columns)}
        names = chain([plain], map(f"{plain}_{{}}".format, count(2)))
        name = next(name for name in names if taken.isdisjoint((name, f"{name}_is")))
        self.columns[name] = role
        return name

    def scores(self, columns: str) -> str:
        """Add the model itself: a column for each class, or one for a number."""
        units = max(len(self.task.target.categories), 1)
        what = "a score for each class" if self.task.has_classes else "the prediction on the scale of the scaled target"
        if self.family == Family.mlp:
            return self.parts.node("scores", "nn.mlp", [columns], what, units=[*UNITS, units], activation="relu")
        if self.family not in PENALIZED:
            return self.parts.node("scores", "nn.dense", [self._features(columns)], what, units=units)
        weight = self.parts.weights("weight", [self.width, units], "a row for each column")
        bias = self.parts.weights("bias", [units], "the score where all columns are 0")
        return self.parts.node("scores", "nn.dense", [columns, weight, bias], what)

    def _features(self, columns: str) -> str:
        """Add what is found in columns that have an order."""
        if self.family == Family.cnn:
            return image_features(self.parts, columns, self.width)
        return series_memory(self.parts, columns)

    def penalty(self) -> Penalty | None:
        """Return the penalty on weights: that of scikit-learn's Ridge and LogisticRegression with strength 1.

        With two classes the scores have opposite weights, each half of that of a logistic regression.
        """
        if self.family not in PENALIZED:
            return None
        if not self.task.has_classes:
            return Penalty("weight", 1.0, "the second number is its strength, `alpha` of scikit-learn's Ridge")
        strength = 0.5 if len(self.task.target.categories) > 2 else 1.0
        why = f"the second number is its strength: {strength} / C of scikit-learn's LogisticRegression"
        return Penalty("weight", strength, why)

    def training(self, metric: str, target: str) -> dict[str, Any]:
        """Return the section that says how the model is trained."""
        classes = target if self.task.has_classes else None
        batch_size = 32 if self.rows <= WHOLE else 256
        if self.family not in PENALIZED:
            return training(self.rows, metric, 0.01, 100, batch_size, classes)
        return training(self.rows, metric, 0.05, 500, None if self.rows <= WHOLE else batch_size, classes)


_TAKEN = frozenset(
    re.findall(
        r"\w+",
        "numbers dates measures usual full mean std scaled columns weight bias scores probabilities class_index misfit "
        "squares sum_of_squares rows squares_per_row penalty loss accuracy fitted target_mean target_std scaled_target "
        "prediction r2 class N channel filters filter_bias maps active pooled features column weight_ih weight_hh "
        "bias_ih bias_hh start_h start_c lstm",
    )
)
"""Names of values that a document has besides its columns."""
