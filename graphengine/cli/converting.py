"""`export` and `import`: a model as a file of another kind, and the other way."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.opening import model_file, open_without_inputs
from graphengine.cli.options import LIMITS, ModelName, Plugins, Settings, Strict
from graphengine.cli.output import check_targets, print_note, writable
from graphengine.cli.values import named_values
from graphengine.errors import UsageError

if TYPE_CHECKING:
    from graphengine.model.model import Model


ONNX = "onnx"
"""The key in the metadata of an imported model that has what was changed."""


class FileKind(StrEnum):
    """What a model is written as."""

    onnx = "onnx"
    python = "python"
    c = "c"


class GraphKind(StrEnum):
    """What is exported of a model."""

    forward = "forward"
    gradient = "gradient"
    step = "step"
    start = "start"


def export(
    file: ModelName,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", callback=writable, help="The file to write.")
    ],
    kind: Annotated[
        FileKind,
        typer.Option("--format", help="Write an ONNX model, a Python file that needs only NumPy, or a C file."),
    ] = FileKind.onnx,
    graph: Annotated[
        GraphKind | None,
        typer.Option(
            help="ONNX: the predictions, the gradient of the loss, one iteration, or its start. Default: forward."
        ),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option("--outputs", metavar="NAME", help="ONNX: an output to write. Default: all. May be repeated."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(metavar="float32", help="ONNX: write double precision as single precision.")
    ] = None,
    opset: Annotated[int | None, typer.Option(metavar="N", help="ONNX: the opset to write. Default: 18.")] = None,
    no_defaults: Annotated[
        bool, typer.Option("--no-defaults", help="ONNX: write a step whose inputs have no defaults, for JavaScript.")
    ] = False,
    external: Annotated[
        bool, typer.Option("--external", help="ONNX: write values to a safetensors file beside it.")
    ] = False,
    size: Annotated[
        list[str] | None,
        typer.Option(
            "--size", metavar="NAME=NUMBER", help="C: a size of the inputs. Default: that of a training batch, or 1."
        ),
    ] = None,
    settings: Settings = None,
    plugins: Plugins = None,
    strict: Strict = False,
) -> None:
    """Write MODEL as a file that runs without graphengine.

    An ONNX file has one graph, which any ONNX runtime runs and, with --graph step, trains. A Python file has the
    functions forward, gradient and step, a C file has them for sizes that are known.
    """
    check_targets({"MODEL": model_file(file), "--output": output})
    chosen = {"graph": graph, "outputs": outputs, "dtype": dtype, "opset": opset}
    chosen |= {"no-defaults": no_defaults, "external": external}
    if kind is not FileKind.onnx:
        _require_none(chosen, kind)
    model = open_without_inputs(file, plugins, settings, strict=strict)
    if size and kind is not FileKind.c:
        raise UsageError("--size is for C files; in other files sizes stay symbols")
    if kind is FileKind.onnx:
        _write_onnx(model, output, {**chosen, "graph": graph or GraphKind.forward})
    else:
        _write_code(model, output, kind, named_values("--size", size))
    print_note(f"{WORDS[kind]} written to {output}")


def _require_none(chosen: Mapping[str, Any], kind: FileKind) -> None:
    """Refuse options of ONNX files for a file of another kind."""
    for option, value in chosen.items():
        if value:
            all_of_it = f"a {kind.value} file has all functions and outputs of a model"
            raise UsageError(f"--{option} is for ONNX files; {all_of_it}")


WORDS = {FileKind.onnx: "ONNX model", FileKind.python: "Python file", FileKind.c: "C file"}


def _write_code(model: Model, output: Path, kind: FileKind, sizes: dict[str, Any]) -> None:
    from graphengine.model.code_files import export_c, export_python

    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise UsageError(f"--size {name}: a size is an integer from 1, not {size!r}")
    if kind is FileKind.c:
        export_c(model, output, sizes)
    else:
        export_python(model, output)


def _write_onnx(model: Model, output: Path, chosen: dict[str, Any]) -> None:
    from graphengine.format.onnx.emitting import OLDEST_OPSET
    from graphengine.model.onnx_files import export as export_to_onnx

    export_to_onnx(
        model,
        output,
        graph=chosen["graph"].value,
        outputs=chosen["outputs"] or None,
        dtype=chosen["dtype"],
        opset=chosen["opset"] or OLDEST_OPSET,
        defaults=not chosen["no-defaults"],
        external=chosen["external"] or None,
    )


def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An ONNX file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", callback=writable, help="The model file to write.")
    ],
    freeze: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help='Parameters to freeze, such as "encoder.*". May be repeated.'),
    ] = None,
    head: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make this value the output, and drop all later nodes.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(metavar="N", min=2, help="Add a layer with N classes and its loss after --head.")
    ] = None,
    targets: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Add a layer with N numbers and its loss after --head.")
    ] = None,
    fixed: Annotated[
        list[str] | None,
        typer.Option("--fix", metavar="NAME=JSON", help="Make an input constant: shape=[2,3]. May be repeated."),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option("--size", metavar="NAME=N", help="Set a symbolic size. May be repeated."),
    ] = None,
) -> None:
    """Write a model file for an ONNX file, with its tensors as parameters that can be trained."""
    from graphengine.model.from_onnx import load

    check_targets({"FILE": file, "--output": output})
    model = load(
        file,
        freeze=freeze or [],
        head=head,
        classes=classes,
        targets=targets,
        fixed=_given(fixed, "--fix"),
        sizes=_whole(_given(sizes, "--size")),
        limits=LIMITS.get(),
    )
    model.save(output)
    for note in (model.document.metadata or {}).get(ONNX, {}).get("notes", []):
        print_note(note)
    print_note(f"model of {model.graph.summary} written to {output}")


def _given(settings: list[str] | None, option: str) -> dict[str, Any]:
    """Return values by name of texts such as NAME=JSON."""
    from graphengine.format.strict import parse_json

    found = {}
    for text in settings or []:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"{option} takes NAME=VALUE, not '{text}'")
        found[name] = parse_json(value.encode())
    return found


def _whole(sizes: dict[str, Any]) -> dict[str, int]:
    wrong = [name for name, size in sizes.items() if type(size) is not int or size < 0]
    if wrong:
        raise UsageError(f"--size takes a number of at least 0, not {wrong[0]}={sizes[wrong[0]]}")
    return sizes
