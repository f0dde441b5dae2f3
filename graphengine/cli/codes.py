"""`explain`: what an error code means, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from graphengine.cli.options import OutputFormat
from graphengine.cli.output import Format, print_line, print_result, print_table
from graphengine.errors import CODES, UsageError, did_you_mean


def explain(
    code: Annotated[str | None, typer.Argument(metavar="[CODE]", help="An error code such as GE210.")] = None,
    output_format: OutputFormat = Format.text,
) -> None:
    """Explain an error code: cause, example and remedy; without one, list all."""
    from graphengine.explanations import explained

    if code is None:
        content = {"codes": list(map(explained, CODES))}
        print_result(output_format, content, lambda: print_table("", ["code", "meaning"], list(CODES.items())))
        return
    if code.upper() not in CODES:
        raise UsageError(f"there is no error code '{code}'", hint=did_you_mean(code.upper(), CODES, "codes"))
    text = explained(code.upper())
    print_result(output_format, text, lambda: _print_one(**text))


def _print_one(code: str, title: str, cause: str, remedy: str, example: str) -> None:
    for line in (f"{code}: {title}", "", cause, "", f"What to do: {remedy}", "", "Example:", f"  {example}"):
        print_line(line)
