"""From a graph and its values to an ONNX model that `onnx.checker` accepts in full.

What a graph carries from one run to the next, such as the parameters and slots of a training step, are inputs with
their values as defaults: the first run needs none of them, and each later one takes what the last one returned.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from graphengine.errors import InvalidModelError, Problem, UsageError, require_none
from graphengine.extras import optional
from graphengine.format.initializers import initial_value
from graphengine.format.onnx import (
    array_rules,
    composite_rules,
    convolution_rules,
    elementwise_rules,
    gamma_rules,
    loop_rules,
    padding_rules,
    patch_rules,
    random_rules,
    reduction_rules,
)
from graphengine.format.onnx.emitting import DOMAIN, OLDEST_OPSET, Emitter, Unexportable, applied
from graphengine.format.onnx.external_data import SMALLEST
from graphengine.format.onnx.local_functions import CALLS, CalledFunction, with_functions
from graphengine.format.onnx.narrow_sources import NarrowSources, narrow_sources
from graphengine.format.onnx.onnx_lowering import has_rule, lowered_graph, why_not
from graphengine.format.onnx.protos import PREFIX, read_by
from graphengine.ir.declarations import Source
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, operands_of
from graphengine.mappings import only, without
from graphengine.ops.shapes import ArrayType
from graphengine.version import __version__

_TABLES = (
    array_rules,
    composite_rules,
    convolution_rules,
    elementwise_rules,
    gamma_rules,
    loop_rules,
    padding_rules,
    patch_rules,
    random_rules,
    reduction_rules,
)
"""The modules that enter their rules into the table."""
_SYMBOL = re.compile(r"[A-Za-z_]\w*")
LARGEST = 2**31 - 2**20
"""More bytes of values do not fit into a file of Protocol Buffers, beside the rest of a model."""


@dataclass(frozen=True)
class ExportRequest:
    """What an ONNX model is to be.

    `carried` maps outputs to the sources that they replace in the next run, `replaceable` are all sources that are
    inputs, whether or not there is such an output. `calls` are the functions that nodes of the model file call,
    `descriptions` are texts by node. `defaults` are values of inputs that need not be given, `metadata`
    is text by key. Inputs that have values `are_optional`, or have to be given like all others. With `single` double
    precision becomes single. Large values are `external`, with None those that do not fit into one file.
    """

    single: bool = False
    opset: int = OLDEST_OPSET
    carried: Mapping[str, str] = field(default_factory=dict)
    replaceable: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    calls: Mapping[str, CalledFunction] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    are_optional: bool = True
    external: bool | None = None


class OnnxParts(NamedTuple):
    """An ONNX `ModelProto` without the initializers that lie beside it, these by name, and their types of elements."""

    proto: Any
    beside: dict[str, np.ndarray[Any, Any]]
    types: dict[str, int]


def onnx_model(graph: Graph, values: Mapping[str, Any], wanted: ExportRequest) -> OnnxParts:
    """Return a graph as an ONNX model that passes the checker with full shape inference.

    Raises
    ------
    InvalidModelError
        GE305 for each node that has no counterpart in ONNX, or if the checker refuses the result; GE201 if an output
        has the name of an input.
    UsageError
        GE803 without the package onnx; GE801 for an opset that it does not know, or values of more than 2 GiB.
    """
    onnx = optional("onnx", "onnx")
    _check_opset(onnx, wanted.opset)
    _check_names(graph)
    single = wanted.single or all(kind.dtype != np.float64 for kind in graph.types.values())
    lowered, names = lowered_graph(graph, single=single)
    require_none(_unknown(lowered, single=single))
    narrow = narrow_sources(lowered, values, wanted.replaceable)
    emit = Emitter(lowered.types, {**names, **_renamed(lowered), **narrow.renamed()}, single=wanted.single)
    _widen(emit, lowered, narrow)
    require_none(_emitted(emit, lowered))
    _name_outputs(emit, lowered)
    emit.called = with_functions(emit, wanted.calls, set(lowered.outputs), wanted.opset)
    _describe(emit, wanted.descriptions)
    return _joined(emit, lowered, values, wanted, narrow)


def _widen(emit: Emitter, graph: Graph, narrow: NarrowSources) -> None:
    """Write a Cast of each source that has 16 bits in the file."""
    for name, wide in narrow.renamed().items():
        to = emit.tensor_type(emit.dtype(graph.types[name]))
        emit.nodes.append(emit.helper.make_node("Cast", [name], [wide], to=to))
    emit.owners += [""] * len(emit.nodes)


def _name_outputs(emit: Emitter, graph: Graph) -> None:
    for name, value in graph.outputs.items():
        own = emit.renamed.get(value, value)
        if own != name:
            emit.alias(own, name)
            emit.owners.append("")


def _describe(emit: Emitter, descriptions: Mapping[str, str]) -> None:
    """Let the last node that is written for a node of the graph have its description."""
    last = dict(zip(emit.owners, emit.nodes, strict=True))
    for name in last.keys() & descriptions.keys():
        last[name].doc_string = descriptions[name]


def _checked(emit: Emitter, made: Any, beside: dict[str, np.ndarray[Any, Any]], types: dict[str, int]) -> OnnxParts:
    """Return a model that passes the checker; to it values that lie beside the model are inputs."""
    checker, inputs = emit.onnx.checker, made.graph.input
    count, declared = len(inputs), {each.name for each in inputs}
    for name, array in beside.items():
        if name not in declared:
            inputs.append(emit.helper.make_tensor_value_info(name, types[name], array.shape))
    try:
        checker.check_model(made, full_check=True)
    except (checker.ValidationError, emit.onnx.shape_inference.InferenceError) as error:
        raise InvalidModelError(f"the ONNX model fails the checker of onnx: {error}", code="GE305") from error
    del inputs[count:]
    return OnnxParts(made, beside, types)


def _check_opset(onnx: Any, opset: int) -> None:
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise UsageError(f"opset {opset} cannot be written; this version of onnx takes {OLDEST_OPSET} to {newest}")


def _check_names(graph: Graph) -> None:
    """Refuse an output that has the name of an input and another value."""
    hint = "rename the output, or export others"
    shared = [name for name, value in graph.outputs.items() if name in graph.inputs and name != value]
    message = "an input and an output have the name '{}': in ONNX names differ"
    require_none([Problem("GE201", message.format(name), hint) for name in shared])


def _unknown(graph: Graph, *, single: bool) -> list[Problem]:
    """Return a problem for each node without a rule."""
    return [_problem(node, why_not(node)) for node in graph.nodes if not has_rule(node, single=single)]


def _emitted(emit: Emitter, graph: Graph) -> list[Problem]:
    """Write all nodes, and return a problem for each that cannot be."""
    problems = []
    for node in graph.nodes:
        try:
            emit.place(applied(node, graph))
            emit.owners += [node.id.partition("~")[0]] * (len(emit.nodes) - len(emit.owners))
        except Unexportable as reason:
            problems.append(_problem(node, str(reason)))
    return problems


def _problem(node: GraphNode, reason: str) -> Problem:
    name = node.id.partition("~")[0]
    return Problem("GE305", f"node '{name}' ({node.op}) cannot be exported to ONNX: {reason}", node=name)


def _renamed(graph: Graph) -> dict[str, str]:
    """Return other names for values whose names an output needs for another value."""
    wrong = [name for name, value in graph.outputs.items() if name in graph.types and name != value]
    return {name: f"{name}~value" for name in wrong}


def _joined(
    emit: Emitter, graph: Graph, values: Mapping[str, Any], wanted: ExportRequest, narrow: NarrowSources
) -> OnnxParts:
    """Return the model that has what was emitted, with inputs, outputs and metadata."""
    sources: dict[str, Source] = {**graph.inputs, **only(graph.sources, wanted.replaceable)}
    defaults = _defaults(graph, values, wanted, sources)
    own = _own_names(emit, {**sources, **defaults}, narrow)
    arrays = {own[name]: _array(emit, name, value) for name, value in defaults.items()} | narrow.values
    types = _types(emit, arrays, narrow)
    stored, beside = _stored(emit, arrays, types, wanted)
    for tensor in stored:
        tensor.doc_string = _description(graph.sources.get(tensor.name))
    inputs = [_declared(emit, own[name], source.type, source, types.get(name)) for name, source in sources.items()]
    outputs = [_declared(emit, name, graph.types[value]) for name, value in graph.outputs.items()]
    tensors, about = [*stored, *_needed(emit, graph)], graph.description or ""
    made = emit.helper.make_graph(emit.nodes, graph.name, inputs, outputs, tensors, doc_string=about)
    return _checked(emit, _model(emit, made, graph, wanted), beside, types)


def _own_names(emit: Emitter, names: Iterable[str], narrow: NarrowSources) -> dict[str, str]:
    """Return the names in the model of what is read; one that is widened first keeps its own."""
    return {name: name if name in narrow.types else emit.renamed.get(name, name) for name in names}


def _needed(emit: Emitter, graph: Graph) -> list[Any]:
    """Return the constants that the graph reads; the others are those of functions of the model."""
    needed = {*graph.outputs}.union(*map(read_by, emit.nodes))
    return [tensor for name, tensor in emit.initializers.items() if name in needed]


def _types(emit: Emitter, arrays: Mapping[str, Any], narrow: NarrowSources) -> dict[str, int]:
    number = emit.onnx.TensorProto.DataType.Value
    wide = {name: emit.tensor_type(array.dtype) for name, array in arrays.items()}
    return {**wide, **{name: number(kind) for name, kind in narrow.types.items()}}


def _defaults(
    graph: Graph, values: Mapping[str, Any], wanted: ExportRequest, sources: Mapping[str, Source]
) -> dict[str, Any]:
    """Return the values of what is read and is no input, and those that the caller gives; not of sources if asked."""
    kept = _read_sources(graph, {*wanted.replaceable, *values})
    found = {**{name: _value(name, source, values) for name, source in kept.items()}, **wanted.defaults}
    return found if wanted.are_optional else without(found, sources)


def _read_sources(graph: Graph, wanted: set[str]) -> dict[str, Source]:
    """Return parameters and state that nodes or outputs read, or that are wanted."""
    read = {*graph.outputs.values(), *wanted} | operands_of(graph.nodes)
    return only(without(graph.sources, graph.inputs), read)


def start_model(graph: Graph, values: Mapping[str, Any], wanted: ExportRequest) -> OnnxParts:
    """Return the model without inputs whose outputs are what a graph carries, as it begins; raises as `onnx_model`."""
    onnx = optional("onnx", "onnx")
    _check_opset(onnx, wanted.opset)
    emit, sources = Emitter(graph.types, {}, single=wanted.single), graph.sources
    started = {name: _value(name, sources[name], values) for name in wanted.carried.values()}
    arrays = {f"{name}~start": _array(emit, name, value) for name, value in started.items()}
    types = {name: emit.tensor_type(array.dtype) for name, array in arrays.items()}
    stored, beside = _stored(emit, arrays, types, wanted)
    nodes = [emit.helper.make_node("Identity", [f"{name}~start"], [name]) for name in started]
    outputs = [_declared(emit, name, graph.types[name]) for name in started]
    made = emit.helper.make_graph(nodes, graph.name, [], outputs, stored)
    return _checked(emit, _model(emit, made, graph, wanted), beside, types)


def _model(emit: Emitter, made: Any, graph: Graph, wanted: ExportRequest) -> Any:
    """Return the model of an ONNX graph."""
    helper = emit.helper
    opset = helper.make_opsetid("", wanted.opset)
    domains = [DOMAIN] * bool(emit.functions) + [CALLS] * bool(emit.called)
    model = helper.make_model(
        made,
        opset_imports=[opset, *[helper.make_opsetid(domain, 1) for domain in domains]],
        functions=[*[_function(emit, text, wanted.opset) for text in emit.functions.values()], *emit.called],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name="graphengine",
        producer_version=__version__,
        doc_string=graph.description or "",
    )
    carried_text = {f"{PREFIX}carried": json.dumps(dict(wanted.carried))} if wanted.carried else {}
    helper.set_model_props(model, {**wanted.metadata, **carried_text})
    return model


def _function(emit: Emitter, text: str, opset: int) -> Any:
    """Return a function of the model; it imports the one opset that the model has."""
    head = f'<domain: "{DOMAIN}", opset_import: ["" : {opset}, "{DOMAIN}" : 1]>'
    return emit.onnx.parser.parse_function(f"{head}\n{text}")


def _stored(
    emit: Emitter, arrays: dict[str, np.ndarray[Any, Any]], types: dict[str, int], wanted: ExportRequest
) -> tuple[list[Any], dict[str, np.ndarray[Any, Any]]]:
    """Return the initializers that the model has, and the arrays that lie beside it."""
    beside = _beside(arrays, wanted)
    return [_tensor(emit, name, array, types[name]) for name, array in without(arrays, beside).items()], beside


def _beside(arrays: dict[str, np.ndarray[Any, Any]], wanted: ExportRequest) -> dict[str, np.ndarray[Any, Any]]:
    if not _is_external(sum(array.nbytes for array in arrays.values()), wanted):
        return {}
    return {name: array for name, array in arrays.items() if array.nbytes >= SMALLEST}


def _is_external(size: int, wanted: ExportRequest) -> bool:
    """Whether values of this many bytes lie beside the model: as the caller says, else if it cannot hold them."""
    if wanted.external is None:
        return size > LARGEST
    if size > LARGEST and not wanted.external:
        message = f"the values have {size:,} bytes; an ONNX file holds at most {LARGEST:,}"
        raise UsageError(message, hint="let them be external data, or export fewer outputs")
    return wanted.external


def _tensor(emit: Emitter, name: str, array: np.ndarray[Any, Any], kind: int) -> Any:
    tensor = emit.onnx.numpy_helper.from_array(array, name)
    tensor.data_type = kind  # NumPy has no bfloat16, so its bits came as integers
    return tensor


def _value(name: str, source: Any, values: Mapping[str, Any]) -> Any:
    """Return the value of a parameter or state: the current one, or what its initializer gives."""
    return values[name] if name in values else initial_value(name, source)


def _array(emit: Emitter, name: str, value: Any) -> np.ndarray[Any, Any]:
    """Return the value of a source in its dtype."""
    return np.asarray(value, emit.dtype(emit.types[name]))


def _declared(emit: Emitter, name: str, kind: ArrayType, source: Any = None, number: int | None = None) -> Any:
    """Return the declaration of an input or output, with ONNX's number of its type where that is not our dtype's.

    A size that is no single symbol has no name.
    """
    shape = [size if isinstance(size, int) else _symbol(size) for size in kind.shape]
    number = number or emit.tensor_type(emit.dtype(kind))
    return emit.helper.make_tensor_value_info(name, number, shape, doc_string=_description(source))


def _description(source: Any) -> str:
    """Return the description of a source, which names that the export gives have none of."""
    return getattr(source, "description", None) or ""


def _symbol(size: Any) -> str | None:
    return size if isinstance(size, str) and _SYMBOL.fullmatch(size) else None
