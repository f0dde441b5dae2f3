"""Arrays in NumPy's own files: archives (.npz), and single arrays (.npy), which may be larger than memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphengine.binding import as_input
from graphengine.errors import DataError, InputError, did_you_mean
from graphengine.format.paths import DataFile
from graphengine.graph import Graph
from graphengine.training.data.stored import IN_MEMORY_BYTES, Stored


def read_npz(path: DataFile, names: Mapping[str, str], graph: Graph) -> dict[str, Any]:
    """Arrays of an archive, by input; `names` maps inputs to the names in the archive.

    Raises
    ------
    DataError
        GE501 if the archive cannot be read, GE502 if it lacks an array, GE505 for numbers that do not fit their input.
    """
    with _told(path, "an .npz archive"), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        for name, array in names.items():
            if array not in archive:
                hint = did_you_mean(array, archive, "arrays")
                raise DataError(f"{path}: there is no array '{array}' for input '{name}'", code="GE502", hint=hint)
        return {name: as_input(name, archive[array], graph.types[name]) for name, array in names.items()}


def read_npy(path: DataFile, name: str, graph: Graph) -> np.ndarray[Any, Any] | Stored:
    """The array of a .npy file for an input: in memory if it is small, else left on disk.

    Raises
    ------
    DataError
        GE501 if the file cannot be read or is not as long as it says, GE505 for numbers that do not fit the input.
    """
    kind = graph.types[name]
    with _told(path, "an .npy file"), path.open("rb") as file:
        shape, fortran, dtype = _header(file)
        size = math.prod(shape) * dtype.itemsize
        if size <= IN_MEMORY_BYTES or fortran or not shape:
            file.seek(0)
            return np.asarray(as_input(name, np.load(file, allow_pickle=False), kind))
        if os.fstat(file.fileno()).st_size < file.tell() + size:
            raise DataError(f"{path}: the file ends before its array of shape {shape} does")
        return Stored(file, file.tell(), shape, dtype, name, kind)


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype


@contextmanager
def _told(path: DataFile, what: str) -> Iterator[None]:
    """Tell whatever goes wrong while NumPy reads a file as a DataError that names it."""
    try:
        yield
    except InputError as error:
        raise DataError(f"{path}: {error.problems[0].message}", code="GE505") from None
    except DataError:
        raise
    except Exception as error:  # zip, zlib, NumPy: a broken file raises all kinds of errors
        raise DataError(f"{path}: cannot be read as {what}: {error}") from error
