"""`fit`: nonlinear least squares, with standard errors and R2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.data_files import needed_to_train, read_data
from graphengine.cli.failures import Unwritten
from graphengine.cli.opening import decoded, open_changed
from graphengine.cli.options import (
    BackendName,
    ColumnNames,
    DataName,
    Inputs,
    ModelName,
    OutputFormat,
    Plugins,
    SaveFile,
    Settings,
)
from graphengine.cli.output import Format, array_text, check_targets, json_values, print_json, print_line
from graphengine.cli.running import check_save, save_model
from graphengine.cli.values import named_values
from graphengine.errors import Problem
from graphengine.wording import counted

if TYPE_CHECKING:
    from graphengine.fit.statistics import Fit


def fit(
    model: ModelName,
    inputs: Inputs = None,
    data: DataName = None,
    columns: ColumnNames = None,
    settings: Settings = None,
    save: SaveFile = None,
    residual: Annotated[
        str | None, typer.Option(metavar="VALUE", help="The value whose sum of squares is minimized.")
    ] = None,
    max_iterations: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps.")] = None,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    backend: BackendName = "numpy",
) -> None:
    """Fit the parameters of MODEL by least squares and estimate their uncertainties.

    Inputs given with --data and --input override the data in the file. The default residual is the one that the
    training section names, or the value whose squares its loss adds up. A fit that does not converge is printed and
    saved like any other, and the exit code is 1.
    """
    check_targets({"--data": Path(data) if data else None, "--save": save})
    opened, given = open_changed(model, plugins, settings or [], backend=backend)
    check_save(opened, save)
    given = decoded(opened, {**given, **named_values("--input", inputs or [])})
    given |= read_data(opened, data, columns or [], given, needed_to_train(opened))
    found = opened.fit(given or None, residual=residual, max_iterations=max_iterations)
    unwritten = Unwritten()
    if found.reason:
        unwritten.problems.append(Problem("GE604", f"the fit did not converge: {found.reason}"))
    saved = save_model(opened, save, unwritten)
    if output_format is Format.json:
        print_json({"model": opened.graph.name, **_as_json(found), **saved, **unwritten.as_json()})
    else:
        for line in (*_lines(opened.graph.name, found), *(f"saved to {path}" for path in saved.values())):
            print_line(line)
    unwritten.end(output_format)


def _as_json(fit: Fit) -> dict[str, Any]:
    from graphengine.ops.numbers import encode_number

    return {
        "iterations": len(fit.history),
        "converged": fit.converged,
        **({"reason": fit.reason} if fit.reason else {}),
        "parameters": json_values(fit.parameters),
        "standard_errors": json_values(fit.standard_errors),
        "undetermined": [part._asdict() for part in fit.undetermined],
        "observations": fit.observations,
        "degrees_of_freedom": fit.degrees_of_freedom,
        "residual_sum_of_squares": fit.residual_sum_of_squares,
        "residual_standard_deviation": encode_number(fit.residual_standard_deviation),
        "r2": None if fit.r2 is None else encode_number(fit.r2),
        "r2_is_centred": fit.r2_is_centred,
    }


def _lines(name: str, fit: Fit) -> Iterator[str]:
    yield f"{name}: {counted(len(fit.history), 'iteration')}, {'' if fit.converged else 'not '}converged"
    freedom = f"{fit.degrees_of_freedom} degree{'s' * (fit.degrees_of_freedom != 1)} of freedom"
    yield f"{counted(fit.observations, 'observation')}, {freedom}"
    yield f"residual sum of squares: {fit.residual_sum_of_squares:.10g}"
    yield f"residual standard deviation: {fit.residual_standard_deviation:.10g}"
    if fit.r2 is not None:
        yield f"R2{'' if fit.r2_is_centred else ' (uncentred)'}: {fit.r2:.10g}"
    yield "parameters and standard errors:"
    width = max(map(len, fit.parameters))
    shown = {each: _digits(value) for each, value in fit.parameters.items()}
    column = max(map(len, shown.values()))
    for each, value in shown.items():
        yield f"  {each:<{width}}  {value:<{column}}  {_digits(fit.standard_errors[each])}"
    for part in fit.undetermined:
        yield f"undetermined: {part.reason}"


def _digits(value: Any) -> str:
    """An array to ten digits, as many as a fit has on any machine."""
    import numpy as np

    rounded = np.array([float(f"{number:.10g}") for number in np.ravel(value)])
    return array_text(rounded.reshape(np.shape(value)))
