"""Data that the command line names with `--data`: a file, or a source of the model, and which column is which input.

An input takes what `--columns` says, else what the model's own data says, else what has the name of the input.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphengine.cli.opening import check_inputs
from graphengine.cli.options import split_pairs
from graphengine.cli.values import json_value
from graphengine.errors import DataError, UsageError, make_pointer
from graphengine.mappings import picked, without

if TYPE_CHECKING:
    from graphengine.data.carried import Carried
    from graphengine.data.readers import Reader
    from graphengine.format.paths import DataFile
    from graphengine.ir.binding import Columns
    from graphengine.model.model import Model


def read_data(
    model: Model,
    data: str | None,
    pairs: Sequence[str] | None,
    given: Collection[str],
    needed: Sequence[str] | None,
    option: str = "--data",
) -> dict[str, Any]:
    """The arrays of `--data` by input: those `needed`, or all it has something for; without those `given` already.

    `option` is the name of the option where it is another one.

    Raises
    ------
    UsageError
        GE801 if it is neither a source of the model nor a file of a kind that is known, or `--columns` does not fit it.
    DataError
        If it cannot be read, or has nothing for an input that is needed.
    InputError
        GE402 if `--columns` names no input.
    """
    offer = offered_by(model, data, pairs, given, needed, option)
    return offer.read(offer.inputs)


def data_by_name(model: Model, data: str | None, workers: int | str | None) -> str | None:
    """The name of a data source for processes, which read it for themselves; None where the rows are handed over."""
    return data if workers and data in model.document.data else None


def named_after(data: str | None, arrays: dict[str, Any]) -> dict[str, Any]:
    """Arrays with the name of the file or data source of `--data`, which a saved model keeps; not its folder."""
    from graphengine.data.sources import NamedArrays

    return arrays if data is None else NamedArrays(arrays, Path(data).name)


@dataclass(frozen=True)
class Offer:
    """What `--data` has: the inputs it has something for, and a function that reads some of them."""

    inputs: Collection[str]
    read: Callable[[Collection[str]], dict[str, Any]]


def offered_by(
    model: Model,
    data: str | None,
    pairs: Sequence[str] | None,
    given: Collection[str],
    needed: Sequence[str] | None,
    option: str = "--data",
) -> Offer:
    """What `read_data` would read, which raises what may be wrong."""
    columns = column_names(pairs)
    check_inputs(model, columns)
    if data is None:
        if columns:
            raise UsageError("--columns needs --data FILE, which has the columns")
        return Offer((), lambda _: {})
    if data in model.document.data:
        arrays = without(model.load_data(data), given)
        return Offer(arrays, lambda names: picked(arrays, names))
    return _offered_by_file(model, Path(data), columns, given, needed, option)


def kept_columns(model: Model, data: str | None, keep: Sequence[str] | None) -> Iterator[Carried] | None:
    """The columns of each `--keep`, names with commas or `all`, of the file of `--data`; None if none are kept.

    Raises
    ------
    UsageError
        GE801 if there is no such file, or it has no columns.
    """
    if not keep:
        return None
    if data is None:
        raise UsageError("--keep needs --data FILE, which has the columns")
    from graphengine.data.stored import Memory

    names = None if "all" in keep else columns_to_keep(keep)
    reader, file = _file_of_columns(model, data)
    return reader.carried_along(file, names, Memory(model.limits.data_bytes, model.limits.disk_bytes))


def _file_of_columns(model: Model, data: str) -> tuple[Reader, DataFile]:
    """The file of `--data`, or of the data source that it names, and what reads it."""
    from graphengine.data.readers import Reader, file_in

    source = model.document.data.get(data)
    if source is None:
        return _reader_of(model, Path(data)), Path(data)
    if not isinstance(source, Reader):
        raise UsageError(f"--keep needs a file of columns, and the data source '{data}' is not one")
    return source, file_in(model.path.parent if model.path else None, source.path)


def columns_to_keep(keep: Sequence[str] | None) -> list[str]:
    """Return the columns of each `--keep`."""
    return [name for text in keep or () for name in several("--keep", text)]


def several(option: str, text: str) -> list[str]:
    """Return names of columns: `a,b` or, where a name has a comma, `["a", "b"]`."""
    return [str(column) for column in json_value(option, text)] if text.startswith("[") else text.split(",")


def column_names(pairs: Sequence[str] | None) -> dict[str, str | list[str]]:
    """Return columns by input: one, or several as `x=a,b` or, where a name has a comma, as `x=["a", "b"]`."""
    names: dict[str, str | list[str]] = {}
    for name, text in split_pairs("--columns", pairs or ()):
        names[name] = several("--columns", text) if text.startswith("[") or "," in text else text
    return names


def _offered_by_file(
    model: Model,
    path: Path,
    columns: Columns,
    given: Collection[str],
    needed: Sequence[str] | None,
    option: str,
) -> Offer:
    from graphengine.data.readers import declared_columns
    from graphengine.ir.binding import listed

    reader = _reader_of(model, path, option)
    _require_plain(path, option)
    key, header = reader.named_by, _names_in(reader, path)
    declared = listed(declared_columns(model.document, key), lambda: header, model.graph.inputs)
    meant = _wanted(model, header, columns, declared, needed)
    wanted = without(meant, given)
    if key != "columns" and list in map(type, wanted.values()):
        raise UsageError(f"--columns: an input takes one of the {key} of {path}, not several")
    return Offer(wanted, lambda names: _read_file(model, path, reader, picked(wanted, names)))


def _require_plain(path: Path, option: str) -> None:
    if os.path.exists(path) and not path.is_file():  # noqa: PTH110 - of names that are too long `Path` makes an error
        raise DataError(f"{option} {path} is not a plain file, which is read more than once", code="GE504")


def _read_file(model: Model, path: Path, reader: Reader, wanted: Columns) -> dict[str, Any]:
    from graphengine.data.stored import Memory
    from graphengine.ir.cells import as_encoded

    if not wanted:
        return {}
    memory = Memory(model.limits.data_bytes, model.limits.disk_bytes)
    with _placed(model, reader):
        arrays = reader.model_copy(update={reader.named_by: wanted}).read_file(path, model.graph, memory)
    return as_encoded(arrays, model.graph.inputs)


@contextmanager
def _placed(model: Model, reader: Reader) -> Iterator[None]:
    """Report with its place in the model file what is to be changed in a data source, which reads the caller's file."""
    try:
        yield
    except DataError as error:
        names = [name for name, source in model.document.data.items() if source is reader]
        if not names or not _is_about_source(error):
            raise
        raise error.declared_at(**model.place(make_pointer(("data", names[0])))) from None


def _is_about_source(error: DataError) -> bool:
    from graphengine.data.csv_dialect import IN_SOURCE

    return any(IN_SOURCE in (problem.hint or "") for problem in error.problems)


def _reader_of(model: Model, path: Path, option: str = "--data") -> Reader:
    """What reads a file of the caller."""
    from graphengine.data.readers import reader_of, readers_by_suffix

    reader = reader_of(path, model.document)
    if reader is None:
        sources = f"neither a data source of the model ({', '.join(model.document.data) or 'it has none'}) nor a file"
        raise UsageError(f"{option} {path} is {sources} that ends in {', '.join(readers_by_suffix())}")
    return reader


def _wanted(
    model: Model, names: Collection[str], columns: Columns, declared: Columns, needed: Sequence[str] | None
) -> Columns:
    """What each needed input takes; of all inputs, those the file has something for, or all if it has for none."""
    from graphengine.ir.binding import meant_by

    found = {name: columns.get(name) or meant_by(name, declared, names) for name in model.graph.inputs}
    if needed is not None:
        return picked(found, needed)
    return _in_file(found, names, columns) or found


def _in_file(found: Columns, names: Collection[str], columns: Columns) -> Columns:
    """What inputs take that a caller names or the file has."""
    from graphengine.ir.binding import is_in

    return {name: what for name, what in found.items() if name in columns or is_in(what, names)}


def _names_in(reader: Reader, path: Path) -> list[str]:
    """The names of what is in a file; none where it cannot be read, because reading the rest reports why."""
    with suppress(Exception):
        return reader.names_in(path)
    return []


def needed_to_train(model: Model) -> list[str] | None:
    """The inputs that a training of the model reads, or splits its data by; None if it declares none."""
    from graphengine.training.splitting import labels_of

    section, graph = model.document.training, model.graph
    if section is None:
        return None
    read = map(graph.value_name, (section.loss, *section.metrics.values()))
    return model.executor.inputs_of([*read, *graph.updates.values(), *labels_of(section.validation)])
