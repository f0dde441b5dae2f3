"""Each op sample, exported: onnxruntime gives what the op gives, or the page names the op with a reason."""

import re
from pathlib import Path

import numpy as np
import pytest
from samples import SAMPLES
from scipy import special
from selection import missing

import graphengine as ge
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import array_type

pytestmark = pytest.mark.extra("onnx", "onnxruntime")
if not missing(["onnx", "onnxruntime"]):
    import onnxruntime

    from graphengine.format.onnx.exporting import ExportRequest, onnx_model
    from graphengine.format.onnx.refusals import REASONS

PAGE = Path(__file__).parents[1] / "docs" / "onnx.md"
SYMBOLS = {2: "A", 3: "B", 4: "C"}
PARTLY = {
    "einsum": "in ONNX (all ellipses|a letter)|floating-point numbers",
}
"""Ops of which some forms have no counterpart, and the reason."""


def graph_of(op, attributes, arrays, symbols):
    """A graph of one node; sizes of 2, 3 and 4 become symbols if that is asked for."""
    node = OPS[op].cls(**attributes)
    given = {f"x{place}": array for place, array in enumerate(arrays)}
    operands = [array if array is None or type(array) in (int, float) else name for name, array in given.items()]
    inputs = {
        name: Input(
            array_type([symbols.get(size, size) for size in np.shape(given[name])], np.asarray(given[name]).dtype)
        )
        for name in operands
        if isinstance(name, str)
    }
    if not node.signature.variadic:
        operands += [None] * (len(node.signature.inputs) - len(operands))
    graph_node = GraphNode("z", op, node, tuple(operands))
    outputs = {f"out{place}": value for place, value in enumerate(graph_node.outputs)}
    return Graph(op, inputs, {}, {}, [graph_node], outputs), {name: np.asarray(given[name]) for name in inputs}


def in_runtime(graph, given, **wanted):
    text = onnx_model(graph, {}, ExportRequest(**wanted)).proto.SerializeToString()
    return onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"]).run(None, given)


def refusal(graph, given, expected, tolerance=1e-12):
    """Why a graph is not exported; None if it is, and gives what is expected."""
    try:
        found = in_runtime(graph, given)
    except ge.errors.InvalidModelError as error:
        return str(error)
    for value, result in zip(expected, found, strict=True):
        assert result.dtype == np.asarray(value).dtype
        assert result.shape == np.shape(value)
        near = tolerance if result.dtype != np.float32 else max(tolerance, 1e-6)
        np.testing.assert_allclose(result, value, rtol=near, atol=near / 100)
    return None


def results_of(op, attributes, arrays):
    with np.errstate(all="ignore"):
        result = OPS[op].cls(**attributes).forward(*arrays)
    return result if isinstance(result, tuple) else (result,)


def named_on_the_page():
    text = PAGE.read_text(encoding="utf-8").partition("### Ops without an equivalent")[2].partition("\n## ")[0]
    return {op for line in text.splitlines() if line.startswith("| ") for op in re.findall(r"`(\w+)`", line)}


@pytest.mark.parametrize("op", SAMPLES)
def test_an_exported_op_gives_the_same_or_the_page_names_it(op):
    refusals = []
    for attributes, arrays in SAMPLES[op]:
        graph, given = graph_of(op, attributes, arrays, {})
        refusals.append(refusal(graph, given, results_of(op, attributes, arrays)))
    assert all(each.startswith("GE305: node 'z'") for each in refusals if each)
    if op in PARTLY:
        assert None in refusals
        assert all(re.search(PARTLY[op], each) for each in refusals if each)
    else:
        assert all(refusals) == (op in named_on_the_page()), refusals
        assert all(refusals) or not any(refusals)


@pytest.mark.parametrize("op", SAMPLES)
def test_an_op_with_symbolic_sizes_gives_the_same(op):
    for attributes, arrays in SAMPLES[op]:
        try:
            graph, given = graph_of(op, attributes, arrays, SYMBOLS)
        except ge.errors.InvalidModelError:
            continue  # the op takes sizes that are known alone
        found = refusal(graph, given, results_of(op, attributes, arrays))
        assert found is None or op in named_on_the_page() or re.search(PARTLY.get(op, "in every form"), found), found


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
def test_a_margin_of_copies_may_be_wider_than_the_array(mode):
    attributes = {"pad_width": [[0, 0], [7, 5]], "mode": mode}
    graph, _ = graph_of("pad", attributes, (np.zeros((2, 3)),), SYMBOLS)
    for size in range(1, 5):
        x = np.arange(2.0 * size).reshape(2, size)
        np.testing.assert_array_equal(in_runtime(graph, {"x0": x})[0], np.pad(x, attributes["pad_width"], mode))


def test_each_op_without_counterpart_has_its_reason():
    assert named_on_the_page() == set(REASONS)


@pytest.mark.parametrize(("is_single", "tolerance"), [(False, 1e-14), (True, 2e-6)])
def test_the_gamma_function_is_as_accurate_as_its_rule_says(is_single, tolerance):
    x = np.concatenate([np.geomspace(1e-30, 1e30, 121), np.linspace(0.02, 12, 600), [1.0, 2.0, 10.0]])
    x = x.astype("f4").astype("f8")
    graph, given = graph_of("lgamma", {}, (x,), {})
    given = {name: each.astype("f4") for name, each in given.items()} if is_single else given
    (found,) = in_runtime(graph, given, single=is_single)
    np.testing.assert_allclose(found, special.gammaln(x), rtol=tolerance)


@pytest.mark.parametrize("op", ["max", "min", "norm", "maximum", "sign", "argmax"])
def test_nan_is_found_wherever_it_is(op):
    rows = np.array([[np.nan, 1, 2], [1, np.nan, 2], [1, 2, np.nan], [1, 2, 3]])
    arrays = (rows, 2 * rows) if op == "maximum" else (rows,)
    attributes = {} if op in ("maximum", "sign") else {"axis": 1}
    graph, given = graph_of(op, attributes, arrays, {})
    np.testing.assert_allclose(in_runtime(graph, given), results_of(op, attributes, arrays), rtol=1e-15)
