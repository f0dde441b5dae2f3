"""`gradcheck`: the gradients of a model against the slopes of its loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.failures import WORK_FAILED
from graphengine.cli.opening import decoded, open_changed
from graphengine.cli.options import Inputs, ModelName, Of, OutputFormat, Plugins, Settings, Strict, Wrt
from graphengine.cli.output import Format, print_line, print_result, print_table
from graphengine.cli.values import named_values
from graphengine.errors import UsageError

if TYPE_CHECKING:
    from graphengine.model.gradcheck import GradientCheck
    from graphengine.model.model import Model


def gradcheck(
    file: ModelName,
    of: Of = None,
    wrt: Wrt = None,
    inputs: Inputs = None,
    settings: Settings = None,
    seed: Annotated[int, typer.Option(help="Seed of the directions and of random inputs.")] = 0,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
) -> None:
    """Check the gradients of MODEL against the slopes of its loss, by complex steps or central differences.

    The inputs are those given, else the first samples of the model's data, else random numbers. Exit code 1 if a
    gradient is wrong.
    """
    model, given = open_changed(file, plugins, settings, strict=strict)
    given = decoded(model, {**given, **named_values("--input", inputs)})
    loss = of or model.default_loss()
    names = wrt or _trainable(model)
    from graphengine.model.model_checks import checks_of_model, inputs_for_a_check

    values, origin = inputs_for_a_check(model, given, loss, seed)
    rows = [_row(check, mode) for mode, check in checks_of_model(model, values, loss, names, seed)]
    correct = all(row["correct"] for row in rows)
    result = {"model": model.graph.name, "of": loss, "inputs": origin, "correct": correct, "gradients": rows}
    print_result(output_format, result, lambda: _print(model, rows, loss, origin))
    if not correct:
        raise typer.Exit(WORK_FAILED)


def _trainable(model: Model) -> list[str]:
    names = list(model.graph.trainable)
    if not names:
        raise UsageError(f"with respect to which values? model '{model.graph.name}' has no trainable parameter")
    return names


def _row(check: GradientCheck, mode: str) -> dict[str, Any]:
    return {
        "parameter": check.name,
        "mode": mode,
        "law": check.law,
        "got": check.got,
        "expected": check.expected,
        "tolerance": check.tolerance,
        "method": check.method or "calling backward",
        "correct": check.holds,
        "message": None if check.holds else str(check),
    }


def _print(model: Model, rows: list[dict[str, Any]], loss: str, origin: str) -> None:
    print_line(f"{model.graph.name}: gradients of '{loss}' on {_ORIGINS[origin]}")
    columns = ["value", "mode", "backward", "slope", "by", "correct"]
    print_table("", columns, [_cells(row) for row in rows if row["law"] == "slope"])
    for row in rows:
        if not row["correct"]:
            print_line(f"wrong: with respect to '{row['parameter']}' in {row['mode']}: {row['message']}")


_ORIGINS = {
    "given": "the given inputs",
    "data": "the first samples of its data",
    "random": "random inputs",
    "none": "no inputs",
}


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [row["parameter"], row["mode"], f"{row['got']:.10g}", f"{row['expected']:.10g}", row["method"], _word(row)]


def _word(row: Mapping[str, Any]) -> str:
    return "yes" if row["correct"] else "no"
