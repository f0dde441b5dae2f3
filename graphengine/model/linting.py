"""What a valid model probably does not mean: warnings as data, found by a table of checks.

A check looks at a document, its graph and its update rule, and gives findings in the form of errors; nothing is run.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from graphengine.data.readers import InlineData
from graphengine.errors import GraphEngineError, ModelWarning, Problem, make_pointer
from graphengine.format.documents import FunctionFile, ModelDocument, TrainingDocument
from graphengine.ir.graph import Graph
from graphengine.ir.memory import RUNNING, bytes_of, memory_of
from graphengine.ir.nodes import GraphNode, operands_of, reachable, reached
from graphengine.mappings import present
from graphengine.ops.shapes import is_symbol
from graphengine.training.provenance import PROVENANCE
from graphengine.transform.path import differentiable_toward, learned
from graphengine.wording import size_text

if TYPE_CHECKING:
    from graphengine.fit.solver_trainer import SolverTrainer
    from graphengine.training.loop import Trainer


class LintSubject(NamedTuple):
    """What is checked; `rule` is the update rule of the training, if one is declared."""

    document: ModelDocument
    graph: Graph
    rule: FunctionFile | None = None


Check = Callable[[LintSubject], Iterator[Problem]]


def crossing(subject: LintSubject) -> Iterator[Problem]:
    """GE901: operands that broadcast to all pairs, where a loss, a metric or a scalar output adds those up."""
    training, graph = subject.document.training, subject.graph
    if any(len(kind.shape) > 1 for kind in graph.types.values()):  # all pairs have two axes
        from graphengine.ir.crosswise import crosswise

        declared = [training.loss, *training.metrics.values()] if training else []
        yield from crosswise(graph, [*graph.outputs.values(), *map(graph.value_name, declared)])


def unreached(subject: LintSubject) -> Iterator[Problem]:
    """GE902: trainable parameters that the loss of the training section does not depend on."""
    if subject.document.training:
        yield from without_influence(subject.graph, subject.document.training.loss)


def without_influence(graph: Graph, loss: str) -> Iterator[Problem]:
    """GE902: trainable parameters that a loss does not depend on."""
    found = set(learned(graph, graph.value_name(loss)))
    for name in graph.trainable:
        if name not in found:
            message = f"the loss '{loss}' does not depend on parameter '{name}', which keeps its value"
            hint = 'use the parameter, remove it, or declare "trainable": false'
            yield Problem("GE902", message, hint, make_pointer(("parameters", name)))


def partly_trained(subject: LintSubject) -> Iterator[Problem]:
    """GE903: parameters without values in a file that a training has written."""
    if PROVENANCE in (subject.document.metadata or {}):
        yield from _never_trained(untrained(subject.document, subject.graph))


def untrained(document: ModelDocument, graph: Graph) -> list[str]:
    """Return the trainable parameters without values: of a file with a training section, or drawn at random."""
    parameters = document.parameters
    return [
        name
        for name in graph.trainable
        if parameters[name].value is None and (document.training or hasattr(parameters[name].initializer, "seed"))
    ]


def starting_values(document: ModelDocument, graph: Graph, values: Iterable[str]) -> Iterator[Problem]:
    """GE903: some values depend on parameters whose values come from initializers."""
    _, read = reached(graph.nodes, values)
    return _never_trained(present(untrained(document, graph), read))


def _never_trained(names: list[str]) -> Iterator[Problem]:
    if names:
        shown = ", ".join(f"'{name}'" for name in names[:8]) + ", ..." * (len(names) > 8)
        message = f"parameter{'s' * (len(names) > 1)} {shown}: never trained, the values come from the initializers"
        yield Problem("GE903", message, "train the model, and use the file that is saved", _place(names[0]))


def _place(name: str) -> str:
    return make_pointer(("parameters", name))


CERTAIN = 2
"""From so many times the limit on the estimate alone decides; below it, the step itself is recorded and counted."""


def too_large(subject: LintSubject) -> Iterator[Problem]:
    """GE904: a training step that takes more memory than the limit, for declared sizes."""
    document, graph, rule = subject
    training = document.training
    if training is None or rule is None:
        return
    sizes = _declared_sizes(document, training, graph)
    needed, limit = step_bytes(graph, training, rule, sizes), graph.limits.array_bytes
    if limit < needed < CERTAIN * limit:
        needed = _exact_bytes(graph, training, rule, sizes)
    if needed > limit:
        yield _too_large(needed, limit, sizes)


def _too_large(needed: int, limit: int, sizes: Mapping[str, int]) -> Problem:
    shown = ", ".join(f"{symbol} = {size}" for symbol, size in sizes.items())
    given = f" for {shown}" * bool(sizes)
    message = f"a training step takes about {size_text(needed)}{given}, the limit is {size_text(limit)}"
    hint = f"{'use a smaller batch_size, set accumulate, or ' * bool(sizes)}raise the limit array_bytes"
    return Problem("GE904", message, hint, "/training")


def step_bytes(graph: Graph, training: TrainingDocument, rule: FunctionFile, sizes: dict[str, int]) -> int:
    """Estimate the bytes of one step: all values, a gradient of each that has one, and what the rule computes.

    Of a loop the backward is recorded: it keeps values of each step.
    """
    loss = graph.value_name(training.loss)
    nodes = reachable(graph.nodes, [loss])
    read = {loss} | operands_of(nodes)
    active = differentiable_toward(graph, graph.trainable) & read
    updates = bytes_of(graph, graph.trainable, sizes) * (len(rule.nodes) + len(rule.outputs))
    kept = _kept_bytes(graph, nodes, active, sizes)
    return memory_of(graph, sizes) + bytes_of(graph, active, sizes) + kept + updates


def _kept_bytes(graph: Graph, nodes: Iterable[GraphNode], active: set[str], sizes: dict[str, int]) -> int:
    """The bytes that nodes which run functions keep for their gradients."""
    kept = 0
    for node in nodes:
        if node.op in RUNNING and node.node.is_core and not active.isdisjoint(node.outputs):
            from graphengine.transform.own_backward import backward_bytes

            own = bytes_of(graph, active.intersection((*node.inputs, *node.outputs)), sizes)
            kept += max(0, backward_bytes(graph, node, active, sizes) - own)
    return kept


def _exact_bytes(graph: Graph, training: TrainingDocument, rule: FunctionFile, sizes: dict[str, int]) -> int:
    """Return the bytes that a training counts before its first step, 0 if there is no such step."""
    from graphengine.training.compiled import training_step

    try:
        return memory_of(training_step(graph, training, rule).graph, sizes)
    except GraphEngineError:
        return 0


def _declared_sizes(document: ModelDocument, training: TrainingDocument, graph: Graph) -> dict[str, int]:
    """The number of samples of a batch by its symbol, where the file says how many there are."""
    values, sizes = _inline_values(document, training), {}
    for name, declared in graph.inputs.items():
        counts = [*_rows_of(values.get(name)), *filter(None, [training.batch_size])]
        shape = declared.type.shape
        if counts and shape and is_symbol(shape[0]):
            sizes[shape[0]] = math.ceil(min(counts) / training.accumulate)
    return sizes


def _inline_values(document: ModelDocument, training: TrainingDocument) -> Mapping[str, Any]:
    """The arrays of a training that are in the file: of the data that it names, or of the only data there is."""
    only_one = next(iter(document.data)) if len(document.data) == 1 else ""
    source = document.data.get(training.data or only_one)
    return source.values if isinstance(source, InlineData) else {}


def _rows_of(array: Any) -> list[int]:
    """How many rows an array in a file has, if it is written as a list."""
    return [len(array)] if isinstance(array, list) else []


CHECKS: tuple[Check, ...] = (crossing, unreached, partly_trained, too_large)
"""All checks, each with its own code."""


def resuming(trainer: Trainer | SolverTrainer) -> list[Problem]:
    """Return GE606 if a training resumes on a machine that computes otherwise."""
    note = trainer.checkpoints.note if trainer.checkpoints is not None else ""
    return [Problem("GE606", note, "resume with the same, or accept that the last bits may differ")] if note else []


def lint(subject: LintSubject) -> list[Problem]:
    """Return what all checks find."""
    return [found for check in CHECKS for found in check(subject)]


def warn(problems: Iterable[Problem], stacklevel: int) -> None:
    """Hand findings to Python's `warnings`; `stacklevel` 1 is the caller."""
    for problem in problems:
        warnings.warn(ModelWarning(problem), stacklevel=stacklevel + 1)
