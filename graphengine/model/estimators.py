"""The models of estimators: from what a caller gives, or made of a table.

A model that is made of a table has standardized columns, and is linear or a small network.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from graphengine.format.documents import ModelDocument
from graphengine.format.reading import as_json, parse_model, read_model
from graphengine.format.writing import model_as_dict
from graphengine.ir.graph import Graph
from graphengine.library import shipped_file
from graphengine.mappings import absent, only
from graphengine.model.builder import Builder, Value
from graphengine.model.model import Model
from graphengine.nn.shipped import shipped_function

Array: TypeAlias = np.ndarray[Any, Any]

TRAINING = {"optimizer": {"type": "adam", "learning_rate": 0.01}, "batch_size": 64, "shuffle": True, "epochs": 100}
"""How a network with hidden layers is trained; a linear model is minimized by a solver."""
SOURCES = "a path, the name of a shipped model, the content of a model file as a mapping, a Model or a Builder"
"""What a caller may give as a model."""
PROBABILITIES = {"softmax", "sigmoid"}
"""Ops that make probabilities; what other ops make are logits."""
RESHAPING = {"squeeze", "reshape", "expand_dims"}
"""Ops whose result has the numbers of their input."""


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
    names = [*map("layer_{}".format, range(1, len(units))), "scores"]
    for number, (size, name) in enumerate(zip(units, names, strict=True), 1):
        weight = b.parameter(f"weight_{number}", [width, size], initializer={"type": _start(number, len(units))})
        bias = b.parameter(f"bias_{number}", [size])
        how = {} if name == "scores" else {"activation": activation}
        value = b.name(name, shipped_function("nn", "dense")(value, weight, bias, **how))
        squares.append(np.sum(np.square(weight)))
        width = size
    return value, sum(squares[1:], squares[0])


def _start(number: int, count: int) -> str:
    """The initializer of the weights of a layer: zeros for a linear model, else by what its activation is."""
    if count == 1:
        return "zeros"
    return "glorot_uniform" if number == count else "he_uniform"


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


def content_of(model: Any, features: int, outputs: int) -> tuple[dict[str, Any], Path | None]:
    """Return the content of a model file from what a caller gave, and where it lies.

    Raises
    ------
    ValueError
        If it is nothing that a model is made of, or has no inputs.
    InvalidModelError, UsageError
        If a mapping or a file has not the form of a model file, or if there is no such file.
    """
    if callable(model):
        model = model(features, outputs)
    content, path = _content_of(model)
    if not content.get("inputs"):
        raise ValueError("the model has no inputs for the columns of X")
    return content, path


def _content_of(model: Any) -> tuple[dict[str, Any], Path | None]:
    if isinstance(model, (Builder, Model)):
        return model.to_dict(), model.path if isinstance(model, Model) else None
    if isinstance(model, Mapping):
        return model_as_dict(parse_model(as_json(model), is_written=False)[0]), None
    if not isinstance(model, (str, Path)):
        raise ValueError(f"a model is {SOURCES}, or a function that returns one of these, not {model!r}")
    exists = os.path.exists(model)  # noqa: PTH110 - of names that are too long `Path` makes an error
    path = Path(model) if exists else shipped_file(str(model))
    return model_as_dict(read_model(path)[0]), path


def with_width(content: Mapping[str, Any], names: Sequence[str], width: int) -> dict[str, Any]:
    """Return the content of a file with a number of columns for the symbol that its one input of features has."""
    shape = content["inputs"][names[0]]["shape"] if len(names) == 1 else []
    if len(shape) != 2 or not isinstance(shape[1], str):
        return dict(content)
    sections = only(content, ("inputs", "parameters", "state"))
    return {**content, **{name: _sized(section, shape[1], width) for name, section in sections.items()}}


def _sized(section: Mapping[str, Any], symbol: str, width: int) -> dict[str, Any]:
    """Declarations with a number for a symbol in their shapes."""
    shapes = {name: [width if size == symbol else size for size in each["shape"]] for name, each in section.items()}
    return {name: {**each, "shape": shapes[name]} for name, each in section.items()}


def untrained(document: ModelDocument, seed: int | None) -> ModelDocument:
    """Return a model as it is before training, with values from its initializers, which get the seed, if any."""
    changes: dict[str, Any] = {
        "parameters": {name: _started(each, seed, each.trainable) for name, each in document.parameters.items()},
        "state": {name: _started(each, seed, True) for name, each in document.state.items()},
    }
    if document.training is not None and not document.training.optimizer.is_solver and seed is not None:
        changes["training"] = document.training.model_copy(update={"seed": seed})
    return document.model_copy(update=changes)


def _started(declared: Any, seed: int | None, changes: bool) -> Any:
    """A parameter or state without the value that a training gave it, if it changes in a training."""
    recipe = declared.initializer
    if recipe is None:
        return declared
    if seed is not None and "seed" in type(recipe).model_fields:
        recipe = recipe.model_copy(update={"seed": seed})
    is_fresh = changes or recipe.type == "from_data"
    return declared.model_copy(update={"initializer": recipe, "value": None if is_fresh else declared.value})


def gives_probabilities(graph: Graph, output: str) -> bool:
    """Whether an output of a graph has probabilities, and no logits: an op that makes such gives it."""
    nodes = {node.id: node for node in graph.nodes}
    found = nodes.get(graph.outputs[output])
    while found is not None and found.op in RESHAPING:
        found = nodes.get(str(found.inputs[0]))
    return found is not None and found.op in PROBABILITIES


def indices_of(classes: Array, categories: Sequence[Any]) -> list[int]:
    """Return the place of each class among the categories that a model declares."""
    unknown = absent(classes.tolist(), categories)
    if unknown:
        raise ValueError(
            f"class {unknown[0]!r} is not among the categories of the model: {', '.join(map(str, categories))}"
        )
    return [categories.index(each) for each in classes.tolist()]


def shaped(target: Array, shape: tuple[Any, ...]) -> Array:
    """Return targets in the shape that a model declares for them."""
    width = math.prod(shape[1:])
    if target.size != len(target) * width:
        raise ValueError(f"y has the shape {target.shape}, but the model takes targets of the shape {shape}")
    return target.reshape(shape)
