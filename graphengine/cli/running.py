"""`run` and `train`: do what a model file declares, and report the result."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

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
from graphengine.cli.output import (
    Format,
    check_targets,
    json_values,
    print_json,
    print_line,
    print_note,
    print_text,
    print_values,
)
from graphengine.errors import Problem, UsageError, WorkersError
from graphengine.wording import counted

if TYPE_CHECKING:
    from graphengine.data.batches import Batches
    from graphengine.fit.solver_trainer import SolverTrainer
    from graphengine.model.model import Model
    from graphengine.training.history import History
    from graphengine.training.loop import Trainer

OVERRIDES = ("learning_rate", "epochs", "batch_size", "max_iterations", "seed", "shuffle", "shard_rows")
TRAINING_OPTIONS = (*OVERRIDES, "update_rule", "checkpoint", "resume", "log", "plot", "curve", "workers", "dask")

NOISE = 1e-6
"""A loss that is larger by less than this part of itself is the same."""


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
    except (KeyboardInterrupt, SystemExit, WorkersError) as error:  # `Terminated` by a signal is a SystemExit
        from graphengine.cli.progress import note_interruption

        note_interruption(trainer, error)
        raise


def _check_finite(trainer: Trainer | SolverTrainer) -> None:
    from graphengine.training.loop import Trainer

    if not isinstance(trainer, Trainer):
        raise UsageError("--check-finite looks at the iterations of an update rule, and this training has a solver")
    trainer.check_finite()


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
    from graphengine.model.model import outputs_on

    batches, warnings = trainer.batches, _training_warnings(trainer.history)
    outputs = outputs_on(model, batches, warnings)
    rows = _trained_on(batches), _checked_on(trainer)
    return Report(model, outputs, batches.samples, trainer.history, *rows, warnings)


def _evaluate(model: Model, given: Mapping[str, Any], *, check_finite: bool) -> Report:
    """All outputs of a model, in inference mode."""
    from graphengine.model.outputs import evaluate

    return Report(model, *evaluate(model, given, check_finite=check_finite))


class ReportedRows(NamedTuple):
    """The rows that a loss or a check is computed on: in words, and as an object of JSON."""

    text: str
    as_json: dict[str, Any]
    are_apart: bool = False


@dataclass
class Report:
    """What came out of a model; `history` is that of its training, `rows` the number of samples of the outputs.

    `loss_on` are the rows of the losses of a training, `checks_on` those of its checks, `warnings` what a reader should
    know.
    """

    model: Model
    outputs: Mapping[str, Any]
    rows: int | None = None
    history: History | None = None
    loss_on: ReportedRows | None = None
    checks_on: ReportedRows | None = None
    warnings: list[Problem] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON object, for machines."""
        trained: dict[str, Any] = {"iterations": 0, "epochs": 0, "loss": {"first": None, "last": None}}
        if self.history:
            trained = self._training_as_json(self.history)
        data = "training" if self.history else "evaluation"
        return {
            "model": self.model.graph.name,
            **trained,
            "parameters": json_values(self.model.parameters),
            "outputs": json_values(self.outputs),
            **({"outputs_on": {"data": data, "rows": self.rows}} if self.rows is not None else {}),
        }

    def _training_as_json(self, history: History) -> dict[str, Any]:
        from graphengine.ops.numbers import encode_number

        restored = history.restored
        return {
            "iterations": len(history),
            "epochs": history.epochs_trained,
            "loss": {"first": encode_number(history.first_loss), "last": encode_number(history.last_loss)},
            **({"loss_on": self.loss_on.as_json} if self.loss_on else {}),
            **({"stopped": history.stopped} if history.stopped else {}),
            **({"checks": json_values(history.check.values)} if history.check else {}),
            **({"checks_on": self.checks_on.as_json} if history.check and self.checks_on else {}),
            **({"restored": {"epoch": restored.epoch, "iteration": restored.iteration}} if restored else {}),
        }

    def print(self, saved: Mapping[str, str]) -> None:
        """Print the report for people."""
        if self.history is None:
            print_line(f"{self.model.graph.name}: {self.model.graph.summary}")
            print_values("outputs", self.outputs)
        else:
            self._print_training(self.history)
        for path in saved.values():
            print_line(f"saved to {path}")

    def _print_training(self, history: History) -> None:
        iterations, epochs = counted(len(history), "iteration"), counted(history.epochs_trained, "epoch")
        print_line(f"{self.model.graph.name}: {iterations}, {epochs}")
        print_line(f"loss{_on(self.loss_on)}: {history.first_loss:.10g} -> {history.last_loss:.10g}")
        if history.stopped:
            print_line(f"stopped: {history.stopped}")
        if check := history.check:
            best = ", the best one, whose values the model has" * bool(history.restored)
            print_values(f"check after iteration {check.iteration}{_on(self.checks_on)}{best}", check.values)
        print_values("parameters", self.model.parameters)
        scalars = {name: value for name, value in self.outputs.items() if value.shape == ()}
        is_apart = self.checks_on is not None and self.checks_on.are_apart
        origin = f" on the {counted(self.rows or 0, 'training row')}" if is_apart else ""
        print_values(f"outputs{origin}", scalars)


def _on(rows: ReportedRows | None) -> str:
    return f" on {rows.text}" if rows else ""


def _trained_on(batches: Batches) -> ReportedRows | None:
    """The rows that the loss of an iteration is computed on: all training rows, or batches of them."""
    if not (batches.batched_inputs or batches.single_inputs):
        return None
    size, rows = batches.batch_size, f"the {counted(batches.samples, 'training row')}"
    text = rows if size == batches.samples else f"batches of {size} of {rows}"
    return ReportedRows(text, {"data": "training", "rows": batches.samples, "batch": size})


def _checked_on(trainer: Trainer | SolverTrainer) -> ReportedRows | None:
    """The rows of the checks of a training, if it has any: those of a source, those held out, or all."""
    from graphengine.training.loop import Trainer

    if not isinstance(trainer, Trainer) or trainer.checks is None:
        return None
    rows, validation = trainer.checks.samples, trainer.training.validation
    if not trainer.checks.apart:
        return ReportedRows(f"the {counted(rows, 'training row')}", {"data": "training", "rows": rows})
    source = f"of '{validation.data}'" if validation and validation.data else "held out"
    return ReportedRows(f"{counted(rows, 'row')} {source}", {"data": "validation", "rows": rows}, are_apart=True)


def _training_warnings(history: History) -> list[Problem]:
    """What a training ended with that it should not: a larger loss than it began with, by epochs."""
    losses = [epoch.loss for epoch in history.epochs if not math.isnan(epoch.loss)]
    if history.restored or not _has_grown(losses):
        return []
    of = "the mean loss of an epoch" if len(history) > history.epochs_trained else "the loss"
    message = f"{of} is larger at the end than at the beginning: {losses[0]:.6g} -> {losses[-1]:.6g}"
    hint = "lower the learning rate, scale the inputs to about 1, or look for shapes that broadcast by mistake"
    return [Problem("GE605", message, hint)]


def _has_grown(losses: Sequence[float]) -> bool:
    """Whether the last loss is larger than the first one by more than rounding."""
    return len(losses) > 1 and losses[-1] - losses[0] > NOISE * abs(losses[0])
