"""What an import found as a model document and values: named nodes, trained and frozen parameters, a table of names."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from graphengine.errors import UsageError, did_you_mean
from graphengine.format.documents import ModelDocument
from graphengine.format.onnx.importing import Importer
from graphengine.format.onnx.renaming import NewNames, valid
from graphengine.format.saving import graph_document
from graphengine.ir.declarations import Input, Parameter
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand, operands_of, reachable
from graphengine.limits import Limits
from graphengine.mappings import only
from graphengine.ops.shapes import ArrayType, Shape
from graphengine.wording import counted

ONNX = "onnx"
"""The key in the metadata of a model under which it is written what file it comes from."""


class Imported(NamedTuple):
    """A document with the values of its parameters, and shapes and dtypes of its outputs by name."""

    document: ModelDocument
    values: dict[str, np.ndarray[Any, Any]]
    outputs: dict[str, tuple[Shape, str]]


def imported(importer: Importer, limits: Limits, freeze: Iterable[str] = (), until: str | None = None) -> Imported:
    """Import a model, or with `until` what computes one of its values.

    Parameters whose names fit a pattern of `freeze` are not trained.

    Raises
    ------
    InvalidModelError
        As `Importer.run`.
    UsageError
        GE402 if there is no value `until`, or no parameter fits a pattern.
    """
    outputs = importer.run(_known(importer, until))
    graph, values = _graph(importer, outputs, list(freeze), limits)
    provenance = {**_provenance(importer), "notes": _notes(importer, graph)}
    metadata = {ONNX: {key: value for key, value in provenance.items() if value}}
    document = graph_document(graph).model_copy(update={"metadata": metadata})
    types = {name: graph.types[value] for name, value in graph.outputs.items()}
    return Imported(document, values, {name: (kind.shape, kind.array_dtype.name) for name, kind in types.items()})


def _known(importer: Importer, name: str | None) -> str | None:
    """Return the name of a value of the file, refuse any other."""
    graph = importer.proto.graph
    names = set(filter(None, itertools.chain(*[node.output for node in graph.node])))
    if name is None or name in names:
        return name
    raise UsageError(f"the ONNX file has no value '{name}'", code="GE402", hint=did_you_mean(name, names, "values"))


def _graph(
    importer: Importer, outputs: Mapping[str, Any], freeze: list[str], limits: Limits
) -> tuple[Graph, dict[str, Any]]:
    draft, proto = importer.draft, importer.proto
    nodes = reachable(draft.nodes, [each.name for each in outputs.values()])
    stored = _stored(draft, nodes, outputs)
    renamed = _renamed(importer, nodes, list(filter(stored.__contains__, draft.constants)))
    frozen = {*draft.frozen, *draft.constants, *_single(stored), *_matching(freeze, stored, importer.names.table)}
    parameters = {
        renamed.get(name, name): _parameter(array, draft.storage.get(name), frozen=name in frozen)
        for name, array in stored.items()
    }
    graph = Graph(
        proto.graph.name[:200] or "model",
        _inputs(importer),
        parameters,
        {},
        [_node(node, renamed) for node in nodes],
        _targets(importer, outputs, renamed),
        dtype=_dtype([*draft.inputs.values(), *[each.type for each in parameters.values()]]),
        description=_description(proto),
        limits=limits,
    )
    return graph, dict(zip(parameters, stored.values(), strict=True))


def _description(proto: Any) -> str | None:
    """Return the description of the graph in the file, or else that of the file."""
    return proto.graph.doc_string or proto.doc_string or None


def _targets(importer: Importer, outputs: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the outputs, by names that a file may have."""
    public = NewNames()
    targets = {public.given(name): _reference(each.name, renamed) for name, each in outputs.items()}
    importer.names.table.update(public.table)
    return targets


def _stored(draft: Any, nodes: Iterable[GraphNode], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays that nodes and outputs read."""
    read = {each.name for each in outputs.values()} | operands_of(nodes)
    return only({**draft.weights, **draft.constants}, read)


def _parameter(array: Any, storage: Any, *, frozen: bool) -> Parameter:
    kind = ArrayType(array.shape, array.dtype)
    return Parameter(kind, trainable=not frozen and array.dtype.kind == "f", storage=storage)


def _inputs(importer: Importer) -> dict[str, Input]:
    draft, descriptions = importer.draft, importer.descriptions
    return {
        name: Input(kind, descriptions.get(name), storage=draft.storage.get(name))
        for name, kind in draft.inputs.items()
    }


def _single(stored: Mapping[str, Any]) -> set[str]:
    """Return the single numbers beside arrays: they are constants of formulas as a rule."""
    found = {name for name, array in stored.items() if not array.ndim}
    return found if len(found) < len(stored) else set()


def _renamed(importer: Importer, nodes: list[GraphNode], constants: list[str]) -> dict[str, str]:
    """Return ids for what the file does not name: parts of nodes, and constants."""
    renamed = dict(importer.final)
    for name in [*constants, *[node.id for node in nodes]]:
        if name not in renamed:
            renamed[name] = importer.names.free(valid(name))
    return renamed


def _node(node: GraphNode, renamed: Mapping[str, str]) -> GraphNode:
    operands: tuple[Operand, ...] = tuple(
        [_reference(each, renamed) if isinstance(each, str) else each for each in node.inputs]
    )
    return node._replace(id=renamed[node.id], inputs=operands)


def _reference(name: str, renamed: Mapping[str, str]) -> str:
    node, colon, port = name.partition(":")
    return f"{renamed.get(node, node)}{colon}{port}"


def _matching(patterns: list[str], names: Iterable[str], before: Mapping[str, str]) -> set[str]:
    """Return the names that fit a pattern as they are, or as they were `before` in the file."""
    found = set()
    for pattern in patterns:
        fitting = [name for name in names if _fits(name, pattern) or _fits(before.get(name), pattern)]
        if not fitting and pattern != "*":
            hint = did_you_mean(pattern, names, "parameters")
            raise UsageError(f"no parameter fits '{pattern}'", code="GE402", hint=hint)
        found.update(fitting)
    return found


def _fits(name: str | None, pattern: str) -> bool:
    return name is not None and fnmatch.fnmatchcase(name, pattern)


def _dtype(kinds: Iterable[ArrayType]) -> str:
    """Return the dtype of most declarations."""
    names = [kind.array_dtype.name for kind in kinds if kind.array_dtype.kind == "f"]
    return max(("float32", "float64"), key=names.count)


def _provenance(importer: Importer) -> dict[str, Any]:
    proto = importer.proto
    opsets = {each.domain or "ai.onnx": each.version for each in proto.opset_import}
    producer = f"{proto.producer_name} {proto.producer_version}".strip()
    return {"producer": producer, "opsets": opsets, "names": dict(importer.names.table)}


def _notes(importer: Importer, graph: Graph) -> list[str]:
    notes = [_narrow_note(name, count) for name, count in importer.tensors.narrow.items()]
    frozen = sum(not each.trainable for each in graph.parameters.values())
    if frozen:
        notes.append(f"{frozen} of {counted(len(graph.parameters), 'parameter')} from the file will not be trained")
    if importer.names.table:
        notes.append(f"{counted(len(importer.names.table), 'name')} changed; metadata has the table")
    return notes


def _narrow_note(name: str, count: int) -> str:
    where = counted(count, "tensor") if count else "inputs"
    return f"values of {name} are computed in float32, so results may differ in the last digits: {where}"
