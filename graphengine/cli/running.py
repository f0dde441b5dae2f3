"""`run` and `train`: do what a model file declares, and tell how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.data_files import needed_to_train, read_data
from graphengine.cli.failures import Unwritten
from graphengine.cli.opening import decoded, open_changed
from graphengine.cli.options import (
    BackendName,
    CheckFinite,
    CheckpointFolder,
    ColumnNames,
    DataName,
    Inputs,
    LogFile,
    ModelName,
    OutputFormat,
    PlotFile,
    Plugins,
    SaveFile,
    Settings,
    UpdateRuleFile,
)
from graphengine.cli.output import Format, check_targets, json_values, print_json, print_line, print_values, writable
from graphengine.cli.progress import check_plot, draw_curve, print_curve, train
from graphengine.cli.resuming import checkpoint_folder
from graphengine.cli.values import named_values
from graphengine.errors import InputError, UsageError
from graphengine.wording import counted

if TYPE_CHECKING:
    from graphengine.data.batches import Batches
    from graphengine.fit.solvers import Solver
    from graphengine.model.model import Model
    from graphengine.training.history import History
    from graphengine.training.loop import Trainer

OVERRIDES = ("learning_rate", "epochs", "batch_size", "max_iterations", "seed", "shuffle")


def run(
    context: typer.Context,
    model: ModelName,
    inputs: Inputs = None,
    data: DataName = None,
    columns: ColumnNames = None,
    settings: Settings = None,
    save: SaveFile = None,
    learning_rate: Annotated[float | None, typer.Option(help="In place of the file's.")] = None,
    epochs: Annotated[int | None, typer.Option(help="In place of the file's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="In place of the file's.")] = None,
    max_iterations: Annotated[int | None, typer.Option(help="In place of the file's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the shuffling, in place of the file's.")] = None,
    shuffle: Annotated[bool | None, typer.Option("--shuffle/--no-shuffle", help="In place of the file's.")] = None,
    update_rule: UpdateRuleFile = None,
    checkpoint: CheckpointFolder = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint, if any.")] = False,
    log: LogFile = None,
    plot: PlotFile = None,
    check_finite: CheckFinite = False,
    curve: Annotated[bool, typer.Option("--curve", help="Print the loss curve.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    backend: BackendName = "numpy",
) -> None:
    """Train MODEL, or evaluate it if it declares no training.

    Inputs given with --data and --input are the values to evaluate, or the data to train on in place of the file's.
    """
    check_targets({"--data": Path(data) if data else None, "--save": save, "--log": log, "--plot": plot})
    check_plot(plot)
    saving = checkpoint_folder(checkpoint, resume=resume)
    opened, given = open_changed(model, plugins, settings or [], update_rule, backend=backend)
    check_save(opened, save)
    given = decoded(opened, {**given, **named_values("--input", inputs or [])})
    given |= read_data(opened, data, columns or [], given, needed_to_train(opened))
    overrides = {name: context.params[name] for name in OVERRIDES if context.params[name] is not None}
    history: History | None = None
    unwritten = Unwritten()
    if context.info_name == "train" or opened.document.training or overrides or update_rule:
        trainer = opened.trainer(given or None, **saving, **overrides)
        history = _train(trainer, check_finite=check_finite, quiet=quiet, log=log, unwritten=unwritten)
        saved = save_model(opened, save, unwritten)  # before anything else that may fail
        draw_curve(history, plot, unwritten)
        outputs = _outputs_on(opened, trainer.batches)
    else:
        outputs = _evaluate(opened, given, check_finite=check_finite)
        saved = save_model(opened, save, unwritten)
    if output_format is Format.json:
        print_json({**_as_json(opened, history, outputs), **saved, **unwritten.as_json()})
    elif not quiet:
        _print_end(opened, history, outputs, saved)
        if curve:
            print_curve(history)
    unwritten.end(output_format)


def check_save(model: Model, path: Path | None) -> None:
    """Find out before a long training that the tensors beside its result could not be written."""
    from graphengine.format.tensors import are_external, tensors_name

    if path is not None and are_external(model.values.values()):
        writable(path.with_name(tensors_name(path.stem, "0" * 64)))


def save_model(model: Model, path: Path | None, unwritten: Unwritten) -> dict[str, str]:
    """Save a model if a file is named for it, and give what a result says of that."""
    with unwritten.kept():
        if path is not None:
            model.save(path)
            return {"saved": str(path)}
    return {}


def _train(
    trainer: Trainer | Solver, *, check_finite: bool, quiet: bool, log: Path | None, unwritten: Unwritten
) -> History:
    if check_finite:
        _check_finite(trainer)
    train(trainer, quiet=quiet, log=log, unwritten=unwritten)
    return trainer.history


def _evaluate(model: Model, given: Mapping[str, Any], *, check_finite: bool) -> dict[str, Any]:
    """All outputs, for the given inputs or, if none are given, for the file's only data source."""
    from graphengine.data.stored import Stored

    if not given and model.graph.inputs and len(model.document.data) == 1:
        given = model.load_data()
    if any(isinstance(array, Stored) for array in given.values()):
        return _evaluate_in_parts(model, given, check_finite=check_finite)
    try:
        run = model.forward(given)
    except InputError as error:
        if [problem.code for problem in error.problems] != ["GE133"]:
            raise
        return _evaluate_in_parts(model, given, check_finite=check_finite)
    if check_finite:
        run.check_finite()
    return run.outputs


def _evaluate_in_parts(model: Model, data: Mapping[str, Any], *, check_finite: bool) -> dict[str, Any]:
    from graphengine.data.batches import Batches
    from graphengine.training.evaluation import largest_part

    batches = Batches(data, model.graph, batch_size=1)
    if check_finite:
        part = largest_part(batches, [model.graph])
        for segment in Batches(data, model.graph, batch_size=part).epoch(1):
            for index in range(segment.count):
                model.forward(segment.batch(index)).check_finite()
    return _outputs_on(model, batches)


def _check_finite(trainer: Trainer | Solver) -> None:
    from graphengine.training.loop import Trainer

    if not isinstance(trainer, Trainer):
        raise UsageError("--check-finite looks at the iterations of an update rule, and this training has a solver")
    trainer.check_finite()


def _outputs_on(model: Model, batches: Batches) -> dict[str, Any]:
    """The outputs on all samples, none if the model takes them one by one.

    Of data that does not fit into memory as one batch it is those that have no part for each sample.
    """
    import numpy as np

    from graphengine.ir.binding import bind_sizes
    from graphengine.ir.memory import memory_problem
    from graphengine.training.evaluation import Evaluation

    if batches.takes_single_samples:
        return {}
    graph, whole = model.graph, batches.whole()
    needs = {name: model.executor.inputs_of([value]) for name, value in graph.outputs.items()}
    ready = [name for name in needs if set(needs[name]) <= batches.inputs]
    if whole is not None and not memory_problem(graph, bind_sizes(batches.shapes_of(batches.samples), graph.types)):
        return model.predict(whole, outputs=ready)
    fixed = [name for name in ready if all(isinstance(size, int) for size in graph.types[graph.outputs[name]].shape)]
    found = Evaluation(graph, batches.arrays, dict(zip(fixed, fixed, strict=True)))(model.values)
    return {name: np.asarray(value) for name, value in found.items()}


def _as_json(model: Model, history: History | None, outputs: Mapping[str, Any]) -> dict[str, Any]:
    from graphengine.ops.numbers import encode_number

    first, last = map(encode_number, (history.first_loss, history.last_loss)) if history else (None, None)
    return {
        "model": model.graph.name,
        "iterations": len(history) if history else 0,
        "epochs": history.epochs_trained if history else 0,
        "loss": {"first": first, "last": last},
        **({"stopped": history.stopped} if history and history.stopped else {}),
        **({"checks": json_values(history.checks[-1].values)} if history and history.checks else {}),
        "parameters": json_values(model.parameters),
        "outputs": json_values(outputs),
    }


def _print_end(model: Model, history: History | None, outputs: Mapping[str, Any], saved: Mapping[str, str]) -> None:
    _print_result(model, history, outputs)
    for path in saved.values():
        print_line(f"saved to {path}")


def _print_result(model: Model, history: History | None, outputs: Mapping[str, Any]) -> None:
    if history is None:
        print_line(f"{model.graph.name}: {model.graph.summary}")
        print_values("outputs", outputs)
        return
    iterations, epochs = counted(len(history), "iteration"), counted(history.epochs_trained, "epoch")
    print_line(f"{model.graph.name}: {iterations}, {epochs}")
    print_line(f"loss: {history.first_loss:.10g} -> {history.last_loss:.10g}")
    if history.stopped:
        print_line(f"stopped: {history.stopped}")
    if history.checks:
        print_values(f"check after iteration {history.checks[-1].iteration}", history.checks[-1].values)
    print_values("parameters", model.parameters)
    print_values("outputs", {name: value for name, value in outputs.items() if value.shape == ()})
