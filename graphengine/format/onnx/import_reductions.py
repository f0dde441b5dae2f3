"""Import of reductions, running sums, softmax and its relatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphengine.format.onnx.onnx_calls import NotKnownYet, OnnxCall, cast, constant, imports, op

REDUCED = {
    "ReduceSum": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceProd": "prod",
    "ReduceLogSumExp": "logsumexp",
    "ReduceL1": "norm",
    "ReduceL2": "norm",
    "ReduceSumSquare": "sum",
    "ReduceLogSum": "sum",
}
FIRST_WITH_INPUT = {"ReduceSum": 13}
"""The opset from which on axes are an input; 18 of all others."""


def axes_of(call: OnnxCall) -> tuple[int, ...] | None:
    """Return the axes of a reduction, None for all; () where nothing is reduced."""
    axes = call.ints(1, "axes")
    if axes:
        return tuple(axes)
    return () if call.get("noop_with_empty_axes", 0) else None


@imports(*REDUCED)
def reduce(call: OnnxCall) -> Any:
    """Import a reduction."""
    x, axes = call[0], axes_of(call)
    if call.op == "ReduceSumSquare":
        x = np.square(x)
    if axes == () and call.op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSumSquare"):
        return x
    attributes: dict[str, Any] = {"axis": axes, "keepdims": bool(call.get("keepdims", 1))}
    if call.op in ("ReduceL1", "ReduceL2"):
        attributes["ord"] = int(call.op[-1])
    return _finished(call, *_reduced(call, x, attributes))


_OF_TRUTH = {"ReduceMax": "any", "ReduceMin": "all"}
_OF_FLOATS = ("ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean")


def _reduced(call: OnnxCall, x: Any, attributes: dict[str, Any]) -> tuple[Any, np.dtype[Any]]:
    """Return the reduction, of integers by way of floating-point numbers where there is no other, and the dtype."""
    dtype, name = x.dtype, REDUCED[call.op]
    if dtype.kind in "iu" and call.op in _OF_FLOATS:
        x = cast(x, np.float64)
    name = _OF_TRUTH.get(call.op, name) if dtype.kind == "b" else name
    return op(name, **attributes)(x), dtype


def _finished(call: OnnxCall, z: Any, dtype: np.dtype[Any]) -> Any:
    """Return the result in the dtype of the operand; integers lose their fraction."""
    if call.op == "ReduceLogSum":
        z = np.log(z)
    if dtype.kind in "iu" and call.op == "ReduceMean":
        z = np.where(np.less(z, constant(0, z)), np.ceil(z), np.floor(z))
    return cast(z, dtype)


@imports("ArgMax", "ArgMin")
def extreme_place(call: OnnxCall) -> Any:
    """Import the index of an extreme, the last one with `select_last_index`."""
    x, axis, keepdims = call[0], call.axis(0), bool(call.get("keepdims", 1))
    name = call.op.lower()
    if not call.get("select_last_index", 0):
        return cast(op(name, axis=axis, keepdims=keepdims)(x), np.int64)
    (size,) = call.static(0, [axis])
    place = op(name, axis=axis, keepdims=keepdims)(np.flip(x, axis=axis))
    return np.asarray(size - 1, np.int64) - cast(place, np.int64)


@imports("CumSum", "CumProd")
def running(call: OnnxCall) -> Any:
    """Import a running sum or product."""
    axis = int(call.number(1, "axis"))
    flags = {name: bool(call.get(name, 0)) for name in ("exclusive", "reverse")}
    return cast(op(call.op.lower(), axis=axis, **flags)(call[0]), call.dtype())


@imports("Softmax", "LogSoftmax", "Hardmax")
def softmax(call: OnnxCall) -> Any:
    """Import softmax along an axis; before opset 13 along all axes from it on."""
    x = call[0]
    axis = call.axis(-1 if call.version >= 13 else 1)
    if call.version < 13 and axis < call.rank() - 1:
        lead, rest = call.static(0)[:axis], call.static(0)[axis:]
        flat = np.reshape(x, (*lead, math.prod(rest)))
        return np.reshape(_soft(call, flat, len(lead)), (*lead, *rest))
    return _soft(call, x, axis)


def _soft(call: OnnxCall, x: Any, axis: int) -> Any:
    if call.op != "Hardmax":
        return op("softmax" if call.op == "Softmax" else "log_softmax", axis=axis)(x)
    size = x.shape[axis]
    if not isinstance(size, int):
        raise NotKnownYet("the size of its axis is known only at run time")
    hot = op("one_hot", depth=size, dtype=x.dtype.name)(op("argmax", axis=axis)(x))
    order = [*range(x.ndim - 1)]
    order.insert(axis, x.ndim - 1)
    return np.transpose(hot, tuple(order))


@imports("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(call: OnnxCall) -> Any:
    """Import the mean, maximum or length of each image."""
    axes = tuple(range(2, call.rank()))
    if call.op == "GlobalLpPool":
        return length(call[0], call.get("p", 2), axes)
    return op("mean" if call.op == "GlobalAveragePool" else "max", axis=axes, keepdims=True)(call[0])


def length(x: Any, p: float, axes: tuple[int, ...]) -> Any:
    """Return the p-norm along axes, which are kept."""
    if p in (1, 2):
        return op("norm", axis=axes, keepdims=True, ord=int(p))(x)
    powers = np.sum(np.power(np.abs(x), constant(p, x)), axis=axes, keepdims=True)
    return np.power(powers, constant(1 / p, x))


@imports("LpNormalization")
def lp_normalization(call: OnnxCall) -> Any:
    """Import x divided by its length; 0 where that is 0."""
    x = call[0]
    found = length(x, call.get("p", 2), (call.axis(-1),))
    zero = constant(0, x)
    is_zero = np.equal(found, zero)
    return np.where(is_zero, zero, np.divide(x, np.where(is_zero, constant(1, x), found)))
