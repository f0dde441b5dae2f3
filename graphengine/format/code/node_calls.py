"""A node as a Python expression: what its `forward` does, written with places for its operands.

A `forward` of one expression is written out where it is used, with attributes as literals; any other becomes a class of
the text, which is called.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphengine.format.code.borrowing import Borrowed, method_of
from graphengine.format.code.folding import Unborrowed, copied, literal, plain
from graphengine.format.code.identifiers import Names
from graphengine.ir.graph_bodies import GraphBody
from graphengine.ir.nodes import Operand
from graphengine.ops.families.constants import Constant
from graphengine.ops.families.loops import Apply, Cond, Scan
from graphengine.ops.node import Node

PLACE = re.compile(r"\bv__(\d+)\b")
"""The operand of a number; no name of the package begins like that."""


SCAN = '''def scan(function, values, carry, cut, stacked, reverse=False, length=None):
    """Run a function step by step; `carry` are the places of its state, `cut` the axes of sequences by place."""
    given = list(values)
    parts = {place: np.moveaxis(np.asarray(values[place]), axis, 0) for place, axis in cut.items()}
    count = len(next(iter(parts.values()))) if parts else length
    if not count and stacked:
        raise ValueError("a loop without steps has no results to stack")
    rows = []
    for number in range(count)[:: -1 if reverse else 1]:
        for place, part in parts.items():
            given[place] = part[number]
        found = function(*given)
        rows.append(found[len(carry) :])
        for place, state in zip(carry, found):
            given[place] = state
    columns = zip(*(rows[::-1] if reverse else rows))
    return (*[given[place] for place in carry], *[np.stack(each, axis) for each, axis in zip(columns, stacked)])'''
"""The loop of `scan`."""


class Calls:
    """Writes nodes as expressions; what they need is `borrowed`."""

    def __init__(self, borrowed: Borrowed) -> None:
        self.borrowed = borrowed
        self._templates: dict[Any, str] = {}
        self._bodies: dict[Any, str] = {}

    def expression(self, node: Node, operands: Sequence[Operand], names: Mapping[str, str]) -> str:
        """Return the expression of a node on operands, values by the names that the text has for them.

        Raises
        ------
        Unborrowed
            If the node cannot be written.
        """
        return _placed(self.template(node, operands), operands, names)

    def template(self, node: Node, operands: Sequence[Operand]) -> str:
        """Return the expression with a place for each operand that is a value; raises as `expression`."""
        key = (id(node), tuple([None if isinstance(each, str) else (type(each), repr(each)) for each in operands]))
        if key not in self._templates:
            given = [_place(number) if isinstance(each, str) else literal(each) for number, each in enumerate(operands)]
            self._templates[key] = self._written(node, given)
        return self._templates[key]

    def _written(self, node: Node, operands: Sequence[Any]) -> str:
        if isinstance(node, Constant):
            return _number(node)
        if isinstance(node, (Scan, Cond, Apply)):
            return self._with_bodies(node, [ast.unparse(each) for each in operands]) + "[0]" * (len(node.outputs) == 1)
        short = self._inline(node, operands)
        return ast.unparse(self._call(node, operands) if short is None else short)

    def _with_bodies(self, node: Scan | Cond | Apply, operands: Sequence[str]) -> str:
        """The call of a function of the model: in a loop, by a choice, or as it is."""
        if isinstance(node, Scan):
            if "scan" not in self._bodies:
                self._bodies["scan"] = self.borrowed.define("scan", SCAN)
            cut = dict(zip(node.cut, node.axes[0], strict=True))
            further = f"{tuple(node.carried)}, {cut}, {tuple(node.axes[1])}"
            further += ", reverse=True" * node.reverse + f", length={node.length}" * (node.length is not None)
            return f"{self._bodies['scan']}({self._body(node.function)}, ({', '.join(operands)},), {further})"
        if isinstance(node, Cond):
            condition, *given = operands
            then, otherwise = self._body(node.then), self._body(node.otherwise)
            return f"({then} if {condition} else {otherwise})({', '.join(given)})"
        return f"{self._body(node.function)}({', '.join(operands)})"

    def _body(self, body: Any) -> str:
        """The name of a function of the model, whose text is made when it is asked for first."""
        assert isinstance(body, GraphBody)
        if body.digest not in self._bodies:
            made = [self.template(node.node, node.inputs) for node in body.nodes]
            names = Names({*self.borrowed.names, *keyword.kwlist})
            name = self.borrowed.define(names[body.name], None)
            self.borrowed.texts.append("\n".join(_body_lines(body, name, made, names)))
            self._bodies[body.digest] = name
        return self._bodies[body.digest]

    def _call(self, node: Node, operands: Sequence[Any]) -> ast.expr:
        attributes = [ast.keyword(name, literal(value)) for name, value in _attributes(node).items()]
        made = ast.Call(ast.Name(self.borrowed.of_class(type(node)), ast.Load()), [], attributes)
        given = list(operands)
        while given and isinstance(given[-1], ast.Constant) and given[-1].value is None:
            given.pop()
        return ast.Call(ast.Attribute(made, "forward", ast.Load()), given, [])

    def _inline(self, node: Node, operands: Sequence[Any]) -> ast.expr | None:
        """A `forward` that is one expression, if it is."""
        module, method = _forward_of(type(node))
        names = _operands_by_name(method.args, operands)
        if names is None:
            return None
        expression = _only_expression(plain(_Filling(names, node).visit(copied(method))))
        if expression is None:
            return None
        return plain(self.borrowed.adapted(module, ast.Expr(expression))).value  # type: ignore[no-any-return]


def _placed(template: str, operands: Sequence[Operand], names: Mapping[str, str]) -> str:
    """An expression with the names of its operands."""
    return PLACE.sub(lambda found: names[str(operands[int(found[1])])], template)


def _place(number: int) -> ast.Name:
    return ast.Name(f"v__{number}", ast.Load())


def _number(node: Constant) -> str:
    """The value of a constant in its dtype."""
    found = node.forward()  # type: ignore[no-untyped-call]
    return f"np.{found.dtype.name}({ast.unparse(literal(found.item()))})"


def _body_lines(body: GraphBody, name: str, made: Sequence[str], names: Names) -> Iterator[str]:
    """The lines of a function of the model, from what was `made` of its nodes."""
    yield f"def {name}({', '.join(names[each] for each in body.inputs)}):"
    for node, template in zip(body.nodes, made, strict=True):
        outputs = ", ".join(names[each] for each in node.outputs)
        yield f"    {outputs} = {_placed(template, node.inputs, names)}"
    results = [names[each] for each in body.results.values()]
    yield f"    return ({', '.join(results)}{',' * (len(results) == 1)})"


def _attributes(node: Node) -> dict[str, Any]:
    """The attributes of a node that are not their defaults."""
    values = {name: getattr(node, name) for name in type(node).model_fields}
    fields = type(node).model_fields
    return {name: each for name, each in values.items() if fields[name].is_required() or each != fields[name].default}


def _forward_of(cls: type[Node]) -> tuple[str, ast.FunctionDef]:
    """The module and the definition of the `forward` of a class."""
    owner = next(base for base in cls.__mro__ if "forward" in vars(base))
    method = method_of(owner, "forward") if issubclass(owner, Node) else None
    if method is None:
        raise Unborrowed("its forward is not defined in its class")
    return owner.__module__, method


def _only_expression(method: ast.FunctionDef) -> ast.expr | None:
    """What a method returns, if it does nothing else and that is simple."""
    body = [each for each in method.body if not isinstance(each, ast.Expr)]
    if len(body) != 1 or not isinstance(body[0], ast.Return):
        return None
    return body[0].value if _is_simple(body[0]) else None


def _operands_by_name(arguments: ast.arguments, operands: Sequence[Any]) -> dict[str, Any] | None:
    """The operands of a call by the names of the parameters; those of `*xs` as a list."""
    names = [each.arg for each in arguments.args[1:]]
    defaults = [None] * (len(names) - len(arguments.defaults)) + list(arguments.defaults)
    given: dict[str, Any] = {**dict(zip(names, defaults, strict=True)), **dict(zip(names, operands, strict=False))}
    if None in given.values():
        return None
    if arguments.vararg:
        given[arguments.vararg.arg] = list(operands[len(names) :])
    return given


class _Filling(ast.NodeTransformer):
    """Puts operands and attributes into a `forward`."""

    def __init__(self, operands: Mapping[str, Any], node: Node) -> None:
        self._operands, self._node = operands, node

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return literal(getattr(self._node, node.attr)) if node.attr in type(self._node).model_fields else node
        return self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> Any:
        if isinstance(node.value, ast.Name) and isinstance(self._operands.get(node.value.id), list):
            return self._operands[node.value.id]
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> Any:
        if node.id not in self._operands:
            return node
        given = self._operands[node.id]
        return ast.Tuple(given, ast.Load()) if isinstance(given, list) else given


def _is_simple(node: ast.AST) -> bool:
    """Whether an expression has neither `self` nor names of its own."""
    inner = (ast.Lambda, ast.comprehension, ast.NamedExpr)
    return not any(
        isinstance(each, inner) or (isinstance(each, ast.Name) and each.id == "self") for each in ast.walk(node)
    )
