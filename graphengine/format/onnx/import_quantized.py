"""Import of quantized ops as arithmetic, and of casts to floating-point types of 8 and 4 bits.

A quantized number q means (q - zero_point) * scale. Sums of products of integers are computed in double precision, in
which they are exact up to 2^53.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphengine.format.onnx.drafts import are_sizes
from graphengine.format.onnx.onnx_calls import OnnxCall, Unimportable, bounded, cast, constant, imports, op
from graphengine.format.onnx.protos import SUBBYTE, dtype_of, type_name


class Narrow(NamedTuple):
    """A floating-point type: significant bits, the least exponent, the largest number, what is beyond it."""

    bits: int
    least: int
    largest: float
    beyond: float


NARROW = {
    "FLOAT8E4M3FN": Narrow(4, -6, 448.0, np.nan),
    "FLOAT8E4M3FNUZ": Narrow(4, -7, 240.0, np.nan),
    "FLOAT8E5M2": Narrow(3, -14, 57344.0, np.inf),
    "FLOAT8E5M2FNUZ": Narrow(3, -15, 57344.0, np.nan),
    "FLOAT4E2M1": Narrow(2, 0, 6.0, 6.0),
}
BOUNDS = {"INT4": (-8, 7), "UINT4": (0, 15), "INT2": (-2, 1), "UINT2": (0, 3)}


def rounded(x: Any, kind: Narrow, *, saturate: bool = True) -> Any:
    """Return x with as many significant bits as a type has, half to even; NaN stays."""
    size = np.maximum(np.abs(x), constant(2.0**kind.least, x))
    exponent = np.floor(np.log2(np.where(np.less(size, constant(np.inf, x)), size, constant(1, x))))
    step = np.power(constant(2, x), exponent - constant(kind.bits - 1, x))
    found = np.round(x / step) * step
    low, high = constant(-kind.largest, x), constant(kind.largest, x)
    if kind.beyond == kind.largest:  # a type without NaN
        found = np.where(np.equal(x, x), found, constant(0, x))
    if saturate:
        return np.minimum(np.maximum(found, low), high)
    beyond = np.sign(x) * constant(kind.beyond, x)
    return np.where(np.less_equal(np.abs(found), high), found, np.where(np.equal(x, x), beyond, x))


@imports("Cast", "CastLike")
def casting(call: OnnxCall) -> Any:
    """Import a cast; sizes that are not known stay integers of 64 bits."""
    call.made = call.elements(1) if call.op == "CastLike" else call.get("to")
    value = call.size(0)
    if are_sizes(value) and dtype_of(call.made).kind == "i":
        return value
    return _converted(call, call[0], type_name(call.made))


def _converted(call: OnnxCall, x: Any, name: str) -> Any:
    """Return x as numbers of a type of ONNX."""
    dtype = dtype_of(call.made)
    if name in NARROW and type_name(call.elements(0)) != name:
        return rounded(cast(x, np.float32), NARROW[name], saturate=bool(call.get("saturate", 1)))
    if name in BOUNDS:
        low, high = BOUNDS[name]
        whole = np.mod(cast(x, np.int32) - np.asarray(low, np.int32), np.asarray(high - low + 1, np.int32))
        return cast(whole + np.asarray(low, np.int32), dtype)
    return cast(x, dtype)


@imports("QuantizeLinear")
def quantize(call: OnnxCall) -> Any:
    """Import x / scale + zero_point, rounded half to even and cut to the type."""
    x = call[0]
    call.made = call.get("output_dtype") or _type_of_zero(call)
    name = type_name(call.made)
    scale, zero = (wide(call, place, x) if call.has(place) else None for place in (1, 2))
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    z = cast(x, dtype) / cast(scale, dtype)
    if name in NARROW:
        return rounded(z, NARROW[name], saturate=bool(call.get("saturate", 1)))
    return within(np.round(z) + (constant(0, z) if zero is None else cast(zero, dtype)), name)


def _type_of_zero(call: OnnxCall) -> int:
    """Return ONNX's number of the type of the zero point, that of uint8 where there is none."""
    return call.elements(2) if call.has(2) else 2


def within(z: Any, name: str) -> Any:
    """Return numbers as integers of a type, those beyond it as its ends."""
    dtype = dtype_of_name(name)
    low, high = BOUNDS[name] if name in SUBBYTE else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return cast(np.minimum(np.maximum(z, constant(low, z)), constant(high, z)), dtype)


def dtype_of_name(name: str) -> np.dtype[Any]:
    """Return our dtype for an ONNX type by its name."""
    from graphengine.format.onnx.protos import DTYPES

    return np.dtype(DTYPES[name])


def wide(call: OnnxCall, place: int, x: Any) -> Any:
    """Return scales or zero points so that they broadcast against x: one, one for a place on an axis, or by blocks."""
    value, block = call[place], call.get("block_size", 0)
    if value.ndim == 0 or call.shape(place) == (1,):
        return np.reshape(value, ())
    axis = call.axis(1)
    if block:
        size = call.static(0, [axis])[0]
        bounded([size, value.size])
        return np.take(value, np.arange(size) // block, axis=axis)
    return np.reshape(value, (-1, *[1] * (x.ndim - axis - 1)))


@imports("DequantizeLinear")
def dequantize(call: OnnxCall) -> Any:
    """Import (x - zero_point) * scale."""
    x, scale = call[0], call[1]
    number = call.get("output_dtype")
    dtype = dtype_of(number) if number else scale.dtype
    difference = cast(x, dtype)
    if call.has(2):
        difference = difference - cast(wide(call, 2, x), dtype)
    return difference * cast(wide(call, 1, x), dtype)


@imports("MatMulInteger", "ConvInteger")
def integer_product(call: OnnxCall) -> Any:
    """Import products of integers less their zero points."""
    x, y = (_shifted(call, place, place + 2) for place in (0, 1))
    z = op("matmul")(x, y) if call.op == "MatMulInteger" else convolved(call, x, y, None)
    return cast(z, np.int32)


def _shifted(call: OnnxCall, place: int, zero: int) -> Any:
    """Return integers less their zero point, in double precision."""
    x = cast(call[place], np.float64)
    if not call.has(zero):
        return x
    offset = cast(call[zero], np.float64)
    is_single = offset.ndim != 1 or call.shape(zero) == (1,)
    return x - (offset if is_single else _along_rows(call, offset, x.ndim, is_first=place == 0))


def _along_rows(call: OnnxCall, offset: Any, ndim: int, *, is_first: bool) -> Any:
    """Return zero points along the axis that they belong to: that of filters, rows, or columns."""
    if call.op == "ConvInteger":
        return np.reshape(offset, (-1, *[1] * (ndim - 1)))
    return np.expand_dims(offset, -1) if is_first and ndim > 1 else offset


def convolved(call: OnnxCall, x: Any, weight: Any, bias: Any) -> Any:
    """Return the convolution of two axes with the attributes of a node."""
    from graphengine.format.onnx.import_layers import margined
    from graphengine.format.onnx.import_windows import window

    if weight.ndim != 4:
        raise Unimportable("quantized convolutions have two axes")
    fields = window(call, tuple(weight.shape[2:]))
    x = margined(x, fields)
    return op("conv2d", groups=call.get("group", 1), **fields)(x, weight, *([] if bias is None else [bias]))


@imports("QLinearMatMul")
def quantized_matmul(call: OnnxCall) -> Any:
    """Import a product of quantized matrices."""
    x, y = (_meant(call, place, by_row=place == 0) for place in (0, 3))
    return _requantized(call, op("matmul")(x, y), 6)


def _meant(call: OnnxCall, place: int, *, by_row: bool = False) -> Any:
    """Return the numbers that quantized ones mean, in double precision."""
    x, scale, zero = (cast(call[each], np.float64) for each in range(place, place + 3))
    if scale.ndim and by_row and call.shape(place + 1) != (1,):
        scale, zero = np.expand_dims(scale, -1), np.expand_dims(zero, -1)
    return (x - zero) * scale


def _requantized(call: OnnxCall, z: Any, place: int) -> Any:
    scale, zero = (cast(call[each], np.float64) for each in (place, place + 1))
    return within(np.round(z / scale) + zero, type_name(call.elements(place + 1)))


@imports("QLinearConv")
def quantized_conv(call: OnnxCall) -> Any:
    """Import a convolution of quantized images; the bias has the scale of x times that of the weight."""
    x, weight = _meant(call, 0), cast(call[3], np.float64)
    scale, zero = (np.reshape(cast(call[place], np.float64), (-1, 1, 1, 1)) for place in (4, 5))
    weight = (weight - zero) * scale
    bias = None
    if call.has(8):
        bias = cast(call[8], np.float64) * np.reshape(scale, (-1,)) * cast(call[1], np.float64)
    return _requantized(call, convolved(call, x, weight, bias), 6)
