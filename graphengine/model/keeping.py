"""The values of a model in its graphs, its document and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from graphengine.format.documents import ModelDocument
from graphengine.format.files import write_bytes
from graphengine.format.tensors import are_external, one_writer, remove_unnamed, tensors_of, write_tensors
from graphengine.format.writing import dump_model, encode_array
from graphengine.ir.declarations import Parameter, State
from graphengine.ir.graph import Graph

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


def save(path: Path, document: ModelDocument, values: Mapping[str, Any]) -> None:
    """Write a document with values, whole or not at all; many values go to a tensor file beside it.

    Raises
    ------
    GraphEngineError
        GE101 if the file cannot be written.
    """
    if are_external(values.values()) or tensors_of(path):
        with one_writer(path):
            _save_with_tensors(path, document, values)
    else:
        write_bytes(path, dump_model(valued(document, encoded_values(values))))


def _save_with_tensors(path: Path, document: ModelDocument, values: Mapping[str, Any]) -> None:
    last, written = tensors_of(path), set[str]()
    try:
        if are_external(values.values()):
            named = write_tensors(path.parent, path.stem, values)
            written = {value.file for value in named.values()}
            write_bytes(path, dump_model(valued(document, named)))
        else:
            write_bytes(path, dump_model(valued(document, encoded_values(values))))
    finally:  # what the file names now stays, be it the old one or the new one
        remove_unnamed(path, last | written)
