"""Syntax trees of Python: literals, copies, and code without the branches that are never taken."""

from __future__ import annotations

import ast
from functools import lru_cache
from types import NoneType
from typing import Any

REDUCTIONS = {"sum", "prod", "max", "min", "all", "any", "mean", "argmax", "argmin"}
"""Functions of NumPy whose defaults need not be written."""


class Unborrowed(Exception):  # noqa: N818 - a reason, which becomes a finding
    """A definition cannot be borrowed; the text says why."""


def copied(node: Any) -> Any:
    """Return a copy of a statement in the source of a module; the copy may be changed."""
    return ast.parse(_text_of(node)).body[0]


@lru_cache(maxsize=2000)  # the files of many models have the same definitions
def _text_of(node: Any) -> str:
    """Return the text of a statement, which takes several times as long to write as to parse."""
    return ast.unparse(node)


def plain(node: Any) -> Any:
    """Return a statement or expression without branches that are never taken."""
    return _Folding().visit(node)


class _Folding(ast.NodeTransformer):
    """Decides what is known: `None is None`, tests of constants, what follows a `return`."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.body = _until_return(node.body)
        return node

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        self.generic_visit(node)
        return (node.body if node.test.value else node.orelse) if isinstance(node.test, ast.Constant) else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Constant):
            return ast.Constant(not node.operand.value)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        self.generic_visit(node)
        decides, kept = isinstance(node.op, ast.Or), []
        for each in node.values:
            kept.append(each)
            if isinstance(each, ast.Constant) and bool(each.value) == decides:
                break
        *first, last = kept
        kept = [*[each for each in first if not isinstance(each, ast.Constant)], last]
        return kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        if _is_reduction(node.func):
            node.keywords = [each for each in node.keywords if not _is_default(each)]
        return node

    def visit_Compare(self, node: ast.Compare) -> Any:
        self.generic_visit(node)
        left, (operator, *more), (right, *_) = node.left, node.ops, node.comparators
        if more or not isinstance(right, ast.Constant):
            return node
        same = _are_same(operator, left, right)
        return node if same is None else ast.Constant(same == isinstance(operator, (ast.Is, ast.Eq)))


def _is_reduction(function: ast.expr) -> bool:
    match function:
        case ast.Attribute(value=ast.Name(id="np"), attr=name):
            return name in REDUCTIONS
        case ast.Name(id=name):  # a replaced one
            return name.removeprefix("np.") in REDUCTIONS and "." in name
    return False


def _is_default(given: ast.keyword) -> bool:
    default = {"axis": None, "keepdims": False}
    value = given.value
    return given.arg in default and isinstance(value, ast.Constant) and value.value is default[given.arg]


def _is_known(node: ast.expr) -> bool:
    """Whether an expression is a literal, or a value of the graph, which is never None."""
    return isinstance(node, (ast.Constant, ast.Tuple, ast.UnaryOp)) or (
        isinstance(node, ast.Name) and node.id.startswith("v__")
    )


def _until_return(body: list[ast.stmt]) -> list[ast.stmt]:
    stops = [place for place, each in enumerate(body) if isinstance(each, (ast.Return, ast.Raise))]
    return body[: stops[0] + 1] if stops else body


def literal(value: Any) -> ast.expr:
    """Return a value as an expression that gives it back.

    Raises
    ------
    Unborrowed
        If it has no such form.
    """
    if isinstance(value, (bool, str, NoneType)):
        return ast.Constant(value)
    if isinstance(value, (int, float)):
        return _number(value)
    if not isinstance(value, (tuple, list)):
        raise Unborrowed(f"its attribute has a {type(value).__name__}, which has no text")
    kind = ast.Tuple if isinstance(value, tuple) else ast.List
    return kind([literal(each) for each in value], ast.Load())


def _number(value: float) -> ast.expr:
    if value != value:
        return ast.parse("float('nan')", mode="eval").body
    negative = str(value).startswith("-")
    digits = ast.Constant(-value if negative else value)
    return ast.UnaryOp(ast.USub(), digits) if negative else digits


def _are_same(operator: ast.cmpop, left: ast.expr, right: ast.Constant) -> bool | None:
    """Whether two sides are the same; None where that is not known, or not what is compared."""
    if isinstance(operator, (ast.Is, ast.IsNot)) and right.value is None and _is_known(left):
        return isinstance(left, ast.Constant) and left.value is None
    if isinstance(operator, (ast.Eq, ast.NotEq)) and isinstance(left, ast.Constant):
        return bool(left.value == right.value)
    return None
