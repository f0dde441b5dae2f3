"""`diff` and `upgrade`: what is different between two model files, and a file rewritten in the newest version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphengine.cli.opening import model_file
from graphengine.cli.options import LIMITS, ModelName, OutputFormat
from graphengine.cli.output import Format, print_json, print_line, print_lines, print_result, writable

if TYPE_CHECKING:
    from graphengine.format.differences import Difference
    from graphengine.format.documents import ModelDocument


def diff(
    before: ModelName,
    after: Annotated[str, typer.Argument(metavar="OTHER", help="A model file, or the name of a shipped model.")],
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 if the two models compute different results.")
    ] = False,
    output_format: OutputFormat = Format.text,
) -> None:
    """Show what differs between MODEL and OTHER; the order of nodes and formatting do not count."""
    from graphengine.format.differences import differences

    found = differences(_document(before), _document(after))
    same = not any(each.changes_meaning for each in found)
    content = {"same": same, "differences": [each.as_dict() for each in found]}
    print_result(output_format, content, lambda: print_lines(map(_line, found) if found else ["no difference"]))
    if exit_code and not same:
        raise typer.Exit(1)


def _line(found: Difference) -> str:
    return str(found) + " (different text, same meaning)" * (not found.changes_meaning)


def upgrade(
    file: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", callback=writable, help="Write to FILE instead of overwriting MODEL."
        ),
    ] = None,
    output_format: OutputFormat = Format.text,
) -> None:
    """Rewrite MODEL in the newest version of the format and of the ops, in canonical form."""
    from graphengine.format.building import completed
    from graphengine.format.documents import FORMAT_VERSION
    from graphengine.format.files import write_bytes
    from graphengine.format.meaning import fingerprint
    from graphengine.format.reading import read_model
    from graphengine.format.writing import dump_model

    document, source = read_model(file, LIMITS.get())
    target, data = output or file, dump_model(document)
    changed = output is not None or source.data != data
    if changed:
        write_bytes(target, data)
    if output_format is Format.json:
        versions = {"format_version": FORMAT_VERSION, "opset_imports": document.opset_imports}
        print_json(
            {"file": str(target), "changed": changed, "fingerprint": fingerprint(completed(document)), **versions}
        )
    else:
        version = f"format version {FORMAT_VERSION}"
        print_line(f"{target}: written in {version}" if changed else f"{target}: is in {version} and canonical already")


def _document(name: str) -> ModelDocument:
    from graphengine.format.building import completed
    from graphengine.format.reading import read_model

    return completed(read_model(model_file(name), LIMITS.get())[0])
