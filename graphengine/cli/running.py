"""`run` and `train`: do what a model file declares, and report the result."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.failures import Unwritten, heed
from graphengine.cli.opening import check_save, decoded, on_device, open_changed, save_model
from graphengine.cli.options import (
    BackendName,
    CheckFinite,
    CheckpointFolder,
    ColumnNames,
    DaskAddress,
    DataName,
    Device,
    Inputs,
    LogFile,
    ModelName,
    OutputFormat,
    PlotFile,
    Plugins,
    SaveFile,
    Settings,
    Strict,
    UpdateRuleFile,
    WorkerCount,
)
from graphengine.cli.output import Format, check_targets, print_json, print_note, print_text
from graphengine.cli.reporting import CheckedRows, Report, TrainedRows, training_warnings
from graphengine.errors import Problem, UsageError, WorkersError

if TYPE_CHECKING:
    from graphengine.data.batches import Batches
    from graphengine.fit.solver_trainer import SolverTrainer
    from graphengine.model.model import Model
    from graphengine.training.history import History
    from graphengine.training.loop import Trainer

OVERRIDES = ("learning_rate", "epochs", "batch_size", "max_iterations", "seed", "shuffle", "shard_rows")
TRAINING_OPTIONS = (*OVERRIDES, "update_rule", "checkpoint", "resume", "log", "plot", "curve", "workers", "dask")


def run(
    context: typer.Context,
    model: ModelName,
    inputs: Inputs = None,
    data: DataName = None,
    columns: ColumnNames = None,
    settings: Settings = None,
    save: SaveFile = None,
    learning_rate: Annotated[float | None, typer.Option(help="Override the learning rate in the file.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Override the epochs in the file.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Override the batch size in the file.")] = None,
    max_iterations: Annotated[
        int | None, typer.Option(help="Override the maximum number of iterations in the file.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed for shuffling; overrides the file.")] = None,
    shuffle: Annotated[
        bool | None, typer.Option("--shuffle/--no-shuffle", help="Override the shuffling in the file.")
    ] = None,
    shard_rows: Annotated[int | None, typer.Option(help="Rows in each shard of a batch; overrides the file.")] = None,
    workers: WorkerCount = None,
    dask: DaskAddress = None,
    update_rule: UpdateRuleFile = None,
    checkpoint: CheckpointFolder = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the newest checkpoint, if any.")] = False,
    log: LogFile = None,
    plot: PlotFile = None,
    check_finite: CheckFinite = False,
    curve: Annotated[bool, typer.Option("--curve", help="Print the loss curve.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
    backend: BackendName = "numpy",
    device: Device = None,
) -> None:
    """Train MODEL, or evaluate it if it is trained or declares no training.

    A model is trained if the file has values for its trainable parameters; "train" trains it further. Inputs given with
    --data and --input are evaluated, or trained on, and override the data of the file.
    """
    check_targets({"--data": data, "--save": save, "--log": log, "--plot": plot})
    _check_plot(plot)
    saving = _saving(checkpoint, resume=resume)
    opened, given = open_changed(
        model, plugins, settings, update_rule, backend=on_device(backend, device), strict=strict
    )
    check_save(opened, save)
    given = _decoded(opened, given, inputs)
    trains = context.info_name == "train" or _trains(opened, context)
    if data is not None or columns:
        given = _with_data(opened, data, columns, given, trains=trains)
    unwritten = Unwritten()
    if trains:
        trainer, work = _trainer(opened, given, {**saving, **_overrides(context)}, workers, dask)
        _heed_resuming(trainer, strict=strict)
        with work:
            _train(trainer, check_finite=check_finite, quiet=quiet, log=log, unwritten=unwritten)
        saved = save_model(opened, save, unwritten)  # before anything else that may fail
        _draw_curve(trainer.history, plot, unwritten)
        report = _report_of(opened, trainer)
    else:
        report = _evaluate(opened, given, check_finite=check_finite)
        saved = save_model(opened, save, unwritten)
    _report_warnings(report, unwritten if strict else None)
    if output_format is Format.json:
        print_json({**report.as_json(), **saved, **unwritten.as_json()})
    elif not quiet:
        _print_report(report, saved, curve=curve)
    unwritten.end(output_format)


def _saving(checkpoint: Path | None, *, resume: bool) -> dict[str, Any]:
    """The checkpoints that options ask for, as keywords of a training."""
    if checkpoint is None and not resume:
        return {}
    from graphengine.cli.checkpointing import checkpoint_folder

    return checkpoint_folder(checkpoint, resume=resume)


def _decoded(model: Model, given: dict[str, Any], inputs: list[str] | None) -> dict[str, Any]:
    if not (given or inputs):
        return given
    from graphengine.cli.values import named_values

    return decoded(model, {**given, **named_values("--input", inputs)})


def _with_data(
    model: Model, data: str | None, columns: list[str] | None, given: dict[str, Any], *, trains: bool
) -> dict[str, Any]:
    """The given inputs and those of `--data`: to train, what a training needs, else all that there are."""
    from graphengine.cli.data_files import named_after, needed_to_train, read_data

    read = read_data(model, data, columns, given, needed_to_train(model) if trains else None)
    return named_after(data, given | read)


def _overrides(context: typer.Context) -> dict[str, Any]:
    """The options that override keys of the training section."""
    return {name: context.params[name] for name in OVERRIDES if context.params[name] is not None}


def _report_warnings(report: Report, unwritten: Unwritten | None) -> None:
    """Print the warnings, or keep them as errors for the end of a strict run."""
    if unwritten is None:
        heed(report.warnings, strict=False)
    else:
        unwritten.problems += report.warnings


def _print_report(report: Report, saved: Mapping[str, str], *, curve: bool) -> None:
    report.print(saved)
    if report.history is None and report.model.document.training is not None:
        print_note("the file has trained values and was evaluated; 'graphengine train' trains it further")
    if curve and report.history is not None:
        from graphengine.draw.curve import terminal_curve

        print_text(f"{terminal_curve(report.history.losses)}\n")


def _trains(model: Model, context: typer.Context) -> bool:
    """Whether `run` trains a model: if it declares a training, or options do, and the file has no trained values.

    Raises
    ------
    UsageError
        GE801 for options of a training with a model that is trained.
    """
    if not (model.document.training and is_trained(model)):
        return bool(model.document.training or context.params["update_rule"] or _overrides(context))
    for option in _training_options(context):
        message = f"the file has trained values, so 'run' evaluates it, and {option} only applies to a training"
        raise UsageError(message, hint="train it further with 'graphengine train'")
    return False


def _training_options(context: typer.Context) -> Iterator[str]:
    """The options of a command line that concern a training alone."""
    for name in TRAINING_OPTIONS:
        if _is_given(name, context.params[name]):
            yield f"--{name.replace('_', '-')}"
    yield from (f"--set {text}" for text in context.params["settings"] or () if text.startswith("training."))


def _is_given(name: str, value: Any) -> bool:
    """Whether an option was given; flags but that of the shuffling are False by default."""
    return value is not None and (value is not False or name == "shuffle")


def is_trained(model: Model) -> bool:
    """Whether the file has values for all trainable parameters."""
    parameters = model.document.parameters
    trainable = model.graph.trainable
    return bool(trainable) and all(parameters[name].value is not None for name in trainable)


def _trainer(
    model: Model, given: dict[str, Any], options: Mapping[str, Any], workers: int | None, dask: str | None
) -> tuple[Trainer | SolverTrainer, AbstractContextManager[None]]:
    """A training, and the block in which workers compute its shards, if there are any."""
    if workers is None and dask is None:
        return model.trainer(given or None, **options), nullcontext()
    from graphengine.cli.clustering import trainer_over

    return trainer_over(model, given, options, workers, dask)


def _train(
    trainer: Trainer | SolverTrainer, *, check_finite: bool, quiet: bool, log: Path | None, unwritten: Unwritten
) -> None:
    """Run a training to its end; a bar on a terminal and a log show its rows, and a note says how to resume it."""
    from graphengine.training.loop import run_to_end

    if check_finite:
        _check_finite(trainer)
    bar = sys.stderr.isatty() and not quiet
    try:
        if not bar and log is None:
            run_to_end(trainer)
        else:
            from graphengine.cli.progress import watched

            with watched(trainer, bar=bar, log=log, unwritten=unwritten) as see:
                run_to_end(trainer, see)
    except (KeyboardInterrupt, SystemExit, WorkersError) as error:
        from graphengine.cli.progress import note_interruption

        note_interruption(trainer, error)
        raise


def _check_plot(path: Path | None) -> None:
    """Find out before a long training that its curve could not be drawn or written."""
    if path is not None:
        from graphengine.draw.curve import check_format

        check_format(path)


def _draw_curve(history: History, path: Path | None, unwritten: Unwritten) -> None:
    """Draw the loss curve into a file, if one is named for it."""
    if path is not None:
        from graphengine.draw.curve import save_curve

        with unwritten.kept():
            save_curve(history, path)


def _heed_resuming(trainer: Trainer | SolverTrainer, *, strict: bool) -> None:
    from graphengine.model.linting import resuming

    heed(resuming(trainer), strict=strict)


def _report_of(model: Model, trainer: Trainer | SolverTrainer) -> Report:
    """The end of a training."""
    batches, warnings = trainer.batches, training_warnings(trainer.history)
    outputs = _outputs_on(model, batches, warnings)
    has_rows = batches.batched_inputs or batches.single_inputs
    trained = TrainedRows(batches.samples, batches.batch_size) if has_rows else None
    return Report(model, outputs, batches.samples, trainer.history, trained, _checked(trainer), warnings)


def _outputs_on(model: Model, batches: Batches, warnings: list[Problem]) -> Mapping[str, Any]:
    """The outputs on all rows of a training: at once where they fit into memory, else in parts."""
    ready = model.evaluator.ready_at_once(batches)
    if ready is not None:
        return model.predict(batches.whole(), outputs=ready)
    from graphengine.model.outputs import outputs_in_parts

    return outputs_in_parts(model, batches, warnings)


def _checked(trainer: Trainer | SolverTrainer) -> CheckedRows | None:
    """What the checks of a training are on, if it has any; a solver has none."""
    from graphengine.training.loop import Trainer

    if not isinstance(trainer, Trainer) or trainer.checks is None:
        return None
    checks, validation = trainer.checks, trainer.training.validation
    return CheckedRows(checks.samples, checks.apart, validation.data if validation else None)


def _evaluate(model: Model, given: Mapping[str, Any], *, check_finite: bool) -> Report:
    """All outputs of a model, in inference mode."""
    from graphengine.model.outputs import evaluate

    return Report(model, *evaluate(model, given, check_finite=check_finite))


def _check_finite(trainer: Trainer | SolverTrainer) -> None:
    from graphengine.training.loop import Trainer

    if not isinstance(trainer, Trainer):
        raise UsageError("--check-finite looks at the iterations of an update rule, and this training has a solver")
    trainer.check_finite()
