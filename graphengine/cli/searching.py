"""`search`: settings of a file compared by cross-validation, the best one trained and saved."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.clustering import chosen
from graphengine.cli.data_files import data_by_name, needed_to_train, read_data
from graphengine.cli.failures import Unwritten
from graphengine.cli.opening import check_save, on_device, open_model, save_model
from graphengine.cli.options import (
    BackendName,
    ColumnNames,
    DaskAddress,
    DataName,
    Device,
    ModelName,
    OutputFormat,
    Plugins,
    SaveFile,
    Strict,
    UpdateRuleFile,
    WorkerCount,
    split_pairs,
)
from graphengine.cli.output import Format, check_targets, json_text, print_line, print_note, print_result, print_table
from graphengine.cli.scoring import print_scores, scores_as_json
from graphengine.cli.values import json_values_of
from graphengine.errors import UsageError
from graphengine.wording import counted

if TYPE_CHECKING:
    from graphengine.model.model import Model
    from graphengine.model.search import Search, Trial


class Mode(StrEnum):
    """Which scores are better."""

    min = "min"
    max = "max"


def search(
    model: ModelName,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="PATH=JSON,JSON...",
            help="Try these values at a place in the file: training.optimizer.learning_rate=0.1,0.01. May be repeated: "
            "all combinations are tried.",
        ),
    ],
    data: DataName = None,
    columns: ColumnNames = None,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed for assigning rows to folds.")] = 0,
    stratify: Annotated[
        str | None, typer.Option(metavar="INPUT", help="Spread each value of this input evenly over the folds.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="INPUT", help="Keep the rows of each value of this input in one fold.")
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(metavar="FILE|FRACTION", help="Evaluate the result on this data, or on a held-out fraction: 0.2."),
    ] = None,
    metric: Annotated[str, typer.Option(help="Score to compare: loss, or a metric that 'evaluate' prints.")] = "loss",
    mode: Annotated[
        Mode | None,
        typer.Option(help="Whether a smaller or a larger score is better. Default: determined by the metric."),
    ] = None,
    workers: WorkerCount = None,
    dask: DaskAddress = None,
    save: SaveFile = None,
    update_rule: UpdateRuleFile = None,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
    backend: BackendName = "numpy",
    device: Device = None,
) -> None:
    """Compare settings of MODEL by cross-validation, and train the best one on all rows.

    Each combination of values is trained from the initializers on the rows of all folds but one and scored on that one.
    The folds depend on the seed and the rows alone. A training that diverges ends its combination, not the search.
    """
    from graphengine.model.search import search as search_settings

    check_targets({"--data": data, "--save": save})
    grid, who = _grid(settings), chosen(workers, dask)
    opened = open_model(model, plugins, update_rule, on_device(backend, device), strict=strict)
    check_save(opened, save)
    named = data_by_name(opened, data, who)
    found = search_settings(
        opened,
        grid,
        named or _data(opened, data, columns, (stratify, group)),
        folds=folds,
        seed=seed,
        stratify=stratify,
        group=group,
        test=_test(opened, test, columns),
        metric=metric,
        mode=None if mode is None else mode.value,
        seen=_note if sys.stderr.isatty() else None,
        workers=who,
    )
    unwritten = Unwritten()
    saved = save_model(found.model, save, unwritten)
    print_result(output_format, {**_as_json(found), **saved, **unwritten.as_json()}, lambda: _print(found, saved))
    unwritten.end(output_format)


def _grid(settings: list[str]) -> dict[str, list[Any]]:
    """The values to try, by path."""
    grid: dict[str, list[Any]] = {}
    for path, text in split_pairs("--set", settings):
        if path in grid:
            raise UsageError(f"--set {path}: the path is given twice", hint="write all its values after one --set")
        grid[path] = json_values_of("--set", text)
    return grid


def _data(
    model: Model, data: str | None, columns: list[str] | None, labels: Iterable[str | None]
) -> dict[str, Any] | None:
    """The rows of `--data`: what a training needs, and what the folds are made by."""
    needed = needed_to_train(model)
    if needed is not None:
        needed = list(dict.fromkeys([*needed, *(name for name in filter(None, labels) if name in model.graph.inputs)]))
    return read_data(model, data, columns, (), needed) or None


def _test(model: Model, test: str | None, columns: list[str] | None) -> float | dict[str, Any] | None:
    """A fraction, or the rows of a file or a data source."""
    if test is None:
        return None
    try:
        return float(test)
    except ValueError:
        return read_data(model, test, columns, (), needed_to_train(model), "--test")


def _note(trial: Trial) -> None:
    print_note(f"{_said(trial.settings)}: {' '.join(filter(None, _cells(trial)))}")


def _said(settings: dict[str, Any]) -> str:
    return ", ".join(f"{path}={json_text(value).strip()}" for path, value in settings.items())


def _cells(trial: Trial) -> list[str]:
    """Mean, standard deviation, and the code of what ended the trial, if anything did."""
    return ["-", "-", trial.problem.code] if trial.problem else [f"{trial.mean:.6g}", f"{trial.std:.6g}", ""]


def _as_json(found: Search) -> dict[str, Any]:
    result: dict[str, Any] = {"model": found.model.graph.name, "rows": found.rows}
    result |= {"folds": found.folds, "seed": found.seed, "metric": found.metric, "mode": found.mode}
    result |= {"best": found.best.settings, "trials": [trial.as_dict() for trial in found.trials]}
    return {**result, "test": scores_as_json(found.test)} if found.test else result


def _print(found: Search, saved: dict[str, str]) -> None:
    name = found.model.graph.name
    print_line(f"{name}: {counted(len(found.trials), 'setting')}, {found.folds} folds of {counted(found.rows, 'row')}")
    rows = [[*(json_text(each).strip() for each in trial.settings.values()), *_cells(trial)] for trial in found.trials]
    print_table("", [*found.best.settings, found.metric, "std", "error"], rows)
    print_line(f"best: {_said(found.best.settings)}")
    if found.test:
        print_scores("test", found.test)
    for path in saved.values():
        print_line(f"saved to {path}")
