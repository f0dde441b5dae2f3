"""What a user holds: a `Model` is a graph with values for its parameters."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np

from graphengine import gc_pause, hooks
from graphengine.backends.program_cache import kept
from graphengine.backends.protocol import DEFAULT_BACKEND, Backend, backend_named
from graphengine.backends.reference.executor import Executor
from graphengine.data.stored import Arrays
from graphengine.errors import (
    InvalidModelError,
    Problem,
    UsageError,
)
from graphengine.format.building import sound_graph, with_pointers
from graphengine.format.documents import FunctionFile, ModelDocument
from graphengine.format.reading import Source, as_json, parse_function, parse_model, read_model, unless_replaced
from graphengine.format.salvage import Gaps
from graphengine.format.writing import model_as_dict
from graphengine.ir.binding import as_inputs, bind_sizes, by_input
from graphengine.ir.cells import as_encoded
from graphengine.ir.graph import Graph, gradient_names, names_of
from graphengine.ir.memory import require_memory
from graphengine.library import models
from graphengine.limits import DEFAULT, Limits
from graphengine.mappings import present
from graphengine.model.declaration import Declaration, Saving
from graphengine.model.evaluator import Evaluator
from graphengine.model.linting import LintSubject, lint, resuming, starting_values, warn
from graphengine.model.parameter_values import Parameters, initialize
from graphengine.model.run import Run
from graphengine.notebook import Pictured
from graphengine.training.compiled import training_step
from graphengine.training.history import History, Iteration
from graphengine.training.loop import Trainer, run_to_end
from graphengine.training.provenance import FIT, PROVENANCE
from graphengine.transform.gradient import gradient
from graphengine.transform.step import Step

if TYPE_CHECKING:  # imported only when a model is fitted
    from graphengine.fit.bands import BandKind
    from graphengine.fit.requests import Request
    from graphengine.fit.solver_trainer import SolverTrainer
    from graphengine.fit.statistics import Fit
    from graphengine.model.evaluating import Scores
    from graphengine.model.training_options import RuleSource, TrainingKeys, TrainingOptions

MOST_GRADIENTS = 2
"""Gradient graphs that a model keeps, those that were asked for last."""


class Model(Pictured):
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

    graph: Graph
    document: ModelDocument
    path: Path | None
    limits: Limits
    backend: Backend
    evaluator: Evaluator

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
        self.values: dict[str, Any] = {}
        self._trainer: Trainer | SolverTrainer | None = None
        self._fit: Fit | None = None
        self._provenance: dict[str, Any] | None = None
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

    def fit(
        self,
        data: Any = None,
        *,
        residual: str | None = None,
        sigma: str | None = None,
        weights: str | None = None,
        absolute_sigma: bool | None = None,
        robust: str | None = None,
        robust_scale: float | None = None,
        intervals: Sequence[float] = (),
        starts: int = 1,
        seed: int = 0,
        bootstrap: int = 0,
        max_iterations: int | None = None,
        workers: int | str | None = None,
    ) -> Fit:
        """Fit the trainable parameters, by least squares or maximum likelihood, and estimate their uncertainties.

        `residual` is the value whose sum of squares is minimized; by default the one that the training section names,
        or the value whose squares its loss adds up. Any other loss of the training section is minimized as a negative
        log-likelihood. `data` is as for `train`.

        Parameters
        ----------
        sigma : str, optional
            The value, such as an input, that the residuals are divided by: their standard deviations, or proportional
            to them.
        weights : str, optional
            Weights of the squares, 1 / sigma**2, instead of `sigma`.
        absolute_sigma : bool, optional
            Whether the residuals are in units of known standard deviations, so that their spread is not estimated.
        robust : {"huber", "soft_l1", "cauchy"}, optional
            A loss that replaces the squares of residuals larger than about `robust_scale` (default 1).
        intervals : sequence of float, optional
            Levels of profile intervals, such as 0.95 (needs SciPy, the extra `fit`).
        starts, seed : int, optional
            The number of starting points: the model's values, and a Latin hypercube within the bounds. The best minimum
            is kept.
        bootstrap : int, optional
            The number of samples of data to draw from the fitted model, by `seed`, and to fit: with normal residuals,
            or from the distributions of the `nll` functions of the loss. `Fit.bootstrap` has the percentiles of the
            estimates.
        workers : int or str, optional
            The number of processes that run the starts, or the address of a Dask scheduler. The result is the same for
            any of them. They open the model file and the data source that the training section, or `data`, names.

        Raises
        ------
        TrainingError
            If there is nothing to minimize, or the fit cannot start.
        InputError
            If a sigma is not positive, or a weight is negative.
        DivergenceError
            If the loss is not finite at the start.
        """
        from graphengine.fit.bootstrap import BootstrapRequest, terms_of
        from graphengine.fit.procedure import FitRequest, run_fit
        from graphengine.fit.requests import Request

        request = Request(residual, sigma, weights, absolute_sigma, robust, robust_scale)
        solver = self.fitting(data, request, max_iterations)
        self._trainer, self._fit, self._provenance = solver, None, None
        drawing = BootstrapRequest(bootstrap, seed, lambda: terms_of(self.document.nodes, solver))
        elsewhere = None if workers is None else hooks.starts_over(self, data, request, max_iterations, workers)
        self._fit = run_fit(solver, FitRequest(tuple(intervals), starts, seed, drawing, elsewhere))
        return self._fit

    def fitting(self, data: Any, request: Request, max_iterations: int | None = None) -> SolverTrainer:
        """Return the fit that `fit` runs, with its data loaded and nothing computed yet."""
        return self._declared.fitting(self.values, data, request, max_iterations)

    @property
    def last_fit(self) -> Fit | None:
        """The fit that the values come from: that of `fit`, or the one stored in the file under `metadata.fit`.

        None if there is none, or its parameters are no longer those of the model.

        Raises
        ------
        UsageError
            GE801 if `metadata.fit` is not the result of a fit of these parameters.
        """
        if self._fit is not None:
            return self._fit
        metadata = self._metadata.get("metadata", self.document.metadata) or {}
        if FIT not in metadata:
            return None
        from graphengine.fit.decoding import fit_from_json

        return fit_from_json(metadata[FIT], self.graph)

    def profiles(self, data: Any = None, *, reach: float = 2.5) -> dict[str, list[tuple[float, float]]]:
        """Profile curves of the last fit, for each number that the data determine: points (value, zeta).

        Zeta is the signed square root of the rise of the minimum if this number is held fixed: of -2 log L, or of the
        sum of squares over the variance. A straight line means that the standard error is sufficient. `reach` is the
        largest zeta.

        Raises
        ------
        UsageError
            GE801 if there is no fit, if it is robust or has no degrees of freedom, or if it is not a minimum.
        """
        from graphengine.fit.procedure import profiles
        from graphengine.fit.requests import Request

        if (fit := self.last_fit) is None:
            raise UsageError("profiles need a fit, and the values of this model are not the result of one")
        return profiles(self._declared.fitting(dict(self.values), data, Request.of_settings(fit.settings), None), reach)

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

    def as_document(self) -> ModelDocument:
        """Return the model as a document: that of its file, with the current values and their provenance."""
        from graphengine.model.keeping import encoded_values, valued

        return valued(self.document.model_copy(update=self._metadata), encoded_values(self.values))

    @property
    def _metadata(self) -> dict[str, Any]:
        """The metadata with the provenance of values that were trained, and without a fit of other values."""
        from graphengine.model.keeping import current_metadata

        return current_metadata(self.document, self._trained() or {}, self.graph, self.values)

    def _trained(self) -> dict[str, Any] | None:
        """Where trained values come from, by key of the metadata: of this model, or of the one it is a copy of."""
        from graphengine.training.provenance import provenance

        if self._trainer is None or not len(self._trainer.history):
            return self._provenance
        found = {PROVENANCE: provenance(self._trainer)}
        if self._fit is not None:
            from graphengine.fit.encoding import fit_to_keep

            found[FIT] = fit_to_keep(self._fit)
        return found

    # ------------------------------------------------------------ copies

    def copy(self) -> Model:
        """Return a model with its own values, which shares everything immutable, such as compiled graphs."""
        model = object.__new__(type(self))
        vars(model).update(vars(self))
        model.values = {name: np.array(value)[()] for name, value in self.values.items()}
        model.evaluator = self.evaluator.with_values(model.values)
        model._trainer, model._fit, model._provenance = None, None, self._trained()
        return model

    def __copy__(self) -> Model:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Model:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        from graphengine.format.canonical import canonical_text

        rule = self.given_rule
        text = canonical_text(model_as_dict(self.document)).encode()
        rule_text = rule and canonical_text(rule.model_dump(mode="json", by_alias=True, exclude_defaults=True)).encode()
        path = str(self.path) if self.path else None
        chosen = (path, rule_text, self.limits, self.backend.name)
        return _restored, (type(self), text, dict(self.values), *chosen, self._trained())

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file that `save` would write, with all values in it; `from_dict` reads it."""
        return model_as_dict(self.as_document())

    # ------------------------------------------------------------ files

    def save(self, path: str | Path) -> None:
        """Write the model with its current values, whole or not at all.

        A model of a million numbers or more has them in a safetensors file beside it, which it names with its hash. The
        one of the previous version is removed afterwards, unless another file in the folder names it. Processes that
        save to the same path wait for each other. If it is saved in another folder, the model still finds its data: a
        path is rewritten, or the file, of at most 16 MiB, is copied beside the model.

        Raises
        ------
        GraphEngineError
            GE101 if the file cannot be written.
        """
        from graphengine.model.keeping import save
        from graphengine.model.moving import with_data_for

        document = with_data_for(self.document.model_copy(update=self._metadata), self.path, Path(path))
        save(Path(path), document, self.values)


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


def _restored(
    cls: type[Model],
    text: bytes,
    values: Mapping[str, Any],
    path: str | None,
    rule_text: bytes | None,
    limits: Limits,
    backend: str,
    trained: dict[str, Any] | None,
) -> Model:
    """The model of a pickle."""
    with gc_pause.paused():
        document, _ = parse_model(text, path, limits, is_written=False)
        rule = parse_function(rule_text)[0] if rule_text else None
        model = cls(document, None, Path(path) if path else None, rule, limits, backend, values)
    model._provenance = trained
    return model
