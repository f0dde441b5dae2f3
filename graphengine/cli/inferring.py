"""`new`: a complete model file to begin with, for a table or with sample data."""

from __future__ import annotations

import json
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from graphengine.cli.options import LIMITS, OutputFile, OutputFormat
from graphengine.cli.output import Format, aligned, check_targets, print_note, print_notes, print_result, print_text
from graphengine.errors import UsageError, did_you_mean
from graphengine.wording import counted, shown

if TYPE_CHECKING:
    from graphengine.data.csv_dialect import Dialect
    from graphengine.drafting.roles import Role
    from graphengine.drafting.table_draft import TableDraft
    from graphengine.drafting.table_model import Family


class TargetKind(StrEnum):
    """What a model predicts."""

    classification = "classification"
    regression = "regression"


def new(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[linear|logistic|mlp|cnn|lstm]", help="The kind of model. Default: the one that fits the target."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A CSV, Parquet or Arrow file with a table to learn from.")
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column to predict.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column to leave out. May be repeated.")
    ] = None,
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether the first row has names. Default: inferred.")
    ] = None,
    task: Annotated[
        TargetKind | None, typer.Option(help="Whether the target is classes or a number. Default: inferred.")
    ] = None,
    missing: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A text that marks a missing value. May be repeated.")
    ] = None,
    output: OutputFile = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    output_format: OutputFormat = Format.text,
) -> None:
    """Write a complete model file that can be trained at once, for a table or with sample data.

    The separator of the table, the kinds of columns, gaps, scaling, loss, metrics and validation are inferred and
    printed with the reasons. A numeric target gets a regression, a text target a classification.
    """
    check_targets({"--data": data, "--output": output})
    if not force:
        _require_new(output)
    if data is not None:
        wanted = TableRequest(target, exclude or [], _family(kind), header, missing or [], task)
        _new_for_table(data, wanted, output, output_format)
    elif given := _of_a_table(target=target, task=task, exclude=exclude, missing=missing):
        raise UsageError(f"{given} needs --data FILE, the table to use")
    else:
        _new_template(kind, output, output_format)


def _of_a_table(**options: Any) -> str | None:
    """The first of the given options, all of which are about a table."""
    return next((f"--{name}" for name, value in options.items() if value), None)


def _family(kind: str | None) -> Family | None:
    from graphengine.drafting.table_model import Family

    if kind is None:
        return None
    _require_kind(kind, list(Family))
    return Family(kind)


def _require_kind(kind: str, kinds: Collection[str]) -> None:
    if kind not in kinds:
        raise UsageError(f"there is no kind of model '{kind}'", hint=did_you_mean(kind, kinds, "kinds"))


class TableRequest(NamedTuple):
    """What the command line says of a table."""

    target: str | None
    excluded: list[str]
    family: Family | None
    header: bool | None
    missing: list[str]
    task: TargetKind | None

    @property
    def classes(self) -> bool | None:
        """Whether the target is classes; None that this is inferred."""
        return None if self.task is None else self.task is TargetKind.classification


def _require_new(output: Path | None) -> None:
    if output is not None and output.exists():
        raise UsageError(f"{output} already exists", hint="choose another name, or overwrite it with --force")


def _new_for_table(data: Path, wanted: TableRequest, output: Path | None, output_format: Format) -> None:
    from graphengine.data.stored import Memory
    from graphengine.drafting.table_draft import draft_table

    if data.name.lower().endswith((".jsonl", ".npz", ".npy", ".json", ".xlsx")):
        raise UsageError(f"--data {data} is not a file of columns", hint="save the table as .csv, .csv.gz or .parquet")
    folder, name = output.parent if output else Path(), output.stem if output else data.name.partition(".")[0]
    memory = Memory(LIMITS.get().data_bytes)
    draft = draft_table(
        data,
        wanted.target,
        wanted.family,
        folder,
        name or "model",
        wanted.excluded,
        memory,
        header=wanted.header,
        missing=wanted.missing,
        classes=wanted.classes,
    )
    written = _written(draft.document, folder / f"{name}.json", output)

    def show() -> None:
        _print_inferred(draft)
        _print_model(written, output)

    print_result(output_format, {**_as_json(draft), **_model_as_json(written, output)}, show)


def _new_template(kind: str | None, output: Path | None, output_format: Format) -> None:
    from graphengine.drafting.parts import training_decisions
    from graphengine.drafting.samples import TEMPLATES, template

    if kind is None:
        kinds = ", ".join(TEMPLATES)
        raise UsageError("new needs a kind of model or --data FILE", hint=f"kinds: {kinds}")
    _require_kind(kind, TEMPLATES)
    document = template(kind, output.stem if output else kind)
    written = _written(document, Path(f"{kind}.json"), output)
    decisions = {"data": "sample data in the file; put your own there", **training_decisions(document)}

    def show() -> None:
        print_note(document["description"])
        _print_decisions(decisions)
        _print_model(written, output)

    print_result(output_format, {"decisions": decisions, **_model_as_json(written, output)}, show)


def _written(document: dict[str, Any], path: Path, output: Path | None) -> bytes:
    """The text of a model file, checked as any other, and written if a file is named."""
    text = _canonical(document, path)
    if output is not None:
        from graphengine.format.files import write_bytes

        write_bytes(output, text)
    return text


def _model_as_json(text: bytes, output: Path | None) -> dict[str, Any]:
    return {"file": str(output)} if output else {"model": json.loads(text)}


def _print_decisions(decisions: dict[str, str]) -> None:
    for part, decision in decisions.items():
        print_note(f"{part}: {decision}")


def _canonical(document: dict[str, Any], path: Path) -> bytes:
    """The text of a model file, which is checked as any other; layers stay the calls that they are."""
    from graphengine.format.documents import ModelDocument
    from graphengine.format.writing import dump_model
    from graphengine.model.model import Model

    Model.from_dict(document, path, limits=LIMITS.get())
    return dump_model(ModelDocument.model_validate(document))


def _print_model(text: bytes, output: Path | None) -> None:
    if output is None:
        print_text(text)
        return
    print_note(f"written to {output}; next: graphengine train {output} --save {output.stem}_trained.json")


def _print_inferred(draft: TableDraft) -> None:
    """What was found and decided, on stderr: the result is the file."""
    print_note(f"{draft.source}: {_layout(draft)}")
    rows = [
        [shown(role.column)[1:-1], role.kind, str(role.gaps), _use(role, draft), role.why] for role in draft.columns
    ]
    print_notes(f"  {line}" for line in aligned([["column", "kind", "gaps", "used", "why"], *rows]))
    _print_decisions(draft.decisions())


def _use(role: Role, draft: TableDraft) -> str:
    if role is draft.task.target:
        return "target"
    return "yes" if role.is_used else "no"


def _layout(draft: TableDraft) -> str:
    found = draft.survey
    parts = [counted(found.rows, "row"), counted(len(found.columns), "column")]
    return ", ".join([*parts, *_dialect(found.dialect)] if found.kind == "csv" else parts)


def _dialect(dialect: Dialect) -> list[str]:
    """How a file of text is written, without what is as in most files."""
    return [
        f"separator {shown(dialect.separator)}",
        f"decimal {shown(dialect.decimal)}",
        *_marks("thousands", dialect.thousands),
        *["no header"] * (not dialect.header),
        *_marks("comment", dialect.comment),
        *_marks("dates", dialect.date_format),
        *[f"missing {', '.join(map(shown, dialect.missing))}"] * bool(dialect.missing),
    ]


def _marks(what: str, mark: str | None) -> list[str]:
    return [f"{what} {shown(mark)}"] if mark else []


def _as_json(draft: TableDraft) -> dict[str, Any]:
    dialect = draft.survey.dialect
    layout = {
        "separator": dialect.separator,
        "decimal": dialect.decimal,
        "thousands": dialect.thousands,
        "header": dialect.header,
        "missing": list(dialect.missing),
        "comment": dialect.comment,
        "date_format": dialect.date_format,
    }
    columns = [
        {
            "column": role.column,
            "kind": role.kind,
            "gaps": role.gaps,
            "used": "target" if role is draft.task.target else role.is_used,
            "categories": list(role.categories),
            "why": role.why,
        }
        for role in draft.columns
    ]
    layouts = {"layout": layout} if draft.survey.kind == "csv" else {}
    found = {"data": draft.source, "rows": draft.survey.rows, **layouts, "columns": columns}
    return {**found, "decisions": draft.decisions()}
