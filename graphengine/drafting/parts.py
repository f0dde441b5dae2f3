"""The parts of a model document in the making: inputs, parameters, nodes and outputs, each with its description.

What a model ends with, classes or a number, its loss, its metric and its training, is the same for all drafts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphengine.format.documents import FORMAT, FORMAT_VERSION

HELD_OUT = 0.2
"""The share of the rows that a training is checked on."""
FEWEST_ROWS = 10
"""A table with fewer rows is checked on the rows that it trains on."""
PATIENCE = 20
"""Checks without anything better before a training ends."""


class Penalty(NamedTuple):
    """A penalty on weights: their sum of squares for each row trained on, times a strength."""

    weight: str
    strength: float
    why: str


@dataclass
class Parts:
    """The parts of a document; a method that adds something returns its name."""

    inputs: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def node(self, id: str, op: str, inputs: Iterable[Any], description: str, **attributes: Any) -> str:
        """Add a node."""
        given = {"attributes": attributes} if attributes else {}
        self.nodes.append({"id": id, "op": op, "inputs": list(inputs), **given, "description": description})
        return id

    def statistic(self, name: str, shape: Sequence[int], statistic: str, of: str, description: str) -> str:
        """Add a parameter that is computed from the rows of a training."""
        start = {"type": "from_data", "statistic": statistic, "of": of}
        made = {"shape": list(shape), "initializer": start, "trainable": False, "description": description}
        self.parameters[name] = made
        return name

    def weights(self, name: str, shape: Sequence[int], description: str, start: str = "zeros") -> str:
        """Add a parameter that is learned."""
        made = {"shape": list(shape), "initializer": {"type": start}, "description": description}
        self.parameters[name] = made
        return name

    def classify(self, scores: str, target: str, penalty: Penalty | None = None) -> str:
        """Add what follows from a score for each class; returns the metric."""
        self.node("probabilities", "softmax", [scores], "the probability of each class")
        self.node("class_index", "argmax", [scores], "the most probable class", axis=1)
        misfit = "misfit" if penalty else "loss"
        self.node(misfit, "softmax_cross_entropy", [scores, target], "mean of -log(probability of the true class)")
        self._penalize(misfit, target, penalty)
        self.outputs["class"] = {"value": "class_index", "categories": target}
        self.outputs["probabilities"] = {"value": "probabilities", "categories": target}
        return self.node("accuracy", "accuracy", [scores, target], "share of rows whose most probable class is correct")

    def regress(self, scores: str, target: str, penalty: Penalty | None = None) -> str:
        """Add what follows from a column that predicts the scaled target; returns the metric."""
        fitted = self.node("fitted", "squeeze", [scores], "one number for each row", axis=1)
        mean = self.statistic("target_mean", [], "mean", target, "mean of the target over the training rows")
        std = self.statistic("target_std", [], "std", target, "its standard deviation")
        scaled = self.node(
            "scaled_target", "nn.standardize", [target, mean, std], "the target with mean 0, deviation 1"
        )
        misfit = "misfit" if penalty else "loss"
        self.node(misfit, "mse", [fitted, scaled], "mean squared error of the scaled target")
        self._penalize(misfit, target, penalty)
        self.node("prediction", "nn.unstandardize", [fitted, mean, std], "the prediction in the unit of the target")
        self.outputs["prediction"] = "prediction"
        return self.node("r2", "r2", ["prediction", target], "share of the variance that the model explains")

    def _penalize(self, misfit: str, target: str, penalty: Penalty | None) -> None:
        if penalty is None:
            return
        self.node(
            "squares",
            "square",
            [penalty.weight],
            "penalizes large weights, so that equal columns have one best solution",
        )
        self.node("sum_of_squares", "sum", ["squares"], "of all weights")
        rows = self.statistic("rows", [], "count", target, "the number of training rows")
        self.node("squares_per_row", "div", ["sum_of_squares", rows], "the loss is a mean over the rows, too")
        self.node("penalty", "mul", ["squares_per_row", penalty.strength], penalty.why)
        self.node("loss", "add", [misfit, "penalty"], "what is minimized")

    def document(
        self, name: str, description: str, data: Mapping[str, Any], training: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the document, whose training uses this data."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "opset_imports": {"core": 1, "nn": 1},
            "name": name,
            "description": description,
            "inputs": self.inputs,
            "parameters": self.parameters,
            "nodes": self.nodes,
            "outputs": self.outputs,
            "data": {"train": dict(data)},
            "training": dict(training),
        }


def training(
    rows: int, metric: str, learning_rate: float, epochs: int, batch_size: int | None = None, classes: str | None = None
) -> dict[str, Any]:
    """Return the section that says how a model is trained; rows of an input of `classes` are set apart in shares."""
    alike = {"stratify": classes} if classes else {}
    checked = {"validation": {"fraction": HELD_OUT, **alike}, "early_stopping": {"patience": PATIENCE}}
    return {
        "loss": "loss",
        "data": "train",
        "optimizer": {"type": "adam", "learning_rate": learning_rate},
        **({"batch_size": batch_size, "shuffle": True} if batch_size else {}),
        "epochs": epochs,
        **(checked if rows >= FEWEST_ROWS else {}),
        "metrics": {metric: metric},
    }


def training_decisions(document: Mapping[str, Any]) -> dict[str, str]:
    """Return what was decided for the training of a document, by part, in words."""
    section = document["training"]
    apart, early, batch = map(section.get, ("validation", "early_stopping", "batch_size"))
    checks = "none: too few rows to set some apart"
    if apart:
        alike = ", with the same share of each class" * ("stratify" in apart)
        checks = f"{apart['fraction']:.0%} of the rows, drawn by seed{alike}"
    of = f"batches of {batch} rows" if batch else "all rows at once"
    end = f", stopping after {early['patience']} checks without improvement" if early else ""
    return {
        "metrics": ", ".join(section["metrics"]),
        "validation": checks,
        "training": f"{section['optimizer']['type']}, {of}, at most {section['epochs']} epochs{end}",
    }
