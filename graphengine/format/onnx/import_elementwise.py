"""Import of ops that work number by number."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphengine.format.onnx.drafts import are_sizes
from graphengine.format.onnx.onnx_calls import (
    MICROSOFT,
    OnnxCall,
    Unimportable,
    are_arrays,
    cast,
    constant,
    imports,
    is_known,
    op,
)
from graphengine.ir.recording import Symbol

UNARY = {
    "Abs": np.abs,
    "Acos": np.arccos,
    "Acosh": np.arccosh,
    "Asin": np.arcsin,
    "Asinh": np.arcsinh,
    "Atan": np.arctan,
    "Atanh": np.arctanh,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Exp": np.exp,
    "Floor": np.floor,
    "Log": np.log,
    "Neg": np.negative,
    "Reciprocal": np.reciprocal,
    "Sign": np.sign,
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Sqrt": np.sqrt,
    "Tan": np.tan,
    "Tanh": np.tanh,
}
NAMED = {
    "Erf": "erf",
    "Mish": "mish",
    "Round": "round",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Softsign": "softsign",
}
ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}
COMPARED = {
    "Less": np.less,
    "Greater": np.greater,
    "LessOrEqual": np.less_equal,
    "GreaterOrEqual": np.greater_equal,
}


@imports(*UNARY)
def unary(call: OnnxCall) -> Any:
    """Import an op that NumPy has."""
    return UNARY[call.op](call[0])


@imports(*NAMED)
def named(call: OnnxCall) -> Any:
    """Import an op that we have under another name."""
    return op(NAMED[call.op])(call[0])


def pair(call: OnnxCall) -> tuple[Any, Any]:
    """Return two operands; before opset 7 the second one may lie along axes of the first."""
    x, y = call.size(0), call.size(1)
    if call.version < 7 and call.get("broadcast", 0) and "axis" in call.attributes and np.ndim(y):
        missing = call.rank() - call.axis(0) - np.ndim(y)
        y = np.reshape(y, (*call.static(1), *[1] * missing)) if missing > 0 else y
    return x, y


def evened(call: OnnxCall, x: Any, y: Any) -> tuple[Any, Any]:
    """Return two operands for computing; sizes beside values that are not constants become a value themselves."""
    if all(isinstance(each, np.ndarray) for each in (x, y)) and max(np.size(x), np.size(y)) < 64:
        return x, y
    return call.draft.computed(x), call.draft.computed(y)


@imports(*ARITHMETIC)
def arithmetic(call: OnnxCall) -> Any:
    """Import arithmetic."""
    return ARITHMETIC[call.op](*evened(call, *pair(call)))


@imports("Div")
def divide(call: OnnxCall) -> Any:
    """Import division, which truncates toward 0 for integers."""
    x, y = evened(call, *pair(call))
    dtype = call.dtype()
    if dtype.kind == "f":
        return np.divide(x, y)
    if is_known(x, y):
        return (np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y))).astype(dtype) if dtype.kind == "i" else x // y
    return truncated(call, call[0], call[1], dtype)


def truncated(call: OnnxCall, x: Any, y: Any, dtype: np.dtype[Any]) -> Any:
    """Return the quotient of integers without its fraction: of what is left of x without the remainder."""
    if dtype.itemsize == 8 and not is_small(x, y):
        raise Unimportable("quotients of 64-bit integers are exact up to 2^53 only")
    whole = np.abs(x) - np.mod(np.abs(x), np.abs(y)) if dtype.kind == "i" else x - np.mod(x, y)
    quotient = np.divide(cast(whole, np.float64), cast(np.abs(y) if dtype.kind == "i" else y, np.float64))
    if dtype.kind == "i":
        quotient = quotient * cast(np.sign(x) * np.sign(y), np.float64)
    return cast(quotient, dtype)


def is_small(*values: Any) -> bool:
    """Whether 64-bit integers are constants below 2^53, or results of ops, which are sizes or counts as a rule."""
    return all(isinstance(each, Symbol) or bool(np.all(np.abs(each) < 2**53)) for each in values)


@imports("Mod")
def modulo(call: OnnxCall) -> Any:
    """Import the remainder: with the sign of the divisor or, with `fmod`, of the dividend."""
    x, y = evened(call, call.size(0), call.size(1))
    if not call.get("fmod", 0):
        return np.mod(x, y)
    if is_known(x, y):
        return np.fmod(x, y)
    rest = np.mod(np.abs(x), np.abs(y))
    return np.where(np.less(x, constant(0, x)), -rest, rest)


@imports("Pow")
def power(call: OnnxCall) -> Any:
    """Import powers, which have the dtype of the base."""
    x, y = pair(call)
    x, y = call[0], call[1] if call.version >= 7 else y
    if x.dtype.kind != "f":
        return cast(np.round(np.power(cast(x, np.float64), cast(y, np.float64))), x.dtype)
    wide = np.result_type(x.dtype, y.dtype) if y.dtype.kind == "f" else x.dtype
    return cast(np.power(cast(x, wide), cast(y, wide)), x.dtype)


@imports(*COMPARED)
def comparison(call: OnnxCall) -> Any:
    """Import a comparison."""
    x, y = pair(call)
    return COMPARED[call.op](call.draft.computed(x), call.draft.computed(y))


@imports("Equal")
def equal(call: OnnxCall) -> Any:
    """Import equality; a size that is not known differs from each negative number."""
    x, y = pair(call)
    for sizes, other in ((x, y), (y, x)):
        if are_sizes(sizes) and is_known(other) and np.all(other < 0):
            return np.broadcast_arrays(np.zeros(sizes.shape, bool), np.zeros(other.shape, bool))[0]
    return np.equal(call.draft.computed(x), call.draft.computed(y))


@imports("And", "Or", "Xor")
def logic(call: OnnxCall) -> Any:
    """Import what joins truth values."""
    x, y = pair(call)
    return {"And": np.logical_and, "Or": np.logical_or, "Xor": np.not_equal}[call.op](x, y)


@imports("Not")
def negation(call: OnnxCall) -> Any:
    """Import the negation."""
    return np.logical_not(call[0])


@imports("Where")
def where(call: OnnxCall) -> Any:
    """Import a choice; of sizes by a known condition."""
    condition, x, y = map(call.size, range(3))
    if is_known(condition) and are_arrays(x, y):
        return np.where(condition, x, y)
    return np.where(*map(call.draft.computed, (condition, x, y)))


@imports("Max", "Min", "Sum", "Mean")
def many(call: OnnxCall) -> Any:
    """Import an op of any number of operands, which broadcast."""
    join = {"Max": np.maximum, "Min": np.minimum}.get(call.op, np.add)
    first, *others = call.all
    for each in others:
        first = join(first, each)
    return np.divide(first, constant(len(call), first)) if call.op == "Mean" else first


@imports("Clip")
def clip(call: OnnxCall) -> Any:
    """Import bounds: attributes before opset 11, inputs from then on."""
    x, (low, high) = call[0], (_bound(call, place, name) for place, name in ((1, "min"), (2, "max")))
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _bound(call: OnnxCall, place: int, name: str) -> Any:
    if call.version < 11:
        return None if name not in call.attributes else np.asarray(call.get(name), call.dtype())
    return call.optional(place)


@imports("IsNaN")
def isnan(call: OnnxCall) -> Any:
    """Import x != x."""
    return np.not_equal(call[0], call[0])


@imports("IsInf")
def isinf(call: OnnxCall) -> Any:
    """Import comparisons with infinity."""
    x = call[0]
    found = [
        np.equal(x, constant(sign * np.inf, x))
        for sign, name in ((1, "detect_positive"), (-1, "detect_negative"))
        if call.get(name, 1)
    ]
    return np.logical_or(*found) if len(found) == 2 else found[0] if found else np.not_equal(x * 0, x * 0)


@imports("Identity")
def identity(call: OnnxCall) -> Any:
    """Import nothing: the value itself."""
    return call.raws[0]


@imports("Dropout")
def dropout(call: OnnxCall) -> Any:
    """Import nothing: a model that is imported predicts."""
    if _is_given(call, 2, "training_mode") and _is_given(call, 1, "ratio"):
        raise Unimportable("it drops values in training mode, by random numbers of the runtime")
    x = call[0]
    return (x, np.equal(x, x)) if call.wants(1) else x


def _is_given(call: OnnxCall, place: int, name: str) -> bool:
    """Whether an optional input is a number other than 0."""
    return call.has(place) and bool(call.number(place, name))


@imports("Relu")
def relu(call: OnnxCall) -> Any:
    """Import relu."""
    return op("relu")(call[0])


@imports("LeakyRelu")
def leaky_relu(call: OnnxCall) -> Any:
    """Import leaky_relu."""
    return op("leaky_relu", negative_slope=call.get("alpha", 0.01))(call[0])


@imports("Elu", "Celu")
def elu(call: OnnxCall) -> Any:
    """Import elu or celu."""
    return op(call.op.lower(), alpha=call.get("alpha", 1.0))(call[0])


@imports("Selu")
def selu(call: OnnxCall) -> Any:
    """Import selu as gamma * elu, whose numbers are attributes."""
    alpha, gamma = call.get("alpha", 1.67326319217681884765625), call.get("gamma", 1.05070102214813232421875)
    x = op("elu", alpha=alpha)(call[0])
    return x * constant(gamma, x)


@imports("ThresholdedRelu")
def thresholded_relu(call: OnnxCall) -> Any:
    """Import x where it is larger than alpha, else 0."""
    x = call[0]
    return np.where(np.greater(x, constant(call.get("alpha", 1.0), x)), x, constant(0, x))


@imports("HardSigmoid")
def hard_sigmoid(call: OnnxCall) -> Any:
    """Import hard_sigmoid."""
    return op("hard_sigmoid", alpha=call.get("alpha", 0.2), beta=call.get("beta", 0.5))(call[0])


@imports("HardSwish")
def hard_swish(call: OnnxCall) -> Any:
    """Import x * hard_sigmoid(x)."""
    x = call[0]
    return x * op("hard_sigmoid")(x)


@imports("Swish")
def swish(call: OnnxCall) -> Any:
    """Import x * sigmoid(alpha * x)."""
    x, alpha = call[0], call.get("alpha", 1.0)
    return op("silu")(x) if alpha == 1 else x * op("sigmoid")(x * constant(alpha, x))


@imports("Gelu")
@imports("Gelu", "FastGelu", domain=MICROSOFT)
def gelu(call: OnnxCall) -> Any:
    """Import gelu; onnxruntime's FastGelu is the one by tanh, and may have a bias."""
    x = call[0] + call[1] if call.has(1) else call[0]
    return op("gelu", approximate="tanh" if call.op == "FastGelu" else call.text("approximate", "none"))(x)


@imports("PRelu")
def prelu(call: OnnxCall) -> Any:
    """Import prelu; before opset 7 a vector of slopes lies along the channels."""
    x, slope = call[0], call[1]
    if call.version < 7 and call.rank(1) == 1 and call.rank() > 2:
        slope = np.reshape(slope, (-1, *[1] * (call.rank() - 2)))
    return op("prelu")(x, slope)


@imports("Shrink")
def shrink(call: OnnxCall) -> Any:
    """Import values moved by `bias` toward 0, and 0 within `lambd`."""
    x = call[0]
    bias, bound = (constant(call.get(name, default), x) for name, default in (("bias", 0.0), ("lambd", 0.5)))
    return np.where(np.less(x, -bound), x + bias, np.where(np.greater(x, bound), x - bias, constant(0, x)))


@imports("BitShift")
def bit_shift(call: OnnxCall) -> Any:
    """Import products with powers of 2 or, to the right, quotients rounded down.

    A shift that is negative or as large as the number of bits leaves nothing, and -1 of a negative number to the right.
    """
    x, y, dtype = call[0], call[1], call.dtype()
    bits, zero = 8 * dtype.itemsize, constant(0, y)
    inside = np.logical_and(np.greater_equal(y, zero), np.less(y, constant(bits, y)))
    power = np.power(constant(2, x), cast(np.where(inside, y, zero), dtype))
    if call.text("direction", "") == "LEFT":
        return np.where(inside, x * power, constant(0, x))
    if dtype.itemsize == 8 and not is_small(x, y):
        raise Unimportable("quotients of 64-bit integers are exact up to 2^53 only")
    below = (
        np.where(np.less(x, constant(0, x)), constant(-1, x), constant(0, x)) if dtype.kind == "i" else constant(0, x)
    )
    half = cast(power, np.float64) if dtype.kind == "u" else np.abs(cast(power, np.float64))
    quotient = np.floor(np.divide(cast(x, np.float64), half))
    return np.where(inside, cast(quotient, dtype), below)
