"""Functions: named subgraphs that a node calls as it uses an op.

A file has its own functions; others come with the package, as function files of the domains `nn`, `nll` and
`shape`, in the folders of these names. What is wrong with a function, or with functions calling each other, is found
before anything is inlined; so is how large the graph would become.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from graphlib import TopologicalSorter
from threading import Lock
from typing import Any, TypeAlias

from graphengine.format.documents import FunctionDocument, ModelDocument, NodeDocument, references_of
from graphengine.format.reading import shipped_files
from graphengine.mappings import with_renamed
from graphengine.ops.node import Signature
from graphengine.ops.registry import OPS

DOMAINS: Mapping[str, int] = {"nn": 1, "nll": 1, "ode": 1, "shape": 1}
"""The domains of the functions that come with the package, each with its version.

They are layers, likelihoods, steps of differential equations, and line shapes.
"""

RUNNING: Mapping[str, tuple[str, ...]] = {
    "call": ("function",),
    "cond": ("then", "otherwise"),
    "scan": ("function",),
    "scan_gradient": ("function",),
}
"""Ops that run functions, with the attributes that name them."""


@dataclass(frozen=True, eq=False)
class Function:
    """A function under the name by which it is called; `domain` is None for one of the file's own."""

    name: str
    document: FunctionDocument
    imports: Mapping[str, int]
    domain: str | None = None

    @cached_property
    def signature(self) -> Signature:
        """Its inputs and outputs, described as those of an op."""
        inputs = tuple(self.document.inputs)
        required = sum(not self.is_optional(name) for name in inputs)
        return Signature(inputs, required, False, tuple(self.document.outputs), None)

    def is_optional(self, name: str) -> bool:
        """Whether a call may omit an input, because the nodes do without it or the call makes a parameter for it."""
        return self.document.inputs[name].optional or name in self.document.parameters

    @property
    def omissible(self) -> Collection[str]:
        """The inputs that are nothing at all where a call omits them."""
        declared = self.document.inputs.items()
        return {name for name, each in declared if each.optional} - self.document.parameters.keys()

    def form(self, attributes: Mapping[str, Any], given: Collection[str] = ()) -> Function:
        """The function that a call with these attributes, and with these inputs `given`, means.

        A layer has other nodes and parameters for others.

        Raises
        ------
        ValidationError
            If a layer does not have the attributes.
        """
        if not self.domain:
            return self
        from graphengine.format.layer_forms import LAYERS

        layer = LAYERS.get(self.name)
        if layer is None or (not attributes and layer.choosing.isdisjoint(given)):
            return self
        return replace(self, document=layer.model_validate({**attributes}).formed(self.document, given))

    @cached_property
    def lead(self) -> str | None:
        """The node whose value is the first output: inlined, it takes the id of the call."""
        first = self.document.outputs[self.signature.outputs[0]]
        return None if ":" in first else first

    @cached_property
    def ops(self) -> Mapping[str, str]:
        """What each of its nodes is."""
        return {node["id"]: node["op"] for node in self.document.nodes}

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The index of each of its nodes."""
        return {node["id"]: index for index, node in enumerate(self.document.nodes)}

    @cached_property
    def uncallable(self) -> str | None:
        """Why no node can call it: only an update rule has slots, or gives back what it was given; None if one can."""
        if self.is_rule:
            return self.is_rule
        for name, value in self.document.outputs.items():
            if value in self.document.inputs:
                return f"its output '{name}' is its input '{value}', not what a node gives"
        return None

    @cached_property
    def is_rule(self) -> str | None:
        """Why it can only be an update rule; None if it need not be one."""
        for name, declared in self.document.inputs.items():
            if declared.initializer is not None:
                return f"its input '{name}' has an initializer, which only an update rule can have"
        return None

    @cached_property
    def operands(self) -> frozenset[str]:
        """The attributes that its nodes have as operands."""
        read = {ref for node in self.document.nodes for ref in references_of(node)}
        return frozenset(read & self.document.attributes.keys())

    def may_be(self, attribute: str, value: Any) -> bool:
        """Whether an attribute can have a value: one that is an operand must be a number."""
        return attribute not in self.operands or is_number(value)

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """The attributes that a call may leave out."""
        return {name: each.default for name, each in self.document.attributes.items() if not each.required}


@dataclass(frozen=True, eq=False, slots=True)
class FunctionCall:
    """A node class's instance until the call is inlined."""

    function: Function
    attributes: Mapping[str, Any]

    @property
    def signature(self) -> Signature:
        """That of the function."""
        return self.function.signature

    @property
    def functions(self) -> Mapping[str, Function]:
        """The function, as what runs functions has them."""
        return {"function": self.function}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Those of the function."""
        return self.function.signature.outputs


@dataclass(frozen=True, eq=False, slots=True)
class Application:
    """What is in the place of a node that runs functions, until these are there as bodies."""

    name: str
    functions: Mapping[str, Function]
    attributes: Mapping[str, Any]

    @property
    def signature(self) -> Signature:
        """Its inputs are those of the functions, with the condition of a choice before and gradients after them."""
        function = next(iter(self.functions.values())).signature
        last = self._gradients_of(function.outputs, "arrives")
        names = ("condition",) * self.ahead + function.inputs + last
        return replace(function, inputs=names, required=function.required + self.ahead if not last else len(names))

    @property
    def ahead(self) -> int:
        """How many inputs come before those of the functions."""
        return int(self.name == "cond")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Those of the function, or gradients of its inputs."""
        function = next(iter(self.functions.values())).signature
        return self._gradients_of(function.inputs, "wanted") or function.outputs

    def _gradients_of(self, names: Sequence[str], attribute: str) -> tuple[str, ...]:
        """The names of gradients, of those values that an attribute of the gradient of a loop marks."""
        if self.name != "scan_gradient":
            return ()
        return tuple([f"d_{name}" for name in itertools.compress(names, self.attributes[attribute])])


Table: TypeAlias = Mapping[str, Function]


def is_number(value: Any) -> bool:
    """A finite number, of a size that a float can have."""
    return isinstance(value, (int, float)) and type(value) is not bool and abs(value) <= sys.float_info.max


_MAKING = Lock()


def shipped_functions() -> Table:
    """The functions that come with the package, by the name under which a file calls them; the same for all threads."""
    with _MAKING:
        return _shipped_functions()


@cache
def _shipped_functions() -> Table:
    return {
        f"{domain}.{name}": Function(f"{domain}.{name}", file, file.opset_imports, domain)
        for domain in DOMAINS
        for name, file in shipped_files("graphengine", domain).items()
    }


def functions_in(document: ModelDocument) -> Table:
    """The functions that a file can call: its own, and, where it imports their domain, those of the package.

    A function of the file comes before an op of the same name, so that a file stays what it is when the op set grows.
    """
    imported = DOMAINS.keys() & document.opset_imports.keys()
    shipped = {name: each for name, each in shipped_functions().items() if each.domain in imported} if imported else {}
    own = {name: Function(name, each, document.opset_imports) for name, each in document.functions.items()}
    return {**shipped, **own}


def nameable_in(function: Function, table: Table) -> Table:
    """The functions that attributes in a function can name: a shipped one gets names of a file's by its attributes."""
    return table if function.domain is None else {**table, **shipped_functions()}


def callable_in(function: Function, table: Table) -> Table:
    """The functions that the nodes of a function can call: those of the package call no function of a file."""
    return table if function.domain is None else shipped_functions()


def given_by(node: NodeDocument, function: Function) -> Collection[str]:
    """The inputs of a function that a node gives, by name or in order."""
    inputs = node["inputs"]
    return inputs if isinstance(inputs, dict) else function.signature.inputs[: len(inputs)]


# ---------------------------------------------------------------- attributes


def substituted(node: NodeDocument, attributes: Mapping[str, Any]) -> NodeDocument:
    """A node of a function for given attributes.

    An input that is the name of an attribute becomes its value, and so does `{"attribute": name}` as an attribute of
    the node or as an element of one. A name without a value stays.
    """
    changed: Any = {**node, "inputs": _with_values(node["inputs"], attributes)}
    if "attributes" in node:
        changed["attributes"] = {name: _valued(value, attributes) for name, value in node["attributes"].items()}
    return changed  # type: ignore[no-any-return]


def _with_values(inputs: Any, values: Mapping[str, Any]) -> Any:
    """Inputs, in order or by name, in which names have their values."""
    if isinstance(inputs, dict):
        return with_renamed(inputs, values)
    return [values.get(ref, ref) for ref in inputs]


def _valued(value: Any, attributes: Mapping[str, Any]) -> Any:
    name = attribute_named(value)
    if name is not None:
        return attributes.get(name, value)
    has_names = isinstance(value, list) and any(map(attribute_named, value))
    return _with_elements(value, attributes) if has_names else value


def _with_elements(items: list[Any], attributes: Mapping[str, Any]) -> list[Any]:
    """An array in which names have their values; an element is one number or word.

    Arrays in arrays could double at each level of calls.
    """
    single: dict[Any, Any] = {name: each for name, each in attributes.items() if not isinstance(each, (list, dict))}
    return [single.get(attribute_named(item), item) for item in items]


def attribute_named(value: Any) -> str | None:
    """The name in `{"attribute": name}`; None for anything else."""
    name = value.get("attribute") if isinstance(value, dict) and len(value) == 1 else None
    return name if isinstance(name, str) else None


def attributes_named(node: NodeDocument) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """The attributes of the function that the attributes of a node name, each with its place in the node."""
    for key, value in node.get("attributes", {}).items():
        for place, item in _placed_elements(value):
            name = attribute_named(item)
            if name is not None:
                yield name, ("attributes", key, *place)


def _placed_elements(value: Any) -> list[tuple[tuple[int, ...], Any]]:
    """The elements of an array, each after its place in it; of anything else the value itself."""
    if not isinstance(value, list):
        return [((), value)]
    return [((place,), item) for place, item in enumerate(value)]


def naming_others(nodes: Iterable[NodeDocument], known: Collection[str]) -> set[str]:
    """The ids of nodes whose attributes name one of the function that is not among `known`."""
    return {node["id"] for node in nodes if any(name not in known for name, _ in attributes_named(node))}


def callees_in(table: Table) -> dict[Function, list[Function]]:
    """The functions that each function of a table calls, or names where a node runs one."""
    naming = names_functions(table)
    return {
        each: [
            callee
            for node in each.document.nodes
            for callee, _ in callees_of(node, callable_in(each, table), nameable_in(each, table), naming)
        ]
        for each in table.values()
    }


def callees_of(
    node: NodeDocument, calls: Table, names: Table, naming: Mapping[Function, Mapping[str, int]]
) -> Iterator[tuple[Function, int]]:
    """Yield the functions that a node calls or names, each with how often it becomes part of the graph."""
    callee = calls.get(node["op"])
    if callee is not None:
        yield callee, 1
    for field, times in _naming_fields(node["op"], callee, naming).items():
        named = function_named(node, field, names)
        if named is not None:
            yield named, times


def function_named(node: NodeDocument, field: str, table: Table) -> Function | None:
    """The function of a table that an attribute of a node names, if there is one."""
    name = node.get("attributes", {}).get(field)
    return table.get(name) if isinstance(name, str) else None


def _naming_fields(op: str, callee: Function | None, naming: Mapping[Function, Mapping[str, int]]) -> Mapping[str, int]:
    """The attributes of a node that name functions, each with how often what it names is run."""
    if callee is None:
        return dict.fromkeys(RUNNING.get(op, ()), 1)
    return naming.get(callee, {})


def names_functions(table: Table) -> Mapping[Function, Mapping[str, int]]:
    """The attributes of functions that name functions, each with how often its nodes run what it names."""
    found: dict[Function, dict[str, int]] = {}
    for _ in range(len(table) + 1):  # what a function passes on is known after another round
        known = {each: _naming(each, callable_in(each, table), found) for each in table.values()}
        known = {each: fields for each, fields in known.items() if fields}
        if known == found:
            break
        found = known
    return found


def _naming(function: Function, calls: Table, known: Mapping[Function, Mapping[str, int]]) -> dict[str, int]:
    fields: dict[str, int] = {}
    for node in function.document.nodes:
        for field, times in _naming_fields(node["op"], calls.get(node["op"]), known).items():
            name = attribute_named(node.get("attributes", {}).get(field))
            if name is not None:
                fields[name] = min(fields.get(name, 0) + times, _MOST_TIMES)
    return fields


_MOST_TIMES = 10**9
"""Counting how often a function is run stops here."""


def unsound_functions(table: Table, broken: Collection[str]) -> set[str]:
    """The functions that are broken and all that call them, or call what there is not; none calls itself."""
    unsound, callees = set(broken), callees_in(table)
    for function in TopologicalSorter(callees).static_order():
        named = {each.name for each in callees[function]}
        if named & unsound or not _are_known(function.ops.values(), table):
            unsound.add(function.name)
    return unsound


def _are_known(ops: Iterable[str], table: Table) -> bool:
    return all(op in OPS or op in table for op in ops)
