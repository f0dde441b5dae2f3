"""Import of resizing to sizes that are known: along each axis a product with a constant matrix, or chosen places."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from graphengine.format.onnx.onnx_calls import OnnxCall, Unimportable, bounded, constant, imports, op


class ResizedAxis(NamedTuple):
    """How one axis is resized: its sizes, the scale, the part of it that is kept, and the attributes of the node."""

    before: int
    after: int
    scale: float
    start: float
    stop: float
    transform: str
    call: OnnxCall


TRANSFORMS: dict[str, Callable[[np.ndarray[Any, Any], ResizedAxis], Any]] = {
    "half_pixel": lambda x, plan: (x + 0.5) / plan.scale - 0.5,
    "pytorch_half_pixel": lambda x, plan: (x + 0.5) / plan.scale - 0.5 if plan.after > 1 else x * 0.0,
    "align_corners": lambda x, plan: _aligned(x, plan),
    "asymmetric": lambda x, plan: x / plan.scale,
    "half_pixel_symmetric": lambda x, plan: _symmetric(x, plan),
    "tf_crop_and_resize": lambda x, plan: _cropped(x, plan),
}
"""Where places of the result lie in what is resized."""
NEAREST: dict[str, Callable[[Any], Any]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _aligned(x: np.ndarray[Any, Any], plan: ResizedAxis) -> np.ndarray[Any, Any]:
    """Return places whose first and last are those of x; ONNX's cases take the new size before it is rounded down."""
    length = plan.scale * plan.before
    return x * (plan.before - 1) / (length - 1) if plan.after > 1 else x * 0.0


def _symmetric(x: np.ndarray[Any, Any], plan: ResizedAxis) -> np.ndarray[Any, Any]:
    center = plan.before / 2
    offset = center * (1 - plan.after / (plan.scale * plan.before))
    return offset + (x + 0.5) / plan.scale - 0.5


def _cropped(x: np.ndarray[Any, Any], plan: ResizedAxis) -> np.ndarray[Any, Any]:
    if plan.after == 1:
        return x * 0.0 + 0.5 * (plan.start + plan.stop) * (plan.before - 1)
    return plan.start * (plan.before - 1) + x * (plan.stop - plan.start) * (plan.before - 1) / (plan.after - 1)


@imports("Resize", "Upsample")
def resize(call: OnnxCall) -> Any:
    """Import resizing: nearest, linear or cubic; before opset 11 from the first place on."""
    plans, x = _plans(call), call[0]
    mode = call.text("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear", "cubic"):
        raise Unimportable(f"there is no mode '{mode}'")
    outside: Any = None
    for axis, plan in plans.items():
        bounded([plan.after])
        places = TRANSFORMS[plan.transform](np.arange(plan.after, dtype=np.float64), plan)
        if plan.transform == "tf_crop_and_resize":
            outside = _beyond(places, plan, axis, call.rank(), outside)
        x = _along(x, axis, places, plan, mode)
    return x if outside is None else np.where(outside, constant(call.get("extrapolation_value", 0.0), x), x)


def _beyond(places: np.ndarray[Any, Any], plan: ResizedAxis, axis: int, rank: int, others: Any) -> Any:
    wrong = (places < 0) | (places > plan.before - 1)
    shape = [1] * rank
    shape[axis] = plan.after
    wide = wrong.reshape(shape)
    return wide if others is None else wide | others


def _along(x: Any, axis: int, places: np.ndarray[Any, Any], plan: ResizedAxis, mode: str) -> Any:
    if mode == "nearest":
        return _nearest(x, axis, places, plan)
    matrix = weights(places, plan, cubic=mode == "cubic")
    if plan.before == plan.after and np.array_equal(matrix, np.eye(plan.before)):
        return x
    order = list(range(x.ndim))
    order[axis], order[-1] = order[-1], order[axis]
    z = op("matmul")(np.transpose(x, tuple(order)), matrix.T.astype(x.dtype))
    return np.transpose(z, tuple(order))


def _nearest(x: Any, axis: int, places: np.ndarray[Any, Any], plan: ResizedAxis) -> Any:
    rule = plan.call.text("nearest_mode", "round_prefer_floor" if plan.call.version >= 11 else "floor")
    chosen = np.clip(NEAREST[rule](places), 0, plan.before - 1).astype(np.int64)
    return x if np.array_equal(chosen, np.arange(plan.before)) else np.take(x, chosen, axis=axis)


def weights(places: np.ndarray[Any, Any], plan: ResizedAxis, *, cubic: bool) -> np.ndarray[Any, Any]:
    """Return the matrix (after, before) of interpolation at places; beyond the ends lie copies of the ends."""
    call = plan.call
    squeeze = min(plan.scale, 1.0) if call.get("antialias", 0) else 1.0
    reach = (2 if cubic else 1) / squeeze
    bounded([plan.after, max(plan.before, math.ceil(2 * reach))])
    first = np.floor(places).astype(np.int64)
    offsets = np.arange(math.floor(-reach) + 1, math.ceil(reach) + 1)
    near = first[:, None] + offsets
    distances = np.abs(near - places[:, None]) * squeeze
    parts = _cubic(distances, call.get("cubic_coeff_a", -0.75)) if cubic else np.clip(1 - distances, 0, 1)
    if call.get("exclude_outside", 0):
        parts = np.where((near < 0) | (near >= plan.before), 0.0, parts)
    parts = parts / parts.sum(axis=1, keepdims=True)
    matrix = np.zeros((plan.after, plan.before))
    rows = np.broadcast_to(np.arange(plan.after)[:, None], near.shape)
    np.add.at(matrix, (rows, np.clip(near, 0, plan.before - 1)), parts)
    return matrix


def _cubic(x: np.ndarray[Any, Any], a: float) -> np.ndarray[Any, Any]:
    """Return the weights of cubic convolution. Keys, 1981."""
    inner = ((a + 2) * x - (a + 3)) * x**2 + 1
    outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0.0))


def _plans(call: OnnxCall) -> dict[int, ResizedAxis]:
    """Return the axes that are resized."""
    axes = _axes(call)
    scales, after = _targets(call, axes)
    transform = _transform(call)
    crops = transform == "tf_crop_and_resize"
    roi = call.known(1, "roi").tolist() if crops else [0.0] * len(axes) + [1.0] * len(axes)
    if len(axes) < call.rank():
        call.static(0, axes)  # which must be known, all of them
    plans = {}
    for number in range(len(axes)) if crops else _resized(call, axes, scales, after):
        (size,) = call.static(0, [axes[number]])
        target = after[number] if after else math.floor(size * scales[number])
        ends = roi[number], roi[number + len(axes)]
        plans[axes[number]] = ResizedAxis(size, target, scales[number], *ends, transform, call)
    return plans


def _axes(call: OnnxCall) -> list[int]:
    """Return the axes that scales or sizes are given for."""
    return [axis % call.rank() for axis in call.get("axes") or range(call.rank())]


def _transform(call: OnnxCall) -> str:
    default = "half_pixel" if call.version >= 11 else "asymmetric"
    transform = call.text("coordinate_transformation_mode", default)
    if transform not in TRANSFORMS:
        raise Unimportable(f"there is no coordinate_transformation_mode '{transform}'")
    return transform


def _resized(call: OnnxCall, axes: list[int], scales: list[float], after: list[int] | None) -> list[int]:
    """Return which of the axes do not keep their size."""
    before = [call.shape()[axis] for axis in axes]
    along = enumerate(zip(scales, after or before, before, strict=True))
    return [number for number, (scale, new, old) in along if scale != 1 or new != old]


def _targets(call: OnnxCall, axes: list[int]) -> tuple[list[float], list[int] | None]:
    """Return the scale of each axis, and its new size where that is given."""
    given = _given_scales(call)
    if given is not None:
        return given, None
    before, after = call.static(0, axes), list(map(int, call.known(3, "sizes")))
    scales = [new / old for new, old in zip(after, before, strict=True)]
    policy = call.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return scales, after
    common = (min if policy == "not_larger" else max)(scales)
    return [common] * len(axes), [math.floor(common * old + 0.5) for old in before]


def _given_scales(call: OnnxCall) -> list[float] | None:
    """Return the scales of the axes, None where new sizes are given."""
    if call.op == "Upsample" or call.version < 11:
        return list(map(float, call.get("scales") or call.known(1, "scales").tolist()))
    scales = call.known(2, "scales") if call.has(2) else np.empty(0)
    return list(map(float, scales)) if scales.size else None
