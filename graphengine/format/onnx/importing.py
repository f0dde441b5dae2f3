"""From an ONNX model to the graph that it means: nodes are imported one by one, by the rules of `IMPORTS`.

A node has a rule, or a body: a function of the file, or the one that ONNX's schema gives its op, which is inlined. In
place of what cannot be imported a stand-in of its type is computed with or, where its type is not known, a gap is left.
Nothing that follows from them is reported: so all that lacks is found in one run, in functions and subgraphs, too.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from graphengine.errors import InvalidModelError, require_none
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
from graphengine.format.onnx.bodies import body_of, check_version, defaults_of, inferred_types, schema_of
from graphengine.format.onnx.drafts import Draft, Weight, normalized
from graphengine.format.onnx.import_findings import FindingPlace, Findings
from graphengine.format.onnx.import_scopes import ImportScope, name_of
from graphengine.format.onnx.onnx_calls import IMPORTS, Follows, OnnxCall, Unimportable
from graphengine.format.onnx.protos import (
    STORED,
    OnnxFile,
    Tensors,
    declared_types,
    dtype_of,
    needed,
    read_by,
    subgraphs,
    type_name,
)
from graphengine.format.onnx.renaming import NewNames, size_named, valid
from graphengine.ir.recording import Symbol
from graphengine.limits import Limits
from graphengine.ops.shapes import ArrayType, Size

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
"""The result of a node that could not be imported, and whose type is not known."""


class Importer:
    """Imports the graph of a model; `fixed` are values of inputs that are constants, `sizes` numbers for symbols."""

    def __init__(
        self,
        file: OnnxFile,
        limits: Limits,
        fixed: Mapping[str, Any] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.onnx = optional("onnx", "onnx")
        self.proto, self.fixed, self.sizes = file.proto, dict(fixed or {}), dict(sizes or {})
        self.tensors = Tensors(file, limits.array_bytes)
        self.most = min(limits.nodes, max(2**17, MOST_GROWTH * len(self.proto.graph.node)))
        self.draft = Draft("float32", self.most)
        self.names = NewNames()
        self.final: dict[str, str] = {}
        """The id of each value of the draft that has a name in the file."""
        self.of_file: dict[str, str] = {}
        """The value of the draft for each name of the file."""
        self.descriptions: dict[str, str] = {}
        """What the file says of its inputs."""
        self.placed = 0
        self.findings = Findings()
        self.functions = {(each.domain, each.name, each.overload): each for each in self.proto.functions}

    def run(self, until: str | None = None) -> dict[str, Any]:
        """Import the nodes that the outputs depend on, or the value `until`, and return these values by name.

        Raises
        ------
        InvalidModelError
            GE306 for each op that cannot be imported, with the reason and the nodes; GE132 or GE133 beyond the limits.
        """
        graph = self.proto.graph
        scope = ImportScope({}, _versions(self.proto.opset_import), {}, {}, declared_types(graph))
        self._enter_sources(graph, scope)
        wanted = [each.name for each in graph.output] if until is None else [until]
        self._run_nodes(needed(graph.node, wanted), scope)
        outputs = self._outputs(wanted, scope)
        require_none(self.findings.problems())
        return outputs

    def _outputs(self, wanted: Iterable[str], scope: ImportScope) -> dict[str, Any]:
        outputs = {}
        for name in wanted:
            with self.findings.reporting(FindingPlace("output", name)):
                value = self._value(name, scope)
                if value is not GAP:
                    outputs[name] = self._returned(value)
        return outputs

    # ------------------------------------------------------------ what the file declares

    def _enter_sources(self, graph: Any, scope: ImportScope) -> None:
        initial = {each.name for each in graph.initializer}
        for each in graph.input:
            if each.name in initial:
                continue
            with self.findings.reporting(FindingPlace("input", each.name)):
                scope.values[each.name] = GAP
                scope.values[each.name] = self._input(each)
                scope.kinds[each.name] = each.type.tensor_type.elem_type
        self._enter_initializers(graph, scope)

    def _enter_initializers(self, graph: Any, scope: ImportScope) -> None:
        for tensor in graph.initializer:
            with self.findings.reporting(FindingPlace("initializer", scope.path + tensor.name)):
                scope.values[tensor.name] = GAP
                scope.values[tensor.name] = self._weight(tensor, scope)
                scope.kinds[tensor.name] = tensor.data_type
        for sparse in graph.sparse_initializer:
            scope.values[sparse.values.name] = GAP
            reason = Unimportable("sparse tensors have no counterpart")
            self.findings.report(FindingPlace("initializer", scope.path + sparse.values.name), reason)

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
        if declared.name in self.fixed:
            return np.asarray(self.fixed[declared.name], dtype_of(tensor.elem_type))
        return self._placeholder(declared, tensor)

    def _placeholder(self, declared: Any, tensor: Any) -> Any:
        """Enter an input that the model keeps."""
        dtype, kind = dtype_of(tensor.elem_type), type_name(tensor.elem_type)
        if not tensor.HasField("shape"):
            raise Unimportable("it declares no shape")
        shape = tuple(self._size(declared.name, axis, size) for axis, size in enumerate(tensor.shape.dim))
        if kind not in (dtype.name.upper(), "FLOAT", "DOUBLE"):
            self.tensors.narrow.setdefault(kind, 0)
        name = self.names.given(declared.name)
        if declared.doc_string:
            self.descriptions[name] = declared.doc_string
        self.final[name] = self.of_file[declared.name] = name
        return self.draft.input(name, ArrayType(shape, dtype), STORED.get(kind))

    def _size(self, name: str, axis: int, size: Any) -> Size:
        if size.HasField("dim_value") and size.dim_value >= 0:
            return int(size.dim_value)
        symbol = size_named(size.dim_param or f"{name}_{axis}")
        return self.sizes.get(size.dim_param or str(symbol), symbol)

    # ------------------------------------------------------------ nodes

    def _run_nodes(self, nodes: Iterable[Any], scope: ImportScope) -> None:
        for node in nodes:
            self._count_node()
            self._run_or_report(node, scope)
            if self.findings:
                self._stand_in(node, scope)

    def _count_node(self) -> None:
        self.placed += 1
        if self.placed > self.most:
            message = f"with functions inlined and loops unrolled the model has more than {self.most:,} nodes"
            raise InvalidModelError(message, code="GE132", hint="load it with larger limits")

    def _run_or_report(self, node: Any, scope: ImportScope) -> None:
        twice = [output for output in filter(None, node.output) if output in scope.values]
        scope.values.update(dict.fromkeys(node.output, GAP))
        with self.findings.reporting(self._place(node, scope)):
            if twice:
                raise Unimportable(f"'{twice[0]}' is defined twice")
            self._run_node(node, scope)

    def _run_node(self, node: Any, scope: ImportScope) -> None:
        inputs = [self._value(name, scope) if name else None for name in node.input]
        if _has_gap(inputs):
            self._look_below(node, inputs, scope)
        else:
            self._enter_results(node, self._results(node, inputs, scope), scope)

    def _place(self, node: Any, scope: ImportScope) -> FindingPlace:
        """Return where a node is, and whether values that it reads follow from what could not be imported."""
        doubts = self.draft.doubts([scope.values.get(name) for name in read_by(node)]) if self.findings else []
        return scope.place(node)._replace(follows=bool(doubts), is_doubtful=any(doubts))

    def _value(self, name: str, scope: ImportScope) -> Any:
        if name not in scope.values:
            raise Unimportable(f"'{name}' is not defined before it is read")
        return scope.values[name]

    def _look_below(self, node: Any, inputs: list[Any], scope: ImportScope) -> None:
        """Report an op that has neither a rule nor a body, and what lacks within it, where it reads a gap."""
        domain, attributes = _domain(node.domain), dict(self._attributes(node, scope))
        version = scope.opsets.get(domain, 1)
        function, schema = self._function(node), schema_of(node.op_type, domain, version)
        if function is not None:
            self._enter_results(node, self._inlined(function, inputs, attributes, node, scope), scope)
        elif (domain, node.op_type) in IMPORTS:
            check_version(node.op_type, domain, version)
            self._run_subgraphs(node, scope)
        elif schema is None or not schema.has_context_dependent_function:  # such a body takes types
            self._enter_results(node, self._by_schema(node, inputs, attributes, scope), scope)

    def _run_subgraphs(self, node: Any, scope: ImportScope) -> None:
        """Report what lacks within subgraphs, of whose inputs nothing is known."""
        for graph in subgraphs(node):
            gaps = dict.fromkeys([each.name for each in graph.input], GAP)
            self._run_graph(graph, self._inside(graph, gaps, node, scope))

    def _stand_in(self, node: Any, scope: ImportScope) -> None:
        """Let results that lack have the types that the file states, or that follow from what the node reads."""
        lacking = [name for name in filter(None, node.output) if scope.values[name] is GAP]
        types = {**self._inferred(node, scope), **scope.declared} if lacking else {}
        for name in lacking:
            with suppress(Unimportable):
                scope.values[name] = self._typed(name, types.get(name))

    def _inferred(self, node: Any, scope: ImportScope) -> dict[str, Any]:
        """Return the types of results that follow from inputs, if those of all inputs are known."""
        values = [scope.values.get(name) for name in node.input]
        return {} if _has_gap(values) else inferred_types(node, values, scope.opsets)

    def _typed(self, name: str, kind: Any) -> Any:
        """Return a stand-in for a value of a type, a gap where the type is not known."""
        if kind is None or not kind.tensor_type.HasField("shape"):
            return GAP
        tensor = kind.tensor_type
        shape = tuple(self._size(name, axis, size) for axis, size in enumerate(tensor.shape.dim))
        return self.draft.stand_in(ArrayType(shape, dtype_of(tensor.elem_type)))

    def _results(self, node: Any, inputs: list[Any], scope: ImportScope) -> Any:
        domain = _domain(node.domain)
        function, attributes = self._function(node), dict(self._attributes(node, scope))
        if function is not None:
            return self._inlined(function, inputs, attributes, node, scope)
        if domain not in scope.opsets:
            raise Unimportable(f"the file imports no opset of the domain '{domain}'")
        if (domain, node.op_type) not in IMPORTS:
            return self._by_schema(node, inputs, attributes, scope)
        return self._by_rule(node, inputs, attributes, scope)

    def _by_rule(self, node: Any, inputs: list[Any], attributes: dict[str, Any], scope: ImportScope) -> Any:
        domain = _domain(node.domain)
        check_version(node.op_type, domain, scope.opsets[domain])
        self.draft.enter(self._near(node, scope))
        call = OnnxCall(self.draft, node, inputs, attributes, scope.opsets[domain], self._applier(node, scope))
        call.element_types = [scope.kinds.get(name, 0) for name in node.input]
        with np.errstate(all="ignore"):
            found = IMPORTS[domain, node.op_type](call)
        scope.kinds.update(dict.fromkeys(node.output, call.made))
        return found

    def _by_schema(self, node: Any, inputs: list[Any], given: dict[str, Any], scope: ImportScope) -> list[Any]:
        """Import the body that ONNX's schema gives an op."""
        domain = _domain(node.domain)
        version = scope.opsets.get(domain, 1)
        schema = schema_of(node.op_type, domain, version)
        body = body_of(schema, node, version, inputs, scope.attributes)
        if body is None:
            raise Unimportable("the op has no counterpart")
        defaults = {name: self._attribute(each) for name, each in defaults_of(schema).items()}
        scope = scope._replace(within=scope.within or self._place(node, scope))
        return self._inlined(body, inputs, {**defaults, **given}, node, scope)

    def _function(self, node: Any) -> Any:
        """Return the function of the file that a node calls, None if it calls none."""
        return self.functions.get((node.domain, node.op_type, node.overload))

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
        """Import the nodes of a function in their own scope."""
        self._check_depth(scope)
        defaults = {each.name: self._attribute(each) for each in function.attribute_proto}
        values = dict.fromkeys(function.input)
        values.update(zip(function.input, inputs, strict=False))
        opsets = {**scope.opsets, **_versions(function.opset_import)}
        prefix = f"{self._near(node, scope)}/"
        kinds = {own: scope.kinds.get(name, 0) for own, name in zip(function.input, node.input, strict=False)}
        path = f"{scope.path}{name_of(node)}/"
        inner = ImportScope(
            values, opsets, {**defaults, **given}, kinds, {}, prefix, scope.depth + 1, path, scope.within
        )
        self._run_nodes(function.node, inner)
        wanted = [*map(bool, node.output), *[False] * len(function.output)]
        return [self._value(name, inner) if want else None for name, want in zip(function.output, wanted, strict=False)]

    def _applier(self, node: Any, scope: ImportScope) -> Callable[..., list[Any]]:
        """Return what imports a subgraph of a node with values of its inputs."""

        def apply(graph: Any, values: Mapping[str, Any], near: str = "") -> list[Any]:
            inner = self._inside(graph, values, node, scope, near)
            found = self._run_graph(graph, inner)
            if any(each is GAP for each in found):
                raise Follows
            self._near(node, scope)
            return found

        return apply

    def _inside(
        self, graph: Any, values: Mapping[str, Any], node: Any, scope: ImportScope, near: str = ""
    ) -> ImportScope:
        """Return the scope of a subgraph of a node, which sees the values around it."""
        self._check_depth(scope)
        return scope._replace(
            values=ChainMap(dict(values), scope.values),
            kinds=dict(scope.kinds),
            declared=declared_types(graph),
            prefix=f"{self._near(node, scope)}/{near}",
            depth=scope.depth + 1,
            path=f"{scope.path}{name_of(node)}/",
        )

    def _run_graph(self, graph: Any, scope: ImportScope) -> list[Any]:
        """Import the nodes of a subgraph, and return its results."""
        self._enter_initializers(graph, scope)
        self._run_nodes(graph.node, scope)
        return [self._value(each.name, scope) for each in graph.output]

    def _check_depth(self, scope: ImportScope) -> None:
        if scope.depth >= MOST_DEPTH:
            raise Unimportable(f"functions and subgraphs lie more than {MOST_DEPTH} deep in each other")

    def _enter_results(self, node: Any, results: Any, scope: ImportScope) -> None:
        found = list(results) if isinstance(results, (tuple, list)) else [results]
        if _has_gap(found):
            raise Follows
        for name, value in zip(node.output, found, strict=False):
            self._enter(name, value, scope)
        missing = list(filter(None, node.output[len(found) :]))
        if missing:
            raise Unimportable(f"its output '{missing[0]}' has no counterpart")

    def _enter(self, name: str, value: Any, scope: ImportScope) -> None:
        """Enter a result, which has no name if nothing reads it."""
        if name:
            scope.values[name] = normalized(value)
            self._name(value, name, scope)

    def _name(self, value: Any, name: str, scope: ImportScope) -> None:
        """Give the node that made a value the name of the file, unless it has one."""
        if not isinstance(value, Symbol):
            return
        if not scope.prefix:
            self.of_file.setdefault(name, value.name)
        if self._is_unnamed(value.name):
            self.final[value.name] = self.names.given(f"{scope.prefix}{name}")

    def _is_unnamed(self, value: str) -> bool:
        """Whether a value is the only or first one of a node that has no name of the file."""
        named = (self.final, self.draft.inputs, self.draft.weights, self.draft.constants)
        return ":" not in value and not any(value in each for each in named)

    def _returned(self, value: Any) -> Any:
        if isinstance(value, list) or value is None:
            raise Unimportable("sequences and optional values have no counterpart")
        return self.draft.as_symbol(value)


_SINGLE = {"FLOAT": "f", "INT": "i", "STRING": "s", "GRAPH": "g", "TYPE_PROTO": "tp"}
"""The fields of an attribute that is one value, by its kind."""


def _has_gap(values: Iterable[Any]) -> bool:
    return any(value is GAP for value in values)


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _versions(imports: Iterable[Any]) -> dict[str, int]:
    """Return the opset of each domain that a model or a function imports."""
    return {_domain(each.domain): each.version for each in imports}
