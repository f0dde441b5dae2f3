"""`trace`: every step of one evaluation, forward, backward and update, with its numbers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from graphengine.cli.opening import decoded, model_file, open_changed
from graphengine.cli.options import Inputs, ModelName, Of, OutputFile, Plugins, Settings, Strict, Unfold, Wrt
from graphengine.cli.output import check_targets, json_text, print_or_write, with_warnings
from graphengine.cli.values import named_values


class TraceFormat(StrEnum):
    """How a trace is printed."""

    text = "text"
    markdown = "markdown"
    json = "json"
    svg = "svg"


def trace(
    file: ModelName,
    inputs: Inputs = None,
    sample: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Take one sample of the model's data, counted from 1.")
    ] = None,
    iteration: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Show this iteration of the training, counted from 1."),
    ] = None,
    of: Of = None,
    wrt: Wrt = None,
    output: OutputFile = None,
    full: Annotated[
        bool, typer.Option("--full", help="Print all numbers of large arrays, not only their range.")
    ] = False,
    unfold: Unfold = False,
    settings: Settings = None,
    output_format: Annotated[
        TraceFormat, typer.Option("--format", help="Text or Markdown for people, JSON for machines, or a picture.")
    ] = (TraceFormat.text),
    plugins: Plugins = None,
    strict: Strict = False,
) -> None:
    """Show every step of one evaluation of MODEL with its numbers: forward, backward, and the update of the training.

    Without --input or --sample it takes the first batch of the training.
    """
    from graphengine.draw.drawing import trace_svg
    from graphengine.traces import traced_models
    from graphengine.traces.report import markdown_report, text_report

    check_targets({"MODEL": model_file(file), "--output": output})
    model, given = open_changed(file, plugins, settings, strict=strict)
    given = decoded(model, {**given, **named_values("--input", inputs)})
    traced = traced_models.trace(model, given, sample=sample, iteration=iteration, of=of, wrt=wrt or None, full=full)
    match output_format:
        case TraceFormat.json:
            text = json_text(with_warnings(traced_models.as_json(traced)))
        case TraceFormat.svg:
            text = trace_svg(model.graph, traced, folded=not unfold)
        case TraceFormat.markdown:
            text = markdown_report(traced)
        case TraceFormat.text:
            text = text_report(traced)
    print_or_write(text, output)
