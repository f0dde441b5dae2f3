"""Rules of single precision: convolution as Conv, for which the runtime has a kernel of that alone."""

from __future__ import annotations

from typing import Any

from graphengine.format.onnx.emitting import SINGLE, Applied, Emitter, Unexportable, exports
from graphengine.ops.families import patches


@exports("conv1d", "conv2d", table=SINGLE)
def conv(emit: Emitter, applied: Applied) -> str:
    """Write Conv."""
    dtype, kernel = emit.result_dtype(applied), applied.shape(1)[2:]
    given = [place for place, operand in enumerate(applied.node.inputs) if operand is not None]
    inputs = [emit.read(applied, place, dtype) for place in given]
    return emit(
        "Conv",
        *inputs,
        kernel_shape=list(kernel),
        strides=_by_axis(applied.stride, kernel),
        dilations=_by_axis(applied.dilation, kernel),
        group=applied.groups,
        **_padding(applied, kernel),
    )


def _padding(applied: Applied, kernel: tuple[int, ...]) -> dict[str, Any]:
    """Return the padding as attributes; "same" is one of ONNX, too, where it depends on sizes that are not known."""
    node, sizes = applied.node.node, applied.shape()[2:]
    open_axes = [isinstance(size, str) or size is None for size in sizes]
    if applied.padding == "same" and any(map(_depends, open_axes, _by_axis(applied.stride, kernel))):
        if {*_by_axis(applied.dilation, kernel)} != {1}:
            raise Unexportable("the padding 'same' with a stride and a dilation takes sizes that are known")
        return {"auto_pad": "SAME_UPPER"}
    pairs: Any = patches.padding_pairs(node, kernel, sizes)  # type: ignore[no-untyped-call]
    return {"pads": [*[before for before, _ in pairs], *[after for _, after in pairs]]}


def _depends(is_open: bool, stride: int) -> bool:
    """Whether how much is padded depends on a size that is not known."""
    return is_open and stride > 1


def _by_axis(value: Any, kernel: tuple[int, ...]) -> list[int]:
    axes: Any = patches.by_axis(value, kernel)  # type: ignore[no-untyped-call]
    return list(axes)
