"""`export`: a model as a file of another kind."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from graphengine.cli.opening import open_changed
from graphengine.cli.options import ModelName, Plugins, Settings, Strict
from graphengine.cli.output import check_targets, print_note, writable
from graphengine.errors import UsageError
from graphengine.library import model_file


class GraphKind(StrEnum):
    """What is exported of a model."""

    forward = "forward"
    gradient = "gradient"
    step = "step"


def export(
    file: ModelName,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", callback=writable, help="The ONNX file to write.")
    ],
    graph: Annotated[
        GraphKind, typer.Option(help="Predictions, the gradient of the loss, or one iteration of the training.")
    ] = GraphKind.forward,
    outputs: Annotated[
        list[str] | None, typer.Option("--outputs", metavar="NAME", help="Default: all. May be repeated.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(metavar="float32", help="Write values of double precision in single precision.")
    ] = None,
    opset: Annotated[int | None, typer.Option(metavar="N", help="The ONNX opset. Default: 18.")] = None,
    settings: Settings = None,
    plugins: Plugins = None,
    strict: Strict = False,
) -> None:
    """Write a graph of MODEL as an ONNX file, which any ONNX runtime runs and, with --graph step, trains."""
    from graphengine.format.onnx.emitting import OLDEST_OPSET
    from graphengine.model.onnx_files import export as export_to_onnx

    check_targets({"MODEL": model_file(file), "--output": output})
    model, given = open_changed(file, plugins, settings or [], strict=strict)
    if given:
        raise UsageError(f"nothing is run here, so input '{next(iter(given))}' takes no value")
    export_to_onnx(model, output, graph=graph.value, outputs=outputs or None, dtype=dtype, opset=opset or OLDEST_OPSET)
    print_note(f"ONNX model written to {output}")
