"""The values that a model begins with: those of its file, of the caller, or of the initializers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphengine.errors import DataError, Problem, make_pointer
from graphengine.format.documents import ExternalValue
from graphengine.format.initializers import FromDataInitializer, initial_value
from graphengine.ir.declarations import Parameter, State
from graphengine.ir.graph import Graph
from graphengine.limits import Limits
from graphengine.ops.numbers import ElementError, InexactError

if TYPE_CHECKING:
    from graphengine.format.tensors import TensorFiles


def initialize(
    values: dict[str, Any],
    graph: Graph,
    given: Mapping[str, Any],
    folder: Path | None,
    limits: Limits,
    *,
    too_large: bool,
) -> Iterator[Problem]:
    """Enter the initial values of a graph, or those `given`, and yield the errors in them.

    Of a graph that is too large only the values in the file are looked at.
    """
    files = cache(partial(_tensor_files, folder, limits.array_bytes))
    for section, sources in (("parameters", graph.parameters), ("state", graph.state)):
        for name, source in sources.items():
            if name in given:
                source = replace(source, value=np.asarray(given[name]))
            if not _is_left_out(source, too_large=too_large):
                yield from _enter(values, section, name, source, files)


def _tensor_files(folder: Path | None, most: int) -> TensorFiles:
    from graphengine.format.tensors import TensorFiles

    return TensorFiles(folder, most)


def _enter(
    values: dict[str, Any], section: str, name: str, source: Parameter | State, files: Callable[[], TensorFiles]
) -> Iterator[Problem]:
    """Enter the initial value of a parameter or state, and yield the errors in it."""
    try:
        if isinstance(source.value, ExternalValue):
            source = replace(source, value=files().array(source.value))
        values[name] = initial_value(name, source)[()]
    except ValueError as error:
        yield _unfit(section, name, source, error)
    except DataError as error:
        yield replace(error.problems[0], pointer=make_pointer((section, name, "value")))
    else:
        yield from _out_of_bounds(name, source, values[name])


def _is_left_out(source: Parameter | State, *, too_large: bool) -> bool:
    """Whether a value has no numbers yet, or so many that they are not made."""
    if source.value is None:
        return too_large or isinstance(source.initializer, FromDataInitializer)
    return too_large and isinstance(source.value, ExternalValue)


def _out_of_bounds(name: str, source: Parameter | State, value: Any) -> Iterator[Problem]:
    wrong = source.outside(value) if isinstance(source, Parameter) and source.bounds else None
    if wrong:
        what = "initializer" if source.value is None else "value"
        yield Problem("GE112", f"parameter '{name}': {wrong}", None, make_pointer(("parameters", name, what)))


def _unfit(section: str, name: str, source: Parameter | State, error: ValueError) -> Problem:
    """The problem of a value that is not of the declared type, or of an initializer that cannot give one."""
    code = "GE125" if isinstance(error, InexactError) else "GE302"
    inside = error.path if isinstance(error, ElementError) else ()
    where = make_pointer((section, name, _key_of(source), *inside))
    return Problem(code, f"{section.removesuffix('s')} '{name}': {error}", None, where)


def _key_of(source: Parameter | State) -> str:
    """The key of a declaration that is wrong if its initial value is."""
    if any(isinstance(size, str) for size in source.type.shape):
        return "shape"
    return "initializer" if source.value is None else "value"
