"""A model file as Python: the code of a `Builder` that makes the same model.

The code holds text of the file only as Python literals; it is printed, never run here.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterator, Mapping
from pprint import pformat
from textwrap import indent
from typing import Any

import networkx as nx
import numpy as np

from graphengine.errors import UsageError
from graphengine.format.documents import ModelDocument, NodeDocument
from graphengine.format.functions import RUNNING, functions_in
from graphengine.format.writing import model_as_dict
from graphengine.mappings import without
from graphengine.ops.registry import CORE, OPS, domain_of

WIDTH = 116
OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "matmul": "@", "pow": "**"}
"""Ops that Python has an operator for."""

HEAD = """import numpy as np

import graphengine as ge
"""
RESERVED = {"np", "ge", "b", "model"}


def python_code(document: ModelDocument) -> str:
    """Return Python code that builds the model of a document; running it gives a model of the same fingerprint.

    Raises
    ------
    UsageError
        GE801 if an attribute or input of a plugin's op has a name that Python cannot write as a keyword.
    """
    _check_names(document)
    return "\n".join([HEAD, *_lines(document)]) + "\n"


def _lines(document: ModelDocument) -> Iterator[str]:
    content, variables = model_as_dict(document), _Variables()
    head: dict[str, Any] = {key: content[key] for key in ("dtype", "description", "metadata") if key in content}
    yield _call("b = ge.Builder", [repr(content["name"]), *_keywords(head)])
    yield ""
    yield from _declarations(content, variables)
    yield from _calls("b.function", content.get("functions"))
    yield ""
    nodes = _Nodes(document, variables)
    yield from map(nodes.line, nodes.in_order())
    yield ""
    yield _call("b.output", _values(document.targets, variables))
    yield from _named_values("b.categories", document.speaking, variables)
    updates = {name: each["update"] for name, each in content.get("state", {}).items() if "update" in each}
    yield from _named_values("b.update", updates, variables)
    yield from _calls("b.data", content.get("data"))
    if "training" in content:
        yield _call("b.training", _keywords(content["training"]))
    yield ""
    yield "model = b.model()"


def _named_values(function: str, values: Mapping[str, Any], variables: _Variables) -> Iterator[str]:
    """A call with values by name, if there are any."""
    if values:
        yield _call(function, _values(values, variables))


def _calls(method: str, section: Mapping[str, Any] | None) -> Iterator[str]:
    """A call for each item of a section, with its name and its content."""
    return (_call(method, [repr(name), _literal(each)]) for name, each in (section or {}).items())


def _declarations(content: Mapping[str, Any], variables: _Variables) -> Iterator[str]:
    for section, method in (("inputs", "input"), ("parameters", "parameter"), ("state", "state")):
        for name, declared in content.get(section, {}).items():
            keys = without(declared, ("shape", "update"))
            parts = [repr(name), repr(declared["shape"]), *_keywords(keys)]
            yield _call(f"{variables.of(name)} = b.{method}", parts)


def _call(function: str, arguments: list[str]) -> str:
    """A call on one line, or with one argument a line."""
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= WIDTH and "\n" not in line:
        return line
    return "\n".join([f"{function}(", *(indent(f"{each},", "    ") for each in arguments), ")"])


def _keywords(keys: Mapping[str, Any]) -> list[str]:
    return [f"{key}={_literal(value)}" for key, value in keys.items()]


def _values(names: Mapping[str, str], variables: _Variables) -> list[str]:
    """Values of the file by name as keywords, or as a dictionary where Python cannot write a name."""
    if all(_is_keyword(name) for name in names):
        return [f"{name}={variables.of(value)}" for name, value in names.items()]
    return ["**{" + ", ".join(f"{name!r}: {variables.of(value)}" for name, value in names.items()) + "}"]


def _is_keyword(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


class _Variables:
    """Python names for the values of a file: the same where Python allows it, each only once."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._taken = set(RESERVED)

    def of(self, value: str) -> str:
        """Return the variable of a value."""
        if value not in self._names:
            stem = re.sub(r"\W", "_", value, flags=re.ASCII)
            stem = f"v{stem}" if not stem.isidentifier() or keyword.iskeyword(stem) else stem
            name, count = stem, 1
            while name in self._taken:
                count += 1
                name = f"{stem}_{count}"
            self._taken.add(name)
            self._names[value] = name
        return self._names[value]


class _Nodes:
    """The nodes of a file as assignments, each after those it reads."""

    def __init__(self, document: ModelDocument, variables: _Variables) -> None:
        self._document, self._variables = document, variables
        self._functions = functions_in(document)

    def in_order(self) -> list[NodeDocument]:
        """Return the nodes in topological order, as near to the order of the file as that allows."""
        nodes = list(self._document.nodes)
        place = {node["id"]: index for index, node in enumerate(nodes)}
        graph: Any = nx.DiGraph()
        graph.add_nodes_from(range(len(nodes)))
        for index, node in enumerate(nodes):
            graph.add_edges_from((place[producer], index) for producer in _read_ids(node) if producer in place)
        return [nodes[index] for index in nx.lexicographical_topological_sort(graph)]

    def line(self, node: NodeDocument) -> str:
        """Return the assignment that makes a node."""
        ports = self._outputs(node)
        names = [self._variables.of(node["id"] + (f":{port}" if place else "")) for place, port in enumerate(ports)]
        described = f", description={_literal(node['description'])}" if "description" in node else ""
        return f"{', '.join(names)} = b.name({node['id']!r}, {self._expression(node)}{described})"

    def _outputs(self, node: NodeDocument) -> tuple[str, ...]:
        op = node["op"]
        if op in self._functions:
            return self._functions[op].signature.outputs
        for field in RUNNING.get(op, ()):
            return self._functions[node.get("attributes", {})[field]].signature.outputs
        return OPS[op].signature.outputs or OPS[op].cls.model_validate(node.get("attributes", {})).outputs

    def _expression(self, node: NodeDocument) -> str:
        op, inputs = node["op"], self._inputs(node)
        function = self._function(node, inputs)
        arguments = self._arguments(inputs, node.get("attributes", {}))
        if function is None:
            method = "call" if op in self._functions else "node"
            return f"b.{method}({', '.join(filter(None, [repr(op), arguments]))})"
        if op in OPERATORS and isinstance(inputs, list) and len(inputs) == 2:
            return f" {OPERATORS[op]} ".join(map(self._operand, inputs))
        return f"{function}({arguments})"

    def _inputs(self, node: NodeDocument) -> Any:
        """The inputs of a node; of one that runs functions in the order of these."""
        op, inputs = node["op"], node["inputs"]
        if op not in RUNNING or not isinstance(inputs, dict):
            return inputs
        order = self._functions[node.get("attributes", {})[RUNNING[op][0]]].signature.inputs
        return [inputs[name] for name in ("condition", *order) if name in inputs]

    def _function(self, node: NodeDocument, inputs: Any) -> str | None:
        """The function that makes a node when it is called with values; None if the builder has to make it."""
        op = node["op"]
        if not self._has_value(inputs):
            return None
        if op in self._functions:
            return None if self._functions[op].domain is None else f"ge.{op}"
        return _module_of(op, node) if domain_of(op) == CORE and op not in RUNNING else None

    def _arguments(self, inputs: Any, attributes: Mapping[str, Any]) -> str:
        """The operands and attributes of a node as arguments of a call."""
        operands = list(map(self._operand, _operands(inputs)))
        if isinstance(inputs, dict):
            operands = list(map("{}={}".format, inputs, operands))
        return ", ".join([*operands, *(f"{name}={_literal(value)}" for name, value in attributes.items())])

    @staticmethod
    def _has_value(inputs: Any) -> bool:
        return any(isinstance(ref, str) for ref in _operands(inputs))

    def _operand(self, reference: Any) -> str:
        return self._variables.of(reference) if isinstance(reference, str) else repr(reference)


def _operands(inputs: Any) -> Collection[Any]:
    return inputs.values() if isinstance(inputs, dict) else inputs


def _read_ids(node: NodeDocument) -> list[str]:
    """The names that a node reads, each without the port."""
    return [ref.partition(":")[0] for ref in _operands(node["inputs"]) if isinstance(ref, str)]


def _module_of(op: str, node: NodeDocument) -> str:
    """The function that makes a node: NumPy's, where it has the op's name for all that the node says."""
    name = _numpy_name(op)
    simple = isinstance(node["inputs"], list) and not OPS[op].signature.variadic
    if simple and name and node.get("attributes", {}).keys() <= {"axis", "keepdims"}:
        return f"np.{name}"
    return f"ge.ops.{op}"


def _numpy_name(op: str) -> str:
    """The name of the function of NumPy's that does the same as an op; empty if there is none."""
    name: str = getattr(OPS[op].numpy, "__name__", "")
    return name if getattr(np, name, None) is OPS[op].numpy else ""


def _literal(value: Any) -> str:
    """A JSON value as a Python literal."""
    return pformat(value, width=WIDTH, compact=True, sort_dicts=False)


def _check_names(document: ModelDocument) -> None:
    for node in document.nodes:
        inputs = node["inputs"]
        for name in (*node.get("attributes", {}), *(inputs if isinstance(inputs, dict) else ())):
            if not _is_keyword(name):
                raise UsageError(f"node '{node['id']}': Python cannot write '{name}' as a keyword")
