"""New data drawn from fitted likelihoods: what each call of a shipped `nll` function in the loss takes as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from graphengine.errors import UsageError
from graphengine.format.functions import shipped_functions
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, reachable
from graphengine.ir.origins import enclosing

DOMAIN = "nll."
HINT = "write the loss with functions such as nll.poisson, whose data are an input of the model"


def _binomial(draw: np.random.Generator, n: Any, p: Any) -> Any:
    return draw.binomial(np.rint(n).astype(np.int64), p)


DISTRIBUTIONS: Mapping[str, Callable[..., Any]] = {
    "normal": lambda draw, mean, sigma: mean + sigma * draw.standard_normal(np.shape(mean)),
    "student_t": lambda draw, mean, scale, df: mean + scale * draw.standard_t(df),
    "poisson": lambda draw, rate: draw.poisson(rate),
    "poisson_log": lambda draw, log_rate: draw.poisson(np.exp(log_rate)),
    "binomial": _binomial,
    "binomial_logit": lambda draw, n, logit: _binomial(draw, n, 1 / (1 + np.exp(-logit))),
    "negative_binomial": lambda draw, mean, spread: draw.negative_binomial(1 / spread, 1 / (1 + spread * mean)),
}
"""How the data of each likelihood are drawn from its other inputs, all of the shape of the data."""


OF_MEANS = ("normal", "student_t", "poisson", "negative_binomial")
"""The likelihoods whose first operand is what the data scatter around."""


class Term(NamedTuple):
    """A call of a likelihood: the input that is its data, and its other operands, values of the graph or numbers."""

    call: str
    likelihood: str
    data: str
    operands: tuple[Any, ...]


def likelihood_terms(nodes: Iterable[Mapping[str, Any]], graph: Graph, loss: str) -> tuple[Term, ...]:
    """Return the likelihoods among the nodes of a document that a loss adds up; those of fixed numbers are none.

    Raises
    ------
    UsageError
        GE801 if there are none, or their data do more than to be compared.
    """
    used = reachable(graph.nodes, {graph.value_name(loss)})
    terms = [_term(node, graph) for node in _likelihoods(nodes, used)]
    found = tuple(term for term in terms if term.data in graph.inputs)
    if not found:
        raise UsageError(f"the loss '{loss}' has no likelihood from which data can be drawn", hint=HINT)
    for term in found:
        _require_own_data(term, used)
    return found


def _likelihoods(nodes: Iterable[Mapping[str, Any]], used: Iterable[GraphNode]) -> list[Mapping[str, Any]]:
    """The calls of likelihoods in a document of which nodes are used."""
    calls = set(chain.from_iterable(enclosing(node.id) for node in used))
    return [node for node in nodes if node["op"].startswith(DOMAIN) and node["id"] in calls]


def _require_own_data(term: Term, nodes: Iterable[GraphNode]) -> None:
    for name in _other_readers(term, nodes):
        message = f"'{term.data}' cannot be drawn from '{term.call}', because '{name}' depends on it, too"
        raise UsageError(message, hint=HINT)


def _other_readers(term: Term, nodes: Iterable[GraphNode]) -> list[str]:
    """What reads the data of a likelihood beside it: other nodes, or the likelihood as another operand."""
    others = [each.id for each in nodes if term.data in each.inputs and term.call not in enclosing(each.id)]
    return [*others, term.call] if term.data in term.operands else others


def _term(node: Mapping[str, Any], graph: Graph) -> Term:
    given = node["inputs"]
    if isinstance(given, Mapping):  # by the names that the function has for them
        given = [given[name] for name in shipped_functions()[node["op"]].document.inputs]
    data, *operands = [graph.meaning(each) if isinstance(each, str) else each for each in given]
    return Term(node["id"], node["op"].removeprefix(DOMAIN), data if isinstance(data, str) else "", tuple(operands))


def compared(terms: Iterable[Term]) -> tuple[str, str] | None:
    """Return data and the value that they scatter around, of a single likelihood that has it as an operand."""
    found = [(term.data, term.operands[0]) for term in terms if term.likelihood in OF_MEANS]
    return found[0] if len(found) == 1 and isinstance(found[0][1], str) else None


def drawn(
    terms: Iterable[Term], given: Mapping[str, Any], value_of: Callable[[str], Any], draw: np.random.Generator
) -> dict[str, Any]:
    """Return new data of the shapes and dtypes of what is given, drawn with the values that a fit has found.

    Raises
    ------
    UsageError
        GE801 if a value is not a parameter of its distribution, such as a negative rate.
    """
    found = {}
    for term in terms:
        old = np.asarray(given[term.data])
        operands = [value_of(each) if isinstance(each, str) else each for each in term.operands]
        spread = [np.broadcast_to(np.asarray(each, np.float64), old.shape) for each in operands]
        try:
            new = DISTRIBUTIONS[term.likelihood](draw, *spread)
        except ValueError as error:
            raise UsageError(f"no data can be drawn from '{term.call}' ({DOMAIN}{term.likelihood}): {error}") from None
        found[term.data] = np.asarray(new).astype(old.dtype)
    return found
