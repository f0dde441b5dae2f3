"""Rules of single precision: convolution as Conv, for which the runtime has a kernel of that alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphengine.format.onnx.emitting import SINGLE, Applied, Emitter, exports
from graphengine.format.onnx.patch_rules import padded, pairs_of, sizes_of
from graphengine.ops.families import patches


@exports("conv1d", "conv2d", table=SINGLE)
def conv(emit: Emitter, applied: Applied) -> str:
    """Write Conv."""
    x, *rest = _inputs(emit, applied)
    if not _same_of_any_size(applied):
        return emit("Conv", x, *rest, **_layout(applied), pads=_widths(applied))
    if {*_by_axis(applied.dilation, applied.shape(1)[2:])} == {1}:
        return emit("Conv", x, *rest, **_layout(applied), auto_pad="SAME_UPPER")
    pairs = pairs_of(emit, applied, applied.shape(1)[2:], sizes_of(emit, x, applied.shape()))
    return emit("Conv", padded(emit, x, pairs, 0, emit.result_dtype(applied)), *rest, **_layout(applied))


@exports("conv_transpose2d", table=SINGLE)
def conv_transpose(emit: Emitter, applied: Applied) -> str:
    """Write ConvTranspose."""
    extra = _by_axis(applied.output_padding, applied.shape(1)[2:])
    inputs = _inputs(emit, applied)
    return emit("ConvTranspose", *inputs, **_layout(applied), pads=_widths(applied), output_padding=extra)


def _inputs(emit: Emitter, applied: Applied) -> list[str]:
    dtype = emit.result_dtype(applied)
    given = [place for place, operand in enumerate(applied.node.inputs) if operand is not None]
    return [emit.read(applied, place, dtype) for place in given]


def _layout(applied: Applied) -> dict[str, Any]:
    """Return the attributes that say what the patches are, except for their padding."""
    kernel = applied.shape(1)[2:]
    return {
        "kernel_shape": list(kernel),
        "strides": _by_axis(applied.stride, kernel),
        "dilations": _by_axis(applied.dilation, kernel),
        "group": applied.groups,
    }


def _same_of_any_size(applied: Applied) -> bool:
    """Whether the padding "same" depends on sizes that are not known; it is an attribute of ONNX, too."""
    open_axes = [isinstance(size, str) or size is None for size in applied.shape()[2:]]
    return bool(applied.padding == "same" and any(map(_depends, open_axes, _by_axis(applied.stride, open_axes))))


def _widths(applied: Applied) -> list[int]:
    """Return the padding as ONNX has it: that before each axis, then that after each."""
    kernel, sizes = applied.shape(1)[2:], applied.shape()[2:]
    pairs: Any = patches.padding_pairs(applied.node.node, kernel, sizes)  # type: ignore[no-untyped-call]
    return [*[before for before, _ in pairs], *[after for _, after in pairs]]


def _depends(is_open: bool, stride: int) -> bool:
    """Whether how much is padded depends on a size that is not known."""
    return is_open and stride > 1


def _by_axis(value: Any, kernel: Sequence[Any]) -> list[int]:
    axes: Any = patches.by_axis(value, kernel)  # type: ignore[no-untyped-call]
    return list(axes)
