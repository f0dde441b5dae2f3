"""Compiled training steps that are kept from one training to the next.

A step joins a graph with the update rule of each parameter. It depends on the graph, the rule and a few keys of the
training section; its plans depend on the sizes of a batch besides. A training that is begun again, with other data or
for some more epochs, finds them made.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from graphengine import gc_pause
from graphengine.backends.auto import AUTO, backend_for
from graphengine.backends.protocol import DEFAULT_BACKEND, Backend, Program, backend_named
from graphengine.errors import TrainingError
from graphengine.format.documents import FunctionFile, OptimizerDocument, TrainingDocument
from graphengine.ir.graph import Graph
from graphengine.ir.memory import memory_problem
from graphengine.mappings import kept
from graphengine.training.rules import UpdateRule
from graphengine.transform.path import learned
from graphengine.transform.step import Step, step_graph, taken_name

if TYPE_CHECKING:
    from graphengine.transform.packing import Packing

WEIGHT_DECAY = "weight_decay"


def training_step(graph: Graph, training: TrainingDocument, rule: FunctionFile, packing: Packing | None = None) -> Step:
    """Join a graph with the update that its training section declares; with a packing, of its vectors.

    Raises
    ------
    DifferentiationError
        If the loss has no gradient with respect to a trainable parameter.
    InvalidModelError
        If the rule does not have an attribute of the optimizer; GE201 if the model uses a name that the step needs.
    TrainingError
        GE602 if nothing is trainable.
    """
    graph.value_name(training.loss)  # raises if there is no such value
    if not graph.trainable:
        raise TrainingError(f"model '{graph.name}' has no trainable parameter")
    if training.loss in (f"new_{name}" for name in graph.trainable):
        raise taken_name(training.loss)
    if packing:
        graph = packing.packed(graph)
    description = f"one training step of {graph.name}: loss, gradient and the update of each parameter by {rule.name}"
    return step_graph(
        graph,
        training.loss,
        rules_of(graph, training, rule),
        seed=training.seed,
        clipping=training.gradient_clipping,
        description=description,
    )


def rules_of(graph: Graph, training: TrainingDocument, rule: FunctionFile) -> dict[str, UpdateRule]:
    """Return the rule of each parameter that the loss depends on, one for all with the same type and weight decay.

    Raises
    ------
    TrainingError
        GE602 if the loss depends on no trainable parameter.
    """
    shared: dict[Any, UpdateRule] = {}
    rules = {}
    optimizer = training.optimizer
    for name in learned(graph, graph.value_name(training.loss)):
        key = (graph.types[name], graph.parameters[name].weight_decay_multiplier)
        if key not in shared:
            shared[key] = _rule_of(name, graph, optimizer, rule)
        rules[name] = shared[key]
    if not rules:
        message = f"the loss '{training.loss}' depends on no trainable parameter"
        raise TrainingError(message, hint="name the value to minimize as the loss, or use a parameter in it")
    return rules


def _rule_of(name: str, graph: Graph, optimizer: OptimizerDocument, rule: FunctionFile) -> UpdateRule:
    """The rule for one parameter; its weight decay is that of the optimizer times the parameter's multiplier."""
    attributes, multiplier = optimizer.attributes, graph.parameters[name].weight_decay_multiplier
    if multiplier != 1 and WEIGHT_DECAY in rule.attributes:
        decay: Any = attributes.get(WEIGHT_DECAY, rule.attributes[WEIGHT_DECAY].default)
        attributes[WEIGHT_DECAY] = decay * multiplier
    return UpdateRule(rule, attributes, graph.types[name], graph.limits)


MOST_STEPS, MOST_PLANS = 4, 8
ASIDE = {
    "data",
    "batch_size",
    "drop_last",
    "shuffle",
    "epochs",
    "max_iterations",
    "max_seconds",
    "validation",
    "early_stopping",
    "checkpoint",
    "metrics",
}
"""Keys of a training section that do not change the step."""


FEWEST_PACKED = 32
"""Parameters that make packing worth its `split` and `concat`."""


def _packing(graph: Graph, training: TrainingDocument, rule: FunctionFile) -> Packing | None:
    if len(graph.trainable) < FEWEST_PACKED:
        return None
    from graphengine.training.packable import packing_of

    return packing_of(graph, training, rule, FEWEST_PACKED)


class CompiledStep:
    """A training step, packed, and its plans, one for each set of sizes; raises as `training_step`."""

    backend: Backend
    rule: FunctionFile
    packing: Packing | None
    step: Step

    @gc_pause.paused()
    def __init__(
        self, graph: Graph, training: TrainingDocument, rule: FunctionFile, backend: Backend | None = None
    ) -> None:
        self.backend = backend or backend_named(DEFAULT_BACKEND)
        self._made_of = (graph, training, rule)
        self.rule, self.packing = rule, _packing(graph, training, rule)
        self.step = training_step(graph, training, rule, self.packing)
        self._plans: OrderedDict[Any, Program] = OrderedDict()
        self._others: dict[str, CompiledStep] = {}
        self._segmented: OrderedDict[Any, CompiledStep] = OrderedDict()

    def for_iterations(self, iterations: int, sizes: Mapping[str, int]) -> CompiledStep:
        """The step with the backend that a training of this many iterations on batches of these sizes has.

        If its values take more memory than the limit, loops compute values again in segments.
        """
        if memory_problem(self.step.graph, sizes):
            return self._in_segments(sizes)._for_iterations(iterations, sizes)
        return self._for_iterations(iterations, sizes)

    def _in_segments(self, sizes: Mapping[str, int]) -> CompiledStep:
        from graphengine.transform.segmenting import in_segments

        graph, training, rule = self._made_of
        segmented = in_segments(graph, sizes)
        if segmented is graph:
            return self
        key = tuple(sorted(sizes.items()))
        return kept(self._segmented, key, MOST_STEPS, lambda: CompiledStep(segmented, training, rule, self.backend))

    def _for_iterations(self, iterations: int, sizes: Mapping[str, int]) -> CompiledStep:
        if self.backend.name != AUTO:
            return self
        graph, training, rule = self._made_of
        backend = backend_for(graph, sizes, iterations)
        if backend.name not in self._others:
            self._others[backend.name] = CompiledStep(graph, training, rule, backend)
        return self._others[backend.name]

    @cached_property
    def reference(self) -> Step:
        """The step with each parameter by itself, which the reference executor runs."""
        return training_step(*self._made_of) if self.packing else self.step

    @gc_pause.paused()
    def plan(self, sizes: Mapping[str, int]) -> Program:
        """The plan for a batch of these sizes."""
        return kept(
            self._plans,
            tuple(sorted(sizes.items())),
            MOST_PLANS,
            lambda: self.backend.compile(self.step.graph.with_sizes(sizes), exact=False, carried=self.step.carried),
        )


class CompiledSteps:
    """The compiled steps of one graph, those that were used last."""

    def __init__(self, graph: Graph, backend: Backend) -> None:
        self._graph, self._backend = graph, backend
        self._steps: OrderedDict[Any, CompiledStep] = OrderedDict()

    def step(self, training: TrainingDocument, rule: FunctionFile) -> CompiledStep:
        """The step of a training; raises as `training_step`."""
        section = training.model_copy(
            update={"optimizer": training.optimizer.model_copy(update={"learning_rate": None})}
        )
        key = (section.model_dump_json(exclude=ASIDE), rule.model_dump_json())
        return kept(self._steps, key, MOST_STEPS, lambda: CompiledStep(self._graph, training, rule, self._backend))
