"""What a file declares about training, with what a caller overrides: checked, completed, and turned into a training.

Nothing is computed here. A `Declaration` finds the section, the update rule or solver and the data, and says what is
wrong with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from graphengine.backends.protocol import DEFAULT_BACKEND, Backend, backend_named
from graphengine.data.batches import Batches
from graphengine.data.readers import declared_columns
from graphengine.data.sources import NamedArrays, given_data, name_of, require_finite
from graphengine.data.stored import Arrays, Memory
from graphengine.errors import (
    DataError,
    GraphEngineError,
    InputError,
    InvalidModelError,
    Problem,
    TrainingError,
    did_you_mean,
    make_pointer,
)
from graphengine.format.building import dangling_references, loss_problems
from graphengine.format.documents import FunctionFile, ModelDocument, OptimizerDocument, TrainingDocument
from graphengine.format.from_rows import statistics_in
from graphengine.format.reading import Source
from graphengine.format.salvage import Gaps
from graphengine.ir.binding import lacking_of
from graphengine.ir.graph import Graph, inputs_of
from graphengine.limits import DEFAULT, Limits
from graphengine.mappings import absent, only, picked, without
from graphengine.ops.shapes import ArrayType
from graphengine.training.compiled import CompiledStep, CompiledSteps
from graphengine.training.loop import Trainer
from graphengine.training.rules import WrittenRule, given_rule, named_rule, optimizer_problems

if TYPE_CHECKING:  # imported where a model is fitted or a checkpoint written, and not at each start
    from graphengine.fit.fit_programs import ProgramsOfFits
    from graphengine.fit.requests import Request
    from graphengine.fit.solver_trainer import SolverTrainer
    from graphengine.model.training_options import RuleSource


class Saving(NamedTuple):
    """Where a training writes its checkpoints, if anywhere, and whether it resumes from those that are there."""

    folder: Path | None = None
    resume: bool = False


NOT_SAVED = Saving()
PASS_DATA = "pass data={...}, on the command line --data FILE"


def _read(section: Mapping[str, Any]) -> TrainingDocument:
    """A training section that a caller has put together; raises as `Declaration.section`."""
    try:
        return TrainingDocument.model_validate(section)
    except ValidationError as error:
        from graphengine.format.findings import problems_of

        found = problems_of(error, section, TrainingDocument)
        raise TrainingError(replace(each, pointer=f"/training{each.pointer or ''}") for each in found) from None


class Declaration:
    """The training that a document declares for a graph.

    Data lies in `folder` and takes as much memory as `limits` say; `update_rule` replaces the file's.

    `source` is where the document is written, for the places of the errors in its data.

    Raises
    ------
    InvalidModelError
        If nothing of the file of the update rule can be used.
    """

    def __init__(
        self,
        document: ModelDocument,
        graph: Graph,
        folder: Path | None = None,
        update_rule: RuleSource = None,
        limits: Limits = DEFAULT,
        source: Source | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.document, self.graph, self.folder = document, graph, folder
        self._given_rule = None if update_rule is None else given_rule(update_rule)
        self._memory = Memory(limits.data_bytes, limits.disk_bytes)
        self._backend = backend or backend_named(DEFAULT_BACKEND)
        self._steps = CompiledSteps(graph, self._backend)
        self.columns = declared_columns(document)
        self._source = source if document.data else None  # it is as large as the file

    @property
    def given_rule(self) -> FunctionFile | None:
        """The update rule that the caller gave for the file's."""
        return self._given_rule and self._given_rule.function

    def problems(self, gaps: Gaps) -> list[Problem]:
        """The errors in the training section that neither its form shows nor the `gaps` of the file hide."""
        training, given = self.document.training, self._given_rule
        if training is None:
            return given.problems({}, self._trainable_kinds(), self.graph.limits) if given else []
        if training.optimizer.is_solver and given is None:
            from graphengine.fit.sections import solver_problems
            from graphengine.training.validation import metric_problems

            return [*metric_problems(training), *solver_problems(training, self.graph, gaps)]
        return [*_check_problems(training, self.graph), *self._rule_problems(training.optimizer, gaps)]

    def _rule_problems(self, optimizer: OptimizerDocument, gaps: Gaps) -> list[Problem]:
        """The errors in the update rule, unless what is missing hides that."""
        try:
            rule = self._given_rule or named_rule(optimizer.type, self.document, gaps)
        except GraphEngineError as error:
            return [] if gaps.hide(optimizer.type, "functions") else list(error.problems)
        wrong = optimizer_problems(rule.function, optimizer, rule.gaps)
        return wrong + rule.problems(optimizer.attributes, self._trainable_kinds(), self.graph.limits)

    def declared_rule(self) -> FunctionFile | None:
        """Return the update rule of the training section; None if there is none, or a solver."""
        training = self.document.training
        if training is None or training.optimizer.is_solver:
            return self.given_rule
        return self.given_rule or named_rule(training.optimizer.type, self.document, Gaps()).function

    def _trainable_kinds(self) -> list[ArrayType]:
        """The types of the trainable parameters, each once."""
        kinds = dict.fromkeys(self.graph.types[name] for name in self.graph.trainable)
        return [kind for kind in kinds if kind.is_sized]

    # ------------------------------------------------------------ section and rule

    def section(self, overrides: Mapping[str, Any], *, has_validation: bool = False) -> TrainingDocument:
        """The training section with keys replaced, checked again as the file's own was.

        `has_validation` says that a caller hands validation data over.

        Raises
        ------
        TrainingError
            With all that is wrong, or if there is no section and the keys make none.
        """
        training = _read(self._merged(overrides))
        changed = self.document.model_copy(update={"training": training})
        values = {**self.graph.types, **self.graph.aliases}
        problems = list(dangling_references(changed, values, Gaps())) or list(loss_problems(changed, self.graph))
        if problems := problems or _check_problems(training, self.graph, has_validation=has_validation):
            raise TrainingError(problems)
        return training

    def _merged(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of the training section with those that replace them; a learning rate is the optimizer's."""
        declared = self.document.training
        section = {**(declared.model_dump(exclude_defaults=True) if declared else {}), **overrides}
        optimizer = section.get("optimizer") or {"type": "sgd"}
        rate = only(section, ("learning_rate",))
        if "loss" not in section:
            hint = "add one, or pass loss=..., data=..., learning_rate=..., epochs=..."
            raise TrainingError(f"model '{self.graph.name}' has no training section", hint=hint)
        section["optimizer"] = {**optimizer, **rate} if isinstance(optimizer, Mapping) else optimizer
        return without(section, rate)

    def rule(self, training: TrainingDocument, update_rule: RuleSource = None) -> FunctionFile:
        """The update rule of a training, checked with the attributes that the optimizer gives it.

        Raises
        ------
        TrainingError
            If there is none, or it does not fit the optimizer.
        InvalidModelError
            If the rule itself is wrong.
        """
        given = self._given_rule if update_rule is None else given_rule(update_rule)
        rule = given or self._named_rule(training.optimizer)
        if problems := optimizer_problems(rule.function, training.optimizer, rule.gaps):
            raise TrainingError(problems)
        if problems := rule.problems(training.optimizer.attributes, self._trainable_kinds(), self.graph.limits):
            raise InvalidModelError(problems)
        return rule.function

    def _named_rule(self, optimizer: OptimizerDocument) -> WrittenRule:
        """The rule that an optimizer names; raises as `rule`."""
        if optimizer.is_solver:
            raise TrainingError(f"'{optimizer.type}' is a solver: it has no update rule, and no training step")
        try:
            return named_rule(optimizer.type, self.document, Gaps())
        except GraphEngineError as error:
            raise TrainingError(error.problems) from None

    # ------------------------------------------------------------ data

    def source(self, name: str | None = None) -> Arrays:
        """The arrays of a data source of the file, by input; without a name, of its only one; none if it has no inputs.

        Raises
        ------
        DataError
            If it cannot be read.
        TrainingError
            If there is no such source.
        """
        name, sources = self._source_name(name), self.document.data
        if name is None and not sources and not self.graph.inputs:
            return {}
        if name is None or name not in sources:
            raise self._no_source(name)
        with self._placed(name):
            arrays: Arrays = sources[name].read(self.folder, self.graph, self._memory)
            return arrays

    def _no_source(self, name: str | None) -> TrainingError:
        sources = self.document.data
        if name is None:
            what, hint = "does not say which data to use", f"name one of: {', '.join(sources)}"
        else:
            what, hint = f"has no data source '{name}'", did_you_mean(name, sources, "data sources")
        return TrainingError(f"model '{self.graph.name}' {what}", hint=hint if sources else PASS_DATA)

    def check_source(self, name: str) -> None:
        """Read a data source of the file; raises as `source`, and if the file names it to train on and it cannot be."""
        arrays, training = self.source(name), self.document.training
        apart = training.validation.data if training and training.validation else None
        if training and name in (training.data, apart):
            with self._placed(name):
                _require_for(training, self.graph, arrays, ())
                Batches(arrays, self.graph, batch_size=1)

    def _source_name(self, name: str | None) -> str | None:
        """The name of a data source; that of the only one, where none is said."""
        return next(iter(self.document.data)) if name is None and len(self.document.data) == 1 else name

    def place(self, pointer: str) -> dict[str, Any]:
        """Where a pointer leads, as keys of a problem; without lines if the text of the file is not kept."""
        return self._source.place(pointer) if self._source else {"pointer": pointer}

    @contextmanager
    def _placed(self, name: str | None) -> Iterator[None]:
        """Give an error of a data source of the file its place in the file."""
        try:
            yield
        except (DataError, InputError) as error:
            if name is not None:
                error.declared_at(**self.place(make_pointer(("data", name))))
            raise

    def _data(self, data: Any, training: TrainingDocument, graph: Graph, also: Iterable[str]) -> Arrays:
        """What to train on: a named source or what a caller hands over, finite where the loss needs it.

        It has all inputs that the loss and the values `also` depend on.
        """
        arrays, name = self._rows(data, training, graph)
        with self._placed(name):
            _require_for(training, graph, arrays, also)
        read_from = name_of(data) if name is None else name
        return arrays if read_from is None else NamedArrays(arrays, read_from)

    def _rows(self, data: Any, training: TrainingDocument | None, graph: Graph) -> tuple[Arrays, str | None]:
        """The rows that a caller hands over, or those of a data source, by default the training's, with its name."""
        if data is None and training:
            data = training.data
        if data is not None and not isinstance(data, str):
            return given_data(data, graph, self.columns), None
        return self.source(data), self._source_name(data)

    def initialized(self, values: Mapping[str, Any], data: Any = None) -> dict[str, Any]:
        """Return the values that initializers compute from the rows to train on; raises as `source`."""
        from graphengine.training.initializing import initialized

        training = self.document.training
        if all(each.name in values for each in statistics_in(self.graph)):
            return {}
        arrays, _ = self._rows(data, training, self.graph)
        if training:
            arrays = _trained_on(arrays, self.graph, training)
        return initialized(self.graph, values, arrays)

    # ------------------------------------------------------------ trainings

    def trainer(
        self,
        values: dict[str, Any],
        data: Any,
        overrides: Mapping[str, Any],
        update_rule: RuleSource = None,
        validation: Any = None,
        saving: Saving = NOT_SAVED,
    ) -> Trainer | SolverTrainer:
        """The training of `values`, ready to run; raises as `section` and `rule`."""
        training = self.section(overrides, has_validation=validation is not None)
        if training.optimizer.is_solver and update_rule is None and self._given_rule is None:
            _refuse_for_solver(training.optimizer.type, saving, validation)
            return self._solver(self.graph, values, data, training)
        rule = self.rule(training, update_rule)
        arrays, checked = self._arrays(training, data, validation)
        trainer = Trainer(self.graph, values, training, arrays, self.compiled_step(training, rule), checked)
        if saving.folder is not None:
            seen = {**arrays, **{f"validation/{name}": array for name, array in (checked or {}).items()}}
            self._write_checkpoints(trainer, saving.folder, rule, seen, resume=saving.resume)
        return trainer

    def _arrays(self, training: TrainingDocument, data: Any, validation: Any) -> tuple[Arrays, Arrays | None]:
        """The data of a training, and that of its checks where it is other data."""
        if validation is None and training.validation:
            validation = training.validation.data
        read, metrics = [*self.graph.updates.values()], list(map(self.graph.value_name, training.metrics.values()))
        if validation is None:  # the metrics are computed from the data of the training
            return self._data(data, training, self.graph, [*read, *metrics, *_labels(training)]), None
        checked = self._data(validation, training, self.graph, metrics)
        return self._data(data, training, self.graph, read), checked

    def compiled_step(self, training: TrainingDocument, rule: FunctionFile) -> CompiledStep:
        """The step of a training with its plans, kept from one training to the next; raises as `step_graph`."""
        return self._steps.step(training, rule)

    def _write_checkpoints(
        self, trainer: Trainer, folder: Path, rule: FunctionFile, seen: Mapping[str, Any], *, resume: bool
    ) -> None:
        """Let a training write its checkpoints, and resume from one of its own if that is requested."""
        from graphengine.model.resumption import write_checkpoints
        from graphengine.training.checkpoint import identity

        own = identity(self.document, trainer.training, rule, seen, trainer.stepper.fixed)
        write_checkpoints(trainer, folder, own, resume=resume)

    def fitting(self, values: dict[str, Any], data: Any, request: Request, max_iterations: int | None) -> SolverTrainer:
        """A fit of `values`: what the file declares, with what a caller asks for in its place.

        Raises
        ------
        TrainingError
            If there is nothing to minimize, or what is named does not fit.
        """
        from graphengine.fit.requests import fit_section

        graph, keys = fit_section(self.graph, self.document.training, request, max_iterations)
        return self._solver(graph, values, data, _read(keys))

    @cached_property
    def _fits(self) -> ProgramsOfFits:
        """The programs of the fits so far."""
        from graphengine.fit.fit_programs import ProgramsOfFits

        return ProgramsOfFits(self._backend, self.graph.limits.plan_bytes)

    def _solver(self, graph: Graph, values: dict[str, Any], data: Any, training: TrainingDocument) -> SolverTrainer:
        from graphengine.fit.sections import solver_problems
        from graphengine.fit.solver_trainer import SolverTrainer

        if problems := solver_problems(training, graph, Gaps()):
            raise TrainingError(problems)
        metrics = map(graph.value_name, training.metrics.values())
        arrays = self._data(data, training, graph, metrics)
        return SolverTrainer(graph, values, training, arrays, self._backend, self._fits)


def _check_problems(training: TrainingDocument, graph: Graph, *, has_validation: bool = False) -> list[Problem]:
    """What does not fit together in a training section; few trainings have checks or several batches an iteration."""
    if training.accumulate == 1 and not training.has_checks:
        return []
    from graphengine.training.validation import check_problems

    return check_problems(training, graph, has_validation=has_validation)


def _trained_on(arrays: Arrays, graph: Graph, training: TrainingDocument) -> Arrays:
    """The rows that a training does not set apart."""
    validation = training.validation
    if validation is None or not validation.fraction:
        return arrays
    from graphengine.training.splitting import split

    return split(arrays, graph, validation, training.seed)[0]


def _require_for(training: TrainingDocument, graph: Graph, arrays: Arrays, also: Iterable[str]) -> None:
    """Refuse data without all that the loss and the values `also` read, or not finite where the loss reads it."""
    loss = graph.value_name(training.loss)
    if missing := absent(inputs_of(graph, [loss, *also]), arrays):
        problems = lacking_of(arrays, missing)
        raise InputError(problems or f"the data has no values for input '{missing[0]}'", code="GE401")
    require_finite(picked(arrays, inputs_of(graph, [loss])), graph.inputs)


def _refuse_for_solver(solver: str, saving: Saving, validation: Any) -> None:
    """Refuse what a training by a solver does not do."""
    if saving.folder is not None:
        raise TrainingError(f"the solver '{solver}' writes no checkpoints")
    if validation is not None:
        raise TrainingError(f"'validation_data' has no effect with the solver '{solver}'")


def _labels(training: TrainingDocument) -> list[str]:
    """The inputs that a validation section splits by."""
    if training.validation is None:
        return []
    from graphengine.training.splitting import labels_of

    return labels_of(training.validation)
