"""Formulas as MathML, which browsers typeset without a script: the formulas of docstrings are Python expressions.

Brackets are set where the tree needs them. A comparison is a number, 1 or 0, and has the brackets of Iverson.
"""

import ast
import re
from html import escape

from graphengine.ops.docstring import equations

LETTERS = {"alpha": "α", "beta": "β", "delta": "δ", "epsilon": "ε", "pi": "π", "phi": "φ", "digamma": "ψ"}
ELEMENT = re.compile(r"([xz])(i|0|1+|n+)")
"""x1, xi, xn as an element of x; x11 as one of a matrix."""

SIGNS = {
    ast.Add: "+",
    ast.Sub: "−",
    ast.Mod: "mod",
    ast.Eq: "=",
    ast.NotEq: "≠",
    ast.Lt: "<",
    ast.LtE: "≤",
    ast.Gt: ">",
    ast.GtE: "≥",
    ast.And: "∧",
    ast.Or: "∨",
    ast.Not: "¬",
    ast.USub: "−",
}
FENCES = {"abs": "||", "floor": "⌊⌋", "ceil": "⌈⌉"}

CHOICE, OR, AND, NOT, SUM, PRODUCT, SIGN, POWER, ATOM = range(9)
"""How closely an expression binds, from the loosest."""


def math(text: str, inputs: tuple[str, ...] = ()) -> str:
    """Return each formula of a docstring as a line of MathML; after a d, a name of `inputs` is that of a gradient."""
    named = {*inputs, "z", "loss"}
    return "".join(f'<math display="block">{_equation(each, named)}</math>' for each in equations(text)) if text else ""


def _equation(text: str, named: set[str]) -> str:
    """An equation, after the word "with" where it defines a name, and with words after it."""
    if text.startswith("with "):
        return _words("with ") + _equation(text.removeprefix("with "), named)
    body, over, clause = text.partition(" over ")
    sides = body.split(" = ", 1) + clause.split(" == ")[: 2 * bool(over)]
    set_sides = [_side(side, named) for side in sides]
    if over:
        return f"{_equal(set_sides[:2])}{_words(' over ')}{_equal(set_sides[2:])}"
    return _equal(set_sides)


def _equal(sides: list[str]) -> str:
    return _sign("=").join(sides)


def _side(text: str, named: set[str]) -> str:
    """One side of an equation; what is no expression is shown as it is written."""
    try:
        tree = ast.parse(f"({text})", mode="eval").body
    except SyntaxError:
        before, comma, after = text.rpartition(", ")
        return f"{_side(before, named)}{_words(comma + after)}" if comma and "[" not in text else _words(text)
    typesetter = Typesetter(named)
    return typesetter.listed(tree.elts) if isinstance(tree, ast.Tuple) else typesetter.set(tree)


class Typesetter(ast.NodeVisitor):
    """Sets a tree; each method returns how closely its expression binds, and the MathML."""

    def __init__(self, named: set[str]) -> None:
        self.named = named

    def set(self, node: ast.expr, least: int = CHOICE) -> str:
        """Return the MathML of an expression, in brackets if it binds less closely than where it is."""
        level, text = self.visit(node)
        return _fenced("()", text) if level < least else text

    def listed(self, nodes: list[ast.expr]) -> str:
        """Return expressions between commas."""
        return _sign(",").join(map(self.set, nodes))

    def condition(self, node: ast.expr) -> str:
        """Return a condition, which needs no brackets."""
        return self._comparison(node) if isinstance(node, ast.Compare) else self.set(node)

    def visit_Name(self, node: ast.Name) -> tuple[int, str]:
        """Set a name; that of a gradient is a d and the name of the value."""
        value = node.id.removeprefix("d")
        if value != node.id and (value in self.named or re.fullmatch(r"[a-z]|[xz][in01]", value)):
            space = "<mspace width='0.15em'/>" * (len(value) > 2)
            return ATOM, f"<mrow><mi mathvariant='normal'>d</mi>{space}{_name(value)}</mrow>"
        return ATOM, _name(node.id)

    def visit_Constant(self, node: ast.Constant) -> tuple[int, str]:
        """Set a number, the dots of a series, or a string."""
        if node.value is Ellipsis:
            return ATOM, "<mi>⋯</mi>"
        if isinstance(node.value, complex):
            return ATOM, "<mi mathvariant='normal'>i</mi>"
        if isinstance(node.value, str | bool):
            return ATOM, _words(str(node.value))
        return ATOM, f"<mn>{node.value}</mn>"

    def visit_BinOp(self, node: ast.BinOp) -> tuple[int, str]:
        """Set an operation on two operands."""
        left, right = node.left, node.right
        match node.op:
            case ast.Div() if _is_gradient(left) and _is_gradient(right):
                return ATOM, f"<mfrac>{self._partial(left)}{self._partial(right)}</mfrac>"
            case ast.Div():
                return PRODUCT, f"<mfrac>{_row(self.set(left))}{_row(self.set(right))}</mfrac>"
            case ast.Pow():
                return POWER, f"<msup>{_row(self.set(left, ATOM))}{_row(self.set(right))}</msup>"
            case ast.Mult() | ast.MatMult():
                signed = _begins_with_minus(left)  # to a reader -a * b is -(a * b)
                first = self.set(left, SUM if signed else PRODUCT)
                return SUM if signed else PRODUCT, f"{first}{_product(left, node.op)}{self.set(right, SIGN)}"
            case ast.Add() | ast.Sub():
                return SUM, f"{self.set(left, SUM)}{_sign(SIGNS[type(node.op)])}{self.set(right, PRODUCT)}"
            case other:
                return PRODUCT, f"{self.set(left, PRODUCT)}{_sign(SIGNS[type(other)])}{self.set(right, SIGN)}"

    def _partial(self, node: ast.Name) -> str:
        return f"<mrow><mo>∂</mo>{_name(node.id.removeprefix('d'))}</mrow>"

    def visit_UnaryOp(self, node: ast.UnaryOp) -> tuple[int, str]:
        """Set a sign."""
        level = NOT if isinstance(node.op, ast.Not) else SUM
        return level, f"{_sign(SIGNS[type(node.op)], form='prefix')}{self.set(node.operand, max(level, PRODUCT))}"

    def visit_BoolOp(self, node: ast.BoolOp) -> tuple[int, str]:
        """Set "and" and "or"."""
        level = AND if isinstance(node.op, ast.And) else OR
        return level, _sign(SIGNS[type(node.op)]).join(self.set(each, level) for each in node.values)

    def visit_Compare(self, node: ast.Compare) -> tuple[int, str]:
        """Set a comparison as the number that it is."""
        return ATOM, _fenced("[]", self._comparison(node))

    def _comparison(self, node: ast.Compare) -> str:
        pairs = zip(node.ops, node.comparators, strict=True)
        return self.set(node.left) + "".join(_sign(SIGNS[type(op)]) + self.set(right) for op, right in pairs)

    def visit_IfExp(self, node: ast.IfExp) -> tuple[int, str]:
        """Set a choice as cases."""
        return self._cases(node.test, node.body, node.orelse)

    def _cases(self, test: ast.expr, body: ast.expr, otherwise: ast.expr) -> tuple[int, str]:
        rows = [(self.set(body), _words("if ") + self.condition(test)), (self.set(otherwise), _words("otherwise"))]
        table = "".join(f"<mtr><mtd>{value}</mtd><mtd>{when}</mtd></mtr>" for value, when in rows)
        return CHOICE, f"<mrow><mo>{{</mo><mtable columnalign='left left'>{table}</mtable></mrow>"

    def visit_Call(self, node: ast.Call) -> tuple[int, str]:
        """Set a call in the way of its function, else with its name."""
        match getattr(node.func, "id", None), node.args:
            case "where", [test, body, otherwise]:
                return self._cases(test, body, otherwise)
            case "sqrt", [operand]:
                return ATOM, f"<msqrt>{self.set(operand)}</msqrt>"
            case "exp", [operand]:
                return POWER, f"<msup><mi mathvariant='normal'>e</mi>{_row(self.set(operand))}</msup>"
            case "square", [operand]:
                return POWER, f"<msup>{_row(self.set(operand, ATOM))}<mn>2</mn></msup>"
            case "inv", [operand]:
                return POWER, f"<msup>{_row(self.set(operand, ATOM))}<mrow>{_sign('−')}<mn>1</mn></mrow></msup>"
            case ("abs" | "floor" | "ceil") as name, [operand]:
                return ATOM, _fenced(FENCES[name], self.set(operand))
            case "sha256", _:
                return ATOM, _words(ast.unparse(node))
        named = [_name(each.arg) + _sign("=") + self.set(each.value) for each in node.keywords]
        arguments = _sign(",").join([*map(self.set, node.args), *named])
        return ATOM, f"{self.set(node.func)}<mo>&#8289;</mo>{_fenced('()', arguments)}"

    def visit_Attribute(self, node: ast.Attribute) -> tuple[int, str]:
        """Set a transpose, or another attribute as Python writes it."""
        if node.attr == "T":
            return POWER, f"<msup>{_row(self.set(node.value, ATOM))}<mi mathvariant='normal'>T</mi></msup>"
        return ATOM, f"{self.set(node.value, ATOM)}<mo>.</mo>{_name(node.attr)}"

    def visit_Subscript(self, node: ast.Subscript) -> tuple[int, str]:
        """Set an index."""
        place = node.slice
        inside = self.listed(place.elts) if isinstance(place, ast.Tuple) else self.condition(place)
        return ATOM, f"<msub>{_row(self.set(node.value, ATOM))}{_row(inside)}</msub>"

    def visit_Slice(self, node: ast.Slice) -> tuple[int, str]:
        """Set a slice as Python writes it."""
        ends = [node.lower, node.upper, node.step]
        return ATOM, _sign(":").join(self.set(each) if each else "" for each in ends[: 3 if node.step else 2])

    def visit_Starred(self, node: ast.Starred) -> tuple[int, str]:
        """Set several values like one."""
        return self.visit(node.value)

    def visit_Tuple(self, node: ast.Tuple) -> tuple[int, str]:
        """Set values between commas, in brackets."""
        return ATOM, _fenced("()", self.listed(node.elts))

    def visit_List(self, node: ast.List) -> tuple[int, str]:
        """Set a vector."""
        return ATOM, _fenced("[]", self.listed(node.elts))

    def generic_visit(self, node: ast.AST) -> tuple[int, str]:
        """Show anything else as it is written."""
        return CHOICE, _words(ast.unparse(node))


def _is_gradient(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id.startswith("d") and len(node.id) > 1


def _begins_with_minus(node: ast.expr) -> bool:
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.MatMult):
        node = node.left
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)


def _product(left: ast.expr, op: ast.operator) -> str:
    """What is between two factors: nothing after a number, a space between matrices."""
    if isinstance(op, ast.MatMult):
        return "<mspace width='0.2em'/>"
    return _sign("&#8290;" if isinstance(left, ast.Constant) else "⋅")


def _name(name: str) -> str:
    if found := ELEMENT.fullmatch(name):
        return f"<msub><mi>{found[1]}</mi>{_row(_index(found[2]))}</msub>"
    letter = LETTERS.get(name, name)
    return f"<mi>{escape(letter)}</mi>" if len(letter) == 1 else f"<mi mathvariant='normal'>{escape(letter)}</mi>"


def _index(text: str) -> str:
    return "".join(f"<mn>{each}</mn>" if each.isdigit() else f"<mi>{each}</mi>" for each in text)


def _row(text: str) -> str:
    return f"<mrow>{text}</mrow>"


def _fenced(fence: str, text: str) -> str:
    opening, closing = fence
    return f"<mrow><mo form='prefix'>{opening}</mo>{text}<mo form='postfix'>{closing}</mo></mrow>"


def _sign(sign: str, form: str = "infix") -> str:
    return f"<mo form='{form}'>{sign if sign.startswith('&') else escape(sign)}</mo>"


def _words(text: str) -> str:
    return f"<mtext>{escape(text, quote=False).replace(' ', '&nbsp;')}</mtext>"
