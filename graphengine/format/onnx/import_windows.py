"""Windows over the last axes of a value as ONNX states them: strides, dilations, padding."""

from __future__ import annotations

from typing import Any

from graphengine.format.onnx.onnx_calls import OnnxCall


def window(call: OnnxCall, kernel: tuple[int, ...]) -> dict[str, Any]:
    """Return stride, dilation and padding of a window over the last axes."""
    strides, steps = steps_of(call, len(kernel))
    return {"stride": strides, "dilation": steps, "padding": _padding(call, strides, spans_of(kernel, steps))}


def steps_of(call: OnnxCall, axes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the strides and the dilations along the axes."""
    return call.repeated("strides", axes, 1), call.repeated("dilations", axes, 1)


def pads_of(call: OnnxCall, axes: int) -> tuple[tuple[int, int], ...]:
    """Return the widths before and after each axis; no attribute, or VALID, is none."""
    if call.text("auto_pad", "NOTSET") == "VALID":
        return ((0, 0),) * axes
    pads = call.repeated("pads", 2 * axes, 0)
    return tuple(zip(pads[:axes], pads[axes:], strict=True))


def spans_of(kernel: tuple[int, ...], steps: tuple[int, ...]) -> list[int]:
    """Return how many values a window reaches over, along each axis."""
    return [step * (size - 1) + 1 for step, size in zip(steps, kernel, strict=True)]


def _padding(call: OnnxCall, strides: tuple[int, ...], spans: list[int]) -> Any:
    """Return the widths before and after each axis, "same" where these depend on sizes that are not known."""
    auto = call.text("auto_pad", "NOTSET")
    if auto in ("NOTSET", "", "VALID"):
        return pads_of(call, len(spans))
    lower, sizes = auto == "SAME_LOWER", call.shape(0)[2 : 2 + len(spans)]
    if any(map(_is_open, sizes, strides)):
        if not lower:
            return "same"
        call.static(0, range(2, 2 + len(spans)))
    return tuple(_same(lower, *each) for each in zip(sizes, strides, spans, strict=True))


def _is_open(size: Any, stride: int) -> bool:
    """Whether a size that is not known decides the padding: with a stride of 1 all sizes give the same."""
    return stride > 1 and not isinstance(size, int)


def _same(lower: bool, size: Any, stride: int, span: int) -> tuple[int, int]:
    """Return the padding with which there are size / stride windows, rounded up."""
    size = size if isinstance(size, int) else 1
    missing = max(0, (-(-size // stride) - 1) * stride + span - size)
    half = missing // 2
    return (missing - half, half) if lower else (half, missing - half)
