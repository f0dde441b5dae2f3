"""`validate`, `show`, `ops`, `schema`: look at models and at what they can be made of, and run nothing."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphengine.cli.describing import describe_model, print_model
from graphengine.cli.failures import BAD_INPUT, print_problems
from graphengine.cli.opening import open_model
from graphengine.cli.options import ModelName, OutputFormat, Plugins
from graphengine.cli.output import Format, print_json, print_line, print_table
from graphengine.cli.planning import describe_plans, print_plans
from graphengine.cli.plugins import load_plugins
from graphengine.cli.values import named_values
from graphengine.errors import GraphEngineError, Problem, UsageError, did_you_mean

if TYPE_CHECKING:
    from graphengine.registry import Op


class SchemaFormat(StrEnum):
    """A schema is JSON; the option is there because every command has it."""

    json = "json"


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Model files.")],
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
) -> None:
    """Check model files and tell all their errors."""
    load_plugins(plugins)
    found: list[Problem] = []
    for file in files:
        summary, problems = _checked(file)
        found += problems
        if output_format is Format.text:
            print_problems(problems)
            if not problems:
                print_line(f"{file}: valid: {summary}")
    if output_format is Format.json:
        print_json({"valid": not found, "errors": [problem.as_dict() for problem in found]})
    if found:
        raise typer.Exit(BAD_INPUT)


def _checked(file: str) -> tuple[str, tuple[Problem, ...]]:
    """What a file's graph is, in words, and what is wrong with it."""
    try:
        return open_model(file).graph.summary, ()
    except GraphEngineError as error:
        return "", error.located(file=file).problems


def show(
    file: ModelName,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show the code that runs it instead, and that trains it.")
    ] = False,
    sizes: Annotated[
        list[str] | None,
        typer.Option("--size", metavar="NAME=NUMBER", help="A size for --plan, N=24; default: that of the data."),
    ] = None,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
) -> None:
    """Show the nodes of MODEL in the order they run, with shapes."""
    model = open_model(file, plugins)
    if sizes and not plan:
        raise UsageError("--size is a size for --plan")
    description = describe_plans(model, named_values("--size", sizes or [])) if plan else describe_model(model)
    if output_format is Format.json:
        print_json(description)
    elif plan:
        print_plans(description)
    else:
        print_model(description)


def ops(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One op, in detail.")] = None,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
) -> None:
    """List all ops with formulas and attributes, or describe one."""
    from graphengine.registry import OPS, describe

    load_plugins(plugins)
    if name is not None and name not in OPS:
        raise UsageError(f"op '{name}' is not known", code="GE211", hint=did_you_mean(name, OPS, "known ops"))
    if output_format is Format.json:
        print_json(describe(OPS[name]) if name else {"ops": [describe(OPS[op]) for op in sorted(OPS)]})
    elif name:
        _print_op(OPS[name])
    else:
        print_table("", *_op_table(OPS))


def _op_table(table: Mapping[str, Op]) -> tuple[list[str], list[list[str]]]:
    columns = ["op", "inputs", "formula", "partial derivatives", "attributes"]
    rows = [
        [name, ", ".join(_inputs(op)), op.formula, op.partial_derivatives, ", ".join(_attributes(op))]
        for name, op in sorted(table.items())
    ]
    return columns, rows


def _print_op(op: Op) -> None:
    lines = {
        "op": op.name,
        "": op.summary,
        "inputs": op.signature.arity(),
        "outputs": ", ".join(op.signature.outputs),
        "attributes": ", ".join(_attributes(op)) or "none",
        "backward": "none: not differentiable"
        if op.signature.saved is None
        else "uses " + ", ".join(op.signature.saved),
        "defined in": f"{op.cls.__module__}.{op.cls.__qualname__}",
    }
    for title, text in lines.items():
        print_line(f"{title:<12}{text}")


def _inputs(op: Op) -> list[str]:
    """Input names as Python writes parameters: `*xs` for any number, `x=None` for optional."""
    return [str(parameter) for parameter in list(inspect.signature(op.cls.forward).parameters.values())[1:]]


def _attributes(op: Op) -> Iterator[str]:
    """Attributes as Python writes them: `axis: int | None = None`."""
    for name, field in op.cls.model_fields.items():
        default = "" if field.is_required() else f" = {field.get_default(call_default_factory=True)!r}"
        yield f"{name}: {inspect.formatannotation(field.annotation)}{default}"


def schema(
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file.")] = None,
    output_format: Annotated[SchemaFormat, typer.Option("--format", help="A schema is JSON.")] = SchemaFormat.json,
    plugins: Plugins = None,
) -> None:
    """Print the JSON Schema of model files, for editors."""
    import orjson

    from graphengine.format.schema import model_schema
    from graphengine.format.writing import write_bytes
    from graphengine.functions import shipped_functions
    from graphengine.training.rules import shipped_rules

    load_plugins(plugins)
    functions = {name: function.document for name, function in shipped_functions().items()}
    data = orjson.dumps(
        model_schema(shipped_rules(), functions), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    )
    if output is None:
        typer.echo(data, nl=False)
    else:
        write_bytes(output, data)
        typer.echo(f"schema written to {output}", err=True)
