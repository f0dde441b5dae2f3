"""Arrays in NumPy's own files: single arrays (.npy), which are read where they lie, and archives of them (.npz)."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from graphengine.data.sources import faults_in, require_one
from graphengine.data.stored import Arrays, Block, Memory, Stored, StoredFile, blocks_of, spooled
from graphengine.errors import DataError
from graphengine.format.paths import DataFile
from graphengine.ir.binding import as_input
from graphengine.ir.declarations import Input
from graphengine.ir.graph import Graph
from graphengine.mappings import only, picked, without


class _Header(NamedTuple):
    """The header before the numbers of an array; they begin where it ends, at `offset`."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @property
    def nbytes(self) -> int:
        """The size of all numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def require_rows(self, path: DataFile, name: str) -> None:
        """Refuse an array that cannot be read row by row."""
        if self.fortran:
            message = f"the array for input '{name}' is larger than the memory limit, and in Fortran order"
            hint = "save np.ascontiguousarray(array), or raise the limit data_bytes"
            raise DataError(message, code="GE133", hint=hint, file=str(path))


def _header(file: IO[bytes]) -> _Header:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError:  # its text is about Python's syntax
        raise ValueError("the .npy header is missing") from None
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"it has the shape {shape} and the dtype {dtype}")
    return _Header(shape, dtype, fortran and len(shape) > 1, file.tell())


# ---------------------------------------------------------------- archives


def read_npz(path: DataFile, names: Mapping[str, str], graph: Graph, memory: Memory) -> Arrays:
    """Arrays of an archive, by input; `names` maps inputs to the names in the archive.

    Raises
    ------
    DataError
        GE133 if an array is large and in Fortran order, or if all together are larger than `memory` allows on disk,
        GE501 if the archive cannot be read, GE502 if it lacks an array, GE505 for numbers that do not fit their input.
    """
    with faults_in(path, "an .npz archive"), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        there = [member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")]
        for name, array in names.items():
            require_one(path, "array", array, name, there)
        in_rows = only(names, _read_in_rows(path, archive, names, memory))
        whole = {}
        for name, array in without(names, in_rows).items():
            with _member(archive, array) as member:
                whole[name] = as_input(name, np.lib.format.read_array(member, allow_pickle=False), graph.inputs[name])
        found = {**whole, **spooled(_rows(archive, in_rows, memory), graph, memory)}
        return picked(found, names)


def _read_in_rows(path: DataFile, archive: zipfile.ZipFile, names: Mapping[str, str], memory: Memory) -> list[str]:
    """The inputs whose arrays are read row by row, because all together are too large to be in memory."""
    headers = {name: _header_in(archive, array) for name, array in names.items()}
    size = sum(header.nbytes for header in headers.values())
    if size <= memory.whole:
        return []
    found = [name for name, header in headers.items() if header.shape]
    for name in found:
        memory.require_disk(size)
        headers[name].require_rows(path, name)
    return found


def _member(archive: zipfile.ZipFile, array: str) -> IO[bytes]:
    """The file of an array in an archive."""
    return archive.open(f"{array}.npy")


def _header_in(archive: zipfile.ZipFile, array: str) -> _Header:
    with _member(archive, array) as member:
        return _header(member)


def _rows(archive: zipfile.ZipFile, names: Mapping[str, str], memory: Memory) -> Iterator[Block]:
    """The rows of arrays in an archive, one array after the other."""
    for name, array in names.items():
        with _member(archive, array) as member:
            shape, dtype, *_ = header = _header(member)
            size = header.nbytes // max(shape[0], 1)
            at_once = max(1, memory.block // max(size, 1))
            for start in range(0, shape[0], at_once):
                count = min(at_once, shape[0] - start)
                yield {name: np.frombuffer(member.read(count * size), dtype).reshape(count, *shape[1:])}
            member.read(1)  # what comes at the end of a file is the check of its sum


# ---------------------------------------------------------------- single arrays


def read_npy(paths: Mapping[str, DataFile], graph: Graph, memory: Memory) -> Arrays:
    """The arrays of .npy files, by input: in memory if they are small together, else left where they are.

    Raises
    ------
    DataError
        GE133 if an array is large and in Fortran order, GE501 if a file cannot be read or is not as long as it says,
        GE505 for numbers that do not fit the input.
    """
    size = 0
    for path in paths.values():
        with faults_in(path, "an .npy file"), path.open("rb") as file:
            size += _header(file).nbytes
    return {name: _read_npy(path, name, graph, memory, whole=size <= memory.whole) for name, path in paths.items()}


def _read_npy(path: DataFile, name: str, graph: Graph, memory: Memory, *, whole: bool) -> Any:
    declared = graph.inputs[name]
    with faults_in(path, "an .npy file"), path.open("rb") as file:
        header = _header(file)
        if whole or not header.nbytes or not header.shape:
            file.seek(0)
            return as_input(name, np.load(file, allow_pickle=False), declared)
        header.require_rows(path, name)
        array = _stored(path, file, header, memory)
        if declared.categories:
            return spooled(({name: block} for block in blocks_of(array)), graph, memory)[name]
        return _in_declared_dtype(name, array, declared)


def _stored(path: DataFile, file: IO[bytes], header: _Header, memory: Memory) -> Stored:
    """The array of an .npy file, which stays there."""
    if os.fstat(file.fileno()).st_size < header.offset + header.nbytes:
        raise DataError(f"the file ends before its array of shape {header.shape} does", file=str(path))
    return Stored(StoredFile(file, str(path)), header.offset, header.shape, header.dtype, memory)


def _in_declared_dtype(name: str, array: Stored, declared: Input) -> Stored:
    """An array in the dtype of its input; each number must fit, before there is a training that meets one."""
    if array.dtype == declared.type.dtype:
        return array
    for block in blocks_of(array):
        as_input(name, block, declared)
    return array.astype(declared.type.array_dtype)
