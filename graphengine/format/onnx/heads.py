"""A new head on an imported model: a dense layer, its loss, and a training section."""

from __future__ import annotations

from typing import Any

from graphengine.errors import UsageError
from graphengine.format.documents import InputDocument, ModelDocument, TrainingDocument
from graphengine.format.functions import DOMAINS
from graphengine.format.onnx.documenting import Imported
from graphengine.format.onnx.renaming import NewNames
from graphengine.ops.shapes import shape_text


def with_head(found: Imported, classes: int | None, targets: int | None) -> Imported:
    """Return a model whose one output is followed by a dense layer of that many classes, or numbers.

    Raises
    ------
    UsageError
        GE801 if the output has no axis for samples, or both numbers are given.
    """
    if classes and targets:
        raise UsageError("a new head has classes or targets, not both")
    document, names = found.document, _taken_names(found.document)
    (value,) = document.targets.values()
    shape, dtype = found.outputs[next(iter(document.targets))]
    if len(shape) < 2:
        raise UsageError(f"a head needs a value of several numbers for each sample, not of shape {shape_text(shape)}")
    nodes = list(document.nodes)
    if len(shape) > 2:
        flat = names.free("flat")
        nodes.append({"id": flat, "op": "flatten", "inputs": [value], "attributes": {"axis": 1}})
        value = flat
    head, loss, target = map(names.free, ("head", "loss", "target"))
    rows = "samples" if shape[0] is None else shape[0]
    op, sizes, kind = ("softmax_cross_entropy", [rows], "int64") if classes else ("mse", [rows, targets], dtype)
    units: Any = {"units": classes or targets}
    nodes.append({"id": head, "op": "nn.dense", "inputs": [value], "attributes": units})
    nodes.append({"id": loss, "op": op, "inputs": [head, target]})
    changes = {
        "opset_imports": {**document.opset_imports, "nn": DOMAINS["nn"]},
        "inputs": {**document.inputs, target: _target(document, sizes, kind)},
        "nodes": nodes,
        "outputs": {"prediction": head, "loss": loss},
        "training": _training(loss),
    }
    return found._replace(document=document.model_copy(update=changes))


def _taken_names(document: ModelDocument) -> NewNames:
    """Return new names beside those of a document."""
    names = NewNames()
    for name in (*document.inputs, *document.parameters, *(node["id"] for node in document.nodes)):
        names.free(name)
    return names


def _target(document: ModelDocument, sizes: list[Any], dtype: str) -> InputDocument:
    return InputDocument.model_construct(shape=sizes, dtype=None if dtype == document.dtype else dtype)


def _training(loss: str) -> TrainingDocument:
    return TrainingDocument.model_validate(
        {
            "loss": loss,
            "optimizer": {"type": "adam", "learning_rate": 0.001},
            "batch_size": 32,
            "shuffle": True,
            "epochs": 10,
        }
    )
