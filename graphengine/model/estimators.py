"""Models that estimators make of a table: standardized columns, and a linear model or a small network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from graphengine.model.builder import Builder, Value
from graphengine.nn.shipped import shipped_function

Array: TypeAlias = np.ndarray[Any, Any]

TRAINING = {"optimizer": {"type": "adam", "learning_rate": 0.01}, "batch_size": 64, "shuffle": True, "epochs": 100}
"""How a network with hidden layers is trained; a linear model is minimized by a solver."""


def regressor(
    features: Array, targets: Array, weights: Array | None, *, units: Sequence[int], activation: str, alpha: float
) -> Builder:
    """Return a model of targets (N, K) from features (N, F); both are standardized with weights (N,)."""
    b = Builder("regressor", description="Regression on standardized columns")
    width = targets.shape[1]
    scores, penalty = _network(b, features, weights, [*units, width], activation)
    mean, scale = _constants(b, "target", targets, weights)
    y = b.input("y", ["N", width], description="targets")
    errors = b.name("errors", np.square(scores - (y - mean) / scale))
    losses = b.name("losses", np.sum(errors, axis=1) / 2)
    b.output(prediction=b.name("prediction", scores * scale + mean))
    return _trained(b, losses, penalty, alpha, is_linear=not units)


def classifier(
    features: Array, classes: int, weights: Array | None, *, units: Sequence[int], activation: str, alpha: float
) -> Builder:
    """Return a model of the probabilities of classes from features (N, F), standardized with weights (N,)."""
    b = Builder("classifier", description="Classification on standardized columns")
    scores, penalty = _network(b, features, weights, [*units, 1 if classes == 2 else classes], activation)
    y = b.input("y", ["N"], "int64", description="the number of the class")
    if classes == 2:
        logits = b.name("logits", b.node("squeeze", scores, axis=1))
        losses = b.node("binary_cross_entropy", logits, b.node("cast", y, dtype="float64"), reduction="none")
        b.output(probability=b.name("probability", b.node("sigmoid", logits)))
    else:
        losses = b.node("softmax_cross_entropy", scores, y, reduction="none")
        b.output(probabilities=b.name("probabilities", b.node("softmax", scores, axis=1)))
    return _trained(b, b.name("losses", losses), penalty, alpha, is_linear=not units)


def standardizer(features: Array, weights: Array | None) -> Builder:
    """Return a model that standardizes each column of features (N, F), with weights (N,)."""
    b = Builder("standardizer", description="Each column with mean 0 and standard deviation 1")
    b.output(standardized=_standardized(b, features, weights))
    return b


def _network(
    b: Builder, features: Array, weights: Array | None, units: Sequence[int], activation: str
) -> tuple[Value, Value]:
    """Layers of some units on standardized columns: what the last one gives, and the sum of the squared weights."""
    value, width, squares = _standardized(b, features, weights), features.shape[1], []
    for number, size in enumerate(units, 1):
        is_last = number == len(units)
        kind = "zeros" if len(units) == 1 else "glorot_uniform" if is_last else "he_uniform"
        weight = b.parameter(f"weight_{number}", [width, size], initializer={"type": kind})
        bias = b.parameter(f"bias_{number}", [size])
        layer = shipped_function("nn", "dense")
        value = layer(value, weight, bias) if is_last else layer(value, weight, bias, activation=activation)
        b.name("scores" if is_last else f"layer_{number}", value)
        squares.append(np.sum(np.square(weight)))
        width = size
    return value, sum(squares[1:], squares[0])


def _standardized(b: Builder, features: Array, weights: Array | None) -> Value:
    x = b.input("x", ["N", features.shape[1]], description="the columns of the table")
    mean, scale = _constants(b, "column", features, weights)
    value: Value = b.name("standardized", (x - mean) / scale)
    return value


def _constants(b: Builder, what: str, table: Array, weights: Array | None) -> tuple[Value, Value]:
    """Mean and standard deviation of each column as parameters that are not trained; 1 where a column is constant."""
    mean = np.average(table, axis=0, weights=weights)
    variance = np.average(np.square(table - mean), axis=0, weights=weights)
    rounding = 10 * np.finfo(np.float64).eps * (np.abs(mean) + np.abs(table).max(axis=0))
    scale = np.sqrt(variance)
    scale[scale <= rounding] = 1
    return (
        b.parameter(f"{what}_mean", [table.shape[1]], value=mean, trainable=False),
        b.parameter(f"{what}_scale", [table.shape[1]], value=scale, trainable=False),
    )


def _trained(b: Builder, losses: Value, penalty: Value, alpha: float, *, is_linear: bool) -> Builder:
    """The model with the weighted mean of its losses, a penalty, and how it is trained."""
    weight = b.input("sample_weight", ["N"], description="weights of the samples, divided by their mean")
    b.output(loss=b.name("loss", np.mean(weight * losses) + alpha / 2 * penalty))
    b.training(loss="loss", **({"optimizer": {"type": "lbfgs"}} if is_linear else TRAINING))
    return b
