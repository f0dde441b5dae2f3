"""From a graph to a model document: every graph, also a gradient or a training step, can be written as a model file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from graphengine.format.documents import (
    FORMAT,
    FORMAT_VERSION,
    FunctionDocument,
    FunctionInputDocument,
    InputDocument,
    ModelDocument,
    NodeDocument,
    ParameterDocument,
    StateDocument,
)
from graphengine.format.files import write_bytes
from graphengine.format.writing import dump_model, model_as_dict
from graphengine.ir.declarations import Input, Parameter, Source, State
from graphengine.ir.graph import Graph
from graphengine.ir.graph_bodies import GraphBody, bodies_in
from graphengine.ir.nodes import GraphNode, Operand
from graphengine.ops.body import bodies_of
from graphengine.ops.registry import OPS, OPSET_VERSION, domain_of
from graphengine.ops.shapes import dtype_name

NO_NAMES: Mapping[GraphBody, str] = {}


def save_graph(graph: Graph, path: str | Path) -> None:
    """Write a graph as a model file.

    Raises
    ------
    GraphEngineError
        GE101 if the file cannot be written.
    """
    write_bytes(path, dump_model(graph_document(graph)))


def graph_as_dict(graph: Graph) -> dict[str, Any]:
    """Return the content of the file that `save_graph` writes."""
    return model_as_dict(graph_document(graph))


def graph_document(graph: Graph) -> ModelDocument:
    """Return a graph as a model document, which loads again as this graph."""
    functions, names = functions_of(graph.nodes)
    domains = {"core", *(domain_of(op) for op in {node.op for node in graph.nodes})}
    return ModelDocument.model_construct(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        opset_imports=dict.fromkeys(sorted(domains), OPSET_VERSION),
        name=graph.name,
        description=graph.description,
        dtype=graph.dtype,
        inputs={name: _input(source, graph) for name, source in graph.inputs.items()},
        parameters={name: _parameter(source, graph) for name, source in graph.parameters.items()},
        state={name: _state(source, graph) for name, source in graph.state.items()},
        functions=functions,
        nodes=[node_document(node, names) for node in graph.nodes],
        outputs=dict(graph.outputs),
    )


def functions_of(nodes: Iterable[GraphNode]) -> tuple[dict[str, FunctionDocument], dict[GraphBody, str]]:
    """Return the functions that nodes run as a file has them, and the name of each: those of equal content have one."""
    bodies = list(bodies_in(nodes))
    names: dict[GraphBody, str] = {}
    for body in bodies:
        if body not in names:
            names[body] = _free(body.name.replace(".", "_"), names.values())
    return {name: _function(body, names) for body, name in names.items()}, names


def _free(name: str, taken: Collection[str]) -> str:
    free, count = name, 1
    while free in taken or free in OPS:
        count += 1
        free = f"{name}_{count}"
    return free


def _function(body: GraphBody, names: Mapping[GraphBody, str]) -> FunctionDocument:
    return FunctionDocument.model_construct(
        inputs={name: FunctionInputDocument() for name in body.inputs},
        nodes=[node_document(node, names) for node in body.nodes],
        outputs=dict(body.results),
    )


def with_made_parameters(document: ModelDocument, graph: Graph) -> ModelDocument:
    """Return the document of a graph with declarations of the parameters that its calls make."""
    made = graph.parameters.keys() - document.parameters.keys()
    declared = {name: _parameter(source, graph) for name, source in graph.parameters.items() if name in made}
    return document.model_copy(update={"parameters": {**document.parameters, **declared}})


def node_document(node: GraphNode, names: Mapping[GraphBody, str] = NO_NAMES) -> NodeDocument:
    """Return a node as a model file writes it; omitted optional inputs make the inputs an object by name.

    `names` are those of functions that nodes run, where the file does not have them under their own.
    """
    signature = node.node.signature
    inputs = node.inputs[: _given(node.inputs)]
    document: Any = {"id": node.id, "op": node.op, "inputs": list(inputs)}
    if None in inputs:
        named = {signature.input_name(i): operand for i, operand in enumerate(inputs) if operand is not None}
        document["inputs"] = named
    attributes = node.node.model_dump(mode="json", exclude_defaults=True)
    attributes |= {name: names[body] for name, body in bodies_of(node.node).items() if body in names}
    if attributes:
        document["attributes"] = attributes
    return cast("NodeDocument", document)


def _given(inputs: tuple[Operand, ...]) -> int:
    """Return how many inputs there are without trailing omitted ones."""
    return max((index + 1 for index, operand in enumerate(inputs) if operand is not None), default=0)


def _typed(source: Source, graph: Graph) -> dict[str, Any]:
    """Return shape, dtype and description as a declaration has them; the dtype only where it is not the file's."""
    dtype = dtype_name(source.type.dtype)
    return {
        "shape": list(source.type.shape),
        "dtype": None if dtype == graph.dtype else dtype,
        "description": source.description,
    }


def _input(source: Input, graph: Graph) -> InputDocument:
    return InputDocument.model_construct(
        **_typed(source, graph),
        categories=source.categories and list(source.categories),
        unknown="error" if source.unknown is None else source.unknown,
        missing="nan" if source.missing else "error",
        units=source.units,
        storage=source.storage,
    )


def _parameter(source: Parameter, graph: Graph) -> ParameterDocument:
    return ParameterDocument.model_construct(
        **_typed(source, graph),
        initializer=source.initializer,
        value=source.value,
        trainable=source.trainable,
        learning_rate_multiplier=source.learning_rate_multiplier,
        weight_decay_multiplier=source.weight_decay_multiplier,
        bounds=source.bounds and list(source.bounds),
        scale=source.scale,
        storage=source.storage,
    )


def _state(source: State, graph: Graph) -> StateDocument:
    return StateDocument.model_construct(
        **_typed(source, graph), initializer=source.initializer, update=source.update, value=source.value
    )
