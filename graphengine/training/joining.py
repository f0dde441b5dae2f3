"""The training step of a model: what its file declares, joined into one graph by `transform.step`."""

from __future__ import annotations

from typing import Any

from graphengine.errors import TrainingError
from graphengine.format.documents import FunctionFile
from graphengine.format.training_documents import OptimizerDocument, TrainingDocument
from graphengine.ir.graph import Graph
from graphengine.training.rules import UpdateRule
from graphengine.transform.packing import UNPACKED, Packing
from graphengine.transform.path import learned
from graphengine.transform.step import Step, step_graph, taken_name

WEIGHT_DECAY = "weight_decay"


def training_step(graph: Graph, training: TrainingDocument, rule: FunctionFile, packing: Packing = UNPACKED) -> Step:
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
    graph = packing.packed(graph)
    description = f"one training step of {graph.name}: loss, gradient and the update of each parameter by {rule.name}"
    return step_graph(
        graph,
        training.loss,
        rules_of(graph, training, rule),
        seed=training.seed,
        clipping=training.gradient_clipping,
        packing=packing,
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
