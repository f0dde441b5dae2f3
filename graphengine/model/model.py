"""What a user holds: a `Model` is a graph with values for its parameters."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from graphengine import gc_pause, hooks
from graphengine.backends.protocol import DEFAULT_BACKEND, Backend, backend_named
from graphengine.backends.reference.executor import Executor
from graphengine.data.batches import Batches
from graphengine.data.stored import Arrays
from graphengine.errors import InvalidModelError, Problem, UsageError
from graphengine.format.building import sound_graph, with_pointers
from graphengine.format.documents import FunctionFile, ModelDocument
from graphengine.format.reading import Source, as_json, parse_model, read_model, unless_replaced
from graphengine.format.salvage import Gaps
from graphengine.ir.binding import as_inputs, bind_sizes, by_input
from graphengine.ir.cells import as_encoded
from graphengine.ir.graph import Graph, gradient_names, names_of
from graphengine.ir.memory import require_memory
from graphengine.library import models
from graphengine.limits import DEFAULT, Limits
from graphengine.mappings import kept, present
from graphengine.model.declaration import Declaration, Saving
from graphengine.model.evaluator import Evaluator
from graphengine.model.fittable import Fittable
from graphengine.model.linting import LintSubject, lint, resuming, starting_values, warn
from graphengine.model.parameter_values import Parameters, initialize
from graphengine.model.run import Run
from graphengine.notebook import Pictured
from graphengine.training.compiled import training_step
from graphengine.training.history import History, Iteration
from graphengine.training.loop import Trainer, run_to_end
from graphengine.transform.gradient import gradient
from graphengine.transform.step import Step

if TYPE_CHECKING:  # imported only when a model is fitted
    from graphengine.fit.bands import BandKind
    from graphengine.fit.solver_trainer import SolverTrainer
    from graphengine.model.evaluating import Scores
    from graphengine.model.training_options import RuleSource, TrainingKeys, TrainingOptions

MOST_GRADIENTS = 2
"""Gradient graphs that a model keeps, those that were asked for last."""


class Model(Fittable, Pictured):
    """A graph and the current values of its parameters and state.

    Made by `graphengine.load` from a file, or by `Model.from_dict` from the same content as Python objects. `graph` is
    the checked graph, `document` the content of the file, `path` its path (None without a file). `update_rule`, a rule
    file, replaces the rule that the training section names. `values`, arrays by name, replace the values of parameters
    and state in the document.

    A model is data: copies and pickles contain its document, its values and the choices of the caller, and no code.

    Raises
    ------
    InvalidModelError
        With all independent problems, each with its place.
    """

    # declared again, because checkers infer other types from the assignments below than `Portable` declares
    graph: Graph
    document: ModelDocument
    path: Path | None
    limits: Limits
    backend: Backend
    evaluator: Evaluator
    values: dict[str, Any]

    def __init__(
        self,
        document: ModelDocument,
        source: Source | None = None,
        path: Path | None = None,
        update_rule: RuleSource = None,
        limits: Limits = DEFAULT,
        backend: str = DEFAULT_BACKEND,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        self.path, self.limits = path, limits
        self.backend = backend_named(backend)
        gaps = source.gaps if source else Gaps()
        self.graph, problems = sound_graph(document, limits, gaps)
        self.document = document = _with_made_parameters(document, self.graph)
        self.values = {}
        self._trainer = self._fit = self._provenance = None
        folder = path.parent if path else None
        self._declared = Declaration(document, self.graph, folder, update_rule, limits, source, self.backend)
        problems += _not_reported(self._declared.problems(gaps), problems)
        problems += initialize(
            self.values, self.graph, values or {}, folder, limits, too_large=_exceed_memory(problems)
        )
        _require_none(problems, source)
        self._warnings = self._lint(source)
        self._is_assigned, self._has_warned = bool(values), False
        self.evaluator = Evaluator(self.graph, self.values, self.backend)
        self._gradients: OrderedDict[Any, Graph] = OrderedDict()

    @classmethod
    def from_dict(
        cls,
        content: Mapping[str, Any],
        path: str | Path | None = None,
        *,
        update_rule: RuleSource = None,
        limits: Limits = DEFAULT,
        backend: str = DEFAULT_BACKEND,
    ) -> Model:
        """Make a model from the content of a model file as Python objects; data paths are relative to `path`."""
        with gc_pause.paused():
            document, source = parse_model(
                as_json(content), str(path) if path else None, limits, salvage=True, is_written=False
            )
            model = cls(document, source, Path(path) if path else None, update_rule, limits, backend)
        warn(model.warnings, stacklevel=2)
        return model

    def __repr__(self) -> str:
        return f"<Model '{self.graph.name}': {self.graph.summary}>"

    def _lint(self, source: Source | None) -> tuple[Problem, ...]:
        found = lint(LintSubject(self.document, self.graph, self._declared.declared_rule()))
        placed = list(with_pointers(found, self.document)) if found else []
        return source.locate(placed).problems if source and placed else tuple(placed)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Warnings about probable mistakes, each with its place in the file; docs/errors.md explains the codes."""
        return self._warnings

    @property
    def executor(self) -> Executor:
        """The reference executor of the graph, made when it is first needed."""
        return self.evaluator.executor

    def _forget_training(self) -> None:
        """A value was assigned: the values are no longer what a training made."""
        self._trainer = self._fit = self._provenance = None
        self._is_assigned = True

    @property
    def parameters(self) -> Parameters:
        """The current values of the parameters, by name; assigning one checks its shape and dtype."""
        return Parameters(self.graph, self.values, self._forget_training)

    @property
    def fingerprint(self) -> str:
        """A sha256 of the meaning of the file; it ignores formatting, the order of nodes, names and descriptions."""
        from graphengine.format.meaning import fingerprint

        return fingerprint(self.document)

    @property
    def given_rule(self) -> FunctionFile | None:
        """The update rule that the caller gave, which replaces the one that the file names."""
        return self._declared.given_rule

    def _given(self, inputs: Any, named: Mapping[str, Any], useful: Collection[str] | None = None) -> dict[str, Any]:
        """What a caller hands over as arrays by input; of a table those that are `useful`."""
        return as_inputs(self.graph, by_input(self.graph, inputs, named, self._declared.columns, useful))

    def forward(self, inputs: Any = None, /, **named: Any) -> Run:
        """Evaluate the whole graph. Inputs are given by name, as keywords, as one mapping, or as one table.

        A table is a frame of pandas or polars, or a table of Arrow. An input takes the column that the data source of
        the training, or the only one, declares for it, or else the column with its name; extra columns are ignored. A
        mapping may have these columns, too.

        Raises
        ------
        InputError
            If an input is missing, unknown, or not of the declared shape and dtype.
        ExecutionError
            If a node fails.
        """
        self.evaluator.require_values()
        return Run(self.evaluator, self._given(inputs, named), self.default_loss)

    @overload
    def predict(
        self,
        inputs: Any = None,
        /,
        *,
        outputs: str | Iterable[str] | None = None,
        check_finite: bool = False,
        row_stable: bool = False,
        as_frame: Literal[False] = False,
        band: float | None = None,
        band_kind: BandKind = "confidence",
        **named: Any,
    ) -> dict[str, Any]: ...

    @overload
    def predict(
        self,
        inputs: Any,
        /,
        *,
        outputs: str | Iterable[str] | None = None,
        check_finite: bool = False,
        row_stable: bool = False,
        as_frame: Literal[True],
        band: float | None = None,
        band_kind: BandKind = "confidence",
        **named: Any,
    ) -> Any: ...

    def predict(
        self,
        inputs: Any = None,
        /,
        *,
        outputs: str | Iterable[str] | None = None,
        check_finite: bool = False,
        row_stable: bool = False,
        as_frame: bool = False,
        band: float | None = None,
        band_kind: BandKind = "confidence",
        **named: Any,
    ) -> Any:
        """Compute outputs by public name; only what they depend on runs, and only the inputs they depend on are needed.

        An index of the categories of an input is returned as the category. Inputs are given as for `forward`. `outputs`
        are by default all that can be computed from them. With `check_finite` each intermediate value is checked, which
        takes longer.

        With `row_stable` a row has the same bits alone, in any batch, at any place, and on any number of threads: rows
        are computed in blocks of one size. Outputs without a row for each sample, such as a loss, are then left out,
        and refused if they are requested.

        The result is a dictionary of arrays or, with `as_frame`, a data frame of the library of the inputs, pandas or
        polars, with their index. It has a column for each output with rows, or for each number of a row, named by
        class, `probability[setosa]`, if the output has one number for each category. A scalar has no column.

        `band`, a level such as 0.95, adds the limits `NAME_lower` and `NAME_upper` to each output that depends on the
        parameters of a fit (`last_fit`), if it has a row for each sample or is requested by name. They belong to a
        confidence band for the curve or, with `band_kind="prediction"`, to a band for single new observations. Bands
        need the extra `fit`.

        Raises
        ------
        InputError
            If an input is missing, unknown, or not of the declared shape and dtype.
        ExecutionError
            If a node fails; GE406 for an index that no category has; GE413 for the first value that is NaN or infinite,
            with `check_finite`.
        UsageError
            GE402 if there is no such output; GE417 for one that is not row-stable; GE801 if `as_frame` is asked for,
            and no frame came in, or a band, and the values are not those of a fit, or with `row_stable`.

        Warns
        -----
        ModelWarning
            GE903, once for a model, if the outputs depend on parameters that were never trained.
        """
        _require_possible(inputs, as_frame=as_frame, row_stable=row_stable, has_band=band is not None)
        asked = None if outputs is None else tuple(names_of(outputs))
        is_asked_again = inputs is None and not (check_finite or row_stable)
        program = self.evaluator.known(named, asked) if is_asked_again else None
        given: Mapping[str, Any] = named
        if program:
            found = self.evaluator.computed(program, named, asked)
        else:
            useful = None if inputs is None else self.executor.inputs_of(self._values_of(asked))
            given = self._given(inputs, named, useful)
            found = self.evaluator.predict(given, asked, check_finite=check_finite, row_stable=row_stable)
        if band is not None:
            found = self._with_bands(found, given, band, band_kind, asked=asked is not None)
        if not self._has_warned:
            warn(self.untrained(asked), stacklevel=2)
            self._has_warned = True
        if not program:  # the inputs of such a program have no categories
            found = self._labeled(found)
        return self._framed(found, inputs) if as_frame else found

    def _labeled(self, found: dict[str, Any]) -> dict[str, Any]:
        """Outputs, those that speak the categories of an input as categories."""
        if not self.document.speaking:
            return found
        from graphengine.model.categories import labeled

        return labeled(found, self.document.speaking, self.graph)

    def _values_of(self, asked: Iterable[str] | None) -> list[str]:
        """The values of the asked outputs that there are, those of all if none are asked."""
        outputs = self.graph.outputs
        return list(outputs.values()) if asked is None else [outputs[name] for name in present(asked, outputs)]

    def _with_bands(
        self, found: Mapping[str, Any], given: Mapping[str, Any], level: float, kind: BandKind, *, asked: bool
    ) -> dict[str, Any]:
        from graphengine.fit.bands import BandRequest, BandSubject, with_bands

        wanted = BandRequest(self.last_fit, level, kind)
        return with_bands(found, wanted, BandSubject(self.graph, self.values, given, self.backend), asked=asked)

    def _framed(self, found: Mapping[str, Any], inputs: Any) -> Any:
        """Outputs as a frame like that of the inputs."""
        from graphengine.model.frames import framed
        from graphengine.model.output_columns import as_columns, has_rows

        rows = {name: value for name, value in found.items() if has_rows(name, self.graph)}
        return framed(as_columns(rows, self.document.speaking, self.graph), inputs)

    def initialize(self, data: Any = None) -> None:
        """Compute the values that initializers take from the rows of a training, without training.

        `data` is as for `train`; rows that the training section holds out are not used. Existing values do not change.

        Raises
        ------
        DataError
            If the data cannot be read or does not fit; GE507 if a statistic has no value.
        """
        self.values.update(self._declared.initialized(self.values, data))

    def untrained(self, outputs: Iterable[str] | None = None) -> list[Problem]:
        """Return warning GE903 if outputs, by default all, depend on parameters that were never trained or assigned."""
        if self._has_values:
            return []
        found = starting_values(self.document, self.graph, self._values_of(outputs))
        return [replace(each, **self._declared.place(each.pointer or "")) for each in found]

    @property
    def _has_values(self) -> bool:
        """Whether values were assigned or trained, here or by the model that this one is a copy of."""
        trained = self._trainer is not None and len(self._trainer.history) > 0
        return trained or self._is_assigned or self._provenance is not None

    def evaluate(self, data: Any = None) -> Scores:
        """Return rows, loss, metrics and the scores of the predictions, on all rows together, in inference mode.

        `data` is as for `train`: arrays by input, a table, or the name of a data source of the file. The default is the
        validation data of the file, else its training data; with a `fraction`, the rows that a training with the seed
        of the file holds out. A target of classes gets accuracy, a confusion matrix and scores of each class; of
        numbers, R squared, mean absolute and root mean squared error.

        Raises
        ------
        DataError, InputError
            If the data cannot be read or does not fit the inputs; GE401 if it lacks an input that every score needs.
        ExecutionError
            GE414 if a metric needs all rows at once, and they take more memory than the limit.
        UsageError
            GE801 if there is nothing to evaluate: no loss, no metric, no output for a target.
        """
        from graphengine.data.sources import given_data
        from graphengine.model.evaluating import EvaluationSubject, default_rows, evaluate

        if data is None:
            rows = default_rows(self.document)
            data = as_encoded(rows.of(self._declared.source(rows.source), self.graph), self.graph.inputs)
        elif isinstance(data, str):
            data = self.load_data(data)
        else:
            data = given_data(data, self.graph, self._declared.columns)
        return evaluate(EvaluationSubject(self.evaluator, self.document), data)

    def train(
        self,
        data: Any = None,
        *,
        progress: bool = False,
        workers: int | str | None = None,
        **options: Unpack[TrainingOptions],
    ) -> History:
        """Train as the training section declares, and return the history.

        `data` is the name of a data source of the file, a mapping from inputs to arrays, or a table with a column for
        each input, as for `forward`.

        Keywords override the file. They are the keys of a training section, with the values that a file may have:
        `loss`, `optimizer`, `learning_rate` (of the optimizer, a number or a schedule), `batch_size`, `drop_last`,
        `shuffle`, `seed`, `epochs`, `max_iterations`, `max_seconds`, `accumulate`, `shard_rows`,
        `gradient_clipping`, `validation`, `early_stopping`, `checkpoint` and `metrics`. A key replaces the value in the
        file as a whole, and None removes it: `epochs=None` is a training without a limit of epochs.

        Parameters
        ----------
        progress : bool, optional
            Show a progress bar on stderr. Each epoch and each check is also a record of the logger "graphengine", at
            the level INFO; details are at DEBUG.
        workers : int or str, optional
            The number of threads or processes on this machine, or the address of a Dask scheduler, that compute the
            gradients of shards of `shard_rows` rows, by default 1,024. The number changes no bit.
        update_rule : str, Path or FunctionFile, optional
            A rule file that replaces the update rule of the optimizer.
        validation_data : optional
            Data to check on, in the same forms as `data`; overrides the validation data in the section.
        checkpoints : str or Path, optional
            A folder for checkpoints, so that the training can resume after an interruption, by Ctrl-C or by force.
        resume : bool, optional
            Resume from the newest checkpoint in that folder, to the last bit as if the training had never stopped.

        Raises
        ------
        TrainingError
            If a training cannot start.
        DivergenceError
            If a value becomes NaN or infinite; the parameters keep their last finite values.
        DataError
            If the data cannot be read or does not fit.
        """
        if workers is None:
            return _run(self.trainer(data, **options), progress=progress)
        with hooks.trainer_over(self, data, options, workers) as trainer:
            return _run(trainer, progress=progress)

    def iterate(self, data: Any = None, **options: Unpack[TrainingOptions]) -> Iterator[Iteration]:
        """Train like `train`, as a generator that yields a row after each update.

        You may leave it at any time: the model then has the values after the last row.
        """
        trainer = self.trainer(data, **options)
        warn(resuming(trainer), stacklevel=2)
        return trainer.iterate(ahead=True) if isinstance(trainer, Trainer) else trainer.iterate()

    def trainer(self, data: Any = None, **options: Unpack[TrainingOptions]) -> Trainer | SolverTrainer:
        """Return the training that `train` runs, with its data loaded and nothing computed yet."""
        overrides: dict[str, Any] = {**options}
        rule, apart = overrides.pop("update_rule", None), overrides.pop("validation_data", None)
        folder, resume = overrides.pop("checkpoints", None), overrides.pop("resume", False)
        if resume and folder is None:
            raise UsageError("resume needs the folder of the checkpoints: checkpoints=FOLDER")
        saving = Saving(None if folder is None else Path(folder), resume)
        trainer = self._declared.trainer(self.values, data, overrides, rule, apart, saving)
        self._trainer, self._fit, self._provenance = trainer, None, None
        if isinstance(trainer, Trainer):
            require_memory(trainer.stepper.step.graph, bind_sizes(trainer.batches.shapes, self.graph.types))
        return trainer

    def gradient(self, of: str | None = None, wrt: str | Sequence[str] | None = None) -> Graph:
        """The graph of the gradients that `Run.backward` returns, with the current values of the parameters.

        Raises
        ------
        DifferentiationError
            GE411 if there is no such gradient.
        UsageError
            GE801 if `of` or `wrt` is missing and does not follow from the model.
        """
        from graphengine.model.keeping import with_values

        names = gradient_names(self.graph, wrt)
        if not names:
            raise UsageError(f"with respect to which values? model '{self.graph.name}' has no trainable parameter")
        loss = of or self.default_loss()
        key = (loss, *names)
        found = kept(self._gradients, key, MOST_GRADIENTS, lambda: gradient(self.graph, of=loss, wrt=names))
        return with_values(found, self.values)

    def training_step(self, *, update_rule: RuleSource = None, **overrides: Unpack[TrainingKeys]) -> Step:
        """The graph of one iteration of `train`, with the current values; nothing runs, and no data is needed.

        Raises
        ------
        TrainingError
            If the model cannot be trained.
        """
        from graphengine.model.keeping import with_values

        training = self._declared.section(overrides)
        step = training_step(self.graph, training, self._declared.rule(training, update_rule))
        return replace(step, graph=with_values(step.graph, self.values))

    def compiled_step(self, **overrides: Unpack[TrainingKeys]) -> Step:
        """The step that `train` compiles: that of `training_step`, but with many small parameters in vectors.

        Raises
        ------
        TrainingError
            If the model cannot be trained.
        """
        training = self._declared.section(overrides)
        return self._declared.compiled_step(training, self._declared.rule(training)).step

    def default_loss(self) -> str:
        """The loss of the training section, or the only output.

        Raises
        ------
        UsageError
            GE801 if there is neither.
        """
        if self.document.training:
            return self.document.training.loss
        if len(self.graph.outputs) == 1:
            return next(iter(self.graph.outputs))
        hint = f"outputs: {', '.join(self.graph.outputs)}"
        raise UsageError("which value? the model has no training section", hint=hint)

    def load_data(self, name: str | None = None) -> Arrays:
        """Return the arrays of a data source of the file, by input; without a name, those of its only one.

        Raises
        ------
        DataError
            If it cannot be read.
        """
        return as_encoded(self._declared.source(name), self.graph.inputs)

    def check_data(self, name: str) -> None:
        """Read a data source of the file, and refuse data that its training could not use.

        Raises
        ------
        DataError, InputError
            If it cannot be read or does not fit.
        """
        self._declared.check_source(name)

    def place(self, pointer: str) -> dict[str, Any]:
        """Return where a JSON Pointer leads in the file, as the keys of a finding: file, line, column."""
        return self._declared.place(pointer)


def load(
    path: str | Path, *, update_rule: RuleSource = None, limits: Limits = DEFAULT, backend: str = DEFAULT_BACKEND
) -> Model:
    """Load a model file, or a shipped model by its name, such as "linreg"; an existing file takes precedence.

    `update_rule`, a rule file, replaces the rule that its training section names. `limits` bound what the file may ask
    for. `backend` is the name of the backend that runs its graphs: "numpy" (the default), "numba", "jax", "auto" or
    "reference".

    Raises
    ------
    InvalidModelError
        With all independent problems, each with file, line, column and JSON Pointer.

    Warns
    -----
    ModelWarning
        For each of `Model.warnings`.
    """
    path = models().get(str(path), path) if not os.path.exists(path) else path  # noqa: PTH110 - long names

    def loaded() -> Model:
        document, source = read_model(path, limits, salvage=True)
        return Model(document, source, Path(path), update_rule, limits, backend)

    with gc_pause.paused():
        model = unless_replaced(path, loaded)
    warn(model.warnings, stacklevel=2)
    return model


def outputs_on(model: Model, batches: Batches, warnings: list[Problem] | None = None) -> dict[str, Any]:
    """Return the outputs on all samples of batches: at once where they fit into memory, else as `outputs_in_parts`."""
    ready = model.evaluator.ready_at_once(batches)
    if ready is not None:
        return model.predict(batches.whole(), outputs=ready)
    from graphengine.model.parted_outputs import outputs_in_parts  # few trainings have so much data

    return outputs_in_parts(model.evaluator, batches, warnings)


def _run(trainer: Trainer | SolverTrainer, *, progress: bool) -> History:
    """Run a training for the caller of the caller."""
    warn(resuming(trainer), stacklevel=3)
    if progress:
        from graphengine.training.progress_bar import progress_bar

        with progress_bar(trainer) as see:
            run_to_end(trainer, see)
    else:
        run_to_end(trainer)
    if isinstance(trainer, Trainer):
        trainer.stepper.forget()
    return trainer.history


def _require_possible(inputs: Any, *, as_frame: bool, row_stable: bool, has_band: bool) -> None:
    """Refuse a frame of what came in no frame, and a band that is row-stable."""
    if as_frame:
        from graphengine.model.frames import require_frame

        require_frame(inputs)
    if row_stable and has_band:
        raise UsageError("a band is not row-stable", hint="leave out row_stable")


def _with_made_parameters(document: ModelDocument, graph: Graph) -> ModelDocument:
    """The document with the parameters that calls of functions make."""
    if graph.parameters.keys() <= document.parameters.keys():
        return document
    from graphengine.format.saving import with_made_parameters

    return with_made_parameters(document, graph)


def _exceed_memory(problems: Iterable[Problem]) -> bool:
    """Whether one of the problems is that the values of a graph take too much memory."""
    return "GE133" in {problem.code for problem in problems}


def _require_none(problems: list[Problem], source: Source | None) -> None:
    """Refuse a file with problems, those that were found when it was read included."""
    if source and (problems or source.problems):
        raise source.locate(problems)
    if problems:
        raise InvalidModelError(problems)


def _not_reported(found: Iterable[Problem], reported: Iterable[Problem]) -> list[Problem]:
    """The problems at other places than those reported; one with a line is not in the document, but in a rule."""
    places = {problem.pointer for problem in reported}
    return [each for each in found if each.line is not None or each.pointer not in places]
