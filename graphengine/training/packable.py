"""Which parameters are packed: enough small ones of one kind, and a rule that does to each number the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from graphengine.format.documents import FunctionFile, TrainingDocument
from graphengine.format.initializers import ConstantInitializer, OnesInitializer, ZerosInitializer
from graphengine.format.salvage import Gaps
from graphengine.ir.graph import Graph
from graphengine.limits import Limits
from graphengine.mappings import absent, present
from graphengine.ops.shapes import ArrayType
from graphengine.training.rules import checked_graph, slots_of
from graphengine.transform.packing import Pack, Packing, treats_numbers_alike
from graphengine.transform.path import learned

LARGEST = 4096
"""Numbers of the largest parameter that is packed: from there on its own arithmetic costs more than the calls."""


def packing_of(graph: Graph, training: TrainingDocument, rule: FunctionFile, fewest: int) -> Packing | None:
    """The packs of at least `fewest` trainable parameters, if the rule gives each number the same bits in a vector."""
    if _clips_each(training) or not _leaves_shapes_open(rule):
        return None
    packs = tuple(_packs(graph, training, rule, fewest))
    return Packing(packs) if packs else None


def _packs(graph: Graph, training: TrainingDocument, rule: FunctionFile, fewest: int) -> Iterator[Pack]:
    """Yield the packs of the parameters that the loss depends on, if there are enough of a kind."""
    vectors, scalars = _slots(rule)
    for number, (dtype, shapes) in enumerate(_alike(graph, learned(graph, graph.value_name(training.loss))), 1):
        pack = Pack(_free(f"packed.{number}", graph), shapes, vectors, scalars)
        kind = ArrayType((pack.edges[-1],), dtype)
        if len(shapes) >= fewest and _fits(rule, training.optimizer.attributes, kind, graph.limits):
            yield pack


def _slots(rule: FunctionFile) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is appended to a parameter's name for the slots of its shape, and for those that are numbers."""
    slots = {f"/{name}": document for name, document in slots_of(rule).items()}
    vectors = [name for name, document in slots.items() if document.shape is None]
    return tuple(vectors), tuple(absent(slots, vectors))


def _clips_each(training: TrainingDocument) -> bool:
    """Whether the gradient of each parameter is clipped by its own norm."""
    return training.gradient_clipping is not None and training.gradient_clipping.type == "norm"


def _alike(graph: Graph, names: Iterable[str]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the shapes of small parameters that are updated alike, with their dtype."""
    groups: dict[Any, dict[str, Any]] = {}
    for name in names:
        kind, declared = graph.types[name], graph.parameters[name]
        if 1 <= math.prod(kind.shape) <= LARGEST:  # type: ignore[arg-type]
            key = (kind.dtype, declared.learning_rate_multiplier, declared.weight_decay_multiplier, declared.bounds)
            groups.setdefault(key, {})[name] = kind.shape
    yield from ((dtype, shapes) for (dtype, *_), shapes in groups.items())


def _leaves_shapes_open(rule: FunctionFile) -> bool:
    """Whether a rule takes vectors for parameters of any shape, and starts all of them alike."""
    given = all(rule.inputs[name].shape is None for name in present(("parameter", "gradient"), rule.inputs))
    slots = slots_of(rule).values()
    alike = (ZerosInitializer, OnesInitializer, ConstantInitializer)
    return given and all(not slot.shape and isinstance(slot.initializer, alike) for slot in slots)


def _fits(rule: FunctionFile, attributes: Mapping[str, Any], kind: ArrayType, limits: Limits) -> bool:
    graph, problems = checked_graph(rule, attributes, kind, Gaps(), limits)
    return graph is not None and not problems and treats_numbers_alike(graph, kind.shape)


def _free(name: str, graph: Graph) -> str:
    while any(name in used for used in (graph.types, graph.aliases)) or f"{name}.parts" in graph.types:
        name += "_"
    return name
