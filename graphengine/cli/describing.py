"""The description of a model's graph, as JSON values, and the same as tables.

The tables are made from the JSON, so that people and machines get the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from graphengine.cli.output import array_text, print_line, print_lines, print_table
from graphengine.errors import UsageError

if TYPE_CHECKING:
    from graphengine.fit.statistics import Fit
    from graphengine.ir.graph import Graph
    from graphengine.ir.nodes import GraphNode
    from graphengine.model.model import Model
    from graphengine.ops.shapes import ArrayType


def describe_model(model: Model) -> dict[str, Any]:
    """Inputs, parameters, nodes in the order they run, and outputs, each with its type."""
    graph = model.graph
    return {
        "model": graph.name,
        "description": graph.description,
        "summary": graph.summary,
        "fingerprint": model.fingerprint,
        "inputs": [_input(graph, name) for name in graph.inputs],
        "parameters": [_parameter(model, name) for name in graph.parameters],
        "nodes": [_node(node, graph.types) for node in graph.nodes],
        "functions": list(_functions(graph)),
        "outputs": [
            {"name": name, "value": value, **_type(graph.types[value])} for name, value in graph.outputs.items()
        ],
        **_stored_fit(model),
    }


def _stored_fit(model: Model) -> dict[str, Any]:
    """The fit that the file keeps, under its key; nothing if there is none."""
    from graphengine.training.provenance import FIT

    metadata = model.document.metadata or {}
    return {FIT: metadata[FIT]} if FIT in metadata else {}


def _input(graph: Graph, name: str) -> dict[str, Any]:
    return {"name": name, **_type(graph.types[name]), "description": graph.inputs[name].description}


def _type(kind: ArrayType) -> dict[str, Any]:
    from graphengine.ops.shapes import dtype_name

    return {"dtype": dtype_name(kind.dtype), "shape": list(kind.shape)}


def _parameter(model: Model, name: str) -> dict[str, Any]:
    """A parameter; its value only where the file has one, because otherwise the initializer says it all."""
    from graphengine.format.writing import encode_array

    parameter = model.graph.parameters[name]
    return {
        "name": name,
        **_type(model.graph.types[name]),
        "trainable": parameter.trainable,
        "initializer": parameter.initializer and parameter.initializer.model_dump(),
        "value": None if parameter.value is None else encode_array(model.values[name]),
        "description": parameter.description,
    }


def _node(node: GraphNode, types: Mapping[str, ArrayType]) -> dict[str, Any]:
    from graphengine.format.saving import node_document

    document: Any = node_document(node)
    return {
        "id": node.id,
        "op": node.op,
        "inputs": document["inputs"],
        "attributes": document.get("attributes", {}),
        "outputs": [{"name": name, **_type(types[name])} for name in node.outputs],
    }


def _functions(graph: Graph) -> Iterator[dict[str, Any]]:
    """The functions that nodes run, each once, however many steps a loop has."""
    from graphengine.format.saving import node_document
    from graphengine.ir.graph_bodies import bodies_in

    shown = set()
    for body in bodies_in(graph.nodes):
        if body not in shown:
            shown.add(body)
            nodes = [{"attributes": {}, **node_document(node)} for node in body.nodes]
            yield {"name": body.name, "inputs": list(body.inputs), "nodes": nodes, "outputs": dict(body.results)}


def print_model(description: Mapping[str, Any]) -> None:
    """A description by `describe_model`, as tables."""
    print_line(f"{description['model']}: {description['summary']}")
    if description["description"]:
        print_line(description["description"])
    for title, (columns, row) in _TABLES.items():
        if rows := list(chain.from_iterable(map(row, description[title]))):
            print_table(title, columns, rows)
    for function in description["functions"]:
        title = f"function {function['name']}({', '.join(function['inputs'])}) -> {_pairs(function['outputs'])}"
        print_table(title, ["id", "op", "inputs", "attributes"], map(_step_row, function["nodes"]))


def print_fit(model: Model) -> None:
    """Print the fit that the file keeps, or why it is none."""
    if not _stored_fit(model):
        return
    try:
        fit = model.last_fit
    except UsageError as error:
        print_line(error.problems[0].message)
        return
    if fit is None:
        print_line("metadata.fit is the fit of other values than those in the file")
    else:
        print_lines(_fit_lines(fit, model))


def _fit_lines(fit: Fit, model: Model) -> Iterator[str]:
    from graphengine.cli.fitting import fit_lines
    from graphengine.training.provenance import provenance_in

    read_from = provenance_in(model.document.metadata).get("data")
    of_data = f" of '{read_from}'" if isinstance(read_from, str) else ""
    yield f"fit{of_data}, {'' if fit.converged else 'not '}converged"
    yield from (f"  {line}" for line in fit_lines(fit))


def _input_row(item: Mapping[str, Any]) -> Iterator[list[Any]]:
    yield [item["name"], _type_text(item), item["description"] or ""]


def _recipe(initializer: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{key}={value}" for key, value in initializer.items() if key != "type")
    return f"{initializer['type']}({arguments})"


def _parameter_row(item: Mapping[str, Any]) -> Iterator[list[Any]]:
    value = _recipe(item["initializer"]) if item["value"] is None else array_text(item["value"])
    yield [
        item["name"],
        _type_text(item),
        "yes" if item["trainable"] else "no",
        value,
        item["description"] or "",
    ]


def _step_row(node: Mapping[str, Any]) -> list[Any]:
    """A node of a function, which has no types of its own."""
    inputs = node["inputs"]
    read = _pairs(inputs) if isinstance(inputs, dict) else ", ".join(map(str, inputs))
    return [node["id"], node["op"], read, _pairs(node["attributes"])]


def _node_row(item: Mapping[str, Any]) -> Iterator[list[Any]]:
    first, *others = item["outputs"]
    yield [*_step_row(item), _type_text(first)]
    for output in others:
        yield [output["name"], "", "", "", _type_text(output)]


def _output_row(item: Mapping[str, Any]) -> Iterator[list[Any]]:
    yield [item["name"], item["value"], _type_text(item)]


_TABLES: dict[str, Any] = {
    "inputs": (["name", "type", "description"], _input_row),
    "parameters": (["name", "type", "trainable", "value", "description"], _parameter_row),
    "nodes": (["id", "op", "inputs", "attributes", "type"], _node_row),
    "outputs": (["name", "value", "type"], _output_row),
}


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


def _type_text(item: Mapping[str, Any]) -> str:
    from graphengine.ops.shapes import shape_text

    return f"{item['dtype']}{shape_text(item['shape'])}"
