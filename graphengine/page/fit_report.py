"""The report of a fit as one HTML page, or as Markdown: tables of the result, and charts beside its data.

All texts of the file are escaped, and a page loads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from graphengine.draw.charts import WIDTH
from graphengine.escaping import markdown, markup
from graphengine.fit.determination import AtBound
from graphengine.fit.statistics import Fit
from graphengine.ir.graph import Graph

MOST_IN_MATRIX = 12
"""Of more numbers than these only the strongest correlations are listed."""
MOST_PAIRS = 20
PROFILES = (
    "A profile (blue) shows how much worse the fit gets if one parameter is fixed and the others are fitted again; "
    "the parabola (red) is what the standard error predicts."
)

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body{{font:15px system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}}
table{{display:block;overflow-x:auto;border-collapse:collapse;font-variant-numeric:tabular-nums}}
td,th{{padding:.2rem .7rem;border-bottom:1px solid #8888;text-align:left}}
td:last-child{{overflow-wrap:anywhere}}
.charts{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:0 2rem}}
svg{{width:100%;max-width:{width}px;height:auto}}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


class ReportTable(NamedTuple):
    """A part of a report: rows of texts under names of columns."""

    title: str
    columns: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """The rows as a table of Markdown."""
        head, *body = ([markdown(each) for each in row] for row in (self.columns, *self.rows))
        return "\n".join(f"| {' | '.join(each)} |" for each in [head, ["---"] * len(head), *body])


class FitReport(NamedTuple):
    """What a report shows: a model's graph, its fit, where it comes from, and charts by name as SVG."""

    graph: Graph
    fit: Fit
    provenance: Mapping[str, Any]
    charts: Mapping[str, str]

    @property
    def title(self) -> str:
        """The heading."""
        return f"Fit of {self.graph.name}"

    def tables(self) -> Iterator[ReportTable]:
        """Yield the tables of the report."""
        yield ReportTable("Result", ["", ""], [[name, text] for name, text in _summary(self.fit, self.provenance)])
        yield _parameters(self.fit)
        if self.fit.undetermined:
            rows = [[", ".join(part.parameters), part.reason] for part in self.fit.undetermined]
            yield ReportTable("Undetermined", ["parameters", "reason"], rows)
        yield _correlations(self.fit)

    def _notes(self) -> list[str]:
        """What the lines of the charts mean."""
        return [PROFILES] * any(name.startswith("profile of ") for name in self.charts)

    def html(self) -> str:
        """The report as a page of one file."""
        parts = [f"<p>{markup(self.graph.description)}</p>"] if self.graph.description else []
        charts = [
            f"<section>\n<h2>{markup(name.capitalize())}</h2>\n{svg}\n</section>" for name, svg in self.charts.items()
        ]
        parts += ['<div class="charts">', *charts, "</div>"] if charts else []
        parts += [f"<p>{each}</p>" for each in self._notes()]
        parts += map(table_html, self.tables())
        return PAGE.format(title=markup(self.title), width=1.5 * WIDTH, body="\n".join(parts))

    def markdown(self, pictures: Mapping[str, str]) -> str:
        """The report as Markdown; `pictures` are the names of the files that have the charts."""
        parts = [f"# {markdown(self.title)}", *map(markdown, filter(None, [self.graph.description]))]
        for name, file in pictures.items():
            parts += [f"## {markdown(name.capitalize())}", f"![{markdown(name)}]({quote(file)})"]
        parts += self._notes()
        for table in self.tables():
            parts += [f"## {markdown(table.title)}", table.markdown()]
        return "\n\n".join(parts) + "\n"


def table_html(table: ReportTable) -> str:
    """Return a table under its heading."""
    head = "".join(f"<th>{markup(each)}</th>" for each in table.columns)
    body = "".join(f"<tr>{''.join(f'<td>{markup(each)}</td>' for each in row)}</tr>\n" for row in table.rows)
    return f"<h2>{markup(table.title)}</h2>\n<table>\n<tr>{head}</tr>\n{body}</table>"


def _summary(fit: Fit, provenance: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "objective", fit.objective.replace("_", " ")
    yield "converged", "yes" if fit.converged else f"no: {fit.reason}"
    yield "observations", str(fit.observations)
    yield "degrees of freedom", str(fit.degrees_of_freedom)
    yield from ((name, f"{number:.10g}") for name, number in _goodness(fit) if number is not None)
    for key, value in (*fit.settings.items(), *provenance.items()):
        yield key.replace("_", " "), _plain(value)


def _goodness(fit: Fit) -> Iterator[tuple[str, float | None]]:
    if fit.squares:
        name = "residual sum of squares" if fit.chi_square is None else "chi-square"
        yield name, fit.residual_sum_of_squares
        yield "residual standard deviation", fit.residual_standard_deviation
    yield from (("log-likelihood", fit.log_likelihood), ("AIC", fit.aic), ("BIC", fit.bic), ("R2", _r2(fit)))


def _plain(value: Any) -> str:
    return ", ".join(f"{name} {each}" for name, each in value.items()) if isinstance(value, dict) else str(value)


def _r2(fit: Fit) -> float | None:
    return fit.squares.r2 if fit.squares else None


def _parameters(fit: Fit) -> ReportTable:
    """Each number with its error, its intervals, and the bound that holds it."""
    held = {each.parameter: each for each in fit.at_bounds}
    columns = ["parameter", "value", "standard error", *map(_level_text, fit.intervals), ""]
    values, errors = map(_numbers, _arrays(fit))
    rows = []
    for name, value, error in zip(fit.coordinates, values, errors, strict=True):
        spread, note = _spread(error, held.get(name))
        ends = [_interval(level.get(name)) for level in fit.intervals.values()]
        rows.append([name, f"{value:.10g}", spread, *ends, note])
    return ReportTable("Parameters", columns, rows)


def _level_text(level: float) -> str:
    return f"{100 * level:g} % interval"


def _numbers(arrays: Mapping[str, Any]) -> Any:
    """The numbers of arrays, one after the other."""
    return np.concatenate(list(map(np.ravel, arrays.values())))


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.6g} to {ends[1]:.6g}"


def _spread(error: float, bound: AtBound | None) -> tuple[str, str]:
    """The error of a number, to one side where a bound holds it, and a note of that bound."""
    if bound is None:
        return f"{error:.6g}", ""
    way = "upward" if bound.side == "lower" else "downward"
    return f"{bound.error:.6g}, {way}", f"at its {bound.side} bound"


def _arrays(fit: Fit) -> tuple[dict[str, Any], dict[str, Any]]:
    return fit.parameters, fit.standard_errors


def _correlations(fit: Fit) -> ReportTable:
    """The correlation matrix or, of many numbers, the pairs that are correlated most."""
    if len(fit.coordinates) > MOST_IN_MATRIX:
        return _strongest_correlations(fit)
    names = list(map(str, fit.coordinates))
    rows = [[name, *[f"{each:.3f}" for each in row]] for name, row in zip(names, fit.correlation, strict=True)]
    return ReportTable("Correlation", ["", *names], rows)


def _strongest_correlations(fit: Fit) -> ReportTable:
    correlation, names = fit.correlation, fit.coordinates
    first, second = np.triu_indices(len(names), 1)
    sizes = np.nan_to_num(np.abs(correlation[first, second]))
    strongest = np.argsort(-sizes, kind="stable")[:MOST_PAIRS]
    pairs = zip(first[strongest], second[strongest], strict=True)
    rows = [[names[one], names[other], f"{correlation[one, other]:.3f}"] for one, other in pairs]
    return ReportTable("Strongest correlations", ["", "", "correlation"], rows)
