"""`report`: a fit as a page for a reviewer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.data_files import read_data
from graphengine.cli.fitting import needed_to_fit
from graphengine.cli.opening import decoded, model_file, open_changed
from graphengine.cli.options import ColumnNames, DataName, Inputs, ModelName, OutputFormat, Plugins, Settings, Strict
from graphengine.cli.output import Format, check_targets, print_note, print_result, writable
from graphengine.cli.values import named_values
from graphengine.errors import GraphEngineError, UsageError

if TYPE_CHECKING:
    from graphengine.fit.statistics import Fit
    from graphengine.model.model import Model

ENDINGS = (".html", ".md")
MOST_PROFILES = 8
"""Of more parameters a report has no profile curves."""


def _page(path: Path) -> Path:
    """The path of a report, unless it could not be written."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"a report is a file .html or .md, not '{path.name}'")
    writable(path)
    return path


def report(
    model: ModelName,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", callback=_page, help="A page, .html, or Markdown, .md.")
    ],
    inputs: Inputs = None,
    data: DataName = None,
    columns: ColumnNames = None,
    settings: Settings = None,
    observed: Annotated[
        str | None, typer.Option(metavar="VALUE", help="The value that holds the observations.")
    ] = None,
    curve: Annotated[str | None, typer.Option(metavar="VALUE", help="The value that was fitted to them.")] = None,
    level: Annotated[float, typer.Option(help="Level of the confidence band.")] = 0.95,
    profiles: Annotated[bool, typer.Option("--profiles/--no-profiles", help="Whether to draw profile curves.")] = True,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
) -> None:
    """Write a report of the fit of MODEL: result, data with curve and band, residuals, correlation, profile curves.

    The report shows the fit saved in the file (fit --save); a model without one is fitted first. By default
    observations and curve are the two values whose difference is the residual, or data and mean of the likelihood. The
    charts of a Markdown report are files beside it.
    """
    check_targets({"MODEL": model_file(model), "--output": output})
    opened, given = open_changed(model, plugins, settings, strict=strict)
    given = decoded(opened, {**given, **named_values("--input", inputs)})
    stored = opened.last_fit
    given |= read_data(opened, data, columns, given, needed_to_fit(opened, _spread(stored)))
    fit = stored or opened.fit(given or None)
    arrays = given or opened.load_data(opened.document.training_data)
    if stored is not None:
        _require_same_data(opened, stored, arrays)
    charts = _charts(opened, fit, arrays, (observed, curve), level)
    if profiles:
        charts = {**charts, **_profiles(opened, fit, arrays)}
    written = _written(opened, fit, charts, output)
    content = {"report": str(output), "files": written}
    print_result(output_format, content, lambda: print_note(f"report written to {', '.join(written)}"))


def _spread(fit: Fit | None) -> str | None:
    from graphengine.fit.observed import spread_in

    return None if fit is None else spread_in(fit.settings)


def _require_same_data(model: Model, fit: Fit, arrays: dict[str, Any]) -> None:
    """Refuse to show a fit beside data that it was not fitted to."""
    from graphengine.fit.requests import Request
    from graphengine.fit.statistics import is_of_data
    from graphengine.training.provenance import provenance_in

    if is_of_data(model.fitting(arrays, Request.of_settings(fit.settings)), fit):
        return
    read_from = provenance_in(model.document.metadata).get("data")
    message = "this is not the data that the model was fitted to: the loss differs"
    hint = f"the fit is of '{read_from}'; give it with --data" if read_from else "give the data of the fit with --data"
    raise UsageError(message, hint=hint)


def _charts(
    model: Model, fit: Fit, arrays: dict[str, Any], named: tuple[str | None, str | None], level: float
) -> dict[str, str]:
    """The charts of a fit; none if nothing says what was compared."""
    from graphengine.draw.fit_charts import fit_charts
    from graphengine.fit.bands import BandRequest, BandSubject
    from graphengine.fit.observed import comparison
    from graphengine.ir.binding import as_inputs

    pair = _compared(model, fit, *named)
    if pair is None:
        print_note("no charts: the file does not say what to compare; name it with --observed and --curve")
        return {}
    subject = BandSubject(model.graph, model.values, as_inputs(model.graph, arrays), model.backend)
    return fit_charts(comparison(BandRequest(fit, level, "confidence"), subject, *pair), level)


def _compared(model: Model, fit: Fit, observed: str | None, curve: str | None) -> tuple[str, str] | None:
    """The values that have the observations and the curve: those that options name, or those that the fit compares."""
    from graphengine.fit.bands import compared_values

    if observed is None and curve is None:
        return compared_values(fit, model.graph) or _in_likelihood(model)
    if observed is None or curve is None:
        raise UsageError("--observed and --curve go together")
    return model.graph.value_name(observed), model.graph.value_name(curve)


def _in_likelihood(model: Model) -> tuple[str, str] | None:
    """The data and the curve of the one likelihood that the loss is, if it is one."""
    from graphengine.fit.simulation import compared, likelihood_terms

    training = model.document.training
    try:
        return compared(likelihood_terms(model.document.nodes, model.graph, training.loss)) if training else None
    except UsageError:
        return None


def _profiles(model: Model, fit: Fit, arrays: dict[str, Any]) -> dict[str, str]:
    """The charts of the profiles of a few parameters; none where there are no profiles."""
    from graphengine.draw.fit_charts import profile_charts

    if len(fit.coordinates) > MOST_PROFILES:
        print_note(f"no profile curves: there are more than {MOST_PROFILES} parameters")
        return {}
    try:
        return profile_charts(fit, model.profiles(arrays))
    except GraphEngineError as error:
        print_note(f"no profile curves: {error.problems[0].message}")
        return {}


def _written(model: Model, fit: Fit, charts: dict[str, str], path: Path) -> list[str]:
    """Write a report, and the charts of a Markdown one, and return the names of the files."""
    from graphengine.format.files import write_bytes
    from graphengine.page.fit_report import FitReport
    from graphengine.training.provenance import provenance_in

    page = FitReport(model.graph, fit, provenance_in(model.as_document().metadata), charts)
    if path.suffix.lower() == ".html":
        write_bytes(path, page.html().encode())
        return [str(path)]
    files = {name: path.with_name(f"{path.stem}-{_file_name(name)}.svg") for name in charts}
    for name, file in files.items():
        write_bytes(file, charts[name].encode())
    write_bytes(path, page.markdown({name: file.name for name, file in files.items()}).encode())
    return [str(path), *map(str, files.values())]


def _file_name(name: str) -> str:
    """The name of a chart as part of the name of a file."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")
