"""`gradcheck`: the gradients of a model against the slopes of its loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.failures import WORK_FAILED
from graphengine.cli.opening import decoded, open_changed
from graphengine.cli.options import Inputs, ModelName, Of, OutputFormat, Plugins, Settings, Strict, Wrt
from graphengine.cli.output import Format, print_json, print_line, print_table
from graphengine.cli.values import named_values
from graphengine.errors import UsageError

if TYPE_CHECKING:
    from graphengine.ir.graph import Graph
    from graphengine.model.gradcheck import Check
    from graphengine.model.model import Model

SAMPLES = 32
"""At most this many samples of the data are used."""
SIZE = 3
"""What a symbolic size is where inputs are made up."""


def gradcheck(
    file: ModelName,
    of: Of = None,
    wrt: Wrt = None,
    inputs: Inputs = None,
    settings: Settings = None,
    seed: Annotated[int, typer.Option(help="Of the directions, and of inputs that are made up.")] = 0,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
) -> None:
    """Check the gradients of MODEL against the slopes of its loss, by complex steps or central differences.

    The inputs are those given, else the first samples of the model's data, else random numbers. Exit code 1 if a
    gradient is wrong.
    """
    model, given = open_changed(file, plugins, settings or [], strict=strict)
    given = decoded(model, {**given, **named_values("--input", inputs or [])})
    loss = of or model.default_loss()
    names = wrt or list(model.graph.trainable)
    if not names:
        raise UsageError(f"say toward which values: model '{model.graph.name}' has no trainable parameter")
    values, origin = _inputs(model, given, loss, seed)
    rows = list(_rows(model, values, loss, names, seed))
    correct = all(row["correct"] for row in rows)
    if output_format is Format.json:
        told = {"model": model.graph.name, "of": loss, "inputs": origin, "correct": correct, "gradients": rows}
        print_json(told)
    else:
        _print(model, rows, loss, origin)
    if not correct:
        raise typer.Exit(WORK_FAILED)


def _inputs(model: Model, given: Mapping[str, Any], loss: str, seed: int) -> tuple[dict[str, Any], str]:
    """Values of the inputs that the loss needs, and where they are from."""
    from graphengine.ir.binding import bind_inputs

    needed = model.executor.inputs_of([model.graph.value_name(loss)])
    if given or not needed:
        return bind_inputs(model.graph, given, needed), "given" if given else "none"
    if model.document.data:
        training = model.document.training
        return _first_samples(model, training.data if training else None), "data"
    return _made_up(model.graph, needed, seed), "random"


def _first_samples(model: Model, data: str | None) -> dict[str, Any]:
    from graphengine.data.batches import Batches

    training = model.document.training
    size = training.batch_size if training else None
    batches = Batches(model.load_data(data), model.graph, batch_size=min(size or SAMPLES, SAMPLES))
    return next(iter(batches.epoch(1))).batch(0)


def _made_up(graph: Graph, names: list[str], seed: int) -> dict[str, Any]:
    """Normal numbers, for integers and truth values 0 and 1; each symbolic size is the same small number."""
    import numpy as np

    from graphengine.ops.shapes import size_value, symbols_of

    generator, values = np.random.default_rng(seed), {}
    for name in names:
        kind = graph.types[name]
        shape = [size_value(size, dict.fromkeys(symbols_of(kind.shape), SIZE)) or 0 for size in kind.shape]
        floating = kind.is_differentiable
        made = generator.normal(size=shape) if floating else generator.integers(0, 2, size=shape)
        values[name] = np.asarray(made, kind.array_dtype)[()]
    return values


def _rows(model: Model, inputs: Mapping[str, Any], loss: str, names: list[str], seed: int) -> Iterator[dict[str, Any]]:
    """The checks of the graph as it is used in inference and, where it differs, in training."""
    import numpy as np

    from graphengine.model.gradcheck import graph_checks
    from graphengine.transform.mode import in_training_mode

    graphs = {"inference": model.graph, "training": in_training_mode(model.graph)}
    if graphs["training"] is model.graph:
        del graphs["training"]
    for mode, graph in graphs.items():
        checks = graph_checks(graph, {**model.values, **inputs}, loss, names, np.random.default_rng(seed))
        yield from (_row(check, mode) for check in checks)


def _row(check: Check, mode: str) -> dict[str, Any]:
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
    what = {
        "given": "the given inputs",
        "data": "the first samples of its data",
        "random": "random inputs",
        "none": "no inputs",
    }[origin]
    print_line(f"{model.graph.name}: gradients of '{loss}' on {what}")
    columns = ["toward", "mode", "backward", "slope", "by", "correct"]
    cells = [
        [row["parameter"], row["mode"], f"{row['got']:.10g}", f"{row['expected']:.10g}", row["method"], _word(row)]
        for row in rows
        if row["law"] == "slope"
    ]
    print_table("", columns, cells)
    for row in rows:
        if not row["correct"]:
            print_line(f"wrong: toward '{row['parameter']}' in {row['mode']}: {row['message']}")


def _word(row: Mapping[str, Any]) -> str:
    return "yes" if row["correct"] else "no"
