"""Models written as ONNX files.

A forward graph predicts, a gradient graph differentiates, and a step graph trains wherever an ONNX runtime runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from graphengine.errors import UsageError
from graphengine.format.call_paths import called_by
from graphengine.format.canonical import canonical_text
from graphengine.format.documents import NodeDocument, references_of
from graphengine.format.files import check_target
from graphengine.format.functions import Function, functions_in, given_by
from graphengine.format.onnx.emitting import OLDEST_OPSET
from graphengine.format.onnx.exporting import ExportRequest, OnnxParts, onnx_model, start_model
from graphengine.format.onnx.external_data import write_model
from graphengine.format.onnx.local_functions import CalledFunction
from graphengine.format.onnx.protos import PREFIX
from graphengine.format.writing import model_as_dict
from graphengine.ir.graph import inputs_of, names_of
from graphengine.ir.nodes import reached
from graphengine.mappings import only, picked
from graphengine.transform.mode import with_carried_keys
from graphengine.transform.step import LEARNING_RATE

if TYPE_CHECKING:
    from graphengine.ir.graph import Graph
    from graphengine.model.model import Model

Kind: TypeAlias = Literal["forward", "gradient", "step", "start"]


def export(
    model: Model,
    path: str | Path,
    *,
    graph: Kind = "forward",
    outputs: str | Iterable[str] | None = None,
    dtype: str | None = None,
    opset: int = OLDEST_OPSET,
    defaults: bool = True,
    external: bool | None = None,
) -> None:
    """Write a graph of a model, with its current values, as an ONNX file that passes the full checker.

    `graph` is "forward"; "gradient", of the loss with respect to the trainable parameters; "step", one iteration of the
    training; or "start", which has no inputs and gives what a step carries as it begins. `outputs` are the wanted
    outputs, by default all. With the dtype "float32" double precision becomes single. Parameters are initializers.
    Those that a step trains, its slots and state, and the keys of its random ops, are inputs whose defaults are the
    values to start from, and outputs `new_<name>`; `graphengine.carried` in the metadata maps these to those. With some
    `outputs` alone, which may be any value of the step, the parameters that they depend on are inputs all the same. The
    learning rate is an input of a step, with a default unless the training has a schedule; `iteration` counts from 1.
    Without `defaults` all inputs of a step have to be given, as in runtimes that let nobody replace a default. The
    model file, with null for each value, is `graphengine.model` in the metadata. With `external` values of 1 KiB and
    more are external data, in a file `<name>-<hash>.safetensors` beside the ONNX file; by default they are if they
    would not fit into a file of 2 GiB.

    Raises
    ------
    InvalidModelError
        GE305 for each node that has no counterpart in ONNX.
    TrainingError
        GE602 if a step is wanted and the model has none.
    UsageError
        GE801 if there is no such graph, dtype or opset, GE402 no such output, GE803 if the package onnx is missing,
        GE415 if a parameter has no value yet. For a step its initializer computes it from the rows to train on.
    GraphEngineError
        GE101 if the file cannot be written.
    """
    check_target(path)
    made = onnx_parts(
        model, graph=graph, outputs=outputs, dtype=dtype, opset=opset, defaults=defaults, external=external
    )
    write_model(Path(path), *made)


def onnx_proto(
    model: Model,
    *,
    graph: Kind = "forward",
    outputs: str | Iterable[str] | None = None,
    dtype: str | None = None,
    opset: int = OLDEST_OPSET,
    defaults: bool = True,
) -> Any:
    """Return what `export` writes, as an `onnx.ModelProto` with all values; raises as `export`."""
    return onnx_parts(
        model, graph=graph, outputs=outputs, dtype=dtype, opset=opset, defaults=defaults, external=False
    ).proto


def onnx_parts(
    model: Model,
    *,
    graph: Kind = "forward",
    outputs: str | Iterable[str] | None = None,
    dtype: str | None = None,
    opset: int = OLDEST_OPSET,
    defaults: bool = True,
    external: bool | None = None,
) -> OnnxParts:
    """Return what `export` writes, and the values that it writes beside the file; raises as `export`."""
    if dtype not in (None, "float32"):
        raise UsageError(f"dtype '{dtype}' cannot be exported; use 'float32', or omit it")
    if graph in ("step", "start"):
        model = model.copy()
        model.initialize()  # as a training begins
    source, carried, rates = _source(model, graph)
    source = _with_outputs(source, outputs)
    if graph == "forward":
        model.evaluator.require_values(source.outputs.values())
    _, read = reached(source.nodes, source.outputs.values())
    wanted = ExportRequest(
        single=dtype == "float32",
        opset=opset,
        carried=only(carried, source.outputs),
        replaceable=frozenset(carried.values()) & read,
        defaults=only(rates, source.inputs),
        metadata={f"{PREFIX}model": _file(model), f"{PREFIX}graph": graph},
        calls=_calls(model),
        descriptions={each["id"]: each["description"] for each in model.document.nodes if "description" in each},
        are_optional=defaults,
        external=external,
    )
    return start_model(source, model.values, wanted) if graph == "start" else onnx_model(source, model.values, wanted)


def _calls(model: Model) -> dict[str, CalledFunction]:
    """Return the functions that nodes of the model file call."""
    functions = functions_in(model.document)
    calls = [spec for spec in model.document.nodes if called_by(spec) in functions]
    return {spec["id"]: _called(spec, functions[called_by(spec)]) for spec in calls}


def _called(spec: NodeDocument, function: Function) -> CalledFunction:
    """Return a function as a node calls it."""
    named = zip(given_by(spec, function), references_of(spec), strict=False)
    inputs = {str(value): name for name, value in named}
    return CalledFunction(called_by(spec), function.document.description or "", inputs)


def _source(model: Model, kind: str) -> tuple[Graph, dict[str, str], dict[str, Any]]:
    """Return the graph of a kind, what it carries, and the values of inputs that need not be given."""
    if kind == "forward":
        return model.graph, {}, {}
    if kind == "gradient":
        model.evaluator.require_values()
        return model.gradient(), {}, {}
    if kind in ("step", "start"):
        step = model.training_step()
        source, keys = with_carried_keys(step.graph)
        return source, {**step.carried, **keys}, _rate(model)
    raise UsageError(f"there is no graph '{kind}'; 'forward', 'gradient', 'step' or 'start'")


def _rate(model: Model) -> dict[str, Any]:
    """Return the learning rate if it is a number."""
    rate = model.document.training and getattr(model.document.training.optimizer, LEARNING_RATE, None)
    return {LEARNING_RATE: rate} if isinstance(rate, (int, float)) else {}


def _with_outputs(graph: Graph, outputs: str | Iterable[str] | None) -> Graph:
    """Return a graph with the wanted outputs alone."""
    if outputs is None:
        return graph
    wanted = {name: graph.value_name(name) for name in names_of(outputs)}
    inputs = picked(graph.inputs, inputs_of(graph, wanted.values()))
    return graph.derive(graph.nodes, wanted, graph.types, inputs=inputs)


def _file(model: Model) -> str:
    """Return the model file with null for the values of parameters and state."""
    content = model_as_dict(model.document)
    for section in ("parameters", "state"):
        for declared in content.get(section, {}).values():
            if "value" in declared:
                declared["value"] = None
    return canonical_text(content)
