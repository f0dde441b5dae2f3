"""A complete model document for a table: encoding, scaling, the model itself, loss, metrics, validation, training.

Each part has a description, because the file is what a person reads next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from graphengine.data.csv_dialect import Dialect
from graphengine.drafting.roles import Role, Task
from graphengine.drafting.survey import Survey
from graphengine.format.documents import FORMAT, FORMAT_VERSION

HELD_OUT = 0.2
"""The share of the rows that a training is checked on."""
FEWEST_ROWS = 10
"""A table with fewer rows is checked on the rows that it trains on."""
WHOLE = 4096
"""A linear model of at most so many rows is trained on all of them at once."""
UNITS = [32, 16]
"""Hidden layers of a multilayer perceptron."""


class Family(StrEnum):
    """Kinds of models for tables."""

    linear = "linear"
    logistic = "logistic"
    mlp = "mlp"


def family_for(task: Task) -> Family:
    """Return the simplest kind of model for a task."""
    return Family.logistic if task.has_classes else Family.linear


def table_model(name: str, source: str, survey: Survey, task: Task, family: Family) -> dict[str, Any]:
    """Return a model document that trains on a CSV file; `source` is its path from the model's folder."""
    draft = _Draft(task, family, survey.rows, survey.dialect.header)
    draft.encode()
    draft.predict()
    used = counted_columns(task)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "opset_imports": {"core": 1, "nn": 1},
        "name": name,
        "description": f"{_MODELS[family]}: '{task.target.column}' from {used} of {source}",
        "inputs": draft.inputs,
        "parameters": draft.parameters,
        "nodes": draft.nodes,
        "outputs": draft.outputs,
        "data": {"train": _source(source, survey.dialect, draft.columns)},
        "training": draft.training(),
    }


_MODELS = {
    Family.linear: "Linear regression with a penalty",
    Family.logistic: "Logistic regression with a penalty",
    Family.mlp: "Multilayer perceptron",
}


def counted_columns(task: Task) -> str:
    """The number of columns that are used, by kind, in words."""
    parts = [f"{len(roles)} of {what}" for roles, what in ((task.numbers, "numbers"), (task.categories, "categories"))]
    return "columns: " + " and ".join(part for part in parts if not part.startswith("0 "))


def _source(path: str, dialect: Dialect, columns: Mapping[str, Any]) -> dict[str, Any]:
    """A data source; what has its default is left out when it is written."""
    return {
        "type": "csv",
        "path": path,
        "columns": dict(columns),
        "separator": dialect.separator,
        "decimal": dialect.decimal,
        **({"thousands": dialect.thousands} if dialect.thousands else {}),
        "header": dialect.header,
        "missing": list(dialect.missing),
    }


@dataclass
class _Draft:
    """The parts of a document, in the making."""

    task: Task
    family: Family
    rows: int
    header: bool = True
    inputs: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """The inputs by column."""
    width: int = 0
    """How many numbers encode a row."""

    def node(self, id: str, op: str, inputs: Iterable[Any], description: str, **attributes: Any) -> str:
        """Add a node, and return its name."""
        given = {"attributes": attributes} if attributes else {}
        self.nodes.append({"id": id, "op": op, "inputs": list(inputs), **given, "description": description})
        return id

    def statistic(self, name: str, shape: list[int], statistic: str, of: str, description: str) -> str:
        """Add a parameter that is computed from the rows of a training, and return its name."""
        start = {"type": "from_data", "statistic": statistic, "of": of}
        made = {"shape": shape, "initializer": start, "trainable": False, "description": description}
        self.parameters[name] = made
        return name

    def weights(self, name: str, shape: list[Any], description: str) -> str:
        """Add a parameter that is learned and starts at zero, and return its name."""
        self.parameters[name] = {"shape": shape, "initializer": {"type": "zeros"}, "description": description}
        return name

    def encode(self) -> None:
        """Columns as numbers of about the same size, side by side."""
        parts = [self._scaled_numbers()] if self.task.numbers else []
        self.width = len(self.task.numbers)
        parts += [self._one_hot(role) for role in self.task.categories]
        self._declare_target()
        if len(parts) > 1:
            self.node("columns", "concat", parts, "all columns side by side", axis=1)

    @property
    def encoded(self) -> str:
        """The value that has all columns."""
        return str(self.nodes[-1]["id"])

    def _scaled_numbers(self) -> str:
        roles = self.task.numbers
        size, has_gaps = [len(roles)], any(role.gaps for role in roles)
        described = "columns of numbers, in the order of the data source"
        self.inputs["numbers"] = {"shape": ["N", *size], **({"missing": "nan"} if has_gaps else {})}
        self.inputs["numbers"]["description"] = described + "; empty cells are NaN" * has_gaps
        self.columns["numbers"] = [self._column(role) for role in roles]
        full = "numbers"
        if has_gaps:
            usual = self.statistic("usual", size, "median", "numbers", "median of each column, for empty cells")
            full = self.node("full", "nn.impute", ["numbers", usual], "empty cells get the median of their column")
        mean = self.statistic("mean", size, "mean", full, "mean of each column over the rows trained on")
        std = self.statistic("std", size, "std", full, "standard deviation of each column over the rows trained on")
        return self.node("scaled", "nn.standardize", [full, mean, std], "columns with mean 0 and standard deviation 1")

    def _one_hot(self, role: Role) -> str:
        name, depth = self._name(role.column), len(role.categories)
        empty = " and empty cells" * bool(role.gaps)
        self.inputs[name] = {
            "shape": ["N"],
            "dtype": "int64",
            "categories": list(role.categories),
            "unknown": depth,
            "description": f"column '{role.column}'; other texts{empty} have an index of their own",
        }
        self.columns[name] = self._column(role)
        self.width += depth
        what = f"a column of 0 and 1 for each category of '{role.column}', all 0 for others"
        return self.node(f"{name}_is", "one_hot", [name], what, depth=depth)

    def _declare_target(self) -> None:
        target = self.task.target
        name = self._name(target.column)
        kind = {"dtype": "int64", "categories": list(target.categories)} if self.task.has_classes else {}
        self.inputs[name] = {"shape": ["N"], **kind, "description": f"column '{target.column}', which is predicted"}
        self.columns[name] = self._column(target)

    def _name(self, column: str) -> str:
        """A name for the input of a column: its own with the letters of identifiers, and different from all others."""
        plain = re.sub(r"\W+", "_", column).strip("_")[:60] or "column"
        plain = plain if not plain[0].isdigit() else f"column_{plain}"
        taken = {*_TAKEN, *self.names.values(), *(f"{name}_is" for name in self.names.values())}
        name, count = plain, 2
        while name in taken or f"{name}_is" in taken:
            name, count = f"{plain}_{count}", count + 1
        self.names[column] = name
        return name

    def _column(self, role: Role) -> str | int:
        return role.column if self.header else role.place

    def predict(self) -> None:
        """The model itself, its outputs and its loss."""
        target = self.names[self.task.target.column]
        if self.task.has_classes:
            self._classify(target)
        else:
            self._regress(target)

    def _classify(self, target: str) -> None:
        scores = self._layers(len(self.task.target.categories), "a score for each class")
        self.node("probabilities", "softmax", [scores], "the probability of each class")
        self.node("class_index", "argmax", [scores], "the most probable class", axis=1)
        misfit = "misfit" if self.is_penalized else "loss"
        self.node(misfit, "softmax_cross_entropy", [scores, target], "mean of -log(probability of the right class)")
        self._penalize(misfit, 2)
        self.node("accuracy", "accuracy", [scores, target], "share of the rows whose most probable class is right")
        self.outputs["class"] = {"value": "class_index", "categories": target}
        self.outputs["probabilities"] = {"value": "probabilities", "categories": target}

    def _regress(self, target: str) -> None:
        columns = self._layers(1, "the prediction on the scale of the scaled target")
        scores = self.node("fitted", "squeeze", [columns], "one number for each row", axis=1)
        mean = self.statistic("target_mean", [], "mean", target, "mean of the target over the rows trained on")
        std = self.statistic("target_std", [], "std", target, "its standard deviation")
        scaled = self.node(
            "scaled_target", "nn.standardize", [target, mean, std], "the target with mean 0, deviation 1"
        )
        misfit = "misfit" if self.is_penalized else "loss"
        self.node(misfit, "mse", [scores, scaled], "mean squared error of the scaled target")
        self._penalize(misfit, 1)
        self.node("prediction", "nn.unstandardize", [scores, mean, std], "the prediction in the unit of the target")
        self.node("r2", "r2", ["prediction", target], "share of the variance that the model explains")
        self.outputs["prediction"] = "prediction"

    @property
    def is_penalized(self) -> bool:
        """Whether the loss has a penalty on weights."""
        return self.family != Family.mlp

    def _layers(self, units: int, description: str) -> str:
        columns = self.encoded
        if self.family == Family.mlp:
            return self.node("scores", "nn.mlp", [columns], description, units=[*UNITS, units], activation="relu")
        weight = self.weights("weight", [self.width, units], "a row for each column")
        bias = self.weights("bias", [units], "the score where all columns are 0")
        return self.node("scores", "nn.dense", [columns, weight, bias], description)

    def _penalize(self, misfit: str, factor: int) -> None:
        """Add sum(weight^2) / (factor * rows) to a mean loss: the penalty of scikit-learn with strength 1."""
        if not self.is_penalized:
            return
        self.node("squares", "square", ["weight"], "large weights cost: without it, columns alike have no best weights")
        self.node("sum_of_squares", "sum", ["squares"], "of all weights")
        self.node(
            "penalty",
            "div",
            ["sum_of_squares", factor * self.trained_rows],
            f"divided by {_TIMES[factor]}the rows trained on",
        )
        self.node("loss", "add", [misfit, "penalty"], "what is minimized")

    @property
    def is_held_out(self) -> bool:
        """Whether rows are set apart for checks."""
        return self.rows >= FEWEST_ROWS

    @property
    def trained_rows(self) -> int:
        """The rows that are trained on."""
        return self.rows - round(HELD_OUT * self.rows) * self.is_held_out

    def training(self) -> dict[str, Any]:
        """The section that says how the model is trained."""
        linear = self.family != Family.mlp
        batches = (
            {} if linear and self.rows <= WHOLE else {"batch_size": 32 if self.rows <= WHOLE else 256, "shuffle": True}
        )
        alike = {"stratify": self.names[self.task.target.column]} if self.task.has_classes else {}
        apart = {"validation": {"fraction": HELD_OUT, **alike}} if self.is_held_out else {}
        stopping = {"early_stopping": {"patience": 20}} if self.is_held_out else {}
        metric = "accuracy" if self.task.has_classes else "r2"
        return {
            "loss": "loss",
            "data": "train",
            "optimizer": {"type": "adam", "learning_rate": 0.05 if linear else 0.01},
            **batches,
            "epochs": 500 if linear else 100,
            **apart,
            **stopping,
            "metrics": {metric: metric},
        }


_TIMES = {1: "", 2: "twice "}
_TAKEN = frozenset(
    re.findall(
        r"\w+",
        "numbers usual full mean std scaled columns weight bias scores probabilities class_index misfit squares "
        "penalty sum_of_squares loss accuracy fitted target_mean target_std scaled_target prediction r2 class",
    )
)
"""Names of values that a document has besides its columns."""
