"""How the result for all samples follows from the results for parts of them: one rule for each family of ops.

A metric or a loss of many samples is computed in batches, and a batch in parts. What an op gives then either belongs to
single samples, or is merged: sums are added, maxima compared. A node class says so by its attribute `merge`, a word
of `MERGES`, "rows" or "add", a tuple of them for several outputs, or a method `merge(self, axes, *types)`, which gets
for each input the axis along which its samples lie, None for one that is the same for all samples. Classes whose shapes
follow the rule of a family have its rule here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from graphengine.ops.inference import along_axis, elementwise, normalized_axes, reduction
from graphengine.ops.shapes import ArrayType

Axes: TypeAlias = tuple[int | None, ...]
Merge: TypeAlias = str | tuple[str | None, ...] | None

MERGES: Mapping[str, np.ufunc] = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "all": np.logical_and,
    "any": np.logical_or,
    "hypot": np.hypot,
}
"""How the results for two parts make the one for both."""
ADDED = ("sum", "hypot")
"""The words of results that grow with the number of parts, so that rounding errors add up."""
ROWS = "rows"
"""Each sample of a result comes from the same sample of the inputs, and from what is the same for all samples."""
ADD = "add"
"""The result is the first input, which is the same for all samples, plus a sum over the samples."""
WORDS = (ROWS, ADD, *MERGES)


def merge_of(node: Any, axes: Axes, types: tuple[ArrayType | None, ...]) -> tuple[str | None, ...]:
    """For each output of a node how it merges; None where nothing is known of it or it needs all samples at once."""
    rule = type(node).merge
    if callable(rule):
        found: Merge = node.merge(axes, *types)
    else:
        family = FAMILIES.get(type(node).infer)
        found = family(node, axes, *types) if family else rule
    return found if isinstance(found, tuple) else (found,) * len(node.outputs)


# ---------------------------------------------------------------- families


def _of_elements(node: Any, _axes: Axes, *_types: ArrayType | None) -> Merge:
    """Ops of single numbers keep samples apart."""
    return ROWS if type(node).merge is None else type(node).merge


def of_reduction(node: Any, axes: Axes, x: ArrayType) -> Merge:
    """A reduction keeps samples apart unless it goes over them; then it merges as its class says."""
    if axes[0] not in normalized_axes(node.axis, len(x.shape)):
        return ROWS
    rule = type(node).merge
    return None if callable(rule) else rule


def _of_line(node: Any, axes: Axes, x: ArrayType, *others: ArrayType | None) -> Merge:
    """What works along one axis keeps samples apart on all others."""
    (line,) = from_end(normalized_axes(node.axis, len(x.shape)), (x,))
    return ROWS if line not in from_end(axes, (x, *others)) else type(node).merge


FAMILIES: Mapping[Any, Callable[..., Merge]] = {
    elementwise: _of_elements,
    reduction: of_reduction,
    along_axis: _of_line,
}
"""By the rule for shapes."""


# ---------------------------------------------------------------- rules that several classes share


def of_stacks(_node: Any, axes: Axes, *types: ArrayType | None) -> Merge:
    """Ops of matrices, which lie on the last two axes, keep the matrices of a stack apart."""
    return ROWS if all(axis < -2 for axis in from_end(axes, types)) else None


def of_first_axis(_node: Any, axes: Axes, *_types: ArrayType | None) -> Merge:
    """Ops of images, (N, C, H, W), keep images apart; filters are the same for all."""
    return ROWS if axes[0] == 0 and set(axes[1:]) <= {None} else None


def from_end(axes: Axes, types: tuple[ArrayType | None, ...]) -> list[int]:
    """The axes of samples counted from the end, where broadcasting aligns them; of inputs without samples none."""
    pairs = zip(axes, types, strict=False)
    return [axis - len(kind.shape) for axis, kind in pairs if axis is not None and kind is not None]
