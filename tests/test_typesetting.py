"""Typeset formulas of the site: what a reader sees means what the docstring says."""

import importlib.util
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphengine.ops.registry import OPS

SPEC = importlib.util.spec_from_file_location("typesetting", Path(__file__).parents[1] / "docs" / "typesetting.py")
typesetting = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(typesetting)

READ = {"−": "-", "⋅": "*", "\u2062": "*", "≤": "<=", "≥": ">=", "≠": "!=", "∧": " and ", "∨": " or ", "¬": "not "}
WORDS = {"if ", "otherwise", "with ", " over ", "True"}


def element_of(text, inputs=()):
    """The formulas as one XML element."""
    marked = typesetting.math(text, inputs).replace("&nbsp;", " ").replace("&InvisibleTimes;", "\u2062")
    return ElementTree.fromstring(f"<formulas>{marked}</formulas>")


def read(element):
    """What a reader takes MathML for, as Python: only what is drawn groups: brackets, bars, roots and heights."""
    parts = [read(child) for child in element]
    match element.tag:
        case "mfrac":
            return f"(({parts[0]})/({parts[1]}))"
        case "msqrt":
            return f"sqrt({''.join(parts)})"
        case "msup":
            return f"exp({parts[1]})" if parts[0] == "e" else f"{parts[0]}**({parts[1]})"
        case "mtable":
            (value, condition), (other, _) = [[read(cell) for cell in row] for row in element]
            return f"(({value}) if ({condition.removeprefix('if ')}) else ({other}))"
        case "mrow" if parts and parts[0] == "|":
            return f"abs({''.join(parts[1:-1])})"
        case "mrow" if parts and parts[0] == "{":
            return "".join(parts[1:])
        case "mo":
            return READ.get(element.text, element.text)
        case _:
            return (element.text or "") + "".join(parts)


def value_of(text):
    try:
        found = eval(text, {"sqrt": math.sqrt, "exp": math.exp, "x": 1.5, "y": -0.7, "z": 2.0})
    except (ArithmeticError, ValueError):
        return None
    return None if isinstance(found, complex) else found[0] if isinstance(found, list) else found


EXPRESSIONS = st.recursive(
    st.sampled_from(["x", "y", "z", "2", "0.5"]),
    lambda each: st.one_of(
        st.tuples(each, st.sampled_from(["+", "-", "*", "/", "**"]), each).map("({0[0]}) {0[1]} ({0[2]})".format),
        each.map("-({})".format),
        st.tuples(st.sampled_from(["sqrt", "exp", "abs"]), each).map("{0[0]}({0[1]})".format),
        st.tuples(each, each, each).map("({0[0]}) if ({0[1]}) > 1 else ({0[2]})".format),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_a_typeset_expression_is_read_as_the_same_number(text):
    expected = value_of(text)
    seen = read(element_of(f"z = {text}")).removeprefix("z=")
    assert expected is None or value_of(seen) == pytest.approx(expected, rel=1e-12), seen


@pytest.mark.parametrize("name", sorted(OPS))
def test_all_formulas_of_an_op_are_typeset(name):
    op = OPS[name]
    for text in (op.docstring.formula, op.docstring.derivatives):
        shown = element_of(text, op.signature.inputs)
        as_written = {each.text for each in shown.iter("mtext")} - WORDS
        assert not any(re.search(r"[*@=]|\w/\w", each) for each in as_written - {"sha256(seed / stream)"}), as_written
        numbers = re.findall(r"(?<![\w.])\d+(?:\.\d+)?\b(?!j)", text)
        assert set(numbers) <= {*re.findall(r"\d+(?:\.\d+)?", " ".join(shown.itertext()))}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dz/dxi = xi - (x1 + ... + xn) / n", "((∂z)/(∂xi))=xi-((x1+⋯+xn)/(n))"),
        ("dx = -z.T @ dz @ inv(z), dweight = dz", "dx=-z**(T)dzz**(-1)dweight=dz"),
        ("z = (u < p) with u in [0, 1)", "z=[u<p]with u in [0, 1)"),
        ("dx, *dxs = split(dz)", "dx,dxs=split\u2061(dz)"),
        ("z = x[start:stop:step]", "z=xstart:stop:step"),
        ("z = det(x) * mean(y, axis=(2, 3), keepdims=True)", "z=det\u2061(x)*mean\u2061(y,axis=(2,3),keepdims=True)"),
        ("z = [x, y]", "z=[x,y]"),
        ("z = x and (y or not x)", "z=x and (y or not x)"),
        ("z = lambda x: x", "z=lambda x: x"),
    ],
)
def test_a_formula_is_shown_as_it_is_read_aloud(text, shown):
    assert read(element_of(text, ("x", "weight", "xs"))) == shown


def test_no_formula_is_no_mathematics():
    assert typesetting.math("") == ""
