"""From the names in a document to what they mean, or a problem with its place.

Names mean something only through the tables of this package (ops, update rules, data types); nothing in a file is
ever imported or evaluated.
"""

from __future__ import annotations

import itertools
from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from graphengine.errors import MOST_REPORTED, Problem, did_you_mean, make_pointer
from graphengine.format.documents import ModelDocument, NodeDocument
from graphengine.format.functions import (
    DOMAINS,
    RUNNING,
    Application,
    Function,
    FunctionCall,
    Table,
    given_by,
    shipped_functions,
)
from graphengine.format.layer_forms import LAYERS
from graphengine.format.salvage import HOLE, VALUES, Gaps
from graphengine.ir.graph_bodies import GraphBody
from graphengine.ir.nodes import GraphNode, Operand
from graphengine.limits import DEFAULT, Limits
from graphengine.ops.node import Node
from graphengine.ops.numbers import INEXACT, is_inexact
from graphengine.ops.registry import CORE, OPS, OPSET_VERSION, Op, domain_of

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
        # one dictionary of both would be made for each function again
        self._ops: Mapping[str, Op | Function] = ChainMap(functions, OPS)  # type: ignore[arg-type]
        self._check_imports()
        for section in ("inputs", "parameters", "state"):
            for name in getattr(document, section):
                self._define(name, section)
        self._define_nodes(document.nodes)
        if self._twice:
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
        self._used = {name: None if self._is_hidden(name) else self._ops.get(name) for name in names}
        plain = {name for name, op in self._used.items() if op and len(op.signature.outputs) == 1}
        if len(plain) < len(names):
            self._define_ports((index, spec) for index, spec in enumerate(specs) if spec["op"] not in plain)

    def _define_ports(self, specs: Iterable[tuple[int, NodeDocument]]) -> None:
        """Enter the names of the further outputs of nodes, unless there are too many."""
        most = left = self.limits.outputs(len(self.document.nodes))
        for index, spec in specs:
            ports = self._ports(spec, self._used[spec["op"]])
            left -= 1 + len(ports)
            if left < 0:
                message = f"up to here the nodes have more than {most:,} outputs"
                self._add("GE132", message, f"/nodes/{index}", spec["id"], "raise the limit node_outputs")
                self.gaps.open.add("nodes")
                self._has_too_many_outputs = True
                return
            self.values.update({name: name for name in [f"{spec['id']}:{port}" for port in ports]})

    def _ports(self, spec: NodeDocument, op: Op | Function | None) -> tuple[str, ...]:
        """The further outputs of a node; not known if its op is not, or its attributes should say them and do not."""
        if isinstance(op, Function) or (op and op.signature.outputs):
            return op.signature.outputs[1:]
        if op and op.name in RUNNING:
            function = self._function(spec, RUNNING[op.name][0])
            if function is not None:
                attributes = {"wanted": (), **spec.get("attributes", {})}
                return Application(op.name, {"": function}, attributes).outputs[1:]
        with suppress(ValidationError):
            if op:
                return op.cls.model_validate(spec.get("attributes", {})).outputs[1:]
        self.gaps.names["ports"].add(spec["id"])
        return ()

    def _report_doubled(self, specs: Sequence[NodeDocument]) -> None:
        seen = {name for section in ("inputs", "parameters", "state") for name in getattr(self.document, section)}
        for index, spec in enumerate(specs):
            if spec["id"] in seen and spec["id"] not in self.gaps.names["nodes"]:
                self._doubled(spec["id"], f"/nodes/{index}/id", spec["id"])
            seen.add(spec["id"])

    def nodes(self) -> list[GraphNode]:
        """The nodes that could be resolved; the others are in `unknown` then, and `problems` says why.

        Most nodes are like one before them: the same op on as many operands, without attributes. Of such a node only
        the references are looked at. A name is one string wherever it occurs, that of `values`.
        """
        resolved = [] if self._has_too_many_outputs else self._resolved()
        hidden = self.gaps.names.get("nodes", ())
        return [node for node in resolved if node.id not in hidden] if hidden else resolved

    def _resolved(self) -> list[GraphNode]:
        resolved: list[GraphNode] = []
        alike: dict[tuple[str, int], GraphNode] = {}
        names: Mapping[Any, str] = self.values
        for index, spec in enumerate(self.document.nodes):
            inputs = spec["inputs"]
            plain = type(inputs) is list and "attributes" not in spec
            like = alike.get((spec["op"], len(inputs))) if plain else None
            if like is not None and None not in (operands := tuple([names.get(ref) for ref in inputs])):
                resolved.append(GraphNode(names.get(spec["id"], HOLE), like.op, like.node, operands))
                continue
            found = self._resolve_or_keep(index, spec)
            if self._is_full:
                break
            if found is not None:
                resolved.append(found)
                if plain and len(found.inputs) == len(inputs):
                    alike[spec["op"], len(inputs)] = found
        return resolved

    def _resolve_or_keep(self, index: int, spec: NodeDocument) -> GraphNode | None:
        """Resolve a node, or keep it among those that are unknown."""
        found = self._resolve(index, spec)
        if found is None and not self._is_full:
            self.unknown.append(GraphNode(spec["id"], spec["op"], UNKNOWN, self._defined(spec)))
        return found

    def _is_hidden(self, op: str) -> bool:
        """Whether it is not known what the inputs and outputs of an op are that has a name."""
        return self.gaps.hide_function(op) or (self.gaps.hide_calls() and isinstance(self._ops.get(op), Function))

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
            if spec["op"] not in self._ops and not self.gaps.hide(spec["op"], "functions"):
                self._unknown_op(index, spec)
            self._undefined(index, spec)
            return None
        if isinstance(op, Function):
            op = self._form(index, spec, op)
            node = None if op is None else self._call(index, spec, op)
        elif op.name in RUNNING:
            node = self._application(index, spec, op)
            op = op if op.name == "call" else node
        else:
            node = self._instance(index, spec, op)
        operands = None if op is None else self._operands(index, spec, op)
        return None if node is None or operands is None else GraphNode(spec["id"], spec["op"], node, operands)

    def _function(self, spec: NodeDocument, field: str) -> Function | None:
        """The function that an attribute of a node names, if there is one."""
        name = spec.get("attributes", {}).get(field)
        return self._named.get(name) if isinstance(name, str) else None

    def _application(self, index: int, spec: NodeDocument, op: Op) -> Any:
        """What runs functions, or the call of one by its name."""
        wrong = len(self.problems)
        functions = {field: self._runnable(index, spec, op, field) for field in RUNNING[op.name]}
        others = {name: each for name, each in spec.get("attributes", {}).items() if name not in functions}
        try:
            op.cls.model_validate({**others, **dict.fromkeys(functions, UNTYPED)})
        except ValidationError as error:
            self._wrong_attributes(index, spec, error, op.cls, "op")
        known = {field: each for field, each in functions.items() if each is not None}
        if len(known) < len(functions) or len(self.problems) > wrong:
            return None
        if op.name == "call":
            return FunctionCall(known["function"], known["function"].defaults)
        return Application(op.name, known, others)

    def _runnable(self, index: int, spec: NodeDocument, op: Op, field: str) -> Function | None:
        """The function that an attribute names, if the op can run it."""
        name, function = spec.get("attributes", {}).get(field), self._function(spec, field)
        pointer = f"/nodes/{index}" + f"/attributes/{field}" * (name is not None)
        where = f"attribute of op '{op.name}': "
        if function is None:
            if not isinstance(name, str):
                fault = "is missing" if name is None else f"must be the name of a function, not {name!r:.60}"
                self._add("GE213", f"{where}'{field}' {fault}", pointer, spec["id"])
            elif not self.gaps.hide(name, "functions"):
                hint = did_you_mean(name, self._named, "functions")
                self._add("GE213", f"{where}'{field}': function '{name}' is not defined", pointer, spec["id"], hint)
            return None
        if self.gaps.hide_function(function.name):
            return None
        reason = function.uncallable if op.name == "call" else function.is_rule
        missing = sorted(function.document.attributes.keys() - function.defaults.keys())
        if missing:
            reason = f"its attribute '{missing[0]}' has no default"
        if function.document.parameters:
            reason = "it makes parameters; give them as inputs"
        if reason:
            self._add(
                "GE213", f"{where}'{op.name}' cannot run function '{function.name}': {reason}", pointer, spec["id"]
            )
            return None
        return function

    def _form(self, index: int, spec: NodeDocument, function: Function) -> Function | None:
        """The form of a function that a node calls; None if a layer does not have the attributes of the node."""
        attributes = spec.get("attributes", {})
        if self._is_cut(attributes):
            return function
        try:
            known = {name: value for name, value in attributes.items() if name in function.document.attributes}
            return function.form(known, given_by(spec, function))
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
        where = f"attribute of function '{function.name}': "
        for name, value in attributes.items():
            pointer = make_pointer(("nodes", index, "attributes", name))
            if self._is_full:
                break
            if name not in function.document.attributes:
                hint = did_you_mean(name, function.document.attributes, "attributes")
                self._add("GE213", f"{where}unknown key '{name}'", pointer, spec["id"], hint, at_key=True)
            elif not function.may_be(name, value):
                self._add("GE213", f"{where}'{name}' must be a finite number, not {value!r:.60}", pointer, spec["id"])
            elif name in function.operands and is_inexact(value):
                self._add("GE125", f"{where}{INEXACT}, such as {value}", pointer, spec["id"])
        for name in function.document.attributes.keys() - attributes.keys() - function.defaults.keys():
            self._add("GE213", f"{where}'{name}' is missing", f"/nodes/{index}", spec["id"])
        if function.uncallable:
            message = f"function '{function.name}' cannot be called: {function.uncallable}"
            self._add("GE212", message, f"/nodes/{index}/op", spec["id"])
        return FunctionCall(function, {**function.defaults, **attributes}) if len(self.problems) == wrong else None

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
        name, pointer = spec["op"], f"/nodes/{index}/op"
        domain = domain_of(name)
        if domain in DOMAINS and domain not in self.document.opset_imports and name in shipped_functions():
            self._not_imported(index, spec, domain)
            return
        known = {**self._ops, **(shipped_functions() if domain in (CORE, *DOMAINS) else {})}
        bare = name.rpartition(".")[2]
        hint = did_you_mean(bare if domain in (CORE, *DOMAINS) else name, known, "known ops")
        if not any(op.domain == domain for op in known.values()):
            near = f"did you mean '{bare}'? " if bare in known else f"{hint} " * ("." in hint.partition("'")[2])
            hint = f"{near}no op of the domain '{domain}' is registered; name a module that registers it: --plugin FILE"
        self._add("GE211", f"unknown op '{name}'", pointer, spec["id"], hint)

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
        if key in self._instances:
            return self._instances[key]
        if op.domain not in self.document.opset_imports:
            self._not_imported(index, spec, op.domain)
        if len(key[1]) > _LONG:
            from graphengine.format.pruning import pruned

            attributes = pruned(attributes, op.cls, strict=False)
        try:
            node = op.cls.model_validate(attributes)
        except ValidationError as error:
            self._wrong_attributes(index, spec, error, op.cls, "op")
            return None
        return self._instances.setdefault(key, node)

    def _operands(self, index: int, spec: NodeDocument, op: Op | Function | Application) -> tuple[Operand, ...] | None:
        inputs, wrong = spec["inputs"], len(self.problems)
        self._undefined(index, spec)
        if isinstance(inputs, dict) and self._is_cut(inputs):
            return None
        ordered = inputs if isinstance(inputs, list) else self._ordered(index, spec, op)
        if ordered is None:
            return None
        signature = op.signature
        if not signature.accepts(len(ordered)):
            message = f"op '{op.name}' takes {signature.arity()}, not {len(ordered)}"
            hint = 'with "units" it makes its own parameters' if op.name in LAYERS else None
            self._add("GE212", message, f"/nodes/{index}/inputs", spec["id"], hint)
            return None
        if len(self.problems) > wrong:
            return None
        missing = len(signature.inputs) - len(ordered) - signature.variadic
        return (*ordered, *[None] * missing) if missing > 0 else tuple(ordered)

    def _ordered(self, index: int, spec: NodeDocument, op: Op | Function | Application) -> list[Any] | None:
        """Inputs given by argument name, in the op's order, None for omitted ones."""
        named: dict[str, Any] = spec["inputs"]  # type: ignore[assignment]
        signature, pointer = op.signature, f"/nodes/{index}/inputs"
        names = list(signature.inputs)
        if signature.variadic:
            names[-1:] = itertools.takewhile(named.__contains__, map(f"{names[-1]}[{{}}]".format, itertools.count()))
        known = set(names)
        wrong = [name for name in named if name not in known]
        lacking = [name for name in names[: signature.required] if name not in named]
        for name in wrong[: MOST_REPORTED + 1]:
            hint = did_you_mean(name, names, "its inputs")
            self._add(
                "GE212",
                f"op '{op.name}' has no input '{name}'",
                make_pointer(("nodes", index, "inputs", name)),
                spec["id"],
                hint,
                at_key=True,
            )
        if lacking:
            self._add(
                "GE212",
                f"op '{op.name}' needs the input {', '.join(map(repr, lacking))}",
                pointer,
                spec["id"],
            )
        return None if wrong or lacking else [named.get(name) for name in names]

    def _defined(self, spec: NodeDocument) -> tuple[Operand, ...]:
        """The inputs of a node that are references and lead somewhere."""
        given = spec["inputs"]
        refs: Collection[Any] = given if isinstance(given, list) else given.values()
        return tuple([ref for ref in refs if ref in self.values])

    def _undefined(self, index: int, spec: NodeDocument) -> None:
        inputs = spec["inputs"]
        for place, ref in enumerate(inputs) if isinstance(inputs, list) else inputs.items():
            if isinstance(ref, str) and ref not in self.values and not self.gaps.hide_value(ref):
                if self._is_full:
                    return
                pointer = make_pointer(("nodes", index, "inputs", place))
                self._add(
                    "GE210",
                    f"input '{ref}' is not defined",
                    pointer,
                    spec["id"],
                    did_you_mean(ref, [*self.values, *self.gaps.known(*VALUES)], "defined"),
                )
