"""The values of a model: those it begins with, from its file, a caller or the initializers, and those it has now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphengine.errors import DataError, InputError, Problem, did_you_mean, make_pointer
from graphengine.format.documents import ExternalValue
from graphengine.format.initializers import FromDataInitializer, initial_value
from graphengine.ir.declarations import Parameter, State
from graphengine.ir.graph import Graph
from graphengine.limits import Limits
from graphengine.model.evaluator import read_only, without_value
from graphengine.ops.numbers import ElementError, InexactError, decode_array

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


class Parameters(MutableMapping[str, Any]):
    """The parameters of a model by name. Values come as read-only arrays; assigning checks shape and dtype.

    A parameter that is computed from the rows of a training is there once it has a value.
    """

    def __init__(self, graph: Graph, values: dict[str, Any], changed: Callable[[], None]) -> None:
        self._graph, self._values, self._changed = graph, values, changed

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        if self._known(name) not in self._values:
            raise without_value(name)
        return read_only(self._values[name])

    def __setitem__(self, name: str, value: Any) -> None:
        kind = self._graph.types[self._known(name)]
        try:
            array = decode_array(value, kind.array_dtype)
        except ValueError as error:
            raise InputError(f"parameter '{name}': {error}", code="GE404") from None
        if array.shape != kind.shape:
            raise InputError(f"parameter '{name}' has shape {kind.shape}, not {array.shape}")
        if wrong := self._graph.parameters[name].outside(array):
            raise InputError(f"parameter '{name}': {wrong}", code="GE112")
        self._values[name] = array[()]
        self._changed()

    def __delitem__(self, name: str) -> None:
        raise TypeError("parameters belong to the graph and cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return filter(self._values.__contains__, self._graph.parameters)

    def __contains__(self, name: object) -> bool:
        return name in self._graph.parameters and name in self._values

    def __len__(self) -> int:
        return len(self._graph.parameters.keys() & self._values.keys())

    def __repr__(self) -> str:
        return repr(dict(self))

    def __copy__(self) -> Parameters:
        return Parameters(self._graph, self._values, self._changed)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles and deep copies have the values, and no model that they are those of."""
        return Parameters, (self._graph, self._values, _unnoticed)

    def _known(self, name: str) -> str:
        if name not in self._graph.parameters:
            hint = did_you_mean(name, self._graph.parameters, "parameters")
            raise KeyError(f"no parameter '{name}'; {hint}")
        return name


def _unnoticed() -> None:
    """Nothing: parameters without a model change unnoticed."""
