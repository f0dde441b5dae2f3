"""What a training section says to a solver: checked, with the place of what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pydantic import ValidationError

from graphengine.errors import Problem, TrainingError, did_you_mean
from graphengine.fit.solvers import LeastSquares
from graphengine.format.documents import TrainingDocument
from graphengine.format.findings import problems_of
from graphengine.format.kinds import SOLVERS
from graphengine.format.salvage import Gaps
from graphengine.ir.graph import Graph
from graphengine.mappings import without
from graphengine.ops.shapes import broadcast_shapes
from graphengine.transform.path import differentiable_toward

USED = ("loss", "data", "optimizer", "max_iterations", "max_seconds", "metrics")
"""The keys of a training section that mean something to a solver."""
PLACE = "/training/optimizer"


def solver_problems(training: TrainingDocument, graph: Graph, gaps: Gaps) -> list[Problem]:
    """What a training section says that its solver does not understand, or does not say and the solver needs."""
    optimizer, solver = training.optimizer, training.optimizer.type
    given = {"type": solver, **optimizer.attributes}
    if optimizer.learning_rate is not None:
        given["learning_rate"] = optimizer.learning_rate
    problems = list(_unused(training))
    try:
        found = SOLVERS[solver].model_validate(given)
    except ValidationError as error:
        wrong = problems_of(error, given, SOLVERS[solver])
        return problems + [_placed(problem, solver) for problem in wrong]
    if isinstance(found, LeastSquares):
        problems += _least_squares_problems(found, graph, gaps)
    return problems


def _placed(problem: Problem, solver: str) -> Problem:
    hint = problem.hint
    if problem.code in ("GE110", "GE111"):
        hint = f"keys of '{solver}': {', '.join(SOLVERS[solver].model_fields)}"
    return Problem(problem.code, problem.message, hint, f"{PLACE}{problem.pointer or ''}", at_key=problem.at_key)


def _unused(training: TrainingDocument) -> Iterator[Problem]:
    for key, field in TrainingDocument.model_fields.items():
        if key not in USED and getattr(training, key) != field.get_default():
            solver = training.optimizer.type
            message = f"'{key}' has no effect with the solver '{solver}', which uses all samples in each iteration"
            instead = "write 'max_iterations'" if key == "epochs" else "leave it out"
            hint = f"{instead}, or name an update rule such as 'adam' as the optimizer"
            yield Problem("GE112", message, hint, f"/training/{key}", at_key=True)


def _least_squares_problems(options: LeastSquares, graph: Graph, gaps: Gaps) -> list[Problem]:
    """The errors in the values that least squares name; of one that a gap hides, nothing is said."""
    named = _named_values(options, graph)
    problems = [each for key, value in named.items() for each in _value_problems(key, value, graph, gaps)]
    if named.keys() >= {"sigma", "weights"}:
        message = "'sigma' and 'weights' are alternatives: weights are 1 / sigma**2"
        problems.append(Problem("GE112", message, "keep one of them", f"{PLACE}/weights", at_key=True))
    known = {key: value for key, value in named.items() if value in graph.types}
    return problems or _problems_of_weights(known, graph)


def _value_problems(key: str, value: str, graph: Graph, gaps: Gaps) -> Iterable[Problem]:
    if value in graph.types:
        return _dtype_problems(key, value, graph)
    is_hidden = gaps.hide(value, "outputs") or gaps.hide_value(value)
    return [] if is_hidden else [_undefined(key, value, graph)]


def _named_values(options: LeastSquares, graph: Graph) -> dict[str, str]:
    named = {key: getattr(options, key) for key in ("residual", "sigma", "weights")}
    return {key: graph.meaning(value) for key, value in named.items() if value is not None}


def _problems_of_weights(known: Mapping[str, str], graph: Graph) -> list[Problem]:
    """The errors in sigma or the weights beside the residual, if both are known."""
    problems: list[Problem] = []
    if "residual" in known:
        learned = differentiable_toward(graph, graph.trainable)
        for key, value in without(known, ("residual",)).items():
            problems += _weight_problems(key, value, known["residual"], graph, learned)
    return problems


def _dtype_problems(key: str, value: str, graph: Graph) -> Iterator[Problem]:
    if not graph.types[value].is_differentiable:
        message = f"the {key} '{value}' must be of floating-point dtype, not {graph.types[value]}"
        yield Problem("GE303", message, None, f"{PLACE}/{key}")


def _undefined(key: str, value: str, graph: Graph) -> Problem:
    hint = did_you_mean(value, [*graph.outputs, *graph.types], "defined")
    return Problem("GE210", f"{key} '{value}' is not defined", hint, f"{PLACE}/{key}")


def _weight_problems(key: str, value: str, residual: str, graph: Graph, learned: set[str]) -> Iterator[Problem]:
    """Weights have the shape of the residual or broadcast to it, and no parameter changes them."""
    shape, pointer = graph.types[residual].shape, f"{PLACE}/{key}"
    try:
        fits = broadcast_shapes([shape, graph.types[value].shape]) == shape
    except ValueError:
        fits = False
    if not fits:
        message = f"{key} '{value}' is {graph.types[value]} and does not fit the residual, {graph.types[residual]}"
        yield Problem("GE301", message, None, pointer)
    if value in learned:
        message = f"{key} '{value}' depends on trainable parameters, so the loss is not a sum of squares"
        yield Problem("GE112", message, "minimize a negative log-likelihood, such as nll.normal", pointer)


def require_function(graph: Graph, solver: str) -> None:
    """Refuse a loss that is another one at each call, or changes the model while it is computed.

    Raises
    ------
    TrainingError
        GE602 naming what changes.
    """
    moving = list(graph.updates)
    moving += [node.id for node in graph.nodes if "training" in type(node.node).model_fields or node.op == "random_key"]
    if moving:
        message = f"the solver '{solver}' needs a loss that depends on the parameters alone, and '{moving[0]}' does not"
        raise TrainingError(message, hint="use an update rule such as adam")
