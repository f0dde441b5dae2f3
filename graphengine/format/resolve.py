"""From the names in a document to what they mean, or a problem with its place.

Names mean something only through the tables of this package (ops, update rules, data types); nothing in a file is
ever imported or evaluated.
"""

from __future__ import annotations

import itertools
from collections import ChainMap
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from graphengine.errors import MOST_REPORTED, Problem, did_you_mean, make_pointer
from graphengine.format.documents import ModelDocument, NodeDocument, references_of
from graphengine.format.functions import (
    DOMAINS,
    RUNNING,
    Application,
    Function,
    FunctionCall,
    Table,
    function_named,
    given_by,
    shipped_functions,
)
from graphengine.format.layer_forms import LAYERS
from graphengine.format.salvage import HOLE, VALUES, Gaps
from graphengine.ir.graph_bodies import GraphBody
from graphengine.ir.nodes import GraphNode, Operand
from graphengine.limits import DEFAULT, Limits
from graphengine.mappings import absent, only, without
from graphengine.ops.node import Node
from graphengine.ops.numbers import INEXACT, is_inexact
from graphengine.ops.registry import CORE, OPS, OPSET_VERSION, Op, domain_of, instance_of

_LONG = 2**13
"""Bytes of attributes in which more may be wrong than is reported."""

UNTYPED = GraphBody("function", (), (), {})
"""What attributes are checked with where a node runs a function."""

UNKNOWN: Any = None
"""The instance of a class where a node is wrong."""


class Resolver:
    """One walk over the nodes of a document that gives each its class, its attributes and its operands.

    A node that calls one of `functions` gets a `FunctionCall` in the place of the instance of a class; one that runs
    functions, which are among those `named`, gets an `Application`. Nothing is reported of what the `gaps` of the
    document hide; ids that are used twice are added to them.
    """

    def __init__(
        self,
        document: ModelDocument,
        functions: Table,
        gaps: Gaps,
        limits: Limits = DEFAULT,
        named: Table | None = None,
    ) -> None:
        self._named = functions if named is None else named
        self.document, self.gaps, self.limits = document, gaps, limits
        self.problems: list[Problem] = []
        self.values: dict[str, str] = {}
        self.unknown: list[GraphNode] = []
        self._twice: set[str] = set()
        self._has_too_many_outputs = False
        self._instances: dict[tuple[str, bytes], Node] = {}
        self._resolved: list[GraphNode] = []
        self._alike: dict[tuple[str, int] | None, GraphNode] = {}
        self._may_hide_functions = bool(functions) or gaps.around is not None or any(gaps.names.values())
        # a merged dictionary would be built again for each function
        self._ops: Mapping[str, Op | Function] = ChainMap(functions, OPS)  # type: ignore[arg-type]
        self._check_imports()
        for section in ("inputs", "parameters", "state"):
            for name in getattr(document, section):
                self._define(name, section)
        self._define_nodes(document.nodes)
        if self._twice:  # else it would be an empty set for each function of a file
            self.gaps.names["nodes"].update(self._twice)

    def _define_nodes(self, specs: Sequence[NodeDocument]) -> None:
        """Enter the ids of the nodes and the names of their further outputs."""
        expected, names = len(self.values) + len(specs), set()
        for spec in specs:
            ident = spec["id"]
            self.values[ident] = ident
            names.add(spec["op"])
        if len(self.values) < expected:
            self._report_doubled(specs)
        if HOLE in self.gaps.names.get("nodes", ()):
            self.values.pop(HOLE, None)
        self._used = {name: self._known_op(name) for name in names}
        self._define_ports(specs)

    def _known_op(self, name: str) -> Op | Function | None:
        """What has a name, if it is known what its inputs and outputs are."""
        op = self._ops.get(name)
        return None if self._may_hide_functions and self._is_hidden(name, op) else op

    def _is_hidden(self, name: str, op: Op | Function | None) -> bool:
        """Whether a name is that of a function of which nothing is known."""
        return self.gaps.hide_function(name) or (isinstance(op, Function) and self.gaps.hide_calls())

    def _define_ports(self, specs: Sequence[NodeDocument]) -> None:
        """Enter the names of the further outputs of nodes, unless there are too many."""
        ops = {name: op for name, op in self._used.items() if op is None or len(op.signature.outputs) != 1}
        if ops:
            self._define_ports_of(ops, specs)

    def _define_ports_of(self, ops: Mapping[str, Op | Function | None], specs: Sequence[NodeDocument]) -> None:
        """Enter the names of the further outputs of nodes of some ops."""
        most = left = self.limits.outputs(len(self.document.nodes))
        for index, spec in enumerate(specs):
            if spec["op"] not in ops:
                continue
            ports = self._ports(spec, ops[spec["op"]])
            left -= 1 + len(ports)
            if left < 0:
                message = f"up to here the nodes have more than {most:,} outputs"
                self._add("GE132", message, f"/nodes/{index}", spec["id"], "raise the limit node_outputs")
                self.gaps.open.add("nodes")
                self._has_too_many_outputs = True
                return
            names = [f"{spec['id']}:{port}" for port in ports]
            self.values.update(zip(names, names, strict=True))

    def _ports(self, spec: NodeDocument, op: Op | Function | None) -> tuple[str, ...]:
        """The further outputs of a node; not known if its op is not, or its attributes should say them and do not."""
        outputs = self._outputs(spec, op) if op else None
        if outputs is None:
            self.gaps.names["ports"].add(spec["id"])
            return ()
        return outputs[1:]

    def _outputs(self, spec: NodeDocument, op: Op | Function) -> tuple[str, ...] | None:
        """The outputs of a node; None where its attributes should say them and do not."""
        if isinstance(op, Function) or op.signature.outputs:
            return op.signature.outputs
        attributes = spec.get("attributes", {})
        function = function_named(spec, RUNNING[op.name][0], self._named) if op.name in RUNNING else None
        if function is not None:
            return Application(op.name, {"": function}, {"wanted": (), **attributes}).outputs
        with suppress(ValidationError):
            return op.cls.model_validate(attributes).outputs
        return None

    def _report_doubled(self, specs: Sequence[NodeDocument]) -> None:
        seen = {*self.document.inputs, *self.document.parameters, *self.document.state}
        for index, spec in enumerate(specs):
            if spec["id"] in seen and spec["id"] not in self.gaps.names["nodes"]:
                self._doubled(spec["id"], f"/nodes/{index}/id", spec["id"])
            seen.add(spec["id"])

    def nodes(self) -> list[GraphNode]:
        """The nodes that could be resolved; the others are in `unknown` then, and `problems` says why.

        Most nodes are like one before them: the same op on as many operands, without attributes. Of such a node only
        the references are looked at. A name is one string wherever it occurs, that of `values`.
        """
        if not self._has_too_many_outputs:
            self._resolve_all()
        hidden = self.gaps.names.get("nodes", ())
        return [node for node in self._resolved if node.id not in hidden] if hidden else self._resolved

    def _resolve_all(self) -> None:
        resolved, alike = self._resolved, self._alike
        names: Mapping[Any, str] = self.values
        for index, spec in enumerate(self.document.nodes):
            inputs = spec["inputs"]
            form = (spec["op"], len(inputs)) if type(inputs) is list and "attributes" not in spec else None
            like = alike.get(form)
            if like is not None and None not in (operands := tuple([names.get(ref) for ref in inputs])):
                resolved.append(GraphNode(names.get(spec["id"], HOLE), like.op, like.node, operands))
                continue
            self._resolve_or_keep(index, spec, form)
            if self._is_full:
                break

    def _resolve_or_keep(self, index: int, spec: NodeDocument, form: tuple[str, int] | None) -> None:
        """Resolve a node, or keep it among those that are unknown; nodes of its `form` are like it."""
        found = self._resolve(index, spec)
        if found is None:
            if not self._is_full:
                self.unknown.append(GraphNode(spec["id"], spec["op"], UNKNOWN, self._defined(spec)))
            return
        self._resolved.append(found)
        if form and len(found.inputs) == form[1]:
            self._alike[form] = found

    def _check_attributes(self, index: int, spec: NodeDocument, attributes: Mapping[str, Any], cls: type[Node]) -> Any:
        """An instance of the class of an op for attributes; None if they are wrong, which is reported."""
        try:
            return instance_of(cls, attributes)
        except ValidationError as error:
            self._wrong_attributes(index, spec, error, cls, "op")
            return None

    @property
    def takes_keys(self) -> bool:
        """Whether there is a random op among the nodes."""
        return any(node.signature.key is not None for node in self._instances.values())

    @property
    def _is_full(self) -> bool:
        """Whether there are more problems than are reported."""
        return len(self.problems) > MOST_REPORTED

    def _resolve(self, index: int, spec: NodeDocument) -> GraphNode | None:
        op = self._used[spec["op"]]
        if op is None:
            self._unknown_op(index, spec)
            self._undefined(index, spec)
            return None
        taking, node = self._taking(index, spec, op)
        operands = None if taking is None else self._operands(index, spec, taking)
        return None if node is None or operands is None else GraphNode(spec["id"], spec["op"], node, operands)

    def _taking(
        self, index: int, spec: NodeDocument, op: Op | Function
    ) -> tuple[Op | Function | Application | None, Any]:
        """What says which operands a node takes, and the instance of the node; None where that is wrong."""
        if isinstance(op, Function):
            form = self._form(index, spec, op)
            return form, None if form is None else self._call(index, spec, form)
        if op.name not in RUNNING:
            return op, self._instance(index, spec, op)
        node = self._application(index, spec, op)
        return op if op.name == "call" else node, node

    def _application(self, index: int, spec: NodeDocument, op: Op) -> Any:
        """What runs functions, or the call of one by its name."""
        wrong = len(self.problems)
        functions: dict[str, Any] = {field: self._runnable(index, spec, op, field) for field in RUNNING[op.name]}
        others = without(spec.get("attributes", {}), functions)
        self._check_attributes(index, spec, {**others, **dict.fromkeys(functions, UNTYPED)}, op.cls)
        if None in functions.values() or len(self.problems) > wrong:
            return None
        if op.name == "call":
            return FunctionCall(functions["function"], functions["function"].defaults)
        return Application(op.name, functions, others)

    def _runnable(self, index: int, spec: NodeDocument, op: Op, field: str) -> Function | None:
        """The function that an attribute names, if the op can run it."""
        function = function_named(spec, field, self._named)
        if function is None:
            self._report_unnamed(index, spec, field)
            return None
        if self.gaps.hide_function(function.name):
            return None
        reason = _unrunnable(function, op)
        if reason:
            self._report_field(index, spec, field, f"'{op.name}' cannot run function '{function.name}': {reason}")
            return None
        return function

    def _report_unnamed(self, index: int, spec: NodeDocument, field: str) -> None:
        """Report that an attribute names no function."""
        name = spec.get("attributes", {}).get(field)
        if name is None:
            self._report_field(index, spec, field, f"'{field}' is missing")
        elif not isinstance(name, str):
            self._report_field(index, spec, field, f"'{field}' must be the name of a function, not {name!r:.60}")
        elif not self.gaps.hide(name, "functions"):
            hint = did_you_mean(name, self._named, "functions")
            self._report_field(index, spec, field, f"'{field}': function '{name}' is not defined", hint)

    def _report_field(self, index: int, spec: NodeDocument, field: str, fault: str, hint: str | None = None) -> None:
        is_there = spec.get("attributes", {}).get(field) is not None
        pointer = f"/nodes/{index}" + f"/attributes/{field}" * is_there
        self._add("GE213", f"attribute of op '{spec['op']}': {fault}", pointer, spec["id"], hint)

    def _form(self, index: int, spec: NodeDocument, function: Function) -> Function | None:
        """The form of a function that a node calls; None if a layer does not have the attributes of the node."""
        attributes = spec.get("attributes", {})
        if self._is_cut(attributes):
            return function
        try:
            return function.form(only(attributes, function.document.attributes), given_by(spec, function))
        except ValidationError as error:
            self._wrong_attributes(index, spec, error, LAYERS[function.name])
            return None

    def _wrong_attributes(
        self, index: int, spec: NodeDocument, error: ValidationError, cls: type[BaseModel], what: str = "function"
    ) -> None:
        """Report the attributes that the class of an op or of a layer refuses."""
        from graphengine.format.findings import problems_of

        attributes = spec.get("attributes", {})
        for problem in problems_of(error, attributes, cls):
            pointer = f"/nodes/{index}" + ("/attributes" + (problem.pointer or "") if attributes else "")
            message = f"attribute of {what} '{spec['op']}': {problem.message}"
            self._add("GE213", message, pointer, spec["id"], problem.hint, at_key=problem.at_key)

    def _call(self, index: int, spec: NodeDocument, function: Function) -> Any:
        """The call of a function with all its attributes."""
        attributes, wrong = spec.get("attributes", {}), len(self.problems)
        if self._is_cut(attributes):
            return None
        for name, value in attributes.items():
            if self._is_full:
                break
            self._check_attribute(index, spec, function, name, value)
        self._check_call(index, spec, function)
        return FunctionCall(function, {**function.defaults, **attributes}) if len(self.problems) == wrong else None

    def _check_call(self, index: int, spec: NodeDocument, function: Function) -> None:
        """Report attributes that are missing, and a function that no node can call."""
        given = spec.get("attributes", {}).keys() | function.defaults.keys()
        for name in absent(function.document.attributes, given):
            message = f"attribute of function '{function.name}': '{name}' is missing"
            self._add("GE213", message, f"/nodes/{index}", spec["id"])
        if function.uncallable:
            message = f"function '{function.name}' cannot be called: {function.uncallable}"
            self._add("GE212", message, f"/nodes/{index}/op", spec["id"])

    def _check_attribute(self, index: int, spec: NodeDocument, function: Function, name: str, value: Any) -> None:
        where = f"attribute of function '{function.name}': "
        pointer = make_pointer(("nodes", index, "attributes", name))
        if name not in function.document.attributes:
            hint = did_you_mean(name, function.document.attributes, "attributes")
            self._add("GE213", f"{where}unknown key '{name}'", pointer, spec["id"], hint, at_key=True)
        elif not function.may_be(name, value):
            self._add("GE213", f"{where}'{name}' must be a finite number, not {value!r:.60}", pointer, spec["id"])
        elif name in function.operands and is_inexact(value):
            self._add("GE125", f"{where}{INEXACT}, such as {value}", pointer, spec["id"])

    def _is_cut(self, part: Collection[Any]) -> bool:
        """Whether the file says nothing usable where a part of a node is."""
        return HOLE in part and HOLE in self.gaps.names["nodes"]

    def _add(
        self,
        code: str,
        message: str,
        pointer: str,
        node: str | None = None,
        hint: str | None = None,
        *,
        at_key: bool = False,
    ) -> None:
        prefix = f"node '{node}': " if node else ""
        self.problems.append(Problem(code, prefix + message, hint, pointer, node, at_key=at_key))

    def _define(self, name: str, section: str) -> None:
        if name in self.values:
            self._doubled(name, make_pointer((section, name)))
        self.values[name] = name

    def _doubled(self, name: str, pointer: str, node: str | None = None) -> None:
        self._twice.add(name)
        if self._is_full:
            return
        hint = "inputs, parameters, state and nodes share one namespace; rename one of them"
        self._add("GE201", f"duplicate name '{name}'", pointer, node, hint, at_key=node is None)

    def _check_imports(self) -> None:
        for domain, version in self.document.opset_imports.items():
            known = {CORE: OPSET_VERSION, **DOMAINS}.get(domain, version)
            if version > known:
                message = f"opset {version} of '{domain}' is newer than the one of this version, {known}"
                self._add("GE105", message, make_pointer(("opset_imports", domain)), hint="upgrade graphengine")

    def _unknown_op(self, index: int, spec: NodeDocument) -> None:
        """Report an op that is not known, unless a gap may hide it."""
        name, domain = spec["op"], domain_of(spec["op"])
        if name in self._ops or self.gaps.hide(name, "functions"):
            return
        if self._lacks_import(name, domain):
            self._not_imported(index, spec, domain)
        else:
            self._add("GE211", f"unknown op '{name}'", f"/nodes/{index}/op", spec["id"], self._near(name, domain))

    def _lacks_import(self, name: str, domain: str) -> bool:
        """Whether a shipped function has a name that its opset, which the file does not import, would define."""
        return domain in DOMAINS and domain not in self.document.opset_imports and name in shipped_functions()

    def _near(self, name: str, domain: str) -> str:
        """What an unknown name may mean, as a hint; of a domain of others the module may be missing that has it."""
        if domain in (CORE, *DOMAINS):
            return did_you_mean(name.rpartition(".")[2], {**self._ops, **shipped_functions()}, "known ops")
        hint = did_you_mean(name, self._ops, "known ops")
        is_registered = any(op.domain == domain for op in self._ops.values())
        if is_registered:
            return hint
        near = self._near_elsewhere(name, hint)
        return f"{near}no op of the domain '{domain}' is registered; name a module that registers it: --plugin FILE"

    def _near_elsewhere(self, name: str, hint: str) -> str:
        """What the name of an op of a domain that nobody registered may mean: an op of another domain."""
        bare = name.rpartition(".")[2]
        return f"did you mean '{bare}'? " if bare in self._ops else f"{hint} " * ("." in hint.partition("'")[2])

    def _not_imported(self, index: int, spec: NodeDocument, domain: str) -> None:
        if self.gaps.hide(domain, "opset_imports"):
            return
        message = f"op '{spec['op']}' belongs to the opset '{domain}', which the file does not import"
        self._add("GE105", message, f"/nodes/{index}/op", spec["id"], f'add "{domain}": 1 to opset_imports')

    def _instance(self, index: int, spec: NodeDocument, op: Op) -> Node | None:
        """The node instance for the attributes of a node; equal ones share one, because nodes hold no state."""
        attributes = spec.get("attributes", {})
        if self._is_cut(attributes):
            return None
        key = (op.name, orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS) if attributes else b"")
        if key not in self._instances:
            if op.domain not in self.document.opset_imports:
                self._not_imported(index, spec, op.domain)
            if len(key[1]) > _LONG:
                from graphengine.format.pruning import pruned

                attributes = pruned(attributes, op.cls, strict=False)
            node = self._check_attributes(index, spec, attributes, op.cls)
            if node is None:
                return None
            self._instances[key] = node
        return self._instances[key]

    def _operands(self, index: int, spec: NodeDocument, op: Op | Function | Application) -> tuple[Operand, ...] | None:
        inputs, wrong = spec["inputs"], len(self.problems)
        self._undefined(index, spec)
        ordered = inputs if isinstance(inputs, list) else self._ordered(index, spec, op)
        if ordered is None:
            return None
        if not op.signature.accepts(len(ordered)):
            self._miscounted(index, spec, op, len(ordered))
        if len(self.problems) > wrong:
            return None
        missing = len(op.signature.inputs) - len(ordered) - op.signature.variadic
        return (*ordered, *[None] * missing)

    def _miscounted(self, index: int, spec: NodeDocument, op: Op | Function | Application, count: int) -> None:
        message = f"op '{op.name}' takes {op.signature.arity()}, not {count}"
        hint = 'with "units" it makes its own parameters' if op.name in LAYERS else None
        self._add("GE212", message, f"/nodes/{index}/inputs", spec["id"], hint)

    def _ordered(self, index: int, spec: NodeDocument, op: Op | Function | Application) -> list[Any] | None:
        """Inputs given by argument name, in the op's order, None for omitted ones."""
        named: dict[str, Any] = spec["inputs"]  # type: ignore[assignment]
        if self._is_cut(named):
            return None
        names = list(op.signature.inputs)
        if op.signature.variadic:
            names[-1:] = itertools.takewhile(named.__contains__, map(f"{names[-1]}[{{}}]".format, itertools.count()))
        wrong = list(itertools.filterfalse(set(names).__contains__, named))
        lacking = list(itertools.filterfalse(named.__contains__, names[: op.signature.required]))
        if not (wrong or lacking):
            return list(map(named.get, names))
        self._misnamed(index, spec, op, wrong, names)
        if lacking:
            message = f"op '{op.name}' needs the input {', '.join(map(repr, lacking))}"
            self._add("GE212", message, f"/nodes/{index}/inputs", spec["id"])
        return None

    def _misnamed(
        self, index: int, spec: NodeDocument, op: Op | Function | Application, wrong: list[str], names: list[str]
    ) -> None:
        """Report inputs that an op does not have."""
        for name in wrong[: MOST_REPORTED + 1]:
            pointer, hint = make_pointer(("nodes", index, "inputs", name)), did_you_mean(name, names, "its inputs")
            self._add("GE212", f"op '{op.name}' has no input '{name}'", pointer, spec["id"], hint, at_key=True)

    def _defined(self, spec: NodeDocument) -> tuple[Operand, ...]:
        """The inputs of a node that are references and lead somewhere."""
        return tuple([ref for ref in references_of(spec) if ref in self.values])

    def _undefined(self, index: int, spec: NodeDocument) -> None:
        inputs = spec["inputs"]
        for place, ref in enumerate(inputs) if isinstance(inputs, list) else inputs.items():
            if isinstance(ref, str) and ref not in self.values:
                self._report_undefined(ref, make_pointer(("nodes", index, "inputs", place)), spec["id"])

    def _report_undefined(self, ref: str, pointer: str, node: str) -> None:
        if self._is_full or self.gaps.hide_value(ref):
            return
        hint = did_you_mean(ref, [*self.values, *self.gaps.known(*VALUES)], "defined")
        self._add("GE210", f"input '{ref}' is not defined", pointer, node, hint)


def _unrunnable(function: Function, op: Op) -> str | None:
    """Why an op cannot run a function; None if it can."""
    if function.document.parameters:
        return "it makes parameters; give them as inputs"
    missing = sorted(function.document.attributes.keys() - function.defaults.keys())
    if missing:
        return f"its attribute '{missing[0]}' has no default"
    return function.uncallable if op.name == "call" else function.is_rule
