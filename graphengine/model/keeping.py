"""The values of a model in its graphs, its document and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from graphengine.format.documents import ModelDocument
from graphengine.format.files import write_bytes
from graphengine.format.narrow import Storage, StoredArrays, stored
from graphengine.format.tensors import are_external, one_writer, tensors_of, write_beside
from graphengine.format.writing import dump_model, encode_array
from graphengine.ir.declarations import Parameter, State
from graphengine.ir.graph import Graph
from graphengine.mappings import without
from graphengine.training.provenance import FIT

Declared = TypeVar("Declared", Parameter, State)


def with_values(graph: Graph, values: Mapping[str, Any]) -> Graph:
    """Return a graph with the values of parameters and state that have one."""
    return graph.derive(
        graph.nodes,
        graph.outputs,
        graph.types,
        parameters={name: _at(source, name, values) for name, source in graph.parameters.items()},
        state={name: _at(source, name, values) for name, source in graph.state.items()},
    )


def _at(source: Declared, name: str, values: Mapping[str, Any]) -> Declared:
    return replace(source, value=encode_array(values[name])) if name in values else source


def encoded_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays as a file has them."""
    return {name: encode_array(value) for name, value in values.items()}


def valued(document: ModelDocument, values: Mapping[str, Any]) -> ModelDocument:
    """Return a document with values, as a file has them, of the parameters and state that have one."""
    sections = {
        section: {
            name: source.model_copy(update={"value": values[name]}) if name in values else source
            for name, source in getattr(document, section).items()
        }
        for section in ("parameters", "state")
    }
    return document.model_copy(update=sections)


def current_metadata(
    document: ModelDocument, trained: Mapping[str, Any], graph: Graph, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the metadata as a change of a document: with where trained values come from, without a fit of others."""
    said = document.metadata or {}
    if trained or _has_outdated_fit(said, graph, values):
        return {"metadata": {**without(said, (FIT,)), **trained}}
    return {}


def _has_outdated_fit(metadata: Mapping[str, Any], graph: Graph, values: Mapping[str, Any]) -> bool:
    if FIT not in metadata:
        return False
    from graphengine.fit.decoding import is_outdated

    return is_outdated(metadata[FIT], graph, values)


def storage_of(document: ModelDocument) -> dict[str, Storage]:
    """Return the types of 16 bits in which parameters are stored."""
    return {name: each.storage for name, each in document.parameters.items() if each.storage}


def save(path: Path, document: ModelDocument, values: Mapping[str, Any]) -> None:
    """Write a document with values, whole or not at all; many values go to a tensor file beside it.

    Raises
    ------
    GraphEngineError
        GE101 if the file cannot be written.
    """

    def finish(named: Mapping[str, Any]) -> None:
        write_bytes(path, dump_model(valued(document, named or encoded_values(values))))

    beside = stored(values, storage_of(document)) if are_external(values.values()) else StoredArrays({}, frozenset())
    if beside.arrays or tensors_of(path, path.stem):
        with one_writer(path):
            write_beside(path, path.stem, beside.arrays, finish, beside.bfloat16)
    else:
        finish({})
