"""Which evaluation of a model is traced: given inputs, one sample of its data, or an iteration of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from graphengine.errors import DifferentiationError, UsageError
from graphengine.ir.binding import bind_inputs
from graphengine.mappings import only, without_none
from graphengine.model.model import Model
from graphengine.model.run import Run
from graphengine.traces.iterations import Iterations, Moment, one_sample
from graphengine.traces.summary import ShownValue
from graphengine.traces.trace import Show, trace_graph
from graphengine.traces.trace_parts import GraphTrace
from graphengine.traces.unrolling import FIRST_AND_LAST, Opened


def trace(
    model: Model,
    inputs: Mapping[str, Any] | None = None,
    *,
    sample: int | None = None,
    iteration: int | None = None,
    of: str | None = None,
    wrt: str | Sequence[str] | None = None,
    full: bool = False,
) -> GraphTrace:
    """Trace one evaluation of a model, and the update after it if the model declares a training.

    The values are those of `inputs`, or of one sample of the model's data (from 1), or of the batch of an iteration of
    its training (from 1; default 1), whose parameters it also takes. `of` and `wrt` select the gradient of another
    scalar or with respect to other values; then there is no update. With `full` all numbers of large arrays are shown.
    The model itself is not trained.

    Raises
    ------
    UsageError
        GE402 if there is no such sample, iteration or value.
    InputError
        If the inputs do not fit.
    """
    tracing = chosen(model, inputs, sample=sample, iteration=iteration, of=of, wrt=wrt)
    return tracing.trace(ShownValue.whole if full else ShownValue.of)


class Tracing(NamedTuple):
    """An evaluation to trace: its values, and the gradient that is requested or the iteration that it belongs to."""

    model: Model
    values: Mapping[str, Any]
    of: str | None = None
    wrt: str | Sequence[str] | None = None
    iterations: Iterations | None = None
    moment: Moment | None = None

    def trace(self, show: Show = ShownValue.of, opened: Opened = FIRST_AND_LAST) -> GraphTrace:
        """Trace it."""
        if self.iterations and self.moment:
            return self.iterations.trace(self.moment, show, opened)
        return trace_graph(self.model.graph, self.values, self.of, self.wrt, show, opened)


def chosen(
    model: Model,
    inputs: Mapping[str, Any] | None = None,
    *,
    sample: int | None = None,
    iteration: int | None = None,
    of: str | None = None,
    wrt: str | Sequence[str] | None = None,
) -> Tracing:
    """Return the evaluation that `trace` traces; raises as it does."""
    given, is_asked = _given(model, inputs, sample), bool(of or wrt)
    if not _is_of_training(model, given, iteration, asked=is_asked):
        return _plain(model, given or _all_data(model), of, wrt)
    iterations, moment = _moment(model, given, iteration)
    if is_asked:
        return _plain(model, {**moment.values, **moment.batch}, of, wrt)
    return Tracing(model, iterations.given(moment), iterations=iterations, moment=moment)


def _is_of_training(model: Model, given: Mapping[str, Any], iteration: int | None, *, asked: bool) -> bool:
    """Whether an iteration of the training is traced: the one that is named, or the first where it has updates."""
    if iteration is None:
        return _begins_with_updates(model, given, asked=asked)
    if model.document.training is None:
        raise UsageError("iterations belong to a training, and the model has no training section")
    return True


def _given(model: Model, inputs: Mapping[str, Any] | None, sample: int | None) -> dict[str, Any]:
    """The inputs that are given, those of a sample of the data where they are not."""
    given = bind_inputs(model.graph, inputs or {}, ())
    if sample is None:
        return given
    return {**one_sample(model.load_data(model.document.training_data), model, sample), **given}


def _begins_with_updates(model: Model, given: Mapping[str, Any], *, asked: bool) -> bool:
    """Whether the first iteration of a training is traced where none is named, and not an evaluation alone."""
    training = model.document.training
    if training is None or training.optimizer.is_solver:
        return False
    return not given or (not asked and _has_loss(model, given))


def _moment(model: Model, given: Mapping[str, Any], iteration: int | None) -> tuple[Iterations, Moment]:
    """An iteration of the training, on given values where there are some."""
    if given and iteration is None:
        return _moment_on(model, given)
    iterations = Iterations.declared(model)
    moment = iterations.at(1 if iteration is None else iteration)
    return iterations, moment._replace(batch=given, epoch=None) if given else moment


def _moment_on(model: Model, given: Mapping[str, Any]) -> tuple[Iterations, Moment]:
    """The first iteration of a training on nothing but given values."""
    iterations = Iterations(model, given, batch_size=None, shuffle=False)
    return iterations, iterations.at(1)._replace(epoch=None)


def trace_run(run: Run) -> GraphTrace:
    """Trace an evaluation that has been made, and the gradient of its loss if it has one."""
    values = {name: run.value(name) for name in run.graph.sources}
    try:
        return trace_graph(run.graph, values, run.default_loss())
    except (UsageError, DifferentiationError):
        return trace_graph(run.graph, values)


def as_json(traced: GraphTrace) -> dict[str, Any]:
    """A trace as JSON values; a value says only what is known of it."""

    def known(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        is_value = found.keys() == ShownValue.__dataclass_fields__.keys()
        return without_none(found) if is_value else found

    return asdict(traced, dict_factory=known)


def _plain(model: Model, given: Mapping[str, Any], of: str | None, wrt: str | Sequence[str] | None) -> Tracing:
    """Without an update; what is differentiated is the loss, or the only output, if it can be computed."""
    if of is None and (wrt or _has_loss(model, given)):
        of = model.default_loss()
    return Tracing(model, only({**model.values, **given}, model.graph.sources), of, wrt)


def _has_loss(model: Model, given: Mapping[str, Any]) -> bool:
    """Whether there is a loss, or an only output that can be one, and it can be computed from the given inputs."""
    try:
        value = model.graph.value_name(model.default_loss())
    except UsageError:
        return False
    kind = model.graph.types[value]
    return kind.shape == () and kind.is_differentiable and given.keys() >= set(model.executor.inputs_of([value]))


def _all_data(model: Model) -> dict[str, Any]:
    """The model's only data source as one batch; its inputs must else be given."""
    data = model.load_data() if len(model.document.data) == 1 else {}
    return bind_inputs(model.graph, data)
