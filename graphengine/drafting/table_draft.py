"""From a CSV file to a model file: the draft for a table, with what was inferred and why."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from graphengine.data.stored import Memory
from graphengine.drafting.grids import in_order
from graphengine.drafting.parts import training_decisions
from graphengine.drafting.roles import Role, Task, find_task
from graphengine.drafting.survey import Survey, survey
from graphengine.drafting.table_model import PENALIZED, Family, family_for, table_model
from graphengine.drafting.typed_survey import KINDS, survey_of_types
from graphengine.errors import UsageError
from graphengine.format.paths import HOW_TO_WRITE, confined, is_plain
from graphengine.limits import DEFAULT
from graphengine.wording import shown

MEMORY = Memory(DEFAULT.data_bytes)
"""How much of a file is read at a time, unless the caller says so."""


@dataclass(frozen=True)
class TableDraft:
    """A model document for a table, and what it was inferred from."""

    source: str
    survey: Survey
    task: Task
    family: Family
    document: dict[str, Any]
    is_asked: bool
    """Whether the kind of model was requested."""

    @property
    def columns(self) -> list[Role]:
        """The roles of all columns in the order of the file."""
        return sorted([*self.task.roles, self.task.target], key=lambda role: role.place)

    def decisions(self) -> dict[str, str]:
        """Return what was decided for the model, and why, by part."""
        has_classes = self.task.has_classes
        why = "as requested" if self.is_asked else f"because the target has {'classes' if has_classes else 'numbers'}"
        loss = "cross-entropy" if has_classes else "mean squared error of the scaled target"
        return {
            "target": f"'{self.task.target.column}', {self.task.target.why}",
            "model": f"{self.family}, {why}",
            "scaling": ", ".join(_scaling(self.task)),
            "loss": loss + " and a penalty on the weights" * (self.family in PENALIZED),
            **training_decisions(self.document),
        }


def _scaling(task: Task) -> list[str]:
    scaled = _scaling_of_measures(task) if task.numbers or task.dates else []
    return scaled + ["categories as columns of 0 and 1"] * bool(task.categories)


def _scaling_of_measures(task: Task) -> list[str]:
    what = " and ".join(["numbers"] * bool(task.numbers) + ["dates"] * bool(task.dates))
    gaps = f"gaps in {'them' if ' and ' in what else what} filled with the median"
    return [f"{what} to mean 0 and standard deviation 1", *[gaps] * task.has_gaps]


def draft_table(
    data: Path,
    target: str | None,
    family: Family | None,
    folder: Path,
    name: str,
    excluded: Collection[str] = (),
    memory: Memory = MEMORY,
    *,
    header: bool | None = None,
    missing: Collection[str] = (),
    classes: bool | None = None,
) -> TableDraft:
    """Return the draft of a model file in `folder` for a CSV file in it, or below.

    `header` says whether the file has names of columns; None that this is inferred. `missing` are texts of cells that
    mean a missing value, beside those that are usual. `classes` says whether the target is classes or a number.

    Raises
    ------
    DataError
        GE501 to GE505 if the file cannot be read, or nothing can be learned from it.
    UsageError
        GE801 if the file does not lie in the folder or has no texts, no target is named, or the kind of model does
        not fit it.
    """
    source = source_path(data, folder)
    file, kind = confined(folder, source), _typed_kind(source)
    if kind and missing:
        raise UsageError(f"--missing applies to CSV files only, and {data} is not one", hint="leave it out")
    found = survey_of_types(file, kind, memory) if kind else survey(file, memory.block, header=header, missing=missing)
    if target is None:
        raise _no_target(found)
    task = find_task(str(data), found, target, classes=_classes(family, classes), excluded=excluded)
    chosen = family or family_for(task)
    task = in_order(str(data), task, chosen)
    document = table_model(name, source, found.rows, task, chosen, partial(_source, source, found))
    return TableDraft(source, found, task, chosen, document, family is not None)


def _typed_kind(source: str) -> str | None:
    """The kind of a file whose columns have types, by its name; None of a CSV file."""
    return next((kind for suffix, kind in KINDS.items() if source.lower().endswith(suffix)), None)


def _no_target(found: Survey) -> UsageError:
    names = ", ".join(shown(column.name) for column in found.columns)
    return UsageError("--data needs --target COLUMN, which is to be predicted", hint=f"columns: {names}")


def _source(path: str, found: Survey, columns: Mapping[str, Role | list[Role]]) -> dict[str, Any]:
    """A data source; what has its default is left out when it is written."""
    dialect = found.dialect

    def named(what: Role | list[Role]) -> Any:
        if isinstance(what, list):
            return list(map(named, what))
        return what.column if dialect.header else what.place

    source = {"type": found.kind, "path": path, "columns": {name: named(what) for name, what in columns.items()}}
    if found.kind != "csv":
        return source
    optional = ("thousands", "comment", "date_format")
    return {
        **source,
        "separator": dialect.separator,
        "decimal": dialect.decimal,
        "header": dialect.header,
        "missing": list(dialect.missing),
        **{key: value for key in optional if (value := getattr(dialect, key))},
    }


def _classes(family: Family | None, classes: bool | None) -> bool | None:
    """Whether the target is classes, by the kind of model and by what is requested."""
    needed = _CLASSES.get(family)
    if needed is None:
        return classes
    if classes is not None and needed != classes:
        raise _does_not(family, classes)
    return needed


def _does_not(family: Family | None, classes: bool) -> UsageError:
    other, what = (Family.logistic, "classification") if classes else (Family.linear, "regression")
    return UsageError(f"a model of kind '{family}' does no {what}", hint=f"choose {other} or mlp")


_CLASSES: dict[Family | None, bool] = {Family.linear: False, Family.logistic: True}


def source_path(data: Path, folder: Path) -> str:
    """Return the path of a data file as a model file in `folder` names it.

    Raises
    ------
    UsageError
        GE801 if it is not within the folder, or no such path may be in a model file.
    """
    place, inside = Path(os.path.abspath(data)), Path(os.path.abspath(folder))  # noqa: PTH100 - links stay
    if not place.is_relative_to(inside):
        hint = f"write the model beside its data: -o {place.parent / 'model.json'}"
        raise UsageError(f"{data} is not in the folder of the model file, {inside}, or below it", hint=hint)
    source = place.relative_to(inside).as_posix()
    if not is_plain(source):
        raise UsageError(f"{data}: a model file cannot name this path", hint=HOW_TO_WRITE)
    return source
