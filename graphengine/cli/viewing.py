"""`view`: a model as a page for the browser."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from graphengine.cli.opening import decoded, model_file, open_changed
from graphengine.cli.options import Inputs, ModelName, OutputFormat, Plugins, Settings, Strict
from graphengine.cli.output import Format, check_targets, print_note, print_result, writable
from graphengine.cli.values import named_values


def view(
    file: ModelName,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Page to write. Default: the model's name with .html, in the current folder.",
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page; without -o it is a temporary file.")] = False,
    inputs: Inputs = None,
    settings: Settings = None,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
) -> None:
    """Write a page that shows MODEL at work: its graph with values and gradients, step by step, and its training.

    The page is one file that needs no network. With --input it shows one evaluation instead of the training. Inputs,
    parameters and the learning rate of a small model can be edited on the page, which computes everything again.
    """
    from graphengine.format.files import write_bytes
    from graphengine.page.pages import page_of

    check_targets({"MODEL": model_file(file), "--output": output})
    model, given = open_changed(file, plugins, settings, strict=strict)
    path = output or Path(tempfile.mkdtemp() if show else ".") / f"{model_file(file).stem}.html"
    writable(path)
    page = page_of(model, decoded(model, {**given, **named_values("--input", inputs)})).encode()
    write_bytes(path, page)
    content = {"page": str(path), "bytes": len(page)}
    print_result(output_format, content, lambda: print_note(f"page written to {path}"))
    if show:
        typer.launch(path.resolve().as_uri())
