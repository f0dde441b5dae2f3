"""Import of products, convolutions, pooling and normalization."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from graphengine.format.onnx.import_shapes import padded
from graphengine.format.onnx.import_windows import pads_of, spans_of, steps_of, window
from graphengine.format.onnx.onnx_calls import MICROSOFT, OnnxCall, Unimportable, bounded, cast, constant, imports, op
from graphengine.ops.shapes import ArrayType, are_integers


@imports("MatMul")
@imports("FusedMatMul", domain=MICROSOFT)
def matmul(call: OnnxCall) -> Any:
    """Import the product of matrices; onnxruntime's may transpose and scale."""
    x, y = call[0], call[1]
    return _scaled(op("matmul")(_turned(call, x, "transA"), _turned(call, y, "transB")), call.get("alpha", 1.0))


def _turned(call: OnnxCall, x: Any, name: str) -> Any:
    """Return matrices, transposed if an attribute says so."""
    return np.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)) if call.get(name, 0) else x


def _scaled(x: Any, factor: float) -> Any:
    return x if factor == 1 else x * constant(factor, x)


@imports("Gemm")
def gemm(call: OnnxCall) -> Any:
    """Import alpha * A @ B + beta * C."""
    x, y, *added = call.all
    x = np.transpose(x) if call.get("transA", 0) else x
    y = np.transpose(y) if call.get("transB", 0) else y
    z = _scaled(op("matmul")(x, y), call.get("alpha", 1.0))
    return z + _scaled(added[0], call.get("beta", 1.0)) if added else z


@imports("Einsum")
def einsum(call: OnnxCall) -> Any:
    """Import a product in Einstein's notation."""
    values = [call.draft.as_symbol(each) for each in call.all]
    return op("einsum", equation=call.text("equation", "").replace(" ", ""))(*values)


@imports("Det")
def det(call: OnnxCall) -> Any:
    """Import the determinant."""
    return op("det")(call[0])


@imports("Conv")
def conv(call: OnnxCall) -> Any:
    """Import a convolution of any number of axes."""
    weight = call[1]
    kernel = call.static(1)[2:]
    fields, groups = window(call, kernel), call.get("group", 1)
    x = margined(call[0], fields)
    if len(kernel) in (1, 2):
        return op(f"conv{len(kernel)}d", groups=groups, **fields)(x, weight, *([call[2]] if call.has(2) else []))
    return convolved(call, x, weight, kernel, fields, groups)


def margined(x: Any, fields: dict[str, Any]) -> Any:
    """Return x cut where padding is negative, which is then 0."""
    from graphengine.format.onnx.import_shapes import cropped

    pairs = fields["padding"]
    if pairs == "same":
        return x
    fields["padding"] = tuple((max(before, 0), max(after, 0)) for before, after in pairs)
    return cropped(x, [(0, 0), (0, 0), *pairs])


def convolved(call: OnnxCall, x: Any, weight: Any, kernel: tuple[int, ...], fields: dict[str, Any], groups: int) -> Any:
    """Return the product of filters and patches, with the bias."""
    from graphengine.ops.families.patches import Unfold, patch_counts

    unfold = op("unfold", kernel_size=kernel, **fields)
    out, inside = call.static(1)[0], math.prod(call.static(1)[1:])
    columns = unfold(x)
    columns = np.reshape(columns, (x.shape[0], groups, inside, columns.shape[2]))
    z = op("matmul")(np.reshape(weight, (groups, out // groups, inside)), columns)
    counts: Any = patch_counts(Unfold(kernel_size=kernel, **fields), kernel, x)  # type: ignore[no-untyped-call]
    z = np.reshape(z, (x.shape[0], out, *counts))
    return z + np.reshape(call[2], (-1, *[1] * len(kernel))) if call.has(2) else z


@imports("ConvTranspose")
def conv_transpose(call: OnnxCall) -> Any:
    """Import a transposed convolution: of images as an op, else as the fold of a product."""
    x, weight = call[0], call[1]
    axes = call.rank() - 2
    groups = call.get("group", 1)
    strides, steps = steps_of(call, axes)
    extras = call.repeated("output_padding", axes, 0)
    pads = _plain_pads(call, axes)
    if axes == 2 and pads is not None and all(map(operator.lt, extras, strides)):
        fields = {"stride": strides, "padding": pads, "output_padding": extras, "dilation": steps, "groups": groups}
        return op("conv_transpose2d", **fields)(x, weight, *([call[2]] if call.has(2) else []))
    z = _margins(*_scattered(call, strides, steps, extras, groups))
    return z + np.reshape(call[2], (-1, *[1] * axes)) if call.has(2) else z


def _scattered(
    call: OnnxCall, strides: tuple[int, ...], steps: tuple[int, ...], extras: tuple[int, ...], groups: int
) -> tuple[Any, list[tuple[int, int]]]:
    """Return the sums of the products where they lie, and what is to be added around them or, below 0, cut off."""
    x, weight, kernel = call[0], call[1], call.static(1)[2:]
    sizes, spans = call.static(0, range(2, len(kernel) + 2)), spans_of(kernel, steps)
    whole = tuple((size - 1) * stride + span for size, stride, span in zip(sizes, strides, spans, strict=True))
    full = [size + extra for size, extra in zip(whole, extras, strict=True)]
    pairs = _transposed_pads(call, full, sizes, strides)
    channels = call.static(1)[1] * groups
    inside = call.static(1)[1] * math.prod(kernel)
    grouped = np.reshape(x, (-1, groups, call.static(1)[0] // groups, math.prod(sizes)))
    filters = np.reshape(weight, (groups, call.static(1)[0] // groups, inside))
    columns = op("matmul")(np.transpose(filters, (0, 2, 1)), grouped)
    columns = np.reshape(columns, (-1, channels * math.prod(kernel), math.prod(sizes)))
    z = op("fold", output_size=whole, kernel_size=kernel, stride=strides, dilation=steps)(columns)
    around = [(-before, extra - after) for (before, after), extra in zip(pairs, extras, strict=True)]
    return z, [(0, 0), (0, 0), *around]


def _margins(z: Any, margins: Any) -> Any:
    from graphengine.format.onnx.import_shapes import added_widths, cropped

    z, wide = cropped(z, margins), added_widths(margins)
    return padded(z, wide, 0.0) if any(map(any, wide)) else z


def _plain_pads(call: OnnxCall, axes: int) -> Any:
    """Return the padding if it is given, and not negative."""
    if call.get("output_shape") is not None or call.text("auto_pad", "NOTSET").startswith("SAME"):
        return None
    pads = pads_of(call, axes)
    return pads if min(map(min, pads)) >= 0 else None


def _transposed_pads(call: OnnxCall, full: list[int], sizes: Any, strides: Any) -> list[tuple[int, int]]:
    """Return what is cut off before and after each axis."""
    wanted = _wanted_sizes(call, sizes, strides)
    if wanted is None:
        return list(pads_of(call, len(full)))
    halves = [_halves(whole - size) for whole, size in zip(full, wanted[-len(full) :], strict=True)]
    return halves if call.text("auto_pad", "NOTSET") == "SAME_UPPER" else [half[::-1] for half in halves]


def _wanted_sizes(call: OnnxCall, sizes: Any, strides: Any) -> Any:
    """Return the sizes of the result where they are given and the padding follows from them."""
    wanted = call.get("output_shape")
    if wanted is None and call.text("auto_pad", "NOTSET").startswith("SAME_"):
        wanted = list(map(operator.mul, sizes, strides))
    return wanted


def _halves(width: int) -> tuple[int, int]:
    return width // 2, width - width // 2


@imports("MaxPool", "AveragePool", "LpPool")
def pool(call: OnnxCall) -> Any:
    """Import pooling of any number of axes as a reduction of patches."""
    kernel = tuple(call.get("kernel_shape"))
    fields = window(call, kernel)
    x = call[0]
    ceil = bool(call.get("ceil_mode", 0)) and call.text("auto_pad", "NOTSET") in ("NOTSET", "")
    if call.wants(1):
        values, indices = op("max_pool_with_indices", kernel_size=kernel, ceil_mode=ceil, **fields)(x)
        return values, _among_all(call, indices, x.shape[2:])
    if len(kernel) == 2 and _has_own_op(call, fields["dilation"]):
        return _of_images(call, x, kernel, fields, ceil=ceil)
    return _of_any_axes(call, x, {"kernel_size": kernel, **fields}, ceil=ceil)


def _has_own_op(call: OnnxCall, dilation: tuple[int, ...]) -> bool:
    """Whether this package has an op for the pooling of images."""
    return call.op == "MaxPool" or (call.op == "AveragePool" and set(dilation) == {1})


def _among_all(call: OnnxCall, indices: Any, sizes: tuple[int, ...]) -> Any:
    """Return places in an image as places in the whole array, where images may be written column by column."""
    within, rest = indices, indices
    if call.get("storage_order", 0):
        within = 0
        for axis in range(len(sizes)):
            left = math.prod(sizes[axis + 1 :])
            inner = np.mod(rest, left)
            along = cast(np.divide(rest - inner, left), np.int64)
            within, rest = within + along * math.prod(sizes[:axis]), inner
    ones = np.sum(np.zeros_like(indices), axis=tuple(range(2, indices.ndim)), keepdims=True) + 1
    images = np.reshape(np.cumsum(np.reshape(ones, (-1,)), axis=0) - 1, (-1, *ones.shape[1:]))
    return within + images * math.prod(sizes)


@imports("MaxUnpool")
def max_unpool(call: OnnxCall) -> Any:
    """Import the array that has the values at their places, and zeros elsewhere."""
    x, axes = call[0], call.rank() - 2
    sizes = call.static(0, range(2, axes + 2))
    whole = _unpooled_sizes(call, sizes)
    places = np.reshape(np.mod(call[1], math.prod(whole)), (-1, x.shape[1], math.prod(sizes)))
    values = np.reshape(x, (-1, x.shape[1], math.prod(sizes)))
    zeros = op("tile", reps=(1, 1, math.prod(whole)))(np.sum(np.zeros_like(values), axis=2, keepdims=True))
    z = np.reshape(op("scatter", axis=2)(zeros, places, values), (-1, x.shape[1], *whole))
    if not call.has(2):
        return z
    wanted = call.ints(2, "output_shape")[2:]
    return _margins(z, [(0, 0), (0, 0), *[(0, size - each) for size, each in zip(wanted, whole, strict=True)]])


def _unpooled_sizes(call: OnnxCall, sizes: tuple[int, ...]) -> list[int]:
    """Return the sizes before a pooling that is undone."""
    strides, pads = call.repeated("strides", len(sizes), 1), pads_of(call, len(sizes))
    along = zip(sizes, strides, call.get("kernel_shape"), pads, strict=True)
    whole = [(size - 1) * stride - sum(pair) + span for size, stride, span, pair in along]
    bounded(whole)
    return whole


def _of_images(call: OnnxCall, x: Any, kernel: tuple[int, ...], fields: dict[str, Any], *, ceil: bool) -> Any:
    """Return the pooling of images, whose sizes may be symbols."""
    given = {"kernel_size": kernel, "stride": fields["stride"], "padding": fields["padding"], "ceil_mode": ceil}
    if call.op == "MaxPool":
        return op("max_pool2d", dilation=fields["dilation"], **given)(x)
    return op("avg_pool2d", count_include_pad=bool(call.get("count_include_pad", 0)), **given)(x)


def _of_any_axes(call: OnnxCall, x: Any, fields: dict[str, Any], *, ceil: bool) -> Any:
    """Return the pooling of any number of axes, whose sizes may be symbols."""
    from graphengine.ops.families import pooling
    from graphengine.ops.families.patches import Unfold

    as_images: Callable[..., Any] = pooling.as_images
    completed: Callable[..., Any] = pooling.completed
    patches_of: Callable[..., Any] = pooling.patches_of
    unfold = Unfold(fill="-Infinity" if call.op == "MaxPool" else 0.0, **fields)
    margin = unfold.padding if call.get("count_include_pad", 0) else 0
    if ceil:
        unfold = unfold.model_copy(update={"padding": completed(unfold, x)})
    if isinstance(x, np.ndarray):
        _bound(unfold, x)
    return as_images(_pooled(call, x, patches_of(unfold, x), unfold, margin), unfold, x)


def _bound(unfold: Any, x: np.ndarray[Any, Any]) -> None:
    """Refuse patches of a constant that would be too large."""
    bounded(unfold.infer(ArrayType(x.shape, x.dtype)).shape)


def _pooled(call: OnnxCall, x: Any, patches: Any, unfold: Any, margin: Any) -> Any:
    if call.op == "MaxPool":
        return op("max", axis=2)(patches)
    if call.op == "LpPool":
        from graphengine.format.onnx.import_reductions import length

        return length(patches, call.get("p", 2), (2,))
    total = np.sum(patches, axis=2)
    return np.divide(total, _divisor(_weights(x, unfold, margin), total))


def _divisor(weights: Any, total: Any) -> Any:
    """Return the numbers of values as those that divide a total: one, where all are equal."""
    if isinstance(weights, np.ndarray) and np.all(weights == weights.reshape(-1)[0]):
        weights = weights.reshape(-1)[0]
    return constant(weights, total) if np.ndim(weights) == 0 else cast(weights, total.dtype)


def _weights(x: Any, unfold: Any, margin: Any) -> Any:
    """Return how many values go into each mean: a constant where sizes are known."""
    from graphengine.ops.families import pooling

    counted: Callable[..., Any] = pooling.counted
    sizes = x.shape[2:]
    if not are_integers(sizes):
        return counted(unfold, margin, x)
    ones = np.ones(bounded((1, 1, *sizes)))
    _bound_padded(sizes, unfold.padding)
    _bound_padded(sizes, margin)
    _bound(unfold, ones)
    return counted(unfold, margin, ones)


def _bound_padded(sizes: Any, pairs: Any) -> None:
    """Refuse a padded image that would be too large; "same" never makes one."""
    if isinstance(pairs, tuple):
        bounded([size + sum(pair) for size, pair in zip(sizes, pairs, strict=True)])


@imports("BatchNormalization")
def batch_norm(call: OnnxCall) -> Any:
    """Import normalization by running statistics, which stay."""
    if _is_training(call):
        raise Unimportable("it is in training mode")
    if call.get("spatial", 1) != 1:
        raise Unimportable("statistics for each place have no counterpart")
    x = call[0]
    scale, bias, mean, var = (cast(call[place], x.dtype) for place in range(1, 5))
    call.draft.freeze(call.raws[3], call.raws[4])
    values = map(call.draft.as_symbol, (x, scale, bias, mean, var))
    return op("batch_norm", epsilon=call.get("epsilon", 1e-5))(*values)[0]


def _is_training(call: OnnxCall) -> Any:
    return call.get("training_mode", 0) or (call.version < 7 and not call.get("is_test", 0))


@imports("InstanceNormalization")
def instance_norm(call: OnnxCall) -> Any:
    """Import normalization of each image."""
    x, scale, bias = call.all
    wide = (-1, *[1] * (call.rank() - 2))
    unit = op("layer_norm", axis=2, epsilon=call.get("epsilon", 1e-5))(x)
    return unit * np.reshape(scale, wide) + np.reshape(bias, wide)


@imports("GroupNormalization")
def group_norm(call: OnnxCall) -> Any:
    """Import normalization of groups of channels; before opset 21 with scale and bias for each group."""
    x, scale, bias = call.all
    shape, groups = call.static(0, range(1, call.rank())), call.get("num_groups")
    unit = op("layer_norm", axis=2, epsilon=call.get("epsilon", 1e-5))(
        np.reshape(x, (-1, groups, math.prod(shape) // groups))
    )
    wide = (-1, *[1] * (call.rank() - 2))
    if call.version < 21:
        unit = unit * np.reshape(scale, (-1, 1)) + np.reshape(bias, (-1, 1))
        return np.reshape(unit, (-1, *shape))
    return np.reshape(unit, (-1, *shape)) * np.reshape(scale, wide) + np.reshape(bias, wide)


@imports("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
@imports("SimplifiedLayerNormalization", domain=MICROSOFT)
def layer_norm(call: OnnxCall) -> Any:
    """Import normalization over the last axes."""
    if call.wants(1):
        return _with_moments(call)
    name = "layer_norm" if call.op == "LayerNormalization" else "rms_norm"
    x, axis = call[0], call.axis(-1)
    return op(name, axis=axis, epsilon=call.get("epsilon", 1e-5))(x, *[call[place] for place in range(1, len(call))])


def _with_moments(call: OnnxCall) -> tuple[Any, ...]:
    """Return the result with mean and inverse standard deviation."""
    x, axes = call[0], tuple(range(call.axis(-1), call.rank()))
    mean = np.mean(x, axis=axes, keepdims=True)
    rest = x - mean
    var = np.mean(np.square(rest), axis=axes, keepdims=True)
    inverse = np.divide(constant(1, x), np.sqrt(var + constant(call.get("epsilon", 1e-5), x)))
    z = rest * inverse * call[1]
    return (z + call[2] if call.has(2) else z), mean, inverse


@imports("LRN")
def lrn(call: OnnxCall) -> Any:
    """Import normalization over near channels: a sum along the channels of a window."""
    x, size = call[0], call.get("size")
    channels = call.static(0, [1])[0]
    before = min((size - 1) // 2, channels)  # farther ones are all outside
    after = min(size - 1 - (size - 1) // 2, channels)
    squares = padded(np.square(x), [(0, 0), (before, after), *[(0, 0)] * (call.rank() - 2)], 0.0)
    total: Any = None
    for start in range(before + after + 1):
        part = op("slice", start=start, stop=start + channels, axis=1)(squares)
        total = part if total is None else total + part
    base = constant(call.get("bias", 1.0), x) + total * constant(call.get("alpha", 1e-4) / size, x)
    return np.divide(x, np.power(base, constant(call.get("beta", 0.75), x)))


@imports("Col2Im")
def col2im(call: OnnxCall) -> Any:
    """Import the sum of patches."""
    sizes, kernel = (
        tuple(map(int, call.known(place, name))) for place, name in ((1, "image_shape"), (2, "block_shape"))
    )
    strides, steps = steps_of(call, len(kernel))
    fields = {"stride": strides, "dilation": steps, "padding": pads_of(call, len(kernel))}
    return op("fold", output_size=sizes, kernel_size=kernel, **fields)(call[0])
