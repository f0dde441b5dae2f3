"""The names in the text of a plan, explained: slots, functions and buffers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from graphengine.backends.numpy.source import PlanText
from graphengine.backends.protocol import CodeListing
from graphengine.ops.shapes import ArrayType


def listing_of(code: str, text: PlanText, outputs: Mapping[str, str]) -> CodeListing:
    """Return the code of a plan with the meaning of each name in it."""
    used = set(re.findall(r"\b[sfb]\d+\b", code))
    names = {name: meaning for name, meaning in _names(text, outputs) if name in used}
    known = _known(text)
    return CodeListing(code, names, {name: known[name] for name in names if name in known})


def _known(text: PlanText) -> dict[str, Any]:
    """The constants of a plan by the names of their slots, without literals."""
    slots = [slot for name, slot in text.slots.items() if isinstance(name, str)]
    return {f"s{slot}": text.fixed[slot] for slot in slots if slot in text.fixed}


def _names(text: PlanText, outputs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from _slot_names(text, outputs)
    for index, instruction in enumerate(text.instructions):
        yield f"f{index}", f"{_function_name(instruction.function)}, {instruction.kind}"
    for index, (shape, dtype) in enumerate(text.buffers.kinds):
        yield f"b{index}", f"buffer {ArrayType(shape, dtype)}"


def _slot_names(text: PlanText, outputs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    results: dict[str, list[str]] = {}
    for output, value in outputs.items():
        results.setdefault(value, []).append(output)
    for value, slot in text.slots.items():
        name = value if isinstance(value, str) else str(value[1])
        yield f"s{slot}", name + (f" (output {', '.join(results[name])})" if name in results else "")


def _function_name(function: Any) -> str:
    """The name of what an instruction calls: NumPy's, a node class, or the helper that calls it."""
    if isinstance(function, np.ufunc):
        return f"numpy.{function.__name__}"
    owner = getattr(function, "__self__", None)
    if owner is not None:
        return f"{type(owner).__name__}.{function.__name__}"
    return str(getattr(function, "__qualname__", type(function).__name__)).partition(".")[0].strip("_")
