"""From an ONNX model to the graph that it means: nodes are imported one by one, by the rules of `IMPORTS`.

A node has a rule, or a body: a function of the file, or the one that ONNX's schema gives its op, which is inlined. What
cannot be imported leaves a gap, and nothing that follows from a gap is reported: so all ops that lack are found in one
run.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphengine.errors import DataError, InvalidModelError, Problem
from graphengine.extras import optional
from graphengine.format.onnx import (
    import_classical,
    import_control,
    import_elementwise,
    import_layers,
    import_quantized,
    import_recurrent,
    import_reductions,
    import_resizing,
    import_selection,
    import_shapes,
    import_trees,
)
from graphengine.format.onnx.bodies import body_of, check_version, defaults_of, schema_of
from graphengine.format.onnx.drafts import Draft, Weight, normalized
from graphengine.format.onnx.onnx_calls import IMPORTS, OnnxCall, Unimportable
from graphengine.format.onnx.protos import STORED, Tensors, dtype_of, subgraphs, type_name
from graphengine.format.onnx.renaming import NewNames, size_named, valid
from graphengine.ir.recording import Symbol, UnrecordableError
from graphengine.limits import Limits
from graphengine.ops.shapes import ArrayType, Size
from graphengine.wording import counted, enumerated

_TABLES = (
    import_classical,
    import_control,
    import_elementwise,
    import_layers,
    import_quantized,
    import_recurrent,
    import_reductions,
    import_resizing,
    import_selection,
    import_shapes,
    import_trees,
)
"""The modules that enter their rules into the table."""
MOST_DEPTH = 32
"""How deep functions and subgraphs of an ONNX file may lie in each other."""
MOST_GROWTH = 64
"""How many times as many nodes a file may become with functions inlined and loops unrolled; up to 2^17 in any case."""
GAP = object()
"""The result of a node that could not be imported."""


class ImportScope(NamedTuple):
    """Where nodes are: the values that they see by name, opsets by domain, and what their names are put after.

    `kinds` are ONNX's numbers of the types that values have in the file, where these are none of ours.
    """

    values: MutableMapping[str, Any]
    opsets: Mapping[str, int]
    attributes: Mapping[str, Any]
    kinds: MutableMapping[str, int]
    prefix: str = ""
    depth: int = 0


class Importer:
    """Imports the graph of a model; `fixed` are values of inputs that are constants, `sizes` numbers for symbols."""

    def __init__(
        self,
        proto: Any,
        folder: Path | None,
        limits: Limits,
        fixed: Mapping[str, Any] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.onnx = optional("onnx", "onnx")
        self.proto, self.fixed, self.sizes = proto, dict(fixed or {}), dict(sizes or {})
        self.tensors = Tensors(folder, limits.array_bytes)
        self.most = min(limits.nodes, max(2**17, MOST_GROWTH * len(proto.graph.node)))
        self.draft = Draft("float32", self.most)
        self.names = NewNames()
        self.final: dict[str, str] = {}
        """The id of each value of the draft that has a name in the file."""
        self.of_file: dict[str, str] = {}
        """The value of the draft for each name of the file."""
        self.descriptions: dict[str, str] = {}
        """What the file says of its inputs."""
        self.placed = 0
        self._reasons: dict[tuple[str, str], list[tuple[str, tuple[str, ...]]]] = {}
        self.functions = {(each.domain, each.name, each.overload): each for each in proto.functions}

    def run(self, until: str | None = None) -> dict[str, Any]:
        """Import the nodes that the outputs depend on, or the value `until`, and return these values by name.

        Raises
        ------
        InvalidModelError
            GE306 for each op that cannot be imported, with the reason and the nodes; GE132 or GE133 beyond the limits.
        """
        opsets = {_domain(each.domain): each.version for each in self.proto.opset_import}
        scope = ImportScope({}, opsets, {}, {})
        graph = self.proto.graph
        self._enter_sources(graph, scope)
        wanted = [each.name for each in graph.output] if until is None else [until]
        self._run_nodes(needed(graph.node, wanted), scope)
        outputs = {}
        for name in wanted:
            with self._reporting("output", name):
                value = self._value(name, scope)
                if value is not GAP:
                    outputs[name] = self._returned(value)
        if self._reasons:
            raise InvalidModelError(list(self._problems()))
        return outputs

    # ------------------------------------------------------------ what the file declares

    def _enter_sources(self, graph: Any, scope: ImportScope) -> None:
        initial = {each.name for each in graph.initializer}
        for each in graph.input:
            if each.name in initial:
                continue
            with self._reporting("input", each.name):
                scope.values[each.name] = GAP
                scope.values[each.name] = self._input(each)
                scope.kinds[each.name] = each.type.tensor_type.elem_type
        self._enter_initializers(graph, scope)

    def _enter_initializers(self, graph: Any, scope: ImportScope) -> None:
        for tensor in graph.initializer:
            with self._reporting("initializer", tensor.name):
                scope.values[tensor.name] = GAP
                scope.values[tensor.name] = self._weight(tensor, scope)
                scope.kinds[tensor.name] = tensor.data_type
        for sparse in graph.sparse_initializer:
            scope.values[sparse.values.name] = GAP
            self._report("initializer", sparse.values.name, Unimportable("sparse tensors have no counterpart"))

    def _weight(self, tensor: Any, scope: ImportScope) -> Any:
        array = self.tensors.array(tensor)
        if array.dtype.kind != "f":
            return array
        name = self.names.given(f"{scope.prefix}{tensor.name}")
        self.of_file.setdefault(tensor.name, name)
        return Weight(name, array, STORED.get(type_name(tensor.data_type)))

    def _input(self, declared: Any) -> Any:
        kind = declared.type.WhichOneof("value")
        if kind != "tensor_type":
            raise Unimportable(f"values of kind {(kind or 'none').removesuffix('_type')} have no counterpart")
        tensor = declared.type.tensor_type
        dtype = dtype_of(tensor.elem_type)
        if declared.name in self.fixed:
            return np.asarray(self.fixed[declared.name], dtype)
        if not tensor.HasField("shape"):
            raise Unimportable("it declares no shape")
        shape = tuple(self._size(declared.name, axis, size) for axis, size in enumerate(tensor.shape.dim))
        if type_name(tensor.elem_type) not in (dtype.name.upper(), "FLOAT", "DOUBLE"):
            self.tensors.narrow.setdefault(type_name(tensor.elem_type), 0)
        name = self.names.given(declared.name)
        if declared.doc_string:
            self.descriptions[name] = declared.doc_string
        self.final[name] = self.of_file[declared.name] = name
        return self.draft.input(name, ArrayType(shape, dtype), STORED.get(type_name(tensor.elem_type)))

    def _size(self, name: str, axis: int, size: Any) -> Size:
        if size.HasField("dim_value") and size.dim_value >= 0:
            return int(size.dim_value)
        symbol = size_named(size.dim_param or f"{name}_{axis}")
        return self.sizes.get(size.dim_param or str(symbol), symbol)

    # ------------------------------------------------------------ nodes

    def _run_nodes(self, nodes: Iterable[Any], scope: ImportScope) -> None:
        for node in nodes:
            self.placed += 1
            if self.placed > self.most:
                message = f"with functions inlined and loops unrolled the model has more than {self.most:,} nodes"
                raise InvalidModelError(message, code="GE132", hint="load it with larger limits")
            twice = [output for output in node.output if output and output in scope.values]
            scope.values.update(dict.fromkeys(node.output, GAP))
            with self._reporting(node.op_type, node.name or next(iter(node.output), "")):
                if twice:
                    raise Unimportable(f"'{twice[0]}' is defined twice")
                inputs = [self._value(name, scope) if name else None for name in node.input]
                if any(value is GAP for value in inputs):
                    self._require_known(node, scope)
                    continue
                self._enter_results(node, self._results(node, inputs, scope), scope)

    def _value(self, name: str, scope: ImportScope) -> Any:
        if name not in scope.values:
            raise Unimportable(f"'{name}' is not defined before it is read")
        return scope.values[name]

    def _require_known(self, node: Any, scope: ImportScope) -> None:
        """Report an op that has neither a rule nor a body, also where what it reads is a gap."""
        domain = _domain(node.domain)
        known = (domain, node.op_type) in IMPORTS or (node.domain, node.op_type, node.overload) in self.functions
        schema = None if known else schema_of(node.op_type, domain, scope.opsets.get(domain, 1))
        if not known and not (schema and (schema.has_function or schema.has_context_dependent_function)):
            raise Unimportable("the op has no counterpart")

    def _results(self, node: Any, inputs: list[Any], scope: ImportScope) -> Any:
        domain = _domain(node.domain)
        function = self.functions.get((node.domain, node.op_type, node.overload))
        attributes = dict(self._attributes(node, scope))
        if function is not None:
            return self._inlined(function, inputs, attributes, node, scope)
        if domain not in scope.opsets:
            raise Unimportable(f"the file imports no opset of the domain '{domain}'")
        rule = IMPORTS.get((domain, node.op_type))
        if rule is not None:
            check_version(node.op_type, domain, scope.opsets[domain])
            self.draft.enter(self._near(node, scope))
            call = OnnxCall(self.draft, node, inputs, attributes, scope.opsets[domain], self._applier(node, scope))
            call.element_types = [scope.kinds.get(name, 0) for name in node.input]
            with np.errstate(all="ignore"):
                found = rule(call)
            scope.kinds.update(dict.fromkeys(node.output, call.made))
            return found
        schema = schema_of(node.op_type, domain, scope.opsets[domain])
        body = body_of(schema, node, scope.opsets[domain], inputs, scope.attributes)
        if body is None:
            raise Unimportable("the op has no counterpart")
        defaults = {name: self._attribute(each) for name, each in defaults_of(schema).items()}
        return self._inlined(body, inputs, {**defaults, **attributes}, node, scope)

    def _near(self, node: Any, scope: ImportScope) -> str:
        """Return what parts of a node are named after."""
        self.draft.near = valid(scope.prefix + next(filter(None, node.output), node.op_type))
        return self.draft.near

    def _attributes(self, node: Any, scope: ImportScope) -> Iterator[tuple[str, Any]]:
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                if attribute.ref_attr_name in scope.attributes:
                    yield attribute.name, scope.attributes[attribute.ref_attr_name]
            else:
                yield attribute.name, self._attribute(attribute)

    def _attribute(self, attribute: Any) -> Any:
        kind = self.onnx.AttributeProto.AttributeType.Name(attribute.type)
        if kind == "TENSOR":
            return self.tensors.array(attribute.t)
        if kind in _SINGLE:
            return getattr(attribute, _SINGLE[kind])
        if kind in ("FLOATS", "INTS", "STRINGS"):
            return list(getattr(attribute, kind.lower()))
        raise Unimportable(f"attribute '{attribute.name}' has a kind without a counterpart")

    def _inlined(
        self, function: Any, inputs: list[Any], given: dict[str, Any], node: Any, scope: ImportScope
    ) -> list[Any]:
        """Import the nodes of a function in a scope of their own."""
        self._check_depth(scope)
        defaults = {each.name: self._attribute(each) for each in function.attribute_proto}
        values = dict.fromkeys(function.input)
        values.update(zip(function.input, inputs, strict=False))
        opsets = {**scope.opsets, **{_domain(each.domain): each.version for each in function.opset_import}}
        prefix = f"{self._near(node, scope)}/"
        kinds = {own: scope.kinds.get(name, 0) for own, name in zip(function.input, node.input, strict=False)}
        inner = ImportScope(values, opsets, {**defaults, **given}, kinds, prefix, scope.depth + 1)
        self._run_nodes(function.node, inner)
        wanted = [*map(bool, node.output), *[False] * len(function.output)]
        return [self._value(name, inner) if want else None for name, want in zip(function.output, wanted, strict=False)]

    def _applier(self, node: Any, scope: ImportScope) -> Callable[..., list[Any]]:
        """Return what imports a subgraph of a node with values of its inputs."""

        def apply(graph: Any, values: Mapping[str, Any], near: str = "") -> list[Any]:
            self._check_depth(scope)
            prefix = f"{self._near(node, scope)}/{near}"
            values = ChainMap(dict(values), scope.values)
            inner = scope._replace(values=values, kinds=dict(scope.kinds), prefix=prefix, depth=scope.depth + 1)
            self._enter_initializers(graph, inner)
            self._run_nodes(graph.node, inner)
            found = [self._value(each.name, inner) for each in graph.output]
            if any(each is GAP for each in found):
                raise _Silent
            self._near(node, scope)
            return found

        return apply

    def _check_depth(self, scope: ImportScope) -> None:
        if scope.depth >= MOST_DEPTH:
            raise Unimportable(f"functions and subgraphs lie more than {MOST_DEPTH} deep in each other")

    def _enter_results(self, node: Any, results: Any, scope: ImportScope) -> None:
        found = list(results) if isinstance(results, (tuple, list)) else [results]
        if any(value is GAP for value in found):
            raise _Silent
        for name, value in zip(node.output, found, strict=False):
            if name:
                scope.values[name] = normalized(value)
                self._name(value, name, scope)
        missing = [name for name in node.output[len(found) :] if name]
        if missing:
            raise Unimportable(f"its output '{missing[0]}' has no counterpart")

    def _name(self, value: Any, name: str, scope: ImportScope) -> None:
        """Give the node that made a value the name of the file, unless it has one."""
        if not isinstance(value, Symbol):
            return
        if not scope.prefix:
            self.of_file.setdefault(name, value.name)
        node, _, port = value.name.partition(":")
        sources = (self.draft.inputs, self.draft.weights, self.draft.constants)
        if not port and node not in self.final and not any(node in each for each in sources):
            self.final[node] = self.names.given(f"{scope.prefix}{name}")

    def _returned(self, value: Any) -> Any:
        if isinstance(value, list) or value is None:
            raise Unimportable("sequences and optional values have no counterpart")
        return self.draft.as_symbol(value)

    # ------------------------------------------------------------ what cannot be imported

    @contextmanager
    def _reporting(self, what: str, name: str) -> Iterator[None]:
        """Report why something cannot be imported; what a rule raises on values that it does not expect counts, too."""
        try:
            yield
        except _Silent:
            return
        except (InvalidModelError, DataError) as error:
            if not {each.code for each in error.problems} <= {"GE501", "GE504"}:
                raise
            self._report(what, name, Unimportable(error.problems[0].message))
        except Unimportable as reason:
            self._report(what, name, reason)
        except (MemoryError, *_UNEXPECTED) as error:
            first = str(error).strip().partition("\n")[0]
            self._report(what, name, Unimportable(first or type(error).__name__))

    def _report(self, what: str, name: str, reason: Unimportable) -> None:
        self._reasons.setdefault((what, str(reason)), []).append((name, reason.inputs))

    def _problems(self) -> Iterator[Problem]:
        for (what, reason), places in self._reasons.items():
            names = [name for name, _ in places]
            fix = sorted({each for _, inputs in places for each in inputs})
            hint = f"give the value of {enumerated(fix)}, which makes a constant of it" if fix else None
            where = f"{counted(len(names), 'node')} ({enumerated(names)})" if what not in _DECLARED else names[0]
            subject = f"op '{what}'" if what not in _DECLARED else what
            yield Problem("GE306", f"{subject} cannot be imported: {reason}: {where}", hint, node=names[0])


def needed(nodes: Any, wanted: Iterable[str]) -> list[Any]:
    """Return the nodes that values depend on, in their order; what a subgraph reads counts as read by its node."""
    names, found = set(wanted), []
    for node in reversed(nodes):
        if not names.isdisjoint(node.output):
            found.append(node)
            names.update(read_by(node))
    return found[::-1]


def read_by(node: Any) -> set[str]:
    """Return all names that a node reads, and those that its subgraphs read."""
    names, inside = set(node.input), list(subgraphs(node))
    while inside:
        for each in inside.pop().node:
            names.update(each.input)
            inside.extend(subgraphs(each))
    return names


_SINGLE = {"FLOAT": "f", "INT": "i", "STRING": "s", "GRAPH": "g", "TYPE_PROTO": "tp"}
"""The fields of an attribute that is one value, by its kind."""
_UNEXPECTED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, UnrecordableError)
"""What a rule raises on values that it does not expect."""
_DECLARED = ("input", "initializer", "output")


class _Silent(Exception):  # noqa: N818 - no error: what failed is reported already
    """A value follows from a gap."""


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name
