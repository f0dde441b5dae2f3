"""Models from ONNX files: what is exported comes back as it was, what others made is imported and trains.

An export has its model file in the metadata. It counts only if exporting it again gives the same graph, so a file that
was changed meanwhile is imported like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from graphengine.errors import GraphEngineError, UsageError
from graphengine.format.documents import ModelDocument
from graphengine.format.onnx.documenting import Imported, imported
from graphengine.format.onnx.heads import with_head
from graphengine.format.onnx.importing import Importer
from graphengine.format.onnx.onnx_calls import Unimportable
from graphengine.format.onnx.protos import PREFIX, OnnxFile, Tensors, read_onnx
from graphengine.format.reading import as_json, parse_model
from graphengine.format.strict import parse_json
from graphengine.format.tensors import are_external
from graphengine.format.writing import encode_array
from graphengine.gc_pause import paused
from graphengine.ir.graph import names_of
from graphengine.limits import DEFAULT, Limits
from graphengine.mappings import only, present

if TYPE_CHECKING:
    from graphengine.format.onnx.exporting import OnnxParts
    from graphengine.model.model import Model


def load(
    path: str | Path,
    *,
    freeze: str | Iterable[str] = (),
    head: str | None = None,
    classes: int | None = None,
    targets: int | None = None,
    fixed: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
    limits: Limits = DEFAULT,
) -> Model:
    """Load an ONNX file as a model whose tensors of floating-point numbers are parameters that can be trained.

    A file that `export` wrote gives back its model, with the training section. Of any other, ops become nodes,
    functions are inlined and loops of known length unrolled; names that are no ids are changed, and
    `metadata["onnx"]["names"]` has the old ones. Running statistics, single numbers and constants are not trained, nor
    what fits a pattern of `freeze` such as "encoder.*".

    `head` is the name of a value that becomes the output instead of what follows it. With `classes` a dense layer of
    that many classes follows, with the loss and a training section; with `targets` one of that many numbers.

    `fixed` has values of inputs that become constants, such as a shape; `sizes` has numbers for symbolic sizes.

    Raises
    ------
    InvalidModelError
        GE306 for each op that cannot be imported, with the nodes and the reason; GE307 if the file is no ONNX model;
        GE103, GE132, GE133 if it is larger than the limits.
    UsageError
        GE402 if there is no value `head`, or no parameter for a pattern; GE803 if the package onnx is missing.
    GraphEngineError
        GE101 if the file cannot be read.
    """
    path = Path(path)
    wanted = Wanted(list(names_of(freeze)), head, classes, targets, fixed, sizes)
    return _model(read_onnx(path, limits), path, wanted, limits)


def from_proto(
    proto: Any,
    path: Path | None = None,
    *,
    freeze: str | Iterable[str] = (),
    head: str | None = None,
    classes: int | None = None,
    targets: int | None = None,
    fixed: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
    limits: Limits = DEFAULT,
) -> Model:
    """Return the model of an `onnx.ModelProto`, as `load` does; its external data lies beside `path`."""
    file = OnnxFile(proto, path.parent if path else None)
    return _model(file, path, Wanted(list(names_of(freeze)), head, classes, targets, fixed, sizes), limits)


class Wanted(NamedTuple):
    """The options of an import."""

    frozen: Sequence[str]
    head: str | None
    classes: int | None
    targets: int | None
    fixed: Mapping[str, Any] | None
    sizes: Mapping[str, int] | None

    @property
    def has_layer(self) -> bool:
        """Whether a new layer follows the head."""
        return bool(self.classes or self.targets)

    @property
    def changes_nothing(self) -> bool:
        """Whether the model is that of the file as it is."""
        return not (self.fixed or self.sizes or self.head or self.frozen)

    def check(self) -> None:
        """Refuse a layer that follows nothing."""
        if self.has_layer and self.head is None:
            raise UsageError("classes and targets need a head", hint="name the value that the new layer follows")


@paused()
def _model(file: OnnxFile, path: Path | None, wanted: Wanted, limits: Limits) -> Model:
    from graphengine.model.model import Model

    wanted.check()
    restored = _restored(file, path, limits) if wanted.changes_nothing else None
    if restored is not None:
        return restored
    importer = Importer(file, limits, wanted.fixed, wanted.sizes)
    found: Imported = imported(importer, limits, wanted.frozen, wanted.head)
    if wanted.has_layer:
        found = with_head(found, wanted.classes, wanted.targets)
    return Model(found.document, None, path, limits=limits, values=found.values)


def _restored(file: OnnxFile, path: Path | None, limits: Limits) -> Model | None:
    """Return the model that a file was exported from; None if it was not, or was changed since."""
    properties = {each.key: each.value for each in file.proto.metadata_props}
    text = properties.get(f"{PREFIX}model")
    if text is None or properties.get(f"{PREFIX}graph") != "forward":
        return None
    try:
        return _written_from(text, file, path, limits)
    except (AttributeError, GraphEngineError, StopIteration, TypeError, Unimportable, ValueError):
        return None


def _written_from(text: str, file: OnnxFile, path: Path | None, limits: Limits) -> Model | None:
    """Return the model of a document with the values of a file, if exporting it gives the file again."""
    from graphengine.model.model import Model
    from graphengine.model.to_onnx import onnx_parts

    proto, tensors = file.proto, Tensors(file, limits.array_bytes)
    arrays = {each.name: each for each in proto.graph.initializer}
    document, declared = _document(text, limits)
    values = {name: tensors.array(arrays[name]) for name in present(declared, arrays)}
    model = Model(_with_values(document, text, values), None, path, limits=limits, values=values)
    outputs = [each.name for each in proto.graph.output]
    again = onnx_parts(model, outputs=outputs, opset=_core_opset(proto), external=True)
    return model if _alike(again, proto, declared, tensors) else None


def _core_opset(proto: Any) -> int:
    """The version of ONNX's own ops in a file."""
    version: int = next(each.version for each in proto.opset_import if not each.domain)
    return version


def _document(text: str, limits: Limits) -> tuple[ModelDocument, set[str]]:
    """Return the document that an export has, and the names of its parameters and state; values are null there."""
    content = parse_json(text.encode())
    names = set()
    for section in ("parameters", "state"):
        for name, declared in content.get(section, {}).items():
            names.add(name)
            if declared.pop("value", 0) is None:
                declared.setdefault("initializer", {"type": "zeros"})
    return parse_model(as_json(content), None, limits, is_written=False)[0], names


def _with_values(document: ModelDocument, text: str, values: Mapping[str, Any]) -> ModelDocument:
    """Return a document with the values that the model file had, unless they are many."""
    content, changed = parse_json(text.encode()), {}
    shown = {} if are_external(values.values()) else values
    for section in ("parameters", "state"):
        sources = dict(getattr(document, section))
        declared = {name: each for name, each in content.get(section, {}).items() if "value" in each}
        for name, each in only(declared, values).items():
            sources[name] = sources[name].model_copy(update=_value_fields(name, each, shown))
        changed[section] = sources
    return document.model_copy(update=changed)


def _value_fields(name: str, declared: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a source that has a value: without an initializer that the file does not declare."""
    own = {} if "initializer" in declared else {"initializer": None}
    return {**own, "value": encode_array(shown[name])} if name in shown else own


def _alike(written: OnnxParts, proto: Any, parameters: set[str], tensors: Tensors) -> bool:
    """Whether what would be written computes the same as a model, except for the values of parameters."""
    graph, other = written.proto.graph, proto.graph
    if _computation(written.proto) != _computation(proto):
        return False
    stored: dict[str, Any] = {name: (written.types[name], list(array.shape)) for name, array in written.beside.items()}
    return stored | _stored(graph, parameters, tensors) == _stored(other, parameters, tensors)


def _computation(proto: Any) -> list[list[bytes]]:
    """The nodes, inputs, outputs and functions of a file; the functions are in no order."""
    sections = (proto.graph.node, proto.graph.input, proto.graph.output)
    return [*(list(map(_bytes, section)) for section in sections), sorted(map(_bytes, proto.functions))]


def _stored(graph: Any, parameters: set[str], tensors: Tensors) -> dict[str, Any]:
    return {each.name: _described(each, parameters, tensors) for each in graph.initializer}


def _described(tensor: Any, parameters: set[str], tensors: Tensors) -> Any:
    """Return a tensor as bytes; of a parameter type and shape."""
    return (tensor.data_type, list(tensor.dims)) if tensor.name in parameters else _bytes(tensors.whole(tensor))


def _bytes(part: Any) -> bytes:
    text: bytes = part.SerializeToString(deterministic=True)
    return text
