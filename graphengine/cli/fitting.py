"""`fit`: least squares and maximum likelihood, with uncertainties."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.clustering import chosen
from graphengine.cli.data_files import data_by_name, named_after, needed_to_train, read_data
from graphengine.cli.failures import Unwritten
from graphengine.cli.opening import check_save, decoded, on_device, open_changed, save_model
from graphengine.cli.options import (
    BackendName,
    ColumnNames,
    DaskAddress,
    DataName,
    Device,
    Inputs,
    ModelName,
    OutputFormat,
    Plugins,
    SaveFile,
    Settings,
    Strict,
    WorkerCount,
)
from graphengine.cli.output import Format, array_text, check_targets, print_lines, print_result
from graphengine.cli.values import named_values
from graphengine.errors import Problem, UsageError
from graphengine.wording import counted

if TYPE_CHECKING:
    from graphengine.fit.determination import AtBound
    from graphengine.fit.starts import Start
    from graphengine.fit.statistics import Bootstrap, Fit
    from graphengine.model.model import Model

MOST_PARTS = 20
"""So many parts of the parameters that the data leave open are printed."""


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
    sigma: Annotated[
        str | None, typer.Option(metavar="VALUE", help="The value that the residuals are divided by.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="VALUE", help="Weights of the squares, 1 / sigma**2, instead of --sigma.")
    ] = None,
    absolute_sigma: Annotated[
        bool | None,
        typer.Option("--absolute-sigma/--relative-sigma", help="Whether sigma is known, or only up to a factor."),
    ] = None,
    robust: Annotated[
        str | None, typer.Option(metavar="LOSS", help="huber, soft_l1 or cauchy instead of squares.")
    ] = None,
    robust_scale: Annotated[
        float | None, typer.Option(help="Size of residuals from which the robust loss replaces squares.")
    ] = None,
    intervals: Annotated[
        str | None, typer.Option(metavar="LEVELS", help="Compute profile intervals at these levels, such as 0.68,0.95.")
    ] = None,
    starts: Annotated[int, typer.Option(min=1, help="Number of starting points; the best fit is kept.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the starting points and the bootstrap.")] = 0,
    bootstrap: Annotated[
        int, typer.Option(min=0, metavar="K", help="Fit K samples of data drawn from the fitted model.")
    ] = 0,
    max_iterations: Annotated[int | None, typer.Option(min=1, help="Stop after this number of steps.")] = None,
    workers: WorkerCount = None,
    dask: DaskAddress = None,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
    backend: BackendName = "numpy",
    device: Device = None,
) -> None:
    """Fit the parameters of MODEL by least squares or likelihood and estimate their uncertainties.

    Inputs given with --data and --input override the data in the file. The default residual is the one that the
    training section names, or the value whose squares its loss adds up; any other loss is minimized as a negative
    log-likelihood. A fit that does not converge is printed and saved like any other, and the exit code is 1.
    """
    check_targets({"--data": data, "--save": save})
    opened, given = open_changed(model, plugins, settings, backend=on_device(backend, device), strict=strict)
    check_save(opened, save)
    given = decoded(opened, {**given, **named_values("--input", inputs)})
    who = chosen(workers, dask)
    named = data_by_name(opened, data, who)
    if named is None:
        read = read_data(opened, data, columns, given, needed_to_fit(opened, sigma or weights))
        given = named_after(data, given | read)
    found = opened.fit(
        given or named,
        residual=residual,
        sigma=sigma,
        weights=weights,
        absolute_sigma=absolute_sigma,
        robust=robust,
        robust_scale=robust_scale,
        intervals=_levels(intervals),
        starts=starts,
        seed=seed,
        bootstrap=bootstrap,
        max_iterations=max_iterations,
        workers=who,
    )
    from graphengine.fit.encoding import fit_as_json

    unwritten = Unwritten()
    if found.reason:
        unwritten.problems.append(Problem("GE604", f"the fit did not converge: {found.reason}"))
    saved = save_model(opened, save, unwritten)
    content = {"model": opened.graph.name, **fit_as_json(found), **saved, **unwritten.as_json()}
    print_result(output_format, content, lambda: print_lines(_lines(opened.graph.name, found, saved)))
    unwritten.end(output_format)


def _levels(text: str | None) -> list[float]:
    """The levels of intervals, which commas separate."""
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError:
        raise UsageError(f"--intervals takes levels between 0 and 1, as in 0.68,0.95, not '{text}'") from None


def needed_to_fit(model: Model, weight: str | None) -> list[str] | None:
    """The inputs that a fit reads: those of a training, and those of its weights; None if nothing says so."""
    from graphengine.ir.graph import inputs_of

    needed, graph = needed_to_train(model), model.graph
    if needed is None or weight is None or graph.meaning(weight) not in graph.types:
        return needed
    return list(dict.fromkeys([*needed, *inputs_of(graph, [graph.meaning(weight)])]))


def _lines(name: str, fit: Fit, saved: Mapping[str, str]) -> Iterator[str]:
    yield f"{name}: {counted(len(fit.history), 'iteration')}, {'' if fit.converged else 'not '}converged"
    yield from fit_lines(fit)
    yield from (f"saved to {path}" for path in saved.values())


def fit_lines(fit: Fit) -> Iterator[str]:
    """Yield what a fit found, without how it came there."""
    freedom = f"{fit.degrees_of_freedom} degree{'s' * (fit.degrees_of_freedom != 1)} of freedom"
    yield f"{counted(fit.observations, 'observation')}, {freedom}"
    yield from _goodness_lines(fit)
    yield "parameters and standard errors:"
    width = max(map(len, fit.parameters))
    yield from _parameter_lines(fit, width)
    for level, found in fit.intervals.items():
        yield f"profile intervals, {100 * level:g} %:"
        yield from (f"  {each:<{width}}  {low:.10g}  {high:.10g}" for each, (low, high) in found.items())
    if fit.bootstrap:
        yield from _bootstrap_lines(fit.bootstrap, width)
    yield from _notes(fit)


def _parameter_lines(fit: Fit, width: int) -> Iterator[str]:
    values = [*map(_digits, fit.parameters.values())]
    column = max(map(len, values))
    for name, value in zip(fit.parameters, values, strict=True):
        yield f"  {name:<{width}}  {value:<{column}}  {_digits(fit.standard_errors[name])}"


def _goodness_lines(fit: Fit) -> Iterator[str]:
    """How near the curve is to the observations, or how likely they are."""
    if fit.squares:
        yield from _lines_of_squares(fit)
    if fit.log_likelihood is not None:
        yield f"log-likelihood: {fit.log_likelihood:.10g}, AIC: {fit.aic:.10g}, BIC: {fit.bic:.10g}"
    else:
        yield f"robust loss: {fit.loss:.10g}"


def _lines_of_squares(fit: Fit) -> Iterator[str]:
    known = " (chi-square)" * (fit.chi_square is not None)
    yield f"residual sum of squares{known}: {fit.residual_sum_of_squares:.10g}"
    yield f"residual standard deviation: {fit.residual_standard_deviation:.10g}"
    if fit.r2 is not None:
        yield f"R2{'' if fit.r2_is_centered else ' (uncentered)'}: {fit.r2:.10g}"


def _notes(fit: Fit) -> Iterator[str]:
    if fit.starts:
        yield _starts_line(fit.starts)
    yield from map(_bound_line, fit.at_bounds)
    for part in fit.undetermined[:MOST_PARTS]:
        yield f"undetermined: {part.reason}"
    if more := fit.undetermined[MOST_PARTS:]:
        yield f"undetermined: {counted(len(more), 'more part')}, which --format json lists"


def _bound_line(held: AtBound) -> str:
    inward = "upward" if held.side == "lower" else "downward"
    error = "" if math.isnan(held.error) else f", error {inward} {held.error:.10g}"
    return f"at its {held.side} bound: {held.parameter} = {held.bound:.10g}{error} (the other errors hold for that)"


def _starts_line(starts: Sequence[Start]) -> str:
    minima = [start.minimum for start in starts]
    count = max(minima)
    return (
        f"{len(starts)} starts: {minima.count(1)} found the best of {count} minim{'um' if count == 1 else 'a'}"
        f"{_lost(sum(not start.converged for start in starts))}"
    )


def _lost(count: int) -> str:
    return f", {count} did not converge" if count else ""


def _bootstrap_lines(found: Bootstrap, width: int) -> Iterator[str]:
    percents = ", ".join(map("{:g}".format, found.percentiles))
    samples = f"{found.samples} samples{_lost(found.not_converged)}"
    yield f"parametric bootstrap, {samples}: standard errors; percentiles {percents}:"
    for each, error in found.standard_errors.items():
        numbers = [error, *(row[each] for row in found.percentiles.values())]
        yield f"  {each:<{width}}  {'  '.join(map('{:.6g}'.format, numbers))}"


def _digits(value: Any) -> str:
    """An array to ten digits, as many as a fit has on any machine."""
    import numpy as np

    rounded = np.array([float(f"{number:.10g}") for number in np.ravel(value)])
    return array_text(rounded.reshape(np.shape(value)))
