"""`validate`, `show`, `schema`: look at models and at what a file may say, and run nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.describing import describe_model, print_fit, print_model
from graphengine.cli.failures import BAD_INPUT, print_problems
from graphengine.cli.opening import model_file, on_device, open_model
from graphengine.cli.options import (
    BackendName,
    Device,
    ModelName,
    OutputFile,
    OutputFormat,
    Plugins,
    Strict,
    Unfold,
)
from graphengine.cli.output import (
    Format,
    check_targets,
    print_json,
    print_line,
    print_note,
    print_or_write,
    print_result,
    print_text,
)
from graphengine.cli.planning import describe_plans, print_plans
from graphengine.cli.values import named_values
from graphengine.errors import MOST_REPORTED, GraphEngineError, Problem, UsageError, curtailed
from graphengine.plugins import load_plugins

if TYPE_CHECKING:
    from graphengine.model.model import Model


class SchemaFormat(StrEnum):
    """A schema is JSON; the option is there because every command has it."""

    json = "json"


class ShowFormat(StrEnum):
    """How a model is shown: as text, as JSON, as a picture for a browser, GitHub or Graphviz, or as Python code."""

    text = "text"
    json = "json"
    svg = "svg"
    mermaid = "mermaid"
    dot = "dot"
    python = "python"


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Model files.")],
    data: Annotated[bool, typer.Option("--data", help="Also read the data files that they declare.")] = False,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
) -> None:
    """Check model files and print all errors and warnings. Data files are only read with --data."""
    load_plugins(plugins)
    found: list[Problem] = []
    for file in files:
        summary, problems = _checked(file, with_data=data, strict=strict)
        found += problems
        if output_format is Format.text:
            _print_checked(file, summary, problems)
    if output_format is Format.json:
        print_json({"valid": not found, "errors": [problem.as_dict() for problem in found]})
    if found:
        raise typer.Exit(BAD_INPUT)


def _print_checked(file: str, summary: str, problems: Sequence[Problem]) -> None:
    print_problems(problems)
    if not problems:
        print_line(f"{file}: valid: {summary}")


def _checked(file: str, *, with_data: bool, strict: bool) -> tuple[str, list[Problem]]:
    """What a file's graph is, in words, and what is wrong with it and with its data."""
    try:
        model = open_model(file, strict=strict)
    except GraphEngineError as error:
        return "", list(error.located(file=file).problems)
    names = [name for name, source in model.document.data.items() if with_data or source.type == "inline"]
    return model.graph.summary, curtailed(_problems_of_data(model, names), file)


def _problems_of_data(model: Model, names: Iterable[str]) -> list[Problem]:
    """What is wrong with data sources, as far as it is reported."""
    problems: list[Problem] = []
    for name in names:
        if len(problems) > MOST_REPORTED:
            break
        try:
            model.check_data(name)
        except GraphEngineError as error:
            problems += error.problems
    return problems


def show(
    file: ModelName,
    plan: Annotated[bool, typer.Option("--plan", help="Show the code that runs and trains MODEL instead.")] = False,
    sizes: Annotated[
        list[str] | None,
        typer.Option("--size", metavar="NAME=NUMBER", help="A size for --plan, N=24; default: that of the data."),
    ] = None,
    output: OutputFile = None,
    unfold: Unfold = False,
    output_format: Annotated[
        ShowFormat, typer.Option("--format", help="Text, JSON, a picture, or the Python code that builds the model.")
    ] = ShowFormat.text,
    plugins: Plugins = None,
    backend: BackendName = "numpy",
    device: Device = None,
    strict: Strict = False,
) -> None:
    """Show the nodes of MODEL in the order they run, with shapes."""
    from graphengine.model.python_code import python_code

    check_targets({"MODEL": model_file(file), "--output": output})
    model = open_model(file, plugins, backend=on_device(backend, device), strict=strict)
    if sizes and not plan:
        raise UsageError("--size is a size for --plan")
    _check_form(output_format, plan=plan, is_file=output is not None)
    if output_format in PICTURES:
        print_or_write(_drawn(model, output_format, folded=not unfold), output)
    elif output_format is ShowFormat.python:
        print_or_write(python_code(model.document), output)
    elif plan:
        plans = describe_plans(model, named_values("--size", sizes))
        print_result(Format(output_format), plans, lambda: print_plans(plans))
    else:
        description = describe_model(model)
        print_result(Format(output_format), description, lambda: _print_model(model, description))


def _print_model(model: Model, description: Mapping[str, Any]) -> None:
    print_model(description)
    print_fit(model)


PICTURES = (ShowFormat.svg, ShowFormat.mermaid, ShowFormat.dot)


def _check_form(form: ShowFormat, *, plan: bool, is_file: bool) -> None:
    """Refuse a form that a plan does not have, and a file for a form that is for terminals and pipes."""
    is_for_files = form in (*PICTURES, ShowFormat.python)
    if is_file and not is_for_files:
        raise UsageError(f"-o is for pictures and code: --format {', '.join(PICTURES)} or {ShowFormat.python}")
    if plan and is_for_files:
        what = "a plan is not a picture: " if form in PICTURES else ""
        raise UsageError(f"{what}--plan does not go with --format {form}")


def _drawn(model: Model, form: ShowFormat, *, folded: bool) -> str:
    from graphengine.draw.diagrams import dot, mermaid
    from graphengine.draw.drawing import graph_svg

    drawings = {ShowFormat.svg: graph_svg, ShowFormat.mermaid: mermaid, ShowFormat.dot: dot}
    return drawings[form](model.graph, folded=folded)


def schema(
    output: OutputFile = None,
    output_format: Annotated[SchemaFormat, typer.Option("--format", help="A schema is JSON.")] = SchemaFormat.json,
    plugins: Plugins = None,
) -> None:
    """Print the JSON Schema of model files, for editors."""
    import orjson

    from graphengine.format.files import write_bytes
    from graphengine.format.functions import shipped_functions
    from graphengine.format.schema import model_schema
    from graphengine.training.rules import shipped_rules

    load_plugins(plugins)
    functions = {name: function.document for name, function in shipped_functions().items()}
    data = orjson.dumps(
        model_schema(shipped_rules(), functions), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    )
    if output is None:
        print_text(data)
    else:
        write_bytes(output, data)
        print_note(f"schema written to {output}")
