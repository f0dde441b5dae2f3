"""The values that a model begins with: those of its file, of the caller, or of the initializers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from graphengine.errors import DataError, Problem, make_pointer
from graphengine.format.documents import ExternalValue
from graphengine.format.initializers import FromDataInitializer, initial_value
from graphengine.format.tensors import TensorFiles
from graphengine.ir.declarations import Parameter
from graphengine.ir.graph import Graph
from graphengine.limits import Limits
from graphengine.ops.numbers import ElementError, InexactError


def initialize(
    values: dict[str, Any],
    graph: Graph,
    given: Mapping[str, Any],
    folder: Path | None,
    limits: Limits,
    *,
    too_large: bool,
) -> Iterator[Problem]:
    """Enter the initial values of a graph, or those `given`, and yield what is wrong with them.

    Of a graph that is too large only the values in the file are looked at.
    """
    files: TensorFiles | None = None
    for section, sources in (("parameters", graph.parameters), ("state", graph.state)):
        for name, source in sources.items():
            if name in given:
                source = replace(source, value=np.asarray(given[name]))
            is_fitted_later = source.value is None and isinstance(source.initializer, FromDataInitializer)
            if is_fitted_later or (too_large and (source.value is None or isinstance(source.value, ExternalValue))):
                continue
            try:
                if isinstance(source.value, ExternalValue):
                    files = files or TensorFiles(folder, limits.array_bytes)
                    source = replace(source, value=files.array(source.value))
                values[name] = initial_value(name, source)[()]
                if isinstance(source, Parameter) and (wrong := source.outside(values[name])):
                    what = "initializer" if source.value is None else "value"
                    yield Problem("GE112", f"parameter '{name}': {wrong}", None, make_pointer((section, name, what)))
            except ValueError as error:
                symbolic = any(isinstance(size, str) for size in source.type.shape)
                what = "shape" if symbolic else "initializer" if source.value is None else "value"
                code = "GE125" if isinstance(error, InexactError) else "GE302"
                inside = error.path if isinstance(error, ElementError) else ()
                where = make_pointer((section, name, what, *inside))
                yield Problem(code, f"{section.removesuffix('s')} '{name}': {error}", None, where)
            except DataError as error:
                yield replace(error.problems[0], pointer=make_pointer((section, name, "value")))
