"""What a model predicts: asked outputs for given inputs, by a plan where there is one, else by the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from graphengine.backends.reference.executor import ForwardSchedule, plan_failure
from graphengine.errors import InputError, UsageError, did_you_mean
from graphengine.ir.binding import require_inputs
from graphengine.ir.finite import require_all_finite
from graphengine.model.run import read_only

if TYPE_CHECKING:
    from graphengine.model.model import Model


def predict(
    model: Model, given: Mapping[str, Any], outputs: tuple[str, ...] | None, *, check_finite: bool
) -> dict[str, Any]:
    """The outputs by public name, all that can be computed if none are asked; raises as `Model.predict`."""
    if check_finite:
        return _checked(model, _targets(model, outputs, given), given)
    purpose = ("outputs", outputs)
    plan = model.programs.find(purpose, given)
    if plan is None:
        graph, targets = model.graph, _targets(model, outputs, given)
        plan = model.programs.get(purpose, lambda: graph.derive(graph.nodes, targets, graph.types), given)
    if plan:
        try:
            return {name: read_only(value) for name, value in plan.run({**model.values, **given}).items()}
        except Exception as error:  # whatever it is, the reference says which node it comes from
            targets = _targets(model, outputs, given)
            raise plan_failure(error, lambda: _by_reference(model, targets, given)) from error
    return _by_reference(model, targets, given)


def _by_reference(model: Model, targets: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    executor = model.executor
    slots = executor.forward({**model.values, **given}, executor.forward_schedule(targets.values()))
    return {name: read_only(slots[executor.slot_of[value]]) for name, value in targets.items()}


def _checked(model: Model, targets: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs, computed from finite numbers only; nothing is said of what they do not depend on."""
    executor, places = model.executor, model.executor.slot_of
    steps = executor.forward_schedule(targets.values()).steps
    slots = executor.forward({**model.values, **given}, ForwardSchedule(steps, ((),) * len(steps)))
    seen = {places[value] for value in targets.values()}.union(*[(*step.inputs, *step.outputs) for step in steps])
    require_all_finite(model.graph, {name: slots[place] if place in seen else None for name, place in places.items()})
    return {name: read_only(slots[places[value]]) for name, value in targets.items()}


def _targets(model: Model, outputs: tuple[str, ...] | None, given: Mapping[str, Any]) -> dict[str, str]:
    """The values that the asked outputs stand for; all that can be computed if none are asked."""
    graph, asked = model.graph, _computable(model, given) if outputs is None else outputs
    for name in asked:
        if name not in graph.outputs:
            hint = did_you_mean(name, graph.outputs, "outputs")
            raise UsageError(f"model '{graph.name}' has no output '{name}'", code="GE402", hint=hint)
    targets = {name: graph.outputs[name] for name in asked}
    require_inputs(graph, given, model.executor.inputs_of(targets.values()))
    return targets


def _computable(model: Model, given: Mapping[str, Any]) -> list[str]:
    needs = {name: model.executor.inputs_of([value]) for name, value in model.graph.outputs.items()}
    ready = [name for name, inputs in needs.items() if all(item in given for item in inputs)]
    if not ready:
        shown = "; ".join(f"'{name}' needs {', '.join(map(repr, inputs))}" for name, inputs in needs.items())
        raise InputError(f"no output can be computed from the given inputs: {shown}", code="GE401")
    return ready
